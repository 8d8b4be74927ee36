"""Command ``profile``: what the columns of a shop's feed mean."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from tools.options import AnyPath, json_option
from tools.output import log, print_result, print_table, say


@click.group()
def profile() -> None:
    """Show the profiles of feeds, or draft one."""


@profile.command("list")
@click.option("--home", type=AnyPath, help="Also list those that were corrected in this home.")
@json_option
def list_(home: Path | None, as_json: bool) -> None:
    """List the profiles that come with Catalens."""
    from indexer.core.home import Home
    from indexer.feeds.own_profiles import OwnProfiles
    from indexer.feeds.profile import shipped_profiles

    own = [] if home is None else OwnProfiles(Home(home).profiles).all()
    found = [{"name": one.name, "label": one.label} for one in (*shipped_profiles(), *own)]
    print_result(
        {"profiles": found},
        as_json,
        lambda result: print_table(
            ("profile", "for"), [(row["name"], row["label"]) for row in result["profiles"]]
        ),
    )


@profile.command("show")
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Print a profile as YAML.

    NAME is one that comes with Catalens, or a file.

    Save it, change it, and import with --profile FILE.yaml.
    """
    from indexer.feeds.profile import load_profile, profile_text

    found = load_profile(name)
    text = profile_text(name)
    print_result(
        {"profile": found.model_dump(mode="json"), "yaml": text},
        as_json,
        lambda result: say(result["yaml"], newline=False),
    )


@profile.command("suggest")
@click.argument("feed", type=AnyPath)
@click.option("--encoding", metavar="NAME", help="The feed's encoding, where it is guessed wrong.")
@click.option(
    "--delimiter", metavar="CHARACTER", help="What parts its columns, where it is guessed wrong."
)
@json_option
def suggest(feed: Path, encoding: str | None, delimiter: str | None, as_json: bool) -> None:
    """Draft a profile for an unknown feed.

    It is made from the names and values of its columns.
    """
    from indexer.core.errors import BadDataError
    from indexer.feeds.detection import detect
    from indexer.feeds.reader import find_feed, open_table
    from indexer.feeds.suggestion import suggest_profile

    source = find_feed(feed)
    if source.path is None:
        raise BadDataError(f"{feed} holds no feed, only files beside one")
    table = open_table(source.path, encoding=encoding, delimiter=delimiter)
    found = suggest_profile(table)
    with suppress(BadDataError):
        known = detect(table).profile
        if not known.fallback:
            log(f"{feed} fits the profile {known.name}: it can be imported as it is")
    for notice in (*source.notices, *table.notices):
        log(f"{notice.where}: {notice.reason}")
    result: dict[str, Any] = {
        "profile": found.profile,
        "yaml": found.yaml,
        "columns": found.reasons,
    }
    print_result(result, as_json, lambda shown: say(shown["yaml"], newline=False))
