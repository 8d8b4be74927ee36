"""The reference page of the command line against click's own commands."""

from __future__ import annotations

from pathlib import Path

from tools.cli import COMMANDS
from tools.cli_reference import cli_page

ROOT = Path(__file__).parents[2]


def test_the_page_is_what_the_code_says() -> None:
    """docs/reference/cli.md is what ``make docs`` writes."""
    page = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    assert page == cli_page(), "run `make docs`"


def test_every_command_has_its_section() -> None:
    """Each command, or each of its sub-commands, is listed with its options and their defaults."""
    page = cli_page()
    for command in COMMANDS:
        assert f"\n## catalens {command}" in page
    assert "| `--recipe [linear\\|finetune]` |" in page
    assert "[default: efficientnet_lite0]" in page
    assert "--help`" not in page.split("## catalens", 1)[1]
