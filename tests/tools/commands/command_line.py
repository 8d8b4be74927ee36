"""The command line run in this process, for tests of single commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tools import cli

RED = '{"must": [{"field": "colour", "eq": "red"}]}'


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
