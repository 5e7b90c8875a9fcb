"""What platforms dictate: which cells of platform x content type exist, how each counts text, how much it takes.

The numbers are data in platforms.toml, dated and sourced. A plug-in registers its own platform with `register_limits`.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from functools import cache
from importlib import resources
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from config.addresses import find_addresses
from config.errors import BadInput, DuplicateName
from config.vocabulary import nearest

Unit = Literal["chars", "weighted", "bytes", "utf16"]
UNIT_WORDS: dict[str, str] = {
    "chars": "characters",
    "weighted": "weighted characters",
    "bytes": "bytes of UTF-8",
    "utf16": "UTF-16 units",
}
URL_WEIGHT = 23


class Limits(BaseModel):
    """What one platform takes for one content type. `caption` counts caption and hashtags together, as they go out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    form: str
    """The media that belongs to it, for people and media prompts."""
    source: str
    checked: Any
    caption: int = Field(ge=1)
    unit: Unit
    title: int = 0
    """Longest title; 0: the platform has no title."""
    title_unit: Unit = "chars"
    title_required: bool = False
    forbidden: str = ""
    """Characters that the platform refuses in titles and captions."""
    hashtags: int = 30
    mentions: int = 0
    """Most @mentions; 0: no limit known."""
    alt_text: int = 1000
    fold: int = 0
    """Characters of a caption that a feed shows before `more`; 0: all of them, or no number is known."""
    fold_lines: int = 0
    """Lines that it shows at most; 0: as many as there are."""
    fold_source: str = ""
    slides: tuple[int, int] | None = None
    parts: tuple[int, int] | None = None
    text_alone: bool = True
    """Whether a quote may be its caption alone; False: the platform posts nothing without an image or a video."""


@cache
def _tables() -> dict[str, dict[str, Limits]]:
    raw = tomllib.loads((resources.files("config") / "platforms.toml").read_text("utf-8"))
    tables: dict[str, dict[str, Limits]] = {}
    for platform, values in raw.items():
        shared = {key: value for key, value in values.items() if not isinstance(value, dict)}
        cells = {key: value for key, value in values.items() if isinstance(value, dict)}
        tables[platform] = {name: Limits.model_validate({**shared, **cell}) for name, cell in cells.items()}
    return tables


def register_limits(platform: str, cells: dict[str, Limits]) -> None:
    """Add what a plug-in's platform takes, a `Limits` a content type. Raises DuplicateName if the platform is there."""
    if platform in _tables():
        raise DuplicateName(f"limits of platform {platform!r} are registered already: choose another name")
    _tables()[platform] = dict(cells)


def possible(platform: str, content_type: str) -> bool:
    """Whether `platform` knows anything like `content_type`."""
    return content_type in _tables().get(platform, {})


def possible_types(platform: str) -> tuple[str, ...]:
    """The content types that `platform` takes, in the order of platforms.toml; empty for an unknown platform."""
    return tuple(_tables().get(platform, {}))


def limits(platform: str, content_type: str) -> Limits:
    """What `platform` takes for `content_type`. Raises BadInput for an impossible cell, naming the possible ones."""
    cells = _tables().get(platform)
    if cells is None:
        raise BadInput(f"platform {platform[:80]!r} has no limits{nearest(platform, list(_tables()))}: register them")
    if content_type not in cells:
        raise BadInput(f"{platform} has no {content_type}: it takes {', '.join(cells)}")
    return cells[content_type]


def outgoing_caption(caption: str, hashtags: tuple[str, ...] | list[str]) -> str:
    """The caption as it is sent: hashtags that it does not hold already follow on a line of their own, each once."""
    there = {word.casefold() for word in find_hashtags(caption)}
    missing: dict[str, str] = {}
    for tag in (f"#{tag.lstrip('#')}" for tag in hashtags):
        if tag.casefold() not in there:
            missing.setdefault(tag.casefold(), tag)
    return "\n\n".join(part for part in (caption, " ".join(missing.values())) if part)


def before_fold(caption: str, cell: Limits) -> int:
    """How many characters of the caption as it is sent a feed shows before `more`: all of them where it shows all."""
    if not cell.fold:
        return len(caption)
    lines = caption.splitlines(keepends=True)
    shown = sum(map(len, lines[: cell.fold_lines])) if cell.fold_lines else len(caption)
    at = min(len(caption), cell.fold, shown)
    while 0 < at < len(caption) and (_joins(caption[at]) or caption[at - 1] == "\u200d"):
        at -= 1  # no feed tears an emoji or a letter from its accent
    return at


def _joins(char: str) -> bool:
    return unicodedata.category(char).startswith("M") or char == "\u200d" or "\U0001f3fb" <= char <= "\U0001f3ff"


def find_hashtags(text: str) -> list[str]:
    """The hashtags in `text`, in order: # and letters with their marks (vowels of Hindi and Thai are marks), digits and _."""
    return _hashtag().findall(text)


@cache
def _hashtag() -> re.Pattern[str]:
    # Not \w alone: in Python that is letters without the marks which many scripts write their vowels with.
    marks = "".join(chr(code) for code in range(0x300, 0x1E000) if unicodedata.category(chr(code)).startswith("M"))
    return re.compile(rf"(?<!\w)#[\w{marks}]+")


def length(text: str, unit: Unit) -> int:
    """The length of `text` as a platform counts it."""
    if unit == "weighted":
        return weighted_length(text)
    if unit == "bytes":
        return len(text.encode("utf-8"))
    if unit == "utf16":
        return len(text.encode("utf-16-le")) // 2
    return len(text)


# One emoji, however many code points: flags, keycaps, pictographs with skin tones, selectors, joiners and tags.
_PICTOGRAPH = (
    "(?:[\u00a9\u00ae](?=\ufe0f)|[\u203c\u2049\u2122\u2139\u2194-\u21aa\u231a-\u23ff\u24c2\u25aa-\u27bf\u2934\u2935\u2b05-\u2b55\u3030\u303d\u3297\u3299"
    "\U0001f004\U0001f0cf\U0001f170-\U0001f251\U0001f300-\U0001f64f\U0001f680-\U0001f6ff\U0001f7e0-\U0001f7f0\U0001f90c-\U0001faff])"
)
_SINGLE = rf"{_PICTOGRAPH}(?:[\U0001f3fb-\U0001f3ff]|\ufe0f)?(?:[\U000e0020-\U000e007f]+)?"
_EMOJI = re.compile(rf"[\U0001f1e6-\U0001f1ff]{{2}}|[0-9#*]\ufe0f?\u20e3|{_SINGLE}(?:\u200d{_SINGLE})*")
_TLDS = (
    "com|org|net|edu|gov|mil|int|info|biz|name|pro|aero|app|blog|cloud|club|design|dev|digital|email|health|life|live|media|news|"
    "online|page|shop|site|space|store|tech|today|website|wiki|world|xyz|[a-z]{2}"
)
_TURNS = "\u200e\u200f\u202a-\u202e\u2066-\u2069"
"""Marks that turn the direction of writing: an address ends before them, and each weighs as it stands."""
_URL = re.compile(
    rf"https?://[^\s<>\"{_TURNS}]*[^\s<>\".,;:!?)\]'…{_TURNS}]|(?<![@\w./-])(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+(?:{_TLDS})(?![\w-])(?:/[^\s<>\"]*[^\s<>\".,;:!?)\]'])?",
    re.IGNORECASE,
)
_LIGHT = ((0, 4351), (8192, 8205), (8208, 8223), (8242, 8247))


def find_urls(text: str) -> list[str]:
    """What looks like a web address in `text`, with or without https://, in order; more than what X shortens as one."""
    return [match.group() for match in _URL.finditer(text) if _is_address(match.group())]


def _is_address(url: str) -> bool:
    """Whether every label of the host fits DNS (63 bytes, as punycode) and the whole fits X (4,096 characters)."""
    host = re.split(r"[/?#:]", re.sub(r"^https?://", "", url, flags=re.IGNORECASE))[0]
    labels = [len(label) if label.isascii() else 4 + len(label.encode("punycode")) for label in host.split(".")]
    return len(url) <= 4096 and len(labels) > 1 and all(0 < size <= 63 for size in labels)


def weighted_length(text: str) -> int:
    """Length as X counts it (twitter-text v3): an address is 23, an emoji 2, Latin and its like 1, the rest 2."""
    text = unicodedata.normalize("NFC", text)
    total, rest, at = 0, [], 0
    for start, end in find_addresses(text):
        total += URL_WEIGHT
        rest.append(text[at:start])
        at = end
    for stretch in (*rest, text[at:]):
        total += 2 * len(_EMOJI.findall(stretch))
        total += sum(1 if _is_light(char) else 2 for char in _EMOJI.sub("", stretch))
    return total


def _is_light(char: str) -> bool:
    return any(low <= ord(char) <= high for low, high in _LIGHT)
