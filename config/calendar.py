"""Days and weeks by name, as brand files, keys and pages write them. Zones are the business of graphs/week.py."""

from __future__ import annotations

from datetime import date
from typing import Literal, get_args

Day = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
DAYS: tuple[Day, ...] = get_args(Day)
"""From Monday, which is day 1 of a week, to Sunday, which is day 7."""


def week_key(day: date) -> str:
    """The ISO week that `day` is in, such as 2026-W50; the last days of December may be in week 1 of the next year."""
    year, week, _ = day.isocalendar()
    return f"{year}-W{week:02d}"
