"""Command ``demo``: full pipeline on the sample catalog."""

from __future__ import annotations

import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path

import click

from tools.options import AnyPath, FromSignature, given, json_option
from tools.output import print_result

DEMO = "tools.demo:demo"


@click.command()
@click.option(
    "--serve/--no-serve",
    default=True,
    show_default=True,
    help="Serve the page at the end, or exit.",
)
@click.option(
    "--dir", "folder", type=AnyPath, cls=FromSignature, source=DEMO, help="Where everything is put."
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port of the page (default: the usual one if it is free).",
)
@json_option
def demo(serve: bool, folder: Path | None, port: int | None, as_json: bool) -> None:
    """Run the full pipeline on a sample catalog.

    Draw it, train, evaluate, import, index, ask the three questions, serve. What is already there
    from an earlier run is used again.
    """
    from tools import demo as job

    if serve:
        port = job.free_port(port)  # known to be free before the work, not after it
    result = job.demo(**given(folder=folder))
    print_result(result, as_json, job.show)
    if serve:
        with (
            redirect_stdout(sys.stderr) if as_json else nullcontext()
        ):  # stdout holds one document and nothing else
            job.serve(result["home"], port=port)
