"""Promise: a profile's file costs little and ends in one sentence, whatever stands in it."""

from __future__ import annotations

import pytest

from indexer.core.errors import BadDataError
from indexer.feeds.profile import parse_profile

BASE = "name: x\nid: product_id\nphotos: {columns: [image]}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("title: '" + "{any}" * 12 + "Z'\n", "placeholders that stand for anything"),
        ("patterns:\n- columns: '{name}{any}{any}'\n", "placeholders that stand for anything"),
        ("options:\n- {name: size, value: 'size{n}'}\n", "must hold {n}"),
        ("options:\n- {name: size, value: size}\n", "must hold {n}"),
        ("titles: title\n", "must hold {locale}"),
        ("categories:\n- columns: kind\n", "must hold {locale}"),
        ("patterns:\n- columns: size\n", "must hold {name}"),
        ("price: {market_price: price}\n", "must hold {market}"),
        ("aliases: {'title_{locale}': titel}\n", "must hold {locale}"),
        ("title: !!python/object/apply:os.system ['true']\n", "no readable YAML"),
        ("brand: " + ":".join(["59"] * 100_000) + "\n", "a number is too long"),
        ("brand: " + ":".join(["1"] * 500) + ".5\n", "a number is too long"),
        ("brand: " + "9" * 5000 + "\n", "a number is too long"),
        ("title: &a [*a]\n", "title.0"),
        ("title: " + "[" * 1000 + "]" * 1000 + "\n", "no readable YAML"),
    ],
)
def test_what_would_explode_or_fail_later_is_refused_at_once(text: str, said: str) -> None:
    """Names that match in a power of their length, or lack what their rule needs."""
    with pytest.raises(BadDataError, match=said):
        parse_profile(text + BASE, "own.yaml")
