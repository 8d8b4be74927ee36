"""``bench claims``: what counts as found, and what as wrong."""

from __future__ import annotations

import pytest

from indexer.duplicates.groups import RepeatGroup
from tools.bench import claims


@pytest.mark.parametrize(
    ("products", "found", "wrong"),
    [
        (["7", "7 again"], {"7"}, False),
        (["7 again", "8"], set(), True),
        (["7", "7 again", "8"], {"7"}, True),
    ],
)
def test_a_second_photo_is_found_beside_its_own_product_alone(
    products: list[str], found: set[str], wrong: bool
) -> None:
    """A wrong group of it adds nothing to the recall."""
    group = RepeatGroup("same_product", products, [])
    assert claims._found_again(group) == found
    assert claims._is_wrong(group) is wrong
