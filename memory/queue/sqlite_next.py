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
from typing import Any

from memory.queue.sqlite_rows import COLUMNS, order_of

Row = Sequence[Any]


def _pairs(index: str, condition: str) -> str:
    # A loose scan: each step seeks to the next (priority, brand) below the last, whatever number of tasks the last has.
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
            FROM pairs CROSS JOIN tasks AS below ON below.seq = (
                SELECT seq
                FROM tasks INDEXED BY {index}
                WHERE queue = ?1 AND state = 'waiting' AND {condition}
                    AND (priority, brand) < (pairs.priority, pairs.brand)
                ORDER BY priority DESC, brand DESC
                LIMIT 1
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
    solo: f"{_pairs(*how)} SELECT priority, brand FROM pairs WHERE EXISTS ({_in_pair(*how, '1')} AND t.run_at <= ?2)"
    for solo, how in _CLASSES.items()
}
"""By `solo`: the (priority, brand) pairs of a queue with due tasks, highest first. Values: queue, now in epoch milliseconds."""

_SOONEST = {
    solo: f"{_pairs(*how)} SELECT min(({_in_pair(*how, 't.run_at')} ORDER BY t.run_at LIMIT 1)) FROM pairs"
    for solo, how in _CLASSES.items()
}
"""By `solo`: the earliest `run_at` in a queue, in epoch milliseconds. Values: queue."""

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


def rooms(connection: sqlite3.Connection, queues: Iterable[str]) -> dict[str, float]:
    """The queues that may give tasks now, each with how many leases it has room for."""
    open_queues: dict[str, float] = {}
    for queue in queues:
        found = connection.execute("SELECT paused, concurrency FROM queues WHERE name = ?", (queue,)).fetchone()
        if found is None or found[0]:
            continue
        room = float("inf")
        if found[1] is not None:
            (leased,) = connection.execute(
                "SELECT count(*) FROM tasks INDEXED BY tasks_leased WHERE state = 'leased' AND queue = ?", (queue,)
            ).fetchone()
            room = found[1] - leased
        if room > 0:
            open_queues[queue] = room
    return open_queues


def best_rows(
    connection: sqlite3.Connection, queues: Sequence[str], *, now: int, limit: int, solo: bool, only: str | None
) -> list[Row]:
    """The best due tasks of `queues`, best first; the turns that they took are written down."""
    room = rooms(connection, queues)
    if only is not None:
        named = [connection.execute(_NAMED, (only, queue, int(solo), now)) for queue in room]
        return _fitting(heapq.merge(*named, key=order_of), room, limit)
    rows: list[Row] = []
    for priority, group in groupby(_due_pairs(connection, room, now, solo), key=lambda pair: -pair[0]):
        queues_of: dict[str, list[str]] = {}
        for _, brand, queue in group:
            queues_of.setdefault(brand, []).append(queue)
        offered: dict[str, Iterator[Row]] = {
            brand: heapq.merge(
                *(
                    _while_room(connection.execute(_OF_PAIR[solo], (queue, priority, brand, now)), room)
                    for queue in its
                ),
                key=order_of,
            )
            for brand, its in queues_of.items()
        }
        if len(offered) == 1:
            (offers,) = offered.values()
            rows += _fitting(offers, room, limit - len(rows))
        else:
            asked = f"{'solo ' if solo else ''}{' '.join(queues)}"
            rows += _in_turns(connection, (asked, priority), offered, room, limit - len(rows))
        if len(rows) == limit:
            break
    return rows


def _due_pairs(
    connection: sqlite3.Connection, queues: Iterable[str], now: int, solo: bool
) -> Iterator[tuple[int, str, str]]:
    """(-priority, brand, queue) for each queue's brands with due tasks, highest priority first."""

    def of_one(queue: str) -> Iterator[tuple[int, str, str]]:
        for priority, brand in connection.execute(_DUE_PAIRS[solo], (queue, now)):
            yield -priority, brand, queue

    return heapq.merge(*map(of_one, queues), key=lambda pair: pair[0])


def _while_room(rows: Iterable[Row], room: dict[str, float]) -> Iterator[Row]:
    for row in rows:
        if room[row[3]] <= 0:
            return
        yield row


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


def _in_turns(
    connection: sqlite3.Connection,
    turn: tuple[str, int],
    offered: dict[str, Iterator[Row]],
    room: dict[str, float],
    limit: int,
) -> list[Row]:
    """One task of each brand after the other, by name, from the brand after the one that came last when these queues were asked."""
    found = connection.execute("SELECT brand FROM turns WHERE asked = ? AND priority = ?", turn).fetchone()
    last = found[0] if found else ""
    waiting = deque(sorted(offered, key=lambda brand: (brand <= last, brand)))
    rows: list[Row] = []
    while waiting and len(rows) < limit:
        brand = waiting.popleft()
        taken = _fitting(offered[brand], room, 1)
        if taken:
            rows += taken
            waiting.append(brand)
            last = brand
    connection.execute("INSERT OR REPLACE INTO turns VALUES (?, ?, ?)", (*turn, last))
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
