"""Which stretches of a text X takes for a web address: each weighs 23 there, whatever it says.

The grammar is that of twitter-text v3. An address ends where its characters do, not at the next space: Japanese goes on behind
one without a space. Without `https://` only a host of Latin letters counts, and only with an ending that tlds.txt knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import resources

_LATIN = (
    "\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u0253\u0254\u0256\u0257\u0259\u025b\u0263\u0268\u026f\u0272\u0289\u028b\u02bb"
    "\u0300-\u036f\u1e00-\u1eff"
)
_CYRILLIC = "\u0400-\u04ff"
_TURNS = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_NOT_IN_HOST = rf"!'#%&()*+,\\\-./:;<=>?@\[\]^_{{|}}~$\s\u0085\u180e\ufeff\ufffe\uffff{_TURNS}"
_LONGEST_HOST, _LONGEST = 253, 4096
"""Characters of a host that DNS resolves, and of an address that X shortens."""


@cache
def _endings() -> frozenset[str]:
    lines = (resources.files("config") / "tlds.txt").read_text("utf-8").splitlines()
    return frozenset(name for line in lines if not line.startswith("#") for name in line.split())


@cache
def _pattern() -> re.Pattern[str]:
    ending = "|".join(sorted(map(re.escape, _endings()), key=len, reverse=True))
    ending = rf"(?:(?:{ending})(?![0-9a-z@+-])|xn--[0-9a-z-]+)"
    inner = rf"[^{_NOT_IN_HOST}]"
    # Bounded: a text without spaces is otherwise walked through again from each of its characters.
    label = rf"{inner}(?:(?:{inner}|-){{0,62}}{inner})?"
    sub = rf"{inner}(?:(?:{inner}|[_-]){{0,62}}{inner})?"
    plain = rf"[a-z0-9{_LATIN}](?:[a-z0-9{_LATIN}-]{{0,62}}[a-z0-9{_LATIN}])?"
    char = rf"[a-z0-9!*';:=+,.$/%#\[\]\-\u2013_~@|&{_CYRILLIC}{_LATIN}]"
    brackets = rf"\((?:{char}+|{char}*\({char}+\){char}*)\)"
    tail = rf"(?:{brackets}|[a-z0-9+\-=_#/{_CYRILLIC}{_LATIN}])"
    rest = (
        rf"(?::[0-9]+)?(?:/(?:(?:{char}|{brackets})*{tail})?)?"
        r"(?:\?[a-z0-9!?*'@();:&=+$/%#\[\]\-_.,~|]*[a-z0-9\-_&=#/])?"
    )
    whole = rf"https?://(?P<host>(?:{sub}\.)*{label}\.{ending}){rest}"
    bare = rf"(?<![_./\-{_LATIN}])(?P<bare>(?:{plain}\.)+{ending}){rest}"
    return re.compile(rf"(?<![a-z0-9@\uff20$#\uff03\ufeff\ufffe\uffff])(?:{whole}|{bare})", re.IGNORECASE)


_SHORT = re.compile(
    r"https?://t\.co/([a-z0-9]+)(?:\?[a-z0-9!?*'@();:&=+$/%#\[\]\-_.,~|]*[a-z0-9\-_&=#/])?", re.IGNORECASE
)


def find_addresses(text: str) -> Iterator[tuple[int, int]]:
    """The half-open spans of the addresses in `text`, in order."""
    if "." not in text:
        return
    for match in _pattern().finditer(text):
        end = match.end()
        if short := _SHORT.match(match.group()):  # of X's own shortener nothing follows the name, and it is short
            if len(short[1]) > 40:
                continue
            end = match.start() + short.end()
        if _resolves(match["host"] or match["bare"]) and end - match.start() <= _LONGEST:
            yield match.start(), end


def _resolves(host: str) -> bool:
    """Whether every label fits DNS: 63 bytes, as punycode where it is not ASCII."""
    labels = host.split(".")
    sizes = [len(label) if label.isascii() else 4 + len(label.encode("punycode")) for label in labels]
    odd = any(label.lower().startswith("xn--") and not label.isascii() for label in labels)
    return not odd and len(host) <= _LONGEST_HOST and all(0 < size <= 63 for size in sizes)
