"""Description of settings as data, and messages about wrong ones."""

from __future__ import annotations

import bisect
import difflib
import functools
import tomllib
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticUndefined

PREFIX = "CATALENS_"
# Characters of a wrong value that a message repeats.
ECHO_LENGTH = 80
# Lines of a file, and of one statement in it, up to which the line of a wrong value is looked for.
_LINES_SEARCHED = 2000
_STATEMENT_LINES_SEARCHED = 100

SettingKind = Literal[
    "whole number",
    "number",
    "true or false",
    "choice",
    "text",
    "path",
    "texts",
    "object",
    "objects",
]


@dataclass(frozen=True)
class SettingNames:
    """How a setting is called outside a file, where that is not its own name."""

    option: str | None = None
    variable: str | None = None
    has_option: bool = True


@dataclass(frozen=True)
class Setting:
    """One setting as the model describes it. ``option`` None: it has no option."""

    name: str
    kind: SettingKind
    default: Any
    help: str
    variable: str
    option: str | None
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        """The unit that the name ends in, as a word; empty where it has none."""
        suffixes = {"_s": "seconds", "_ms": "milliseconds", "_bytes": "bytes", "_pixels": "pixels"}
        return next((word for end, word in suffixes.items() if self.name.endswith(end)), "")


@functools.cache
def describe_settings(model: type[BaseModel]) -> Mapping[str, Setting]:
    """Name -> setting, in the model's order."""
    return {name: _describe(name, field) for name, field in model.model_fields.items()}


def _describe(name: str, field: FieldInfo) -> Setting:
    names = next((one for one in field.metadata if isinstance(one, SettingNames)), SettingNames())
    low = next((one.ge for one in field.metadata if hasattr(one, "ge")), None)
    high = next((one.le for one in field.metadata if hasattr(one, "le")), None)
    kind, choices = _kind(field.annotation)
    return Setting(
        name=name,
        kind=kind,
        default=None if field.default is PydanticUndefined else field.default,
        help=field.description or "",
        variable=names.variable or f"{PREFIX}{name.upper()}",
        option=(names.option or f"--{name.replace('_', '-')}") if names.has_option else None,
        low=low,
        high=high,
        choices=choices,
    )


def _kind(annotation: Any) -> tuple[SettingKind, tuple[str, ...]]:
    """What a value is, and the choices where there are some."""
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(one for one in get_args(annotation) if one is not type(None))
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is Literal:
        return "choice", get_args(annotation)
    if get_origin(annotation) is tuple:
        inner = get_args(annotation)[0]
        return ("objects" if get_origin(inner) is Mapping else "texts"), ()
    kinds: dict[Any, SettingKind] = {
        int: "whole number",
        float: "number",
        bool: "true or false",
        str: "text",
        Path: "path",
    }
    return kinds.get(annotation, "object"), ()


@dataclass(frozen=True)
class SettingOrigin:
    """Who gave a setting: a variable or an option by name, or a file with its text."""

    name: str
    text: str | None = None

    def place(self, path: Sequence[int | str]) -> str:
        """The origin, of a file with the line where ``path`` begins, unless it is too long."""
        line = None if self.text is None else _line_of(self.text, path)
        return self.name if line is None else f"{self.name}:{line}"


def place_of(origins: Mapping[str, SettingOrigin], path: Sequence[int | str]) -> str:
    """``serve.toml:12: `` for a message; empty where nobody is known to have given the value."""
    origin = origins.get(str(path[0]))
    return "" if origin is None else f"{origin.place(path)}: "


def fault_message(
    model: type[BaseModel], error: ErrorDetails, origins: Mapping[str, SettingOrigin]
) -> str:
    """One line that says where, which setting and what it must be."""
    name, where = str(error["loc"][0]), place_of(origins, error["loc"])
    if len(error["loc"]) > 1 and name in model.model_fields:
        inner = model.model_fields[name].annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            return f"{where}{_nested_fault(error)}"
    settings = describe_settings(model)
    setting = settings.get(name)
    if setting is None:
        known = ", ".join(sorted(settings))
        near = nearest_name(name, settings)
        return f"{where}unknown setting {shorten(repr(name))}{near or f' (known: {known})'}"
    if error["type"] == "missing":
        return f"{name} is missing"
    if error["type"] == "value_error":
        return f"{where}{name} {error['ctx']['error']}"
    value = "" if name == "api_keys" else f", not {shorten(repr(error['input']))}"
    return f"{where}{name} must be {_expected(setting)}{value}"


def _nested_fault(error: ErrorDetails) -> str:
    """``alerts.smtp.port must be ...``: what is wrong in a setting that is a table."""
    path = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"{path} is missing"
    if error["type"] == "extra_forbidden":
        return f"{path} is unknown"
    if error["type"] == "value_error":
        return f"{path} {error['ctx']['error']}"
    expected = error["msg"].removeprefix("Input should be ")
    # Not its value: it may hold a key.
    return f"{path} must be {expected}"


def _expected(setting: Setting) -> str:
    if setting.kind in ("whole number", "number"):
        range_ = f"from {setting.low} to {setting.high}"
        kind = "a whole number" if setting.kind == "whole number" else "a number"
        return f"{kind} {range_} {setting.unit}".rstrip()
    if setting.kind == "choice":
        *most, last = setting.choices
        return f"{', '.join(most)} or {last}"
    return {
        "true or false": "true or false",
        "text": "a text",
        "path": "a path",
        "texts": "a list of non-empty texts",
        "object": "an object",
        "objects": "a list of objects",
    }[setting.kind]


def nearest_name(name: str, known: Iterable[str]) -> str:
    """`` (did you mean NAME?)``, or nothing where no name is near."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {found[0]}?)" if found else ""


def shorten(text: str, limit: int = ECHO_LENGTH) -> str:
    """Text for a message, cut after ``limit`` characters."""
    return text if len(text) <= limit else f"{text[:limit]}..."


def _line_of(text: str, path: Sequence[int | str]) -> int | None:
    """The line in which the value at ``path``, or what holds it, begins; None in too long a file.

    The first statement is looked for after which the file holds the value.
    """
    values = tomllib.loads(text)
    length = next((n for n in range(len(path), 0, -1) if _holds(values, path[:n])), 0)
    if not length:
        return 1
    lines = text.split("\n")
    ends = _statement_ends(lines)
    if ends is None:
        return None

    def is_held(end: int) -> bool:
        return _holds(tomllib.loads("\n".join(lines[:end]) + "\n"), path[:length])

    found = bisect.bisect_left(ends, True, key=is_held)
    return ends[found - 1] + 1 if found else 1


def _statement_ends(lines: Sequence[str]) -> list[int] | None:
    """How many lines there are up to the end of each statement of a TOML file; None: too many.

    A statement ends where the lines since the one before it are TOML by themselves.
    """
    if len(lines) > _LINES_SEARCHED:
        return None
    ends = []
    start = 0
    for number in range(1, len(lines) + 1):
        try:
            tomllib.loads("\n".join(lines[start:number]) + "\n")
        except tomllib.TOMLDecodeError:
            if number - start >= _STATEMENT_LINES_SEARCHED:
                return None
            continue
        ends.append(number)
        start = number
    return ends


def _holds(values: Any, path: Sequence[int | str]) -> bool:
    for part in path:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            return False
    return True
