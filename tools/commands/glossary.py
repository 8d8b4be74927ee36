"""The command for the glossary: terms of another language and the words that the catalog uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tools.options import AnyPath, home_option, json_option
from tools.output import answer, table


@click.group()
def glossary() -> None:
    """Terms of another language (Chinese, say) and the words of the catalog that they stand for."""


@glossary.command("list")
@home_option
@json_option
def list_(home: Path, as_json: bool) -> None:
    """List the terms in use: the shipped ones and over them the home's own."""
    from indexer.core.home import Home
    from indexer.text.glossary import open_glossary

    entries = open_glossary(Home(home)).entries
    answer(
        {"terms": [{"term": term, "words": meaning} for term, meaning in sorted(entries.items())]},
        as_json,
        _show,
    )


@glossary.command("import")
@click.argument("file", type=AnyPath)
@home_option
@json_option
def import_(file: Path, home: Path, as_json: bool) -> None:
    """Make FILE (CSV, columns term and words) the home's own glossary; a term without words is
    taken out.

    A running service reads it with the next question. The file lies in the home as glossary.csv and
    may be edited.
    """
    from indexer.core.home import Home
    from indexer.text.glossary import set_glossary

    count = set_glossary(Home(home), file)
    answer({"imported": count}, as_json, lambda found: click.echo(f"{found['imported']} terms"))


def _show(found: dict[str, Any]) -> None:
    table(("term", "words"), [(row["term"], row["words"]) for row in found["terms"]])
