"""Which sentences stand alone, how they are shared out and shown: the rules behind a week, one behaviour each."""

from __future__ import annotations

import re
from typing import Any

import pytest

from agents.agent import Fact
from agents.days import plan_week
from agents.extract import choose_facts, quotable
from agents.kit import Kit
from agents.quotable import stands_alone
from agents.sentences import screen_lines, split_sentences, stems, things
from config.platforms import limits
from graphs.shares import Place, share


@pytest.mark.parametrize(
    "sentence",
    [
        "On Thursdays she bakes rye.",
        "In spring he moves the hives.",
        "Four have been sold to people from the village.",
        "After two hours in the shed it smells of apples.",
        "With practice they get better.",
        "You will need: a bowl, a spoon and a cloth.",
        "Not included: the ferry and the wine.",
        "There are candles and a dog.",
        "No queue, no ticket, no hurry.",
        "Nobody will mind, and most people do the same.",
        "Stop when you feel tired and sit down.",
        "Turn each one over before noon.",
        "We will bring another one, free.",
        "A large jar holds about 40.",
        "Sand, oil and hang it in the shade.",
        "Large pots, if you have a balcony.",
        "You might have a broken chain.",
        "Ask your neighbour how much you should take.",
        "Frost also harms the buds.",
        "“I came for a loaf and left with my winter hat.”",
        "Please read the sheet by the door.",
        "The second shop opened three years later.",
        "Last month we sold forty lamps.",
        "The tram needs twenty-six.",
        "Closed on Sunday and Monday (we are at sea!)",
    ],
)
def test_a_sentence_that_leans_on_another_or_is_none_is_left_where_it_stands(sentence: str) -> None:
    assert not stands_alone(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "Mina Harrow says that she bakes rye on Thursdays.",
        "Ask a gardener what she does in March.",
        "After the bread has cooled, it keeps for a week.",
        "There is a bench behind the shed.",
        "One jar holds about 40 plums.",
        "Sand the board, oil it and hang it in the shade.",
        "Three poses are enough: cat, dog and child.",
        "Not only bees but also flies love the hedge.",
        "Two of the hives stand by the river.",
        "Nobody will sell you a better pear.",
        "Rock the wheel from side to side and listen for a click.",
        "Open the window before you paint.",
        "The market is open from May to late September.",
    ],
)
def test_a_sentence_that_says_who_does_what_can_be_quoted(sentence: str) -> None:
    assert stands_alone(sentence)


def a_page(title: str, *sentences: str, id: str = "") -> dict[str, Any]:
    return {"id": id or title, "source": title, "text": " ".join(sentences), "score": 0.5}


def test_what_the_next_sentence_takes_back_is_not_quoted_alone() -> None:
    page = a_page("Pears", "A pear ripens on the sill in a week.", "However, a green pear stays hard for a month.")
    assert quotable([page]) == []
    kept = a_page("Pears", "A pear ripens on the sill in a week.", "A green pear stays hard for a month.")
    assert len(quotable([kept])) == 2


def test_a_short_sentence_inside_another_is_not_the_same() -> None:
    page = a_page(
        "Cold brew",
        "Cold brew is the easiest coffee there is.",
        "Our bottled cold brew is in the shop from May to September, beside the easiest filter coffee of the summer.",
        "Cold brew is the easiest of coffees.",
    )
    assert [one.text.split()[0] for one in quotable([page])] == ["Cold", "Our"]


def test_emphasis_around_a_question_is_no_part_of_the_answer() -> None:
    assert split_sentences("*How much should I buy?* A small bag makes fourteen cups.")[-1] == (
        "A small bag makes fourteen cups."
    )


@pytest.mark.parametrize(
    ("one", "other"), [("teeth", "tooth"), ("children's", "child"), ("kids", "children"), ("loaves", "loaf")]
)
def test_forms_that_no_ending_shows_are_one_word(one: str, other: str) -> None:
    assert stems(one) == stems(other)


def test_sentences_that_follow_each_other_on_the_page_come_together() -> None:
    material = {
        "theme": "Pears",
        "keywords": ["pear"],
        "day": {"title": "Pears", "keywords": ["pear", "branch"]},
        "want": 12,
        "passages": [
            a_page(
                "Pears",
                "The crate stands in the cellar until March.",
                "A pear on a low branch ripens first.",
                "Shade keeps the leaves cool at noon.",
                "Wasps find the sweet ones before people do.",
            )
        ],
    }
    texts = [fact["text"].split()[0] for fact in choose_facts(material)["facts"]]
    assert texts == ["A", "Shade", "Wasps", "The"], "the best, what is read behind it, then the rest"


def fact(text: str, page: str) -> Fact:
    return Fact(text=text, source_id=page, source_title=page)


def test_a_piece_takes_the_neighbours_of_its_first_sentence() -> None:
    names = ("Rye", "Wheat", "Spelt", "Barley", "Millet", "Oats", "Maize", "Rice")
    things = (
        "sand",
        "clay and rain",
        "a cold hill",
        "an early spring",
        "hot wind",
        "fog",
        "a long summer",
        "a flooded field",
    )
    facts = [fact(f"{name} likes {thing}.", "Grain") for name, thing in zip(names, things, strict=True)]
    shares = share([Place("a", 1, "carousel"), Place("b", 1, "carousel")], {1: facts})
    first = [names.index(one.text.split()[0]) for one in shares["a"][:3]]
    assert first == [0, 1, 2]
    assert [names.index(one.text.split()[0]) for one in shares["b"][:3]] == [3, 4, 5]


def test_what_stands_beside_a_quotation_stands_beside_it_on_the_page() -> None:
    texts = ("Figs need " + "sun, water, patience and a wall, " * 5 + "too.", "Quinces smell of roses.", "Plums split in rain.",
             "Medlars are eaten late.", "Sloes want a frost.")  # fmt: skip
    quote = share([Place("q", 1, "quote")], {1: [fact(text, "Fruit") for text in texts]})["q"]
    assert [one.text for one in quote[:2]] == [texts[1], texts[2]], "the first is too long to be quoted"


def test_a_day_that_is_named_after_a_page_has_its_sentences_before_the_others() -> None:
    facts = [
        fact(text, "Pears") for text in ("Bosc ripens late.", "Comice bruises in a basket.", "Anjou keeps until March.")
    ]
    places = [Place("other", 1, "quote"), Place("own", 2, "carousel")]
    shares = share(places, {1: facts, 2: facts}, {1: "Fruit on Monday", 2: "Pears"})
    assert [len(shares[name]) for name in ("other", "own")] == [0, 3]


def test_what_cannot_be_made_keeps_no_sentence_from_what_can() -> None:
    facts = [
        fact(text, "Pears") for text in ("Bosc ripens late.", "Comice bruises in a basket.", "Anjou keeps until March.")
    ]
    shares = share([Place("big", 1, "carousel"), Place("small", 1, "quote")], {1: facts})
    assert (len(shares["big"]), len(shares["small"])) == (0, 3)


def test_further_days_of_a_page_are_named_after_what_it_speaks_of() -> None:
    page = a_page(
        "Slow stretching",
        "Sit on the floor and reach for your toes.", "The floor is warm in the morning.", "Lie down on the floor for a song.",
        "Stand behind the chair and lean forward.", "The chair should not roll.", "Hold on to the chair with both hands.",
        "Hands that type all day like to be opened.", "Shake your hands over the sink.", "Breathe out as you bend.",
        "Let your knees fall to one side.", "Curl up like a cat at the end.", "Stretch for as long as a kettle boils.",
    )  # fmt: skip
    theme = {"title": "Stretching", "keywords": ["stretching"]}
    days = plan_week({"theme": theme, "days": [1, 2, 3], "needs": {"1": 2, "2": 2, "3": 2}, "passages": [page]})["days"]
    assert days[0]["title"] == "Slow stretching"
    for day in days[1:]:
        name, colon, side = day["title"].partition(": ")
        assert (name, colon) == ("Slow stretching", ": ")
        assert {word for word in side.split() if word != "and"} <= {"floor", "chair", "hands"}
    assert len({day["title"] for day in days}) == 3


def test_a_theme_that_most_pages_speak_of_is_on_every_page() -> None:
    pages = [
        a_page(title, f"A loaf of {title.lower()} is {look}.", f"{title} grows {where}.", f"Cut {title.lower()} {how}.")
        for title, look, where, how in (
            ("Rye", "dark", "on sand", "thinly"), ("Wheat", "tall", "in the valley", "while warm"),
            ("Spelt", "nutty", "behind the mill", "by hand"), ("Barley", "flat", "near the coast", "into squares"),
        )
    ]  # fmt: skip
    pages = [{**page, "text": page["text"].replace(".", " today.")} for page in pages]
    pages.append(
        a_page(
            "The cellar",
            "Barrels stand along the wall.",
            "The stairs are steep and old.",
            "Cats sleep behind the door.",
        )
    )
    week = plan_week({"theme": {"title": "Loaves", "keywords": ["loaf"]}, "days": [1, 2, 3, 4, 5], "passages": pages})
    assert "The cellar" in [day["title"] for day in week["days"]]
    strange = plan_week({"theme": {"title": "Cats", "keywords": ["cats"]}, "days": [1, 2], "passages": pages})
    assert "Rye" not in [day["title"] for day in strange["days"]]


@pytest.mark.parametrize(
    ("sentence", "lines"),
    [
        ("Evening light goes well with a low lamp and a warm room.", ["a low lamp", "a warm room"]),
        ("Stand up from your chair once an hour and reach for the ceiling.", ["once an hour"]),
        ("The brush should go in with a little patience and never be forced.", ["a little patience"]),
    ],
)
def test_lines_on_a_screen_keep_together_what_belongs_together(sentence: str, lines: list[str]) -> None:
    shown = screen_lines(sentence)
    assert " ".join(shown) == sentence.rstrip(".")
    for phrase in lines:
        assert any(phrase in line for line in shown), shown


def test_a_picture_shows_the_things_that_are_named_and_no_verbs() -> None:
    assert things("A path through a park is worth the longer way.") == ["a path", "a park"]
    assert things("Roll your shoulders while the kettle boils.") == ["the shoulders", "the kettle"]
    assert things("Watch a cat wake up.") == ["a cat"]
    assert things("Nothing is as good as walking.") == []
    assert things("A walk without a goal keeps its own pace in the rain.") == ["a walk", "the rain"]


@pytest.mark.parametrize("content_type", ["quote", "reel", "story", "carousel", "thread"])
@pytest.mark.parametrize(
    "title",
    [
        "Walking slowly",
        "What is yin yoga?",
        "Stretching: floor and chair",
        "Better sleep on Wednesday",
        "Walking slowly, continued",
        "A day that has a name of far more than seven words",
    ],
)
def test_the_openings_of_a_day_differ_and_name_it_or_its_week(content_type: str, title: str) -> None:
    def opening(turn: int) -> str:
        kit = Kit(
            platform="twitter", content_type=content_type, seed="p", turn=turn, week_turn=turn, brand={}, theme="Slow week",
            day=3, title=title, keywords=[], avoid=[], cell=limits("twitter", content_type if content_type != "story" else "quote"),
        )  # fmt: skip
        return kit.hooks()[0]

    lines = [opening(turn) for turn in range(5)]
    assert not [
        line for line in lines if line.count("Wednesday") > 1 or ", continued:" in line or ", continued," in line
    ]
    assert lines[0] == title
    assert len(set(lines)) == 5
    for line in lines[1:]:
        assert re.split(r":|,| on ", title)[0] in line or "Slow week" in line
        assert len(line.split()) <= 12


def test_one_word_of_the_week_in_passing_makes_no_sentence_of_another_day() -> None:
    passages = [
        {"id": "a", "source": "Cold water", "text": "Stand at the ladder and breathe out before your feet are wet."},
        {"id": "b", "source": "Breakfast", "text": "Porridge is served from eight with oats, water and a little salt."},
    ]
    day = {"title": "Before you go in", "angle": "", "keywords": ["breath", "ladder", "water"]}
    material = {
        "theme": "The first plunge",
        "keywords": ["cold", "water"],
        "day": day,
        "passages": passages,
        "brand": "",
    }
    assert [fact["source_id"] for fact in choose_facts(material)["facts"]] == ["a"]
    # Two words of the week's, or a page that speaks of the day too, tie it to the week.
    passages[1]["text"] = "Porridge is served from eight with oats, cold water and a little salt."
    assert {fact["source_id"] for fact in choose_facts(material)["facts"]} == {"a", "b"}
    passages[1]["text"] = (
        "Porridge needs water and a little salt. Hang the spoon on the ladder of the stove by the door."
    )
    assert len(choose_facts(material)["facts"]) == 3
