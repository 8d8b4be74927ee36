"""The service's settings, read from their model: a table for the reference, a file to deploy.

python -m tools.settings_reference         # the table of docs/reference/settings.md
python -m tools.settings_reference --toml  # deploy/catalens.toml
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Mapping

from pydantic import BaseModel

from service.settings import Settings
from service.settings.description import Setting, describe_settings

HEADER = "| setting | value | default | environment | option | what it does |"


def settings_table() -> str:
    """One row for each setting, in Markdown."""
    rows = [_row(setting) for setting in describe_settings(Settings).values()]
    return "\n".join([HEADER, "|---|---|---|---|---|---|", *rows]) + "\n"


def settings_file() -> str:
    """Every setting with its default as a comment, in TOML; what an object holds has a guide."""
    lines = [
        "# Every setting of the service with its default: take the # away to change one.",
        "# For /etc/catalens/catalens.toml of the systemd unit, or: catalens serve --config FILE.",
        "# Made by: python -m tools.settings_reference --toml",
        "",
        'home = "/var/lib/catalens"',
    ]
    for setting in describe_settings(Settings).values():
        if setting.name == "home":
            continue
        lines += ["", *textwrap.wrap(setting.help, 96, initial_indent="# ", subsequent_indent="# ")]
        lines.append(f"# {setting.name} = {_toml(setting)}")
    return "\n".join(lines) + "\n"


def _toml(setting: Setting) -> str:
    if isinstance(setting.default, BaseModel) or setting.kind == "object":
        return "{}"
    if setting.kind == "objects":
        return "[" + ", ".join(map(_table, setting.default)) + "]"
    return json.dumps("PATH" if setting.default is None else setting.default)


def _table(row: Mapping[str, object]) -> str:
    return "{ " + ", ".join(f"{name} = {json.dumps(value)}" for name, value in row.items()) + " }"


def _row(setting: Setting) -> str:
    option = f"`{setting.option}`" if setting.option else "none"
    cells = [f"`{setting.name}`", _value(setting), _default(setting), f"`{setting.variable}`"]
    # A bar inside a cell would end it.
    return (
        "| "
        + " | ".join(cell.replace("|", "\\|") for cell in [*cells, option, setting.help])
        + " |"
    )


def _value(setting: Setting) -> str:
    if setting.choices:
        return ", ".join(f"`{choice}`" for choice in setting.choices)
    named = {"texts": "list of texts", "objects": "list of objects"}
    words = [named.get(setting.kind, setting.kind)]
    if setting.low is not None:
        words.append(f"from {setting.low} to {setting.high}")
    return " ".join([*words, setting.unit]).rstrip()


def _default(setting: Setting) -> str:
    if setting.default in (None, (), "", {}) or isinstance(setting.default, BaseModel):
        return "none"
    if isinstance(setting.default, bool | tuple):
        return f"`{json.dumps(setting.default)}`"
    return f"`{setting.default}`"


if __name__ == "__main__":
    print(settings_file() if "--toml" in sys.argv[1:] else settings_table(), end="")
