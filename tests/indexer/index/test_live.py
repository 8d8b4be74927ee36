"""The live index against a plain Python model: every write is seen at once, whole, and costs no
product its place."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.core.errors import BadRequestError, BadVectorsError, UnknownProductError
from indexer.core.home import Home
from indexer.index.faiss_index import FaissIndex
from indexer.index.live import LiveIndex
from indexer.index.live_state import ROOM
from indexer.index.product_hits import ProductHits
from indexer.index.version import Versions
from indexer.index.version_files import IndexVersion, NewVersion
from tests.indexer.index.conftest import clustered, unit

DIM = 8
Shop = dict[
    int, list[tuple[int, np.ndarray]]
]  # pid -> its (photo id, float16 vector), the model's whole state


def base_of(folder: Path, shop: Shop, *, recipe: str = "Flat", sequence: int = 0) -> IndexVersion:
    """A published version of the shop."""
    home = Home(folder) if (folder / "home.json").exists() else Home.create(folder)
    entries = [(pid, photo, vector) for pid in sorted(shop) for photo, vector in shop[pid]]
    vectors = np.array([vector for _, _, vector in entries], dtype=np.float16).reshape(
        len(entries), DIM
    )
    rows = np.array([(pid, photo) for pid, photo, _ in entries], dtype=np.int64).reshape(
        len(entries), 2
    )
    index = FaissIndex.build(recipe, vectors)
    version = Versions(home).publish(
        NewVersion(
            index=index,
            vectors=vectors,
            rows=rows,
            embedding_id="e",
            model_version="m",
            last_sequence=sequence,
            recipe=recipe,
            params={"nprobe": {"10": 8, "100": 8}, "rerank": 8},
        )
    )
    return Versions(home).open(version)


def answer(
    shop: Shop, query: np.ndarray, k: int, exclude: set[int] | None = None, min_score: float = -2.0
) -> list[tuple[int, int, float]]:
    """The definition: each product by its best photo; score descending, then pid."""
    best = []
    for pid, photos in shop.items():
        if photos and pid not in (exclude or set()):
            scores = [
                (round(-float(v.astype(np.float64) @ query.astype(np.float64)), 9), p)
                for p, v in photos
            ]
            score, photo = min(scores)
            if -score >= min_score:
                best.append((score, pid, photo))
    return [(pid, photo, min(1.0, -score)) for score, pid, photo in sorted(best)[:k]]


def assert_same(hits: ProductHits, expected: list[tuple[int, int, float]]) -> None:
    assert hits.pids.tolist() == [pid for pid, _, _ in expected]
    assert hits.photo_ids.tolist() == [photo for _, photo, _ in expected]
    np.testing.assert_allclose(hits.scores, [score for _, _, score in expected], atol=2e-6)
    assert hits.scores.dtype == np.float32


def corpus() -> np.ndarray:
    """Vectors so few and so far apart that ties are exact and everything else is clear: float16
    [12, 8]."""
    rng = np.random.default_rng(4)
    return unit(rng.standard_normal((12, DIM))).astype(np.float16)


CORPUS = corpus()
QUERIES = unit(np.random.default_rng(8).standard_normal((3, DIM)))

photos = st.lists(st.integers(0, len(CORPUS) - 1), min_size=1, max_size=3)
write = st.tuples(
    st.integers(1, 12), st.one_of(st.none(), photos)
)  # pid, its photos' vectors; None deletes
batch = st.lists(write, min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(
    first=st.lists(st.tuples(st.integers(1, 9), photos), max_size=8),
    batches=st.lists(batch, max_size=6),
    data=st.data(),
)
def test_random_writes_answer_like_a_plain_dictionary(
    first: list[tuple[int, list[int]]],
    batches: list[list[tuple[int, list[int] | None]]],
    data: st.DataObject,
) -> None:
    """After any upserts and deletes, before and after a rebuild: same products, photos, scores and
    order."""
    number = iter(range(1, 10**6))
    shop: Shop = {pid: [(next(number), CORPUS[v]) for v in vectors] for pid, vectors in first}
    with tempfile.TemporaryDirectory() as folder:
        live = LiveIndex(base_of(Path(folder), shop))
        for sequence, writes in enumerate(batches, start=1):
            upserts, deletes = {}, []
            for pid, vectors in dict(writes).items():
                if vectors is None:
                    deletes.append(pid)
                    shop.pop(pid, None)
                else:
                    shop[pid] = [(next(number), CORPUS[v]) for v in vectors]
                    upserts[pid] = (
                        [p for p, _ in shop[pid]],
                        np.array([v for _, v in shop[pid]], dtype=np.float32),
                    )
            live.apply(sequence=sequence, upserts=upserts, deletes=deletes)
            check(live, shop, data)
            assert live.sequence == sequence
        rebuilt = LiveIndex(base_of(Path(folder), shop, sequence=live.sequence))
        check(rebuilt, shop, data)
        assert rebuilt.delta_size == 0
        for query in QUERIES:
            before, after = live.search(query[None], 20)[0], rebuilt.search(query[None], 20)[0]
            assert (
                before.scores.tolist() == after.scores.tolist()
            )  # a rebuild changes no score, not by one bit


def check(live: LiveIndex, shop: Shop, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, 15), label="k")
    exclude = data.draw(st.sets(st.integers(1, 12), max_size=3), label="exclude")
    assert live.product_count == len(shop)
    for query, hits in zip(QUERIES, live.search(QUERIES, k, exclude=exclude), strict=True):
        assert_same(hits, answer(shop, query, k, exclude))
    for query, hits in zip(QUERIES, live.search(QUERIES, k, min_score=0.25), strict=True):
        assert_same(hits, answer(shop, query, k, min_score=0.25))
    for pid in range(1, 13):
        if pid in shop:
            photo_ids, vectors = live.vectors_of(pid)
            assert photo_ids.tolist() == [photo for photo, _ in shop[pid]]
            np.testing.assert_array_equal(
                vectors, np.array([v for _, v in shop[pid]], dtype=np.float32)
            )
        else:
            with pytest.raises(UnknownProductError):
                live.vectors_of(pid)


def many(n: int, per_product: int, seed: int = 0) -> Shop:
    vectors = clustered(n * per_product, DIM, seed)
    return {
        pid: [(pid * 100 + i, vectors[(pid - 1) * per_product + i]) for i in range(per_product)]
        for pid in range(1, n + 1)
    }


@pytest.mark.parametrize("recipe", ["Flat", "IVF8,SQ8"])
@pytest.mark.parametrize("k", [1, 10, 299, 300, 1000])
def test_always_min_k_products(tmp_path: Path, recipe: str, k: int) -> None:
    """Products with many photos, one of them with most, do not push others out of the list."""
    shop = many(300, 2)
    shop[1] = [(100 + i, vector) for i, vector in enumerate(clustered(400, DIM, seed=9))]
    live = LiveIndex(base_of(tmp_path, shop, recipe=recipe))
    query = shop[1][0][1].astype(np.float32)
    hits = live.search(query[None], k)[0]
    assert len(hits) == len(set(hits.pids.tolist())) == min(k, 300)
    assert set(hits.pids.tolist()) <= set(shop)
    assert hits.pids[0] == 1, "the product whose photo was asked with"
    if recipe == "Flat":
        assert_same(hits, answer(shop, query, k))


def test_best_photo_stands_for_its_product(tmp_path: Path) -> None:
    """A product is found by whichever of its photos is nearest, and that photo is named."""
    live = LiveIndex(
        base_of(
            tmp_path,
            {pid: [(10 * pid + i, CORPUS[4 * pid + i]) for i in range(4)] for pid in range(3)},
        )
    )
    for pid in range(3):
        for i in range(4):
            hits = live.search(CORPUS[4 * pid + i].astype(np.float32)[None], 1)[0]
            assert (hits.pids.tolist(), hits.photo_ids.tolist()) == ([pid], [10 * pid + i])


def test_identical_photo_scores_one(tmp_path: Path) -> None:
    """The score of a photo with itself is 1 to within the rounding of halves, never above, in base
    and delta alike."""
    live = LiveIndex(base_of(tmp_path, {1: [(1, CORPUS[0])], 2: [(2, CORPUS[1])]}))
    exact = unit(np.random.default_rng(1).standard_normal((50, DIM)))
    live.apply(sequence=1, upserts={10 + i: ([i], exact[i : i + 1]) for i in range(50)})
    for i, hits in enumerate(live.search(exact, 1)):
        assert hits.pids[0] == 10 + i
        assert 0.999 <= hits.scores[0] <= 1.0


def test_shared_photos_tie_by_pid_across_base_and_delta(tmp_path: Path) -> None:
    """Products with the same photo all come, in order of pid, wherever they are stored and however
    many they are."""
    shop: Shop = {pid: [(7, CORPUS[0])] for pid in range(1, 200, 2)}
    live = LiveIndex(base_of(tmp_path, shop))
    live.apply(
        sequence=1, upserts={pid: ([7], CORPUS[:1].astype(np.float32)) for pid in range(0, 200, 2)}
    )
    for k in (1, 5, 60):
        hits = live.search(CORPUS[:1].astype(np.float32), k)[0]
        assert hits.pids.tolist() == list(range(k))
        assert len(set(hits.scores.tolist())) == 1


def test_ties_beyond_the_first_look_come_before_later_products(tmp_path: Path) -> None:
    """Where the first rows of a long tie are excluded, its later ones still come before a newer
    product."""
    live = LiveIndex(base_of(tmp_path, {pid: [(7, CORPUS[0])] for pid in range(1, 60)}))
    same = CORPUS[:1].astype(np.float32)
    live.apply(sequence=1, upserts={pid: ([7], same) for pid in range(1000, 1010)})
    assert live.search(same, 5, exclude=range(1, 20))[0].pids.tolist() == [20, 21, 22, 23, 24]


def test_min_score_cuts_no_list_short(tmp_path: Path) -> None:
    """A limit that all products reach changes nothing, even where one product holds all the nearest
    photos."""
    shop = many(50, 1)
    shop[1] = [(100 + i, shop[1][0][1]) for i in range(90)]
    live = LiveIndex(base_of(tmp_path, shop))
    query = shop[1][0][1].astype(np.float32)
    assert len(live.search(query[None], 30, min_score=-1.0)[0]) == 30
    found = live.search(query[None], 50, min_score=0.5)[0]
    assert_same(found, answer(shop, query, 50, min_score=0.5))
    assert 0 < len(found) < 50


def test_emptied_index_gives_nothing_and_fills_again(tmp_path: Path) -> None:
    """All products deleted: no hits, no error; the next upsert is found."""
    live = LiveIndex(base_of(tmp_path, many(40, 2)))
    live.apply(sequence=1, upserts={}, deletes=range(1, 41))
    assert (live.product_count, live.delta_size) == (0, 0)
    assert len(live.search(QUERIES, 5)[0]) == 0
    live.apply(sequence=2, upserts={41: ([1], QUERIES[:1])})
    assert live.search(QUERIES[:1], 5)[0].pids.tolist() == [41]


def test_bad_vectors_change_nothing(tmp_path: Path) -> None:
    """One bad product in a batch refuses the batch, named; the state is the one before."""
    live = LiveIndex(base_of(tmp_path, many(5, 1)))
    before = live.search(QUERIES, 5)
    for wrong in (
        QUERIES[:1] * 2,
        np.full((1, DIM), np.nan, np.float32),
        np.ones((1, DIM + 1), np.float32),
    ):
        with pytest.raises(BadVectorsError, match="product 77"):
            live.apply(sequence=1, upserts={76: ([1], QUERIES[:1]), 77: ([2], wrong)})
    with pytest.raises(BadVectorsError, match="2 photo ids for 1 vectors"):
        live.apply(sequence=1, upserts={77: ([1, 2], QUERIES[:1])})
    assert live.sequence == 0
    assert [hits.pids.tolist() for hits in live.search(QUERIES, 5)] == [
        hits.pids.tolist() for hits in before
    ]


def test_sequence_never_goes_back(tmp_path: Path) -> None:
    """Writes come in the order of the log."""
    live = LiveIndex(base_of(tmp_path, many(5, 1), sequence=10))
    assert live.sequence == 10
    live.apply(sequence=12, upserts={})
    with pytest.raises(BadRequestError, match="12"):
        live.apply(sequence=11, upserts={}, deletes=[1])
    assert live.product_count == 5


def test_bad_questions_are_refused(tmp_path: Path) -> None:
    """k below 1 and vectors of another length."""
    live = LiveIndex(base_of(tmp_path, many(5, 1)))
    with pytest.raises(BadRequestError, match="k must be at least 1"):
        live.search(QUERIES, 0)
    with pytest.raises(BadVectorsError, match="D=8"):
        live.search(np.ones((1, 9), np.float32), 1)


def test_delta_is_compacted_and_keeps_its_answers(tmp_path: Path) -> None:
    """Rewriting the same products again and again does not grow the delta without bound."""
    shop: Shop = {}
    live = LiveIndex(base_of(tmp_path, shop))
    rng = np.random.default_rng(2)
    for sequence in range(1, 400):
        pid = int(rng.integers(1, 40))
        vectors = unit(rng.standard_normal((3, DIM)))
        shop[pid] = [(sequence * 10 + i, v.astype(np.float16)) for i, v in enumerate(vectors)]
        live.apply(sequence=sequence, upserts={pid: ([p for p, _ in shop[pid]], vectors)})
    assert live.delta_size == sum(len(photos) for photos in shop.values())
    assert live._state.used <= 2 * max(ROOM, live.delta_size)
    for query in QUERIES:
        assert_same(live.search(query[None], 10)[0], answer(shop, query, 10))


def test_searches_see_whole_writes_only(tmp_path: Path) -> None:
    """Under a writer that swaps two products' photos in one write, no search ever sees both with
    the same photo."""
    live = LiveIndex(base_of(tmp_path, {1: [(1, CORPUS[0])], 2: [(2, CORPUS[1])]}))
    pair = CORPUS[:2].astype(np.float32)
    stop, wrong = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            first, second = live.search(pair, 1)
            found = live.search(pair[:1], 2)[0]
            if (
                len(set(found.scores.tolist())) == 1
                or len(found) != 2
                or {*first.photo_ids, *second.photo_ids} != {1, 2}
            ):
                wrong.append(found)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for sequence in range(1, 600):
        swapped = sequence % 2
        live.apply(
            sequence=sequence,
            upserts={
                1: ([1 + swapped], pair[swapped : swapped + 1]),
                2: ([2 - swapped], pair[1 - swapped : 2 - swapped]),
            },
        )
    stop.set()
    for reader in readers:
        reader.join()
    assert wrong == []
