"""The thresholds of ``same_product`` that are kept, one for each embedding."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from indexer.core.home import Home
from indexer.duplicates import product_threshold
from indexer.duplicates.product_threshold import load_rule
from indexer.duplicates.same_product import ProductRule


def test_two_that_fit_rules_at_once_keep_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each reads the file and writes it anew with its own: one at a time."""
    home = Home.create(tmp_path / "home")
    rules = {name: ProductRule(0.9, "", photos=40, version=name) for name in ("e1", "e2")}
    write = product_threshold.write_sealed_json
    other = threading.Thread(target=product_threshold._store_rule, args=(home, "e2", rules["e2"]))

    def write_slowly(path: Path, body: Any) -> None:
        if not other.ident:
            other.start()
            other.join(0.1)
        write(path, body)

    monkeypatch.setattr(product_threshold, "write_sealed_json", write_slowly)
    product_threshold._store_rule(home, "e1", rules["e1"])
    other.join()
    assert {name: load_rule(home, name) for name in rules} == rules
