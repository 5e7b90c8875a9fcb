"""What a tool is: a typed async function with a docstring, decorated with `@tool`. Imports pydantic and nothing heavier.

```python
@tool(agents={"research"}, effect="read", timeout_s=5)
async def opening_hours(day: str) -> list[str]:
    \"\"\"Say when the space is open.

    Args:
        day: A day of the week, in English.
    \"\"\"
```
"""

from __future__ import annotations

import inspect
import json
import re
import types
import typing
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, ValidationError, create_model
from pydantic.errors import PydanticSchemaGenerationError

from config.errors import BadInput, CopydeskError
from config.vocabulary import AgentType, Trust, nearest

Effect = Literal["read", "write", "publish"]
EFFECTS: tuple[Effect, ...] = get_args(Effect)
MAX_TIMEOUT_S = 300.0
_LAZY = (Iterable, Iterator, Generator)
"""What pydantic checks entry by entry, inside the tool, where a wrong entry is the tool's mistake and no longer the caller's."""
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""As JSON writes it, and not behind a backslash of the text's own."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_SECTION = re.compile(r"(Args|Arguments|Returns|Raises|Yields|Example|Examples|Note|Notes):\s*")
_ARGUMENT = re.compile(r"(\*{0,2}\w+)(?:\s*\([^)]*\))?:\s*(.*)")


class ToolRetry(CopydeskError):
    """The call was wrong in a way that its caller may mend: the message says how. Nothing happened."""

    exit_code = 2


class ToolFailed(CopydeskError):
    """The tool cannot answer, and calling it again would not help. The message is shown to whoever called."""


@dataclass(frozen=True)
class Sourced:
    """A result that says where its text comes from, when that is not what the tool says of all its results."""

    value: Any
    trust: Trust
    sources: tuple[str, ...] = ()
    """Ids or addresses of what `value` was taken from."""


_LEAST_TRUSTED_FIRST = (Trust.WEB, Trust.MODEL, Trust.BRAND, Trust.OPERATOR)


def least_trusted(trusts: Collection[str]) -> Trust:
    """What a result is trusted like that holds texts of all of these; `brand` when it holds none."""
    return next((trust for trust in _LEAST_TRUSTED_FIRST if trust in trusts), Trust.BRAND)


@dataclass(frozen=True)
class ToolSpec:
    """A tool as it was decorated. Calling it calls the function, unchecked: for its own tests."""

    name: str
    function: Callable[..., Any]
    agents: frozenset[AgentType]
    effect: Effect
    timeout_s: float
    trust: Trust
    """Where the text of its results comes from, unless a result says otherwise."""
    description: str
    arguments: type[BaseModel] = field(repr=False)
    """Strict: nothing is coerced, nothing unknown is taken."""
    context_parameter: str = ""
    """The parameter that is given the ToolContext; no caller sees it. Empty: the tool wants none."""

    @property
    def origin(self) -> str:
        """Where it is written: module and function."""
        return f"{self.function.__module__}:{self.function.__qualname__}"

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of its arguments."""
        schema = self.arguments.model_json_schema()
        schema.pop("title", None)
        for prop in schema.get("properties", {}).values():
            prop.pop("title", None)
        return schema

    def parse(self, arguments: str | dict[str, Any]) -> dict[str, Any]:
        """The checked arguments of JSON text, or of JSON-plain values. Raises ToolRetry naming the argument and the mistake."""
        try:
            text = arguments if isinstance(arguments, str) else json.dumps(arguments, allow_nan=False)
            if _NUL.search(text):  # no store of ours, and few of others, takes one
                raise ToolRetry(f"{self.name}: a text holds a NUL character: remove it")
            model = self.arguments.model_validate_json(text or "{}", strict=True)
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False)
            # A name that is not there says more than the one that is missing for it.
            first = min(found, key=lambda one: one["type"] != "extra_forbidden" or len(one["loc"]) > 1)
            where = ".".join(map(str, first["loc"])) or "arguments"
            known = ", ".join(self._names()) or "none"
            if first["type"] == "extra_forbidden":
                hint = nearest(where.lower(), self._names())
                raise ToolRetry(f"{self.name}: no argument {where[:80]!r}; there are: {known}{hint}") from None
            given = "" if first["type"] in ("missing", "json_invalid") else f" = {first['input']!r:.120}"
            raise ToolRetry(f"{self.name}: {where[:80]}{given}: {first['msg'][:200]}") from None
        except (ValueError, TypeError, RecursionError) as error:
            raise ToolRetry(f"{self.name}: the arguments are not plain JSON: {error!s:.200}") from None
        return {name: getattr(model, _field(name)) for name in self._names()}

    def _names(self) -> list[str]:
        return [str(info.alias) for info in self.arguments.model_fields.values()]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


def tool(
    bare: object = None,
    /,
    *,
    agents: Collection[str] = (),
    effect: Effect = "read",
    timeout_s: float = 10.0,
    trust: str = "web",
) -> Callable[[Callable[..., Any]], ToolSpec]:
    """Make a tool of a typed function with a docstring whose `Args:` describe every parameter.

    `agents`: the roles that may call it, within what the matrix of tools/registry.py allows them. `effect`: `read` changes
    nothing, `write` changes what agents remember, `publish` reaches the outside. `timeout_s`: seconds after which it is
    cancelled. `trust`: where its text comes from: `operator`, `brand`, `model`, or `web`, the least trusted, unless told.
    A parameter annotated `ToolContext` is given one. A function that is not async runs in a thread of its own.

    Raises BadInput in one line that names the function, when anything of that is missing.
    """
    if bare is not None:
        name = f"{getattr(bare, '__module__', '?')}:{getattr(bare, '__name__', bare)!s:.60}"
        raise BadInput(f'tool {name}: write @tool(agents={{"research"}}), naming the roles that may call it')

    def make(function: Callable[..., Any]) -> ToolSpec:
        name = getattr(function, "__name__", repr(function))
        where = f"tool {getattr(function, '__module__', '?')}:{name}"
        if not inspect.isfunction(function):
            raise BadInput(f"{where} is not a function: put @tool on a function")
        if not _NAME.fullmatch(name):
            raise BadInput(f"{where}: its name must be lower case letters, digits and _, a letter first, at most 64")
        if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
            raise BadInput(f"{where} yields: return a list instead")
        roles = _roles(agents, where)
        if effect not in EFFECTS:
            raise BadInput(f"{where}: effect {effect!r} is not one of {', '.join(EFFECTS)}")
        if type(timeout_s) not in (int, float) or not 0 < timeout_s <= MAX_TIMEOUT_S:
            raise BadInput(f"{where}: timeout_s={timeout_s!r} must be above 0 and at most {MAX_TIMEOUT_S:g} seconds")
        if trust not in list(Trust):
            raise BadInput(f"{where}: trust {trust!r} is not one of {', '.join(Trust)}")
        description, told = _docstring(function, where)
        model, context_parameter = _arguments(function, told, where)
        return ToolSpec(
            name, function, roles, effect, float(timeout_s), Trust(trust), description, model, context_parameter
        )

    return make


def _roles(agents: Collection[str], where: str) -> frozenset[AgentType]:
    if isinstance(agents, str) or not isinstance(agents, Collection) or not agents:
        raise BadInput(f'{where}: agents={agents!r} must be a set of roles, such as agents={{"research"}}')
    unknown = sorted(str(agent) for agent in agents if agent not in list(AgentType))
    if unknown:
        raise BadInput(f"{where}: agent {unknown[0]!r} is not one of {', '.join(AgentType)}")
    return frozenset(AgentType(agent) for agent in agents)


def _docstring(function: Callable[..., Any], where: str) -> tuple[str, dict[str, str]]:
    """What the tool does, in words, and what each argument is."""
    text = inspect.getdoc(function) or ""
    lines, about, told = text.split("\n"), list[str](), dict[str, str]()
    section, name, indent = "", "", 0
    for line in lines:
        if found := _SECTION.fullmatch(line):
            section, name, indent = found[1], "", 0
        elif not section:
            about.append(line)
        elif section in ("Args", "Arguments") and line.strip():
            depth = len(line) - len(line.lstrip())
            indent = indent or depth
            if depth < indent:  # words behind the section, or one of another name: nothing about an argument
                section = "after"
                continue
            entry = _ARGUMENT.fullmatch(line.strip()) if depth <= indent else None
            if entry:
                name = entry[1]
                told[name] = entry[2].strip()
            elif name:
                told[name] = f"{told[name]} {line.strip()}".strip()
    description = " ".join(" ".join(about).split())
    if not description:
        raise BadInput(f"{where} has no docstring: say in its first line what it does; agents choose by it")
    return description, told


def _arguments(function: Callable[..., Any], told: dict[str, str], where: str) -> tuple[type[BaseModel], str]:
    from tools.context import ToolContext

    parameters = inspect.signature(function).parameters
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception as error:  # an annotation is any expression: whatever it raises is the author's to read
        raise BadInput(f"{where}: its annotations cannot be read: {type(error).__name__}: {error!s:.160}") from None
    fields: dict[str, Any] = {}
    known = list[str]()
    context_parameter = ""
    for name, parameter in parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise BadInput(f"{where}: parameter {parameter} cannot be named in a call: give every parameter a name")
        if parameter.annotation is parameter.empty:
            raise BadInput(f"{where}: parameter {name!r} has no type: annotate it, such as {name}: str")
        if hints[name] is ToolContext:
            context_parameter = name
            continue
        if hints[name] in (Any, object, inspect.Parameter.empty):
            raise BadInput(f"{where}: parameter {name!r} may be anything: annotate it with what it is")
        if not told.get(name):
            raise BadInput(f"{where}: its docstring does not say what {name!r} is: add a line to `Args:`")
        default = ... if parameter.default is parameter.empty else parameter.default
        if typing.get_origin(hints[name]) in _LAZY:
            raise BadInput(f"{where}: parameter {name!r} would be checked as it is read: make it a list")
        # By another name inside: `copy`, `schema` and `model_config` mean something to pydantic, and are fine names.
        fields[_field(name)] = (hints[name], Field(default, alias=name, description=told[name]))
        known.append(name)
    if "return" not in hints:
        raise BadInput(f"{where}: says not what it returns: annotate it, such as -> list[str]")
    for name in told:
        if name not in known:
            raise BadInput(f"{where}: its docstring describes {name!r}, which is not one of its parameters")
    config = ConfigDict(extra="forbid", strict=True, validate_default=True, protected_namespaces=())
    title = function.__name__
    try:
        model: type[BaseModel] = create_model(title, __config__=config, **fields)
        model.model_json_schema()
        for name, info in model.model_fields.items():
            if not info.is_required():
                create_model(title, __config__=config, **{name: fields[name]})()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise BadInput(
            f"{where}: the default of {'.'.join(map(str, first['loc'])).removeprefix(_field(''))} is wrong: {first['msg']}"
        ) from None
    except (PydanticUserError, PydanticSchemaGenerationError, NameError, TypeError, ValueError) as error:
        reason = str(error).split("\n")[0][:200]
        raise BadInput(f"{where}: its parameters have no JSON Schema: {reason}") from None
    return model, context_parameter


def _field(name: str) -> str:
    return f"arg_{name}"


def specs_in(module: types.ModuleType) -> list[ToolSpec]:
    """The tools that are written in `module`, or in its parts if it is a package, by name; not what it imports from elsewhere."""
    found = {id(value): value for value in vars(module).values() if isinstance(value, ToolSpec)}
    own = [spec for spec in found.values() if f"{spec.function.__module__}.".startswith(f"{module.__name__}.")]
    return sorted(own, key=lambda spec: spec.name)
