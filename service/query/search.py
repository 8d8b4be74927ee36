"""Search: a query with its filter, weights and pages to ranked products."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

import numpy as np

from indexer.catalog.records import Product
from indexer.catalog.store import Catalog
from indexer.core.errors import BadRequestError
from indexer.index.filter_columns import BoundFilter
from indexer.index.hybrid_ranking import KeywordShare, rank_hybrid, recolour_weights
from indexer.index.product_hits import ProductHits
from indexer.index.query_weighting import (
    VectorQuery,
    check_mix,
    drop_near_duplicates,
    search_params,
    vector_query,
)
from service.query.classify import most_probable_label
from service.query.context import RequestContext
from service.query.cursors import Cursor, fingerprint
from service.query.filters import FilterParser
from service.query.living import rank_living
from service.query.photo_embedder import EmbeddedQuery
from service.query.query import Query, SearchOptions, fingerprint_fields
from service.query.response import SearchPage, SearchResult
from service.query.text import TextQueryParser, mix_text, replaces_colour
from service.state.snapshot import Snapshot


@dataclass(frozen=True)
class SearchPlan:
    """A search that was checked against a snapshot, before anything is embedded for it."""

    options: SearchOptions
    where: BoundFilter | None
    cursor: Cursor | None
    fingerprint: str


@dataclass(frozen=True)
class _Question:
    """A search as the index and the keywords take it."""

    vectors: VectorQuery | None
    keywords: KeywordShare | None
    exclude: frozenset[int]
    unknown_words: list[str] | None  # None without a text


@dataclass(frozen=True)
class _Page:
    """One page of a ranking: the products' pids, photo ids and scores, best first."""

    hits: list[tuple[int, int, float]]
    more: bool  # whether there is another page
    depth: int  # products ranked down to the last hit, collapsed ones among them

    @property
    def shown(self) -> list[tuple[int, int]]:
        return [(pid, photo_id) for pid, photo_id, _ in self.hits]


class Searcher:
    """Finds products for embedded queries and texts; safe to call from many threads."""

    def __init__(self, catalog: Catalog, filters: FilterParser, texts: TextQueryParser) -> None:
        self._catalog = catalog
        self._filters = filters
        self._texts = texts

    def plan(self, ctx: RequestContext, query: Query, options: SearchOptions) -> SearchPlan:
        """Check a search: its filter and its cursor. Raises ``BadFilterError``,
        ``BadRequestError``."""
        question = fingerprint(fingerprint_fields(query, options))
        cursor = _read_cursor(ctx.snapshot, options.cursor, question)
        where = None
        if options.filter is not None:
            where = self._filters.bind(ctx.snapshot, options.filter)
        return SearchPlan(options, where, cursor, question)

    def search(self, ctx: RequestContext, embedded: EmbeddedQuery, plan: SearchPlan) -> SearchPage:
        """One page: min(k, what is left) products, counted after collapse and ``min_score``."""
        question = self._question(ctx, embedded, plan.options)
        with ctx.timer.stage("search"):
            ranking = _PageRanking(ctx, question, plan)
            page, products = rank_living(self._catalog, ranking, question.exclude, where=plan.where)
        with ctx.timer.stage("describe"):
            results = _results(ctx.snapshot, question, page.hits, products, plan.options.explain)
        return SearchPage(results, _next_cursor(ctx.snapshot, page, plan), question.unknown_words)

    def _question(
        self, ctx: RequestContext, embedded: EmbeddedQuery, options: SearchOptions
    ) -> _Question:
        pids = (self._catalog.pid(product_id) for product_id in options.exclude)
        exclude = embedded.self_pids | {pid for pid in pids if pid is not None}
        blocks = ctx.snapshot.bundle.spec.blocks
        text = embedded.query.text
        if text is None:
            if not embedded.inputs:
                raise BadRequestError("no query: provide `image`, `product_id` or `text`")
            vectors = vector_query(
                embedded.inputs, blocks, mix=options.mix, weights=options.weights
            )
            return _Question(vectors, None, exclude, None)
        with ctx.timer.stage("text"):
            parsed = self._texts.parse(ctx.snapshot, text)
        names = [*embedded.inputs, "text"]
        mix = dict.fromkeys(names, 1.0) if options.mix is None else options.mix
        kinds: dict[str, str | None] = {}
        if replaces_colour(parsed, embedded.inputs, blocks):
            for name, given in embedded.inputs.items():
                kinds[name] = most_probable_label(ctx.snapshot, given)
        mixed = mix_text(parsed, embedded.inputs, check_mix(mix, names), blocks, kinds)
        if not mixed.inputs:
            return _Question(None, mixed.keywords, exclude, parsed.unknown)
        weights = options.weights
        if mixed.recoloured and weights is None:
            weights = recolour_weights(blocks)
        vectors = vector_query(mixed.inputs, blocks, mix=mixed.shares, weights=weights)
        return _Question(vectors, mixed.keywords, exclude, parsed.unknown)


@dataclass(frozen=True)
class _PageRanking:
    """The ranking of one page."""

    ctx: RequestContext
    question: _Question
    plan: SearchPlan

    def rank(self, exclude: AbstractSet[int]) -> _Page:
        """One page; always min(k, what is left after it, counted after collapse) hits."""
        options, cursor = self.plan.options, self.plan.cursor
        # One more than asked for tells whether there is another page.
        depth = options.k + 1 + (cursor.depth if cursor else 0)
        while True:
            found = self._search(depth, exclude)
            kept = _collapsed(self.ctx.snapshot, found, options.collapse)
            hits = replace(
                found,
                pids=found.pids[kept],
                photo_ids=found.photo_ids[kept],
                scores=found.scores[kept],
            )
            start = cursor.passed(hits) if cursor else 0
            if len(hits) - start > options.k or len(found) < depth:
                break
            depth *= 2  # too many were collapsed
        page = slice(start, start + options.k)
        columns = (hits.pids[page], hits.photo_ids[page], hits.scores[page])
        listed = list(zip(*(column.tolist() for column in columns), strict=True))
        reached = int(kept[start + len(listed) - 1]) + 1 if listed else 0
        return _Page(listed, len(hits) > start + options.k, reached)

    def _search(self, depth: int, exclude: AbstractSet[int]) -> ProductHits:
        live, options, where = self.ctx.snapshot.live, self.plan.options, self.plan.where
        vectors, keywords = self.question.vectors, self.question.keywords
        params = None
        if vectors is not None and vectors.weights is not None:
            params = search_params(vectors.weights)
        plain = where is None and options.min_score is None and keywords is None
        if plain and vectors is not None and len(vectors.queries) == 1:
            found = self.ctx.searches.search(live, vectors.queries[0], depth, exclude, params)
            return replace(found, scores=np.minimum(found.scores * vectors.lengths[0], 1.0))
        return rank_hybrid(
            live,
            vectors,
            keywords,
            depth,
            exclude=exclude,
            min_score=options.min_score,
            where=where,
            params=params,
        )


def _read_cursor(snapshot: Snapshot, text: str | None, question: str) -> Cursor | None:
    if text is None:
        return None
    cursor = Cursor.read(text)
    if cursor.question != question:
        raise BadRequestError(
            "cursor belongs to another question: repeat all that was asked but k, or begin anew"
        )
    if cursor.version != snapshot.index_version:
        raise BadRequestError(
            f"cursor is of index version {cursor.version}, version asks for "
            f"{snapshot.index_version}: leave it out"
        )
    return cursor


def _next_cursor(snapshot: Snapshot, page: _Page, plan: SearchPlan) -> str | None:
    if not page.more:
        return None
    pid, _, score = page.hits[-1]
    return Cursor(
        snapshot.index_version, snapshot.live.sequence, score, pid, page.depth, plan.fingerprint
    ).text()


def _results(
    snapshot: Snapshot,
    question: _Question,
    hits: list[tuple[int, int, float]],
    products: dict[int, Product],
    explain: bool,
) -> list[SearchResult]:
    signals = _signals(snapshot, question, hits, explain)
    results = []
    for (pid, photo_id, score), parts in zip(hits, signals, strict=True):
        product = products[pid]
        photo = product.photos[product.photo_ids.index(photo_id)]
        results.append(SearchResult.of(product, photo, score, parts))
    return results


def _signals(
    snapshot: Snapshot, question: _Question, hits: list[tuple[int, int, float]], explain: bool
) -> list[dict[str, float]]:
    """What each hit's score is made of, by input; with weights or ``explain`` by block too."""
    vectors, keywords = question.vectors, question.keywords
    rows: list[dict[str, float]] = [{} for _ in hits]
    if vectors is not None:
        # Of one plain input the score says it all, so nothing is read.
        alone = len(vectors.inputs) == 1 and vectors.weights is None and keywords is None
        explained = _by_block(vectors) if explain else None
        read = [] if alone and explained is None else hits
        stored, there = snapshot.live.vectors_at(
            [pid for pid, _, _ in read], [photo_id for _, photo_id, _ in read]
        )
        for place, (_, _, score) in enumerate(hits):
            here = bool(read) and bool(there[place])
            if explained is not None and here:
                rows[place] = explained.signals(stored[place])
            plain = alone or not here
            rows[place] |= (
                dict.fromkeys(vectors.inputs, score) if plain else vectors.signals(stored[place])
            )
    if keywords is not None:
        for row, (pid, _, _) in zip(rows, hits, strict=True):
            row["keywords"] = keywords.score(pid)
    return rows


def _by_block(vectors: VectorQuery) -> VectorQuery:
    """The same question, whose ``signals`` hold each block's cosine too."""
    stored = {block.name: block.weight for block in vectors.blocks if block.weight > 0}
    return vectors if vectors.weights is not None else replace(vectors, weights=stored)


def _collapsed(snapshot: Snapshot, hits: ProductHits, how: str) -> np.ndarray:
    """Indices of the hits that stay: of those with the same photo, or nearly so, the first."""
    if how == "none":
        return np.arange(len(hits))
    _, first = np.unique(hits.photo_ids, return_index=True)
    kept = np.sort(first)
    if how == "same_photo" or not len(kept):
        return kept
    # What was deleted a moment ago is zero, so nobody's duplicate.
    vectors, _ = snapshot.live.vectors_at(hits.pids[kept], hits.photo_ids[kept])
    return np.asarray(kept[drop_near_duplicates(vectors)])
