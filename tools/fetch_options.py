"""Options of commands that fetch photos by URL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from tools.options import given

if TYPE_CHECKING:
    from indexer.fetch.settings import FetchSettings


def fetch_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--fetch-private``, ``--fetch-host`` and ``--fetch-connections``; the environment's
    settings hold where they are not given."""
    options = (
        click.option(
            "--fetch-private",
            multiple=True,
            metavar="HOST:PORT",
            help="A photo server in a private network that may be asked. Repeatable.",
        ),
        click.option(
            "--fetch-host",
            "fetch_hosts",
            multiple=True,
            metavar="NAME",
            help="Ask only this host, or *.NAME. Repeatable.",
        ),
        click.option(
            "--fetch-connections",
            type=click.IntRange(1, 32),
            metavar="N",
            help="Connections to one photo server.  [default: 4]",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def fetch_settings_of(
    fetch_private: tuple[str, ...], fetch_hosts: tuple[str, ...], fetch_connections: int | None
) -> FetchSettings:
    """What options and environment (``CATALENS_FETCH_...``) say. Raises ``BadSettingsError``."""
    from service.query.photo_urls import FETCH_SETTINGS, fetch_settings
    from service.settings import load_settings

    options = given_settings(fetch_private, fetch_hosts, fetch_connections)
    return fetch_settings(load_settings(options, only=FETCH_SETTINGS))


def given_settings(
    fetch_private: tuple[str, ...], fetch_hosts: tuple[str, ...], fetch_connections: int | None
) -> Mapping[str, object]:
    """The settings that the options give, by name."""
    return given(
        fetch_private=fetch_private or None,
        fetch_hosts=fetch_hosts or None,
        fetch_connections=fetch_connections,
    )
