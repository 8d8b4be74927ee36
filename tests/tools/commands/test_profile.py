"""``catalens profile``: the profiles that ship, and a draft for a feed."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from indexer.feeds.profile import load_profile, profile_names
from tests.tools.commands.command_line import ask, refused
from tools import cli


def test_all_profiles_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """By name, with what each is for."""
    found = ask(capsys, "profile", "list")["profiles"]
    assert [row["name"] for row in found] == list(profile_names())
    assert all(row["label"] for row in found)


def test_a_profile_is_shown_as_a_file_to_start_from(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What is printed loads again and means the same."""
    assert cli.run(["profile", "show", "shopify"]) == 0
    shown = tmp_path / "mine.yaml"
    shown.write_text(capsys.readouterr().out, encoding="utf-8")
    assert load_profile(shown) == load_profile("shopify")
    assert ask(capsys, "profile", "show", shown)["profile"]["name"] == "shopify"
    assert "no profile 'shop'" in refused(capsys, "profile", "show", "shop")


def test_a_draft_is_printed_as_yaml(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """For an unknown feed, with the reason for each column; what is no feed is refused."""
    feed = tmp_path / "erp.csv"
    feed.write_text("Nummer;Bild\nA1;a.jpg\nA2;b.jpg\n", encoding="utf-8")
    assert cli.run(["profile", "suggest", str(feed)]) == 0
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed)["photos"] == {"columns": ["Bild"]}
    found = ask(capsys, "profile", "suggest", feed)
    assert found["profile"]["id"] == "Nummer"
    assert "every row has its own" in found["columns"]["Nummer"]
    assert "does not exist" in refused(capsys, "profile", "suggest", tmp_path / "none.csv")
    (tmp_path / "photos").mkdir()
    assert "no feed" in refused(capsys, "profile", "suggest", tmp_path / "photos")
