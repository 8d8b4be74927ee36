"""``catalens recommend`` takes the fields, the language and the market of a search."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.service.conftest import template
from tests.tools.commands.command_line import ask, refused
from tools import cli

__all__ = ["template"]  # the service's tiny shop, built once


def test_only_the_fields_that_were_asked_for(
    template: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the answer and in the table; a name that is none is refused with those that there are."""
    known = ask(capsys, "similar", "--text", "red", "--home", template)["results"][0]["product_id"]
    asked = ("recommend", "--history", known, "--home", template, "-k", "2")
    chosen = (*asked, "--locale", "de", "--market", "CH", "--fields", "product_id,price")
    assert [sorted(row) for row in ask(capsys, *chosen)["results"]] == [["price", "product_id"]] * 2
    assert cli.run(list(map(str, chosen))) == 0
    table = capsys.readouterr().out
    assert ("product" in table, "price" in table, "reason" in table) == (True, True, False)
    assert cli.run(list(map(str, asked))) == 0
    assert "reason" in capsys.readouterr().out
    assert "no field 'prise'" in refused(capsys, *asked, "--fields", "prise")
