"""``catalens duplicates``: one JSON document, a CSV row for each photo, and a table for people."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from indexer.catalog.store import open_catalog
from indexer.core.home import Home
from tests.indexer.duplicates.test_detect import add
from tests.indexer.duplicates.test_perceptual_hash import COPIES, drawn
from tools import cli


@pytest.fixture
def home(tmp_path: Path) -> Path:
    opened = Home.create(tmp_path / "home")
    with open_catalog(opened) as catalog:
        for seed in range(3):
            add(opened, catalog, f"p{seed}", drawn(seed))
        add(opened, catalog, "copy", COPIES["mirrored"](drawn(1)))
        add(opened, catalog, "@SUM(twin)", drawn(2))
    return tmp_path / "home"


def test_groups_as_json_and_csv(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both say the same: the kinds, the products, and what speaks for each pair."""
    file = tmp_path / "repeats.csv"
    assert cli.run(["duplicates", "--home", str(home), "--csv", str(file), "--json"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    groups = {group["kind"]: group for group in found["groups"]}
    assert {kind: group["products"] for kind, group in groups.items()} == {
        "same_photo": ["p2", "@SUM(twin)"],
        "near_same_photo": ["p1", "copy"],
    }
    second = groups["near_same_photo"]["photos"][1]
    assert second["evidence"]["mirrored"] is True
    assert second["score"] >= second["evidence"]["threshold"]
    rows = list(csv.DictReader(file.open()))
    assert [(row["group"], row["kind"], row["product_id"]) for row in rows] == [
        ("1", "same_photo", "p2"),
        ("1", "same_photo", "'@SUM(twin)"),
        ("2", "near_same_photo", "p1"),
        ("2", "near_same_photo", "copy"),
    ]
    assert (rows[3]["mirrored"], float(rows[3]["score"])) == (
        "True",
        pytest.approx(second["score"]),
    )
    assert "signatures" in said.err


def test_one_kind_and_a_table(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--kind`` leaves the others out; what needs an index that is not there fails with a line."""
    assert cli.run(["duplicates", "--home", str(home), "--kind", "same_photo"]) == 0
    shown = capsys.readouterr().out
    assert "@SUM(twin)" in shown
    assert "copy" not in shown
    assert cli.run(["duplicates", "--home", str(home), "--kind", "same_product"]) == 1
    assert "same_product needs an index" in capsys.readouterr().err
    assert cli.run(["duplicates", "--home", str(home), "--kind", "twins"]) == 2
