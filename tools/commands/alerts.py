"""Command ``alerts``: test of the channels, secret of webhooks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from tools.options import home_option, json_option
from tools.output import print_result, print_secret, print_table
from tools.settings_options import config_option, settings_of


@click.group()
def alerts() -> None:
    """Test and sign what tells people of failures.

    Channels stand in the settings, table [alerts].
    """


@alerts.command("test")
@home_option
@config_option
@json_option
def test(home: Path, config: Path | None, as_json: bool) -> None:
    """Send one message through each channel."""
    from indexer.core.errors import BadSettingsError, CatalensError
    from indexer.core.home import Home
    from service.alerts.alert import Alert, AlertCause
    from service.alerts.channels import AlertNotSentError, open_channels

    settings = settings_of(home, config, ("alerts",))
    opened = Home(settings.home)
    channels = open_channels(opened, settings.alerts)
    if not channels:
        raise BadSettingsError(
            "no channel is set: add [alerts.smtp] or [[alerts.webhooks]] to the settings file and "
            "name it with --config"
        )
    now = time.time()
    cause = AlertCause("test", "test", "A test", "Nothing is wrong: alerts arrive here.")
    rows = []
    for channel in channels:
        try:
            channel.send(Alert(cause, False, now, now, str(opened.path)))
            rows.append({"channel": channel.name, "sent": True, "reason": None})
        except CatalensError as error:
            rows.append({"channel": channel.name, "sent": False, "reason": str(error)})
    print_result({"channels": rows}, as_json, _show)
    failed = [row["reason"] for row in rows if not row["sent"]]
    if failed:
        raise AlertNotSentError(f"{len(failed)} of {len(rows)} not sent: {failed[0]}")


@alerts.command("secret")
@home_option
@click.option("--rotate", is_flag=True, help="Make a new one; the one before signs too for a week.")
@json_option
def secret(home: Path, rotate: bool, as_json: bool) -> None:
    """Print the secret that signs webhooks."""
    from indexer.core.home import Home
    from service.alerts.secret import load_secret, rotating_secret

    if not rotate:
        known = {"secret": load_secret(Home(home)).current}
        print_secret(known, "secret", as_json, otherwise="it stands; run the command again")
        return
    with rotating_secret(Home(home)) as made:
        known = {"secret": made}
        print_secret(
            known, "secret", as_json, otherwise="no new one was made, the one before signs"
        )


def _show(found: dict[str, Any]) -> None:
    rows = [(row["channel"], "sent" if row["sent"] else row["reason"]) for row in found["channels"]]
    print_table(("channel", "test message"), rows)
