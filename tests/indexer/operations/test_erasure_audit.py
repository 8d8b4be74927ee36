"""Tests of ``indexer.operations.erasure_audit``."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from indexer.model.decision_layer import FewShot
from indexer.operations.erasure_audit import class_removal


@pytest.mark.parametrize(("kind", "category"), [("category", 4), ("tag", None)])
def test_a_class_of_an_erased_photo_names_what_removes_it(kind: Any, category: int | None) -> None:
    """By its id, which fits categories and tags of any label; earlier revisions go by ``gc``."""
    none = np.zeros(2, np.float32)
    entry = FewShot(7, kind, category, None if category else "x", (), 0.0, 0.5, none, none)
    home: Any = SimpleNamespace(
        path=Path("/shop"), active=lambda: SimpleNamespace(model_version="m1")
    )
    serving = class_removal(home, "m1", entry)
    assert serving == (
        f"catalens class remove --id {category or 7} --home /shop, then catalens index gc --home "
        "/shop"
    )
    assert class_removal(home, "m0", entry).startswith("catalens index gc --home /shop")
