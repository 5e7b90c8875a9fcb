"""`brand`: the folders that say what a brand is, demands and may say."""

from __future__ import annotations

import argparse
import asyncio
import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.errors import BadInput, Conflict, CopydeskError
from runtime.commands.brand_gaps import brand_gaps
from runtime.commands.common import (
    DEFAULT_BRAND,
    FINDINGS,
    OK,
    add_parts,
    add_verb,
    brand_of,
    emit,
    load,
    next_command,
    opened,
    preferred,
    run_async,
)

if TYPE_CHECKING:
    from config.brand_profile import BrandProfile
    from config.settings import Settings

NO_DOCUMENTS = "documents holds nothing to learn from: add Markdown or text, or use `knowledge add`"
FILES = ("brand.toml", "guidelines.toml", "claims.toml", "themes.toml", "templates.toml")


def register(verbs: Any) -> None:
    parts = add_parts(add_verb(verbs, "brand", "make, check and see brands: a brand is a folder of text files"))
    new = add_verb(parts, "new", "make a small complete brand to edit, from the shipped example")
    new.add_argument("name", metavar="NAME", help="1-64 of a-z, 0-9 and '-'")
    new.set_defaults(run=brand_new)
    check = add_verb(parts, "check", "read a brand's folder and say what is wrong with it")
    check.add_argument("name", nargs="?", metavar="NAME", help="default: the brand of the command")
    check.set_defaults(run=brand_check)
    listing = add_verb(parts, "list", "the brands that there are")
    listing.set_defaults(run=brand_list)
    show = add_verb(parts, "show", "what a brand's folder says")
    show.add_argument("name", nargs="?", metavar="NAME", help="default: the brand of the command")
    show.set_defaults(run=brand_show)
    templates = add_verb(parts, "templates", "how often each template was used, and what reviews made of its posts")
    templates.set_defaults(run=lambda args: run_async(lambda: brand_templates(args)))


def own_brands(settings: Settings) -> Path:
    """Where the operator's brands live."""
    return settings.data_dir.absolute() / "brands"


def _named(args: argparse.Namespace) -> tuple[BrandProfile, Path]:
    from config.brand_profile import find_brand_folder, load_brand
    from config.ids import parse_slug

    settings = load(args)
    name = (
        parse_slug(args.name, what="NAME") if args.name else brand_of(args, settings, asyncio.run(preferred(settings)))
    )
    folder = find_brand_folder(name, own_brands(settings))
    profile = load_brand(folder)
    if profile.name != name:
        raise BadInput(
            f"{folder / 'brand.toml'}: name = {profile.name!r}, but its folder is {name!r}: make them the same"
        )
    return profile, folder


def brand_new(args: argparse.Namespace) -> int:
    """Write DATA_DIR/brands/NAME, whole or not at all. Raises Conflict if it exists."""
    import os
    import shutil
    import tempfile

    from config.brand_profile import load_brand, shipped_brands
    from config.ids import parse_slug

    try:
        name = parse_slug(args.name, what="NAME")
    except BadInput as error:
        meant = slug_of(args.name)
        hint = f": {next_command(args, f'brand new {meant}')}, and its title as you like in brand.toml" if meant else ""
        raise BadInput(f"{error}{hint}") from None
    settings = load(args)
    home = own_brands(settings)
    folder = home / name
    if folder.exists() or folder.is_symlink():
        raise Conflict(f"brand {name!r} exists already: choose another name, or edit {folder}")
    if (shipped_brands() / name).is_dir():
        raise Conflict(f"brand {name!r} is the shipped example, which new brands are copied from: choose another name")
    title = name.replace("-", " ").title()
    example = shipped_brands() / DEFAULT_BRAND
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.mkdir(exist_ok=True)
    # Built beside its place and renamed into it, so that a half-made brand is never there to be read.
    building = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=home))
    try:
        example_profile = load_brand(example)
        for path in [example / file for file in FILES] + sorted((example / "documents").glob("*.md")):
            if path.is_file():
                text = path.read_text("utf-8").replace(f"#{example_profile.title}", "#" + "".join(title.split()))
                text = text.replace(example_profile.title, title).replace(DEFAULT_BRAND, name)
                if path.name == "claims.toml":
                    text = _unapproved(text)
                (building / path.relative_to(example)).parent.mkdir(exist_ok=True)
                (building / path.relative_to(example)).write_text(text, "utf-8")
        profile = load_brand(building)
        building.chmod(0o700)
        try:
            os.rename(building, folder)
        except OSError:
            raise Conflict(f"brand {name!r} was made just now by somebody else: see {folder}") from None
    finally:
        shutil.rmtree(building, ignore_errors=True)
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    text = f"made {folder}: {', '.join(FILES)} and {len(files) - len(FILES)} documents\n"
    text += f"edit them, then: {next_command(args, f'brand check {name}')}"
    others = sorted(path.parent.name for path in home.glob("[!.]*/brand.toml") if path.parent.name != name)
    if others:
        text += (
            f"\nyou have {len(others) + 1} brands now ({', '.join([*others, name])}): give --brand NAME with each command, or keep one: "
            + next_command(args, f"preferences set brand {name}")
        )
    emit(args, {"name": profile.name, "folder": str(folder), "files": files}, text)
    return OK


def slug_of(text: str) -> str:
    """A name of a-z, 0-9 and '-' that reads like `text`; '' where nothing of it is left."""
    text = text.lower().translate({ord("ä"): "ae", ord("ö"): "oe", ord("ü"): "ue", ord("ß"): "ss"})
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:64].strip("-")


def _unapproved(text: str) -> str:
    """The claims with every approval taken out: nobody of the new brand has approved anything."""
    import json
    import tomllib

    lines = ["# What the brand may say word for word (approved), must not say (blocked), or may say after a review."]
    for claim in tomllib.loads(text).get("claim", []):
        status = "blocked" if claim.get("status") == "blocked" else "needs_review"
        kept = {**claim, "status": status}
        lines += ["", "[[claim]]"]
        lines += [
            f"{key} = {json.dumps(value, ensure_ascii=False)}"
            for key, value in kept.items()
            if key not in ("approved_by", "approved_on", "evidence")
        ]
    return "\n".join(lines) + "\n"


def warnings_of(profile: BrandProfile) -> list[str]:
    """What a folder that can be read still lacks or contradicts, a line each."""
    from config.platforms import possible
    from tools.checks.brand_voice import contradictions

    found = []
    for cell in profile.grid:
        if not possible(cell.platform, cell.content_type):
            found.append(f"grid: {cell.platform} has no {cell.content_type} ({cell.day} {cell.time}): change the cell")
    if not profile.grid:
        found.append("grid is empty: a week has nowhere to put a piece: add [[grid]] entries to brand.toml")
    if not profile.themes:
        found.append("themes.toml has no theme: `cycle run --theme` will work from free text alone")
    made = {template.content_type for template in profile.templates}
    for kind in sorted({cell.content_type for cell in profile.grid} - made):
        found.append(f"templates.toml has no template for {kind}: the offline model uses its plainest form")
    return found + [f"guidelines: {line}: decide which" for line in contradictions(profile)]


def unread_documents(folder: Path) -> list[str]:
    """Why documents of the brand's folder will not be learnt, one line each."""
    from memory.knowledge import EXTENSIONS, read_document

    found = []
    for path in sorted((folder / "documents").glob("*")):
        try:
            if path.is_file() and not path.name.startswith("."):
                read_document(path)
        except BadInput as error:
            found.append(f"documents/{path.name} {error}")
    if not any(path.suffix.lower() in EXTENSIONS for path in (folder / "documents").glob("*")):
        found.append(NO_DOCUMENTS)
    return found


def brand_check(args: argparse.Namespace) -> int:
    """Print what is wrong with a brand's folder; 1 when it has warnings, 2 when it cannot be read."""
    profile, folder = _named(args)
    found = check_brand(profile, folder)
    notes = [*of_the_example(folder), *words_of_the_example(profile), *other_language(profile)]
    shape = {
        "name": profile.name,
        "folder": str(folder),
        "content_hash": profile.content_hash,
        "warnings": found,
        "notes": notes,
    }
    counts = f"{len(profile.guidelines)} guidelines, {len(profile.claims)} claims, {len(profile.themes)} themes"
    head = f"{profile.name}: {counts}, {len(profile.templates)} templates, {len(profile.grid)} slots a week"
    lines = [head, *(f"  {line}" for line in found)] if found else [f"{head}: nothing is wrong"]
    emit(args, shape, "\n".join(lines + [f"  note: {line}" for line in notes]))
    return FINDINGS if found else OK


def check_brand(profile: BrandProfile, folder: Path) -> list[str]:
    """What is wrong with a brand that can be read, a line each with its remedy."""
    return [*warnings_of(profile), *brand_gaps(profile, folder), *unread_documents(folder)]


def words_of_the_example(profile: BrandProfile) -> list[str]:
    """Which parts of the profile still say, word for word, what the shipped example says."""
    from config.brand_profile import load_brand, shipped_brands

    if profile.name == DEFAULT_BRAND:
        return []
    example = load_brand(shipped_brands() / DEFAULT_BRAND)
    fields = ("description", "audience", "call_to_action", "visual_style")
    same = [field for field in fields if getattr(profile, field) == getattr(example, field)]
    held = [f"brand.toml ({', '.join(same)})"] if same else []
    if [rule.title for rule in profile.guidelines] == [rule.title for rule in example.guidelines]:
        held.append("guidelines.toml")
    if [claim.text for claim in profile.claims] == [claim.text for claim in example.claims]:
        held.append("claims.toml")
    return [f"{', '.join(held)}: still the words of the shipped example: say it in yours"] if held else []


def other_language(profile: BrandProfile) -> list[str]:
    """That rules and templates read English, where the brand writes another language."""
    if profile.language.partition("-")[0] == "en":
        return []
    return [
        f"language = {profile.language!r}: the rules look for English words, so a person has to read every post; nothing found "
        "in it means nothing"
    ]


def of_the_example(folder: Path) -> list[str]:
    """That the folder still holds pages of the shipped example, which posts would quote as the brand's own."""
    from config.brand_profile import shipped_brands
    from memory.knowledge import read_document

    example = shipped_brands() / DEFAULT_BRAND
    if folder.resolve() == example.resolve():
        return []
    held = []
    for path in sorted((example / "documents").glob("*.md")):
        copied = folder / "documents" / path.name
        try:
            # Not its attribution: `brand new` put the new name there.
            if copied.is_file() and read_document(copied).text == read_document(path).text:
                held.append(copied.name)
        except BadInput:  # `unread_documents` names it
            continue
    if not held:
        return []
    more = f" and {len(held) - 1} more" if len(held) > 1 else ""
    return [
        f"documents/{held[0]}{more}: pages of the shipped example, quoted in posts as if they were yours: put your own there "
        "and delete them (what is deleted there is forgotten)"
    ]


def brand_list(args: argparse.Namespace) -> int:
    """Print every brand, the operator's own first; one that cannot be read is listed with its mistake."""
    from config.brand_profile import load_brand, shipped_brands
    from runtime.commands.lookup import table

    settings = load(args)
    shape: list[dict[str, Any]] = []
    for base, origin in ((own_brands(settings), "own"), (shipped_brands(), "shipped")):
        for file in sorted(base.glob("*/brand.toml")) if base.is_dir() else []:
            name = file.parent.name
            if name.startswith(".") or any(row["name"] == name for row in shape):
                continue
            row = {"name": name, "origin": origin, "folder": str(file.parent), "title": "", "zone": "", "error": ""}
            try:
                profile = load_brand(file.parent)
                row |= {"title": profile.title, "zone": profile.zone}
            except CopydeskError as error:
                row["error"] = str(error)
            shape.append(row)
    lines = [[row["name"], row["origin"], row["zone"], row["title"] or row["error"]] for row in shape]
    emit(args, shape, table(["brand", "from", "zone", "title"], lines))
    return OK


def brand_show(args: argparse.Namespace) -> int:
    """Print what a brand's folder says."""
    profile, folder = _named(args)
    shape = {"folder": str(folder), **profile.model_dump(mode="json")}
    lines = [
        f"{profile.name}: {profile.title} ({profile.zone})",
        f"folder: {folder}",
        f"rule packs: {', '.join(profile.packs)}; approval: {profile.approval}; language: {profile.language}",
        f"audience: {profile.audience or 'not said'}",
        f"hashtags: {' '.join(profile.hashtags) or 'none'}; calls to action: {len(profile.call_to_action)}; "
        f"documents: {len([path for path in (folder / 'documents').glob('[!.]*') if path.is_file()])}",
        f"themes: {', '.join(theme.name for theme in profile.themes) or 'none'}",
        "the week:",
        *(
            f"  {c.day:9} {c.time}  {c.platform} {c.content_type}"
            for c in sorted(profile.grid, key=lambda c: (c.weekday, c.time))
        ),
        "guidelines:",
        *(f"  {g.severity:9} {g.type}: {g.title}" for g in profile.guidelines),
        "claims:",
        *(f"  {c.status:12} {c.text}" for c in profile.claims),
    ]
    emit(args, shape, "\n".join(lines))
    return OK


async def brand_templates(args: argparse.Namespace) -> int:
    """Print the brand's templates, the best score first, counted from what there is now."""
    from graphs.templates import TemplateNumbers, template_numbers
    from runtime.commands.lookup import table

    async with opened(args) as (runtime, brand):
        await runtime.ensure_brand(brand)
        numbers = await template_numbers(runtime.records.for_brand(brand))
        templates = runtime.profile(brand).templates
    shape = [
        {
            "name": one.name,
            "content_type": one.content_type,
            "platform": one.platform,
            "used": counted.used,
            "score": counted.score,
            "approved": counted.approved,
            "edited": counted.edited,
            "rejected": counted.rejected,
        }
        for one in templates
        for counted in (numbers.get(one.name, TemplateNumbers()),)
    ]
    shape.sort(key=lambda row: (row["content_type"], -float(str(row["score"])), row["name"]))
    lines = [[str(row[key]) for key in shape[0]] for row in shape]
    empty = "templates.toml has no template: posts are made in the plainest form of their type"
    emit(args, shape, table([*shape[0]], lines) if shape else empty)
    return OK
