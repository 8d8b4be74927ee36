"""Search: a query with its filter, weights and pages to ranked products."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from indexer.catalog.filters import Filter
from indexer.catalog.records import Product
from indexer.catalog.store import Catalog
from indexer.core.errors import BadRequestError
from indexer.index.filter_columns import BoundFilter
from indexer.index.group_search import leaving_out, search_groups
from indexer.index.hybrid_ranking import KeywordShare, rank_hybrid, recolour_weights
from indexer.index.product_hits import ProductHits
from indexer.index.query_weighting import (
    VectorQuery,
    check_mix,
    kept_portions,
    vector_query,
)
from service.query.classify import most_probable_label
from service.query.context import RequestContext
from service.query.cursors import Cursor, CursorSigner, fingerprint
from service.query.filters import KnownFields
from service.query.groups import GroupCard, Grouping, GroupReader, group_cards, shown_group
from service.query.living import rank_living
from service.query.photo_embedder import EmbeddedQuery
from service.query.query import Query, SearchOptions, fingerprint_fields
from service.query.response import SearchPage, SearchResult, TextSignal, photo_of
from service.query.stock import StockFilter
from service.query.text import OPEN_WEIGHTS, TextQueryParser, mix_text, replaces_colour
from service.state.snapshot import Snapshot


@dataclass(frozen=True)
class SearchPlan:
    """A search that was checked against a snapshot, before anything is embedded for it."""

    options: SearchOptions
    fields: KnownFields
    where: BoundFilter | None
    # Filters by which results are searched one after the other, by their stock.
    tiers: tuple[BoundFilter | None, ...]
    grouping: Grouping | None
    cursor: Cursor | None
    fingerprint: str


@dataclass(frozen=True)
class _TextAnswer:
    """What an answer says of its question's text; nothing without one."""

    unknown_words: list[str] | None = None
    signals: list[TextSignal] | None = None
    cut: Literal[True] | None = None


@dataclass(frozen=True)
class _Question:
    """A search as the index and the keywords take it."""

    vectors: VectorQuery | None
    keywords: KeywordShare | None
    exclude: frozenset[int]
    text: _TextAnswer = field(default_factory=lambda: _TextAnswer())


@dataclass(frozen=True)
class _Page:
    """One page of a ranking: the products' pids, photo ids and scores, best first."""

    hits: list[tuple[int, int, float]]
    more: bool  # whether there is another page
    depth: int  # products ranked down to the last hit, collapsed ones among them
    late: bool  # whether the last hit stands among what comes last
    cards: list[GroupCard] | None  # the groups that the hits lead

    @property
    def shown(self) -> list[tuple[int, int]]:
        members = [hit for card in self.cards or () for hit in card.members]
        return [(pid, photo_id) for pid, photo_id, _ in (*self.hits, *members)]


class Searcher:
    """Finds products for embedded queries and texts; safe to call from many threads."""

    def __init__(
        self,
        catalog: Catalog,
        stock: StockFilter,
        groups: GroupReader,
        texts: TextQueryParser,
        cursors: CursorSigner,
    ) -> None:
        self._catalog = catalog
        self._cursors = cursors
        self._stock = stock
        self._groups = groups
        self._texts = texts

    def plan(self, ctx: RequestContext, query: Query, options: SearchOptions) -> SearchPlan:
        """Check a search: its filter and its cursor. Raises ``BadFilterError``,
        ``BadRequestError``."""
        snapshot, fields = ctx.snapshot, self._groups.fields(ctx.snapshot)
        if not fields.complete:
            ctx.note_gap("columns")
        handling = self._stock.handling(fields, options.out_of_stock, "show")
        options = options.model_copy(update={"out_of_stock": handling})
        question = fingerprint(fingerprint_fields(query, options))
        cursor = None
        if options.cursor is not None:
            cursor = _of_question(snapshot, self._cursors.read(options.cursor), question)
            self._cursors.require_depth(cursor, options.k)
        tiers = self._stock.tiers(fields, options.filter, handling)
        where = tiers[0]
        if len(tiers) > 1:
            where = self._stock.bind(fields, options.filter, stock="any")
        grouping = self._groups.grouping(fields, options, handling)
        return SearchPlan(options, fields, where, tiers, grouping, cursor, question)

    def search(self, ctx: RequestContext, embedded: EmbeddedQuery, plan: SearchPlan) -> SearchPage:
        """One page: min(k, what is left) products, counted after collapse and ``min_score``."""
        ctx.note_pending()
        question = self._question(ctx, embedded, plan)
        with ctx.timer.stage("search"):
            ranking = _PageRanking(ctx, question, plan)
            page, products = rank_living(self._catalog, ranking, question.exclude, where=plan.where)
        with ctx.timer.stage("describe"):
            results = _results(ctx.snapshot, question, page, products, plan.options)
        further = _next_cursor(ctx.snapshot, page, plan)
        next_cursor = None if further is None else self._cursors.write(further)
        text = question.text
        return SearchPage(results, next_cursor, text.unknown_words, text.signals, text.cut)

    def _question(
        self, ctx: RequestContext, embedded: EmbeddedQuery, plan: SearchPlan
    ) -> _Question:
        options = plan.options
        own = self._groups.relatives(plan.fields, embedded.self_pids)
        exclude = own | set(self._catalog.pids(options.exclude).values())
        blocks = ctx.snapshot.bundle.spec.blocks
        text = embedded.query.text
        if text is None:
            if not embedded.inputs:
                raise BadRequestError("no query: provide `image`, `product_id` or `text`")
            vectors = vector_query(
                embedded.inputs, blocks, mix=options.mix, weights=options.weights
            )
            return _Question(vectors, None, exclude)
        with ctx.timer.stage("text"):
            parsed = self._texts.parse(
                ctx,
                text,
                beside=bool(embedded.inputs),
                open_words=options.weights is None or bool(options.weights.get("t")),
            )
        names = [*embedded.inputs, "text"]
        mix = dict.fromkeys(names, 1.0) if options.mix is None else options.mix
        kinds: dict[str, str | None] = {}
        if replaces_colour(parsed, embedded.inputs, blocks):
            for name, given in embedded.inputs.items():
                kinds[name] = most_probable_label(ctx.snapshot, given)
        mixed = mix_text(parsed, embedded.inputs, check_mix(mix, names), blocks, kinds)
        cut: Literal[True] | None = True if parsed.open and parsed.open.cut else None
        told = _TextAnswer(parsed.unknown, mixed.asked, cut)
        if not mixed.inputs:
            return _Question(None, mixed.keywords, exclude, told)
        weights = options.weights
        if mixed.recoloured and weights is None:
            weights = recolour_weights(blocks)
        vectors = vector_query(
            mixed.inputs, blocks, mix=mixed.shares, weights=weights, own=OPEN_WEIGHTS
        )
        return _Question(vectors, mixed.keywords, exclude, told)


@dataclass(frozen=True)
class _PageRanking:
    """The ranking of one page."""

    ctx: RequestContext
    question: _Question
    plan: SearchPlan

    def rank(self, exclude: AbstractSet[int]) -> _Page:
        """One page; always min(k, what is left after it, counted after grouping and collapse)
        hits."""
        options, cursor = self.plan.options, self.plan.cursor
        # One more than asked for tells whether there is another page.
        depth = options.k + 1 + (cursor.depth if cursor else 0)
        while True:
            found, early = self._search(depth, exclude)
            kept = _collapsed(self.ctx, found, options.collapse)
            hits, late = found.at(kept), kept >= early
            start = cursor.passed(hits, late) if cursor else 0
            if len(hits) - start > options.k or len(found) < depth:
                break
            depth *= 2  # too many were collapsed
        page = hits.at(slice(start, start + options.k))
        columns = (page.pids, page.photo_ids, page.scores)
        listed = list(zip(*(column.tolist() for column in columns), strict=True))
        last = start + len(listed) - 1
        return _Page(
            listed,
            more=len(hits) > start + options.k,
            depth=int(kept[last]) + 1 if listed else 0,
            late=bool(late[last]) if listed else False,
            cards=self._cards(page, exclude),
        )

    def _search(self, depth: int, exclude: AbstractSet[int]) -> tuple[ProductHits, int]:
        """The ``depth`` best products or groups, and how many of them do not come last."""
        grouping = self.plan.grouping
        tiers = [_Tier(self.ctx, self.question, self.plan, exclude, it) for it in self.plan.tiers]
        first, *others = tiers
        found = first.rank(depth, None)
        early = len(found)
        for tier in others if early < depth else ():
            # A group with a product in stock stands there, and not again.
            led = grouping.codes.members(grouping.codes.of(found.pids)) if grouping else None
            found = found.and_then(tier.rank(depth - len(found), led))
        return found, early

    def _cards(self, page: ProductHits, exclude: AbstractSet[int]) -> list[GroupCard] | None:
        grouping, where = self.plan.grouping, self.plan.where
        if grouping is None:
            return None
        search = _Tier(self.ctx, self.question, self.plan, exclude, where)
        return group_cards(self.ctx.snapshot.live, grouping, page, where, exclude, search)


@dataclass(frozen=True)
class _Tier:
    """What a question finds among the products that pass one filter."""

    ctx: RequestContext
    question: _Question
    plan: SearchPlan
    exclude: AbstractSet[int]
    where: BoundFilter | None

    def rank(self, depth: int, without: np.ndarray | None) -> ProductHits:
        """The ``depth`` best products, or the best of each of as many groups, but the pids
        ``without``."""
        if self.plan.grouping is None:
            return self._find(depth, self.where)
        return search_groups(self, self.plan.grouping.codes, depth, without)

    def find(self, k: int, without: np.ndarray) -> ProductHits:
        where: BoundFilter | None = self.where
        if len(without) and self.plan.grouping is not None:
            where = leaving_out(where, self.plan.grouping.columns, without)
        return self._find(k, where)

    @property
    def exact(self) -> bool:
        # Words alone find what holds one of them.
        return self.plan.options.min_score is not None or self.question.vectors is None

    def find_members(self, k: int, where: Filter) -> ProductHits:
        return self._find(k, where)

    def _find(self, depth: int, where: Filter | None) -> ProductHits:
        self.ctx.check()
        live, min_score = self.ctx.snapshot.live, self.plan.options.min_score
        vectors, keywords = self.question.vectors, self.question.keywords
        params = None if vectors is None else vectors.params
        plain = where is None and min_score is None and keywords is None
        if plain and vectors is not None and len(vectors.queries) == 1:
            query = vectors.queries[0]
            found = self.ctx.searches.search(live, query, depth, self.exclude, params)
            return replace(found, scores=np.minimum(found.scores * vectors.lengths[0], 1.0))
        return rank_hybrid(
            live,
            vectors,
            keywords,
            depth,
            exclude=self.exclude,
            min_score=min_score,
            where=where,
            params=params,
        )


def _of_question(snapshot: Snapshot, cursor: Cursor, question: str) -> Cursor:
    """``cursor``, which has to belong to this question and version."""
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


def _next_cursor(snapshot: Snapshot, page: _Page, plan: SearchPlan) -> Cursor | None:
    if not page.more:
        return None
    pid, _, score = page.hits[-1]
    return Cursor(
        snapshot.index_version,
        snapshot.live.sequence,
        score,
        pid,
        page.depth,
        plan.fingerprint,
        page.late,
    )


def _results(
    snapshot: Snapshot,
    question: _Question,
    page: _Page,
    products: dict[int, Product],
    options: SearchOptions,
) -> list[SearchResult]:
    signals = _signals(snapshot, question, page.hits, options.explain)
    view = options.view()
    cards: Sequence[GroupCard | None] = page.cards or [None] * len(page.hits)
    results = []
    for (pid, photo_id, score), parts, card in zip(page.hits, signals, cards, strict=True):
        product = products[pid]
        group = shown_group(card, products, view) if card is not None else None
        photo = photo_of(product, photo_id)
        results.append(SearchResult.of(product, photo, score, parts, view, group=group))
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
        scores = keywords.hits.scores_of(np.array([pid for pid, _, _ in hits], np.int64))
        for row, score in zip(rows, scores.tolist(), strict=True):
            row["keywords"] = score
    return rows


def _by_block(vectors: VectorQuery) -> VectorQuery:
    """The same question, whose ``signals`` hold each block's cosine too."""
    stored = {block.name: block.weight for block in vectors.blocks if block.weight > 0}
    return vectors if vectors.weights is not None else replace(vectors, weights=stored)


def _collapsed(ctx: RequestContext, hits: ProductHits, how: str) -> np.ndarray:
    """Indices of the hits that stay: of those with the same photo, or nearly so, the first."""
    if how == "none":
        return np.arange(len(hits))
    _, first = np.unique(hits.photo_ids, return_index=True)
    kept = np.sort(first)
    if how == "same_photo" or not len(kept):
        return kept
    # What was deleted a moment ago is zero, so nobody's duplicate.
    vectors, _ = ctx.snapshot.live.vectors_at(hits.pids[kept], hits.photo_ids[kept])
    portions = []
    for portion in kept_portions(vectors):
        ctx.check()
        portions.append(portion)
    return np.asarray(kept[np.concatenate(portions)])
