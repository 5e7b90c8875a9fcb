"""Tools: what they return, as plain JSON of a bounded size."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import BaseModel

from config.vocabulary import Trust
from tests.fakes.toolbench import cyclic
from tools.plugin_api import Sourced, ToolFailed
from tools.results import MAX_BYTES, to_result


class Colour(Enum):
    RED = "red"


class Model(BaseModel):
    a: int = 1


@dataclass
class Data:
    b: Any = None


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (None, None),
        (b"bytes", "bytes"),
        (Colour.RED, "red"),
        (Model(), {"a": 1}),
        (Data(Data(2)), {"b": {"b": 2}}),
        ({1: (1, 2), Colour.RED: {3}}, {"1": [1, 2], "red": [3]}),
        (2**80, "0x100000000000000000000"),
        (float("nan"), "nan"),
        (date(2026, 12, 7), "2026-12-07"),
        (datetime(2026, 12, 7, tzinfo=UTC), "2026-12-07T00:00:00+00:00"),
        (timedelta(minutes=1), 60.0),
        (Path("a/b"), "a/b"),
        ("a\x00b\ud800\u202ec\U000e0041", "abc"),
        ([], []),
    ],
)
def test_what_has_a_plain_form_comes_back_in_it(value: Any, plain: Any) -> None:
    result = to_result("t", value, trust=Trust.BRAND)
    assert result.value == plain
    assert not result.truncated
    json.dumps(result.value, allow_nan=False)


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(5000):
        value = [value]
    return value


async def forgotten() -> str:
    return "x"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (lambda: b"\xff\xfe", "2 bytes that are not text"),
        (cyclic, "holds itself"),
        (deep, "nested deeper than 32"),
        (forgotten, "a coroutine: it forgot an await"),
        (lambda: (n for n in range(3)), "a generator, which is not a value yet"),
        (object, "a object, which has no plain form"),
        (lambda: {(1, 2): 3}, "a key of type tuple"),
    ],
)
def test_what_has_none_is_refused(value: Callable[[], Any], says: str) -> None:
    with pytest.raises(ToolFailed, match=f"tool 't' returned .*{says}"):
        to_result("t", value(), trust=Trust.BRAND)


BIG: list[Any] = [
    "x" * 10_000_000,
    "\U0001f600" * 100_000,
    '"\\\n' * 50_000,
    ["word " * 100] * 20_000,
    [{"id": str(n), "text": "y" * 500} for n in range(20_000)],
    {str(n): n for n in range(100_000)},
    {"a": {"b": ["z" * 100_000]}},
    [[[]] * 100_000],
    [0] * 1_000_000,
]


@pytest.mark.parametrize("value", BIG, ids=range(len(BIG)))
def test_ten_megabytes_come_back_as_sixty_four_kilobytes_that_say_so(value: Any) -> None:
    result = to_result("t", value, trust=Trust.BRAND)
    size = len(json.dumps(result.value, ensure_ascii=False).encode())
    assert result.truncated
    assert size <= MAX_BYTES
    assert size > MAX_BYTES // 4, "what fits is kept"
    if isinstance(value, list) and isinstance(value[0], dict):
        assert all(set(entry) == {"id", "text"} and len(entry["text"]) == 500 for entry in result.value), (
            "no half entry"
        )


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=5).map(bytes.hex),
    lambda x: st.lists(x) | st.dictionaries(st.text(), x) | st.tuples(x, x),
)


@given(PLAIN, st.integers(64, 400))
@hypothesis_settings(max_examples=80, deadline=None)
def test_no_result_is_over_its_size_and_a_whole_one_is_whole(value: Any, limit: int) -> None:
    result = to_result("t", value, trust=Trust.WEB, limit=limit)
    assert len(json.dumps(result.value, ensure_ascii=False, allow_nan=False).encode()) <= limit
    if not result.truncated:
        assert to_result("t", result.value, trust=Trust.WEB, limit=10**6).value == result.value


def test_a_source_inside_a_result_makes_all_of_it_as_trusted_as_the_least() -> None:
    read = [Sourced("ours", Trust.BRAND, ("a",)), {"found": Sourced("theirs", Trust.WEB, ("https://x.example", "a"))}]
    result = to_result("t", read, trust=Trust.OPERATOR)
    assert result.value == ["ours", {"found": "theirs"}]
    assert (result.trust, result.sources) == (Trust.WEB, ("a", "https://x.example"))
    outer = to_result("t", Sourced(read, Trust.OPERATOR, ("b",)), trust=Trust.BRAND)
    assert (outer.trust, outer.sources) == (Trust.WEB, ("b", "a", "https://x.example"))
    assert to_result("t", Sourced("x", Trust.OPERATOR), trust=Trust.WEB).trust is Trust.OPERATOR


def test_sources_are_short_texts_and_not_too_many() -> None:
    many = tuple(f"{n}\x1b[31m" + "y" * 10_000 for n in range(1000))
    sources = to_result("t", Sourced("x", Trust.WEB, many), trust=Trust.WEB).sources
    assert len(sources) == 200
    assert all(len(source) <= 500 and source.isprintable() for source in sources)


@pytest.mark.parametrize(
    ("said", "says"),
    [
        (Sourced("x", "nobody"), "a trust 'nobody': use one of operator, brand, web, model"),  # type: ignore[arg-type]
        (Sourced("x", Trust.WEB, "abc"), "sources that are a str: give a tuple of texts"),  # type: ignore[arg-type]
        (Sourced("x", Trust.WEB, 5), "sources that are a int"),  # type: ignore[arg-type]
    ],
)
def test_a_source_that_says_nothing_is_refused(said: Sourced, says: str) -> None:
    with pytest.raises(ToolFailed, match=f"tool 't' returned {says}"):
        to_result("t", said, trust=Trust.WEB)
