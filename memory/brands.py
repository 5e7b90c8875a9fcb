"""A brand's folder into rows: guidelines, claims, templates and shipped documents, written only when something changed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

from config.brand_profile import BrandProfile
from config.clock import Clock
from config.errors import BadInput
from config.ids import name_id
from memory.embedding.protocol import Embedder
from memory.knowledge import EXTENSIONS, AddResult, add_document, forget, parse_document, read_file
from memory.records.protocol import Records
from memory.rows.brand import REALM, Brand, BrandGuideline, BrandKnowledge, KnowledgeSource
from memory.rows.content import ContentTemplate
from memory.rows.row import Row

R = TypeVar("R", bound=Row)
CLAIM_STATUS = {"approved": "active", "blocked": "blocked", "needs_review": "draft"}
"""What a claim's status in the folder is in brand_knowledge; one that left the folder is `deprecated`."""
REMOVED = "removed"
"""The status of a document whose file left the brand's folder: forgotten like a revoked one, and learnt again when it is back."""
_IN_FOLDER = "brand folder: documents/"
_OURS = ("row_version", "created_at", "updated_at")


async def load_brand_rows(
    records: Records, profile: BrandProfile, folder: Path, *, embedder: Embedder, clock: Clock
) -> Brand:
    """Make the brand's rows say what its folder says, and return the Brand row. Nothing is written when the folder is as last loaded.

    Rows that are unchanged are not rewritten. Claims that left the folder become `deprecated`; guidelines and templates
    that left it are deleted. `first_cycle_key` and a template's usage are kept. The Brand row, which holds the folder's
    hash, is written last: a crash before it makes the next run load again.
    """
    brand = await records.find(Brand, realm=REALM, name=profile.name)
    mark = f"{profile.content_hash}:{embedder.id}"
    if brand is not None and brand.profile_hash == mark:
        return brand
    now = clock.now()
    await _load_guidelines(records, profile, clock)
    await _load_claims(records, profile, embedder, clock)
    await _load_templates(records, profile, clock)
    values: dict[str, Any] = {"title": profile.title, "zone": profile.zone, "profile_hash": mark, "updated_at": now}
    fresh = Brand(brand=records.brand, name=profile.name, created_at=now, **values)
    await records.put(brand.model_copy(update=values) if brand else fresh)
    return await records.get(Brand, realm=REALM, name=profile.name)


async def add_shipped_documents(records: Records, embedder: Embedder, clock: Clock, folder: Path) -> AddResult:
    """Make the brand know what lies in its folder's `documents/`: new and changed files are learnt, those that left are forgotten.

    One that the operator revoked, or added from elsewhere under the same name, stays as it is. A file that cannot be learnt
    is among the rejected, and what it said before is forgotten like that of a file that left.
    """
    result = AddResult()
    known = {row.name: row for row in await records.list_rows(KnowledgeSource)}
    home = folder / "documents"
    there = [path for path in sorted(home.glob("[!.]*")) if path.suffix.lower() in EXTENSIONS]
    for path in there:
        row = known.get(path.name)
        if row is not None and (row.status == "revoked" or not _of_folder(row, home)):
            continue
        try:
            data = read_file(path)
            if row is not None and row.status == "active" and row.sha256 == hashlib.sha256(data).hexdigest():
                result.unchanged.append(path.name)
                continue
            document = parse_document(data, path.stem)
        except BadInput as error:
            result.rejected.append((str(path), str(error)))
            if row is not None and row.status == "active":
                await forget(records, row, status=REMOVED, clock=clock)
            continue
        place = f"{_IN_FOLDER}{path.name}"
        await add_document(records, embedder, clock, name=path.name, path=place, document=document)
        result.added.append(path.name)
    for row in known.values():
        if row.status == "active" and _of_folder(row, home) and row.name not in {path.name for path in there}:
            await forget(records, row, status=REMOVED, clock=clock)
    return result


def _of_folder(row: KnowledgeSource, home: Path) -> bool:
    """Whether the document came out of the brand's folder, wherever that lay then; older rows hold the place itself."""
    return row.path == f"{_IN_FOLDER}{row.name}" or row.path == str(home / row.name)


async def _load_guidelines(records: Records, profile: BrandProfile, clock: Clock) -> None:
    wanted = [
        BrandGuideline(
            brand=records.brand,
            id=name_id("guideline", records.brand, g.type, g.title),
            guideline_type=g.type,
            category=g.category,
            title=g.title,
            description=g.description,
            requirements=g.requirements,
            restrictions=g.restrictions,
            examples=g.examples,
            severity_level=g.severity,
            platforms=g.platforms,
            created_at=clock.now(),
            updated_at=clock.now(),
        )
        for g in profile.guidelines
    ]
    present = {row.id: row for row in await records.find_by(BrandGuideline, brand=records.brand)}
    for row in _changed(wanted, present):
        await records.put(row)
    for gone in present.keys() - {row.id for row in wanted}:
        await records.delete(BrandGuideline, id=gone)


async def _load_claims(records: Records, profile: BrandProfile, embedder: Embedder, clock: Clock) -> None:
    vectors = await embedder.embed_documents([claim.text for claim in profile.claims]) if profile.claims else []
    wanted = [
        BrandKnowledge(
            brand=records.brand,
            id=name_id("claim", records.brand, claim.text),
            knowledge_type="claim",
            title=claim.text[:80],
            content=claim.text,
            embedding=vector,
            embedder_id=embedder.id if vector else "",
            category=",".join(claim.markets),
            status=CLAIM_STATUS[claim.status],
            created_at=clock.now(),
            updated_at=clock.now(),
        )
        for claim, vector in zip(profile.claims, vectors, strict=True)
    ]
    present = {row.id: row for row in await records.find_by(BrandKnowledge, knowledge_type="claim")}
    for row in _changed(wanted, present, but=("embedding", "version")):
        before = present.get(row.id)
        await records.put(row.model_copy(update={"version": before.version + 1}) if before else row)
    for gone in present.keys() - {row.id for row in wanted}:
        if present[gone].status != "deprecated":
            await records.put(present[gone].model_copy(update={"status": "deprecated", "updated_at": clock.now()}))


async def _load_templates(records: Records, profile: BrandProfile, clock: Clock) -> None:
    wanted = [
        ContentTemplate(
            brand=records.brand,
            id=name_id("template", records.brand, t.name, t.platform),
            template_name=t.name,
            content_type=t.content_type,
            platform=t.platform,
            template_structure=json.dumps(t.structure, sort_keys=True, ensure_ascii=False),
            script_template=t.script,
            media_template=t.media,
            compliance_requirements=t.checks,
            created_at=clock.now(),
            updated_at=clock.now(),
        )
        for t in profile.templates
    ]
    present = {row.id: row for row in await records.find_by(ContentTemplate, brand=records.brand)}
    for row in _changed(wanted, present, but=("usage_count", "performance_score")):
        before = present.get(row.id)
        kept = {"usage_count": before.usage_count, "performance_score": before.performance_score} if before else {}
        await records.put(row.model_copy(update=kept))
    for gone in present.keys() - {row.id for row in wanted}:
        await records.delete(ContentTemplate, id=gone)


def _changed(wanted: list[R], present: dict[str, R], *, but: tuple[str, ...] = ()) -> list[R]:
    """Those of `wanted` that are new or say something else than what is stored, with their first instant kept."""
    out = []
    skip = {*_OURS, *but}
    for row in wanted:
        before = present.get(getattr(row, "id"))  # noqa: B009 - every table here has one, the base class has not
        if before is None:
            out.append(row)
        elif row.model_dump(exclude=skip) != before.model_dump(exclude=skip):
            out.append(row.model_copy(update={"created_at": getattr(before, "created_at")}))  # noqa: B009
    return out
