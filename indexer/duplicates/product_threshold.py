"""Fits the ``same_product`` threshold on the catalog itself; stored by embedding."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from indexer.catalog.families import Families
from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.store import Catalog
from indexer.core.atomic_files import read_sealed_json, storage_failure, write_sealed_json
from indexer.core.errors import ReadOnlyError, StorageError
from indexer.core.home import Home
from indexer.duplicates.same_product import (
    LEAST_PHOTOS,
    OWN_PHOTOS,
    RECAPTURES,
    ProductRule,
    product_rule,
)
from indexer.index.recapture_queries import embed_recaptures
from indexer.index.version_files import IndexVersion
from indexer.model.runtime_base import Runtime

_FILE = "duplicates.json"
_FORMAT = 1
# Products with several photos that the threshold is fitted on.
_PRODUCTS = 512
# Photos that are re-captured where too few products have several, which takes the network.
_RECAPTURES = 200
_NEIGHBOURS = 32


@dataclass(frozen=True)
class _Positives:
    """Photos with a second photo of their product."""

    # int64 [n]
    photo_ids: np.ndarray
    # float32 [n, D]
    vectors: np.ndarray
    # float [n], to the nearest other photo of the same product
    cosines: np.ndarray
    # Where the second photos come from.
    origin: str


def load_rule(home: Home, embedding_id: str) -> ProductRule | None:
    """Load the threshold that was fitted last for this embedding; None before."""
    stored = _stored_rules(home).get(embedding_id)
    return None if stored is None else ProductRule(**stored)


def fit_product_rule(
    home: Home,
    catalog: Catalog,
    version: IndexVersion,
    near_same: set[tuple[int, int]],
    network: Callable[[], Runtime] | None,
    families: Families,
) -> ProductRule:
    """Return the stored rule of this index version, or fit and store one.

    ``near_same``: pairs of photo ids, the smaller first, that are nearly one photo and no false
    alarms; variants of one parent are none either. ``network`` opens the network where photos have
    to be re-captured; None leaves that out.
    """
    name = version.manifest.version
    embedding_id = version.manifest.embedding_id
    known = load_rule(home, embedding_id)
    if known is not None and known.version == name and not _lacks_interval(known):
        return known
    positives = _several_photos(version)
    count = len(positives.photo_ids)
    if count < LEAST_PHOTOS:
        if network is None:
            reason = f"only {count} products have several photos"
            return ProductRule(None, reason, photos=count)
        positives = _recaptures(home, catalog, version, network())
    other = _nearest_other_products(version, positives, near_same, families)
    rule = product_rule(positives.cosines, other, positives=positives.origin)
    rule = replace(rule, version=name)
    _store_rule(home, embedding_id, rule)
    return rule


def _lacks_interval(rule: ProductRule) -> bool:
    """Whether a rule was stored before precisions had an interval."""
    return rule.threshold is not None and rule.least_precision is None


def photo_holders(rows: np.ndarray) -> dict[int, list[int]]:
    """Map each photo id of ``rows`` (pid, photo_id) to the pids that have it, ascending."""
    found: defaultdict[int, set[int]] = defaultdict(set)
    for pid, photo_id in rows.tolist():
        found[photo_id].add(pid)
    return {photo_id: sorted(pids) for photo_id, pids in found.items()}


def _stored_rules(home: Home) -> dict[str, Any]:
    try:
        found = read_sealed_json(home.path / _FILE)
        return dict(found["rules"]) if found["format"] == _FORMAT else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}  # derived: it is fitted again


def _store_rule(home: Home, embedding_id: str, rule: ProductRule) -> None:
    """Keep ``rule``; a read-only home keeps none."""
    try:
        # Two that fit rules of different models at once keep both.
        with home.lock("duplicates", wait_s=30.0):
            rules = _stored_rules(home) | {embedding_id: asdict(rule)}
            write_sealed_json(home.path / _FILE, {"format": _FORMAT, "rules": rules})
    except ReadOnlyError:
        return
    except OSError as error:
        failure = storage_failure(home.path / _FILE, error)
        if not isinstance(failure, ReadOnlyError):
            raise StorageError(str(failure)) from error


def _several_photos(version: IndexVersion) -> _Positives:
    """Return the first photo of products that have several."""
    pids, counts = np.unique(version.rows[:, 0], return_counts=True)
    chosen = np.random.default_rng(0).permutation(pids[counts > 1])[:_PRODUCTS]
    ids: list[int] = []
    vectors: list[np.ndarray] = []
    cosines: list[float] = []
    for pid in chosen.tolist():
        start = int(np.searchsorted(version.rows[:, 0], pid))
        stop = int(np.searchsorted(version.rows[:, 0], pid, side="right"))
        own = version.index.vectors(np.arange(start, stop))
        ids.append(int(version.rows[start, 1]))
        vectors.append(own[0])
        cosines.append(float((own[1:] @ own[0]).max()))
    stacked = np.stack(vectors) if vectors else np.empty((0, version.manifest.dim), np.float32)
    return _Positives(np.array(ids, np.int64), stacked, np.array(cosines), OWN_PHOTOS)


def _recaptures(
    home: Home, catalog: Catalog, version: IndexVersion, network: Runtime
) -> _Positives:
    """Return photos of the index as if taken again."""
    of_index = np.unique(version.rows[:, 1])
    photo_ids, vectors = embed_recaptures(
        catalog, PhotoStore(home), network, of_index, limit=_RECAPTURES
    )
    place = {photo_id: row for row, photo_id in enumerate(version.rows[:, 1].tolist())}
    rows = [place[photo_id] for photo_id in photo_ids.tolist()]
    cosines = (vectors * version.index.vectors(rows)).sum(1) if len(photo_ids) else np.empty(0)
    return _Positives(photo_ids, vectors, cosines, RECAPTURES)


def _nearest_other_products(
    version: IndexVersion,
    queries: _Positives,
    near_same: set[tuple[int, int]],
    families: Families,
) -> np.ndarray:
    """Return each query's cosine to the nearest photo of another product, float [n].

    Photos that are nearly the query's own do not count, nor those of variants of its product; -1
    where no other is near.
    """
    if not len(queries.photo_ids):
        return np.empty(0)
    holders = photo_holders(np.asarray(version.rows))
    found: list[float] = []
    hits = version.index.search(queries.vectors, _NEIGHBOURS)
    for photo_id, hit in zip(queries.photo_ids.tolist(), hits, strict=True):
        own = {families.of(pid) for pid in holders[photo_id]}
        nearest = -1.0
        for row, score in zip(hit.rows.tolist(), hit.scores.tolist(), strict=True):
            pid, other = version.rows[row].tolist()
            pair = (min(photo_id, other), max(photo_id, other))
            if families.of(pid) not in own and other != photo_id and pair not in near_same:
                nearest = score
                break
        found.append(nearest)
    return np.array(found)
