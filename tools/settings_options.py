"""Settings of the service that commands follow, and the home that they are for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from tools.options import AnyPath

if TYPE_CHECKING:
    from indexer.core.home import Home
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


def retention_settings(home: Path, config: Path | None) -> Settings:
    """``settings_of`` for the terms of retention. Each that neither environment nor file gives is
    as the service had it that ran last on the home.

    Raises ``BadSettingsError``, ``BadHomeError``.
    """
    from indexer.core.home import Home
    from service.settings import RETENTION_SETTINGS

    settings = settings_of(home, config, RETENTION_SETTINGS)
    opened = Home(settings.home)
    given = settings.model_fields_set
    if given.issuperset(RETENTION_SETTINGS):
        # What the service noted is not asked, so it may be damaged.
        return settings
    last = last_retention(opened)
    return settings.replace(**{name: last[name] for name in last.keys() - given})


def last_retention(home: Home) -> dict[str, float]:
    """The settings of retention as the service had them that ran last on ``home``; none where none
    did. Raises ``BadHomeError``."""
    from indexer.operations.retention_terms import remembered_terms
    from service.settings import RETENTION_SETTINGS

    terms = remembered_terms(home)
    return {} if terms is None else dict(zip(RETENTION_SETTINGS, astuple(terms), strict=True))
