"""Values of settings: checks of what is given, and the types that apply them."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from indexer.core.errors import BadSettingsError, UrlRefusedError
from indexer.fetch.address_check import check_endpoint, check_host_pattern
from service.settings.description import shorten
from service.settings.public_address import read_public_url

Condition = Mapping[str, Any]
ProfileChanges = Mapping[str, Mapping[str, float]]

_SHORTEST_KEY = 16
# Operators of a condition that bound a range, and those that bound the same side.
_RANGE = ("gt", "gte", "lt", "lte")
_SIDES = (("gt", "gte"), ("lt", "lte"))
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


def to_path(value: object) -> object:
    """A text as a path; anything else as it is."""
    if isinstance(value, str) and not value:
        raise ValueError("must be a path, not empty")
    if isinstance(value, str | Path) and "\0" in str(value):
        raise ValueError("must be a path without NUL")
    return Path(value) if isinstance(value, str) else value


def to_tuple(value: object) -> object:
    """A list as a tuple; anything else as it is."""
    return tuple(value) if isinstance(value, list) else value


def existing_folder(path: Path | None) -> Path | None:
    """The folder, resolved."""
    if path is None:
        return None
    if not path.resolve().is_dir():
        raise ValueError(f"must be an existing folder, not {shorten(str(path))}")
    return path.resolve()


def encoder_name(text: str) -> str:
    """The name of a text encoder, or none."""
    if text and ":" not in text:
        raise ValueError(f"must be package.module:function, not {shorten(repr(text))}")
    return text


def sound_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Keys that are long enough and can be sent."""
    for key in keys:
        if len(key) < _SHORTEST_KEY or not key.isascii() or not key.isprintable() or " " in key:
            raise ValueError(
                f"must hold keys of at least {_SHORTEST_KEY} printable ASCII characters, no spaces"
            )
    return keys


def conditions_of(conditions: tuple[Condition, ...]) -> tuple[Condition, ...]:
    """Conditions of the shape that filters take; whether the catalog has the fields shows later."""
    for condition in conditions:
        field = condition.get("field")
        if not isinstance(field, str) or not field.strip():
            raise ValueError("must be a list of conditions on fields, as filters have them")
        reason = _condition_fault(condition)
        if reason:
            raise ValueError(f"must be conditions as filters have them: {shorten(field)} {reason}")
    return conditions


def _condition_fault(condition: Condition) -> str | None:
    """What is wrong with a condition's operators and values; None where nothing is."""
    given = sorted(set(condition) - {"field"})
    bounded = set(given) <= set(_RANGE) and not any(set(side) <= set(given) for side in _SIDES)
    if given not in (["eq"], ["exists"], ["in"]) and not (given and bounded):
        names = shorten(", ".join(given)) or "none"
        return f"takes one of eq, in, exists, or a range of gt or gte and lt or lte, not {names}"
    if "exists" in condition:
        return None if isinstance(condition["exists"], bool) else "exists must be true or false"
    if "in" in condition and not isinstance(condition["in"], list):
        return "in must be a list"
    values = condition.get("in", [condition[name] for name in given])
    if condition["field"] == "category":
        # A path may be given level by level.
        values = [
            part for value in values for part in (value if isinstance(value, list) else [value])
        ]
    if not all(_is_scalar(value) for value in values):
        return f"{given[0]} must be texts, finite numbers, true or false"
    return None


def _is_scalar(value: object) -> bool:
    if isinstance(value, str):
        return True
    try:
        return isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:
        return False


def endpoints(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Hosts with their ports."""
    try:
        return tuple(map(check_endpoint, texts))
    except UrlRefusedError as error:
        raise ValueError(f"must hold hosts with their ports: {error}") from error


def host_patterns(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Names of hosts, and what is below one."""
    try:
        return tuple(map(check_host_pattern, texts))
    except UrlRefusedError as error:
        raise ValueError(f"must hold host names, or *. and one: {error}") from error


def networks(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Addresses and networks."""
    for text in texts:
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ValueError(
                f"must hold addresses or networks such as 10.0.0.0/8, not {shorten(repr(text))}"
            ) from None
    return texts


def header_name(text: str) -> str:
    """The name of a header, or none."""
    if text and not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,63}", text):
        raise ValueError("must be the name of a header, such as X-Forwarded-Email")
    return text


def public_url_text(value: str) -> str:
    """The address as given, where it is one."""
    read_public_url(value)
    return value


@lru_cache(maxsize=64)  # asked with each request
def is_loopback(host: str) -> bool:
    """True for ``localhost`` and the loopback addresses; any other name may resolve anywhere."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


PathSetting = Annotated[Path, BeforeValidator(to_path)]
TextSetting = Annotated[str, Field(min_length=1)]
TextsSetting = Annotated[tuple[TextSetting, ...], BeforeValidator(to_tuple)]
Conditions = Annotated[
    tuple[Condition, ...], BeforeValidator(to_tuple), AfterValidator(conditions_of)
]


def read_api_keys(path: Path) -> tuple[str, ...]:
    """Keys of a file, one per line; empty lines and lines from ``#`` on are skipped. Raises
    ``BadSettingsError``, which repeats none of them."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise BadSettingsError(f"api key file {path} cannot be read: {error}") from error
    keys = tuple(
        line.strip() for line in lines if line.strip() and not line.strip().startswith("#")
    )
    if not keys:
        raise BadSettingsError(f"api key file {path} holds no key")
    try:
        return sound_keys(keys)
    except ValueError as error:
        raise BadSettingsError(f"api key file {path} {error}") from None
