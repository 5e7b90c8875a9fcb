"""`review edit`: other bytes for a settled piece, checked again."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from config.errors import BadInput, Conflict
from runtime.commands.common import FINDINGS, INTERRUPTED, OK, actor, emit, next_command, opened, run_threads
from runtime.commands.post_text import FIXED
from runtime.commands.review_view import edit_words, load_view


async def review_edit(args: argparse.Namespace) -> int:
    """Replace the outgoing bytes, check them again, and say what they wait for; 1 when the rules refuse them."""
    from pydantic import ValidationError

    from config.vocabulary import UNSETTLED
    from memory.rows.content import Piece, Post
    from runtime.commands.lookup import parse_ref
    from runtime.reviews import edit
    from tools.alt_text import follow

    ref = parse_ref(args.id, what="piece")
    if bool(args.file) == bool(args.set):
        raise BadInput("give either --file F or --set FIELD=TEXT")
    given, made_from = _read_post(args.file) if args.file else (None, "")
    async with opened(args) as (runtime, brand):
        records = runtime.records.for_brand(brand)
        view = await load_view(records, ref)
        piece, revision = view.piece, view.revision
        if made_from not in ("", piece.content_hash):
            raise Conflict(
                f"--file {args.file} was made from {made_from[:12]}, and piece {piece.id} holds {piece.content_hash[:12]} now: "
                f"take `review show {piece.id} --json` again, or give what stands under `post` alone to replace it all the same"
            )
        values = given if given is not None else revision.post.model_dump(mode="json")
        for change in args.set:
            place, equals, text = change.partition("=")
            found = re.fullmatch(r"([a-z_]+)(?:\[(\d{1,3})\])?", place)
            name = found[1] if found else ""
            if not equals or not found or name not in Post.model_fields or name in FIXED:
                known = ", ".join(field for field in Post.model_fields if field not in FIXED)
                raise BadInput(f"--set {change[:60]!r}: write FIELD=TEXT or FIELD[N]=TEXT with one of {known}")
            if found[2] is None:
                parts = [part for part in text.split("\n\n") if part.strip()]
                values[name] = parts if isinstance(values[name], list) else text
                continue
            if not isinstance(values[name], list) or int(found[2]) >= len(values[name]):
                raise BadInput(f"--set {place}: {name} has no part {found[2]}: `review show` prints what there is")
            values[name][int(found[2])] = text
        try:
            post = Post.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            raise BadInput(
                f"{args.file or '--set'}: {'.'.join(str(p) for p in first['loc'])}: {first['msg']}"
            ) from None
        if post.media != revision.post.media:
            raise BadInput(
                f"{args.file}: media: an edit changes the words; leave `media` as `review show --json` prints it"
            )
        post, followed = follow(revision.post, post)
        await edit(runtime, brand, piece.id, post, by=actor(args, runtime.settings), reason=args.reason, seen=piece)

        async def checked() -> bool:
            return (await records.get(Piece, id=piece.id)).state not in UNSETTLED

        ids = [f"advance:{piece.id}", f"advance:{piece.session_id}"]
        if not await run_threads(runtime, lambda: ids, until=checked):
            return INTERRUPTED
        view = await load_view(records, piece.id)
        piece, refused = view.piece, not view.can_pass
        fired = [finding for finding in view.findings if finding.severity == "critical"]
        lines = [f"{piece.id}@{piece.content_hash[:12]} is {piece.state}: {piece.reason}", *followed_line(followed)]
        if refused:
            lines += [f"  {f.rule}: {' '.join(f.quote.split())!r} in {f.field}: {f.suggestion}" for f in fired]
            lines.append(f"Next: {next_command(args, edit_words(piece.id, view.revision.post))}")
        emit(
            args,
            {
                "piece_id": piece.id,
                "content_hash": piece.content_hash,
                "state": str(piece.state),
                "reason": piece.reason,
                "followed": followed,
            },
            "\n".join(lines),
        )
    return FINDINGS if refused else OK


def followed_line(names: list[str]) -> list[str]:
    """What a human is told of the entries that were changed along with the words that they quote; no line when none was."""
    return [f"{', '.join(names)}: the old words were replaced by the new ones"] if names else []


def _read_post(path: str) -> tuple[dict[str, Any], str]:
    """The post in the file; and the hash of the bytes that it was made from, where the file says so."""

    def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"{twice!r} stands twice")
        return dict(pairs)

    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8-sig")
        value = json.loads(text, object_pairs_hook=_once)
    except OSError as error:
        raise BadInput(f"--file {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(
            f"--file {path} is not JSON ({error}): take what `review show --json` prints under `post`"
        ) from None
    if not isinstance(value, dict):
        raise BadInput(f"--file {path}: must hold one JSON object")
    post = value.get("post", value)
    return (dict(post) if isinstance(post, dict) else {}), str(value.get("content_hash", ""))
