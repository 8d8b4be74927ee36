"""Advice of messages in the words of HTTP: fields and settings, where commands have options."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from service.settings.description import describe_settings
from service.settings.model import Settings

# Of imports and builds: their fields have the names of the options.
_FIELDS = {
    option: option.removeprefix("--").replace("-", "_")
    for option in (
        *("--accept", "--allow-deletes", "--delimiter", "--dry-run", "--encoding", "--feed"),
        *("--fetch", "--model", "--photos", "--profile", "--recall", "--sync", "--types"),
        # Of a training, which no request begins.
        *("--backbone", "--weights", "--no-text-tower"),
    )
}
# Whole phrases first: what a command does another call does, or none.
_PHRASES = (
    (re.compile(r"(?:run )?catalens index build --activate"), "build one (POST /v1/indexes)"),
    (
        re.compile(r"(catalens verify --repair) --home (?:'[^']*'|[^\s;,)]+)"),
        r"\1",
    ),
    # "(max_image_bytes: --max-image-bytes or CATALENS_MAX_IMAGE_BYTES raises it)"
    (re.compile(r"\((\w+): --[a-z-]+ or CATALENS_\w+ raises it"), r"(setting \1 raises it"),
    # "the setting fetch_private, or --fetch-private HOST"
    (re.compile(r"(the setting \w+), or --[a-z-]+ [^\s)]+"), r"\1"),
    (
        re.compile(r"say which it is with --currency, such as --currency [A-Z]+"),
        "say with `map` which column names it",
    ),
    (re.compile(r" \([^()]*: --taxonomy-file\)"), ""),
    # Of all other commands the name is enough: options say where a home lies.
    (
        re.compile(
            r"(catalens(?: [a-z][a-z-]+){1,4}(?: [A-Z]+\b)?)"
            r"(?: --role \w+| --(?!repair\b)[a-z-]+(?: [A-Z]+\b| '/[^']*'| /[^\s;,)]+)?)+"
        ),
        r"\1",
    ),
)
_OPTION = re.compile(r"(?<![\w'\"`-])(--[a-z]+(?:-[a-z]+)*)(?![\w-])")
# Where the documents of jobs have sentences; all else is what somebody's feed holds.
_SENTENCES = frozenset({"reason", "why", "failure", "export", "detail"})


def without_options(text: str) -> str:
    """``text``, which may advise an option of the command line, as an answer over HTTP says it.

    >>> without_options("name it with --delimiter")
    'name it with `delimiter`'
    """
    if "--" not in text:
        return text
    for pattern, instead in _PHRASES:
        text = pattern.sub(instead, text)
    return _OPTION.sub(_name, text)


def reword(document: Any, name: str = "") -> Any:
    """A JSON document with its sentences as ``without_options`` has them."""
    if isinstance(document, dict):
        return {key: reword(value, key) for key, value in document.items()}
    if isinstance(document, list):
        return [reword(value, name) for value in document]
    if isinstance(document, str) and name in _SENTENCES:
        return without_options(document)
    return document


def _name(found: re.Match[str]) -> str:
    option = found[1]
    if option in _FIELDS:
        return f"`{_FIELDS[option]}`"
    setting = _setting_names().get(option)
    return option if setting is None else f"the setting {setting}"


@cache
def _setting_names() -> dict[str, str]:
    described = describe_settings(Settings)
    return {entry.option: name for name, entry in described.items() if entry.option}
