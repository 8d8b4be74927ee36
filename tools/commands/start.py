"""Command ``start``: from a shop's export to a running page."""

from __future__ import annotations

import shlex
import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

import click

from tools.feed_options import feed_options
from tools.fetch_options import fetch_options, fetch_settings_of
from tools.options import PlaceText, given, home_option, json_option
from tools.output import log, print_result, say


@click.command()
@click.argument("feed", type=PlaceText)
@home_option
@click.option(
    "--serve/--no-serve",
    default=True,
    show_default=True,
    help="Serve the page as soon as the first products are there, or do all and exit.",
)
@click.option("--port", type=click.IntRange(0, 65535), help="Port of the page.")
@feed_options
@fetch_options
@click.option("--rest", is_flag=True, hidden=True)
@json_option
def start(
    feed: str,
    home: Path,
    serve: bool,
    port: int | None,
    rest: bool,
    as_json: bool,
    fetch_private: tuple[str, ...],
    fetch_hosts: tuple[str, ...],
    fetch_connections: int | None,
    **options: Any,
) -> None:
    """Take in a shop's export and serve the page.

    FEED is an export, a folder of photos, or an address. Begins with 500 products over all
    categories, trains where labels suffice, and takes in the rest beside the page. Run again, it
    goes on where it was.
    """
    from indexer.feeds.import_options import ImportOptions
    from tools import start as job
    from tools.demo import free_port
    from tools.demo import serve as serve_home

    if serve and not rest:
        port = free_port(port)  # known to be free before the work, not after it
    fetching = fetch_settings_of(fetch_private, fetch_hosts, fetch_connections)
    if rest:
        job.follow_page()
    plan = job.plan_start(feed, home, ImportOptions(**given(**options)), fetching, rest=rest)
    if rest:
        job.take_rest(plan)
        return
    # As it was typed, so that the commands it prints are short.
    job.take_first(plan)
    if not serve:
        job.take_rest(plan)
    print_result({**job.summary(plan), "home": str(home)}, as_json, _show)
    if not serve:
        return
    arguments = [feed, "--home", str(home)]
    for name, value in given(**options).items():
        arguments += [f"--{name.replace('_', '-')}", str(value)]
    arguments += [part for name in fetch_private for part in ("--fetch-private", name)]
    arguments += [part for name in fetch_hosts for part in ("--fetch-host", name)]
    if fetch_connections is not None:
        arguments += ["--fetch-connections", str(fetch_connections)]
    process = None if plan.state.rest_done else job.start_rest(plan, arguments)
    if process is not None:
        log(f"the other products follow beside the page; log: {plan.folder / 'rest.log'}")
    try:
        with redirect_stdout(sys.stderr) if as_json else nullcontext():
            serve_home(plan.home.path, port=port)
    finally:
        if process is not None:
            process.terminate()
            process.wait()


def _show(found: dict[str, Any]) -> None:
    """What can be asked now, as commands that can be typed as they stand."""
    place = f"--product {shlex.quote(found['product_id'])} --home {shlex.quote(found['home'])}"
    questions = ["similar", *(["classify"] if found["categories"] else []), "tags"]
    for question in questions:
        say(f"catalens {question} {place}")
    say(f"catalens serve --home {shlex.quote(found['home'])}")
