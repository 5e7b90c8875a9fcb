"""What the brand may say word for word, and what it must not."""

from __future__ import annotations

from typing import Any, Literal

from tools.context import ToolContext
from tools.plugin_api import tool


@tool(agents={"research", "creation", "compliance", "coordination"}, effect="read", timeout_s=5, trust="operator")
async def claims(
    ctx: ToolContext, status: Literal["approved", "blocked", "needs_review", "any"] = "any", market: str = ""
) -> list[dict[str, Any]]:
    """List the sentences that the brand has approved, blocked, or not decided about; only their exact words count.

    Args:
        status: approved (may be said), blocked (must not be said), needs_review, or any.
        market: Only claims decided for this market, such as us; empty for all.
    """
    return [
        {"text": claim.text, "status": claim.status, "markets": list(claim.markets), "evidence": claim.evidence}
        for claim in ctx.profile.claims
        if status in ("any", claim.status) and (not market or market in claim.markets)
    ]
