"""Click options of the search parameters, derived from ``SearchOptions``."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import click

from tools.options import FILTER_HELP, JsonObject, NumberRange

# Of the state to answer from: a command always answers from the active one.
_LEFT_OUT = ("min_sequence", "version")

# Words for the command line where it says more than the parameter's description.
_HELP = {
    "k": "How many products.",
    "exclude": "Leave out this product; repeatable.",
    "min_score": "Leave out what is less similar.",
    "filter": FILTER_HELP,
    "weights": """How much each block of the embedding counts, e.g. '{"a": 1, "c": 2}'.""",
    "collapse": "Of products with the same photo, or nearly the same, only the best.",
    "explain": "Score each result block by block.",
    "mix": """How much each input counts, e.g. '{"image": 2, "text": 1}'.""",
    "cursor": "The next_cursor of the page before; all else as it was asked there.",
}
_METAVARS = {"exclude": "ID", "cursor": "TEXT"}


class SearchCommand(click.Command):
    """A command that takes every search parameter.

    The options are made when the command itself is parsed or explained: listing commands loads no
    model of parameters.
    """

    @cached_property
    def _search_options(self) -> list[click.Parameter]:
        return search_options()

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The command's own parameters, the search options, ``--help``."""
        *own, last = super().get_params(ctx)
        return [*own, *self._search_options, last]


def search_options() -> list[click.Parameter]:
    """An option for each field of ``SearchOptions``; one that is not given is None or empty."""
    from service.query.query import SearchOptions

    fields = SearchOptions.model_json_schema()["properties"]
    return [search_option(name, field) for name, field in fields.items() if name not in _LEFT_OUT]


def given_parameters(options: dict[str, Any]) -> dict[str, Any]:
    """The search parameters given on the command line, as ``SearchOptions`` takes them."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in options.items()
        if value is not None and value != ()
    }


def search_option(name: str, field: dict[str, Any]) -> click.Option:
    """The option of one parameter by its JSON schema."""
    kind = next((one for one in field.get("anyOf", ()) if one.get("type") != "null"), field)
    help = _HELP.get(name) or field.get("description") or kind.get("description", "")
    flag = f"--{name.replace('_', '-')}"
    if kind.get("type") == "boolean":
        return click.Option([flag, name], is_flag=True, default=None, help=help)
    several = kind.get("type") == "array"
    return click.Option(
        [*([f"-{name}"] if len(name) == 1 else []), flag, name],
        type=_type(kind["items"] if several else kind),
        multiple=several,
        metavar=_METAVARS.get(name),
        help=help,
    )


def _type(kind: dict[str, Any]) -> click.ParamType:
    low, high = kind.get("minimum"), kind.get("maximum")
    if "enum" in kind:
        return click.Choice(kind["enum"])
    types: dict[str, click.ParamType] = {
        "integer": click.IntRange(low, high),
        "number": NumberRange(low, high),
        "object": JsonObject(),
    }
    return types.get(kind.get("type", ""), click.STRING)
