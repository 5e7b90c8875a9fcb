"""What platforms take, and how long a text is as they count it."""

from __future__ import annotations

from typing import Any

from config.errors import BadInput
from config.platforms import UNIT_WORDS, length, limits, possible_types
from tools.plugin_api import ToolRetry, tool

ALL = {"research", "creation", "compliance", "coordination"}


@tool(agents=ALL, effect="read", timeout_s=5, trust="operator")
async def platform_limits(platform: str, content_type: str) -> dict[str, Any]:
    """Say what a platform takes for a content type: lengths and their unit, hashtags, slides, where the numbers are from.

    Args:
        platform: Such as instagram, tiktok, youtube, facebook or twitter.
        content_type: Such as reel, story, carousel, quote or thread.
    """
    try:
        found = limits(platform, content_type)
    except BadInput as error:
        raise ToolRetry(str(error)) from None
    return {**found.model_dump(mode="json"), "unit_in_words": UNIT_WORDS[found.unit]}


@tool(agents=ALL, effect="read", timeout_s=5, trust="operator")
async def text_length(text: str, platform: str) -> list[dict[str, Any]]:
    """Count a text as a platform does, and say for each of its content types whether it fits as the caption.

    Args:
        text: The caption with its hashtags, as it would go out.
        platform: Such as instagram, tiktok, youtube, facebook or twitter.
    """
    if not possible_types(platform):
        raise ToolRetry(f"platform {platform[:80]!r} has no limits: ask for one that has, such as instagram")
    counted = []
    for content_type in possible_types(platform):
        cell = limits(platform, content_type)
        size = length(text, cell.unit)
        shape = {"content_type": content_type, "length": size, "limit": cell.caption, "unit": UNIT_WORDS[cell.unit]}
        counted.append({**shape, "fits": size <= cell.caption})
    return counted
