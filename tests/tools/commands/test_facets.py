"""``catalens facets`` counts as the service does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.service.conftest import COLOURS, KINDS, template
from tests.tools.commands.command_line import RED, ask, refused
from tools import cli

__all__ = ["template"]  # the service's tiny shop, built once


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
