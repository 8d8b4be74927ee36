"""Settings of the service that commands follow, and the home that they are for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from tools.options import AnyPath

if TYPE_CHECKING:
    from service.settings import Settings

config_option = click.option(
    "--config", type=AnyPath, metavar="FILE", help="TOML file of settings, as for serve."
)


def settings_of(
    home: Path,
    config: Path | None,
    names: Collection[str],
    options: Mapping[str, object] | None = None,
) -> Settings:
    """What ``options``, environment and file say of the settings ``names``, and the home: that of
    ``--home`` or CATALENS_HOME, else that of the file. To be read before anything is changed.

    Raises ``BadSettingsError``, of other settings for a name that is none alone.
    """
    from service.settings import load_settings

    source = click.get_current_context().get_parameter_source("home")
    named = {} if source is ParameterSource.DEFAULT else {"home": home}
    return load_settings({**named, **(options or {})}, config=config, only={"home", *names})
