"""`doctor`: looks at everything, changes nothing that matters, and says for each finding the one command that mends it."""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from config.errors import CopydeskError, Unavailable
from runtime.commands.common import (
    FINDINGS,
    OK,
    add_verb,
    default_brand,
    emit,
    load,
    preferences_in,
    program,
    run_async,
)
from runtime.commands.doctor_engines import engine_lines, is_remote, look_at_backlog, look_at_engines, look_for_workers

if TYPE_CHECKING:
    from config.settings import Settings
    from memory.queue.protocol import Owner
    from runtime.compose import Runtime

MIN_FREE = 500 * 1024 * 1024
"""Bytes of disk below which `doctor` warns: a week of content and its checkpoints need a few hundred megabytes."""
SAMPLE = 2000
"""Stored vectors of a table that are looked at."""


def register(verbs: Any) -> None:
    doctor = add_verb(
        verbs, "doctor", "look for what is wrong: settings, files, queues, orphans; 1 = it found something"
    )
    doctor.set_defaults(run=lambda args: run_async(lambda: run_doctor(args)))


class Report:
    """What was looked at, and what was found; each finding has the one command that mends it."""

    def __init__(self) -> None:
        self.sections: dict[str, Any] = {}
        self.findings: list[dict[str, str]] = []

    def find(self, what: str, mend: str) -> None:
        self.findings.append({"finding": " ".join(what.split()), "mend": mend})


async def run_doctor(args: argparse.Namespace) -> int:
    """Print the report; 1 when there are findings."""
    settings = load(args)
    report = Report()
    report.sections["settings"] = _settings(settings)
    sound = _files(settings, report)
    usable = await look_at_engines(settings, report)
    kept = report.sections["files"] or any(map(is_remote, (settings.records_url, settings.queue_url)))
    if not kept:
        _model(settings, report)
    elif usable and (sound or not report.findings):
        await _stores(args, settings, report)
    emit(args, {**report.sections, "findings": report.findings}, _text(report, args))
    return FINDINGS if report.findings else OK


def _settings(settings: Settings) -> list[dict[str, str]]:
    from config.settings import mask_url, variable

    sources = settings.sources()
    rows = []
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        shown = value.total_seconds() if hasattr(value, "total_seconds") else value
        if hasattr(value, "get_secret_value"):
            shown = "***" if value.get_secret_value() else ""
        url = getattr(settings, f"{name}_url", "") if name in ("records", "queue", "cache") else ""
        backend = mask_url(url) if isinstance(url, str) else ""
        source = sources[name] if name != "data_dir" or sources[name] == "environment" else "default or --data-dir"
        rows.append({"setting": variable(name), "value": mask_url(str(shown)), "source": source, "backend": backend})
    return rows


def expected_schemas() -> dict[str, tuple[int, int]]:
    """Each embedded file's application_id and present schema version."""
    from memory import session_schema
    from memory.checkpoints import schema as checkpoints
    from memory.queue import schema as queue
    from memory.records import migrations as records

    return {
        "records.db": (records.RECORDS_ID, len(records.RECORDS_MIGRATIONS)),
        "ledger.db": (records.LEDGER_ID, len(records.LEDGER_MIGRATIONS)),
        "queue.db": (queue.APPLICATION_ID, len(queue.MIGRATIONS)),
        "checkpoints.db": (checkpoints.APPLICATION_ID, len(checkpoints.MIGRATIONS)),
        "session.db": (session_schema.APPLICATION_ID, len(session_schema.MIGRATIONS)),
    }


def _files(settings: Settings, report: Report) -> bool:
    """Look at the data directory and its files; whether the stores may be opened."""
    folder = settings.data_dir.absolute()
    report.sections["data_dir"] = {"path": str(folder), "exists": folder.is_dir()}
    report.sections["files"] = {}
    if not folder.exists():
        return False  # nothing was ever made here; the first command makes it
    if not folder.is_dir() or not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        report.find(f"data directory {folder} cannot be used", f"chmod u+rwx {folder}")
        return False
    free = shutil.disk_usage(folder).free
    report.sections["data_dir"]["free_bytes"] = free
    if free < MIN_FREE:
        report.find(f"only {free // 2**20} MiB are free on the disk of {folder}", f"du -sh {folder}/* | sort -h")
    if folder.stat().st_mode & 0o077:
        report.find(f"data directory {folder} can be read by other users", f"chmod 700 {folder}")
    from memory.sqlite_errors import marker_of, remedy

    sound = True
    for name, (application_id, schema) in expected_schemas().items():
        path = folder / name
        if not os.path.lexists(path):
            if marker_of(path).exists():
                sound = False
                report.find(f"{path} was here and is gone", remedy(path))
            continue
        row = _look(path, application_id, schema, report)
        report.sections["files"][name] = row
        sound = sound and row["integrity"] == "ok"
    return sound


def _look(path: Path, application_id: int, schema: int, report: Report) -> dict[str, Any]:
    """Read one file without changing it."""
    import sqlite3
    from contextlib import closing
    from urllib.parse import quote

    from memory.sqlite_errors import remedy

    row: dict[str, Any] = {"bytes": path.lstat().st_size, "schema": None, "expected": schema, "integrity": "damaged"}
    away = remedy(path)
    if not path.is_file() or path.is_symlink() or row["bytes"] == 0:
        report.find(
            f"{path} is {'empty (0 bytes)' if row['bytes'] == 0 else 'not a regular file'}: work may be lost", away
        )
        return row
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5)) as db:
            found = db.execute("PRAGMA application_id").fetchone()[0]
            row["schema"] = db.execute("PRAGMA user_version").fetchone()[0]
            said = [text for (text,) in db.execute("PRAGMA quick_check(5)")]
    except sqlite3.DatabaseError as error:
        report.find(f"{path} cannot be read: {error}", away)
        return row
    if found != application_id:
        report.find(f"{path} belongs to another program (application_id {found:#x})", away)
    elif said != ["ok"]:
        report.find(f"{path} is damaged: {said[0][:200]}", away)
    elif row["schema"] > schema:
        report.find(
            f"{path} was written by a newer Copydesk (schema {row['schema']})", "pip install --upgrade copydesk"
        )
    else:
        row["integrity"] = "ok"
        if row["schema"] < schema:
            report.find(f"{path} has schema {row['schema']}, this program writes {schema}", "run_agents.py db migrate")
    return row


def _model(settings: Settings, report: Report) -> None:
    from agents.chat_models import check_model

    try:
        check_model(settings)
    except CopydeskError as error:
        report.find(str(error), "export COPYDESK_MODEL=offline:")


async def _stores(args: argparse.Namespace, settings: Settings, report: Report) -> None:
    from config.errors import SettingsError
    from runtime.compose import open_runtime

    try:
        async with open_runtime(settings) as runtime:
            await _queue(runtime, report)
            # Of several brands of the operator's none is meant, and those that were ever used are looked at all the same.
            meant = (
                args.brand
                or (await preferences_in(runtime.user_sessions)).get("brand")
                or default_brand(settings.data_dir)
            )
            brands = sorted({*(row.name for row in await _brands(runtime)), *([meant] if meant else [])})
            report.sections["brands"] = brands
            for brand in brands:
                await _brand(runtime, brand, report)
    except Unavailable as error:
        report.find(str(error), "run_agents.py doctor")
    except CopydeskError as error:
        mend = "unset that variable or mend its value" if isinstance(error, SettingsError) else "run_agents.py doctor"
        report.find(str(error), mend)


async def _brands(runtime: Runtime) -> list[Any]:
    from runtime.reconcile import list_brands

    return await list_brands(runtime)


async def _queue(runtime: Runtime, report: Report) -> None:
    from memory.queue.owner import is_alive

    depths = await runtime.queue.depths()
    report.sections["queues"] = {
        name: {"ready": d.ready, "delayed": d.delayed, "leased": d.leased, "dead": d.dead, "paused": d.paused}
        for name, d in depths.items()
    }
    look_at_backlog(depths, runtime.settings.max_queue, report)
    for letter in await runtime.queue.list_dead():
        report.find(
            f"task {letter.task.id} is dead: {letter.reason[:300]}", f"run_agents.py queue requeue {letter.task.id}"
        )
    gone: list[Owner] = []

    def note(owner: Owner) -> None:
        if is_alive(owner) is False:
            gone.append(owner)
        # None: look, but leave the leases of dead processes to the next worker.

    ended = await runtime.queue.reclaim_dead(note)
    work = "run_agents.py worker --until-idle"
    if ended:
        report.find(f"{ended} leases had run out and nobody had taken them back (given back now)", work)
    for owner in gone:
        report.find(f"process {owner.pid} died holding leases, and no worker has taken them back", work)
    await look_for_workers(runtime.queue, depths, runtime.clock.now(), report)
    for name, depth in depths.items():
        if depth.paused:
            report.find(
                f"queue {name} is paused with {depth.ready + depth.delayed} tasks", f"run_agents.py queue list # {name}"
            )


async def _brand(runtime: Runtime, brand: str, report: Report) -> None:
    from config.vocabulary import UNSETTLED, PieceState
    from graphs.pieces import find_schedule
    from graphs.sessions import session_piece_ids
    from memory.rows.brand import Control, KnowledgeSource
    from memory.rows.content import Piece
    from memory.rows.sessions import Session
    from runtime.commands.brand import NO_DOCUMENTS, check_brand
    from runtime.commands.schedule import look_at_schedules
    from runtime.publish_due import PAUSE

    check = f"run_agents.py brand check {brand}"
    try:
        wrong = check_brand(runtime.profile(brand), runtime.brand_folder(brand))
    except CopydeskError as error:
        report.find(f"brand {brand}: {error}", check)
        return
    records = runtime.records.for_brand(brand)
    if NO_DOCUMENTS in wrong and any(row.status == "active" for row in await records.list_rows(KnowledgeSource)):
        wrong.remove(NO_DOCUMENTS)  # what it knows was added from elsewhere
    if wrong:
        report.find(f"brand {brand}: {wrong[0]}" + (f" (and {len(wrong) - 1} more)" if wrong[1:] else ""), check)
    pause = await records.find(Control, name=PAUSE)
    if pause is not None and pause.value == "on":
        because = f" ({pause.reason})" if pause.reason else ""
        report.find(
            f"publishing of brand {brand} is paused by {pause.by or 'somebody'}{because}: nothing goes out",
            f"run_agents.py --brand {brand} publish resume",
        )
    sessions = await records.list_rows(Session)
    status = {session.id: session.status for session in sessions}
    for piece in await records.find_by(Piece, brand=brand):
        if piece.state is not PieceState.ARCHIVED and await find_schedule(records, piece) is None:
            alive = status.get(piece.session_id) in ("running", "waiting")
            mend = f"session resume {piece.session_id}" if alive else f"why {piece.id}"
            report.find(
                f"piece {piece.id} ({piece.state}) has no place in the plan", f"run_agents.py --brand {brand} {mend}"
            )
        if piece.state is PieceState.UNKNOWN:
            report.find(
                f"piece {piece.id}: nobody knows whether it went out: {piece.reason}",
                f"run_agents.py --brand {brand} publish reconcile",
            )
    for session in sessions:
        if session.status != "running":
            continue
        ids = session_piece_ids(session)
        rows = await records.find_many(Piece, [{"id": id} for id in ids])
        open_ids = [session.id, *(row.id for row in rows if row.state in UNSETTLED)]
        if not any([await runtime.queue.find(f"advance:{id}") is not None for id in open_ids]):
            report.find(
                f"session {session.id} is running, but nothing of it is queued",
                f"run_agents.py --brand {brand} session resume {session.id}",
            )
    for what, mend in await look_at_schedules(records, runtime.clock.now()):
        report.find(what, f"run_agents.py {mend}")
    await _vectors(runtime, brand, report)


async def _vectors(runtime: Runtime, brand: str, report: Report) -> None:
    from collections import Counter

    from memory.rows.agents import AgentMemory
    from memory.rows.brand import BrandKnowledge
    from memory.rows.content import ContentEmbedding

    records = runtime.records.for_brand(brand)
    seen: Counter[str] = Counter()
    for table in (BrandKnowledge, ContentEmbedding, AgentMemory):
        rows: list[Any] = await records.find_by(table, brand=brand, limit=SAMPLE)
        seen.update(row.embedder_id for row in rows if row.embedder_id)
    report.sections.setdefault("embedders", {})[brand] = {"configured": runtime.embedder.id, "stored": dict(seen)}
    for embedder, count in sorted(seen.items()):
        if embedder != runtime.embedder.id:
            report.find(
                f"brand {brand}: {count} vectors were made by {embedder}, which {runtime.embedder.id} never finds",
                f"export COPYDESK_EMBEDDER={embedder}",
            )


def _text(report: Report, args: argparse.Namespace) -> str:
    from runtime.commands.lookup import table

    said = report.sections
    rows = [[s["setting"], s["source"], s["value"] or s["backend"]] for s in said["settings"]]
    lines = [table(["setting", "from", "value"], rows), ""]
    free = said["data_dir"].get("free_bytes")
    room = f"{free // 2**20} MiB free" if free is not None else "not made yet: the first command makes it"
    lines.append(f"data directory {said['data_dir']['path']}: {room}")
    for name, file in said["files"].items():
        lines.append(
            f"  {name}: schema {file['schema']} of {file['expected']}, {file['bytes']} bytes, {file['integrity']}"
        )
    lines += engine_lines(said)
    for name, depth in said.get("queues", {}).items():
        lines.append(
            f"queue {name}: " + ", ".join(f"{count} {word}" for word, count in depth.items() if word != "paused")
        )
    for brand, found in said.get("embedders", {}).items():
        stored = ", ".join(f"{n} by {id}" for id, n in found["stored"].items()) or "none"
        lines.append(f"vectors of {brand}: {stored}; configured: {found['configured']}")
    lines.append("")
    for row in report.findings:
        lines += [f"finding: {row['finding']}", f"   mend: {_typed(row['mend'], args)}"]
    found = len(report.findings)
    lines.append(f"{found} finding{'s' if found > 1 else ''}" if found else "nothing is wrong")
    return "\n".join(lines)


def _typed(mend: str, args: argparse.Namespace) -> str:
    """The command as it can be typed here; the report holds it as every installation knows it."""
    words = mend.removeprefix("run_agents.py ")
    flags = f" --data-dir {quote(args.data_dir)}" if args.data_dir else ""
    return mend if words == mend else f"{program()}{flags} {words}"
