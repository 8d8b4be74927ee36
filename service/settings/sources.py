"""Settings from options, environment and a TOML file."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from indexer.core.errors import BadSettingsError
from indexer.core.regular_files import read_small
from service.settings.alerts import nested_paths
from service.settings.description import (
    PREFIX,
    Setting,
    SettingOrigin,
    describe_settings,
    nearest_name,
    shorten,
)
from service.settings.model import Settings

# What else Catalens reads from the environment. Any other name with the prefix is a setting or a
# misspelt one, which is refused.
OTHER_VARIABLES = frozenset(
    {"CATALENS_CACHE", "CATALENS_DATA", "CATALENS_DEBUG", "CATALENS_KILLS", "CATALENS_THREADS"}
)
OTHER_PREFIXES = ("CATALENS_BENCH_", "CATALENS_LIVE_")

# Kubernetes describes each Service to every pod of its namespace: one called catalens, or
# catalens-web, gets such names. https://kubernetes.io/docs/concepts/services-networking/service/
_SERVICE_LINK = re.compile(
    PREFIX + r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)"
)
_SERVICE_ADDRESS_VARIABLE = re.compile(PREFIX + r"(\w+_)?PORT")
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://")

SettingValues = dict[str, Any]

_SWITCHES = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def load_settings(
    options: Mapping[str, object],
    *,
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
    only: Collection[str] | None = None,
) -> Settings:
    """Settings from options (by setting name), environment, file and defaults, in this order.

    ``only``: for a command that follows these settings alone: the others keep their defaults, and
    what is said of them need not fit, such as a host to listen on; a name that is none is refused.

    Raises ``BadSettingsError`` naming the option, the variable, or the file and the line.
    """
    given: SettingValues = {}
    origins: dict[str, SettingOrigin] = {}
    if config is not None:
        text, values = _read_file(config)
        given.update(values)
        origins.update(dict.fromkeys(values, SettingOrigin(str(config), text)))
    for name, value in _read_environment(os.environ if environ is None else environ).items():
        given[name] = value
        origins[name] = SettingOrigin(describe_settings(Settings)[name].variable)
    for name, value in options.items():
        given[name] = value
        origins[name] = SettingOrigin(describe_settings(Settings)[name].option or name)
    if only is not None:
        known = describe_settings(Settings)
        given = {name: value for name, value in given.items() if name in only or name not in known}
    return Settings.model_validate(given, context=origins)


def _read_file(path: Path) -> tuple[str, SettingValues]:
    """The file's text and settings; paths in it are relative to its folder."""
    text = _read_text(path)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadSettingsError(f"{path}:{_toml_fault(text, str(error))}") from error
    except ValueError as error:
        # A number of more digits than Python converts.
        raise BadSettingsError(f"{path}: a value cannot be read: {error}") from error
    except RecursionError as error:
        raise BadSettingsError(f"{path}: a value is nested too deeply") from error
    for name, value in values.items():
        known = describe_settings(Settings).get(name)
        # An empty path is left for the model to refuse.
        if known is not None and known.kind == "path" and isinstance(value, str) and value:
            values[name] = path.parent / value
    for place in nested_paths(Settings):
        if len(place) > 1:
            _resolve_nested(values, place, path.parent)
    return text, values


def _resolve_nested(values: Any, place: tuple[str, ...], folder: Path) -> None:
    """Make the path at ``place`` of nested tables relative to ``folder``, where there is one."""
    *tables, name = place
    for table in tables:
        values = values.get(table) if isinstance(values, dict) else None
    if isinstance(values, dict) and isinstance(values.get(name), str) and values[name]:
        values[name] = str(folder / values[name])


def _read_text(path: Path) -> str:
    """A UTF-8 file without its byte order mark. Lines end as TOML's do: with LF or CRLF alone."""
    try:
        data = read_small(path)
    except (OSError, ValueError) as error:
        raise BadSettingsError(f"settings file {path} cannot be read: {error}") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # Of the bytes that were decoded: those after the mark, where there is one.
        number = error.object.count(b"\n", 0, error.start) + 1
        raise BadSettingsError(
            f"{path}:{number}: settings file cannot be read: {error.reason}; save it as UTF-8"
        ) from error


def _toml_fault(text: str, reason: str) -> str:
    """``LINE: reason`` of a file that is no TOML, or that gives a setting twice."""
    found = re.search(r"\(at line (\d+), column \d+\)$", reason)
    lines = text.removesuffix("\n").split("\n")
    number = int(found[1]) if found else len(lines)
    if "Cannot overwrite" in reason or "Cannot declare" in reason:
        name = lines[number - 1].partition("=")[0].strip(" []\t\r")
        return f"{number}: setting {shorten(repr(name))} is given twice"
    return f"{number}: not TOML: {shorten(reason, 200)}"


def _read_environment(environ: Mapping[str, str]) -> SettingValues:
    """Settings among the variables; an empty one counts as not given."""
    by_variable = {setting.variable: setting for setting in describe_settings(Settings).values()}
    given = {}
    for variable in sorted(environ):
        text = environ[variable]
        if not variable.startswith(PREFIX) or not text or variable in OTHER_VARIABLES:
            continue
        if variable.startswith(OTHER_PREFIXES) or _is_service_link(variable, text):
            continue
        setting = by_variable.get(variable)
        if setting is None:
            near = nearest_name(variable, by_variable)
            raise BadSettingsError(f"{variable}: unknown setting{near}")
        given[setting.name] = _parse(setting, text)
    return given


def _is_service_link(variable: str, text: str) -> bool:
    """Whether Kubernetes set the variable to describe a Service of that name."""
    if _SERVICE_ADDRESS_VARIABLE.fullmatch(variable) and _SERVICE_ADDRESS.match(text):
        return True
    return _SERVICE_LINK.fullmatch(variable) is not None


def _parse(setting: Setting, text: str) -> Any:
    """A variable's text as the setting's kind; as it stands where it does not fit."""
    try:
        if setting.kind == "whole number":
            return int(text)
        if setting.kind == "number":
            return float(text)
        if setting.kind in ("object", "objects"):
            return json.loads(text)
    except (ValueError, RecursionError):
        return text
    if setting.kind == "true or false":
        return _SWITCHES.get(text.lower(), text)
    if setting.kind == "texts":
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return text
