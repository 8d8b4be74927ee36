"""The README's commands: each one that it shows can be typed as it stands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from tools.cli import cli

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(?:sh|console|bash)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
LINES = [
    line.partition(" #")[0].strip()
    for block in BLOCKS
    for line in block.replace("\\\n", " ").splitlines()
]
COMMANDS = [line for line in LINES if line.startswith("catalens ")]


def parse(
    command: click.Command, name: str, words: list[str], parent: click.Context | None
) -> None:
    """Parse ``words`` as click would, down to the last sub-command, and run nothing."""
    context = command.make_context(name, words, parent=parent)
    if isinstance(command, click.Group):
        rest = [*context._protected_args, *context.args]
        found, child, remaining = command.resolve_command(context, rest)
        assert child is not None
        parse(child, found or "", remaining, context)


def test_readme_shows_commands() -> None:
    """The README shows the two make commands and the main commands of the command line."""
    assert "make demo" in LINES
    assert "make test" in LINES
    shown = {line.split()[1] for line in COMMANDS}
    assert {
        "train",
        "evaluate",
        "import",
        "index",
        "serve",
        "classify",
        "similar",
        "tags",
        "doctor",
    } <= shown


@pytest.mark.parametrize("line", COMMANDS)
def test_readme_command_is_understood(line: str) -> None:
    """The command line of this very version takes the README's command as it stands."""
    parse(cli, "catalens", shlex.split(line, comments=True)[1:], None)


def test_wrong_commands_would_be_noticed() -> None:
    """The check above refuses an unknown option and an unknown command."""
    with pytest.raises(click.UsageError):
        parse(cli, "catalens", ["index", "build", "--no-such-option"], None)
    with pytest.raises(click.UsageError):
        parse(cli, "catalens", ["no-such-command"], None)


def test_make_targets_of_the_readme_exist() -> None:
    """Every ``make`` target that the README names stands in the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in LINES:
        if line.startswith("make "):
            target = line.split()[1]
            assert re.search(rf"^{re.escape(target)}:", makefile, flags=re.MULTILINE), line


def test_files_the_readme_links_to_exist() -> None:
    """Every relative link and picture of the README leads to a file of the tree."""
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", README)
    missing = [link for link in links if "://" not in link and not (ROOT / link).exists()]
    assert missing == []
