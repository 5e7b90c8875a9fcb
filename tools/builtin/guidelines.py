"""What the brand demands of its posts."""

from __future__ import annotations

from typing import Any, Literal

from tools.context import ToolContext
from tools.plugin_api import tool


@tool(agents={"research", "creation", "compliance", "coordination"}, effect="read", timeout_s=5, trust="operator")
async def guidelines(
    ctx: ToolContext, kind: Literal["voice", "visual", "messaging", "claims", "any"] = "any", platform: str = ""
) -> list[dict[str, Any]]:
    """List the brand's guidelines: what a post must have, and which words and phrases it must not hold.

    Args:
        kind: voice, visual, messaging, claims, or any.
        platform: Only guidelines that hold on this platform, such as instagram; empty for all.
    """
    return [
        {
            "type": rule.type,
            "title": rule.title,
            "description": rule.description,
            "requirements": list(rule.requirements),
            "restrictions": list(rule.restrictions),
            "examples": rule.examples,
            "severity": str(rule.severity),
            "platforms": list(rule.platforms),
        }
        for rule in ctx.profile.guidelines
        if kind in ("any", rule.type) and (not platform or not rule.platforms or platform in rule.platforms)
    ]
