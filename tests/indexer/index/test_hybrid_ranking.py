"""Words and vectors together: the best of all that pass, however many products hold the words."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.catalog.filters import FilterableProduct, parse_filter
from indexer.index import hybrid_ranking
from indexer.index.filter_columns import FilterColumns
from indexer.index.hybrid_ranking import KeywordShare, rank_hybrid
from indexer.index.live import LiveIndex
from indexer.index.query_weighting import VectorQuery, vector_query
from indexer.model.spec import Block
from indexer.text.keyword_index import KeywordHits
from tests.indexer.index.conftest import clustered, unit
from tests.indexer.index.test_live import DIM, base_of

COUNT = 600
BLOCKS = (Block("g", DIM, 1.0),)
TYPES = {"odd": "bool"}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> LiveIndex:
    """``COUNT`` products of a photo each, of which every 97th is odd; the last 50 were written
    since."""
    vectors = clustered(COUNT, DIM)
    shop = {pid: [(pid, vectors[pid])] for pid in range(COUNT)}
    stored = {pid: photos for pid, photos in shop.items() if pid < COUNT - 50}
    opened = LiveIndex(base_of(tmp_path_factory.mktemp("words") / "home", stored))
    facts = {pid: FilterableProduct(pid, None, (), {"odd": pid % 97 == 0}) for pid in range(COUNT)}
    opened.columns = FilterColumns.build((facts[pid] for pid in stored), opened.products, TYPES)
    newer = {pid: ([pid], vectors[pid][None]) for pid in shop if pid not in stored}
    opened.apply(sequence=1, upserts=newer, facts={pid: facts[pid] for pid in newer})
    return opened


def words(seed: int = 3) -> KeywordHits:
    """All products but the first ten hold the words; many score the same."""
    pids = np.arange(10, COUNT)
    scores = np.random.default_rng(seed).integers(1, 9, len(pids)).astype(np.float32) / 8
    order = np.lexsort((pids, -scores))
    return KeywordHits(pids[order], scores[order], ())


def question(seed: int = 5) -> VectorQuery:
    given = unit(np.random.default_rng(seed).standard_normal((1, DIM)))
    return vector_query({"text": given}, BLOCKS)


def expected(
    live: LiveIndex,
    query: VectorQuery | None,
    hits: KeywordHits,
    share: float,
    passing: np.ndarray,
    min_score: float | None,
) -> list[tuple[int, float]]:
    """The definition, for each product by itself."""
    found = []
    held = dict(zip(hits.pids.tolist(), hits.scores.tolist(), strict=True))
    for pid in passing.tolist():
        if query is None and pid not in held:
            continue
        score = share * held.get(pid, 0.0)
        if query is not None:
            score += (1 - share) * float((query.queries @ live.vectors_of(pid)[1].T).max())
        if min_score is None or score >= min_score:
            found.append((pid, score))
    return sorted(found, key=lambda entry: (-round(entry[1], 5), entry[0]))


@pytest.mark.parametrize("vectors", [True, False])
@pytest.mark.parametrize("min_score", [None, 0.45])
@pytest.mark.parametrize("filtered", [True, False])
@pytest.mark.parametrize("k", [1, 7, 400, 1000])
def test_the_best_of_all_that_pass_are_found(
    live: LiveIndex,
    monkeypatch: pytest.MonkeyPatch,
    vectors: bool,
    min_score: float | None,
    filtered: bool,
    k: int,
) -> None:
    """Always min(k, matches), best first, with the score of words and vectors: no product is cut
    off before the filter, the excluded ones and the least score were looked at."""
    monkeypatch.setattr(hybrid_ranking, "_PORTION", 16)
    raw = {"must": [{"field": "odd", "eq": True}]}
    where = parse_filter(raw, TYPES, pid_of=lambda _: None) if filtered else None
    share = 0.5 if vectors else 1.0
    query, hits = question() if vectors else None, words()
    excluded = {11, 97, 5}
    passing = np.array(
        [pid for pid in range(COUNT) if pid not in excluded and (pid % 97 == 0 or not filtered)]
    )
    found = rank_hybrid(
        live,
        query,
        KeywordShare(hits, share),
        k,
        exclude=excluded,
        min_score=min_score,
        where=where,
    )
    right = expected(live, query, hits, share, passing, min_score)[:k]
    np.testing.assert_allclose(found.scores, [score for _, score in right], atol=1e-5)
    apart = {round(score, 4) for _, score in right}
    if len(apart) == len(right):
        assert found.pids.tolist() == [pid for pid, _ in right]
    assert set(found.pids.tolist()) <= set(passing.tolist())


def test_few_products_with_words_are_scored_where_the_best_are_clear(
    live: LiveIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once no other product can be among the best, no more vectors are read."""
    monkeypatch.setattr(hybrid_ranking, "_PORTION", 16)
    read: list[int] = []
    photos_of = live.photos_of

    def count(pids: np.ndarray, *rest: object) -> object:
        read.append(len(pids))
        return photos_of(pids, *rest)  # type: ignore[arg-type]

    pids = np.arange(COUNT)
    scores = np.linspace(1, 0.001, COUNT).astype(np.float32) ** 4
    monkeypatch.setattr(live, "photos_of", count)
    rank_hybrid(live, question(), KeywordShare(KeywordHits(pids, scores, ()), 0.9), 5)
    assert 16 <= sum(read) <= 64


def test_scores_are_looked_up_by_product() -> None:
    """Of a product without the words it is 0; also of many, in any order."""
    hits = KeywordHits(np.array([7, 3, 9]), np.array([1, 0.5, 0.25], np.float32), ())
    assert hits.scores_of(np.array([9, 4, 3, 100, 7])).tolist() == [0.25, 0, 0.5, 0, 1]
    nothing = KeywordHits(np.empty(0, np.int64), np.empty(0, np.float32), ())
    assert nothing.scores_of(np.array([1, 2])).tolist() == [0, 0]
