"""Tools: what is refused when one is written, its schema, and what a call of it may be given."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import BaseModel, field_validator

from config.errors import BadInput, DuplicateName
from config.vocabulary import Trust
from tests.fakes.toolbench import Bench, counting, open_bench, weather
from tools.calls import ToolCall
from tools.context import ToolContext
from tools.plugin_api import ToolRetry, tool
from tools.registry import ToolSet
from tools.running import ToolBroke


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path) as opened:
        yield opened


def test_the_schema_comes_from_the_types_and_the_docstring() -> None:
    assert (weather.name, weather.effect, weather.timeout_s) == ("weather", "read", 5.0)
    assert weather.description == "Say what the weather will be. Somewhere on earth."
    schema = weather.schema()
    assert schema["required"] == ["place"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["place"] == {
        "type": "string",
        "description": "A town, and its country where there are several.",
    }
    assert schema["properties"]["days"] == {"type": "integer", "default": 3, "description": "How many days, 1 to 10."}
    assert schema["properties"]["unit"]["enum"] == ["c", "f"]


def test_a_context_is_nobodys_to_give() -> None:
    @tool(agents={"research"})
    async def where(ctx: ToolContext, place: str) -> str:
        """Say where.

        Args:
            place: What.
        """
        return place + ctx.brand

    assert list(where.schema()["properties"]) == ["place"]
    with pytest.raises(ToolRetry, match="no argument 'ctx'; there are: place"):
        where.parse({"place": "x", "ctx": "y"})


async def no_docstring(a: str) -> str:
    return a


async def no_type(a, b: str) -> str:  # type: ignore[no-untyped-def]
    """Say something.

    Args:
        a: One.
        b: Two.
    """
    return b


async def no_return(a: str):  # type: ignore[no-untyped-def]
    """Say something.

    Args:
        a: One.
    """


async def no_line(a: str) -> str:
    """Say something."""
    return a


async def misspelt(a: str) -> str:
    """Say something.

    Args:
        a: One.
        aa: Two.
    """
    return a


async def anything(a: Any) -> str:
    """Say something.

    Args:
        a: One.
    """
    return str(a)


async def more(*a: str) -> str:
    """Say something."""
    return str(a)


async def unreadable(a: Nowhere) -> str:  # type: ignore[name-defined]  # noqa: F821
    """Say something.

    Args:
        a: One.
    """
    return str(a)


async def shapeless(a: Callable[[], str]) -> str:
    """Say something.

    Args:
        a: One.
    """
    return a()


async def bad_default(a: int = "x") -> str:  # type: ignore[assignment]
    """Say something.

    Args:
        a: One.
    """
    return str(a)


async def yields(a: str) -> AsyncIterator[str]:
    """Say something.

    Args:
        a: One.
    """
    yield a


async def Shouting(a: str) -> str:  # noqa: N802
    """Say something.

    Args:
        a: One.
    """
    return a


REFUSED: list[tuple[Any, str]] = [
    (no_docstring, "has no docstring"),
    (no_type, "parameter 'a' has no type"),
    (no_return, "says not what it returns"),
    (no_line, "does not say what 'a' is"),
    (misspelt, "describes 'aa', which is not one of its parameters"),
    (anything, "parameter 'a' may be anything"),
    (more, "cannot be named in a call"),
    (unreadable, "annotations cannot be read: NameError"),
    (shapeless, "have no JSON Schema"),
    (bad_default, "the default of a is wrong"),
    (yields, "yields: return a list"),
    (Shouting, "lower case letters"),
]


@pytest.mark.parametrize(("function", "says"), REFUSED, ids=[function.__name__ for function, _ in REFUSED])
def test_what_is_missing_is_refused_in_one_line_that_names_the_function(function: Any, says: str) -> None:
    with pytest.raises(BadInput) as refused:
        tool(agents={"research"})(function)
    line = str(refused.value)
    assert says in line
    assert f"tool {__name__}:{function.__name__}" in line
    assert "\n" not in line
    assert len(line) < 400


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"agents": set()}, "must be a set of roles"),
        ({"agents": "research"}, "must be a set of roles"),
        ({"agents": {"research", "editor"}}, "agent 'editor' is not one of research, creation"),
        ({"agents": {"research"}, "effect": "delete"}, "effect 'delete' is not one of read, write, publish"),
        ({"agents": {"research"}, "timeout_s": 0}, "must be above 0"),
        ({"agents": {"research"}, "timeout_s": 3600}, "at most 300 seconds"),
        ({"agents": {"research"}, "timeout_s": True}, "timeout_s=True"),
        ({"agents": {"research"}, "trust": "me"}, "trust 'me' is not one of"),
    ],
)
def test_a_decorator_that_says_something_impossible_is_refused(options: dict[str, Any], says: str) -> None:
    async def fine() -> str:
        """Say something."""
        return ""

    with pytest.raises(BadInput, match=says):
        tool(**options)(fine)


def test_two_tools_with_one_name_are_refused_naming_both() -> None:
    with pytest.raises(DuplicateName, match=r"'weather' is in .*weather and in .*weather: rename one"):
        ToolSet().with_tools(weather, weather)


# Arguments


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "place: Field required"),
        ({"place": 5}, "place = 5: Input should be a valid string"),
        ({"place": "Rome", "days": "3"}, "days = '3': Input should be a valid integer"),
        ({"place": "Rome", "days": True}, "days = True"),
        ({"place": "Rome", "unit": "k"}, "unit = 'k': Input should be 'c' or 'f'"),
        ({"place": "Rome", "near": [1]}, "near.0 = 1"),
        ({"place": "Rome", "when": "now"}, "no argument 'when'; there are: place, days, unit, near"),
        ('{"place": "Rome"', "Invalid JSON"),
        ("[1]", "should be an object"),
        ({"place": float("nan")}, "not plain JSON"),
        ({"place": {1, 2}}, "not plain JSON"),
        ({"place": "\ud800"}, "Invalid JSON"),
        ("[" * 100_000, "JSON"),
    ],
)
def test_wrong_arguments_are_named(arguments: Any, says: str) -> None:
    with pytest.raises(ToolRetry) as refused:
        weather.parse(arguments)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


async def test_a_call_with_wrong_arguments_is_not_made(bench: Bench) -> None:
    log: list[str] = []
    box = bench.box(counting(log))
    for arguments in ({}, {"word": 1}, {"word": "a", "more": 1}):
        with pytest.raises(ToolRetry):
            await box.call("count", **arguments)
    await box.answer([ToolCall("1", "count", "{"), ToolCall("2", "count", {"word": None})])
    assert log == []


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
@hypothesis_settings(max_examples=60, deadline=None)
def test_whatever_a_model_sends_is_taken_or_refused_in_one_line(value: Any) -> None:
    for arguments in (value if isinstance(value, dict) else {"place": value}, json.dumps(value)):
        try:
            taken = weather.parse(arguments)
        except ToolRetry as error:
            assert "\n" not in str(error).strip()  # noqa: PT017 - either outcome is right
        else:
            assert isinstance(taken["place"], str)


async def test_a_right_call_gets_its_defaults_and_says_where_it_is_from(bench: Bench) -> None:
    result = await bench.box(weather).call("weather", place="Rome", near=["Ostia"])
    assert result.value == {"place": "Rome", "days": 3, "unit": "c", "near": ["Ostia"]}
    assert (result.tool, result.trust, result.truncated) == ("weather", Trust.WEB, False)


# What pydantic, and whoever writes a decorator in haste, would make of it


def taking(name: str) -> Any:
    """A function with one text of that name."""
    made: dict[str, Any] = {}
    source = f"async def take({name}: str = 'x') -> str:\n    '''Take.\n\n    Args:\n        {name}: A text.\n    '''\n"
    exec(source + f"    return {name}\n", made)
    return made["take"]


@pytest.mark.parametrize("name", ["model_config", "model_extra", "copy", "schema", "json", "self", "_hidden", "größe"])
def test_a_parameter_may_be_called_what_it_is(name: str) -> None:
    spec = tool(agents={"research"})(taking(name))
    assert list(spec.schema()["properties"]) == [name]
    assert spec.parse({name: "light"}) == {name: "light"}
    assert spec.parse({}) == {name: "x"}
    with pytest.raises(ToolRetry, match=rf"take: {name} = 5: Input should be a valid string"):
        spec.parse({name: 5})
    with pytest.raises(ToolRetry, match=f"no argument 'nothing'; there are: {name}"):
        spec.parse({"nothing": 5})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"agents": 5}, "must be a set of roles"),
        ({}, "must be a set of roles"),
        ({"agents": {"research"}, "timeout_s": "5"}, "timeout_s='5' must be above 0"),
        ({"agents": {"research"}, "timeout_s": float("nan")}, "timeout_s=nan must be above 0"),
        ({"agents": {"research"}, "timeout_s": None}, "timeout_s=None must be above 0"),
    ],
)
def test_a_decorator_with_a_value_of_another_kind_is_refused_in_our_words(options: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        tool(**options)(taking("text"))


def test_a_decorator_without_its_roles_says_how_it_is_written() -> None:
    with pytest.raises(BadInput, match=r'take: write @tool\(agents=\{"research"\}\)'):
        tool(taking("text"))


def test_a_parameter_whose_entries_would_be_checked_too_late_is_refused() -> None:
    async def late(a: Iterable[str]) -> str:
        """Say something.

        Args:
            a: Texts.
        """
        return "".join(a)

    with pytest.raises(BadInput, match="parameter 'a' would be checked as it is read: make it a list"):
        tool(agents={"research"})(late)


def test_words_behind_the_arguments_are_nobodys() -> None:
    async def told(a: str) -> str:
        """Say something.

        Args:
            a: A text,
                of two lines.

        Some more of it.

        See also:
            Another tool.
        """
        return a

    spec = tool(agents={"research"})(told)
    assert spec.schema()["properties"]["a"]["description"] == "A text, of two lines."
    assert spec.description == "Say something."


class Fussy(BaseModel):
    size: int

    @field_validator("size")
    @classmethod
    def looked_up(cls, size: int) -> int:
        return {1: 1}[size]


async def test_a_type_that_breaks_as_it_checks_itself_breaks_the_step_and_is_named(bench: Bench) -> None:
    @tool(agents={"research"})
    async def fussy(a: Fussy) -> int:
        """Say something.

        Args:
            a: A size.
        """
        return a.size

    box = bench.box(fussy)
    assert (await box.call("fussy", a={"size": 1})).value == 1
    with pytest.raises(ToolBroke, match="tool 'fussy' cannot check its arguments: 2"):
        await box.call("fussy", a={"size": 2})
    assert [made.outcome for made in box.made] == ["ok", "broke"]


@pytest.mark.parametrize("arguments", [{"place": "a\x00b"}, '{"place": "a\\u0000b"}', '{"place": "\\\\\\u0000"}'])
def test_a_nul_is_refused_wherever_it_stands(arguments: Any) -> None:
    with pytest.raises(ToolRetry, match="holds a NUL character"):
        weather.parse(arguments)


def test_what_only_looks_like_a_nul_is_taken() -> None:
    assert weather.parse({"place": "\\u0000"})["place"] == "\\u0000"
