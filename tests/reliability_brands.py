"""Rows 15 to 19, 21 to 23 of the reliability table: what a brand's folder and its documents may get wrong.

The rows on YAML speak of what YAML does silently (types by guess, aliases, tags, duplicate keys). A brand is TOML, read strictly; a
YAML file in its folder is refused, because rules that nobody reads would be rules that nobody keeps.
"""

from __future__ import annotations

from pathlib import Path

from tests.reliability_rows import Table, World, check_refusal, contents

BRANDS = Table()
row = BRANDS.row


def _file(world: World, name: str, data: bytes, *says: str) -> None:
    """The file with these bytes is refused by the check and by what would use it; nothing else changes."""
    file = world.cli.data_dir / "brands" / "acme" / name
    kept = file.read_bytes() if file.exists() else None
    file.write_bytes(data)
    before = contents(world.cli.data_dir)
    start = ("cycle", "run", "--theme", "water-and-pause", "--week", "2031-W20")
    for argv in (("brand", "check", "acme"), ("--brand", "acme", *start)):
        check_refusal(world.cli(*argv), says=(name, *says))
    assert contents(world.cli.data_dir) == before
    file.unlink() if kept is None else file.write_bytes(kept)


def _changed(world: World, old: str, new: str) -> bytes:
    text = (world.cli.data_dir / "brands" / "acme" / "brand.toml").read_text()
    assert old in text
    return text.replace(old, new, 1).encode()


@row(15, "types-by-guess")
def _(world: World) -> None:
    zone = 'zone = "America/New_York"'
    _file(world, "brand.toml", _changed(world, zone, "zone = 1.10"), "zone = 1.1", "is not a time zone")
    _file(world, "brand.toml", _changed(world, zone, "zone = false"), "zone = False")
    _file(world, "brand.toml", _changed(world, 'time = "08:00"', "time = 08:00:00"), "is not a time", '"08:00"')
    _file(world, "brand.toml", _changed(world, 'time = "08:00"', "time = 750"), "750", "is not a time")
    _file(world, "brand.toml", _changed(world, "rules_only_ok = false", 'rules_only_ok = "no way"'), "rules_only_ok")


@row(16, "bombs")
def _(world: World) -> None:
    _file(world, "themes.toml", b"x = " + b"[" * 100_000, "nest too deeply")
    _file(world, "claims.toml", b'# "' + b"a" * 2_000_000, "the limit is 1048576")
    _file(world, "guidelines.yaml", b"a: &a [1]\nb: [*a, *a]\n", "is not read", "did you mean 'guidelines.toml'")


@row(17, "tags-that-make-objects")
def _(world: World) -> None:
    _file(world, "guidelines.yml", b"!!python/object/apply:os.system ['true']\n", "is not read", "guidelines.toml")
    _file(world, "guidelines.json", b'{"lc": 1, "type": "constructor"}', "is not read")


@row(18, "duplicate-keys")
def _(world: World) -> None:
    _file(world, "themes.toml", b'[[theme]]\nname = "a"\nname = "b"\ntitle = "A"\n', "line 3")
    _file(world, "guidelines.toml", b"[guideline]\n[guideline]\n", "line 2")


@row(19, "documents-that-cannot-be-learnt")
def _(world: World) -> None:
    folder = world.folder / "documents"
    folder.mkdir()
    refused = {
        "zero.md": (b"", "is empty"),
        "blank.md": (b" \n\n", "holds no sentence"),
        "binary.md": (b"\x00\x01\x02", "is binary"),
        "utf16.md": ("Text".encode("utf-16"), "is UTF-16"),
        "mixed.md": (b"caf\xe9 \xc3\xa9\n", "is not UTF-8"),
        "page.pdf": (b"%PDF-1.4", "its ending '.pdf'"),
        "big.md": (b"a" * 50_000_000, "the limit is 1048576"),
    }
    for name, (data, _) in refused.items():
        (folder / name).write_bytes(data)
    before = world.cli.ok("--brand", "acme", "knowledge", "list")
    result = world.cli("--brand", "acme", "knowledge", "add", str(folder), "--json")
    assert (result.code, result.json["added"]) == (1, [])
    reasons = {Path(entry["path"]).name: entry["reason"] for entry in result.json["rejected"]}
    assert set(reasons) == set(refused)
    for name, (_, reason) in refused.items():
        assert reason in reasons[name], name
    assert world.cli.ok("--brand", "acme", "knowledge", "list") == before, "nothing was learnt"
    (world.cli.data_dir / "brands" / "acme" / "documents" / "zero.md").touch()
    checked = world.cli("brand", "check", "acme")
    assert (checked.code, "documents/zero.md is empty" in checked.out) == (1, True)


@row(23, "a-document-again-changed-and-gone")
def _(world: World) -> None:
    file = world.folder / "zebras.md"
    add = ("--brand", "acme", "knowledge", "add", str(file))

    def found() -> list[str]:
        hits = world.cli.ok("--brand", "acme", "knowledge", "search", "zebra stripes", "--limit", "3")
        return [hit["text"] for hit in hits if hit["source"] == "zebras.md"]

    file.write_text("# Zebras\n\nZebra stripes are black on the first page of this document.\n")
    assert world.cli.ok(*add) == {"added": ["zebras.md"], "unchanged": [], "rejected": []}
    before = contents(world.cli.data_dir)
    assert world.cli.ok(*add) == {"added": [], "unchanged": ["zebras.md"], "rejected": []}
    assert contents(world.cli.data_dir) == before, "the same bytes again change nothing"
    file.write_text("# Zebras\n\nZebra stripes are white in the second version of this document.\n")
    world.cli.ok(*add)
    assert len(found()) == 1
    assert "white" in found()[0], "nothing of the old version is found"
    world.cli.ok("--brand", "acme", "knowledge", "revoke", "zebras.md")
    assert found() == []
