"""What to say, without a model: sentences chosen from passages, and days derived from a theme."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agents.sentences import keyphrases, overlap, split_sentences, stems, words

NEAR = 0.75
"""Two sentences that share more than this of the shorter one say the same."""
LONGEST_FACT = 45
"""Words; a longer sentence fits no place of a post."""
FACETS = (
    ("Where we begin", "What the week is about, in the brand's own words."),
    ("One thing to learn", "One finding and what it does and does not say."),
    ("In practice", "How it looks in an ordinary day."),
    ("The people", "Who does it and what they do."),
    ("Questions and answers", "What people ask, answered from the documents."),
    ("Behind the scenes", "How and where it happens."),
    ("Looking back", "What the week said, in short."),
)


def choose_facts(material: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to a `brief` task: up to `want` distinct sentences about the day, best first, keywords, named gaps.

    Each sentence scores by the day's and the theme's words in it and by how well its passage matched the search.
    """
    day = material["day"]
    about_day = stems(" ".join((day["title"], day.get("angle", ""), *day.get("keywords", ()))))
    about_week = stems(" ".join((material["theme"], *material.get("keywords", ()))))
    scored = []
    for order, passage in enumerate(material.get("passages", ())):
        for place, sentence in enumerate(split_sentences(passage["text"])):
            if len(sentence.split()) > LONGEST_FACT or sentence.endswith("?"):
                continue
            found = stems(sentence)
            hits = len(found & about_day), len(found & about_week)
            if not any(hits):
                continue
            score = 2 * hits[0] + hits[1] + 2 * float(passage.get("score", 0.0)) - 0.01 * len(words(sentence))
            scored.append((-score, order, place, sentence, passage["id"], found))
    scored.sort(key=lambda item: item[:3])
    chosen: list[tuple[str, str, frozenset[str]]] = []
    for _, _, _, sentence, source, found in scored:
        if len(chosen) == int(material.get("want", 12)):
            break
        if all(overlap(found, other) < NEAR for _, _, other in chosen):
            chosen.append((sentence, source, found))
    gaps = (
        []
        if chosen
        else [f"the brand's knowledge holds no sentence about {day['title']!r}: add a document that covers it"]
    )
    keywords = [*dict.fromkeys([*day.get("keywords", ()), *keyphrases((c[0] for c in chosen), most=4)])][:8]
    return {
        "facts": [{"text": text, "source_id": source} for text, source, _ in chosen],
        "keywords": keywords,
        "gaps": gaps,
    }


def plan_week(material: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to a `week` task: title, angle and keywords of each asked day, from the theme and what is known."""
    theme = material["theme"]
    known = keyphrases((passage["text"] for passage in material.get("passages", ())), most=14)
    days = []
    for day in material["days"]:
        facet, angle = FACETS[day - 1]
        own = [phrase for n, phrase in enumerate(known) if n % 7 == day - 1]
        title = facet
        days.append(
            {
                "day": day,
                "title": title[:120],
                "angle": angle,
                "keywords": [*dict.fromkeys([*theme.get("keywords", ()), *own])],
            }
        )
    return {"days": days}
