"""Whole numbers beyond all doubles are infinite: no price or stock ends in a traceback."""

from __future__ import annotations

import math

import pytest

from indexer.catalog.product_checks import checked_field
from indexer.core.doubles import as_double
from indexer.core.errors import BadProductError
from indexer.feeds.values import availability

HUGE = 10**400


def test_numbers_beyond_doubles_are_read_as_what_they_are() -> None:
    """JSON holds whole numbers of any length; Python's float() gives them up."""
    assert (as_double(HUGE), as_double(-HUGE), as_double(7)) == (math.inf, -math.inf, 7.0)
    for value in (HUGE, -HUGE):
        with pytest.raises(BadProductError, match="price must be 0 or more"):
            checked_field("price", value)
    assert availability.parse(HUGE) == "in_stock"
