"""What an editor asks of a week, whatever the brand and the theme: three small brands, documents as people write them."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import test_three_weeks as weeks
from tests.cli_support import MONDAY, week_of

BRANDS = Path(__file__).parent / "data" / "brands"
SEEN = {
    "roaster": ("Harrow Lane Coffee", "Brewing at home"),
    "studio": ("Tidewater Yoga", "Yoga for everybody"),
    "dentist": ("Birch Street Dental", "Healthy teeth for the family"),
}
WEEK = week_of(MONDAY)
LEANING = frozenset("they he she them this these those it's however also but and so then otherwise".split())  # noqa: SIM905
HANGING = frozenset("a an the of with your our my and or very".split())  # noqa: SIM905


@pytest.fixture(scope="module", params=SEEN)
def month(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> weeks.Month:
    """One week of a brand as a newcomer leaves it: `brand new`, a name of its own, documents of its own."""
    brand, (title, theme) = request.param, SEEN[request.param]
    data_dir = tmp_path_factory.mktemp(brand) / "data"
    weeks.command(data_dir, "brand", "new", brand)
    folder = data_dir / "brands" / brand
    file = folder / "brand.toml"
    text = re.sub(r"(?m)^title = .*", f'title = "{title}"', file.read_text(), count=1)
    text = re.sub(r"(?m)^hashtags = .*", f'hashtags = ["#{title.replace(" ", "")}"]', text)
    file.write_text(re.sub(r"(?ms)^related = \[.*?^\]\n", "", text))
    shutil.rmtree(folder / "documents")
    shutil.copytree(BRANDS / brand, folder / "documents")
    weeks.command(data_dir, "cycle", "run", "--theme", theme, "--week", WEEK, "--json")
    return asyncio.run(weeks._read(data_dir, [WEEK], brand=brand, themes=(theme,)))


def name_of(one: weeks.Written) -> str:
    """The day's title without the side of it that the day is about."""
    return re.split(r": | \(|, (?:continued|once more)$| on [A-Z][a-z]+day$", one.piece.theme)[0]


def read_of(one: weeks.Written) -> str:
    return "\n".join([*(line for _, line in one.lines()), " ".join(one.post.hashtags)])


def quoted(month: weeks.Month, one: weeks.Written, name: str) -> Iterator[str]:
    """The cited sentences in that field, in the order in which they are read."""
    for _, line in [pair for pair in one.lines() if pair[0] == name]:
        yield from (sentence for sentence in one.last.citations if sentence in line)


def test_the_week_keeps_the_rules_of_every_week(month: weeks.Month) -> None:
    (week,) = month.weeks.values()
    assert len(month.posts) >= weeks.MADE * len(week)
    assert sum(weeks.on_theme(month, one) for one in month.posts) >= weeks.ON_THEME * len(month.posts)
    for rule in (
        weeks.test_no_place_stays_unfilled_and_every_post_fits_its_platform,
        weeks.test_no_sentence_is_cut_short,
        weeks.test_no_sentence_and_no_hook_comes_twice_in_a_week,
        weeks.test_every_claim_names_a_source_that_holds_it_word_for_word,
    ):
        rule(month)


def test_every_post_names_its_day_and_its_week_where_readers_see_it(month: weeks.Month) -> None:
    tag = "#" + re.sub(r"\W", "", weeks.theme_of(month, month.posts[0]).title())
    for one in month.posts:
        assert name_of(one) in read_of(one), one.piece.theme
        assert tag.lower() in read_of(one).lower(), (one.piece.platform, one.piece.content_type)


def test_no_caption_is_a_title_and_a_credit(month: weeks.Month) -> None:
    for one in month.posts:
        if one.post.caption:
            own = [line for name, line in one.lines() if name == "caption"][1:]
            assert [line for line in own if not line.startswith(("Source: ", "Sources: "))], one.post.caption


def test_what_stands_together_comes_from_one_page_and_in_its_order(month: weeks.Month) -> None:
    pages = [{month.chunks[source].title for source in one.last.sources} for one in month.posts]
    assert sum(len(titles) == 1 for titles in pages) >= 0.9 * len(pages)
    for one in month.posts:
        for name in ("slides", "parts"):
            if one.piece.content_type == "quote" or len({*one.last.sources}) > 1:
                continue
            body = weeks.squeeze(month.chunks[one.last.sources[0]].content)
            places = [body.find(sentence) for sentence in quoted(month, one, name)]
            assert places[:4] == sorted(places[:4]), one.post


def test_no_extract_leans_on_what_is_not_there(month: weeks.Month) -> None:
    for one in month.posts:
        for sentence in one.last.citations:
            said = re.findall(r"[\w’']+", sentence.lower())
            assert said[0] not in LEANING, sentence
            assert not {"however", "also"} & set(said), sentence
            if {"he", "she", "his", "her"} & set(said):
                assert re.search(r"\b(?:[A-Z][a-z]+ [A-Z][a-z]+|a|an|the|your|every|each)\b", sentence), sentence
            assert not re.match(r"[\"“].*\b(?:I|my)\b.*[\"”]$", sentence), sentence


def test_days_have_names_of_their_own_and_none_is_a_number(month: weeks.Month) -> None:
    titles = list(dict.fromkeys(one.piece.theme for one in month.pieces))
    assert len({title.lower() for title in titles}) == len({one.piece.cycle_day for one in month.pieces})
    for title in titles:
        assert not re.search(r"\bpart (?:one|two|three|\d)", title), title
        assert title[0] == title[0].upper()
        assert len(title.split()) <= 12


def test_lines_on_the_screen_are_short_and_end_where_one_breathes(month: weeks.Month) -> None:
    lines = [line for one in month.posts for line in one.post.on_screen_text]
    assert lines
    for line in lines:
        assert 1 <= len(line.split()) <= 7, line
        assert line.split()[-1].lower() not in HANGING, line


def test_a_picture_shows_a_thing_or_the_day_and_never_one_bare_word(month: weeks.Month) -> None:
    for one in month.posts:
        for prompt in one.post.media_prompts:
            shown = re.search(r"(?:Shows|Behind the words, out of focus): (.*?)\.", prompt)
            assert shown, prompt
            for thing in shown[1].split(", ")[:1]:
                named = thing.startswith(("a ", "an ", "the ")) or thing in one.piece.theme
                assert named, prompt


def test_no_call_to_action_comes_twice_and_each_stands_under_any_post(month: weeks.Month) -> None:
    calls = Counter(
        call for one in month.posts for call in {line for _, line in one.lines()} & set(month.profile.call_to_action)
    )
    assert calls
    assert set(calls.values()) == {1}
