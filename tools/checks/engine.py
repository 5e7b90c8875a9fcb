"""The linter: outgoing text in, findings out. Deterministic, offline, and never a proof that a text may be published.

Only what goes out is linted; knowledge, guidelines and memory may hold any word.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from config.brand_profile import BrandProfile
from config.errors import BadInput, NotFound
from config.vocabulary import CHECK_TYPES, CONTENT_TYPES, PLATFORMS, CheckResult, Severity, nearest
from memory.rows.checks import Finding
from memory.rows.content import Post
from tools.checks import brand_voice, legal_review, medical_claim
from tools.checks.brand_voice import phrase_spans
from tools.checks.built_in import BUILT_IN
from tools.checks.context import Check, FieldText, Judge
from tools.checks.rules import PACKS, Rule, load_pack, measured, own_rules

__all__ = [
    "PACKS",
    "Rule",
    "asked_for",
    "confidence",
    "explain",
    "fold",
    "lint_bytes",
    "lint_file",
    "lint_post",
    "lint_text",
    "register_check",
    "texts_of_lines",
]

MAX_FILE_BYTES = 1024 * 1024
_STRETCH = 256
_CHECKS: dict[str, Check] = {
    "medical_claim": medical_claim.check,
    "brand_voice": brand_voice.check,
    "legal_review": legal_review.check,
}
_RANK = {Severity.CRITICAL: 0, Severity.IMPORTANT: 1, Severity.PREFERRED: 2}


def register_check(name: str, check: Check) -> None:
    """Add a check type, for plug-ins. Raises DuplicateName if the name is taken."""
    CHECK_TYPES.register(name)
    _CHECKS[name] = check


def lint_text(
    text: str,
    *,
    field: str = "text",
    profile: BrandProfile | None = None,
    packs: Sequence[str] = PACKS,
    check_types: Sequence[str] | None = None,
    platform: str = "",
    lead: str = "",
) -> list[Finding]:
    """The findings in one outgoing field, by where they begin, then the gravest first. Spans count characters of `text`.

    A weaker finding that lies inside a graver one of the same check type is left out. Findings that lie inside an approved
    claim of the brand, in its markets, are left out unless they are critical. `lead` is what a reader of the post sees first,
    where a disclosure counts for every field. Raises NotFound for an unknown pack, BadInput
    for an unknown check type.
    """
    judge = Judge(profile, tuple(packs))
    for pack in judge.packs:
        load_pack(pack)
    part = FieldText(field, text, platform, lead)
    found = [finding for name in _chosen(check_types) for finding in _CHECKS[name](part, judge)]
    if profile is not None:
        found = _clear(found, part, judge, profile)
    return _thin(found)


def lint_post(
    post: Post, *, profile: BrandProfile | None, packs: Sequence[str], check_types: Sequence[str] | None = None
) -> list[Finding]:
    """The findings in every outgoing field of `post`, by field, then those of the post as a whole; see `lint_text`."""
    first = post.caption or "".join(post.parts[:1]) or post.script
    lead = " ".join([first, *("#" + tag.lstrip("#") for tag in post.hashtags)])
    found = [
        finding
        for field, text in post.fields()
        for finding in lint_text(
            text, field=field, profile=profile, packs=packs, check_types=check_types, platform=post.platform, lead=lead
        )
    ]
    if profile is not None and "brand_voice" in _chosen(check_types):
        found += brand_voice.whole_post(post, profile)
    return found


def fold(findings: Sequence[Finding]) -> CheckResult:
    """Any critical -> failed, any important -> manual_review, any preferred -> warning, else passed: no rule fired."""
    severities = {finding.severity for finding in findings}
    if Severity.CRITICAL in severities:
        return CheckResult.FAILED
    if Severity.IMPORTANT in severities:
        return CheckResult.MANUAL_REVIEW
    return CheckResult.WARNING if severities else CheckResult.PASSED


def confidence(findings: Sequence[Finding]) -> float:
    """How often rules like these were right on the labelled sentences, 0 to 1: of the least sure one that counts.

    With no finding above a warning: how often a labelled sentence that no rule flagged was in order.
    """
    grave = [finding for finding in findings if finding.severity is not Severity.PREFERRED]
    shares = measured()
    if not grave:
        return shares.get("UNFLAGGED", 0.0)
    # A rule of the brand's own, or one that nothing has measured, is as sure as the least sure that was.
    least = min((share for name, share in shares.items() if name != "UNFLAGGED"), default=0.0)
    return min(shares.get(finding.rule, 1.0 if finding.rule in BUILT_IN else least) for finding in grave)


def asked_for(findings: Sequence[Finding], check_types: Sequence[str]) -> list[Finding]:
    """Those of `findings`, of all check types, that count under one of `check_types`, under which they are then told."""
    out = []
    for finding in findings:
        if finding.check_type not in check_types:
            also = explain(finding.rule).also if finding.jurisdiction else ""
            if also not in check_types:
                continue
            finding = finding.model_copy(update={"check_type": also})
        out.append(finding)
    return out


def explain(rule_id: str) -> Rule:
    """The rule of that id, in whichever pack or in the code. Raises NotFound with the nearest id."""
    rules = {rule.id: rule for pack in PACKS for rule in own_rules(pack)} | BUILT_IN
    if rule_id not in rules:
        raise NotFound(
            f"rule {rule_id!r} is not known{nearest(rule_id, list(rules))}: `lint --json` prints the ids of the rules that fired"
        )
    return rules[rule_id]


def lint_file(
    path: Path,
    *,
    profile: BrandProfile | None = None,
    packs: Sequence[str] = PACKS,
    check_types: Sequence[str] | None = None,
) -> list[Finding]:
    """The findings in a file of text, Markdown or the JSON of a piece; see `lint_bytes`. Raises BadInput naming the file and the remedy."""
    if not path.is_file():
        raise BadInput(f"{path}: is not a file: give a text, Markdown or piece JSON file, or - for standard input")
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise BadInput(f"{path}: {size} bytes, the limit is {MAX_FILE_BYTES}: split it")
    return lint_bytes(path.read_bytes(), name=str(path), profile=profile, packs=packs, check_types=check_types)


def lint_bytes(
    data: bytes,
    *,
    name: str = "-",
    profile: BrandProfile | None = None,
    packs: Sequence[str] = PACKS,
    check_types: Sequence[str] | None = None,
) -> list[Finding]:
    """The findings in UTF-8 bytes. `name` tells the kind: `.json`, or what begins with '{', is a piece; else it is one field `text`.

    A piece is a JSON object of a Post's fields, or one that holds it under `post`. Raises BadInput naming `name` and the remedy.
    """
    if len(data) > MAX_FILE_BYTES:
        raise BadInput(f"{name}: {len(data)} bytes, the limit is {MAX_FILE_BYTES}: split it")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadInput(f"{name}: is not UTF-8 text: save it as UTF-8") from None
    if "\x00" in text:
        raise BadInput(f"{name}: holds NUL characters: give a text, Markdown or piece JSON file")
    if name.endswith(".json") or (text.lstrip().startswith("{") and text.rstrip().endswith("}") and '"' in text):
        return lint_post(_read_post(text, name), profile=profile, packs=packs, check_types=check_types)
    return lint_text(text, profile=profile, packs=packs, check_types=check_types)


def texts_of_lines(data: bytes, name: str) -> list[tuple[int, str]]:
    """The line number and text of each line of a `.jsonl` file; lines without anything are passed over, further keys too.

    Raises BadInput naming `name`, the line and the remedy where a line is no JSON object that holds a `text`.
    """
    if len(data) > MAX_FILE_BYTES:
        raise BadInput(f"{name}: {len(data)} bytes, the limit is {MAX_FILE_BYTES}: split it")
    try:
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise BadInput(f"{name}: is not UTF-8 text: save it as UTF-8") from None
    out = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value: Any = json.loads(line, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            raise BadInput(f"{name}:{number}: is not JSON ({str(error)[:80]}): mend the line") from None
        text = value.get("text") if isinstance(value, dict) else None
        if not isinstance(text, str) or not text.strip() or "\x00" in text:
            raise BadInput(f'{name}:{number}: holds no text: give an object such as {{"text": "..."}} on each line')
        out.append((number, text))
    return out


def _read_post(text: str, name: str) -> Post:
    try:
        value: Any = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{name}: is not JSON ({str(error)[:80]}): mend it, or give the text in a .txt file") from None
    if isinstance(value, dict) and isinstance(value.get("post"), dict):
        value = value["post"]
    if not isinstance(value, dict):
        raise BadInput(f"{name}: must hold a JSON object with the fields of a post, such as caption")
    known = {key: item for key, item in value.items() if key in Post.model_fields}
    if not known.keys() - {"platform", "content_type", "media"}:
        raise BadInput(
            f"{name}: holds no outgoing field: give one of title, caption, script, slides, parts, hashtags, alt_text"
        )
    for key in value:
        if key not in known:  # misspelt, most likely: passed over, its text would go out unread
            fields = list(Post.model_fields)
            raise BadInput(f"{name}: {key[:80]!r} is no field of a post{nearest(key, fields)}: use {', '.join(fields)}")
    for key, registry in (("platform", PLATFORMS), ("content_type", CONTENT_TYPES)):
        if isinstance(known.get(key), str) and known[key] and known[key] not in registry:
            # The rules and limits of no platform at all would pass whatever it holds.
            hint = nearest(known[key], list(registry))
            raise BadInput(f"{name}: {key} {known[key][:80]!r} is unknown{hint}; known: {', '.join(registry)}")
    try:
        return Post.model_validate({"platform": "", "content_type": "", **known})
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(
            f"{name}: {'.'.join(str(part) for part in first['loc'])}: {first['msg']}: see the fields of a post"
        ) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names stand once: of two, programs take different ones, and only one would be linted."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands twice")
    return found


def _chosen(check_types: Sequence[str] | None) -> list[str]:
    return list(_CHECKS) if check_types is None else [CHECK_TYPES.parse(name) for name in check_types]


def _clear(found: list[Finding], text: FieldText, judge: Judge, profile: BrandProfile) -> list[Finding]:
    """Without what lies inside an approved claim, written out in full, approved for every market whose rule it meets."""
    approved = [(claim, phrase_spans(claim.text, text)) for claim in profile.claims if claim.status == "approved"]
    return [
        finding
        for finding in found
        if finding.severity is Severity.CRITICAL
        or not any(
            start <= finding.start and finding.end <= end and _covers(claim.markets, finding, judge)
            for claim, spans in approved
            for start, end in spans
        )
    ]


def _covers(markets: Sequence[str], finding: Finding, judge: Judge) -> bool:
    # A finding of the brand's own rules belongs to no market: no approval of a claim undoes it.
    return bool(finding.jurisdiction) and judge.markets(finding.rule) <= set(markets)


def _thin(found: list[Finding]) -> list[Finding]:
    out: list[Finding] = []
    near: dict[int, list[Finding]] = defaultdict(list)  # what is kept, by each stretch of text that it touches
    for finding in sorted(set(found), key=lambda f: (_RANK[f.severity], f.start - f.end, f.start, f.rule)):
        covered = any(
            kept.check_type == finding.check_type
            and kept.start <= finding.start
            and finding.end <= kept.end
            and (kept.rule == finding.rule or _RANK[kept.severity] < _RANK[finding.severity])
            for kept in near[finding.start // _STRETCH]
        )
        if not covered:
            out.append(finding)
            for stretch in range(finding.start // _STRETCH, finding.end // _STRETCH + 1):
                near[stretch].append(finding)
    return sorted(out, key=lambda f: (f.start, _RANK[f.severity], f.rule))
