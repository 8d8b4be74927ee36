"""The command that runs the service."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from service.settings import Settings, load_settings
from service.settings.description import Setting, describe_settings
from tools.options import AnyPath, JsonObject, NumberRange


class SettingOption(click.Option):
    """The option of one setting, given once at most unless its value is a list."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.several = setting.kind in ("texts", "objects")
        super().__init__(
            [setting.option or "", setting.name],
            type=_option_type(setting),
            multiple=True,
            help=_help(setting),
            metavar={"texts": "NAME", "object": "JSON", "objects": "JSON"}.get(setting.kind),
        )

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        """The value, a tuple of a list; None where the option was not given."""
        found = super().process_value(ctx, value)
        if not found:
            return None
        if self.several:
            return found
        if len(found) > 1:
            raise click.BadParameter(f"given {len(found)} times; give it once", ctx, self)
        return found[0]


def _option_type(setting: Setting) -> click.ParamType:
    if setting.kind == "whole number" and setting.low is not None and setting.high is not None:
        return click.IntRange(int(setting.low), int(setting.high))
    if setting.kind == "number":
        return NumberRange(setting.low, setting.high)
    if setting.kind == "choice":
        return click.Choice(setting.choices)
    types: dict[str, click.ParamType] = {
        "true or false": click.BOOL,
        "path": AnyPath,
        "object": JsonObject(),
        "objects": JsonObject(),
    }
    return types.get(setting.kind, click.STRING)


def _help(setting: Setting) -> str:
    text = setting.help.replace("`", "")
    if setting.kind in ("texts", "objects"):
        text += " Repeatable."
    if setting.default in (None, (), "", {}, False):
        return text
    default = setting.default
    shown = json.dumps(default) if setting.kind == "objects" else str(default)
    return f"{text}  [default: {shown}]"


def settings_options(command: Callable[..., None]) -> Callable[..., None]:
    """One option for each setting that has one, in the order of the table."""
    params = [SettingOption(one) for one in describe_settings(Settings).values() if one.option]
    command.__click_params__ = params[::-1] + getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    return command


@click.command()
@settings_options
@click.option("--config", type=AnyPath, metavar="FILE", help="Settings as TOML, by name.")
def serve(config: Path | None, **options: Any) -> None:
    """Answer over HTTP, with a page at /.

    Every setting can be given by option, by environment (CATALENS_...) or in a TOML file; an option
    goes before the environment, which goes before the file. docs/reference/settings.md lists them.
    """
    from service.app import serve as run

    given = {name: value for name, value in options.items() if value is not None}
    run(load_settings(given, config=config))
