"""Two weeks on themes of which no page bears the name, for a brand that knows the public pages and nothing else."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from tests import test_three_weeks as weeks
from tests.cli_support import MONDAY, week_of

THIN = ("Heart health", "Winter")
THIN_MADE = 0.6
"""The pages hold 120 sentences that can be quoted, on all subjects together: what is missing is named as a gap."""


def test_thin_themes_on_the_public_pages_alone_keep_to_the_same_rules(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    weeks.command(data_dir, "brand", "new", "calm")
    for file in (data_dir / "brands" / "calm" / "documents").iterdir():
        file.unlink()
    weeks.command(data_dir, "knowledge", "add", "--brand", "calm", str(weeks.PAGES))
    # Apart, so that each may use all there is.
    keys = [week_of(MONDAY + timedelta(days=35 * n)) for n in range(len(THIN))]
    for week, theme in zip(keys, THIN, strict=True):
        weeks.command(data_dir, "cycle", "run", "--brand", "calm", "--theme", theme, "--week", week, "--json")
    month = asyncio.run(weeks._read(data_dir, keys, themes=THIN))
    for written in month.weeks.values():
        posts = [one for one in written if not one.last.gaps]
        assert len(posts) >= THIN_MADE * len(written)
        assert sum(weeks.on_theme(month, one) for one in posts) >= weeks.ON_THEME * len(posts)
        assert all(one.last.gaps or len(one.last.citations) >= 2 for one in written if one.piece.content_type == "reel")
    for rule in (
        weeks.test_no_place_stays_unfilled_and_every_post_fits_its_platform,
        weeks.test_no_sentence_is_cut_short,
        weeks.test_no_sentence_and_no_hook_comes_twice_in_a_week,
        weeks.test_every_claim_names_a_source_that_holds_it_word_for_word,
        weeks.test_what_another_wrote_is_credited_where_it_is_shown,
    ):
        rule(month)
