"""Reference page of the command line for docs/reference/cli.md, read from click.

python -m tools.cli_reference docs/reference/cli.md  # writes the page
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import click

from tools.cli import cli
from tools.options import AnyPath

HEADER = """# Command line

Every command prints a table, or with `--json` one JSON document on stdout; progress and logs go to
stderr. Exit codes: 0 done, 1 failed with one line that says why, 2 wrong usage. `--home` may be
left out where `CATALENS_HOME` is set. `catalens COMMAND --help` prints the same.

`make docs` writes this page from the code, and a test compares them.
"""
# Said once, in the header.
LEFT_OUT = ("--help", "--json")


def cli_page() -> str:
    """The whole page in Markdown: contents, then one section for each command."""
    sections = [
        (name, _section(command, context))
        for name, command, context in _commands(cli, click.Context(cli, info_name="catalens"))
    ]
    contents = [f"- [`{name}`](#{name.replace(' ', '-')})" for name, _ in sections]
    return "\n".join([HEADER, *contents, "", *(text for _, text in sections)])


def _commands(
    command: click.Command, context: click.Context
) -> Iterator[tuple[str, click.Command, click.Context]]:
    if not isinstance(command, click.Group):
        yield context.command_path, command, context
        return
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        assert child is not None
        yield from _commands(child, click.Context(child, info_name=name, parent=context))


def _section(command: click.Command, context: click.Context) -> str:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    lines = [f"## {context.command_path}", "", f"`{usage}`", ""]
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        lines += [" ".join(paragraph.split()), ""]
    rows = [
        f"| `{_cell(names)}` | {_cell(meaning)} |" for names, meaning in _options(command, context)
    ]
    if rows:
        lines += ["| option | meaning |", "|---|---|", *rows, ""]
    return "\n".join(lines)


def _options(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    for parameter in command.get_params(context):
        known = not isinstance(parameter, click.Option) or set(LEFT_OUT) & set(parameter.opts)
        record = None if known else parameter.get_help_record(context)
        if record is not None:
            yield record


def _cell(text: str) -> str:
    # A bar inside a cell would end it.
    return " ".join(text.split()).replace("|", "\\|")


@click.command()
@click.argument("file", type=AnyPath)
def main(file: Path) -> None:
    """Write the page to FILE."""
    file.write_text(cli_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
