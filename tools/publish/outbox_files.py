"""The files of one post in the outbox: a pure function from the sealed parcel to bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from zoneinfo import ZoneInfo

from config.platforms import outgoing_caption
from memory.rows.content import Post
from tools.publish.protocol import Parcel


def render(parcel: Parcel, *, media_base_url: str = "") -> dict[str, bytes]:
    """File name -> content: post.txt, post.md, media-prompts.txt, alt-text.txt, manifest.json. The same parcel and base, the
    same bytes. Attached media are named by their hash, and by `media_base_url`/hash where there is a base.
    """
    post = parcel.post
    places = [f"{media_base_url.rstrip('/')}/{name}" for name in post.media] if media_base_url else []
    files = {
        "post.txt": pasted(post),
        "post.md": _page(parcel, places),
        "media-prompts.txt": _numbered(post.media_prompts),
        "alt-text.txt": _numbered(post.alt_text),
    }
    content = {name: (text.rstrip("\n") + "\n").encode() for name, text in files.items()}
    content["manifest.json"] = _manifest(parcel, content, places)
    return content


def pasted(post: Post) -> str:
    """The text as it is pasted into the platform; the parts of a thread one after another, each with its number, once."""
    if post.parts:
        total = len(post.parts)
        numbered = zip(post.parts, post.bare_parts(), strict=True)
        return "\n\n".join(
            part if part != bare else f"{n}/{total}\n{part}" for n, (part, bare) in enumerate(numbered, 1)
        )
    title = post.title if shows_title(post) else ""
    return "\n\n".join(text for text in (title, outgoing_caption(post.caption, post.hashtags)) if text)


def shows_title(post: Post) -> bool:
    """Whether the title is part of what is pasted: where the platform has titles, or there is nothing else to say."""
    return bool(post.title) and not post.parts and (post.platform == "youtube" or not post.caption)


def _numbered(texts: Sequence[str]) -> str:
    return "\n\n".join(f"{n}. {text}" for n, text in enumerate(texts, 1)) if texts else "(none)"


def _page(parcel: Parcel, places: Sequence[str]) -> str:
    post = parcel.post
    when = parcel.scheduled_at.astimezone(ZoneInfo(parcel.zone))
    sections: list[tuple[str, Sequence[str]]] = [
        ("Title", [post.title]),
        ("Caption", [post.caption]),
        ("Thread", post.parts),
        ("Slides", post.slides),
        ("Script", [post.script]),
        ("On-screen text", post.on_screen_text),
        ("Hashtags", [" ".join(post.hashtags)]),
        ("First comment", [post.first_comment]),
        ("Alt text", post.alt_text),
        ("Media prompts", post.media_prompts),
        ("Attached media (sha256, in order)", post.media),
        ("Where they are", places),
        ("Rests on these sources (not part of the post)", parcel.sources),
    ]
    lines = [
        f"# {_one_line(parcel.title or post.title or 'Untitled')}",
        "",
        f"- Post to: {post.platform} ({post.content_type}), account `{parcel.account}`",
        f"- Post at: {when:%A %Y-%m-%d %H:%M} {parcel.zone}",
        f"- Piece: `{parcel.piece_id}`",
        f"- Sealed content: `{parcel.content_hash}`",
    ]
    for heading, texts in sections:
        given = [text for text in texts if text]
        if not given:
            continue
        lines += ["", f"## {heading}"]
        for n, text in enumerate(given, 1):
            lines += ["", *([f"{n} of {len(given)}:", ""] if len(given) > 1 else [])]
            # Quoted, so that a heading inside the text cannot pass for one of ours.
            lines += [f"> {line}".rstrip() for line in text.splitlines() or [""]]
    return "\n".join(lines)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _manifest(parcel: Parcel, files: dict[str, bytes], places: Sequence[str]) -> bytes:
    manifest = {
        "pub_key": parcel.pub_key,
        "piece_id": parcel.piece_id,
        "brand": parcel.brand,
        "platform": parcel.post.platform,
        "content_type": parcel.post.content_type,
        "account": parcel.account,
        "cycle_key": parcel.cycle_key,
        "cycle_day": parcel.cycle_day,
        "scheduled_at": parcel.scheduled_at.astimezone(ZoneInfo(parcel.zone)).isoformat(),
        "zone": parcel.zone,
        "title": parcel.title or parcel.post.title,
        "content_hash": parcel.content_hash,
        "fields": parcel.post.model_dump(mode="json"),
        "media_urls": list(places),
        "sources": list(parcel.sources),
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())},
    }
    return (json.dumps(manifest, ensure_ascii=False, indent=2) + "\n").encode()
