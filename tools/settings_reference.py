"""Table of the service's settings for docs/reference/settings.md, read from their model.

python -m tools.settings_reference  # prints the table
"""

from __future__ import annotations

import json

from pydantic import BaseModel

from service.settings import Settings
from service.settings.description import Setting, describe_settings

HEADER = "| setting | value | default | environment | option | what it does |"


def settings_table() -> str:
    """One row for each setting, in Markdown."""
    rows = [_row(setting) for setting in describe_settings(Settings).values()]
    return "\n".join([HEADER, "|---|---|---|---|---|---|", *rows]) + "\n"


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
    print(settings_table(), end="")
