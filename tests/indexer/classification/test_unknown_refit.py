"""The rule for unknown kinds fits the catalog that it is asked against."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from indexer.classification import unknown_refit
from indexer.classification.local_outlier import CatalogNeighbourhood, local_closeness
from indexer.classification.open_set import (
    closeness,
    fit_unknown,
    rule_logits,
    typicality,
    unknown_score,
)
from indexer.classification.unknown_refit import (
    LEAST,
    NEVER,
    _head_logits,
    catalog_neighbourhood,
    product_closeness,
    refit_unknown,
)
from indexer.core.errors import DamagedIndexError
from indexer.core.home import Home
from indexer.index.faiss_index import FaissIndex
from indexer.index.version import Versions
from indexer.index.version_files import UNKNOWN, NewVersion
from indexer.model.decision_layer import Category, Decision

DIM, KINDS = 32, 6
BLOCK = slice(0, DIM)


def photos(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    block = np.eye(DIM)[labels] + 0.18 * rng.normal(size=(len(labels), DIM))
    return np.asarray(block / np.linalg.norm(block, axis=1, keepdims=True), np.float32)


@pytest.fixture(scope="module")
def rule() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, KINDS, 1500)
    checked = photos(rng.integers(0, KINDS, 300), rng)
    found = fit_unknown(photos(labels, rng), labels, checked, np.zeros((300, KINDS)), general=BLOCK)
    assert found is not None
    return found


def test_a_rule_without_a_probe_reads_the_head_without_the_network() -> None:
    """Of many classes a rule has no probe; torch is not loaded for their head."""

    class Head:
        def logits(self, vectors: np.ndarray) -> dict[str, np.ndarray]:
            return {"category": vectors[:, :2] * 3}

    bundle: Any = SimpleNamespace(numpy_network=Head)
    found = _head_logits(bundle, {"mix": [1.0, 0.0, 1.0, 0.0]}, np.eye(DIM, dtype=np.float32)[:4])
    np.testing.assert_array_equal(found, [[3, 0], [0, 3], [0, 0], [0, 0]])


def refit(
    vectors: np.ndarray,
    rule: dict[str, Any] | None,
    paths: list[Any],
    around: CatalogNeighbourhood | None = None,
) -> Any:
    categories = tuple(Category(number, (f"kind {number}",)) for number in range(KINDS))
    bundle: Any = SimpleNamespace(decision=Decision(categories=categories, unknown=rule))
    products = {pid: SimpleNamespace(category=path) for pid, path in enumerate(paths)}
    catalog: Any = SimpleNamespace(by_pids=lambda pids: {pid: products[pid] for pid in pids})
    rows = np.stack([np.arange(len(vectors))] * 2, 1)
    return refit_unknown(catalog, bundle, rows, vectors.astype(np.float16), around=around)


@pytest.mark.parametrize("count", [50, 200])
def test_a_small_catalog_refuses_as_many_known_photos_as_was_asked(
    rule: dict[str, Any], count: int
) -> None:
    """Of ten catalogs 5% in the mean, where the model's own rule refuses twice that; what is of no
    kind is still told."""
    rng = np.random.default_rng(count)
    alarms, before, caught = [], [], []
    for _ in range(10):
        labels = rng.integers(0, KINDS, count)
        gallery = photos(labels, rng)
        fitted = rule | refit(gallery, rule, [(f"kind {label}",) for label in labels])
        for kinds, found in ((rng.integers(0, KINDS, 200), alarms), (np.full(100, 20), caught)):
            asked = photos(kinds, rng)
            near = closeness(asked, gallery, BLOCK)
            logits = rule_logits(asked, np.empty(0), rule)
            typical = typicality(asked, rule)
            score = unknown_score(logits, near, fitted, typical)
            found.append((score > fitted["threshold"]).mean())
            if found is alarms:
                before.append((score > rule["threshold"]).mean())
    assert 0.03 <= np.mean(alarms) <= 0.07
    assert np.mean(before) > 2 * np.mean(alarms) or count > 50
    assert np.mean(caught) > 0.9


def test_a_catalog_of_some_size_counts_by_its_own_nearest(rule: dict[str, Any]) -> None:
    """Of ten catalogs 5% of known photos in the mean, and what is of no kind is told; a model from
    before, and a small catalog, have the nearest alone."""
    rng = np.random.default_rng(8)
    alarms, caught = [], []
    bundle: Any = SimpleNamespace(decision=Decision(unknown=rule))
    for _ in range(10):
        labels = rng.integers(0, KINDS, 400)
        gallery = photos(labels, rng)
        rows = np.stack([np.arange(400)] * 2, 1)
        around = catalog_neighbourhood(bundle, rows, gallery)
        assert around is not None
        paths = [(f"kind {label}",) for label in labels]
        fitted = rule | refit(gallery, rule, paths, around=around)
        assert fitted["mix"] == rule["local_mix"]
        for kinds, found in ((rng.integers(0, KINDS, 200), alarms), (np.full(100, 20), caught)):
            asked = photos(kinds, rng)
            near = local_closeness(asked, around.products)
            logits = rule_logits(asked, np.empty(0), rule)
            score = unknown_score(logits, near, fitted, typicality(asked, rule))
            found.append((score > fitted["threshold"]).mean())
    assert 0.03 <= np.mean(alarms) <= 0.07
    assert np.mean(caught) > 0.9
    assert catalog_neighbourhood(bundle, rows[:299], gallery[:299]) is None
    before: Any = SimpleNamespace(
        decision=Decision(unknown={k: v for k, v in rule.items() if k != "local_mix"})
    )
    assert catalog_neighbourhood(before, rows, gallery) is None


def test_own_kinds_of_the_shop_that_were_never_taught_do_not_widen_the_rule(
    rule: dict[str, Any],
) -> None:
    """Forty hats of a category that the model does not know: judged are those it knows."""
    rng = np.random.default_rng(3)
    labels = np.concatenate([rng.integers(0, KINDS, 100), np.full(40, 20)])
    paths: list[Any] = [(f"kind {label}",) for label in labels]
    found = refit(photos(labels, rng), rule, paths)
    assert found["products"] == 100
    # Categories of other names, or none, say nothing: all are asked.
    assert refit(photos(labels, rng), rule, [None] * 140)["products"] == 140


def test_too_few_products_call_nothing_unknown(rule: dict[str, Any]) -> None:
    rng = np.random.default_rng(4)
    few = photos(rng.integers(0, KINDS, LEAST - 1), rng)
    assert refit(few, rule, [None] * len(few))["threshold"] == NEVER
    assert refit(few, None, [None] * len(few)) is None


def test_a_product_is_judged_without_itself_and_copies_of_its_photo(rule: dict[str, Any]) -> None:
    """Of several photos of a product the nearest counts, as in search."""
    rng = np.random.default_rng(5)
    vectors = photos(rng.integers(0, KINDS, 40), rng)
    rows = np.stack([np.arange(40) // 2, np.arange(40)], 1)
    rows[2, 1] = rows[0, 1]
    found = product_closeness(rows, vectors, np.array([0]), {**rule, "k": 3})
    cosines = vectors @ vectors[0]
    cosines[[0, 1, 2]] = -1
    best = np.sort(cosines.reshape(20, 2).max(1))[-3:]
    assert found[0] == pytest.approx(best.mean(), abs=1e-5)


def test_a_large_catalog_is_compared_in_portions(
    rule: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of whole products, with the result of one portion, and at a bounded cost of memory."""
    rng = np.random.default_rng(6)
    vectors = photos(rng.integers(0, KINDS, 30_000), rng).astype(np.float16)
    rows = np.stack([np.arange(30_000) // 2, np.arange(30_000)], 1)
    asked = np.arange(0, 400, 2)
    tracemalloc.start()
    found = product_closeness(rows, vectors, asked, rule)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < len(asked) * 10_000 * 6 + 10_000_000
    monkeypatch.setattr(unknown_refit, "_PORTION", 10**6)
    assert found == pytest.approx(product_closeness(rows, vectors, asked, rule), abs=1e-5)


def test_a_version_keeps_what_was_fitted_under_a_checksum(tmp_path: Path) -> None:
    """Versions from before have none."""
    home = Home.create(tmp_path / "home")
    vectors = np.eye(4, DIM, dtype=np.float16)
    versions = Versions(home)

    def publish(unknown: dict[str, Any] | None, around: np.ndarray | None = None) -> str:
        return versions.publish(
            NewVersion(
                index=FaissIndex.build("Flat", vectors, device="cpu"),
                vectors=vectors,
                rows=np.array([[number, number] for number in range(4)]),
                embedding_id="e1",
                model_version="m1",
                last_sequence=4,
                unknown=unknown,
                around=around,
            )
        )

    fitted = {"threshold": 2.5, "products": 4}
    version = publish(fitted)
    assert versions.open(version).unknown == fitted
    assert versions.open(publish(None)).unknown is None
    path = versions.folder / version / UNKNOWN
    path.write_bytes(path.read_bytes().replace(b"2.5", b"0.5"))
    with pytest.raises(DamagedIndexError, match=UNKNOWN):
        versions.open(version)

    local = {"mix": [1.0] * 4, "mean": [0.0] * 4, "spread": [1.0] * 4, "columns": [0, DIM]}
    column = np.array([[0, 0.5], [3, 0.25]])
    opened = versions.open(publish(fitted | local, column))
    assert opened.unknown == fitted | local
    np.testing.assert_array_equal(opened.around, column)
    wrong: tuple[tuple[dict[str, Any], np.ndarray], ...] = (
        ({"mix": [1.0] * 3}, column),
        ({"spread": [0.0] * 4}, column),
        ({"columns": [0, DIM + 1]}, column),
        ({}, column[::-1]),
        ({}, column + np.array([1, 0])),
        ({}, column * np.nan),
    )
    for change, table in wrong:
        with pytest.raises(DamagedIndexError):
            versions.open(publish(fitted | local | change, table))
