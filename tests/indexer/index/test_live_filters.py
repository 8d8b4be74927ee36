"""Filters on the live index against the catalog itself: columns of the version, overlaid by every
write since."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.catalog.filters import Filter, FilterableProduct, facts_of, parse_filter
from indexer.catalog.records import NewPhoto, ProductInput, Tag
from indexer.catalog.store import Catalog
from indexer.core.errors import BadRequestError, DamagedIndexError
from indexer.core.home import Home
from indexer.index import live as module
from indexer.index.faiss_index import FaissIndex
from indexer.index.filter_columns import FilterColumns
from indexer.index.live import LiveIndex
from indexer.index.live_state import ROOM
from indexer.index.version import Versions
from indexer.index.version_files import COLUMNS, NewVersion
from tests.indexer.index.conftest import clustered, queries_near, unit
from tests.indexer.index.test_filter_columns import filters

DIM = 8
VECTORS = unit(np.random.default_rng(4).standard_normal((12, DIM))).astype(np.float16)
QUERIES = unit(np.random.default_rng(8).standard_normal((3, DIM)))
# The types that the filters of test_columns are written for.
TYPES = {
    "colour": "string",
    "price": "number",
    "sale": "bool",
    "since": "datetime",
    "sizes": "list",
}


class Shop:
    """A catalog and the live index over a version of it; each write goes to both as the service
    does it."""

    def __init__(
        self, folder: Path, *, columns: bool = True, types: dict[str, str] = TYPES
    ) -> None:
        self.home = Home.create(folder)
        self.catalog = Catalog.create(folder / "catalog.sqlite3")
        self.catalog.set_types(types)
        self.columns = columns

    def publish(self) -> None:
        sequence, rows = self.catalog.entries()
        vectors = self.vectors([int(photo) for photo in rows[:, 1]])
        columns = FilterColumns.build(
            map(facts_of, self.catalog.iterate()), np.unique(rows[:, 0]), self.catalog.types()
        )
        version = Versions(self.home).publish(
            NewVersion(
                index=FaissIndex.build("Flat", vectors),
                vectors=vectors,
                rows=rows,
                embedding_id="e",
                model_version="m",
                last_sequence=sequence,
                columns=columns if self.columns else None,
            )
        )
        self.live = LiveIndex(Versions(self.home).open(version))
        if not self.columns:
            self.live.columns = columns

    def vectors(self, photo_ids: list[int]) -> np.ndarray:
        rows = self.catalog.photos_by_id(photo_ids)
        places = [int(rows[photo_id].content_hash, 16) for photo_id in photo_ids]
        return VECTORS[places].reshape(len(photo_ids), DIM)

    def put(self, number: int, photos: list[int], fields: dict[str, Any]) -> None:
        hashes = [f"{photo:064x}" for photo in photos]
        rows = [NewPhoto(digest, "PNG", 1, 1, 1, "copy", None) for digest in hashes]
        tags = tuple(Tag(tag, "merchant") for tag in fields["tags"])
        product = ProductInput(
            str(number), None, fields["category"], tags, fields["attributes"], tuple(hashes)
        )
        self.written(self.catalog.put(product, photos=rows).pid, photos_changed=True)

    def patch(self, number: int, attributes: dict[str, Any]) -> None:
        if self.catalog.pid(str(number)) is not None:
            self.written(
                self.catalog.patch(str(number), {"attributes": attributes}).pid,
                photos_changed=False,
            )

    def delete(self, number: int) -> None:
        if self.catalog.pid(str(number)) is not None:
            self.written(self.catalog.delete(str(number)).pid, photos_changed=True)

    def written(self, pid: int, *, photos_changed: bool) -> None:
        if not hasattr(self, "live"):
            return
        held = self.catalog.by_pids([pid])
        upserts = {
            product.pid: (
                product.photo_ids,
                self.vectors(list(product.photo_ids)).astype(np.float32),
            )
            for product in held.values()
            if photos_changed
        }
        self.live.apply(
            sequence=self.catalog.last_sequence(), upserts=upserts, deletes=[] if held else [pid],
            facts=self.catalog.facts([pid]),
        )  # fmt: skip

    def filter(self, raw: object) -> Filter:
        return parse_filter(raw, self.catalog.types(), pid_of=self.catalog.pid)

    def matching(self, where: Filter) -> list[int]:
        return [product.pid for product in self.catalog.iterate() if where.matches(product)]

    def expected(self, where: Filter, query: np.ndarray, k: int) -> list[tuple[int, int]]:
        """The definition, from the catalog alone: each matching product by its best photo, best
        first."""
        best = []
        for product in self.catalog.iterate():
            if where.matches(product):
                scores = self.vectors(list(product.photo_ids)).astype(np.float64) @ query.astype(
                    np.float64
                )
                rounded = [round(-float(score), 9) for score in scores]
                score, photo = min(zip(rounded, product.photo_ids, strict=True))
                best.append((score, product.pid, photo))
        return [(pid, photo) for _, pid, photo in sorted(best)[:k]]

    def check(self, raw: object, k: int) -> None:
        where = self.filter(raw)
        for query, hits in zip(QUERIES, self.live.search(QUERIES, k, where=where), strict=True):
            found = list(zip(hits.pids.tolist(), hits.photo_ids.tolist(), strict=True))
            assert found == self.expected(where, query, k)
        mask, changed = self.live.count_matching(where)
        counted = [*self.live.products[mask].tolist(), *(facts.pid for facts in changed)]
        assert Counter(counted) == Counter(self.matching(where))


fields = st.fixed_dictionaries(
    {
        "category": st.sampled_from([None, ("A",), ("A", "B"), ("B",)]),
        "tags": st.lists(st.sampled_from(["red", "blue"]), unique=True, max_size=2),
        "attributes": st.fixed_dictionaries(
            {},
            optional={
                "colour": st.sampled_from(["red", "blue"]),
                "price": st.sampled_from([0, 1.5, 2]),
                "sale": st.booleans(),
                "since": st.sampled_from(["2024-01-01", "2024-06-01T12:30:00+02:00"]),
                "sizes": st.lists(st.sampled_from(["red", 1.5, True]), max_size=2),
            },
        ),
    }
)
numbers, photos = (
    st.integers(1, 8),
    st.lists(st.integers(0, len(VECTORS) - 1), min_size=1, max_size=3, unique=True),
)
puts = st.tuples(st.just("put"), numbers, photos, fields)
patches = st.tuples(
    st.just("patch"), numbers, st.sampled_from([{"price": 2}, {"price": None}, {"colour": "blue"}])
)
deletes = st.tuples(st.just("delete"), numbers)


@patch("indexer.index.facts_log._SEGMENT", 3)  # so that a few writes are judged by columns
@settings(max_examples=60, deadline=None)
@given(
    first=st.lists(puts, max_size=6),
    later=st.lists(st.one_of(puts, patches, deletes), max_size=10),
    kept=st.lists(filters, min_size=1, max_size=2),
    k=st.integers(1, 10),
)
def test_filters_follow_random_writes(
    first: list[Any], later: list[Any], kept: list[dict[str, Any]], k: int
) -> None:
    """After every put, patch and delete: the same products, photos and order as the catalog's own
    rows give.

    The same filters are asked again and again, so what is remembered of them must follow the
    writes.
    """
    with tempfile.TemporaryDirectory() as folder:
        shop = Shop(Path(folder) / "home")
        for kind, *rest in first:
            getattr(shop, kind)(*rest)
        shop.publish()
        for raw in kept:
            shop.check(raw, k)
        for kind, *rest in later:
            getattr(shop, kind)(*rest)
            shop.check(kept[0], k)
        for raw in [*kept, {}]:
            shop.check(raw, k)
        shop.catalog.close()


@pytest.mark.parametrize("recipe", ["Flat", "IVF16,SQ8"])
@pytest.mark.parametrize("percent", [0.1, 1, 10, 50, 100])
def test_always_min_k_matches_at_every_selectivity(
    tmp_path: Path, recipe: str, percent: float
) -> None:
    """Of 6,000 photos of 3,000 products, any share: exactly min(k, matches) products, all of them
    matching.

    On the exact recipe they are the right ones in the right order.
    """
    count = 3000
    vectors = clustered(2 * count, 16)
    rows = np.stack([np.repeat(np.arange(1, count + 1), 2), np.arange(2 * count)], axis=1)
    matching = round(count * percent / 100)
    marked = set((np.random.default_rng(1).permutation(count)[:matching] + 1).tolist())
    pids = np.arange(1, count + 1)
    columns = FilterColumns.build(
        (
            FilterableProduct(pid, None, ("marked",) if pid in marked else (), {})
            for pid in pids.tolist()
        ),
        pids,
        {},
    )
    home = Home.create(tmp_path / "home")
    version = Versions(home).publish(
        NewVersion(
            index=FaissIndex.build(recipe, vectors),
            vectors=vectors,
            rows=rows,
            embedding_id="e",
            model_version="m",
            last_sequence=0,
            recipe=recipe,
            params={"nprobe": {"10": 2, "100": 4}, "rerank": 4},
            columns=columns,
        )
    )
    live = LiveIndex(Versions(home).open(version))
    where = parse_filter({"must": [{"field": "tags", "eq": "marked"}]}, {}, pid_of=int)
    queries = queries_near(vectors, 5)
    for k in (1, 10, 100, count):
        for query, hits in zip(queries, live.search(queries, k, where=where), strict=True):
            assert len(hits) == len(set(hits.pids.tolist())) == min(k, matching)
            assert set(hits.pids.tolist()) <= marked
            if recipe == "Flat":
                allowed = np.isin(rows[:, 0], list(marked))
                scores = vectors[allowed].astype(np.float64) @ query.astype(np.float64)
                best = np.sort([max(pair) for pair in scores.reshape(-1, 2)])[::-1][:k]
                np.testing.assert_allclose(hits.scores, np.minimum(best, 1.0), atol=2e-6)


def test_queries_of_one_question_give_one_list(tmp_path: Path) -> None:
    """``together``: a product scores the best of the queries, each scaled; as from the separate
    lists."""
    shop = Shop(tmp_path / "home")
    for number in range(1, 9):
        shop.put(
            number, [number, (number + 3) % 12], {"category": None, "tags": [], "attributes": {}}
        )
    shop.publish()
    shop.put(9, [11], {"category": None, "tags": [], "attributes": {}})
    scale = np.array([1.0, 0.5, 0.25], np.float32)
    (together,) = shop.live.search(QUERIES, 5, together=True, scale=scale)
    best: dict[int, float] = {}
    for factor, hits in zip(scale, shop.live.search(QUERIES, 100), strict=True):
        for pid, score in zip(hits.pids.tolist(), hits.scores.tolist(), strict=True):
            best[pid] = max(best.get(pid, -2), score * float(factor))
    ranked = sorted(best.items(), key=lambda entry: (-entry[1], entry[0]))
    assert together.pids.tolist() == [pid for pid, _ in ranked[:5]]
    np.testing.assert_allclose(together.scores, [score for _, score in ranked[:5]], atol=1e-6)
    (bounded,) = shop.live.search(
        QUERIES, 9, together=True, scale=scale, min_score=ranked[3][1] - 1e-6
    )
    assert bounded.pids.tolist() == [pid for pid, _ in ranked[:4]]


def test_a_version_without_columns_still_opens(tmp_path: Path) -> None:
    """An older version answers everything but filters; given columns from the catalog it answers
    those too."""
    shop = Shop(tmp_path / "home", columns=False)
    shop.put(1, [1], {"category": ("A",), "tags": [], "attributes": {"price": 2}})
    shop.publish()
    old = LiveIndex(shop.live.base)
    where = shop.filter({"must": [{"field": "price", "lt": 5}]})
    assert len(old.search(QUERIES[:1], 3)[0]) == 1
    with pytest.raises(BadRequestError, match="without columns"):
        old.search(QUERIES[:1], 3, where=where)
    shop.check({"must": [{"field": "price", "lt": 5}]}, 3)


def test_damaged_columns_are_named(tmp_path: Path) -> None:
    """The file stands under the manifest's checksums: a changed byte is found at verify and at
    open."""
    shop = Shop(tmp_path / "home")
    shop.put(1, [1], {"category": ("A",), "tags": [], "attributes": {"price": 2}})
    shop.publish()
    path = shop.live.base.path / COLUMNS
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    for ask in (Versions(shop.home).verify, Versions(shop.home).open):
        with pytest.raises(DamagedIndexError, match=COLUMNS):
            ask("v000001")


def test_masks_of_many_filters_stay_bounded_and_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More filters than are remembered, asked twice over with writes in between: every answer is
    the catalog's."""
    monkeypatch.setattr(module, "_SELECTIONS_BYTES", 1)
    shop = Shop(tmp_path / "home")
    for number in range(1, 9):
        shop.put(number, [number], {"category": None, "tags": [], "attributes": {"price": number}})
    shop.publish()
    for bound in [*range(1, 9), *range(1, 9)]:
        shop.patch(bound, {"price": 20 + bound})
        shop.check({"must": [{"field": "price", "gte": bound}]}, 10)
    assert len(shop.live._recent) == 4


def test_patching_the_same_products_does_not_grow_the_log(tmp_path: Path) -> None:
    """A price that changes a thousand times is kept once, and filters stay right."""
    shop = Shop(tmp_path / "home")
    shop.put(1, [1], {"category": None, "tags": [], "attributes": {"price": 1}})
    shop.publish()
    pid = shop.catalog.pid("1")
    assert pid is not None
    where = shop.filter({"must": [{"field": "price", "gte": 500}]})
    for price in range(1000):
        shop.live.apply(
            sequence=1, upserts={}, facts={pid: FilterableProduct(pid, None, (), {"price": price})}
        )
        if price % 97 == 0:
            assert len(shop.live.search(QUERIES[:1], 1, where=where)[0]) == (price >= 500)
    assert len(shop.live._state.log) <= ROOM + 1
    assert shop.live.delta_size == 0


def test_few_selections_are_remembered_however_small_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a small catalog fit by the million into the bytes that they may have, with all that
    belongs to them."""
    monkeypatch.setattr(module, "_MOST_SELECTIONS", 3)
    shop = Shop(tmp_path / "home")
    shop.put(1, [1], {"category": None, "tags": [], "attributes": {"price": 1}})
    shop.publish()
    for bound in range(10):
        shop.check({"must": [{"field": "price", "gte": bound}]}, 1)
    assert len(shop.live._recent) == 3
