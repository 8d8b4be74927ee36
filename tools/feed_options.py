"""Options of commands that take in a feed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from tools.options import AnyPath, FromSignature

_SOURCE = "indexer.feeds.import_options:ImportOptions"


def feed_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How a feed is read: ``--profile`` to ``--photos``, named as ``ImportOptions`` names them."""
    options = (
        click.option(
            "--profile",
            cls=FromSignature,
            source=_SOURCE,
            metavar="NAME",
            help="What the feed's columns mean: auto, a profile's name, or a YAML file.",
        ),
        click.option(
            "--encoding", metavar="NAME", help="The feed's encoding, where it is guessed wrong."
        ),
        click.option(
            "--delimiter",
            metavar="CHARACTER",
            help="What parts its columns, where it is guessed wrong.",
        ),
        click.option(
            "--currency", metavar="CODE", help="Of amounts that name none, such as EUR or USD."
        ),
        click.option(
            "--taxonomy-file",
            type=AnyPath,
            metavar="FILE",
            help="Names of Google's numbered categories, as its taxonomy-with-ids file has them.",
        ),
        click.option(
            "--photos-root",
            type=AnyPath,
            metavar="DIR",
            help="Where photos lie that the feed names by path; beside the feed without it.",
        ),
        click.option(
            "--photos",
            type=click.Choice(["copy", "reference", "forget"]),
            cls=FromSignature,
            source=_SOURCE,
            help="Copy the photos into the home, refer to them where they are, or keep vectors and "
            "thumbnails only.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command
