"""Benchmark ``group``: results and facets by group, and stock.

``CATALENS_BENCH_PRODUCTS``, ``CATALENS_BENCH_QUERIES``, ``CATALENS_BENCH_STOCKED``: products and
questions of the timings, products of the feeds.
"""

from __future__ import annotations

import random
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from indexer.catalog.records import Product
from indexer.catalog.store import open_catalog
from indexer.core.category_path import format_path
from indexer.core.home import Home
from indexer.feeds.importer import import_feed
from indexer.index.embedding_store import EmbeddingStore
from indexer.index_build.pipeline import BuildOptions, build_index
from service.engine import Engine
from service.settings import Settings
from tools.bench.data.feed_formats import FORMATS, write_feed
from tools.bench.data.feeds import MadeProduct, MadeVariant, made_products, write_photos
from tools.bench.data.generated_home import big_home, product_id, projected
from tools.bench.harness.framework import BenchRow, Goal, figure, knob, percentile
from tools.output import log

PARTS = ("answers", "facets", "stock")
VARIANTS, K, SEED = 5, 20, 3
FACETED = ("parent", "colour", "category", "price")
GOALS = (
    Goal("grouped over ungrouped p50 at 100,000", "<=", 1.5, figure("answers", "p50_ratio")),
    Goal("pages that are not full", "<=", 0, figure("answers", "short")),
    Goal("groups that a page shows twice", "<=", 0, figure("answers", "repeated")),
    Goal("facets that differ from a plain count", "<=", 0, figure("facets", "wrong")),
    Goal("similar rows on each profile's feed, all known", ">=", 1000, figure("stock", "rows")),
    Goal("similar rows on every profile's feed: out of stock", "<=", 0, figure("stock", "out")),
    Goal("similar rows on every profile's feed: same parent", "<=", 0, figure("stock", "same")),
)
# Formats of which a made feed says nothing of stock.
_SILENT = ("akeneo",)


def measure(part: str, work: Path) -> BenchRow:
    """One part's row."""
    log(f"bench group: {part}")
    return {"answers": _answers, "facets": _facets, "stock": _stock}[part](work)


def _home(work: Path) -> Path:
    products = knob("PRODUCTS", 100_000)
    return big_home(work / f"variants-{products}", products, variants=VARIANTS).path


def _answers(work: Path) -> BenchRow:
    """Similar products of stored ones, plain and by parent in turn, each first as often."""
    home, products = _home(work), knob("PRODUCTS", 100_000)
    drawn = random.Random(SEED)
    took: dict[str, list[float]] = {"ungrouped": [], "grouped": []}
    worked: dict[str, list[float]] = {"ungrouped": [], "grouped": []}
    stages: dict[str, dict[str, list[float]]] = {"ungrouped": {}, "grouped": {}}
    short = repeated = 0
    ways: dict[str, dict[str, Any]] = {"ungrouped": {}, "grouped": {"group_by": "parent"}}
    with Engine(Settings(home=home, max_delta=0), watch=False) as engine:
        for number in range(knob("QUERIES", 300) + 20):
            asked = product_id(drawn.randrange(products))
            for name in sorted(ways, reverse=number % 2 == 0):
                began, cpu = time.perf_counter(), time.thread_time()
                answer = engine.similar(asked, k=K, **ways[name])
                seconds, busy = time.perf_counter() - began, time.thread_time() - cpu
                # The first ones read files that the operating system has not read yet.
                if number < 20:
                    continue
                took[name].append(seconds * 1000)
                worked[name].append(busy * 1000)
                for stage, value in answer.timings_ms.items():
                    stages[name].setdefault(stage, []).append(value)
                results = answer.content.results
                short += len(results) != K
                if name == "grouped":
                    values = [row.group.value for row in results if row.group is not None]
                    repeated += len(values) != len(set(values)) or len(values) != K
    p50, cpu_p50 = _medians(took), _medians(worked)
    return {
        "recipe": f"big_home(products={products}, dim=256, variants={VARIANTS}), similar products, "
        f"k={K}, in process, in turn",
        "products": products,
        "p50_ms": p50,
        "p50_ratio": p50["grouped"] / p50["ungrouped"],
        # What it takes of a machine that does other work too.
        "cpu_p50_ms": cpu_p50,
        "cpu_p50_ratio": cpu_p50["grouped"] / cpu_p50["ungrouped"],
        "p95_ms": {name: percentile(values, 0.95) for name, values in took.items()},
        "stages_p50_ms": {name: _medians(by_stage) for name, by_stage in stages.items()},
        "short": short,
        "repeated": repeated,
        "samples_ms": took,
    }


def _medians(samples: dict[str, list[float]]) -> dict[str, float]:
    return {name: percentile(values, 0.5) for name, values in samples.items()}


def _facets(work: Path) -> BenchRow:
    """Facets by parent beside a count over the products, one by one."""
    home = _home(work)
    raw = {"must": [{"field": "price", "lt": 40}], "must_not": [{"field": "stock", "lte": 10}]}
    with open_catalog(Home(home)) as catalog:
        passing = [product for product in catalog.iterate() if _passes(product)]
    expected: dict[str, dict[str, set[str]]] = {"parent": {}, "colour": {}, "category": {}}
    for product in passing:
        parent = str(product.fields.parent)
        for field, value in _values(product):
            expected[field].setdefault(value, set()).add(parent)
    wrong = 0
    took: list[float] = []
    with Engine(Settings(home=home, max_delta=0), watch=False) as engine:
        for _ in range(5):
            began = time.perf_counter()
            answer = engine.facets(filter=raw, group_by="parent", limit=1000, fields=FACETED)
            took.append((time.perf_counter() - began) * 1000)
        plain = time.perf_counter()
        engine.facets(filter=raw, limit=1000, fields=FACETED)
        ungrouped_ms = (time.perf_counter() - plain) * 1000
    found = {facet.field: facet for facet in answer.content.facets}
    wrong += answer.content.total != len(expected["parent"])
    for field, values in expected.items():
        wrong += found[field].count != len(set().union(*values.values()))
        counted = {str(row.value): row.count for row in found[field].values or ()}
        wrong += any(count != len(values[value]) for value, count in counted.items())
        wrong += len(counted) != min(1000, len(values))
    return {
        "recipe": "the same home, one filter; a plain count over the catalog",
        "passing": len(passing),
        "groups": answer.content.total,
        "wrong": int(wrong),
        "ms": took,
        "ungrouped_ms": ungrouped_ms,
    }


def _passes(product: Product) -> bool:
    return float(product.fields.price or 0) < 40 and int(product.attributes["stock"]) > 10


def _values(product: Product) -> list[tuple[str, str]]:
    path = product.category or ()
    return [
        ("parent", str(product.fields.parent)),
        ("colour", str(product.attributes["colour"])),
        *(("category", format_path(path[: depth + 1])) for depth in range(len(path))),
    ]


def _stock(work: Path) -> BenchRow:
    """1,000 similar rows and more of each format: with what is out of stock hidden, how many are
    out of stock, and how many are variants of the product asked about, as the made shop knows."""
    made = list(made_products(knob("STOCKED", 40), photos=1))
    folder = work / "feeds"
    write_photos(folder / "photos", made, size=64)
    known = {variant.sku: (product, variant) for product in made for variant in product.variants}
    by_format: dict[str, dict[str, int]] = {}
    for form in FORMATS:
        log(f"bench group: {form}")
        feed = folder / f"{form}.{'txt' if form in ('google', 'amazon') else 'csv'}"
        write_feed(feed, form, made)
        by_format[form] = _similar_rows(_imported(work / f"home-{form}", feed), known)
    told = [found for form, found in by_format.items() if form not in _SILENT]
    return {
        "recipe": f"made_products({len(made)}, photos=1) in {len(FORMATS)} formats, imported, "
        "vectors at random; similar products of all, k=20, out of stock hidden",
        "formats": by_format,
        "silent_of_stock": list(_SILENT),
        "rows": min(found["rows"] - found["unknown"] for found in by_format.values()),
        "out": sum(found["out"] for found in told),
        "same": sum(found["same"] for found in by_format.values()),
    }


def _imported(folder: Path, feed: Path) -> Path:
    """A home of the feed's products, each photo with a vector at random."""
    home = Home.create(folder)
    import_feed(home, feed)
    bundle = projected(home, 64)
    rng = np.random.default_rng(SEED)
    with (
        open_catalog(home) as catalog,
        closing(EmbeddingStore(home.embeddings, bundle.embedding_id, 64)) as store,
    ):
        photo_ids = np.unique(catalog.entries()[1][:, 1])
        vectors = rng.standard_normal((len(photo_ids), 64)).astype(np.float32)
        store.put(photo_ids, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    build_index(home, bundle=bundle, options=BuildOptions(recaptures=False), activate=True)
    return home.path


def _similar_rows(home: Path, known: dict[str, tuple[MadeProduct, MadeVariant]]) -> dict[str, int]:
    found = {"rows": 0, "out": 0, "same": 0, "unknown": 0}
    settings = Settings(home=home, max_delta=0, out_of_stock_results="hide")
    with Engine(settings, watch=False) as engine, open_catalog(Home(home)) as catalog:
        skus = {
            product.product_id: product.fields.sku or product.product_id
            for product in catalog.iterate()
        }
        for asked, sku in skus.items():
            for row in engine.similar(asked, k=K).content.results:
                found["rows"] += 1
                other = known.get(skus[row.product_id])
                if other is None or sku not in known:
                    found["unknown"] += 1
                    continue
                found["out"] += other[1].stock <= 0
                found["same"] += other[0] is known[sku][0]
    return found
