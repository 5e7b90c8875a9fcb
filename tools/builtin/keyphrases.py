"""What a text keeps saying."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tools import text as words
from tools.plugin_api import tool


@tool(agents={"research", "creation", "coordination"}, effect="read", timeout_s=5, trust="web")
async def keyphrases(
    texts: Annotated[list[str], Field(min_length=1, max_length=100)], most: Annotated[int, Field(ge=1, le=50)] = 8
) -> list[str]:
    """Find the phrases of one to three words that texts repeat most, best first.

    Args:
        texts: The texts to read.
        most: How many phrases to return at most, 1 to 50.
    """
    return words.keyphrases(texts, most=most)
