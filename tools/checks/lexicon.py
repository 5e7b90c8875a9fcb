"""The word classes of rule_packs/lexicon.toml, read once: which classes the words of a sentence belong to."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib import resources

from tools.checks.normalise import Folded, Token

_VOWELS = "aeiou"
_RAW = ("COMMON", "NOT_DISEASE", "DISEASE_ENDING", "ANTI_OF", "FOREIGN", "ENGLISH")
_NAMES = ("NAME_OF", "NAME_END", "NAME_START", "NAME_NOT")
"""Classes that other code asks for; no word of a sentence is tagged with them."""
_FILES = ("lexicon.toml", "lexicon_body.toml")
"""A class may stand in both: the second adds to it."""
_PLURAL = frozenset(
    ("DISEASE", "AILMENT", "SIGN", "DRUG", "MEDICINE", "MASK", "ORGAN", "AGESIGN", "DERMAL", "MOBILITYAID", "PART")
)
"""Classes whose phrases are read in the plural too."""
_WORDS_KEPT = 20_000


@dataclass
class Lexicon:
    """Which classes a run of words belongs to. `masks` are runs to look away from."""

    by_first: dict[str, list[tuple[tuple[str, ...], str]]] = field(default_factory=dict)
    capitals: dict[str, set[str]] = field(default_factory=dict)
    vocabulary: set[str] = field(default_factory=set)
    risky: set[str] = field(default_factory=set)
    raw: dict[str, frozenset[str]] = field(default_factory=dict)
    disease_ending: re.Pattern[str] = re.compile("(?!)")
    anti: re.Pattern[str] = re.compile("(?!)")
    name: re.Pattern[str] = re.compile("(?!)")
    _of_form: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def of_form(self, word: str) -> tuple[str, ...]:
        """The classes of a word that are told by its form: kept, since the same words come over and over."""
        if (found := self._of_form.get(word)) is None:
            if len(self._of_form) >= _WORDS_KEPT:
                self._of_form.clear()
            disease = word not in self.raw["NOT_DISEASE"] and self.disease_ending.fullmatch(word)
            anti = word.startswith("anti") and self.anti.match(word)
            name = len(word) > 5 and word not in self.vocabulary and self.name.fullmatch(word)
            found = tuple(c for c, told in (("DISEASE", disease), ("ANTI", anti), ("CURENAME", name)) if told)
            self._of_form[word] = found
        return found

    def add(self, class_name: str, words: tuple[str, ...]) -> None:
        entries = self.by_first.setdefault(words[0], [])
        if (words[1:], class_name) not in entries:
            entries.append((words[1:], class_name))

    def tag(self, tokens: Sequence[Token], folded: Folded) -> list[dict[str, set[int]]]:
        """For each word, the classes that a run starting there belongs to, with the indexes at which such a run ends."""
        tags: list[dict[str, set[int]]] = [{} for _ in tokens]
        hidden: set[int] = set()
        texts = [token.text for token in tokens]
        for n, text in enumerate(texts):
            for rest, name in self.by_first.get(text, ()):
                stop = n + 1 + len(rest)
                if not rest or tuple(texts[n + 1 : stop]) == rest:
                    if name == "MASK":
                        hidden.update(range(n, stop))
                    else:
                        tags[n].setdefault(name, set()).add(stop)
            if text in self.capitals and not tokens[n].tag:
                written = folded.original[folded.starts[tokens[n].start] : folded.ends[tokens[n].end - 1]]
                if written.rstrip("s").isupper() and not _shouted(folded.original):
                    for name in self.capitals[text]:
                        tags[n].setdefault(name, set()).add(n + 1)
            for name in self.of_form(text):
                tags[n].setdefault(name, set()).add(n + 1)
            self._joined(tokens, n, folded, tags)
        for n in hidden:
            for name in ("DISEASE", "AILMENT", "SIGN", "EFFECT", "STRONG", "DRUG", "ANTI", "BODY", "GONE", "ORGAN"):
                tags[n].pop(name, None)
        return tags

    def _joined(self, tokens: Sequence[Token], n: int, folded: Folded, tags: list[dict[str, set[int]]]) -> None:
        text = tokens[n].text
        if n + 1 == len(tokens):
            return
        between = folded.text[tokens[n].end : tokens[n + 1].start]
        if between not in ("-", " ", ""):
            return
        pair = text + tokens[n + 1].text
        if text == "anti" and self.anti.match(pair):
            tags[n].setdefault("ANTI", set()).add(n + 2)
        if between == "-":
            if "CURENAME" in self.of_form(pair):
                tags[n].setdefault("CURENAME", set()).add(n + 2)
            for rest, name in self.by_first.get(pair, ()):
                if not rest and name in ("DISEASE", "DRUG", "ANTI", "SIGN"):
                    tags[n].setdefault(name, set()).add(n + 2)

    def knows(self, word: str) -> bool:
        """Whether a rule may be looking for this single word."""
        return word in self.risky

    def segment(self, run: str) -> list[str]:
        """`run` cut into known words, the fewest possible; [] if it cannot be cut into them."""
        # For each end: how few words reach it, and where the last of them begins. Lists of words would be copied each time.
        fewest: list[int | None] = [0] + [None] * len(run)
        begins = [0] * (len(run) + 1)
        for end in range(1, len(run) + 1):
            for start in range(max(0, end - 24), end):
                head = fewest[start]
                if head is not None and run[start:end] in self.vocabulary:
                    current = fewest[end]
                    if current is None or head + 1 < current:
                        fewest[end], begins[end] = head + 1, start
        found: list[str] = []
        end = len(run) if fewest[-1] is not None else 0
        while end:
            found.append(run[begins[end] : end])
            end = begins[end]
        return found[::-1]


@lru_cache(maxsize=16)  # asked for each word in capitals, of the whole text
def _shouted(text: str) -> bool:
    letters = [c for c in text if c.isalpha()]
    return len(letters) > 12 and sum(c.isupper() for c in letters) > 0.7 * len(letters)


def inflect(verb: str) -> list[str]:
    """A verb with -s, -ed and -ing added. A trailing '*' doubles the last consonant (cut*, cutting)."""
    double = verb.endswith("*")
    verb = verb.rstrip("*")
    if verb.endswith("e"):
        return [verb, verb + "s", verb + "d", verb[:-1] + "ing"]
    if verb.endswith("y") and verb[-2] not in _VOWELS:
        return [verb, verb[:-1] + "ies", verb[:-1] + "ied", verb + "ing"]
    stem = verb + verb[-1] if double else verb
    plural = verb + ("es" if verb.endswith(("s", "sh", "ch", "x", "z")) else "s")
    return [verb, plural, stem + "ed", stem + "ing"]


def plural(noun: str) -> list[str]:
    """A noun and its plural."""
    if noun.endswith("y") and len(noun) > 2 and noun[-2] not in _VOWELS:
        return [noun, noun[:-1] + "ies"]
    if noun.endswith(("s", "sh", "ch", "x", "z")):
        return [noun, noun + "es"]
    return [noun, noun + "s"]


@cache
def lexicon() -> Lexicon:
    """The shipped classes, read and inflected once a process."""
    parts_of = [
        tomllib.loads((resources.files("tools.checks") / "rule_packs" / name).read_text(encoding="utf-8"))
        for name in _FILES
    ]
    data = parts_of[0]
    out = Lexicon()
    for name in _RAW:
        out.raw[name] = frozenset(data[name]["words"].split())
    out.disease_ending = re.compile(f"[a-z]{{3,}}(?:{'|'.join(sorted(out.raw['DISEASE_ENDING']))})$")
    out.anti = re.compile(f"anti-?(?:{'|'.join(sorted(out.raw['ANTI_OF']))})$")
    of, end, start, but = ("|".join(file[name]["words"].split()) for file in parts_of[1:] for name in _NAMES)
    out.name = re.compile(f"(?!(?:{but})$)(?:(?:{of})[aiov]?(?:{end})|(?:{start})(?:{of}))s?")
    out.vocabulary |= out.raw["COMMON"]
    for name, parts in (item for file in parts_of for item in file.items()):
        if name in _RAW or name in _NAMES:
            continue
        runs: set[tuple[str, ...]] = set()
        for verb in parts.get("verbs", "").split():
            runs.update((form,) for form in inflect(verb))
        for noun in parts.get("nouns", "").split():
            runs.update(tuple(form.split("-")) for form in plural(noun))
        runs.update(tuple(word.split("-")) for word in parts.get("words", "").split())
        for phrase in re.split(r"[,\n]", parts.get("phrases", "")):
            if words := phrase.replace("-", " ").split():
                runs.add(tuple(words))
                if name in _PLURAL:
                    runs.add((*words[:-1], plural(words[-1])[-1]))
        for capital in parts.get("upper", "").split():
            out.capitals.setdefault(capital.lower(), set()).add(name)
        for run in runs:
            out.add(name, run)
            if len(run) == 1 and name != "MASK":
                out.vocabulary.add(run[0])
                if name in ("DISEASE", "AILMENT", "SIGN", "DRUG", "EFFECT", "STRONG"):
                    out.risky.add(run[0])
            elif name in ("DISEASE", "AILMENT", "SIGN", "DRUG"):
                out.vocabulary.update(word for word in run if len(word) > 2)
    out.vocabulary = {word for word in out.vocabulary if len(word) > 2} | {
        "a",
        "my",
        "no",
        "of",
        "in",
        "to",
        "on",
        "it",
        "is",
        "be",
        "cbd",
        "hiv",
        "ibs",
    }
    return out
