"""A brand's folder, read and checked: brand.toml, guidelines.toml, claims.toml, themes.toml, templates.toml, documents/*.md.

The folder is the source of the brand's guideline, claim and template rows; every run loads it by content hash
(`memory/brands.py`). A mistake is refused with the file, the field, the value and the remedy.
"""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from config.calendar import DAYS, Day
from config.errors import BadInput, NotFound
from config.vocabulary import CONTENT_TYPES, PLATFORMS, RULE_PACKS, Severity, nearest

_SMALL_WORDS = frozenset(
    """
    the and for with from our your their are was not but you can how why what when who all any into about over
    """.split()  # noqa: SIM905 - a line of quoted words is no easier to read
)
MAX_FILE_BYTES = 1024 * 1024


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class Cell(_Part):
    """One place of the weekly grid: on `day`, at `time` wall clock of the brand's zone, one piece."""

    day: Day
    platform: str
    content_type: str
    time: str

    @field_validator("time", mode="before")
    @classmethod
    def _time(cls, value: Any) -> Any:
        if not isinstance(value, str) or not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", value):
            raise ValueError('is not a time: write it as "08:00", from "00:00" to "23:59"')
        return value

    @field_validator("platform")
    @classmethod
    def _platform(cls, value: str) -> str:
        if value not in PLATFORMS:
            raise ValueError(f"is not a platform{nearest(value, list(PLATFORMS))}; there are: {', '.join(PLATFORMS)}")
        return value

    @field_validator("content_type")
    @classmethod
    def _content_type(cls, value: str) -> str:
        if value not in CONTENT_TYPES:
            known = ", ".join(CONTENT_TYPES)
            raise ValueError(f"is not a content type{nearest(value, list(CONTENT_TYPES))}; there are: {known}")
        return value

    @property
    def weekday(self) -> int:
        """1 for Monday to 7 for Sunday."""
        return DAYS.index(self.day) + 1


class Guideline(_Part):
    """One demand: what must be there, what must not."""

    type: Literal["voice", "visual", "messaging", "claims"]
    title: str
    description: str = ""
    category: Literal["medical", "wellness", "marketing", "legal", ""] = ""
    requirements: tuple[str, ...] = ()
    restrictions: tuple[str, ...] = ()
    """For voice and messaging: exact words or phrases that outgoing text must not hold."""
    examples: str = ""
    severity: Severity = Severity.PREFERRED
    platforms: tuple[str, ...] = ()


class Claim(_Part):
    """A sentence that the brand may say (approved) or must not (blocked), word for word."""

    text: str = Field(min_length=3)
    status: Literal["approved", "blocked", "needs_review"] = "approved"
    markets: tuple[str, ...] = ("us",)
    evidence: str = ""
    approved_by: str = ""
    approved_on: str = ""


class DayTheme(_Part):
    """What one day of a themed week is about."""

    day: Day
    title: str
    angle: str = ""
    keywords: tuple[str, ...] = ()


class Theme(_Part):
    """A themed week."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    title: str
    description: str = ""
    keywords: tuple[str, ...] = ()
    days: tuple[DayTheme, ...] = ()


class Template(_Part):
    """Lines with {placeholders} for each field of a post."""

    name: str
    content_type: str
    platform: str = "any"
    structure: dict[str, Any]
    media: str = ""
    script: str = ""
    checks: tuple[str, ...] = ()


class BrandProfile(_Part):
    """Everything that a brand's folder says."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    title: str
    description: str = ""
    zone: str = "UTC"
    language: str = Field("en", pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")
    packs: tuple[str, ...] = ("us", "platform")
    approval: Literal["all", "flagged"] = "all"
    rules_only_ok: bool = False
    audience: str = ""
    call_to_action: tuple[str, ...] = ()
    hashtags: tuple[str, ...] = ()
    related: tuple[tuple[str, ...], ...] = ()
    """Words that the brand uses for one subject, a list each: offline knowledge is found by words, so "sleep" leads to
    "bedroom" only where a list says so."""
    link: str = ""
    visual_style: str = ""
    grid: tuple[Cell, ...] = ()
    accounts: dict[str, str] = Field(default_factory=dict)
    """Platform -> account name; `default` where none is given."""
    guidelines: tuple[Guideline, ...] = ()
    claims: tuple[Claim, ...] = ()
    themes: tuple[Theme, ...] = ()
    templates: tuple[Template, ...] = ()
    content_hash: str = ""

    @field_validator("packs")
    @classmethod
    def _packs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError(f"names no rule pack, so nothing would be checked: name some of {', '.join(RULE_PACKS)}")
        for pack in value:
            if pack not in RULE_PACKS:
                raise ValueError(
                    f"holds {pack!r}, which is no rule pack{nearest(pack, list(RULE_PACKS))}; there are: {', '.join(RULE_PACKS)}"
                )
        return value

    @field_validator("grid")
    @classmethod
    def _grid(cls, value: tuple[Cell, ...]) -> tuple[Cell, ...]:
        for n, cell in enumerate(value):
            if any(
                (cell.day, cell.platform, cell.time) == (other.day, other.platform, other.time) for other in value[:n]
            ):
                raise ValueError(f"has two cells on {cell.day} at {cell.time} for {cell.platform}: move or remove one")
        return value

    @field_validator("zone", mode="before")
    @classmethod
    def _zone(cls, value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError('is not a time zone: use an IANA name in quotes, such as "Europe/Berlin"')
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("is not a time zone: use an IANA name such as Europe/Berlin") from None
        return value

    def account(self, platform: str) -> str:
        """The account that posts for `platform`."""
        return self.accounts.get(platform, "default")

    def find_theme(self, text: str) -> Theme:
        """The theme of that name or title, else a theme made from the text alone."""
        wanted = text.strip().lower()
        for theme in self.themes:
            if wanted in (theme.name, theme.title.lower()):
                return theme
        slug = "-".join("".join(c if c.isalnum() and c.isascii() else " " for c in wanted).split())[:64].strip("-")
        words = [word for word in re.findall(r"[^\W_]{3,}", wanted) if word not in _SMALL_WORDS]
        return Theme(name=slug or "theme", title=text.strip(), keywords=tuple(dict.fromkeys(words)))


_LISTS = {
    "guidelines.toml": ("guideline", "guidelines"),
    "claims.toml": ("claim", "claims"),
    "themes.toml": ("theme", "themes"),
    "templates.toml": ("template", "templates"),
}


def _read_toml(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise BadInput(f"{path}: {size} bytes, the limit is {MAX_FILE_BYTES}: split it or cut it down")
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise BadInput(f"{path}: is not UTF-8: save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{path}: {error}: mend that line") from None
    except RecursionError:
        raise BadInput(f"{path}: lists or tables nest too deeply: a brand's file needs three levels") from None


def _refuse_unread(folder: Path) -> None:
    """A file of settings that nothing reads would be rules that nobody keeps."""
    read = ["brand.toml", *_LISTS]
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in (".toml", ".yaml", ".yml", ".json") and path.name not in read:
            raise BadInput(
                f"{path}: is not read{nearest(path.name, read)}: a brand is {', '.join(read)}; move it there, or away"
            )


def load_brand(folder: Path) -> BrandProfile:
    """The profile in `folder`. Raises NotFound without brand.toml, BadInput naming file, field, value and remedy otherwise."""
    if not (folder / "brand.toml").is_file():
        raise NotFound(f"no brand at {folder}: it has no brand.toml; make one with `brand new NAME`")
    _refuse_unread(folder)
    digest = hashlib.sha256()
    values = _read_toml(folder / "brand.toml")
    digest.update((folder / "brand.toml").read_bytes())
    for file, (key, field) in _LISTS.items():
        path = folder / file
        if not os.path.lexists(path):
            continue
        if not path.is_file():  # passed over, its rules would be kept by nobody
            raise BadInput(f"{path}: is not a file: put the file there that it stands for, or move it away")
        digest.update(file.encode() + b"\0" + path.read_bytes())
        content = _read_toml(path)
        extra = sorted(set(content) - {key})
        if extra:
            raise BadInput(f"{path}: unknown table {extra[0]!r}{nearest(extra[0], [key])}: use [[{key}]]")
        values[field] = content.get(key, [])
    try:
        return BrandProfile.model_validate({**values, "content_hash": digest.hexdigest()})
    except ValidationError as error:
        raise BadInput(_complaint(folder, error)) from None


def _complaint(folder: Path, error: ValidationError) -> str:
    """The first mistake in one line: file, field as its author finds it, value and remedy."""
    first = error.errors()[0]
    loc = first["loc"]
    file = next((f for f, (_, field) in _LISTS.items() if loc and field == loc[0]), "brand.toml")
    place, spot, kind = folder / file, _spot(loc), first["type"]
    if kind == "extra_forbidden":
        known = list(BrandProfile.model_fields) if len(loc) == 1 else []
        return f"{place}: unknown field {spot!r}{nearest(str(loc[-1]), known)}: remove or rename it"
    if kind == "missing":
        # What was written instead is among the fields that are too many.
        many = [
            str(e["loc"][-1]) for e in error.errors() if e["type"] == "extra_forbidden" and e["loc"][:-1] == loc[:-1]
        ]
        written = next((name for name in many if nearest(name, [str(loc[-1])])), "")
        return f"{place}: {spot} is missing: " + (f"rename {written!r}" if written else f"add {loc[-1]} = ...")
    name = f"{loc[-1]} = " if isinstance(loc[-1], str) else ""
    expected = str(first.get("ctx", {}).get("expected", ""))
    says = {
        "tuple_type": f'write a list: {name}["..."]',
        "string_type": f'write a text in quotes: {name}"..."',
        "literal_error": f"write {expected}{nearest(str(first['input']), re.findall(r'[a-z_]{2,}', expected))}",
        "bool_parsing": "write true or false",
        "string_pattern_mismatch": "write it like en or pt-BR" if loc == ("language",) else first["msg"],
    }
    return f"{place}: {spot} = {first['input']!r:.120}: {says.get(kind, first['msg'].removeprefix('Value error, '))}"


def _spot(loc: tuple[int | str, ...]) -> str:
    """Where in the file: `[[theme]] 2: [[theme.days]] 1: title` for the title of the second theme's first day."""
    tables = {"grid": "grid", "days": "days", **{field: key for key, field in _LISTS.values()}}
    words: list[str] = []
    names: list[str] = []
    for part in loc:
        if isinstance(part, str):
            names.append(tables.get(part, part))
            words.append(part)
        elif words[-1] in tables:
            words[-1] = f"[[{'.'.join(names)}]] {part + 1}"
        else:
            words[-1] += f" {part + 1}"
    return ": ".join(words) or "brand"


def shipped_brands() -> Path:
    """The folder of the brands that come with the product."""
    return Path(str(resources.files("config"))) / "brands"


def find_brand_folder(name: str, brands_dir: Path) -> Path:
    """The folder of brand `name`: in the operator's `brands_dir`, else a shipped one. Raises NotFound naming what there is."""
    for base in (brands_dir, shipped_brands()):
        if (base / name / "brand.toml").is_file():
            return base / name
    known = sorted(
        {f.parent.name for base in (brands_dir, shipped_brands()) if base.is_dir() for f in base.glob("*/brand.toml")}
    )
    raise NotFound(
        f"brand {name!r} is not known{nearest(name, known)}: there are {', '.join(known) or 'none'}; make one with `brand new {name}`, "
        f"or name the folder that has it with --data-dir (now {brands_dir.parent})"
    )
