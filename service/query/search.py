"""Search: a question with its filter, weights and pages, to ranked products with what their scores
are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from indexer.catalog.filters import Filter
from indexer.catalog.records import Product
from indexer.catalog.store import Catalog
from indexer.classification.ranking import category_logits, rank_categories
from indexer.core.errors import BadRequestError
from indexer.core.timer import StageTimer
from indexer.index.hybrid_ranking import KeywordShare, ranked, recolour_weights
from indexer.index.product_hits import ProductHits
from indexer.index.query import (
    VectorQuery,
    check_mix,
    drop_near_duplicates,
    search_params,
    vector_query,
)
from service.query.cursors import Cursor, fingerprint
from service.query.filters import FilterParser
from service.query.query import Query, SearchOptions, fingerprint_fields
from service.query.response import result
from service.query.search_cache import SearchCache
from service.query.text import TextQueryParser, mixed
from service.state.snapshots import Snapshot

LONGEST = 1000  # products in one answer

Hit = tuple[int, int, float]  # pid, photo_id, score
Inputs = Callable[[Snapshot, "Query", StageTimer], tuple[dict[str, np.ndarray], set[int]]]


class Searcher:
    """Part of the engine. ``inputs`` gives a source's embeddings by name, ``answer`` frames what is
    answered."""

    def __init__(
        self,
        catalog: Catalog,
        filtering: FilterParser,
        texting: TextQueryParser,
        *,
        inputs: Inputs,
        answer: Callable[..., dict[str, Any]],
    ) -> None:
        self._catalog, self._filtering, self._texting = catalog, filtering, texting
        self._inputs, self._answer = inputs, answer

    def search(
        self,
        snapshot: Snapshot,
        source: Query,
        wanted: SearchOptions,
        clock: StageTimer,
        near: SearchCache | None = None,
    ) -> dict[str, Any]:
        """As ``SearchEngine.search``; ``near`` as for all questions of one request."""
        asked = fingerprint(fingerprint_fields(source, wanted))
        cursor = self._cursor(snapshot, wanted.cursor, asked)
        where = None if wanted.filter is None else self._filtering.read(snapshot, wanted.filter)
        sought, keywords, own, unknown = self._sought(snapshot, source, wanted, clock)
        hidden = {pid for pid in map(self._catalog.pid, wanted.exclude) if pid is not None} | own
        with clock.stage("search"):
            page = self._page(snapshot, sought, keywords, wanted, hidden, where, cursor, near)
        with clock.stage("describe"):
            results = []
            alone = (
                sought is not None
                and len(sought.inputs) == 1
                and sought.weights is None
                and keywords is None
            )
            explained = _by_block(sought) if wanted.explain and sought is not None else None
            shown = [] if alone and explained is None else page.hits
            vectors, there = snapshot.live.vectors_at(
                [pid for pid, _, _ in shown], [photo for _, photo, _ in shown]
            )
            for place, (pid, photo_id, score) in enumerate(page.hits):
                product = page.products[pid]
                photo = product.photos[product.photo_ids.index(photo_id)]
                signals: dict[str, float] = {}
                if sought is not None:
                    plain = alone or not there[place]
                    signals = (
                        {name: score for name in sought.inputs}
                        if plain
                        else sought.signals(vectors[place])
                    )
                    if explained is not None and there[place]:
                        signals = {**explained.signals(vectors[place]), **signals}
                if keywords is not None:
                    signals["keywords"] = keywords.score(pid)
                results.append(result(product, photo, score, signals))
        after = None
        if page.more:
            pid, _, score = page.hits[-1]
            after = Cursor(
                snapshot.index_version, snapshot.live.sequence, score, pid, page.depth, asked
            ).text()
        told = {} if source.text is None else {"unknown_words": unknown}
        return self._answer(snapshot, clock, results=results, next_cursor=after, **told)

    def _sought(
        self, snapshot: Snapshot, source: Query, wanted: SearchOptions, clock: StageTimer
    ) -> tuple[VectorQuery | None, KeywordShare | None, set[int], list[str]]:
        """The question to the index, the one to the keywords, the pids it is about, and words
        nobody knows."""
        blocks = snapshot.bundle.spec.blocks
        if source.text is None:
            inputs, own = self._inputs(snapshot, source, clock)
            return (
                vector_query(inputs, blocks, mix=wanted.mix, weights=wanted.weights),
                None,
                own,
                [],
            )
        inputs, own = {}, set()
        if source.image is not None or source.product_id is not None:
            inputs, own = self._inputs(snapshot, source, clock)
        with clock.stage("text"):
            asked = self._texting.read(snapshot, source.text)
        names = [*inputs, "text"]
        shares = check_mix(dict.fromkeys(names, 1.0) if wanted.mix is None else wanted.mix, names)
        inputs, mix, keywords, recoloured = mixed(
            asked, inputs, shares, blocks, lambda vectors: _kind(snapshot, vectors)
        )
        if not inputs:
            return None, keywords, own, asked.unknown
        weights = wanted.weights
        if recoloured and weights is None:
            weights = recolour_weights(blocks)
        return vector_query(inputs, blocks, mix=mix, weights=weights), keywords, own, asked.unknown

    def _cursor(self, snapshot: Snapshot, text: str | None, asked: str) -> Cursor | None:
        if text is None:
            return None
        cursor = Cursor.read(text)
        if cursor.question != asked:
            raise BadRequestError(
                "cursor belongs to another question: repeat all that was asked but k, or begin anew"
            )
        if cursor.version != snapshot.index_version:
            raise BadRequestError(
                f"cursor is of index version {cursor.version}, version asks for "
                f"{snapshot.index_version}: leave it out"
            )
        return cursor

    def _page(
        self,
        snapshot: Snapshot,
        sought: VectorQuery | None,
        keywords: KeywordShare | None,
        wanted: SearchOptions,
        hidden: set[int],
        where: Filter | None,
        cursor: Cursor | None,
        near: SearchCache | None,
    ) -> _Page:
        """One page; always min(k, what is left after it, counted after collapse) hits."""
        # One more than asked for tells whether there is another page.
        depth = wanted.k + 1 + (cursor.depth if cursor else 0)
        params = None if sought is None or sought.weights is None else search_params(sought.weights)
        plain = where is None and wanted.min_score is None and keywords is None
        while True:
            if near is not None and plain and sought is not None and len(sought.queries) == 1:
                found = near.search(snapshot.live, sought.queries[0], depth, hidden, params)
                found = replace(found, scores=np.minimum(found.scores * sought.lengths[0], 1.0))
            else:
                found = ranked(
                    snapshot.live,
                    sought,
                    keywords,
                    depth,
                    exclude=hidden,
                    min_score=wanted.min_score,
                    where=where,
                    params=params,
                )
            kept = _collapsed(snapshot, found, wanted.collapse)
            hits = replace(
                found,
                pids=found.pids[kept],
                photo_ids=found.photo_ids[kept],
                scores=found.scores[kept],
            )
            start = cursor.passed(hits) if cursor else 0
            if len(hits) - start <= wanted.k and len(found) == depth:
                depth *= 2  # too many were collapsed
                continue
            shown = slice(start, start + wanted.k)
            products = self._catalog.by_pids(hits.pids[shown].tolist(), tags=where is not None)
            listed = list(
                zip(
                    hits.pids[shown].tolist(),
                    hits.photo_ids[shown].tolist(),
                    hits.scores[shown].tolist(),
                    strict=True,
                )
            )
            # Written by another process a moment ago, not yet seen by the index: look further.
            gone = {
                pid
                for pid, photo_id, _ in listed
                if pid not in products
                or photo_id not in products[pid].photo_ids
                or (where is not None and not where.matches(products[pid]))
            }
            if gone:
                hidden = hidden | gone
                continue
            reached = int(kept[start + len(listed) - 1]) + 1 if listed else 0
            return _Page(listed, products, len(hits) > start + wanted.k, reached)


@dataclass(frozen=True)
class _Page:
    hits: list[Hit]
    products: dict[int, Product]
    more: bool  # whether there is another page
    depth: int  # products ranked down to the last hit, collapsed ones among them


def _by_block(sought: VectorQuery) -> VectorQuery:
    """The same question, whose ``signals`` hold each block's cosine too."""
    stored = {block.name: block.weight for block in sought.blocks if block.weight > 0}
    return sought if sought.weights is not None else replace(sought, weights=stored)


def _kind(snapshot: Snapshot, vectors: np.ndarray) -> str | None:
    """The category that the model reads from a product's photos; None where it knows none."""
    decision = snapshot.bundle.decision
    if not decision.categories:
        return None
    head = snapshot.embedder.logits(vectors).get("category")
    ((category, _),) = rank_categories(
        category_logits(head, vectors, decision).mean(axis=0), decision, top=1
    )
    return str(category.path[-1])


def _collapsed(snapshot: Snapshot, hits: ProductHits, how: str) -> np.ndarray:
    """Places of the hits that stay: of those that show the same photo, or nearly the same, the
    first."""
    if how == "none":
        return np.arange(len(hits))
    _, first = np.unique(hits.photo_ids, return_index=True)
    kept = np.sort(first)
    if how == "same_photo" or not len(kept):
        return kept
    # What was deleted a moment ago is zero, so nobody's duplicate.
    vectors, _ = snapshot.live.vectors_at(hits.pids[kept], hits.photo_ids[kept])
    return np.asarray(kept[drop_near_duplicates(vectors)])
