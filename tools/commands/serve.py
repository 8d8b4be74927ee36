"""The command that runs the service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tools.options import AnyPath, FromSignature, JsonObject, device_option, given, home_option

SETTINGS = "service.settings:Settings"


@click.command()
@home_option
@click.option(
    "--host",
    cls=FromSignature,
    source=SETTINGS,
    help="Address to listen on; beyond loopback needs keys.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    cls=FromSignature,
    source=SETTINGS,
    help="0: any free port.",
)
@click.option(
    "--api-key-file",
    type=AnyPath,
    help="Keys, one per line; clients send them as Authorization: Bearer.",
)
@click.option(
    "--allow-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME",
    help="Accept this name in Host too; repeatable.",
)
@device_option(SETTINGS)
@click.option(
    "--engine",
    type=click.Choice(["auto", "torch", "compiled", "openvino"]),
    cls=FromSignature,
    source=SETTINGS,
    help="What runs it.",
)
@click.option(
    "--policy",
    "policy_file",
    type=AnyPath,
    help="YAML file of what is prohibited (docs/listing.md).",
)
@click.option(
    "--quality-profile",
    type=click.Choice(["studio", "marketplace"]),
    cls=FromSignature,
    source=SETTINGS,
    help="How strict photos are judged.",
)
@click.option(
    "--quality-floors",
    type=JsonObject(),
    metavar="JSON",
    help="""Changes to it, e.g. '{"blurred": {"fail": 0.9}}'.""",
)
@click.option(
    "--import-root",
    type=AnyPath,
    help="The folder that POST /v1/imports may read from on this machine.",
)
@click.option(
    "--out-of-stock",
    multiple=True,
    type=JsonObject(),
    metavar="JSON",
    help="A condition, as in filters, of what is never recommended; repeatable. [default: in_stock "
    "false, stock 0]",
)
def serve(
    home: Path,
    api_key_file: Path | None,
    allowed_hosts: tuple[str, ...],
    out_of_stock: tuple[dict[str, Any], ...],
    **options: Any,
) -> None:
    """Answer over HTTP, with a page at /."""
    from service.app import serve as run
    from service.settings import Settings, read_api_keys

    keys = read_api_keys(api_key_file) if api_key_file else None
    run(
        Settings.make(
            home=home,
            **given(
                api_keys=keys,
                allowed_hosts=allowed_hosts or None,
                out_of_stock=out_of_stock or None,
                **options,
            ),
        )
    )
