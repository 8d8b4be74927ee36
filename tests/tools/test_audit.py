"""Promises of the audit: it finds what is wrong, resumes, and shows it on a page without outside
requests."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from indexer.core.errors import BadSettingsError
from indexer.core.home import Home
from service.engine import Engine
from service.settings import Settings
from tests.service.conftest import own_home, photo, template  # noqa: F401
from tools import cli
from tools.audit import audit, write_page

FORMULA = '=HYPERLINK("file:"&A1,"x")'


@pytest.fixture
def wrong(own_home: Path) -> Path:  # noqa: F811
    """The drawn shop with one product of a wrong category and title with markup, one copy whose id
    and tag are formulas, one photo that is gone."""
    from service.products.writer import Draft

    with Engine(Settings(home=own_home), watch=False) as engine:
        engine.products.patch(
            "ring-blue", {"category": ("Shapes", "cross"), "title": "<b>ring</b>"}
        )
        engine.products.put(
            FORMULA,
            Draft(
                "copy", ("Shapes", "dots"), (("=1+1", "merchant"),), {}, (photo("dots", "blue"),)
            ),
        )
        gone = engine.products.get("stripes-black").content.images[0].hash
    (own_home / "photos" / gone[:2] / gone[2:4] / gone).unlink()
    return own_home


def test_an_audit_finds_what_is_wrong_and_goes_on_where_it_stopped(
    wrong: Path, tmp_path: Path
) -> None:
    with Engine(Settings(home=wrong), watch=False) as engine:
        report = audit(engine)
        again = audit(engine)
    found = {(entry.kind, entry.code, entry.pid) for entry in report.entries}
    page, table = write_page(report, Home(wrong), tmp_path / "out")
    with table.open() as stream:
        rows = list(csv.DictReader(stream))
    by_kind = {
        kind: {row["product_id"] for row in rows if row["kind"] == kind}
        for kind in {r["kind"] for r in rows}
    }
    assert "ring-blue" in by_kind["category"]
    assert next(
        row for row in rows if row["product_id"] == "ring-blue" and row["kind"] == "category"
    )["code"] == ("Shapes > ring")
    assert by_kind["duplicate"] >= {f"'{FORMULA}", "dots-blue"}, "no spreadsheet runs an id"
    cells = [cell for row in rows for cell in row.values()]
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells)
    assert by_kind["unreadable"] == {"stripes-black"}
    assert (report.products, report.resumed) == (21, 0)
    assert again.resumed == 20, "what cannot be read is tried again"
    assert {(entry.kind, entry.code, entry.pid) for entry in again.entries} == found
    text = page.read_text()
    assert "&lt;b&gt;ring&lt;/b&gt;" in text
    assert "<b>ring</b>" not in text
    assert "http://" not in text
    assert "https://" not in text
    assert json.loads((wrong / "quality.json").read_text())["photos"] == 39


def test_half_a_line_of_a_killed_run_is_looked_at_again(wrong: Path) -> None:
    with Engine(Settings(home=wrong), watch=False) as engine:
        audit(engine)
        kept = wrong / "audit" / "default.jsonl"
        # Behind the findings stands the state of the catalog that they are of.
        *lines, last, _ = kept.read_text().splitlines()
        kept.write_text("\n".join([*lines, last[:20]]))
        again = audit(engine)
    assert (again.products, again.resumed) == (21, 19)


def test_an_unknown_profile_is_refused_before_anything_is_looked_at(wrong: Path) -> None:
    with (
        Engine(Settings(home=wrong), watch=False) as engine,
        pytest.raises(BadSettingsError, match="no quality profile"),
    ):
        audit(engine, profile="../x")
    assert not (wrong / "audit").exists()


def test_the_command_writes_both_files(own_home: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    assert cli.run(["audit", "--home", str(own_home), "--out", str(tmp_path / "a"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["products"] == 20
    assert Path(found["page"]).is_file()
    assert Path(found["csv"]).is_file()
