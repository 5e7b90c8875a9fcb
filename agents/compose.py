"""Posts from facts and templates, without a model: a sentence stands word for word as its source has it, or not at all.

Everything comes from the material: the brand's own lines, its knowledge, its templates. What does not fit a place is
replaced by something shorter that does; what is missing is named in `gaps` and nothing is invented.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from agents.kit import LISTS, LONGEST_HOOK, TEXTS, Fact, Kit, Made, pick, sources
from agents.sentences import screen_lines, visible
from agents.shapes import LONGEST_QUOTE, LONGEST_WORDS, built_in, finish, short
from config.errors import BadInput
from config.platforms import limits
from memory.rows.content import Post
from tools.checks.limits import check_limits

PLACEHOLDER = re.compile(r"\{([a-z_]+[0-9]*)\}")
GOOD_SCORE = 0.2
"""Templates whose score is this close to the best one's take turns; the others are used where none of these fits."""


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
        week_turn=int(material.get("week_turn", material.get("turn", 0))),
        brand=brand,
        theme=visible(material["theme"]),
        day=int(day.get("number", 0)),
        title=visible(day["title"]),
        keywords=[*day.get("keywords", ())],
        avoid=[*material.get("avoid", ())],
        cell=limits(piece["platform"], piece["content_type"]),
        said="\n".join(fact["text"] for fact in material.get("facts", ())),
    )
    # A page that must not be named cannot be credited, so nothing is taken from it.
    facts = [
        fact
        for fact in material.get("facts", ())
        if kit.allowed(fact["text"]) and (kit.allowed(fact["source_title"]) or not fact["source_title"])
    ]
    for template in [*_in_turn(kit, list(material.get("templates", ()))), None]:
        made = _fitting(kit, facts, template)
        if made is not None:
            return _answer(made, gaps=())
    return _answer(_bare(kit), gaps=_missing(kit, facts, material.get("gaps", ())))


def _in_turn(kit: Kit, templates: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The templates that people liked, starting with this piece's own; behind them the others, best first."""
    ranked = sorted(templates, key=lambda template: (-float(template.get("score", 0.5)), template["name"]))
    best = float(ranked[0].get("score", 0.5)) if ranked else 0.0
    good = [template for template in ranked if float(template.get("score", 0.5)) >= best - GOOD_SCORE]
    at = (pick(kit.theme, len(good)) + kit.week_turn) % len(good) if good else 0
    return good[at:] + good[:at] + ranked[len(good) :]


def _fitting(kit: Kit, facts: Sequence[Fact], template: Mapping[str, Any] | None) -> Made | None:
    """The post that fits; a fact that does not fit makes room for the next. None when the facts run out."""
    pool = list(facts)
    while pool:
        made = built_in(kit, pool) if template is None else _from_template(kit, pool, template)
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


def _from_template(kit: Kit, facts: Sequence[Fact], template: Mapping[str, Any]) -> Made | None:
    """The brand's lines with their places filled; a line with a place that nothing fits is left out, whole."""
    made = Made(template=template["name"])
    hooks = kit.hooks()
    structure = {**template.get("structure", {})}
    for name, text in (("script", template.get("script", "")), ("media_prompts", template.get("media", ""))):
        if text and not structure.get(name):
            structure[name] = text
    if not kit.cell.title:
        structure.pop("title", None)
    places = _assign(kit, facts, structure)
    plain = {
        "hook": hooks[0] if hooks else "",
        "theme": kit.theme,
        "day_theme": kit.title,
        "cta": kit.cta(),
        "brand": str(kit.brand.get("title", "")),
        "link": str(kit.brand.get("link", "")),
        "source": sources([*places.values()]),
        "source1": sources([places["fact1"]]) if "fact1" in places else "",
        "hashtags": " ".join(kit.hashtags()),
    }
    for name, lines in structure.items():
        if name not in (*TEXTS, *LISTS, "hashtags"):
            known = ", ".join((*TEXTS, *LISTS, "hashtags"))
            raise BadInput(f"template {template['name']!r}: {name!r} is not a field of a post; known: {known}")
        filled = []
        for line in [lines] if isinstance(lines, str) else lines:
            done = "\n".join(
                one for one in (_line(kit, name, one, plain, places, made) for one in str(line).split("\n")) if one
            )
            if done.strip():
                filled.append(done)
        if name in TEXTS:
            made.fields[name] = ("\n\n" if name == "caption" else "\n").join(filled)
        elif filled:
            made.fields[name] = filled
    if shown := made.fields.get("on_screen_text"):
        made.fields["on_screen_text"] = [line for text in shown for line in screen_lines(text)]
    if parts := made.fields.get("parts"):
        made.fields["parts"] = [
            f"{n}/{len(parts)} {re.sub(r'^[0-9]+/[0-9]+ ', '', text)}" for n, text in enumerate(parts, 1)
        ]
    if script := made.fields.get("script"):
        made.fields["script"] = _scenes(script)
    if kit.content_type == "reel" and not _worth_watching(made):
        return None
    _ask_below(kit, made)
    return finish(kit, made) if made.facts and _complete(kit, made.fields) else None


def _ask_below(kit: Kit, made: Made) -> None:
    """A caption that came out as a title and a credit gets the post's call to action between them."""
    caption = made.fields.get("caption", "")
    cta = kit.cta()
    if not caption or not cta or cta in caption or any(fact["text"] in caption for fact in made.facts):
        return
    lines = caption.split("\n\n")
    at = next((n for n, line in enumerate(lines) if line.startswith(("Source: ", "Sources: "))), len(lines))
    made.fields["caption"] = "\n\n".join([*lines[:at], cta, *lines[at:]])


def _worth_watching(made: Made) -> bool:
    """Whether the script says two things behind its opening, which may be one of them."""
    behind = made.fields.get("script", "").partition("\n")[2]
    return sum(fact["text"] in behind for fact in made.facts) >= 2


def _scenes(script: str) -> str:
    """The script with its scenes counted through: one that nothing filled leaves no hole in the numbers."""
    count = 0

    def number(match: re.Match[str]) -> str:
        nonlocal count
        count += 1
        return f"Scene {count}:"

    return re.sub(r"(?m)^Scene [0-9]+:", number, script)


def _assign(kit: Kit, facts: Sequence[Fact], structure: Mapping[str, Any]) -> dict[str, Fact]:
    """Which fact stands in {fact1}, {fact2}, ..., {takeaway} and {opener}: the first that fits every field it is named in."""
    most: dict[str, int] = {}
    for name, lines in structure.items():
        for place in PLACEHOLDER.findall("\n".join([lines] if isinstance(lines, str) else map(str, lines))):
            if place.startswith("fact") or place in ("takeaway", "opener"):
                room = 10_000 if name == "on_screen_text" else LONGEST_WORDS.get(name, 60)
                if kit.content_type == "quote" and name == "slides":
                    room = 25
                room = LONGEST_HOOK if place == "opener" else room
                most[place] = min(most.get(place, 10_000), room)
    # The page that most of the piece's own sentences stand on comes first: a line from elsewhere opens nothing.
    pages = Counter(fact["source_title"] for fact in facts[: len(most)])
    left = sorted(facts, key=lambda fact: -pages[fact["source_title"]])
    first = left[0] if left else None
    chosen: dict[str, Fact] = {}
    # The opener first, because few are short enough; the takeaway when what cannot do without is there: a caption of its own
    # is worth more than a fourth slide.
    own = [place for place in most if place != "takeaway"]
    least = {"carousel": 3, "thread": 3}.get(kit.content_type, 2)
    ordered = sorted(own, key=lambda p: (p != "opener", p))
    if "takeaway" in most:
        ordered.insert(least, "takeaway")
    for place in ordered:
        # What is said beside the rest comes from its pages, or not at all: two unrelated sentences make no caption.
        beside = place == "takeaway" or (kit.content_type == "quote" and place != "fact1")
        spoken_of = {fact["source_title"] for fact in chosen.values()}
        beside |= len(chosen) >= least  # what a post can do without comes from the pages that it speaks of
        pool = short(left, most[place])
        if place == "opener" and kit.content_type != "reel":
            pool = [fact for fact in pool if fact is first]  # what is read in order begins with what comes first
        elif place == "opener" and first:
            pool = [fact for fact in pool if fact["source_title"] == first["source_title"]]
        for fact in pool:
            if beside and spoken_of and fact["source_title"] not in spoken_of:
                continue
            quoted = kit.content_type == "quote" and place == "fact1"
            if quoted and len(fact["text"]) > LONGEST_QUOTE:
                continue
            chosen[place] = fact
            left.remove(fact)
            break
    return chosen


def _line(kit: Kit, name: str, line: str, plain: Mapping[str, str], places: Mapping[str, Fact], made: Made) -> str:
    if "{opener}" in line and "opener" not in places and name in ("script", "on_screen_text"):
        line = line.replace("{opener}", "{hook}")  # no sentence is short enough to open a video
    named = PLACEHOLDER.findall(line)
    if any(not (plain.get(place) or place in places) for place in named):
        return ""
    used = [places[place] for place in named if place in places]
    text = PLACEHOLDER.sub(lambda m: places[m.group(1)]["text"] if m.group(1) in places else plain[m.group(1)], line)
    if text.strip() and not kit.allowed(text):
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
    return bool(fields.get("slides"))


def _bare(kit: Kit) -> Made:
    """Only the title of the day: nothing that could go out."""
    return Made({"title": kit.title if kit.cell.title else ""})


def _missing(kit: Kit, facts: Sequence[Fact], gaps: Sequence[str]) -> list[str]:
    """What is missing, and what a human can do: add a document, or write the post."""
    about = f"about {kit.title!r}" if kit.title.lower() == kit.theme.lower() else f"about {kit.title!r} ({kit.theme})"
    if not facts:
        return [*gaps] or [
            f"no sentence {about} is left for this {kit.content_type}, beside what the week's other posts use: add a "
            "document that covers it for the next week, or write this post with `review edit`"
        ]
    wants = {
        "quote": f"a sentence of at most {LONGEST_QUOTE} characters",
        "thread": "two sentences that fit one post each",
        "carousel": "three sentences of at most 32 words",
        "reel": "two sentences of at most 30 words",
        "story": "a sentence of at most 30 words",
    }.get(kit.content_type, "a sentence that fits")
    own = "" if kit.hooks() else ", and an opening line of at most 12 words"
    count = "1 sentence is left" if len(facts) == 1 else f"{len(facts)} sentences are left"
    what = f"a {kit.content_type} for {kit.platform} about {kit.title!r}"
    return [
        *gaps,
        f"{what} wants {wants}{own}; {count}, too few that fit: add a document, or write it with `review edit`",
    ]


def _answer(made: Made, *, gaps: Sequence[str]) -> dict[str, Any]:
    answer: dict[str, Any] = {name: made.fields.get(name, "") for name in TEXTS}
    answer |= {name: list(made.fields.get(name, ())) for name in (*LISTS, "hashtags")}
    answer["citations"] = [{"sentence": fact["text"], "source_id": fact["source_id"]} for fact in made.facts]
    return answer | {"gaps": list(gaps), "template": made.template}
