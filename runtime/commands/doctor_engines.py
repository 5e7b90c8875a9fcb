"""What `doctor` looks at in Redis and AstraDB: whether they answer, are new enough, hold what they should, and keep it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING, Any, Protocol

from config.errors import CopydeskError, SettingsError, Unavailable

if TYPE_CHECKING:
    from config.settings import Settings
    from memory.queue.protocol import Depth, TaskQueue
    from memory.redis_client import RedisServer

SLOW_REDIS_MS, SLOW_ASTRA_MS = 50.0, 1000.0
"""Round trips above which `doctor` says so: each task costs a worker several."""
PINGS = 5
FULL = 0.8
"""Part of a bound from which on `doctor` warns."""
_UPKEEP_OVERDUE = timedelta(minutes=1)
OLDEST = (6, 2)
_MENDED_REDIS = {(6, 2): 20, (7, 2): 11, (7, 4): 6, (8, 0): 4, (8, 2): 2}
_MENDED_VALKEY = {(7, 2): 11, (8, 0): 6, (8, 1): 4}
"""The first patch release of each line without CVE-2025-49844."""


class Findings(Protocol):
    """Where findings go: each with the one command that mends it."""

    sections: dict[str, Any]

    def find(self, what: str, mend: str) -> None:
        """Note what is wrong, and the one command that mends it."""
        ...


def is_remote(url: str) -> bool:
    """Whether the store is a server, rather than a file."""
    return url.startswith(("redis", "astra"))


async def look_at_engines(settings: Settings, report: Findings) -> bool:
    """Look at each server that the settings name; whether all of them may be used. Changes nothing."""
    usable = True
    urls = dict.fromkeys(url for url in (settings.queue_url, settings.cache_url) if url.startswith("redis"))
    for url in urls:
        usable = await _redis(url, report) and usable
    if settings.records_url.startswith("astra"):
        usable = await _astra(settings, report) and usable
    look_at_places(settings, report)
    return usable


def look_at_places(settings: Settings, report: Findings) -> None:
    """Rows that every machine reaches, beside tasks or budgets that only this one does."""
    urls = {"COPYDESK_QUEUE": settings.queue_url, "COPYDESK_CACHE": settings.cache_url}
    local = [name for name, url in urls.items() if not is_remote(url)]
    if is_remote(settings.records_url) and local:
        found = "tasks wait" if "COPYDESK_QUEUE" in local else "budgets are counted"
        more = "do the same work again" if "COPYDESK_QUEUE" in local else "spend the same money again"
        report.find(
            f"rows are in AstraDB, but {found} in a file of this machine: a worker on another machine would {more}",
            f"export {' '.join(f'{name}=redis://HOST:6379/0' for name in local)} # on every machine alike",
        )


# Redis


async def _redis(url: str, report: Findings) -> bool:
    from config.clock import SystemClock
    from memory.redis_client import open_redis

    clock, section = SystemClock(), dict[str, Any]()
    try:
        async with open_redis(url) as server:
            shown = server.address.shown
            report.sections.setdefault("redis", {})[shown] = section
            await server.call("PING")
            times = []
            for _ in range(PINGS):
                started = clock.boottime()
                await server.call("PING")
                times.append(1000 * (clock.boottime() - started))
            section["latency_ms"] = round(median(times), 2)
            about = await _info(server)
            section["policy_asked"] = await _policy(server, about)
    except SettingsError as error:
        report.find(str(error), "unset COPYDESK_QUEUE COPYDESK_CACHE # or mend the address, its user or its password")
        return False
    except (Unavailable, CopydeskError) as error:
        report.find(str(error), "systemctl start redis-server # where Redis runs")
        return False
    if section["latency_ms"] > SLOW_REDIS_MS:
        report.find(
            f"Redis {shown} takes {section['latency_ms']:.0f} ms to answer: workers should be near it",
            f"{_cli(url)} --latency",
        )
    return _judge(section, about, url, shown, report)


async def _info(server: RedisServer) -> Mapping[str, Any]:
    """What INFO says; empty where the user may not ask. Of a Cluster, one node speaks for all."""
    try:
        said = await server.call("INFO")
    except SettingsError:
        return {}
    nodes = [value for value in said.values() if isinstance(value, dict) and "redis_version" in value]
    return nodes[0] if nodes else said


async def _policy(server: RedisServer, about: Mapping[str, Any]) -> str:
    """The eviction policy: INFO tells it, else CONFIG is asked; '' where neither is allowed, which is no failure."""
    if about.get("maxmemory_policy"):
        return str(about["maxmemory_policy"])
    try:
        said = await server.call("CONFIG", "GET", "maxmemory-policy")
    except CopydeskError:  # managed servers know no CONFIG, or deny it
        return ""
    words = [word.decode() if isinstance(word, bytes) else str(word) for word in said]
    return words[1] if len(words) == 2 else ""


def _judge(section: dict[str, Any], about: Mapping[str, Any], url: str, shown: str, report: Findings) -> bool:
    policy = section.pop("policy_asked")
    version = str(about.get("redis_version", ""))
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:3])
    limit, used = int(about.get("maxmemory", 0)), int(about.get("used_memory", 0))
    section.update(
        version=version or "not told",
        appendonly={"0": "no", "1": "yes"}.get(str(about.get("aof_enabled", "")), "not told"),
        maxmemory_policy=policy or "not told",
        used_memory_bytes=used,
        maxmemory_bytes=limit,
        clients=about.get("connected_clients"),
    )
    if hint := _known_hole(about, numbers):
        section["hint"] = hint
    change = f"{_cli(url)} config set"
    if numbers and numbers[:2] < OLDEST:
        report.find(f"Redis {shown} is version {version}: 6.2 is the oldest that works", "apt-get install redis-server")
        return False
    if section["appendonly"] == "no":
        report.find(
            f"Redis {shown} keeps no append-only file: a restart empties the queues", f"{change} appendonly yes"
        )
    if policy and policy != "noeviction":
        report.find(
            f"Redis {shown} may throw tasks away when it is full (maxmemory-policy {policy})",
            f"{change} maxmemory-policy noeviction",
        )
    if limit and used > FULL * limit:
        report.find(
            f"Redis {shown} uses {used * 100 // limit} % of its maxmemory: past it, tasks are refused",
            f"{change} maxmemory {2 * limit}",
        )
    if int(about.get("evicted_keys", 0)):
        report.find(
            f"Redis {shown} has thrown {about['evicted_keys']} keys away: a worker finds the work of their tasks again",
            "run_agents.py worker --until-idle",
        )
    for name, what in (("aof_last_write_status", "append-only file"), ("rdb_last_bgsave_status", "snapshot")):
        if about.get(name, "ok") != "ok":
            report.find(f"Redis {shown} could not write its {what}", f"{_cli(url)} info persistence")
    if str(about.get("role", "master")) != "master":
        report.find(
            f"Redis {shown} is a replica, which refuses writes", f"{_cli(url)} info replication # names the master"
        )
        return False
    return True


def _known_hole(about: Mapping[str, Any], numbers: tuple[int, ...]) -> str:
    """A hint, not a finding: distributions mend old versions without a new number."""
    mended, name = _MENDED_REDIS, "Redis"
    if about.get("server_name") == "valkey":
        mended, name = _MENDED_VALKEY, "Valkey"
        numbers = tuple(int(n) for n in re.findall(r"\d+", str(about.get("valkey_version", "")))[:3])
    if len(numbers) < 3:
        return ""
    first = mended.get((numbers[0], numbers[1]))
    if numbers[:2] > max(mended) or (first is not None and numbers[2] >= first):
        return ""
    shown = ".".join(map(str, numbers))
    said = ", ".join(f"{a}.{b}.{c}" for (a, b), c in mended.items())
    return f"{name} {shown} lets whoever may run scripts run code (CVE-2025-49844) unless your vendor mended it: {said}"


def _cli(url: str) -> str:
    """`redis-cli` for that server, without the password: it asks REDISCLI_AUTH."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    if parts.scheme == "redis+unix":
        return f"redis-cli -s {parts.path}"
    hosts = parts.netloc.rpartition("@")[2].partition(",")[0]
    host, _, port = hosts.partition(":")
    tls = " --tls" if parts.scheme.startswith("rediss") else ""
    return f"redis-cli -h {host} -p {port or 6379}{tls}"


# AstraDB


async def _astra(settings: Settings, report: Findings) -> bool:
    from config.clock import SystemClock
    from config.settings import mask_url
    from memory.astra_client import open_astra_database
    from memory.astra_schema import INDEXES_PER_DATABASE, check_schema

    clock, init = SystemClock(), "run_agents.py db init"
    section: dict[str, Any] = {"keyspace": mask_url(settings.records_url)}
    report.sections["astra"] = section
    try:
        async with open_astra_database(
            settings.records_url, clock=clock, token=settings.astra_token.get_secret_value()
        ) as database:
            started = clock.boottime()
            await database.collections()
            section["latency_ms"] = round(1000 * (clock.boottime() - started), 1)
            schema = await check_schema(database)
    except SettingsError as error:
        report.find(str(error), "export COPYDESK_ASTRA_TOKEN=AstraCS:… # or mend COPYDESK_RECORDS")
        return False
    except CopydeskError as error:
        report.find(str(error), "run_agents.py doctor # again, once it can be reached")
        return False
    section.update(
        indexes=schema.indexes,
        index_limit=INDEXES_PER_DATABASE,
        missing_tables=list(schema.missing_tables),
        missing_columns=[f"{table}.{column}" for table, column in schema.missing_columns],
        missing_indexes=[f"{table}.{column}" for table, column in schema.missing_indexes],
        missing_collections=list(schema.missing_collections),
    )
    for what, names in (
        ("tables", schema.missing_tables),
        ("collections", schema.missing_collections),
        ("columns", section["missing_columns"]),
        ("indexes", section["missing_indexes"]),
    ):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            report.find(f"AstraDB lacks {len(names)} {what}: {', '.join(names[:3])}{more}", init)
    for problem in schema.problems:
        report.find(f"AstraDB: {problem}", "export COPYDESK_RECORDS=… # a keyspace of its own, then `db init`")
    if schema.indexes > FULL * INDEXES_PER_DATABASE:
        report.find(
            f"AstraDB: {schema.indexes} of the {INDEXES_PER_DATABASE} indexes that a database holds are taken",
            "export COPYDESK_RECORDS=… # a database of its own",
        )
    if section["latency_ms"] > SLOW_ASTRA_MS:
        report.find(
            f"AstraDB takes {section['latency_ms']:.0f} ms to answer: run workers in its region",
            "run_agents.py doctor # where the workers run",
        )
    # `permits` decides every race, so that nothing works without it; a missing index breaks finds.
    return schema.complete


# Any engine


def look_at_backlog(depths: Mapping[str, Depth], most: int, report: Findings) -> None:
    """Queues near their bound: producers are about to be told to wait."""
    for name, depth in depths.items():
        waiting = depth.ready + depth.delayed
        if waiting > FULL * most:
            report.find(
                f"queue {name} holds {waiting} of at most {most} tasks: too few workers", "run_agents.py worker"
            )


async def look_for_workers(queue: TaskQueue, depths: Mapping[str, Depth], now: datetime, report: Findings) -> None:
    """Tasks that are ready, while no lease and no fresh upkeep says that a worker is there.

    A worker that lives looks at upkeep every minute, which leaves a task that is not overdue.
    """
    from memory.queue.protocol import UPKEEP_QUEUE

    ready = sum(depth.ready for name, depth in depths.items() if name != UPKEEP_QUEUE and not depth.paused)
    if not ready or any(depth.leased for depth in depths.values()):
        return
    upkeep = await queue.find("upkeep:reconcile")
    if upkeep is None or now - upkeep.run_at > _UPKEEP_OVERDUE:
        what, whom = ("1 task is", "it") if ready == 1 else (f"{ready} tasks are", "them")
        report.find(f"{what} ready, and no worker takes {whom}", "run_agents.py worker")


def engine_lines(sections: Mapping[str, Any]) -> list[str]:
    """What was seen, for people."""
    lines = []
    for shown, seen in sections.get("redis", {}).items():
        if "version" not in seen:
            lines.append(f"Redis {shown}: cannot be used")
            continue
        room = f" of {seen['maxmemory_bytes'] // 2**20} MiB" if seen["maxmemory_bytes"] else ""
        lines.append(
            f"Redis {shown}: version {seen['version']}, {seen['latency_ms']} ms, appendonly {seen['appendonly']}, "
            f"{seen['maxmemory_policy']}, {seen['used_memory_bytes'] / 2**20:.1f} MiB{room}"
        )
        if "hint" in seen:
            lines.append(f"   hint: {seen['hint']}")
    if seen := sections.get("astra"):
        told = f"{seen['latency_ms']} ms, " if "latency_ms" in seen else "cannot be used"
        told += f"{seen['indexes']} of {seen['index_limit']} indexes" if "indexes" in seen else ""
        lines.append(f"AstraDB {seen['keyspace']}: {told}")
    return lines
