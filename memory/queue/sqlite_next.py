"""What the SQLite queue gives next: the best due tasks, the brands of one priority in turns, and when there will be some.

A brand's tasks of one priority stand together in the index, so that a claim seeks once for each brand with work at the priority
it comes to. Ten thousand tasks of one brand cost it no more than ten, and tasks that are not due are never walked over.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from memory.queue.sqlite_rows import COLUMNS, order_of

Row = Sequence[Any]


def _pairs(index: str, condition: str) -> str:
    # A loose scan: each step seeks to the next (priority, brand) below the last, however many tasks that has. One comparison of
    # both columns at once would use the index for the first alone, and walk over all the tasks of a brand.
    return f"""
        WITH RECURSIVE pairs (priority, brand) AS (
            SELECT priority, brand
            FROM (
                SELECT priority, brand
                FROM tasks INDEXED BY {index}
                WHERE queue = ?1 AND state = 'waiting' AND {condition}
                ORDER BY priority DESC, brand DESC
                LIMIT 1
            )
            UNION ALL
            SELECT below.priority, below.brand
            FROM pairs CROSS JOIN tasks AS below ON below.seq = coalesce(
                (
                    SELECT seq
                    FROM tasks INDEXED BY {index}
                    WHERE queue = ?1 AND state = 'waiting' AND {condition}
                        AND priority = pairs.priority AND brand < pairs.brand
                    ORDER BY brand DESC
                    LIMIT 1
                ), (
                    SELECT seq
                    FROM tasks INDEXED BY {index}
                    WHERE queue = ?1 AND state = 'waiting' AND {condition} AND priority < pairs.priority
                    ORDER BY priority DESC, brand DESC
                    LIMIT 1
                )
            )
        )
    """


def _in_pair(index: str, condition: str, what: str) -> str:
    return f"""
        SELECT {what}
        FROM tasks AS t INDEXED BY {index}
        WHERE t.queue = ?1 AND t.state = 'waiting' AND t.{condition} AND t.priority = pairs.priority AND t.brand = pairs.brand
    """


_CLASSES = {False: ("tasks_ready", "deaths < 2"), True: ("tasks_suspect", "deaths >= 2")}

_DUE_PAIRS = {
    solo: f"{_pairs(*how)} SELECT priority, brand, ?1 FROM pairs WHERE EXISTS ({_in_pair(*how, '1')} AND t.run_at <= ?2)"
    for solo, how in _CLASSES.items()
}
"""By `solo`: the (priority, brand, queue) of a queue's brands with due tasks, highest first. Values: queue, now in epoch milliseconds."""

_SOONEST = {
    solo: f"{_pairs(*how)} SELECT min(({_in_pair(*how, 't.run_at')} ORDER BY t.run_at LIMIT 1)) FROM pairs"
    for solo, how in _CLASSES.items()
}
"""By `solo`: the earliest `run_at` in a queue, in epoch milliseconds. Values: queue."""

_BRANDS = {
    solo: f"""
        WITH RECURSIVE pairs (priority, brand) AS (
            SELECT ?2, ?3
            UNION ALL
            SELECT priority, (
                SELECT min(t.brand)
                FROM tasks AS t INDEXED BY {index}
                WHERE t.queue = ?1 AND t.state = 'waiting' AND t.{condition}
                    AND t.priority = pairs.priority AND t.brand > pairs.brand
            )
            FROM pairs
            WHERE brand IS NOT NULL
        )
        SELECT brand, ?1
        FROM pairs
        WHERE brand > ?3 AND EXISTS ({_in_pair(index, condition, "1")} AND t.run_at <= ?4)
    """
    for solo, (index, condition) in _CLASSES.items()
}
"""By `solo`: (brand, queue) of the brands behind one with due tasks at a priority, by name. Values: queue, priority, brand, now."""

_OF_PAIR = {
    solo: f"""
        SELECT {COLUMNS}
        FROM tasks AS t INDEXED BY {index}
        WHERE t.queue = ? AND t.state = 'waiting' AND t.{condition} AND t.priority = ? AND t.brand = ? AND t.run_at <= ?
        ORDER BY t.run_at, t.seq
    """
    for solo, (index, condition) in _CLASSES.items()
}
"""By `solo`: the due tasks of one brand at one priority, best first. Values: queue, priority, brand, now."""

_TOP = {
    solo: f"""
        WITH top (priority, brand) AS (
            SELECT priority, brand
            FROM tasks INDEXED BY {index}
            WHERE queue = ?1 AND state = 'waiting' AND {condition}
            ORDER BY priority DESC, brand DESC
            LIMIT 1
        )
        SELECT {COLUMNS}, EXISTS (
            SELECT 1
            FROM tasks INDEXED BY {index}
            WHERE queue = ?1 AND state = 'waiting' AND {condition} AND priority = top.priority AND brand < top.brand
        )
        FROM top CROSS JOIN tasks AS t INDEXED BY {index}
        WHERE t.queue = ?1 AND t.state = 'waiting' AND t.{condition} AND t.priority = top.priority AND t.brand = top.brand
            AND t.run_at <= ?2
        ORDER BY t.run_at, t.seq
        LIMIT ?3
    """
    for solo, (index, condition) in _CLASSES.items()
}
"""By `solo`: the due tasks of a queue's highest priority and last brand, each with 1 if other brands have tasks there.
Values: queue, now, limit."""

_NAMED = f"""
    SELECT {COLUMNS}
    FROM tasks AS t
    WHERE t.id IN (SELECT value FROM json_each(?)) AND t.queue = ? AND t.state = 'waiting'
        AND (t.deaths >= 2) = ? AND t.run_at <= ?
    ORDER BY t.priority DESC, t.run_at, t.seq
"""
_SOONEST_NAMED = """
    SELECT min(run_at)
    FROM tasks
    WHERE id IN (SELECT value FROM json_each(?)) AND queue = ? AND state = 'waiting' AND (deaths >= 2) <= ?
"""


_OPEN = "SELECT concurrency FROM queues WHERE name = ? AND paused = 0 AND waiting > 0"


def rooms(connection: sqlite3.Connection, queues: Iterable[str]) -> dict[str, float]:
    """The queues in which tasks wait and that may give them, each with how many leases it has room for."""
    open_queues: dict[str, float] = {}
    for queue in queues:
        found = connection.execute(_OPEN, (queue,)).fetchone()
        if found is None:
            continue
        room = float("inf")
        if found[0] is not None:
            (leased,) = connection.execute(
                "SELECT count(*) FROM tasks INDEXED BY tasks_leased WHERE state = 'leased' AND queue = ?", (queue,)
            ).fetchone()
            room = found[0] - leased
        if room > 0:
            open_queues[queue] = room
    return open_queues


def best_rows(
    connection: sqlite3.Connection, queues: Sequence[str], *, now: int, limit: int, solo: bool, only: str | None
) -> list[Row]:
    """The best due tasks of `queues`, best first; the turns that they took are written down."""
    room = rooms(connection, queues)
    rows: list[Row]
    if only is not None:
        named = [connection.execute(_NAMED, (only, queue, int(solo), now)) for queue in room]
        return _fitting(heapq.merge(*named, key=order_of), room, limit)
    if len(room) == 1:  # nearly always: one brand has enough work, and no other has any as urgent
        ((queue, free),) = room.items()
        rows = connection.execute(_TOP[solo], (queue, now, min(limit, free))).fetchall()
        if len(rows) == limit and not rows[0][-1]:
            return rows
    level = _Level(connection, room, now, solo)
    rows = []
    pairs = _due_pairs(connection, room, now, solo)
    pair = next(pairs, None)
    while pair is not None and len(rows) < limit:
        priority, brand, its_queues, contested = pair[0], pair[1], [], False
        while pair is not None and pair[0] == priority and not contested:
            contested = pair[1] != brand
            its_queues.append(pair[2])
            pair = next(pairs, None)
        if not contested:
            rows += _fitting(level.tasks(priority, brand, its_queues), room, limit - len(rows))
            continue
        asked = f"{'solo ' if solo else ''}{' '.join(queues)}"
        rows += _in_turns(connection, asked, level, priority, limit - len(rows))
        while pair is not None and pair[0] == priority and len(rows) < limit:
            pair = next(pairs, None)
    return rows


def _due_pairs(
    connection: sqlite3.Connection, queues: Iterable[str], now: int, solo: bool
) -> Iterator[tuple[int, str, str]]:
    """(priority, brand, queue) for each queue's brands with due tasks, highest priority first."""
    found = [connection.execute(_DUE_PAIRS[solo], (queue, now)) for queue in queues]
    return found[0] if len(found) == 1 else heapq.merge(*found, key=itemgetter(0), reverse=True)


class _Level:
    """Reads the due tasks of a priority from the queues that have `room`, as far as they are asked for."""

    def __init__(self, connection: sqlite3.Connection, room: dict[str, float], now: int, solo: bool) -> None:
        self._connection = connection
        self.room = room
        self._now = now
        self._solo = solo

    def tasks(self, priority: int, brand: str, queues: Iterable[str]) -> Iterator[Row]:
        """The tasks of one brand, best first."""
        found = [self._of_queue(priority, brand, queue) for queue in queues]
        return found[0] if len(found) == 1 else heapq.merge(*found, key=order_of)

    def _of_queue(self, priority: int, brand: str, queue: str) -> Iterator[Row]:
        for row in self._connection.execute(_OF_PAIR[self._solo], (queue, priority, brand, self._now)):
            if self.room[queue] <= 0:
                return
            yield row

    def brands(self, priority: int, *, after: str) -> Iterator[tuple[str, list[str]]]:
        """Every brand and its queues, by name: first those behind `after`, then from the beginning up to it."""
        for low, high in ((after, None), ("", after)):
            found = (
                self._connection.execute(_BRANDS[self._solo], (queue, priority, low, self._now)) for queue in self.room
            )
            for brand, its in groupby(heapq.merge(*found, key=itemgetter(0)), key=itemgetter(0)):
                if high is not None and brand > high:
                    break
                yield brand, [queue for _, queue in its]


def _fitting(offers: Iterable[Row], room: dict[str, float], limit: int) -> list[Row]:
    """The first `limit` of `offers` for which their queues have room, which they take."""
    rows: list[Row] = []
    for row in offers:
        if room[row[3]] > 0:
            room[row[3]] -= 1
            rows.append(row)
            if len(rows) == limit:
                break
    return rows


def _in_turns(connection: sqlite3.Connection, asked: str, level: _Level, priority: int, limit: int) -> list[Row]:
    """One task of each brand after the other, from the brand behind the one that came last when these queues were asked."""
    found = connection.execute("SELECT brand FROM turns WHERE asked = ? AND priority = ?", (asked, priority)).fetchone()
    last = found[0] if found else ""
    first_round = (level.tasks(priority, *brand) for brand in level.brands(priority, after=last))
    rounds: deque[Iterator[Row]] = deque()
    rows: list[Row] = []
    while len(rows) < limit:
        offers = next(first_round, None) or (rounds.popleft() if rounds else None)
        if offers is None:
            break
        if taken := _fitting(offers, level.room, 1):
            rows += taken
            rounds.append(offers)
    if rows:
        connection.execute("INSERT OR REPLACE INTO turns VALUES (?, ?, ?)", (asked, priority, rows[-1][4]))
    return rows


def soonest(connection: sqlite3.Connection, queues: Sequence[str], *, solo: bool, only: str | None) -> int | None:
    """From when on a claim may find something, in epoch milliseconds: perhaps long ago; None: not before somebody writes.

    With `solo`, suspects count as well as all others.
    """
    (ends,) = connection.execute(
        "SELECT min(expires_at) FROM tasks INDEXED BY tasks_leased WHERE state = 'leased'"
    ).fetchone()
    instants = [ends]
    for queue in rooms(connection, queues):
        if only is not None:
            instants += connection.execute(_SOONEST_NAMED, (only, queue, int(solo))).fetchone()
        else:
            for suspects in (False, True) if solo else (False,):
                instants += connection.execute(_SOONEST[suspects], (queue,)).fetchone()
    return min((instant for instant in instants if instant is not None), default=None)
