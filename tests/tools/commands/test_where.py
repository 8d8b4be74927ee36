"""Command ``where``: what it says of a home and of a product."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.catalog.store import open_catalog
from indexer.core.home import Home
from tests.tools.commands.command_line import ask, refused
from tools import cli


def test_places_are_told_with_what_they_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Home.create(tmp_path / "home")
    open_catalog(home).close()
    found = ask(capsys, "where", "--home", home.path)
    assert found["home"] == str(home.path)
    places = {place["place"]: place for place in found["places"]}
    assert places["catalog"]["path"] == str(home.catalog_file)
    assert cli.run(["where", "--home", str(home.path)]) == 0
    out = capsys.readouterr().out
    assert f"catalog: {home.catalog_file} (" in out
    assert "ends:  the delete itself" in out
    said = refused(capsys, "where", "--product", "an x", "--home", home.path)
    assert "there is no product 'an x'" in said
    assert f"catalens index verify --erased 'an x' --home {home.path}" in said
