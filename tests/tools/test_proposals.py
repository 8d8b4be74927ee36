"""Proposals of an export hold what is sure, whatever else was found."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from service.query.predictions import AttributePrediction
from tools.proposals import _ask


@pytest.mark.parametrize(
    ("confidence", "proposed"), [(0.9, "wool"), (0.5, "wool|silk"), (0.99, None)]
)
def test_a_value_that_is_not_sure_takes_no_sure_one_away(
    confidence: float, proposed: str | None
) -> None:
    """Of a list the values were joined before the unsure ones were left out, and all went."""
    shown = [
        AttributePrediction("fabric", "wool", 0.95),
        AttributePrediction("fabric", "cotton", 0.93),
        AttributePrediction("fabric", "silk", 0.6),
    ]
    seen = SimpleNamespace(categories=[], unknown=False, attributes=shown)
    engine: Any = SimpleNamespace(
        classify=lambda query, top: SimpleNamespace(content=seen),
        tags=lambda query: SimpleNamespace(content=SimpleNamespace(tags=[])),
    )
    product: Any = SimpleNamespace(product_id="a", attributes={"fabric": ["cotton"]})
    found = _ask(engine, product, confidence).at_least(confidence).attributes.get("fabric")
    assert (None if found is None else found.value) == proposed
