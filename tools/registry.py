"""Which tools there are, and which role may have which effect: decided here, whatever a model asks for.

| role | read | write | publish |
|---|---|---|---|
| research | yes | no: it reads what strangers wrote | no |
| creation | yes | yes: what it remembers | no |
| compliance | yes | no: who judges changes nothing | no |
| coordination | yes | yes: what it remembers | only with a permit of the publication ledger |

A step is opened for `read` alone unless its code says otherwise; a model is offered no more than its step was opened for; and
once a step has read text of the web or of a model, it writes and publishes nothing more (tools/calls.py).
"""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from config.errors import BadInput, CopydeskError, DuplicateName, UnknownTool
from config.vocabulary import AgentType, nearest
from tools.plugin_api import Effect, ToolSpec, specs_in

GROUP = "copydesk.tools"
"""The entry point group of plug-ins: each names a module with tools in it, or one tool."""
BUILTIN = "tools.builtin"

MATRIX: Mapping[AgentType, frozenset[Effect]] = {
    AgentType.RESEARCH: frozenset({"read"}),
    AgentType.CREATION: frozenset({"read", "write"}),
    AgentType.COMPLIANCE: frozenset({"read"}),
    AgentType.COORDINATION: frozenset({"read", "write", "publish"}),
}


def may(role: AgentType, effect: Effect) -> bool:
    """Whether `role` may ever have this effect."""
    return effect in MATRIX[role]


@dataclass(frozen=True)
class Broken:
    """A plug-in, or a tool of one, that cannot be used: its name, where it is from, and why in one line."""

    name: str
    where: str
    reason: str


@dataclass(frozen=True)
class ToolSet:
    """The tools that were found, by name, and what was broken."""

    tools: Mapping[str, ToolSpec] = field(default_factory=dict)
    broken: tuple[Broken, ...] = ()
    where: Mapping[str, str] = field(default_factory=dict)
    """Tool -> the module or distribution that it is from."""

    def __iter__(self) -> Iterator[ToolSpec]:
        return iter(self.tools.values())

    def get(self, name: str) -> ToolSpec:
        """The tool of that name. Raises UnknownTool with the nearest name, or with why it is broken."""
        if name in self.tools:
            return self.tools[name]
        for broken in self.broken:
            if broken.name == name:
                raise UnknownTool(f"tool {name!r} of {broken.where} cannot be used: {broken.reason}")
        known = ", ".join(self.tools) or "none"
        raise UnknownTool(f"tool {name[:80]!r} is unknown{nearest(name, list(self.tools))}; there are: {known}")

    def with_tools(self, *specs: ToolSpec) -> ToolSet:
        """These tools and `specs`. Raises DuplicateName naming both places, BadInput for an effect that no role of it may have."""
        tools, where = dict(self.tools), dict(self.where)
        for spec in specs:
            if spec.name in tools:
                raise DuplicateName(
                    f"tool {spec.name!r} is in {tools[spec.name].origin} and in {spec.origin}: rename one"
                )
            if problem := _forbidden(spec):
                raise BadInput(problem)
            tools[spec.name], where[spec.name] = spec, spec.function.__module__
        return ToolSet(dict(sorted(tools.items())), self.broken, where)


def _forbidden(spec: ToolSpec) -> str:
    """Why this tool can be nobody's; '' when it can."""
    for role in sorted(spec.agents):
        if not may(role, spec.effect):
            having = ", ".join(str(r) for r in AgentType if may(r, spec.effect))
            return f"tool {spec.name!r}: {role} may not {spec.effect}; of the roles, {having} may"
    return ""


@cache
def shipped_tools() -> ToolSet:
    """What `discover` finds, looked for once a process."""
    return discover()


def discover(builtin: str = BUILTIN, group: str = GROUP) -> ToolSet:
    """The tools in the folder `builtin` and of the entry points in `group`.

    What cannot be loaded is in `broken`, and costs nothing but itself. Of two tools with one name, ours stays; of two
    plug-ins' neither does, since the order in which they were installed decides nothing.
    """
    broken: list[Broken] = []
    ours: dict[str, ToolSpec] = {}
    where: dict[str, str] = {}
    for name, module in _builtin_modules(builtin, broken):
        _take(specs_in(module), name, ours, where, broken)
    theirs: dict[str, ToolSpec] = {}
    taken: dict[str, str] = {}
    lost: set[str] = set()
    for name, place, specs in _plugins(group, broken):
        for spec in specs:
            if theirs.get(spec.name) is spec:  # a package and a part of it, both named
                continue
            clash = where.get(spec.name) or taken.get(spec.name)
            if clash:
                broken.append(Broken(spec.name, place, f"{clash} has a tool of that name too: rename one"))
                lost |= {spec.name} if spec.name in taken else set()
            else:
                _take([spec], place, theirs, taken, broken)
        if not specs:
            broken.append(Broken(name, place, "has no tool in it: decorate its functions with @tool"))
    for name in sorted(lost & theirs.keys()):
        broken.append(Broken(name, taken[name], "another plug-in has a tool of that name too: neither is used"))
        del theirs[name]
    tools = dict(sorted({**ours, **theirs}.items()))
    places = {**where, **taken}
    return ToolSet(tools, tuple(broken), {name: places[name] for name in tools})


def _take(
    specs: Iterable[ToolSpec], place: str, tools: dict[str, ToolSpec], where: dict[str, str], broken: list[Broken]
) -> None:
    for spec in specs:
        if spec.name in tools:
            broken.append(Broken(spec.name, place, f"{where[spec.name]} has a tool of that name too: rename one"))
        elif problem := _forbidden(spec):
            broken.append(Broken(spec.name, place, problem))
        else:
            tools[spec.name], where[spec.name] = spec, place


def _builtin_modules(package: str, broken: list[Broken]) -> Iterator[tuple[str, types.ModuleType]]:
    folder = importlib.import_module(package)
    for found in sorted(pkgutil.iter_modules(folder.__path__), key=lambda module: module.name):
        name = f"{package}.{found.name}"
        try:
            module = _quietly(partial(importlib.import_module, name))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a dropped-in file is anybody's code: one bad file must not stop the others
            broken.append(Broken(found.name, name, _reason(error)))
        else:
            yield name, module


def _plugins(group: str, broken: list[Broken]) -> Iterator[tuple[str, str, list[ToolSpec]]]:
    points = sorted(importlib.metadata.entry_points(group=group), key=lambda point: (point.name, point.value))
    seen: set[tuple[str, str]] = set()
    for point in points:
        if (point.name, point.value) in seen:  # a distribution that is on the path twice is still one
            continue
        seen.add((point.name, point.value))
        # Without its METADATA a distribution has neither.
        place = f"{point.dist.name} {point.dist.version}" if point.dist and point.dist.name else point.value
        try:
            specs = _tools_of(point)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plug-in is anybody's code: one bad plug-in must not stop the others
            broken.append(Broken(point.name, place, _reason(error)))
            continue
        yield point.name, place, specs


def _tools_of(point: importlib.metadata.EntryPoint) -> list[ToolSpec]:
    """The tools that an entry point names. Raises BadInput for anything else, and whatever its import raises."""
    if point.pattern.match(point.value) is None:
        raise BadInput(f"entry point {point.value[:80]!r} names nothing: write it as module, or module:tool")
    loaded = _quietly(point.load)
    if isinstance(loaded, types.ModuleType):
        return specs_in(loaded)
    listed = list(loaded) if isinstance(loaded, list | tuple | set | frozenset) else [loaded]
    specs = [spec for spec in listed if isinstance(spec, ToolSpec)]
    if len(specs) < len(listed):
        raise BadInput(f"{point.value} holds something that is no tool: decorate it with @tool")
    return list({id(spec): spec for spec in specs}.values())


def _quietly(load: Callable[[], Any]) -> Any:
    """What `load` returns; what it prints meanwhile is nobody's output, and goes to stderr."""
    with redirect_stdout(sys.stderr):
        return load()


def _reason(error: BaseException) -> str:
    """Why, in one line without secrets."""
    from config.log import escape, redact

    text = str(error).split("\n")[0] or "no reason given"
    return escape(redact(text if isinstance(error, CopydeskError) else f"{type(error).__name__}: {text}"))[:300]
