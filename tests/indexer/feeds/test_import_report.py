"""A report is bounded, counts by kind, and says in one line why nothing came in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from indexer.feeds.import_report import ADDRESS, ImportReport, Notices
from indexer.feeds.notice import Notice
from tests.indexer.feeds.test_importer import draw, feed
from tools import cli


def test_a_million_notices_are_counted_and_not_kept() -> None:
    """The first thousand are there one by one, all by kind, five lines of each."""
    notices = Notices()
    for number in range(5000):
        code = "odd-price" if number % 2 else ""
        notices.append(Notice(f"f:{number}", f"price 'x{number}' is none", code, "price"))
    assert (len(notices), notices.total) == (1000, 5000)
    assert [(kind.code, kind.count, len(kind.lines)) for kind in notices.kinds()] == [
        ("", 2500, 5),
        ("odd-price", 2500, 5),
    ]


def test_the_failure_names_the_commonest_reason() -> None:
    """And what to do about addresses."""
    report = ImportReport()
    report.skipped += [Notice("f:1", "bad", "a"), Notice("f:2", "worse", "b")]
    report.skipped.append(Notice("f:3", "worse", "b"))
    assert report.failure == ("nothing was imported; left out: 3, most often (2) as f:2: worse")
    report.skipped += [Notice("f:4", "an address", ADDRESS)] * 3
    assert "add --fetch" in (report.failure or "")
    report.unchanged = 1
    assert report.failure is None


def test_the_command_exits_1_where_nothing_came_in(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With the report on stdout and one line on stderr; a dry run too."""
    path = feed(tmp_path, "a,i/none.jpg,,,,")
    for options in ([], ["--dry-run"]):
        home = str(tmp_path / "home")
        assert cli.run(["import", str(path), "--home", home, "--json", *options]) == 1
        out, err = capfd.readouterr()
        report = json.loads(out)
        assert report["counts"]["skipped"] == 1
        assert err.strip().splitlines()[-1].endswith(report["failure"])
        assert "none.jpg" in report["failure"]
        # A home that was made by a name that was mistyped would pass for an empty shop.
        assert (f"there was no home at {home}: a new one was made" in err) == (not options)


def test_a_dry_run_says_what_the_contract_names(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Profile, why, map, samples, warnings with count and first lines, counts; the page too."""
    for number in range(4):
        draw(tmp_path / f"i/{number}.jpg", number)
    rows = [f"p{number},i/{number}.jpg,T,A > B,x|y,{number}.50 EUR" for number in range(3)]
    path = feed(tmp_path, *rows, "p3,i/3.jpg,T,A > B,x|y,soon")
    home = tmp_path / "home"
    assert cli.run(["import", str(path), "--home", str(home), "--dry-run", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert not home.exists()
    assert (found["profile"], found["map"].keys() >= {"image", "price"}) == ("catalens", True)
    assert [sample["product_id"] for sample in found["samples"]] == ["p0", "p1", "p3"]
    assert found["samples"][1]["fields"] == {"price": 1.5, "currency": "EUR"}
    (warning,) = found["warnings"]
    assert (warning["where"], warning["column"], warning["value"], warning["count"]) == (
        "feed.csv:5",
        "price",
        "soon",
        1,
    )
    assert "left out" in warning["lines"][0]["reason"]
    assert (found["counts"]["added"], found["added"], found["counts"]["products"]) == (4, 4, 4)
    assert cli.run(["import", str(path), "--home", str(home), "--dry-run"]) == 0
    page = capfd.readouterr()
    assert "Product p0" in page.out
    assert "catalens" in page.err
