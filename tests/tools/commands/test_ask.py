"""The command line asks as the service does: filters, weights, pages and facets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.service.conftest import COLOURS, KINDS, draw, product_id, template
from tools import cli

__all__ = ["template"]  # the service's tiny shop, built once


def ask(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, Any]:
    code = cli.run([*map(str, arguments), "--json"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    found: dict[str, Any] = json.loads(captured.out)
    return found


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 1) -> str:
    assert cli.run(list(map(str, arguments))) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


RED = '{"must": [{"field": "colour", "eq": "red"}]}'


def test_similar_takes_filters_weights_and_pages(
    template: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The products that pass, in pages that go on where the one before ended."""
    question = (
        "similar",
        "--product",
        "cross-red",
        "--home",
        template,
        "--filter",
        RED,
        "--weights",
        '{"g": 1}',
    )
    whole = ask(capsys, *question)
    found = [result["product_id"] for result in whole["results"]]
    assert set(found) == {product_id(kind, "red") for kind in KINDS} - {"cross-red"}
    assert set(whole["results"][0]["signals"]) == {"product_id", "g"}
    first = ask(capsys, *question, "-k", "2")
    second = ask(capsys, *question, "-k", "2", "--cursor", first["next_cursor"])
    assert [result["product_id"] for result in [*first["results"], *second["results"]]] == found
    assert second["next_cursor"] is None
    once = ask(
        capsys,
        "similar",
        "--product",
        "cross-red",
        "--home",
        template,
        "--collapse",
        "same_photo",
        "-k",
        "50",
    )
    assert len(once["results"]) == 19


def test_bad_questions_say_why(template: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Text that is no JSON is wrong usage; a filter, weight or cursor that does not fit is one line
    of reason."""
    question = ("similar", "--product", "cross-red", "--home", template)
    assert "not JSON" in refused(capsys, *question, "--filter", "red", code=2)
    assert "not a JSON object" in refused(capsys, *question, "--weights", "[1]", code=2)
    size = '{"must": [{"field": "size", "eq": 1}]}'
    assert "catalens: filter.must[0]: no field 'size'" in refused(
        capsys, *question, "--filter", size
    )
    assert "has no block 'z'" in refused(capsys, *question, "--weights", '{"z": 1}')
    assert "cursor is not one" in refused(capsys, *question, "--cursor", "x")


def test_facets_count_what_a_filter_can_ask_for(
    template: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All fields with their counts, or those named, under a filter; and a table for people."""
    found = ask(
        capsys,
        "facets",
        "--home",
        template,
        "--filter",
        RED,
        "--field",
        "colour",
        "--field",
        "category",
    )
    assert found["total"] == len(KINDS)
    assert found["facets"][0] == {
        "field": "colour",
        "type": "string",
        "count": len(KINDS),
        "values": [{"value": "red", "count": len(KINDS)}],
    }
    assert cli.run(["facets", "--home", str(template)]) == 0
    shown = capsys.readouterr().out
    for colour in COLOURS:
        assert f"{colour} ({len(KINDS)})" in shown
    assert "no field 'size' to count" in refused(
        capsys, "facets", "--home", template, "--field", "size"
    )


def test_objects_of_a_photo_are_listed(
    template: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two drawn things side by side: a box, a category and similar products for each; a filter and
    a limit hold."""
    wide = Image.new("RGB", (400, 180), "white")
    wide.paste(draw("cross", COLOURS["red"]), (10, 10))
    wide.paste(draw("ring", COLOURS["blue"]), (220, 10))
    photo = tmp_path / "wide.png"
    wide.save(photo)
    found = ask(capsys, "objects", photo, "--home", template, "-k", "2", "--filter", RED)["objects"]
    assert sorted(one["category"]["label"] for one in found) == ["cross", "ring"]
    assert all(row["attributes"]["colour"] == "red" for one in found for row in one["results"])
    assert [len(one["results"]) for one in found] == [2, 2]
    assert len(ask(capsys, "objects", photo, "--home", template, "--most", "1")["objects"]) == 1
    assert cli.run(["objects", str(photo), "--home", str(template)]) == 0
    assert "Shapes > cross" in capsys.readouterr().out
    assert "not an image" in refused(capsys, "objects", Path(__file__), "--home", template)
