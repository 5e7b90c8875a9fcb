"""`tools`: what the agents may call, who may call it, and calling it by hand."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from config.errors import BadInput
from runtime.commands.common import OK, add_parts, add_verb, emit, opened, run_async

if TYPE_CHECKING:
    from config.vocabulary import AgentType
    from tools.plugin_api import Effect, ToolSpec

SHOWN = 100
"""Characters of a description that `list` shows."""


def register(verbs: Any) -> None:
    parts = add_parts(add_verb(verbs, "tools", "what agents may call: list, show and run tools, plug-ins' included"))
    listing = add_verb(parts, "list", "every tool: its effect, who may call it, where it is from; and what is broken")
    listing.set_defaults(run=tools_list)
    show = add_verb(parts, "show", "one tool: what it does and what it takes")
    show.set_defaults(run=tools_show)
    run = add_verb(parts, "run", "call a tool as an agent would, with the same checks and caps")
    run.add_argument("--arg", action="append", default=[], metavar="NAME=VALUE", help="one argument; may be repeated")
    run.add_argument("--json-args", metavar="JSON", help="all arguments as one JSON object")
    run.add_argument("--agent", metavar="ROLE", help="as which role (default: the first that may call it)")
    run.add_argument("--allow-write", action="store_true", help="also run a tool that changes what agents remember")
    run.set_defaults(run=lambda args: run_async(lambda: tools_run(args)), words=[])
    for verb in (show, run):
        verb.add_argument("name", metavar="NAME", help="as `tools list` prints it")
    run.add_argument("words", nargs="*", help=argparse.SUPPRESS)  # typed without --arg: told how


def tools_list(args: argparse.Namespace) -> int:
    """Print the tools by name, and the broken ones with their reasons. Opens nothing."""
    from runtime.commands.lookup import table
    from tools.registry import shipped_tools

    found = shipped_tools()
    shape = {
        "tools": [{**_shape(spec, found.where[spec.name]), "schema": spec.schema()} for spec in found],
        "broken": [{"name": one.name, "from": one.where, "reason": one.reason} for one in found.broken],
    }
    lines = [[spec.name, spec.effect, " ".join(_roles(spec)), _sentence(spec.description)] for spec in found]
    text = table(["tool", "effect", "agents", "what it does"], lines)
    emit(args, shape, "\n".join([text, *(f"broken: {b.name} of {b.where}: {b.reason}" for b in found.broken)]))
    return OK


def tools_show(args: argparse.Namespace) -> int:
    """Print one tool. Raises UnknownTool with the nearest name, or with why it is broken."""
    from tools.registry import shipped_tools

    found = shipped_tools()
    spec = found.get(args.name)
    schema, required = spec.schema(), spec.schema().get("required", ())
    shape = {**_shape(spec, found.where[spec.name]), "schema": schema}
    lines = [
        f"{spec.name}: {spec.description}",
        f"{spec.effect}, for {', '.join(_roles(spec))}, {spec.timeout_s:g} s, its text is of the {spec.trust}",
        f"from {found.where[spec.name]}",
    ]
    for name, about in schema.get("properties", {}).items():
        form = _form(about, schema.get("$defs", {}))
        given = "required" if name in required else f"default {json.dumps(about.get('default'))}"
        lines.append(f"  {name} ({form}, {given}): {about['description']}")
    emit(args, shape, "\n".join(lines))
    return OK


async def tools_run(args: argparse.Namespace) -> int:
    """Call one tool for the brand and print what it returned."""
    from tools.calls import ToolRefused
    from tools.plugin_api import ToolRetry
    from tools.registry import shipped_tools

    if args.words:
        raise BadInput(f"{args.words[0][:60]!r} is not an option: write --arg {shlex.quote(args.words[0])[:60]}")
    found = shipped_tools()
    spec = found.get(args.name)
    agent = _agent(args, spec)
    arguments = _arguments(args, spec)
    if spec.effect == "publish":
        raise ToolRefused(f"tool {spec.name!r} publishes: only the ledger lets it, see `publish due`")
    if spec.effect == "write" and not args.allow_write:
        raise ToolRefused(f"tool {spec.name!r} writes: give --allow-write to let it")
    try:
        spec.parse(arguments)  # what is wrong with the call is said before anything is opened
    except ToolRetry as error:
        how = ": give --arg NAME=VALUE for each argument" if "Field required" in str(error) else ""
        raise BadInput(f"{error}{how}; see `tools show {spec.name}`") from None
    async with opened(args) as (runtime, brand):
        from tools.calls import Toolbox

        await runtime.ensure_brand(brand)
        effects: set[Effect] = {"read", "write"} if args.allow_write else {"read"}
        tools = Toolbox(
            found,
            agent=agent,
            records=runtime.records.for_brand(brand),
            embedder=runtime.embedder,
            profile=runtime.profile(brand),
            clock=runtime.clock,
            effects=effects,
        )
        with redirect_stdout(sys.stderr):  # what the tool prints is not our answer
            result = await tools.call(spec.name, **arguments)
        if spec.effect == "write":
            await tools.record()
    shape = {
        "tool": result.tool,
        "trust": str(result.trust),
        "sources": list(result.sources),
        "truncated": result.truncated,
        "result": result.value,
    }
    text = result.value if isinstance(result.value, str) else json.dumps(result.value, ensure_ascii=False, indent=2)
    emit(args, shape, text + ("\n(cut short)" if result.truncated else ""))
    return OK


def _roles(spec: ToolSpec) -> list[str]:
    from config.vocabulary import AgentType

    return [str(role) for role in AgentType if role in spec.agents]


def _sentence(text: str) -> str:
    first = text.split(". ")[0]
    return first if len(first) <= SHOWN else f"{first[:SHOWN].rsplit(' ', 1)[0]} …"


def _shape(spec: ToolSpec, where: str) -> dict[str, Any]:
    return {
        "name": spec.name,
        "effect": spec.effect,
        "agents": _roles(spec),
        "timeout_s": spec.timeout_s,
        "trust": str(spec.trust),
        "from": where,
        "description": spec.description,
    }


def _agent(args: argparse.Namespace, spec: ToolSpec) -> AgentType:
    from config.vocabulary import AgentType, nearest

    roles = _roles(spec)
    if args.agent and args.agent not in roles:
        known = ", ".join(roles)
        raise BadInput(f"--agent {args.agent[:40]!r}: {spec.name} is for {known}{nearest(args.agent, roles)}")
    return AgentType(args.agent or roles[0])


def _arguments(args: argparse.Namespace, spec: ToolSpec) -> dict[str, Any]:
    """The arguments as typed: text where the tool takes text, JSON elsewhere."""
    given: dict[str, Any] = {}
    if args.json_args is not None:
        try:
            given = json.loads(args.json_args, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            raise BadInput(f"--json-args is not JSON ({error!s:.80}): give one object in quotes") from None
        if not isinstance(given, dict):
            raise BadInput(f'--json-args is a {type(given).__name__}: give one object, such as {{"query": "light"}}')
    schema = spec.schema()
    properties, shared = schema.get("properties", {}), schema.get("$defs", {})
    for text in args.arg:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise BadInput(f"--arg {text[:60]!r} must be NAME=VALUE")
        if name in given:
            raise BadInput(f"--arg {name[:60]} is given twice: give it once")
        text_is_fine = name not in properties or "string" in _types(properties[name], shared)
        given[name] = value if text_is_fine else _value(name, value)
    return given


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for n, (name, _) in enumerate(pairs):
        if name in (other for other, _ in pairs[:n]):
            raise BadInput(f"--json-args names {name[:60]!r} twice: name it once")
    return dict(pairs)


def _types(about: dict[str, Any], shared: dict[str, Any]) -> list[str]:
    """The JSON types that a schema takes, each once."""
    about = shared.get(about.get("$ref", "").removeprefix("#/$defs/"), about)
    choices = [about["const"]] if "const" in about else about.get("enum", [])
    found = [about["type"]] if "type" in about else ["string" for choice in choices if isinstance(choice, str)]
    for one in (*about.get("anyOf", ()), *about.get("oneOf", ()), *about.get("allOf", ())):
        found += _types(one, shared)
    return list(dict.fromkeys(found))


def _form(about: dict[str, Any], shared: dict[str, Any]) -> str:
    """What may be given, in words."""
    there = shared.get(about.get("$ref", "").removeprefix("#/$defs/"), about)
    if choices := there.get("enum") or ([there["const"]] if "const" in there else []):
        return f"one of {', '.join(map(str, choices))}"
    return " or ".join(_types(about, shared)) or "one of several"


def _value(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise BadInput(f'--arg {name[:60]}={text[:60]}: write the value as JSON, such as 5, true or ["a"]') from None
