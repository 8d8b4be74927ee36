"""The page of feeds against the profiles."""

from __future__ import annotations

from pathlib import Path

from indexer.feeds.profile import shipped_profiles
from tools.profile_reference import BEGIN, END, profile_sections

PAGE = Path(__file__).parents[2] / "docs" / "feeds.md"


def test_the_page_has_the_columns_of_every_profile() -> None:
    """docs/feeds.md is what ``make docs`` writes, and names each column of each profile."""
    page = PAGE.read_text(encoding="utf-8")
    assert page.partition(BEGIN)[2].partition(END)[0] == profile_sections(), "run `make docs`"
    for profile in shipped_profiles():
        for column in (*profile.id, *profile.title, *profile.photos.columns, *profile.drop):
            shown = column.replace("|", "\\|")
            assert f"`{shown}`" in page
