"""`doctor` and `db init` with Redis and AstraDB: each finding names what is wrong and the one command that mends it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from config.settings import Settings
from memory.queue.protocol import Depth
from runtime.commands.doctor import Report
from runtime.commands.doctor_engines import _judge, _known_hole, look_at_backlog, look_at_places
from tests.cli_support import Cli, cli, quiet_process
from tests.fakes.data_api import DataApi, Keyspace
from tests.fakes.redis_server import RedisServer

__all__ = ["cli", "quiet_process"]  # fixtures
URL, SHOWN = "redis://desk.example:6400/0", "redis://desk.example:6400/0"
FINE: dict[str, Any] = {
    "redis_version": "7.4.6",
    "aof_enabled": 1,
    "maxmemory_policy": "noeviction",
    "maxmemory": 100 * 2**20,
    "used_memory": 10 * 2**20,
    "evicted_keys": 0,
    "role": "master",
}


@pytest.fixture
def server() -> Iterator[RedisServer]:
    started = RedisServer("--appendonly", "yes").start()
    yield started
    started.close()


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[DataApi]:
    started = DataApi().start()
    started.keyspaces["desk"] = Keyspace()
    monkeypatch.setenv("COPYDESK_RECORDS", started.url("desk"))
    yield started
    started.stop()


def judged(**changes: Any) -> tuple[bool, list[dict[str, str]], dict[str, Any]]:
    about = {**FINE, **changes}
    report, section = Report(), {"latency_ms": 0.1, "policy_asked": about.get("maxmemory_policy", "")}
    usable = _judge(section, about, URL, SHOWN, report)
    return usable, report.findings, section


def test_a_server_that_is_as_it_should_be_gives_no_finding() -> None:
    assert judged()[:2] == (True, [])


@pytest.mark.parametrize(
    ("changes", "says", "mend", "usable"),
    [
        ({"redis_version": "6.0.16"}, "6.2 is the oldest", "apt-get install redis-server", False),
        ({"redis_version": "2.8"}, "6.2 is the oldest", "apt-get install redis-server", False),
        ({"aof_enabled": 0}, "append-only", "redis-cli -h desk.example -p 6400 config set appendonly yes", True),
        ({"maxmemory_policy": "allkeys-lru"}, "throw tasks away", "config set maxmemory-policy noeviction", True),
        ({"maxmemory_policy": "volatile-ttl"}, "throw tasks away", "config set maxmemory-policy noeviction", True),
        ({"used_memory": 90 * 2**20}, "90 % of its maxmemory", f"config set maxmemory {200 * 2**20}", True),
        ({"evicted_keys": 3}, "thrown 3 keys away", "worker --until-idle", True),
        ({"aof_last_write_status": "err"}, "append-only file", "info persistence", True),
        ({"rdb_last_bgsave_status": "err"}, "snapshot", "info persistence", True),
        ({"role": "slave"}, "replica", "info replication", False),
    ],
)
def test_what_is_wrong_with_redis_is_named_with_its_remedy(
    changes: dict[str, Any], says: str, mend: str, usable: bool
) -> None:
    works, [finding], _ = judged(**changes)
    assert says in finding["finding"]
    assert mend in finding["mend"]
    assert works is usable


def test_a_server_that_tells_nothing_is_no_failure() -> None:
    report, section = Report(), {"latency_ms": 0.1, "policy_asked": ""}
    assert _judge(section, {}, URL, SHOWN, report)
    assert report.findings == []
    assert (section["version"], section["appendonly"], section["maxmemory_policy"]) == ("not told",) * 3


@pytest.mark.parametrize(
    ("about", "open_"),
    [
        ({"redis_version": "6.2.14"}, True),
        ({"redis_version": "6.2.20"}, False),
        ({"redis_version": "7.0.15"}, True),
        ({"redis_version": "7.4.5"}, True),
        ({"redis_version": "8.2.2"}, False),
        ({"redis_version": "8.4.0"}, False),
        ({"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "8.1.4"}, False),
        ({"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "8.1.3"}, True),
        ({}, False),
    ],
)
def test_versions_with_a_known_hole_get_a_hint(about: dict[str, Any], open_: bool) -> None:
    numbers = tuple(int(n) for n in about.get("redis_version", "").split(".") if n)
    assert bool(_known_hole(about, numbers)) is open_


def test_a_queue_near_its_bound_asks_for_workers() -> None:
    report = Report()
    look_at_backlog({"full": Depth(ready=50, delayed=35), "calm": Depth(ready=80)}, 100, report)
    [finding] = report.findings
    assert "queue full holds 85 of at most 100" in finding["finding"]
    assert finding["mend"] == "run_agents.py worker"


def test_doctor_reads_a_running_redis(cli: Cli, server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COPYDESK_QUEUE", server.url)
    monkeypatch.setenv("COPYDESK_CACHE", server.url)
    report = cli("doctor", "--json")
    assert (report.code, report.json["findings"]) == (0, [])
    [seen] = report.json["redis"].values()
    assert (seen["appendonly"], seen["maxmemory_policy"]) == ("yes", "noeviction")
    assert 0 < seen["latency_ms"] < 50
    assert "appendonly yes" in cli("doctor").out
    server.command("CONFIG", "SET", "appendonly", "no")
    server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-random")
    report = cli("doctor", "--json")
    assert report.code == 1
    mends = [row["mend"] for row in report.json["findings"]]
    assert [mend.partition("config ")[2] for mend in mends] == [
        "set appendonly yes",
        "set maxmemory-policy noeviction",
    ]
    for mend in mends:  # what it says mends it
        assert server.command(*mend.split()[3:]).startswith("+OK")
    assert cli("doctor").code == 0


def test_a_user_who_may_not_ask_for_the_configuration_gets_no_failure(
    cli: Cli, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.command("ACL", "SETUSER", "desk", "on", ">secret", "~*", "+@all", "-config", "-info")
    monkeypatch.setenv("COPYDESK_QUEUE", f"redis+unix://desk:secret@{server.socket}")
    report = cli("doctor", "--json")
    assert (report.code, report.json["findings"]) == (0, [])
    [seen] = report.json["redis"].values()
    assert seen["version"] == "not told"
    assert "secret" not in report.out
    monkeypatch.setenv("COPYDESK_QUEUE", f"redis+unix://desk:wrong@{server.socket}")
    report = cli("doctor", "--json")
    assert report.code == 1
    assert "refuses this user" in report.json["findings"][0]["finding"]
    assert "wrong" not in report.out


def test_a_redis_that_is_away_is_one_finding(cli: Cli, server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COPYDESK_QUEUE", server.url)
    monkeypatch.setenv("COPYDESK_CACHE", server.url)
    server.kill()
    report = cli("doctor", "--json")
    assert report.code == 1
    [finding] = report.json["findings"]
    assert "does not answer" in finding["finding"]
    assert "systemctl start" in finding["mend"]
    assert "cannot be used" in cli("doctor").out


def other(report: Any) -> list[dict[str, str]]:
    """The findings, but for the one that this machine's queue and cache beside AstraDB deserve."""
    return [found for found in report.json["findings"] if "in a file of this machine" not in found["finding"]]


def test_what_astradb_lacks_is_found_and_db_init_makes_it(cli: Cli, api: DataApi) -> None:
    report = cli("doctor", "--json")
    assert report.code == 1
    assert {row["mend"] for row in other(report)} == {"run_agents.py db init"}
    assert any("tables" in row["finding"] for row in other(report))
    made = cli("db", "init", "--json")
    assert made.code == 0, made.err
    assert "permits" in made.json["astra"]["collections"]
    assert len(made.json["astra"]["tables"]) > 20
    report = cli("doctor", "--json")
    assert other(report) == []
    assert 0 < report.json["astra"]["indexes"] <= 100
    assert "secret" not in report.out, "passwords are masked"
    again = cli("db", "init", "--json")
    assert again.json["astra"] == {"tables": [], "columns": [], "indexes": [], "collections": []}
    del api.keyspaces["desk"].tables["content_library"].columns["cycle_day"]
    [finding] = other(cli("doctor", "--json"))
    assert "lacks 1 columns: content_library.cycle_day" in finding["finding"]
    assert finding["mend"] == "run_agents.py db init"
    assert cli("db", "init", "--json").json["astra"]["columns"] == ["content_library.cycle_day"]
    assert other(cli("doctor", "--json")) == []
    del api.keyspaces["desk"].tables["reviews"]
    [finding, *_] = cli("doctor", "--json").json["findings"]
    assert "reviews" in finding["finding"]


def test_a_database_whose_indexes_are_nearly_used_up_is_a_finding(
    cli: Cli, api: DataApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("db", "init").code == 0
    from runtime.commands import doctor_engines

    monkeypatch.setattr(doctor_engines, "FULL", 0.1)
    [finding] = other(cli("doctor", "--json"))
    assert "indexes that a database holds are taken" in finding["finding"]


def test_an_astradb_that_is_away_or_refuses_is_one_finding(
    cli: Cli, api: DataApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.fail("401", times=99)
    report = cli("doctor", "--json")
    [finding] = other(report)
    assert "COPYDESK_ASTRA_TOKEN" in finding["mend"]
    api.faults.clear()
    api.fail("503", times=99)
    report = cli("doctor", "--json")
    assert report.code == 1
    [finding] = other(report)
    assert "503" in finding["finding"]


@pytest.mark.parametrize(
    ("stores", "says", "mend"),
    [
        ({}, "tasks wait in a file", "COPYDESK_QUEUE=redis://HOST:6379/0 COPYDESK_CACHE=redis://HOST:6379/0"),
        ({"queue": "redis://localhost:6379/0"}, "budgets are counted", "COPYDESK_CACHE=redis://HOST:6379/0"),
    ],
)
def test_rows_of_all_machines_beside_tasks_or_budgets_of_one_are_a_finding(
    stores: dict[str, str], says: str, mend: str
) -> None:
    report = Report()
    look_at_places(Settings(records="astra+http://h:1/desk", **stores), report)
    [finding] = report.findings
    assert says in finding["finding"]
    assert finding["mend"] == f"export {mend} # on every machine alike"


@pytest.mark.parametrize(
    "stores",
    [
        {},
        {"queue": "redis://localhost:6379/0"},
        {"records": "astra+http://h:1/desk", "queue": "redis://localhost/0", "cache": "redis://localhost/0"},
    ],
)
def test_stores_that_go_together_are_no_finding(stores: dict[str, str]) -> None:
    report = Report()
    look_at_places(Settings(**stores), report)
    assert report.findings == []
