"""Ids that name themselves, for code that must not load langgraph."""

from __future__ import annotations

from config.ids import name_id


def check_id(piece_id: str, run: int, content_hash: str, check_type: str) -> str:
    """The id of one check's row: checking the same bytes in the same run again rewrites it."""
    return name_id("check", piece_id, run, content_hash, check_type)


def review_id(piece_id: str, content_hash: str) -> str:
    """The id of the review of these bytes of this piece."""
    return name_id("review", piece_id, content_hash)


def brief_id(session_id: str, day: int) -> str:
    """The id of the research assignment that holds a day's Brief."""
    return name_id("brief", session_id, day)
