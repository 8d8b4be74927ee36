"""Benchmark ``filter``: filtered and weighted search against the exact oracle."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from indexer.catalog.filters import Filter, FilterableProduct, parse_filter
from indexer.core import native
from indexer.core.home import Home
from indexer.index.base import MIXED, Hits, SearchParams, rescore
from indexer.index.exact import ExactIndex
from indexer.index.filter_columns import FilterColumns
from indexer.index.live import LiveIndex
from indexer.index.query_weighting import vector_query
from indexer.index.tuning import ann_recall_at_k, build_tuned
from indexer.index.version import Versions
from indexer.index.version_files import NewVersion
from indexer.model.spec import Block
from tools.bench.harness.framework import BenchRow, Goal, figure, percentile
from tools.doctor import installed
from tools.generated_vectors import vectors
from tools.output import log

faiss: Any = native.faiss  # its own type stubs lack half of it

SELECTIVITIES = {"0.1%": 0.001, "1%": 0.01, "10%": 0.1, "50%": 0.5, "100%": 1.0}
PARTS = (*SELECTIVITIES, "patched", "weights")
K, DIM, SEED = 10, 512, 7
PATCHES = 5000
TYPES = {"price": "number", "style": "number", "colour": "string"}
COLOURS = 8
BLOCKS = (Block("a", 256, 0.4), Block("c", 64, 0.3), Block("g", 192, 0.3))
EF = 128  # of the peer: its recall without a filter stands in the row


def _worst(rows: Sequence[BenchRow]) -> float | None:
    return next(
        (min(row["recall_at_10"].values()) for row in rows if row["part"] == "weights"), None
    )


GOALS = (
    *(
        Goal(f"recall@10 at selectivity {name}", ">=", 0.99, figure(name, "recall_at_10"))
        for name in SELECTIVITIES
    ),
    *(
        Goal(
            f"p50 at selectivity {name} / the larger of 3 x unfiltered and an exact scan of the "
            "matches",
            "<=",
            1.0,
            figure(name, "p50_share"),
        )
        for name in SELECTIVITIES
    ),
    Goal(
        "recall@10 with query weights, the worst of default, one block, random", ">=", 0.98, _worst
    ),
)


def products() -> int:
    """How many products; ``CATALENS_BENCH_PRODUCTS`` makes it fewer to try things out."""
    return int(os.environ.get("CATALENS_BENCH_PRODUCTS", "100000"))


def asked() -> int:
    """How many questions per figure; ``CATALENS_BENCH_QUERIES``."""
    return int(os.environ.get("CATALENS_BENCH_QUERIES", "200"))


def measure(part: str, work: Path) -> BenchRow:
    """One selectivity, or the weights. All of it one question at a time, on one thread, each with a
    filter of its own.

    Every product has a price that says nothing of its looks, and a style that does: its rank along
    one direction of the vectors, so that the matches lie in one part of space, far from most
    questions. Half of the filters are a range of prices, half a range of styles. ``patched``: 1%,
    after the prices of 5,000 products were changed.
    """
    log(f"bench filter: {part}")
    if part == "weights":
        return _weights(work)
    return _filtered(part, SELECTIVITIES.get(part, 0.01), work, patched=part == "patched")


# -- filters


class _Shop:
    """The products, their index and what the oracle knows of them."""

    def __init__(self, work: Path) -> None:
        count = products()
        made = vectors(count, DIM, SEED, queries=asked())
        self.rows = made.rows
        self.queries = made.queries
        self.recipe = made.recipe
        rng = np.random.default_rng(SEED)
        self.price = rng.permutation(count) / count
        along = np.empty(count, dtype=np.float32)
        direction = rng.standard_normal(DIM).astype(np.float32)
        for start in range(0, count, 65536):
            along[start : start + 65536] = (
                self.rows[start : start + 65536].astype(np.float32) @ direction
            )
        self.style = np.argsort(np.argsort(along)) / count
        pids = np.arange(1, count + 1)
        self.live = _published(
            work / f"filter-{count}",
            self.rows,
            lambda: FilterColumns.build(self.facts(pids), pids, TYPES),
        )
        self.exact = ExactIndex(self.rows, checked=True)

    def facts(self, pids: Iterable[int]) -> Iterator[FilterableProduct]:
        for pid in pids:
            place = int(pid) - 1
            values = {"price": float(self.price[place]), "style": float(self.style[place])}
            yield FilterableProduct(
                int(pid), ("All", f"{place % 20}"), (), {**values, "colour": f"{place % COLOURS}"}
            )

    def patch(self, count: int) -> float:
        """Change the prices of ``count`` products, in batches of 500; patches per second that the
        index took."""
        rng = np.random.default_rng(SEED + 1)
        chosen = rng.permutation(len(self.price))[: min(count, len(self.price))]
        self.price[chosen] = rng.permutation(self.price[chosen])
        seconds = 0.0
        for start in range(0, len(chosen), 500):
            facts = {one.pid: one for one in self.facts(chosen[start : start + 500] + 1)}
            began = time.perf_counter()
            self.live.apply(sequence=self.live.sequence, upserts={}, facts=facts)
            seconds += time.perf_counter() - began
        return len(chosen) / max(seconds, 1e-9)

    def filters(self, share: float) -> list[tuple[Filter, np.ndarray]]:
        """For each query a filter of its own with this selectivity, and the rows that pass, found
        without columns."""
        rng = np.random.default_rng(round(share * 1e6))
        chosen = []
        for number in range(len(self.queries)):
            name, values = (("price", self.price), ("style", self.style))[number % 2]
            low = float(rng.uniform(0, 1 - share)) if share < 1 else 0.0
            raw = {"must": [{"field": name, "gte": low, "lt": low + share}]}
            passing = np.flatnonzero((values >= low) & (values < low + share))
            chosen.append((parse_filter(raw, TYPES, pid_of=lambda _: None), passing))
        return chosen


_shops: dict[tuple[Path, int], _Shop] = {}  # one for all parts of a run


def _shop(work: Path) -> _Shop:
    key = (work, products())
    if key not in _shops:
        _shops[key] = _Shop(work)
    return _shops[key]


def _filtered(part: str, share: float, work: Path, *, patched: bool) -> BenchRow:
    shop = _shop(work)
    live, queries = shop.live, shop.queries
    patches = shop.patch(PATCHES) if patched else None
    chosen = shop.filters(share)
    for query in queries[:5]:  # warm
        live.search(query[None], K)
    unfiltered = _timed(queries, lambda number, query: live.search(query, K)[0])
    filtered = _timed(
        queries, lambda number, query: live.search(query, K, where=chosen[number][0])[0]
    )
    scan = _timed(
        queries, lambda number, query: shop.exact.search(query, K, allowed=chosen[number][1])[0]
    )
    truth: list[Hits] = scan["hits"]
    found = [shop.exact.vectors(hits.photo_ids) for hits in filtered["hits"]]
    scores = [rescore(query, stored) for query, stored in zip(queries, found, strict=True)]
    by_field = {
        name: ann_recall_at_k(scores[place::2], truth[place::2], K)
        for place, name in enumerate(("price", "style"))
    }
    p50 = {
        name: percentile(one["ms"], 0.5)
        for name, one in (("unfiltered", unfiltered), ("ours", filtered), ("exact", scan))
    }
    short = sum(
        len(hits) != min(K, len(passing))
        for hits, (_, passing) in zip(filtered["hits"], chosen, strict=True)
    )
    row: BenchRow = {
        "recipe": f"{shop.recipe}; index {live.base.manifest.recipe}, k={K}, one question at a "
        "time",
        "selectivity": share,
        "matches": float(np.mean([len(passing) for _, passing in chosen])),
        "recall_at_10": ann_recall_at_k(scores, truth, K),
        "recall_at_10_by_field": by_field,
        "answers_not_min_k_matches": short,
        "p50_ms": p50["ours"],
        "p95_ms": percentile(filtered["ms"], 0.95),
        "p50_unfiltered_ms": p50["unfiltered"],
        "p50_exact_scan_ms": p50["exact"],
        "p50_share": p50["ours"] / max(3 * p50["unfiltered"], p50["exact"]),
        "samples_ms": {
            "ours": filtered["ms"],
            "unfiltered": unfiltered["ms"],
            "exact_scan": scan["ms"],
        },
    }
    if patches is not None:
        return {**row, "patches_per_s": patches}
    return {**row, "peers": _peers(shop, chosen, truth)}


def _peers(
    shop: _Shop, chosen: Sequence[tuple[Filter, np.ndarray]], truth: Sequence[Hits]
) -> list[BenchRow]:
    """FAISS HNSW32 told which rows are allowed, and the same index searched for 10 k, the matches
    among them kept."""
    graph = _graph(shop)
    selectors = [_selector(passing, len(shop.rows)) for _, passing in chosen]
    version = installed("faiss-gpu") or installed("faiss-cpu")

    def selecting(number: int, query: np.ndarray) -> np.ndarray:
        params = faiss.SearchParametersHNSW(efSearch=EF, sel=selectors[number])
        return np.asarray(graph.search(query, K, params=params)[1][0])

    def afterwards(number: int, query: np.ndarray) -> np.ndarray:
        params = faiss.SearchParametersHNSW(efSearch=max(EF, 10 * K))
        found = np.asarray(graph.search(query, 10 * K, params=params)[1][0])
        return found[np.isin(found, chosen[number][1], assume_unique=True)][:K]

    rows = []
    for name, search in (
        ("HNSW32 with IDSelector", selecting),
        ("HNSW32, filtered after the search", afterwards),
    ):
        done = _timed(shop.queries, search)
        found = [rows[rows >= 0] for rows in done["hits"]]
        scores = [
            rescore(query, shop.exact.vectors(rows))
            for query, rows in zip(shop.queries, found, strict=True)
        ]
        rows.append(
            {
                "peer": f"faiss {version} {name}",
                "parameters": {"M": 32, "efConstruction": 40, "efSearch": EF},
                "recall_at_10": ann_recall_at_k(scores, truth, K),
                "mean_results": float(np.mean([len(rows) for rows in found])),
                "p50_ms": percentile(done["ms"], 0.5),
                "samples_ms": done["ms"],
            }
        )
    return rows


_graphs: dict[int, Any] = {}


def _graph(shop: _Shop) -> Any:
    if id(shop) not in _graphs:
        graph = faiss.IndexHNSWFlat(DIM, 32, faiss.METRIC_INNER_PRODUCT)
        for start in range(0, len(shop.rows), 65536):
            graph.add(shop.rows[start : start + 65536].astype(np.float32))
        _graphs[id(shop)] = graph
    return _graphs[id(shop)]


def _selector(passing: np.ndarray, total: int) -> Any:
    mask = np.zeros(total, dtype=bool)
    mask[passing] = True
    return faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))


# -- weights


def _weights(work: Path) -> BenchRow:
    """Three independent blocks under one index; each question asks with weights of its own."""
    count, number = products(), asked()
    made = [
        vectors(count, block.dim, SEED + place, queries=number)
        for place, block in enumerate(BLOCKS)
    ]

    def joined(parts: Sequence[np.ndarray]) -> np.ndarray:
        scaled = [
            np.sqrt(block.weight) * part.astype(np.float32)
            for block, part in zip(BLOCKS, parts, strict=True)
        ]
        return np.concatenate(scaled, axis=1)

    rows = np.empty((count, DIM), dtype=np.float16)
    for start in range(0, count, 65536):
        rows[start : start + 65536] = joined([one.rows[start : start + 65536] for one in made])
    queries = joined([one.queries for one in made])
    pids = np.arange(1, count + 1)
    live = _published(work / f"weights-{count}", rows, lambda: FilterColumns.build((), pids, {}))
    exact = ExactIndex(rows, checked=True)
    rng = np.random.default_rng(SEED)
    ways: dict[str, Callable[[], dict[str, float] | None]] = {
        "default": lambda: None,
        **{f"only {block.name}": lambda name=block.name: {name: 1.0} for block in BLOCKS},  # type: ignore[misc]
        "random": lambda: dict(zip("acg", rng.dirichlet(np.ones(3)).tolist(), strict=True)),
    }
    recall, p50, samples = {}, {}, {}
    for way, draw in ways.items():
        sought = [
            vector_query({"image": query[None]}, BLOCKS, weights=draw()).queries
            for query in queries
        ]
        label = "" if way == "default" else MIXED if way == "random" else way.split()[-1]
        wide = SearchParams(widen=label)

        def ask(_: int, query: np.ndarray, params: SearchParams = wide) -> Any:
            return live.search(query, K, params=params)[0]

        done = _timed(np.concatenate(sought), ask)
        truth = exact.search(np.concatenate(sought), K)
        scores = [
            rescore(query[0], exact.vectors(hits.photo_ids))
            for query, hits in zip(sought, done["hits"], strict=True)
        ]
        recall[way] = ann_recall_at_k(scores, truth, K)
        p50[way], samples[way] = percentile(done["ms"], 0.5), done["ms"]
    return {
        "recipe": f"blocks {[(b.name, b.dim, b.weight) for b in BLOCKS]}, each {made[0].recipe} of "
        "its own seed",
        "index": live.base.manifest.recipe,
        "recall_at_10": recall,
        "p50_ms": p50,
        "samples_ms": samples,
    }


# -- both


def _published(folder: Path, rows: np.ndarray, columns: Callable[[], FilterColumns]) -> LiveIndex:
    """The live index over a published version of ``rows``; kept in the work folder, where a second
    run finds it."""
    home = Home(folder) if (folder / "home.json").exists() else Home.create(folder)
    versions = Versions(home)
    if not versions.names():
        tuned = build_tuned(rows)
        table = np.stack([np.arange(1, len(rows) + 1), np.arange(len(rows))], axis=1)
        versions.publish(
            NewVersion(
                index=tuned.index,
                vectors=rows,
                rows=table,
                embedding_id="bench",
                model_version="bench",
                last_sequence=0,
                recipe=tuned.index.recipe,
                params=tuned.params,
                recall=tuned.recall,
                columns=columns(),
            )
        )
    return LiveIndex(versions.open(versions.names()[-1]))


def _timed(queries: np.ndarray, search: Callable[[int, np.ndarray], Any]) -> dict[str, list[Any]]:
    """Each query alone: what was found, and the milliseconds it took."""
    hits, samples = [], []
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    with threadpool_limits(1, "blas"):
        for number in range(len(queries)):
            began = time.perf_counter()
            hits.append(search(number, queries[number : number + 1]))
            samples.append((time.perf_counter() - began) * 1000)
    faiss.omp_set_num_threads(threads)
    return {"hits": hits, "ms": samples}
