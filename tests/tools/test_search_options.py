"""Options of the search parameters: a new parameter needs no edit in tools."""

from __future__ import annotations

from typing import Annotated, Literal

import click
import pytest
from pydantic import BaseModel, Field

from service.query.query import SearchOptions
from tools.search_options import SearchCommand, given_parameters, search_option, search_options


class ToyOptions(BaseModel):
    """Parameters as a later issue may add them."""

    sort: Literal["relevance", "price"] = Field(default="relevance", description="Which first.")
    group_size: Annotated[int, Field(ge=1, le=9)] | None = None
    fields: list[str] = []


@pytest.mark.parametrize(
    ("name", "flags", "given", "refused"),
    [
        ("sort", ["--sort"], "price", "best"),
        ("group_size", ["--group-size"], "9", "10"),
        ("fields", ["--fields"], "a", None),
    ],
)
def test_a_new_parameter_is_an_option(
    name: str, flags: list[str], given: str, refused: str | None
) -> None:
    """Name, range, choice and description come from the model."""
    option = search_option(name, ToyOptions.model_json_schema()["properties"][name])
    assert option.opts == flags
    assert option.help == ("Which first." if name == "sort" else "")
    assert option.type.convert(given, option, None) == (9 if name == "group_size" else given)
    if refused is not None:
        with pytest.raises(click.BadParameter):
            option.type.convert(refused, option, None)


def test_every_parameter_of_a_search_is_an_option_of_similar() -> None:
    """None is missing but those of the state to answer from; a table of help names no other."""
    names = {option.name for option in search_options()}
    assert names == set(SearchOptions.model_fields) - {"min_sequence", "version"}


def test_only_given_parameters_are_passed_on() -> None:
    """What was not given keeps the model's default; a list is a list."""
    command = SearchCommand("similar", callback=given_parameters_of)
    line = ["-k", "5", "--exclude", "a", "--exclude", "b", "--filter", "{}"]
    assert command.main(line, standalone_mode=False) == {
        "k": 5,
        "exclude": ["a", "b"],
        "filter": {},
    }


def given_parameters_of(**options: object) -> dict[str, object]:
    return given_parameters(options)
