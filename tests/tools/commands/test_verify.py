"""Command ``verify``: exit codes, and what it names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from indexer.core.home import Home
from indexer.feeds.importer import import_feed
from tools import cli


def test_it_fails_where_something_is_damaged_and_names_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 0 and "intact"; 1, the place and a command that can be copied; JSON says it too."""
    feed = tmp_path / "feed"
    feed.mkdir()
    Image.new("RGB", (8, 8)).save(feed / "a.png")
    home = Home.create(tmp_path / "home")
    import_feed(home, feed)
    place = ["--home", str(home.path)]
    assert cli.run(["verify", *place]) == 0
    assert capsys.readouterr().out.startswith("intact: 1 products")
    next(home.photos.glob("??/??/*")).write_bytes(b"")
    assert cli.run(["verify", "--json", *place]) == 1
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert (document["intact"], document["damages"][0]["where"]) == (False, "photos")
    assert f"catalens verify --repair --home {home.path}" in document["damages"][0]["mend"]
    assert "damaged in one place" in said.err
    assert cli.run(["verify", "--repair", *place]) == 1
    found = capsys.readouterr()
    assert f"catalens import DATA --home {home.path}" in found.out
    assert " is missing" in found.out
    assert "0 of 0" not in found.err
    import_feed(home, feed)
    assert cli.run(["verify", *place]) == 0
