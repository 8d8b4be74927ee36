"""``catalens similar`` asks as the service does: filters, weights, pages."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from indexer.catalog.store import open_catalog
from indexer.core.home import Home
from tests.service.conftest import KINDS, product_id, template
from tests.tools.commands.command_line import RED, ask, refused
from tools import cli

__all__ = ["template"]  # the service's tiny shop, built once


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


def test_chosen_fields_are_the_columns(template: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With ``--fields`` the answer and the table have these alone; an unknown one is refused."""
    question = ("similar", "--product", "cross-red", "--home", template, "-k", "1")
    found = ask(capsys, *question, "--fields", "product_id,price")
    assert [set(row) for row in found["results"]] == [{"product_id", "price"}]
    assert cli.run([*map(str, question), "--fields", "title", "--fields", "sku"]) == 0
    assert capsys.readouterr().out.split()[:2] == ["title", "sku"]
    assert "no field 'prise'" in refused(capsys, *question, "--fields", "prise")


def test_variants_are_one_result_unless_asked_otherwise(
    template: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where products have a parent, similar and recommend group by it; --ungrouped does not, and a
    catalog without parents stays as it is."""
    home = tmp_path / "home"
    shutil.copytree(template, home)
    plain = ask(capsys, "similar", "--product", "cross-red", "--home", home, "-k", "50")
    assert all("group" not in result for result in plain["results"])
    with open_catalog(Home(home)) as catalog:
        for name in ("ring-blue", "ring-black", "cross-red", "cross-green"):
            parent = name.split("-")[0]
            catalog.patch(name, {"attributes": {"parent": parent}})
    question = ("similar", "--product", "cross-red", "--home", home, "-k", "50")
    grouped = ask(capsys, *question)["results"]
    sizes = {result["group"]["value"]: result["group"]["size"] for result in grouped}
    assert sizes["ring"] == 2
    assert "cross" not in sizes
    each = ask(capsys, *question, "--ungrouped")["results"]
    assert (len(plain["results"]), len(each), len(grouped)) == (19, 18, 17)
    history = ("recommend", "--history", "cross-red", "--home", home, "-k", "50")
    assert "cross-green" not in {row["product_id"] for row in ask(capsys, *history)["results"]}
    recommended = ask(capsys, *history)["results"]
    assert [row["group"]["size"] for row in recommended if row["group"]["value"] == "ring"] == [2]
    assert cli.run(list(map(str, question))) == 0
    assert "variants" in capsys.readouterr().out
