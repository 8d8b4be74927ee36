"""What a value of a product says of a shopper: how rare it is among the products shown."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from service.query import interest_ranking
from service.query.interest_ranking import ValueShares

RED = ("colour", "red")


def columns(count: int) -> Any:
    """A hundred products, of which ``count`` are red."""
    colour = SimpleNamespace(
        field="colour", starts=np.array([0, count]), positions=lambda _values: [0]
    )
    return SimpleNamespace(pids=range(100), facets=lambda: [colour])


def test_shares_of_two_states_at_once_are_not_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one question counts a value in its columns, another one asks with later columns: each
    has its own share, then and afterwards."""
    few, many = columns(1), columns(50)
    shares = ValueShares(cast(Any, None))
    found: list[float] = []
    other = threading.Thread(target=lambda: found.append(shares.share(many, RED)))
    count = interest_ranking._count

    def count_slowly(column: Any, value: str) -> int:
        if threading.current_thread() is not other and not other.ident:
            other.start()
            other.join(0.1)
        return count(column, value)

    monkeypatch.setattr(interest_ranking, "_count", count_slowly)
    assert shares.share(few, RED) == 0.01
    other.join()
    assert found == [0.5]
    assert shares.share(many, RED) == 0.5
    assert shares.share(few, RED) == 0.01
