"""The structure of each content type when the brand has no template that works, and what every post gets at the end."""

from __future__ import annotations

import re
from collections.abc import Sequence

from agents.extract import OWN_KEYWORDS
from agents.kit import Fact, Kit, Made, source_line, visual
from agents.sentences import noun_phrases, screen_lines, stems, things
from memory.rows.content import Post
from tools.checks.limits import check_limits

LONGEST_WORDS = {"slides": 32, "on_screen_text": 7, "script": 40}
LONGEST_QUOTE = 140


def short(facts: Sequence[Fact], most: int) -> list[Fact]:
    """The facts of at most `most` words, in their order."""
    return [fact for fact in facts if len(fact["text"].split()) <= most]


def built_in(kit: Kit, facts: Sequence[Fact]) -> Made | None:
    """A post of the kit's content type; None when the facts do not suffice."""
    build = {"reel": _reel, "story": _story, "carousel": _carousel, "quote": _quote, "thread": _thread}.get(
        kit.content_type
    )
    return build(kit, facts) if build else None


def caption_of(kit: Kit, opening: str, chosen: Sequence[Fact], shown: Sequence[Fact] = ()) -> str:
    """Opening, facts, call to action and the sources of all that is shown, as many of them as the platform takes."""
    texts = [fact["text"] for fact in chosen]
    credit = source_line([*shown, *chosen])
    for lines in (
        [opening, " ".join(texts), kit.cta(), credit],
        [opening, *texts[:1], kit.cta(), credit],
        [opening, *texts[:1], credit],
        [opening, kit.cta(), credit],
        [opening, credit],
        [opening],
    ):
        caption = "\n\n".join(line for line in dict.fromkeys(lines) if line)
        post = Post(
            platform=kit.platform, content_type=kit.content_type, caption=caption, hashtags=tuple(kit.hashtags())
        )
        if not any(finding.rule == "LIMIT-CAPTION" for finding in check_limits(post)):
            return caption
    return ""


def _reel(kit: Kit, facts: Sequence[Fact]) -> Made | None:
    beats = short(facts, 30)[:3]
    # One scene is no video.
    if len(beats) < 2 or not kit.hooks():
        return None
    hook = kit.hooks()[0]
    # What the caption says, the video has not said.
    rest = [fact for fact in facts if fact not in beats][:1]
    # Not "Beat 1:", which a rule about what beats an ailment would read as a verb.
    lines = [f"Hook: {hook}", *(f"Scene {n}: {fact['text']}" for n, fact in enumerate(beats, 1))]
    if kit.cta():
        lines.append(f"Close: {kit.cta()}")
    fields = {
        "script": "\n".join(lines),
        "on_screen_text": [line for text in (hook, *(fact["text"] for fact in beats)) for line in screen_lines(text)],
        "caption": caption_of(kit, hook, rest, beats),
    }
    return finish(
        kit, Made(fields, [*beats, *(fact for fact in rest if fact not in beats and fact["text"] in fields["caption"])])
    )


def _story(kit: Kit, facts: Sequence[Fact]) -> Made | None:
    answers = short(facts, 30)[:2]
    if not answers or not kit.hooks():
        return None
    close = "\n".join(line for line in (kit.cta(), source_line(answers)) if line)
    frames = [kit.hooks()[0], *(fact["text"] for fact in answers), close]
    return finish(kit, Made({"slides": [frame for frame in frames if frame]}, list(answers)))


def _carousel(kit: Kit, facts: Sequence[Fact]) -> Made | None:
    room = min(8, kit.cell.slides[1] if kit.cell.slides else 8)
    least = min(3, room - 2)
    fitting = short(facts, LONGEST_WORDS["slides"])
    # One more than a handful stays for the caption, so that it need not repeat a slide.
    chosen = fitting[: min(6, room - 2, max(least, len(fitting) - 1))]
    if len(chosen) < least or not kit.hooks():
        return None
    hook = kit.hooks()[0]
    rest = [fact for fact in facts if fact not in chosen][:1]
    close = "\n".join(line for line in (kit.cta(), source_line(chosen)) if line) or kit.theme
    caption = caption_of(kit, hook, rest, chosen)
    fields = {"slides": [hook, *(fact["text"] for fact in chosen), close], "caption": caption}
    return finish(kit, Made(fields, [*chosen, *(fact for fact in rest if fact["text"] in caption)]))


def _quote(kit: Kit, facts: Sequence[Fact]) -> Made | None:
    chosen = [fact for fact in facts if len(fact["text"]) <= LONGEST_QUOTE][:1]
    if not chosen:
        return None
    attribution = f"— {chosen[0]['source_title'] or kit.brand.get('title', '')}"
    rest = [fact for fact in facts if fact not in chosen][:1]
    caption = caption_of(kit, (kit.hooks() or [""])[0], rest, chosen)
    fields = {"slides": [f"“{chosen[0]['text']}”\n{attribution}"], "caption": caption}
    return finish(kit, Made(fields, [*chosen, *(fact for fact in rest if fact["text"] in caption)]))


def _thread(kit: Kit, facts: Sequence[Fact]) -> Made | None:
    chosen = list(facts[:6])
    if len(chosen) < 2 or not kit.hooks():
        return None
    tags = " ".join(kit.hashtags())
    end = (kit.cta(), source_line(chosen), kit.brand.get("link", ""), tags)
    close = "\n".join(line for line in end if line) or kit.theme
    total = len(chosen) + 2
    texts = [kit.hooks()[0], *(fact["text"] for fact in chosen), close]
    # A thread has no caption: its hashtags stand in the last part.
    return finish(
        kit, Made({"parts": [f"{n}/{total} {text}" for n, text in enumerate(texts, 1)], "hashtags": []}, chosen)
    )


def finish(kit: Kit, made: Made) -> Made:
    """Title, hashtags, alt text and media prompts, from what the post shows."""
    fields = made.fields
    # A thread has no caption to put hashtags under.
    fields.setdefault("hashtags", [] if kit.content_type == "thread" else kit.hashtags())
    if kit.cell.title and not fields.get("title"):
        titles = [line for line in (*kit.hooks(), kit.title) if kit.allowed(line) and len(line) <= kit.cell.title]
        fields["title"] = titles[0] if titles else ""
    shown = list(fields.get("slides", ()))
    if kit.content_type == "reel":
        # A shot for what is said, not for each line of text on the screen.
        said = [
            re.sub(r"^(?:Hook|Open|Scene [0-9]+|Close):\s*", "", line) for line in fields.get("script", "").split("\n")
        ]
        shown = [line for line in said if line and line != kit.cta()]
    shown = [" ".join(text.split()) for text in shown]
    if not fields.get("media_prompts"):
        fields["media_prompts"] = [_prompt(kit, n, len(shown), text) for n, text in enumerate(shown, 1)]
    if not fields.get("alt_text") and shown:
        if kit.content_type == "reel":
            fields["alt_text"] = [f"Video cover: {shown[0]}"]
        elif len(shown) == 1:
            fields["alt_text"] = [f"Text card: {shown[0]}"]
        else:
            fields["alt_text"] = [f"Text card {n} of {len(shown)}: {text}" for n, text in enumerate(shown, 1)]
    return made


def _prompt(kit: Kit, n: int, total: int, text: str) -> str:
    """What to show: the shape, the words on it, a scene from the words, and the brand's visual guidelines."""
    what = "Shot" if kit.content_type == "reel" else "Card"
    shape = "vertical 9:16" if kit.content_type in ("reel", "story") else "square"
    number = f"{what} {n} of {total}, {shape}." if total > 1 else f"{what}, {shape}."
    # What the words name; else what the day is about: a prompt that names one word draws a stock picture of it.
    bare = text
    for hook in kit.hooks():
        bare = bare.removeprefix(hook)
    seen = things(bare)
    if not seen:
        spoken = noun_phrases(kit.said.split("\n"), most=40)
        own = [word for word in kit.keywords[:OWN_KEYWORDS] if word in spoken and not stems(word) & stems(kit.title)]
        seen = [re.sub(r"[:(]\s*", ", ", kit.title).rstrip(")?!. ").replace(" ,", ","), *own[:2]]
    behind = "Shows" if kit.content_type == "reel" else "Behind the words, out of focus"
    wanted = "; ".join(visual(kit.brand))
    style = str(kit.brand.get("visual_style", "")).rstrip(". ")
    # Asked for, never ruled out: who draws from a prompt draws what it names.
    parts = [
        number,
        f"{behind}: {', '.join(seen)}.",
        f"{'Spoken' if kit.content_type == 'reel' else 'Words on it'}: {text.rstrip('.')}.",
        style and f"{style}.",
        wanted and f"{wanted}.",
    ]
    allowed = [part for part in parts if part and (kit.allowed(part) or part == number)]
    return " ".join(allowed)
