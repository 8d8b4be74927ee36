"""Command ``glossary``: terms of another language."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tools.options import AnyPath, home_option, json_option
from tools.output import print_result, print_table, say


@click.group()
def glossary() -> None:
    """Manage the terms of another language.

    The glossary says for which words of the catalog each term, Chinese, say, stands.
    """


@glossary.command("list")
@home_option
@json_option
def list_(home: Path, as_json: bool) -> None:
    """List the terms in use.

    The shipped ones, and over them the home's own.
    """
    from indexer.core.home import Home
    from indexer.text.glossary import open_glossary

    entries = open_glossary(Home(home)).entries
    print_result(
        {"terms": [{"term": term, "words": meaning} for term, meaning in sorted(entries.items())]},
        as_json,
        _show,
    )


@glossary.command("import")
@click.argument("file", type=AnyPath)
@home_option
@json_option
def import_(file: Path, home: Path, as_json: bool) -> None:
    """Make FILE the home's own glossary.

    A CSV with the columns term and words, up to 50,000 terms; one without words is taken out. A
    running service reads it with the next question. It lies in the home as glossary.csv and may be
    edited: where it cannot be read, the last good one is asked, and verify and alerts say so.
    """
    from indexer.core.home import Home
    from indexer.text.glossary import set_glossary

    count = set_glossary(Home(home), file)
    print_result({"imported": count}, as_json, lambda found: say(f"{found['imported']} terms"))


def _show(found: dict[str, Any]) -> None:
    print_table(("term", "words"), [(row["term"], row["words"]) for row in found["terms"]])
