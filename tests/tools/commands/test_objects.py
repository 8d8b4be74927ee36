"""``catalens objects`` lists what a busy photo shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.service.conftest import COLOURS, draw, template
from tests.tools.commands.command_line import RED, ask, refused
from tools import cli

__all__ = ["template"]  # the service's tiny shop, built once


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
