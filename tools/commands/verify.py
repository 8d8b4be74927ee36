"""Command ``verify``: check of a whole home, and its repair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tools.options import home_option, json_option
from tools.output import print_result, say, stages


@click.command()
@home_option
@click.option(
    "--repair",
    is_flag=True,
    help="Make derived files again, set damaged originals aside, and check once more.",
)
@json_option
def verify(home: Path, repair: bool, as_json: bool) -> None:
    """Check everything that a home holds.

    The catalog's pages, relations and row checksums, originals by their hashes, models and index
    versions by their checksums, all other databases, and the counts between them. Exit code 1 where
    something is damaged; each line names the command that mends it.
    """
    from indexer.core.errors import DamagedHomeError
    from indexer.operations.repair import repair_home
    from indexer.operations.verification import verify_home

    with stages() as callback:
        repaired = repair_home(home, progress=callback) if repair else []
        found = verify_home(home, progress=callback)
    found.repaired = repaired
    document = {"intact": found.intact}
    print_result({**document, **vars(found)}, as_json, _show)
    if not found.intact:
        raise DamagedHomeError(describe(home, len(found.damages)))


def describe(home: Path, count: int) -> str:
    """One line on a damaged home: what is damaged was printed before."""
    places = "one place" if count == 1 else f"{count} places"
    return f"{home} is damaged in {places}: each is named above, with the command that mends it"


def _show(found: dict[str, Any]) -> None:
    for line in found["repaired"]:
        say(f"repaired: {line}")
    for damage in found["damages"]:
        say(f"damaged: {damage['where']}: {damage['what']}")
        say(f"  mend: {damage['mend']}")
    for line in found["not_checked"]:
        say(f"not checked: {line}")
    looked = ", ".join(f"{count:,} {kind}" for kind, count in found["checked"].items())
    say(f"{'intact' if found['intact'] else 'checked'}: {looked}")
