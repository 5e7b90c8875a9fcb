"""`preferences`: what one operator wants by default, kept in the session database of this machine.

What a command line or the environment says wins over a preference, a preference over what the program would choose.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
from typing import Any

from config.errors import BadInput, NotFound
from config.vocabulary import nearest
from runtime.commands.common import OK, PREFERENCES, add_parts, add_verb, emit, load, login, run_async


def register(verbs: Any) -> None:
    parts = add_parts(add_verb(verbs, "preferences", f"what you want by default: {', '.join(PREFERENCES)}"))
    listing = add_verb(parts, "list", "your preferences, and what may be set")
    listing.set_defaults(run=lambda args: run_async(lambda: preferences_list(args)))
    put = add_verb(parts, "set", "keep a preference")
    unset = add_verb(parts, "unset", "forget one")
    for verb in (put, unset):
        verb.add_argument("key", metavar="KEY", help=", ".join(PREFERENCES))
    put.add_argument("value", metavar="VALUE", help="what you want by default")
    put.set_defaults(run=lambda args: run_async(lambda: preferences_set(args)))
    unset.set_defaults(run=lambda args: run_async(lambda: preferences_unset(args)))


async def preferences_list(args: argparse.Namespace) -> int:
    """Print the preferences of whoever is logged in."""
    from config.clock import SystemClock
    from memory.user_sessions import EVERY_BRAND, open_user_sessions

    settings = load(args)
    values: dict[str, Any] = {}
    if settings.session_db.exists():  # reading makes no database
        async with open_user_sessions(settings.session_db, clock=SystemClock()) as store:
            values = await store.for_brand(EVERY_BRAND).list_preferences(login())
    lines = [
        f"{key} = {values[key]}" if key in values else f"{key} is not set: {PREFERENCES[key]}" for key in PREFERENCES
    ]
    emit(args, {"user": login(), "preferences": values}, "\n".join(lines))
    return OK


async def preferences_set(args: argparse.Namespace) -> int:
    """Keep one; refused before anything is opened when it cannot be meant."""
    from config.clock import SystemClock
    from memory.user_sessions import EVERY_BRAND, open_user_sessions

    settings = load(args)
    key, value = _key(args.key), args.value.strip()
    if not value or len(value) > 200:
        raise BadInput(f"{key}: a preference says something, in at most 200 characters")
    if key == "brand":
        from config.brand_profile import find_brand_folder
        from config.ids import parse_slug

        find_brand_folder(parse_slug(value, what="brand"), settings.data_dir.absolute() / "brands")
    if key == "editor":
        try:
            words = shlex.split(value)
        except ValueError as error:
            raise BadInput(f"editor {value[:80]!r}: {error}: write it as you would type it") from None
        if not words or shutil.which(words[0]) is None:
            raise BadInput(
                f"editor {value[:80]!r}: there is no such program here: name one on your PATH, or its whole path"
            )
    async with open_user_sessions(settings.session_db, clock=SystemClock()) as store:
        await store.for_brand(EVERY_BRAND).set_preference(login(), key, value)
    emit(args, {"user": login(), "preferences": {key: value}}, f"{key} = {value}")
    return OK


async def preferences_unset(args: argparse.Namespace) -> int:
    """Forget one. Raises NotFound when it was not set."""
    from config.clock import SystemClock
    from memory.user_sessions import EVERY_BRAND, open_user_sessions

    settings, key = load(args), _key(args.key)
    unknown = NotFound(f"preference {key!r} is not set: `preferences list` shows what is")
    if not settings.session_db.exists():
        raise unknown
    async with open_user_sessions(settings.session_db, clock=SystemClock()) as store:
        if not await store.for_brand(EVERY_BRAND).delete_preference(login(), key):
            raise unknown
    emit(args, {"user": login(), "unset": key}, f"{key} is not set any more")
    return OK


def _key(text: str) -> str:
    if text not in PREFERENCES:
        raise BadInput(
            f"preference {text[:40]!r} is unknown{nearest(text, list(PREFERENCES))}; known: {', '.join(PREFERENCES)}"
        )
    return text
