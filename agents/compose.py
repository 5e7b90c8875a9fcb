"""Posts from facts and templates, without a model: a sentence stands word for word as its source has it, or not at all.

Everything comes from the material: the brand's own lines, its knowledge, its templates. What does not fit a place is
replaced by something shorter that does; what is missing is named in `gaps` and nothing is invented.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agents.sentences import label, mentions, visible, words
from config.errors import BadInput
from config.platforms import Limits, limits
from memory.rows.content import Post
from tools.checks.limits import check_limits

PLACEHOLDER = re.compile(r"\{([a-z_]+[0-9]*)\}")
LONGEST_WORDS = {"slides": 32, "on_screen_text": 7, "script": 40}
HASHTAGS = {"instagram": 5, "tiktok": 5, "youtube": 3, "facebook": 3, "twitter": 2}
LONGEST_QUOTE = 140
LISTS = ("slides", "parts", "on_screen_text", "alt_text", "media_prompts")
TEXTS = ("title", "caption", "script", "first_comment")


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
    brand: Mapping[str, Any]
    theme: str
    title: str
    angle: str
    keywords: Sequence[str]
    facts: Sequence[Mapping[str, str]]
    avoid: Sequence[str]
    cell: Limits

    def allowed(self, text: str) -> bool:
        return bool(text) and not any(mentions(text, quote) for quote in self.avoid)

    def hooks(self) -> list[str]:
        """Lines of the brand's own that may open a post, at most twelve words, the one of this piece's turn first."""
        # The angle is what the plan says about the day, not to the reader: it opens nothing.
        own = [self.title, self.theme]
        if not mentions(self.title, self.theme):
            own.insert(1, f"{self.theme}: {self.title}")
        fitting = [line for line in dict.fromkeys(own) if self.allowed(line) and len(line.split()) <= 12]
        at = self.turn % len(fitting) if fitting else 0
        return fitting[at:] + fitting[:at]

    def cta(self) -> str:
        lines = [line for line in self.brand.get("call_to_action", ()) if self.allowed(line)]
        return lines[pick(self.seed + "cta", len(lines))] if lines else ""

    def hashtags(self) -> list[str]:
        most = min(HASHTAGS.get(self.platform, 3), self.cell.hashtags)
        own = ["#" + re.sub(r"\W", "", tag) for tag in self.brand.get("hashtags", ())]
        made = ["#" + "".join(word[:1].upper() + word[1:] for word in words(keyword)) for keyword in self.keywords]
        made = [re.sub(r"[^#\w]", "", tag) for tag in made if len(tag) <= 30]
        first = own[: max(1, most - len(made))] + made + own
        unique = {
            tag.lower(): tag for tag in reversed(first) if len(tag) > 1 and not tag[1:].isdigit() and self.allowed(tag)
        }
        ordered = [tag for tag in dict.fromkeys(first) if unique.get(tag.lower()) == tag]
        return ordered[:most]


@dataclass
class Made:
    """A post under construction and the facts it rests on."""

    fields: dict[str, Any] = field(default_factory=dict)
    facts: list[Mapping[str, str]] = field(default_factory=list)
    template: str = ""


def compose(material: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to a `draft` task: fields of a post, citations, gaps, template. The same material, the same answer.

    Raises BadInput for a platform that has no such content type.
    """
    piece, brand, day = material["piece"], material["brand"], material["day"]
    kit = Kit(
        platform=piece["platform"],
        content_type=piece["content_type"],
        seed=piece["id"],
        turn=int(material.get("turn", 0)),
        brand=brand,
        theme=visible(material["theme"]),
        title=visible(day["title"]),
        angle=day.get("angle", ""),
        keywords=[*day.get("keywords", ())],
        facts=[],
        avoid=[*material.get("avoid", ())],
        cell=limits(piece["platform"], piece["content_type"]),
    )
    facts = [fact for fact in material.get("facts", ()) if kit.allowed(fact["text"])]
    templates = list(material.get("templates", ()))
    if templates:
        at = pick(kit.seed, len(templates))
        templates = templates[at:] + templates[:at]
    for template in [*templates, None]:
        made = _fitting(kit, facts, template)
        if made is not None:
            return _answer(made, gaps=())
    return _answer(_bare(kit), gaps=_missing(kit, facts, material.get("gaps", ())))


def _fitting(kit: Kit, facts: Sequence[Mapping[str, str]], template: Mapping[str, Any] | None) -> Made | None:
    """The post that fits; a fact that does not fit makes room for the next. None when the facts run out."""
    pool = list(facts)
    while pool:
        made = _built_in(kit, pool) if template is None else _from_template(kit, pool, template)
        if made is None:
            return None
        found = check_limits(
            Post.model_validate({"platform": kit.platform, "content_type": kit.content_type, **made.fields})
        )
        if not found and made.facts:
            return made
        used = made.facts or pool
        refused = [fact for fact in used if any(char in fact["text"] for char in kit.cell.forbidden)]
        worst = refused[0] if refused else max(used, key=lambda fact: len(fact["text"]))
        pool = [fact for fact in pool if fact is not worst]
    return None


def _short(facts: Sequence[Mapping[str, str]], most: int) -> list[Mapping[str, str]]:
    return [fact for fact in facts if len(fact["text"].split()) <= most]


def _built_in(kit: Kit, facts: Sequence[Mapping[str, str]]) -> Made | None:
    """The structure of each content type when the brand has no template that works."""
    build = {"reel": _reel, "story": _story, "carousel": _carousel, "quote": _quote, "thread": _thread}.get(
        kit.content_type
    )
    return build(kit, facts) if build else None


def _caption(kit: Kit, opening: str, chosen: Sequence[Mapping[str, str]]) -> str:
    """Opening, facts, call to action and source, as many of them as the platform takes."""
    source = f"Source: {chosen[0]['source_title']}" if chosen and chosen[0]["source_title"] else ""
    texts = [fact["text"] for fact in chosen]
    for lines in (
        [opening, " ".join(texts), kit.cta(), source],
        [opening, *texts[:1], kit.cta(), source],
        [opening, *texts[:1], source],
        [opening, *texts[:1]],
        texts[:1],
    ):
        caption = "\n\n".join(line for line in dict.fromkeys(lines) if line)
        post = Post(
            platform=kit.platform, content_type=kit.content_type, caption=caption, hashtags=tuple(kit.hashtags())
        )
        if not any(finding.rule == "LIMIT-CAPTION" for finding in check_limits(post)):
            return caption
    return "\n\n".join(texts[:1])


def _finish(kit: Kit, made: Made) -> Made:
    """Title, hashtags, alt text and media prompts, from what the post shows."""
    fields = made.fields
    # A thread has no caption to put hashtags under.
    fields.setdefault("hashtags", [] if kit.content_type == "thread" else kit.hashtags())
    if kit.cell.title and not fields.get("title"):
        titles = [line for line in (*kit.hooks(), kit.title) if kit.allowed(line) and len(line) <= kit.cell.title]
        fields["title"] = titles[0] if titles else ""
    style = str(kit.brand.get("visual_style", "")).rstrip(". ")
    shown = list(fields.get("slides") or fields.get("on_screen_text") or [])
    if kit.content_type == "thread":
        shown = []
    shown = [" ".join(text.split()) for text in shown]
    if not fields.get("media_prompts"):
        what = "Shot" if kit.content_type == "reel" else "Card"
        shape = "vertical 9:16" if kit.content_type in ("reel", "story") else "square"
        fields["media_prompts"] = [
            " ".join(
                part
                for part in (
                    f"{what} {n} of {len(shown)}, {shape}.",
                    f"Words on it: {text.rstrip('.')}.",
                    style and f"{style}.",
                )
                if part
            )
            for n, text in enumerate(shown, 1)
        ]
    if not fields.get("alt_text") and shown:
        if kit.content_type == "reel":
            fields["alt_text"] = [f"Cover of a video with the words: {shown[0]}"]
        else:
            fields["alt_text"] = [f"Card {n} of {len(shown)} with the words: {text}" for n, text in enumerate(shown, 1)]
    return made


def _reel(kit: Kit, facts: Sequence[Mapping[str, str]]) -> Made | None:
    beats = _short(facts, 30)[:3]
    if not beats or not kit.hooks():
        return None
    hook = kit.hooks()[0]
    lines = [f"Hook: {hook}", *(f"Beat {n}: {fact['text']}" for n, fact in enumerate(beats, 1))]
    if kit.cta():
        lines.append(f"Close: {kit.cta()}")
    shown = [label(hook), *(label(fact["text"], kit.keywords) for fact in beats)]
    caption = _caption(kit, hook, beats[:2])
    fields = {
        "script": "\n".join(lines),
        "on_screen_text": [text for text in dict.fromkeys(shown) if text],
        "caption": caption,
    }
    return _finish(kit, Made(fields, list(beats)))


def _story(kit: Kit, facts: Sequence[Mapping[str, str]]) -> Made | None:
    answers = _short(facts, 30)[:1]
    if not answers or not kit.hooks():
        return None
    close = kit.cta() or kit.theme
    return _finish(kit, Made({"slides": [kit.hooks()[0], answers[0]["text"], close]}, list(answers)))


def _carousel(kit: Kit, facts: Sequence[Mapping[str, str]]) -> Made | None:
    room = min(8, kit.cell.slides[1] if kit.cell.slides else 8)
    least = min(3, room - 2)
    chosen = _short(facts, LONGEST_WORDS["slides"])[: min(6, room - 2)]
    if len(chosen) < least or not kit.hooks():
        return None
    hook = kit.hooks()[0]
    source = f"Source: {chosen[0]['source_title']}" if chosen[0]["source_title"] else ""
    close = "\n".join(line for line in (kit.cta(), source) if line) or kit.theme
    fields = {"slides": [hook, *(fact["text"] for fact in chosen), close], "caption": _caption(kit, hook, chosen[:2])}
    return _finish(kit, Made(fields, list(chosen)))


def _quote(kit: Kit, facts: Sequence[Mapping[str, str]]) -> Made | None:
    chosen = [fact for fact in facts if len(fact["text"]) <= LONGEST_QUOTE][:1]
    if not chosen:
        return None
    attribution = f"— {chosen[0]['source_title'] or kit.brand.get('title', '')}"
    fields = {
        "slides": [f"“{chosen[0]['text']}”\n{attribution}"],
        "caption": _caption(kit, (kit.hooks() or [""])[0], chosen),
    }
    return _finish(kit, Made(fields, list(chosen)))


def _thread(kit: Kit, facts: Sequence[Mapping[str, str]]) -> Made | None:
    chosen = list(facts[:6])
    if len(chosen) < 2 or not kit.hooks():
        return None
    tags = " ".join(kit.hashtags())
    close = "\n".join(line for line in (kit.cta(), kit.brand.get("link", ""), tags) if line) or kit.theme
    total = len(chosen) + 2
    texts = [kit.hooks()[0], *(fact["text"] for fact in chosen), close]
    # A thread has no caption: its hashtags stand in the last part.
    return _finish(
        kit, Made({"parts": [f"{n}/{total} {text}" for n, text in enumerate(texts, 1)], "hashtags": []}, chosen)
    )


def _from_template(kit: Kit, facts: Sequence[Mapping[str, str]], template: Mapping[str, Any]) -> Made | None:
    """The brand's lines with their places filled; a line with a place that nothing fits is left out, whole."""
    made = Made(template=template["name"])
    hooks = kit.hooks()
    plain = {
        "hook": hooks[0] if hooks else "",
        "theme": kit.theme,
        "day_theme": kit.title,
        "cta": kit.cta(),
        "brand": str(kit.brand.get("title", "")),
        "link": str(kit.brand.get("link", "")),
    }
    structure = {**template.get("structure", {})}
    for name, text in (("script", template.get("script", "")), ("media_prompts", template.get("media", ""))):
        if text and not structure.get(name):
            structure[name] = text
    if not kit.cell.title:
        structure.pop("title", None)
    places = _assign(kit, facts, structure)
    plain["source"] = next(iter(places.values()))["source_title"] if places else ""
    for name, lines in structure.items():
        if name not in (*TEXTS, *LISTS, "hashtags"):
            known = ", ".join((*TEXTS, *LISTS, "hashtags"))
            raise BadInput(f"template {template['name']!r}: {name!r} is not a field of a post; known: {known}")
        filled = []
        for line in [lines] if isinstance(lines, str) else lines:
            done = "\n".join(_line(kit, name, one, plain, places, made) for one in str(line).split("\n")).strip("\n")
            if done.strip():
                filled.append(done)
        if name in TEXTS:
            made.fields[name] = "\n".join(filled)
        elif filled:
            made.fields[name] = [label(text, kit.keywords) for text in filled] if name == "on_screen_text" else filled
    return _finish(kit, made) if made.facts and _complete(kit, made.fields) else None


def _assign(kit: Kit, facts: Sequence[Mapping[str, str]], structure: Mapping[str, Any]) -> dict[str, Mapping[str, str]]:
    """Which fact stands in {fact1}, {fact2}, ... and {takeaway}: the first that fits every field it is named in."""
    most: dict[str, int] = {}
    for name, lines in structure.items():
        for place in PLACEHOLDER.findall("\n".join([lines] if isinstance(lines, str) else map(str, lines))):
            if place.startswith("fact") or place == "takeaway":
                room = 10_000 if name == "on_screen_text" else LONGEST_WORDS.get(name, 60)
                if kit.content_type == "quote" and name == "slides":
                    room = 25
                most[place] = min(most.get(place, 10_000), room)
    left, chosen = list(facts), {}
    for place in sorted(most, key=lambda p: (p == "takeaway", p)):
        for fact in _short(left, most[place]):
            chosen[place] = fact
            left.remove(fact)
            break
    return chosen


def _line(
    kit: Kit, name: str, line: str, plain: Mapping[str, str], places: Mapping[str, Mapping[str, str]], made: Made
) -> str:
    named = PLACEHOLDER.findall(line)
    if any(not (plain.get(place) or place in places) for place in named):
        return ""
    used = [places[place] for place in named if place in places]
    text = PLACEHOLDER.sub(lambda m: places[m.group(1)]["text"] if m.group(1) in places else plain[m.group(1)], line)
    if named and not kit.allowed(text):
        return ""
    if not named and text.strip() and not kit.allowed(text):
        return ""
    if name != "on_screen_text":
        made.facts += [fact for fact in used if fact not in made.facts]
    return visible(text)


def _complete(kit: Kit, fields: Mapping[str, Any]) -> bool:
    """Whether the main field of the content type came out with enough in it."""
    if kit.content_type == "thread":
        return len(fields.get("parts", ())) >= 4
    if kit.content_type == "carousel":
        return len(fields.get("slides", ())) >= min(4, kit.cell.slides[1] if kit.cell.slides else 4)
    if kit.content_type == "story":
        return len(fields.get("slides", ())) >= 2
    if kit.content_type == "reel":
        return bool(fields.get("script") and fields.get("caption"))
    return bool(fields.get("slides") or fields.get("caption"))


def _bare(kit: Kit) -> Made:
    """Only the title of the day: nothing that could go out."""
    return Made({"title": kit.title if kit.cell.title else ""})


def _missing(kit: Kit, facts: Sequence[Mapping[str, str]], gaps: Sequence[str]) -> list[str]:
    if not facts:
        return [*gaps] or [f"no approved sentence about {kit.title!r}: add a document that covers it"]
    wants = {
        "quote": f"a sentence of at most {LONGEST_QUOTE} characters",
        "thread": "two sentences that fit one post each",
        "carousel": "three sentences of at most 32 words",
        "reel": "a sentence of at most 30 words",
        "story": "a sentence of at most 30 words",
    }.get(kit.content_type, "a sentence that fits")
    own = "" if kit.hooks() else ", and an opening line of at most 12 words"
    what = f"a {kit.content_type} for {kit.platform} about {kit.title!r}"
    return [*gaps, f"{what} wants {wants}{own}; {len(facts)} sentences are left, none fits: add shorter ones"]


def _answer(made: Made, *, gaps: Sequence[str]) -> dict[str, Any]:
    answer: dict[str, Any] = {name: made.fields.get(name, "") for name in TEXTS}
    answer |= {name: list(made.fields.get(name, ())) for name in (*LISTS, "hashtags")}
    answer["citations"] = [{"sentence": fact["text"], "source_id": fact["source_id"]} for fact in made.facts]
    return answer | {"gaps": list(gaps), "template": made.template}
