"""What one post is made from, and the lines of the brand's own that may stand in it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agents.extract import GENERIC, OWN_KEYWORDS, PART, WEEKDAYS
from agents.sentences import NO_NOUN, mentions, stems, words
from config.platforms import Limits

Fact = Mapping[str, str]
LISTS = ("slides", "parts", "on_screen_text", "alt_text", "media_prompts")
TEXTS = ("title", "caption", "script", "first_comment")
LONGEST_HOOK = 12
"""Words; a reader decides in about two seconds."""
LONGEST_TAG = 24
"""Letters of a hashtag of more than three words."""
HASHTAGS = {"instagram": 5, "tiktok": 5, "youtube": 3, "facebook": 3, "twitter": 2}
"""House choice, at most what the platform takes."""

_SAYINGS = {
    "quote": ("a line to keep", "words for {weekday}"),
    "thread": ("a short thread", "a few notes"),
    "carousel": ("swipe to read", "one card at a time"),
    "story": ("a quick note", "for this {weekday}"),
    "reel": (", in half a minute", "a quick look"),
}
"""What stands behind the day's title in its second and third post, by what the post is; no two types say the same."""
_ANY = ("worth a minute", "one to remember", "good to know", "from our notes", "once more")
"""What stands there in further ones."""


_ON_A_SIDE = {
    "quote": ("a line for {weekday}", "words for {weekday}"),
    "thread": ("a thread for {weekday}", "notes for {weekday}"),
    "carousel": ("cards for {weekday}", "swipe on {weekday}"),
    "story": ("a note for {weekday}", "for this {weekday}"),
    "reel": ("half a minute for {weekday}", "a look for {weekday}"),
}
"""The same where the day is about one side of what another day is about: behind the name alone, and with the weekday."""


def name_of(title: str) -> str:
    """What the day shares with others: "Gentle stretching" of "Gentle stretching: shoulders and floor", and of "..., continued"."""
    return re.split(r": | \(", PART.sub("", title), maxsplit=1)[0]


def _short_name(name: str) -> bool:
    """Whether a name can be read in one go as a hashtag: three words, or a few short ones without a mark between them."""
    joined = "".join(words(name))
    return bool(joined) and (len(words(name)) <= 3 or (len(joined) <= LONGEST_TAG and not re.search(r"[,;:?!.]", name)))


LONGEST_SAYING = 5
"""Words."""


def _titled(title: str, saying: str) -> str:
    """The title with a saying behind it; before it where the title ends in a mark of its own."""
    bare = saying.removeprefix(", ")
    if title[-1:] in "?!.…":
        return f"{bare[:1].upper()}{bare[1:]}: {title}"
    return f"{title}{saying}" if saying != bare else f"{title}: {saying}"


def pick(seed: str, count: int) -> int:
    """A number from 0 to `count` - 1 that depends on `seed` alone."""
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8]) % count if count else 0


@dataclass(frozen=True)
class Kit:
    """What one post is made from."""

    platform: str
    content_type: str
    seed: str
    turn: int
    """Which piece of its day this is, from 0."""
    week_turn: int
    """Which piece of its week, from 0."""
    brand: Mapping[str, Any]
    theme: str
    day: int
    title: str
    keywords: Sequence[str]
    avoid: Sequence[str]
    cell: Limits
    said: str = ""
    """All facts at hand, in one text."""

    def allowed(self, text: str) -> bool:
        return bool(text) and not any(mentions(text, quote) for quote in self.avoid)

    def hooks(self) -> list[str]:
        """Lines that may open a post, at most twelve words; the one of this piece's turn first, so that a day repeats none."""
        # The angle is what the plan says about the day, not to the reader: it opens nothing.
        weekday = WEEKDAYS[self.day - 1] if 1 <= self.day <= 7 else ""
        name = name_of(self.title)
        # A long name leaves no room for more: what stands behind goes with the week's.
        name = name if len(name.split()) <= LONGEST_HOOK - LONGEST_SAYING else self.theme
        sayings = [*_SAYINGS.get(self.content_type, _SAYINGS["quote"]), *_ANY]
        if name != self.title and weekday:
            sayings = [
                *_ON_A_SIDE.get(self.content_type, _ON_A_SIDE["quote"]),
                *(f"{one} on {{weekday}}" for one in _ANY),
            ]
        own = [self.title, *(_titled(name, saying.format(weekday=weekday)) for saying in sayings)]
        own = [line for n, line in enumerate(own) if n == 0 or not (weekday and line.count(weekday) > 1)]
        fitting = [line for line in dict.fromkeys(own) if self.allowed(line) and len(line.split()) <= LONGEST_HOOK]
        at = self.turn % len(fitting) if fitting else 0
        return fitting[at:] + fitting[:at]

    def cta(self) -> str:
        """The brand's call to action of this piece; none when the week has used them all."""
        lines = [*dict.fromkeys(self.brand.get("call_to_action", ()))]
        week = pick(f"{self.theme}|calls", len(lines))
        ordered = lines[week:] + lines[:week]
        line = ordered[self.week_turn] if self.week_turn < len(ordered) else ""
        return line if self.allowed(line) else ""

    def hashtags(self) -> list[str]:
        """The brand's own, the theme, the day, then at most two keywords that say something new; rather few than odd ones."""
        most = min(HASHTAGS.get(self.platform, 3), self.cell.hashtags)
        own = ["#" + re.sub(r"\W", "", tag) for tag in self.brand.get("hashtags", ())]
        # "Gentle stretching: shoulders" is tagged for what it is a part of.
        names = [name for name in (self.theme, name_of(self.title)) if _short_name(name)]
        chosen: list[str] = []
        extra: list[str] = []
        said: set[str] = set()
        # The day's own; those behind them are for finding, and make odd tags.
        for name in [*names, *(word for word in self.keywords[:OWN_KEYWORDS] if self._worth_a_tag(word))]:
            tag = "#" + "".join(re.sub(r"\W", "", word[:1].upper() + word[1:]) for word in words(name))
            new = stems(name) - said
            if not new or len(tag) > 30 or not self._tag(tag) or tag.lower() in {t.lower() for t in (*own, *chosen)}:
                continue
            (chosen if name in names else extra).append(tag)
            said |= new
        first = own[: max(1, min(2, most - 3))]
        tags = [tag for tag in dict.fromkeys([*first, *chosen, *own, *extra[:2]]) if self._tag(tag)]
        return tags[:most]

    def _worth_a_tag(self, keyword: str) -> bool:
        """Whether readers may look for the keyword: a phrase that the facts say, or a word that two of them speak of.

        "Tin" in passing and "minutes" say nothing by themselves.
        """
        if not 1 <= len(words(keyword)) <= 3 or not stems(keyword) - GENERIC or keyword.lower() in NO_NOUN:
            return False
        spoken = sum(mentions(fact, keyword) for fact in self.said.split("\n"))
        return spoken >= (1 if " " in keyword else 2)

    def _tag(self, tag: str) -> bool:
        return len(tag) > 2 and not tag[1:].isdigit() and self.allowed(tag) and self.allowed(tag[1:])


@dataclass
class Made:
    """A post under construction and the facts it rests on."""

    fields: dict[str, Any] = field(default_factory=dict)
    facts: list[Fact] = field(default_factory=list)
    template: str = ""


def sources(facts: Sequence[Fact]) -> str:
    """The pages of the facts in their order, for a line that names them: "Stress (MedlinePlus); Evening light"."""
    return "; ".join(dict.fromkeys(fact["source_title"] for fact in facts if fact["source_title"]))


def source_line(facts: Sequence[Fact]) -> str:
    """`Source: ...` or `Sources: ...`; empty when no page has a name."""
    named = sources(facts)
    return f"{'Sources' if '; ' in named else 'Source'}: {named}" if named else ""


def visual(brand: Mapping[str, Any]) -> list[str]:
    """What the visual guidelines of the brand ask for, in their order."""
    rules = [rule for rule in brand.get("guidelines", ()) if rule.get("type") == "visual"]
    return [line for rule in rules for line in rule.get("requirements", ())]
