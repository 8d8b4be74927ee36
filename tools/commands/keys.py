"""Command ``keys``: who may ask the service, by name and role."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tools.options import NumberRange, home_option, json_option
from tools.output import log, print_result, print_secret, print_table

if TYPE_CHECKING:
    from service.access.keys import AccessKey, NewKey


@click.group()
def keys() -> None:
    """Make and end the keys of the service.

    `catalens serve` follows them without a restart. The home keeps only their hashes.
    """


@keys.command("create")
@click.argument("name")
@home_option
@click.option(
    "--role",
    required=True,
    type=click.Choice(["search", "write", "review", "admin"]),
    help="search: ask, for a shop's page. write: products and imports. review: decide. admin: all.",
)
@click.option(
    "--rate",
    type=NumberRange(min=0, min_open=True),
    metavar="N",
    help="Requests a second of this key; without it, the setting key_rate.",
)
@json_option
def create(name: str, home: Path, role: Any, rate: float | None, as_json: bool) -> None:
    """Make a key.

    NAME is the person or machine that uses it: writes and decisions are logged by it. The key is
    shown once."""
    from indexer.core.home import Home
    from service.access.keys import KeyFile

    with KeyFile(Home(home)).creating(name, role, rate=rate) as made:
        print_secret(made, "key", as_json, otherwise="no key was made")
    _tell(made, as_json)


@keys.command("list")
@home_option
@json_option
def list_(home: Path, as_json: bool) -> None:
    """List the keys, those revoked too."""
    from indexer.core.home import Home
    from indexer.core.home_clock import latest_time
    from service.access.keys import KeyFile

    opened = Home(home)
    now = latest_time(opened)
    found = [_document(key, now) for key in KeyFile(opened).read()]
    print_result({"keys": found}, as_json, _show_keys)


@keys.command("rotate")
@click.argument("name")
@home_option
@click.option(
    "--overlap",
    metavar="PERIOD",
    help="How long the old key is taken beside the new one, such as 15m or 1d; without it, not.",
)
@json_option
def rotate(name: str, home: Path, overlap: str | None, as_json: bool) -> None:
    """Give the key NAME a new secret."""
    from indexer.core.home import Home
    from indexer.operations.sync_source import parse_period
    from service.access.keys import KeyFile

    overlap_s = 0.0 if overlap is None else parse_period(overlap)
    with KeyFile(Home(home)).rotating(name, overlap_s=overlap_s) as made:
        print_secret(made, "key", as_json, otherwise="the key stays as it was")
    _tell(made, as_json)


@keys.command("rate")
@click.argument("name")
@home_option
@click.option(
    "--rate",
    type=NumberRange(min=0, min_open=True),
    metavar="N",
    help="Requests a second from now on; without it, the setting key_rate (a key of the role "
    "admin: no limit).",
)
@json_option
def rate_(name: str, home: Path, rate: float | None, as_json: bool) -> None:
    """Change how often the key NAME may ask."""
    from indexer.core.home import Home
    from indexer.core.home_clock import latest_time
    from service.access.keys import KeyFile

    opened = Home(home)
    changed = _document(KeyFile(opened).set_rate(name, rate), latest_time(opened))
    often = "as often as the setting key_rate says" if rate is None else f"{rate:g} times a second"
    if rate is None and changed["role"] == "admin":
        often = "without a limit"
    print_result(changed, as_json, lambda _: log(f"{name} may ask {often}"))


@keys.command("revoke")
@click.argument("name")
@home_option
@json_option
def revoke(name: str, home: Path, as_json: bool) -> None:
    """End the key NAME now."""
    from indexer.core.home import Home
    from indexer.core.home_clock import latest_time
    from service.access.keys import KeyFile

    opened = Home(home)
    ended = _document(KeyFile(opened).revoke(name), latest_time(opened))
    print_result(ended, as_json, lambda _: log(f"{name} may ask no longer"))


def _document(key: AccessKey, now: float) -> dict[str, Any]:
    ends = [one.until for one in key.secrets if one.until is not None and one.until > now]
    return {
        "name": key.name,
        "role": key.role,
        "rate": key.rate,
        "created": key.created,
        "rotated": key.secrets[-1].made if key.secrets else None,
        "old_until": max(ends, default=None),
        "revoked": key.revoked,
    }


def _tell(made: NewKey, as_json: bool) -> None:
    if not as_json:
        log(f"key of {made.name} ({made.role}); it is shown this once: keep it in a safe place")


def _show_keys(found: dict[str, Any]) -> None:
    rows = [
        (
            key["name"],
            key["role"],
            key["rate"],
            _day(key["created"]),
            _state(key),
        )
        for key in found["keys"]
    ]
    print_table(("name", "role", "rate", "created", ""), rows)


def _state(key: dict[str, Any]) -> str:
    if key["revoked"]:
        return f"revoked {_day(key['revoked'])}"
    if key["old_until"]:
        until = time.strftime("%Y-%m-%d %H:%M", time.localtime(key["old_until"]))
        return f"in use, the secret before too, until {until}"
    return "in use"


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(seconds))
