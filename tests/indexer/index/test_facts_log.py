"""The log of changes judges as a plain dictionary does, wherever it is cut."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.catalog.filters import FilterableProduct, parse_filter
from indexer.index.facts_log import FactsLog


@pytest.mark.parametrize(
    "raw", [{"must": [{"field": "price", "lt": 5}]}, {"must_not": [{"field": "price", "lt": 5}]}]
)
def test_the_last_entry_of_each_product_counts(raw: dict[str, list[dict[str, object]]]) -> None:
    """Any stretch of the log, over segments and their rests: the newest state judges; no facts pass
    no filter."""
    rng = np.random.default_rng(2)
    entries: list[tuple[int, FilterableProduct | None]] = []
    for pid, price in zip(
        rng.integers(1, 400, 1700).tolist(), rng.integers(0, 10, 1700).tolist(), strict=True
    ):
        entries.append(
            (pid, None if price == 3 else FilterableProduct(pid, None, (), {"price": price}))
        )
    log = FactsLog(entries[:100])
    log.extend(entries[100:])
    where = parse_filter(raw, {"price": "number"}, pid_of=lambda _: None)
    for start, stop in (
        (0, 1700),
        (0, 512),
        (0, 511),
        (10, 1699),
        (512, 1536),
        (700, 701),
        (900, 900),
    ):
        latest = dict(entries[start:stop])
        pids, passes = log.evaluate_filter(where, start, stop)
        assert pids.tolist() == sorted(latest)
        found = {pid: facts is not None and where.holds(facts) for pid, facts in latest.items()}
        assert dict(zip(pids.tolist(), passes.tolist(), strict=True)) == found
    assert log.latest(512) == dict(entries[:512])
