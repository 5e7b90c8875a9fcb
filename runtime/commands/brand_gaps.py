"""What a brand's folder says that leads nowhere: places that nothing fills, accounts of no platform, hashtags that fall away."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from config.errors import BadInput
from config.vocabulary import CONTENT_TYPES, PLATFORMS, nearest

if TYPE_CHECKING:
    from config.brand_profile import BrandProfile

PLACES = ("hook", "opener", "takeaway", "theme", "day_theme", "cta", "brand", "source", "source1", "link", "hashtags")
"""What a template may name beside {fact1} to {fact9}."""
_PLACE = re.compile(r"\{([^{}\n]*)\}")


def brand_gaps(profile: BrandProfile, folder: Path) -> list[str]:
    """What the profile names that does not exist, drops or leaves out, a line each with its remedy."""
    return [*_places(profile), *_kinds(profile), *_accounts(profile), *_hashtags(profile), *_words(profile, folder)]


def _places(profile: BrandProfile) -> list[str]:
    used: dict[str, list[str]] = {}
    for template in profile.templates:
        for field, lines in template.structure.items():
            text = "\n".join([lines] if isinstance(lines, str) else map(str, lines))
            for place in dict.fromkeys(_PLACE.findall(text)):
                if place not in PLACES and not re.fullmatch(r"fact[1-9]", place):
                    used.setdefault(place, []).append(f"{template.name}: {field}")
    found = []
    for place, where in used.items():
        hint = nearest(place, [*PLACES, *(f"fact{n}" for n in range(1, 5))])
        more = f" (and {len(where) - 1} more)" if where[1:] else ""
        found.append(
            f"templates.toml: {where[0]}{more}: {{{place}}} is no place that is filled{hint}, so that its line is left out: "
            f"there are {', '.join(PLACES)} and fact1 to fact9"
        )
    return found


def _kinds(profile: BrandProfile) -> list[str]:
    found = []
    for template in profile.templates:
        if template.content_type not in CONTENT_TYPES:
            known = list(CONTENT_TYPES)
            found.append(
                f"templates.toml: {template.name}: content_type {template.content_type!r} is not known"
                f"{nearest(template.content_type, known)}, so that it is never used: there are {', '.join(known)}"
            )
        if template.platform != "any" and template.platform not in PLATFORMS:
            known = ["any", *PLATFORMS]
            found.append(
                f"templates.toml: {template.name}: platform {template.platform!r} is not known"
                f"{nearest(template.platform, known)}, so that it is never used: there are {', '.join(known)}"
            )
    return found


def _accounts(profile: BrandProfile) -> list[str]:
    found = [
        f"accounts: {name!r} is not a platform{nearest(name, list(PLATFORMS))}: rename or remove it"
        for name in profile.accounts
        if name not in PLATFORMS
    ]
    if not profile.accounts:
        return found
    for platform in sorted({cell.platform for cell in profile.grid} - set(profile.accounts)):
        found.append(
            f"accounts: the grid posts on {platform}, which has no account (it will be 'default'): add {platform} = "
            '"NAME" under [accounts]'
        )
    return found


def _hashtags(profile: BrandProfile) -> list[str]:
    found = []
    for tag in profile.hashtags:
        name = tag.removeprefix("#")
        if re.fullmatch(r"\w+", name) and not name.isdigit():
            continue
        mended = re.sub(r"\W", "", name)
        how = f'write "#{mended}"' if mended and not mended.isdigit() else "give it letters"
        found.append(f"hashtags: {tag!r} is dropped: a hashtag is # and letters, digits or _, not digits alone: {how}")
    return found


def _words(profile: BrandProfile, folder: Path) -> list[str]:
    from tools.text import STOPWORDS
    from tools.text import words as words_of

    found = []
    if not any(line.strip() for line in profile.call_to_action):
        found.append('call_to_action is empty: posts end without one: add call_to_action = ["..."] to brand.toml')
    known = {word.lower()[:5] for word in words_of(_documents(folder))}
    for theme in profile.themes:
        for day in theme.days:
            wanted = {w.lower()[:5] for w in words_of(day.title) if len(w) > 3 and w.lower() not in STOPWORDS}
            if known and not day.keywords and wanted and not wanted & known:
                found.append(
                    f"themes.toml: {theme.name}: {day.day}: no document speaks of {day.title!r}, and it has no keywords: add "
                    'keywords = ["..."] that your documents use, or a document'
                )
    return found


def _documents(folder: Path) -> str:
    from memory.knowledge import read_document

    texts = []
    for path in sorted((folder / "documents").glob("*")):
        try:
            if path.is_file() and not path.name.startswith("."):
                texts.append(read_document(path).text)
        except BadInput:  # `unread_documents` names it
            continue
    return "\n".join(texts)
