"""Knowledge: documents into chunks of whole sentences with vectors, found again by meaning and by words, and revoked by source.

A document's name within the brand is its file's name. Its text is untrusted data: it can be quoted, and gains no capability.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from config.clock import Clock
from config.errors import BadInput, NotFound, Unsupported
from config.ids import name_id
from config.vocabulary import Trust, nearest
from memory.embedding.protocol import Embedder
from memory.markdown import front_matter, underlined_title, unmarked
from memory.records.protocol import Records
from memory.rows.brand import BrandKnowledge, KnowledgeSource
from memory.sentences import paragraphs, sentences

EXTENSIONS = (".md", ".markdown", ".txt")
MAX_BYTES = 1024 * 1024
CHUNK_WORDS = 120
"""About how many words a chunk holds; a sentence is never cut, so a longer one is a chunk of its own."""
_BATCH = 32  # texts an embedding call, and rows a put
_NAMED = 12  # how many documents a complaint names
_RRF = 60  # the usual constant of reciprocal rank fusion: how slowly a rank's weight falls
_NOISE = 0.05  # cosine below which a hashed vector shares nothing with the query but chance
_SOURCE = re.compile(r"^\s*source:\s*(.+?)\s*$", re.IGNORECASE)
_TITLE = re.compile(r"^\s*#\s+(.+?)\s*#*\s*$")


@dataclass
class AddResult:
    """What became of each path: names added (or changed), names that were there already, paths refused and why."""

    added: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    rejected: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Hit:
    """One found chunk: the document's name, its text, how well it matched (0 to 1), and the id of its brand_knowledge row."""

    source: str
    text: str
    score: float
    chunk_id: str


@dataclass(frozen=True)
class Document:
    """A document as read: title, attribution (its `Source:` line, '' for none), and the text without either."""

    title: str
    attribution: str
    text: str
    sha256: str


def clean(text: str) -> str:
    """`text` without control, zero-width, direction and tag characters, which a reader does not see; line ends become \\n."""
    kept = []
    for char in text.replace("\r\n", "\n").replace("\r", "\n"):
        category = unicodedata.category(char)
        # Zero-width joiners stay inside words of the scripts that need them; everything else of these classes is invisible.
        if char in "\n\t" or category not in ("Cc", "Cf", "Cs", "Co", "Cn"):
            kept.append(char)
    return "".join(kept)


def read_document(path: Path) -> Document:
    """The document at `path`. Raises BadInput with the reason and the remedy; nothing has been stored then."""
    return parse_document(read_file(path), path.stem)


def read_file(path: Path) -> bytes:
    """The bytes of a document's file. Raises BadInput like `read_document`."""
    if path.suffix.lower() not in EXTENSIONS:
        raise BadInput(
            f"its ending {path.suffix or '(none)'!r} is not one of {', '.join(EXTENSIONS)}: save it as Markdown or text"
        )
    try:
        # O_NOFOLLOW: between a look and the opening, a file could be replaced by a link to somewhere else.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        if path.is_symlink():
            raise BadInput("is a symbolic link: give the file that it points to") from None
        raise BadInput(f"cannot be read ({error.strerror or error}): check the path and its permissions") from None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise BadInput("is not a file: give the files in it, or a pattern such as FOLDER/*.md")
        if status.st_size == 0:
            raise BadInput("is empty (0 bytes): nothing to learn from it")
        if status.st_size > MAX_BYTES:
            raise BadInput(f"is {status.st_size} bytes, the limit is {MAX_BYTES}: split it")
        return _read_all(handle)
    finally:
        os.close(handle)


def _read_all(handle: int) -> bytes:
    data = b""
    while part := os.read(handle, MAX_BYTES + 1 - len(data)):
        data += part
    if len(data) > MAX_BYTES:  # it grew while it was read
        raise BadInput(f"is over {MAX_BYTES} bytes, the limit: split it")
    return data


def parse_document(data: bytes, name: str) -> Document:
    """The document in `data`; see `read_document`."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadInput("is UTF-16: save it as UTF-8")
    if b"\x00" in data or data.startswith((b"%PDF", b"PK\x03\x04", b"\x89PNG", b"GIF8", b"\xff\xd8\xff")):
        raise BadInput("is binary: save it as Markdown or text")
    try:
        text = clean(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise BadInput(f"is not UTF-8 (byte {error.start}): save it as UTF-8") from None
    head, text = front_matter(text)
    title, attribution = head.get("title", ""), head.get("source", "")
    text = unmarked(text)
    if not title:
        title, text = underlined_title(text)
    body: list[str] = []
    for line in text.split("\n"):
        if not title and not "".join(body).strip() and (match := _TITLE.match(line)):
            title = match.group(1)
        elif not attribution and (match := _SOURCE.match(line)):
            attribution = match.group(1)
        else:
            body.append(line)
    content = "\n".join(body).strip()
    if not sentences(content):
        raise BadInput("holds no sentence: nothing to learn from it")
    return Document(
        title or name.replace("-", " ").replace("_", " "), attribution, content, hashlib.sha256(data).hexdigest()
    )


def chunks(text: str, *, words: int = CHUNK_WORDS) -> list[str]:
    """`text` in runs of whole sentences of about `words` words each; a short last run joins the one before it."""
    runs: list[str] = []
    count = 0
    for paragraph in paragraphs(text):
        between = "\n\n"
        for sentence in paragraph:
            length = len(sentence.split())
            if not runs or count + length > words:
                runs.append(sentence)
                count = length
            else:
                runs[-1] += between + sentence
                count += length
            between = " "
    if len(runs) > 1 and count < words // 4:
        last = runs.pop()
        runs[-1] += "\n\n" + last
    return runs


def chunk_id(brand: str, source: str, version: int, n: int) -> str:
    """The id of a chunk: naming it again gives the same, so adding twice is harmless."""
    return name_id("knowledge", brand, source, version, n)


async def add_documents(records: Records, embedder: Embedder, clock: Clock, paths: Sequence[Path]) -> AddResult:
    """Learn the documents at `paths`, in order; a folder stands for the files in it. One bad file does not stop the others.

    A document whose bytes are known is left alone; a changed one becomes the next version and its old chunks are removed
    once the new ones are there. May raise what Records and the embedder raise; running it again completes it.
    """
    result = AddResult()
    for path in _expand(paths):
        try:
            document = read_document(path)
        except BadInput as error:
            result.rejected.append((str(path), str(error)))
            continue
        changed = await add_document(records, embedder, clock, name=path.name, path=str(path), document=document)
        (result.added if changed else result.unchanged).append(path.name)
    return result


def _expand(paths: Sequence[Path]) -> list[Path]:
    out: list[Path] = []
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            out += sorted(entry for entry in path.iterdir() if not entry.name.startswith(".") and not entry.is_dir())
        else:
            out.append(path)
    return out


async def add_document(
    records: Records,
    embedder: Embedder,
    clock: Clock,
    *,
    name: str,
    path: str,
    document: Document,
    trust: Trust = Trust.BRAND,
) -> bool:
    """Learn one document under `name`; False if exactly these bytes are known and active already."""
    known = await records.find(KnowledgeSource, name=name)
    if known is not None and known.sha256 == document.sha256 and known.status == "active":
        return False
    version = known.version + 1 if known else 1
    now = clock.now()
    texts = chunks(document.text)
    for first in range(0, len(texts), _BATCH):
        part = texts[first : first + _BATCH]
        vectors = await embedder.embed_documents(part)
        await records.put(
            *(
                BrandKnowledge(
                    brand=records.brand,
                    id=chunk_id(records.brand, name, version, n),
                    knowledge_type="document",
                    title=document.title,
                    content=text,
                    embedding=vector,
                    embedder_id=embedder.id if vector else "",
                    status="active",
                    version=version,
                    source_id=name,
                    chunk=n,
                    trust=trust,
                    created_at=now,
                    updated_at=now,
                )
                for n, (text, vector) in enumerate(zip(part, vectors, strict=True), first)
            )
        )
    # The source row is written after its chunks: whoever sees the version finds all of it. A crash before leaves chunks
    # that the next run writes again under the same ids.
    await records.put(
        KnowledgeSource(
            brand=records.brand,
            name=name,
            id=name_id("source", records.brand, name),
            title=document.title,
            path=path,
            sha256=document.sha256,
            version=version,
            chunks=len(texts),
            status="active",
            attribution=document.attribution,
            created_at=known.created_at if known else now,
            updated_at=now,
        )
    )
    if known is not None:
        await _remove_chunks(records, name, known.version, known.chunks)
    return True


async def _remove_chunks(records: Records, name: str, version: int, count: int) -> None:
    for n in range(count):
        await records.delete(BrandKnowledge, id=chunk_id(records.brand, name, version, n))


async def revoke(records: Records, name: str, *, clock: Clock) -> KnowledgeSource:
    """Forget the document `name`: its chunks are deleted and no search finds them again. Raises NotFound; revoking twice is harmless."""
    try:
        source = await records.get(KnowledgeSource, name=name)
    except NotFound:
        known = [row.name for row in await list_documents(records) if row.status == "active"]
        meant = next((one for one in known if Path(one).stem == name), None)
        hint = f" (did you mean {meant!r}?)" if meant else nearest(name, known)
        some = ", ".join(known[:_NAMED]) + (f" and {len(known) - _NAMED} more" if len(known) > _NAMED else "")
        raise NotFound(f"document {name!r} is not known{hint}: there are {some or 'none'}") from None
    return await forget(records, source, status="revoked", clock=clock)


async def forget(records: Records, source: KnowledgeSource, *, status: str, clock: Clock) -> KnowledgeSource:
    """Delete the document's chunks and give it `status`, in this order: until the row says so, running it again completes it."""
    await _remove_chunks(records, source.name, source.version, source.chunks)
    gone = source.model_copy(update={"status": status, "updated_at": clock.now()})
    if source.status != status:
        await records.put(gone)
    return gone


async def list_documents(records: Records) -> list[KnowledgeSource]:
    """The brand's documents by name, revoked ones included."""
    return await records.list_rows(KnowledgeSource)


async def search(records: Records, embedder: Embedder, query: str, limit: int = 10) -> list[Hit]:
    """The chunks that match `query` best, best first, at most `limit`: nearest vectors, fused with text search where there is one.

    Raises ValueError for a limit below 1.
    """
    if limit < 1:
        raise ValueError(f"limit {limit} must be 1 or more")
    only = {"knowledge_type": "document", "status": "active"}
    rows: dict[str, BrandKnowledge] = {}
    ranks: dict[str, float] = {}
    lists = 1
    wide = max(limit * 3, 20)
    vector = await embedder.embed_query(query)
    if vector:
        found = await records.search(
            BrandKnowledge, vector, embedder_id=embedder.id, limit=wide, min_score=_NOISE, **only
        )
        for n, scored in enumerate(found):
            rows[scored.row.id] = scored.row
            ranks[scored.row.id] = 1 / (_RRF + n)
    try:
        matched = await records.search_text(BrandKnowledge, query, limit=wide, **only)
        lists = 2
    except Unsupported:
        matched = []
    for n, scored in enumerate(matched):
        rows[scored.row.id] = scored.row
        ranks[scored.row.id] = ranks.get(scored.row.id, 0.0) + 1 / (_RRF + n)
    best = sorted(ranks, key=lambda i: (-ranks[i], i))[:limit]
    return [Hit(rows[i].source_id, rows[i].content, round(ranks[i] * _RRF / lists, 4), i) for i in best]
