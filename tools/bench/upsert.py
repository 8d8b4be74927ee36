"""Benchmark ``upsert``: commits, deletes beside a peer's store, patches in batches."""

from __future__ import annotations

import http.client
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from indexer.catalog.records import NewPhoto, Patch, ProductInput, Put
from indexer.catalog.store import open_catalog
from indexer.core.errors import CatalensError
from indexer.core.home import Home
from indexer.core.sqlite import connect
from indexer.index.version import Versions
from service.engine import Engine
from service.products.writer import Draft
from service.settings import Settings
from tools.bench.data.generated_home import big_home, photo_hash, product_id
from tools.bench.harness.framework import BenchRow, Goal, figure, percentile
from tools.bench.harness.servers import one_core_server
from tools.bench.peers import deepimagesearch

PARTS = ("catalog", "commit", "delete", "patch")
GOALS = (
    Goal(
        "attribute patches per second at the catalog's commit",
        ">=",
        5000,
        figure("catalog", "patches_per_s"),
    ),
    Goal(
        "commit with a cached vector, p99 over a bare fsynced commit's",
        "<=",
        3,
        figure("commit", "p99_ratio"),
    ),
    Goal("written products visible in the next answer", ">=", 1, figure("commit", "visible_share")),
    Goal(
        "delete, times faster than DeepImageSearch's store",
        ">=",
        1000,
        figure("delete", "times_faster"),
    ),
    Goal("attribute patches per second in batches", ">=", 5000, figure("patch", "patches_per_s")),
    Goal("patches visible within, s", "<=", 1, figure("patch", "visible_s")),
)
PRODUCTS = "CATALENS_BENCH_PRODUCTS"  # how many products the home has
_COMMITS, _DELETES, _PEER_DELETES = 1000, 300, 3
_BATCH, _BATCHES = 1000, 30
_PATCHES, _PATCH_BATCHES = 2000, 5
_PATIENCE_S = 10.0


def measure(part: str, work: Path) -> BenchRow:
    """One part's row."""
    if part == "catalog":
        return _catalog(work)
    products = int(os.environ.get(PRODUCTS, "100000"))
    home = big_home(work / f"home-{products}", products)
    parts: dict[str, Callable[[Home, Path, int], BenchRow]] = {
        "commit": _commit,
        "delete": _delete,
        "patch": _patch,
    }
    return {
        "products": products,
        "recipe": f"big_home(products={products}, dim=256)",
        **parts[part](home, work, products),
    }


def _catalog(work: Path) -> BenchRow:
    """Batches of patches applied to a catalog alone, each a commit; the best batch counts."""
    rates = []
    with (
        tempfile.TemporaryDirectory(dir=work) as folder,
        open_catalog(Home.create(Path(folder))) as catalog,
    ):
        photo = NewPhoto(photo_hash(0), "JPEG", 1, 1, 1, "reference", "/nowhere")
        names = [product_id(number) for number in range(_PATCHES)]
        puts = [ProductInput(name, None, None, (), {}, (photo.content_hash,)) for name in names]
        catalog.apply([Put(product, [photo]) for product in puts])
        for batch in range(_PATCH_BATCHES):
            patches = [
                Patch(name, {"attributes": {"price": number + batch + 0.5}})
                for number, name in enumerate(names)
            ]
            started = time.perf_counter()
            written = catalog.apply(patches)
            rates.append(_PATCHES / (time.perf_counter() - started))
            if {getattr(result, "outcome", None) for result in written} != {"patched"}:
                raise CatalensError("the catalog did not apply every patch")
    return {
        "recipe": f"{_PATCHES:,} products, one attribute of each patched {_PATCH_BATCHES} times",
        "patches_per_s": max(rates),
        "rates": rates,
    }


def _engine(home: Home) -> Engine:
    return Engine(Settings(home=home.path, max_delta=0), watch=False)


def _commit(home: Home, work: Path, products: int) -> BenchRow:
    """PUTs of new products with stored photos and bare commits, in turn, on one disk; each PUT is
    asked for at once."""
    commits = min(_COMMITS, products // 2)
    chosen = random.Random(0).sample(range(products), commits)
    bare, ours, seen, asked = [], [], 0, []
    file = work / f"bare-{time.time_ns()}.sqlite3"
    file.touch()
    sql = connect(file, isolation_level=None)
    sql.execute("PRAGMA journal_mode = WAL")
    sql.execute("PRAGMA synchronous = FULL")
    sql.execute("CREATE TABLE products (pid INTEGER PRIMARY KEY, attributes TEXT NOT NULL)")
    with _engine(home) as engine:
        for place, number in enumerate(chosen):
            attributes = {"price": 1.0 + place, "stock": place, "colour": "red", "brand": "brand 1"}
            started = time.perf_counter()
            sql.execute("BEGIN IMMEDIATE")
            sql.execute("INSERT INTO products (attributes) VALUES (?)", (json.dumps(attributes),))
            sql.execute("COMMIT")
            bare.append(time.perf_counter() - started)
            draft = Draft(title="new", attributes=attributes, photos=(photo_hash(number),))
            name = f"new-{time.time_ns()}"
            started = time.perf_counter()
            engine.products.put(name, draft)
            ours.append(time.perf_counter() - started)
            found = engine.similar(product_id(number), k=10)
            asked.append(time.perf_counter() - started)
            seen += name in {row.product_id for row in found.content.results}
    sql.close()
    return {
        "commits": commits,
        "against": "BEGIN IMMEDIATE, one INSERT, COMMIT; WAL, synchronous FULL, the same folder, "
        "in turn with the PUTs",
        "p99_ratio": percentile(ours, 0.99) / percentile(bare, 0.99),
        "p50_ratio": percentile(ours, 0.5) / percentile(bare, 0.5),
        "put_p50_ms": percentile(ours, 0.5) * 1000,
        "put_p99_ms": percentile(ours, 0.99) * 1000,
        "bare_p50_ms": percentile(bare, 0.5) * 1000,
        "bare_p99_ms": percentile(bare, 0.99) * 1000,
        "put_and_next_answer_p50_ms": percentile(asked, 0.5) * 1000,
        "visible_share": seen / commits,
        "put_s": ours,
        "bare_s": bare,
    }


def _delete(home: Home, work: Path, products: int) -> BenchRow:
    """Single deletes, each flushed and gone from the next answer; the peer's from a store of the
    same vectors."""
    samples, still = [], 0
    with _engine(home) as engine:
        doomed = []
        for number in random.Random(1).sample(range(products), min(_DELETES, products // 4)):
            doomed.append((f"doomed-{time.time_ns()}", product_id(number)))
            engine.products.put(doomed[-1][0], Draft(photos=(photo_hash(number),)))
        for name, twin in doomed:
            started = time.perf_counter()
            engine.products.delete(name)
            samples.append(time.perf_counter() - started)
            near = engine.similar(twin, k=10).content.results
            still += name in {row.product_id for row in near}
    if still:
        raise CatalensError(f"{still} deleted products were found by the next answer")
    version = Versions(home).names()[-1]
    vectors = home.indexes / version / "vectors.npy"
    peers = {
        kind: deepimagesearch.measure(vectors, work, kind, 1 if kind == "hnsw" else _PEER_DELETES)
        for kind in os.environ.get("CATALENS_BENCH_PEER_KINDS", "flat,hnsw").split(",")
    }
    ours = statistics.median(samples)
    row: dict[str, Any] = {
        "peer": f"{deepimagesearch.PACKAGE} {deepimagesearch.VERSION}, FAISSStore, "
        "one id deleted and the store saved",
        "delete_p50_ms": ours * 1000,
        "delete_p99_ms": percentile(samples, 0.99) * 1000,
        "delete_s": samples,
        "peers": peers,
    }
    for kind, found in peers.items():
        row[f"times_faster_{kind}"] = statistics.median(found["delete_saved_s"]) / ours
    # Like for like: at this size both search approximately. The peer's flat store, which is exact,
    # stands beside it.
    return {**row, "compared": "hnsw", "times_faster": row.get("times_faster_hnsw")}


def _patch(home: Home, work: Path, products: int) -> BenchRow:
    """Batches of price and stock over HTTP, the server on one core; after each, when answers and
    filters show it."""
    rng = np.random.default_rng(2)
    took, shown, filtered = [], [], []
    with one_core_server(home.path) as (port, pinned):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

        def call(method: str, path: str, body: Any = None) -> tuple[int, Any]:
            sent = None if body is None else json.dumps(body)
            connection.request(method, path, sent, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, json.loads(response.read())

        for number in range(_BATCHES):
            price = 1e6 + number + float(rng.random())
            batch = [
                {
                    "op": "patch",
                    "product_id": product_id(int(i)),
                    "attributes": {"price": price, "stock": int(rng.integers(1000))},
                }
                for i in rng.choice(products, min(_BATCH, products), replace=False)
            ]
            started = time.perf_counter()
            status, answer = call("POST", "/v1/products:batch", {"items": batch})
            took.append(time.perf_counter() - started)
            bad = [row for row in answer.get("results", ()) if row["status"] != 200]
            if status != 200 or bad:
                raise CatalensError(f"products:batch answered {status}: {str(bad or answer)[:300]}")
            name = batch[-1]["product_id"]
            done = time.perf_counter()
            while call("GET", f"/v1/products/{name}")[1]["attributes"]["price"] != price:
                _no_longer_than(done)
            shown.append(time.perf_counter() - done)
            where = {"must": [{"field": "price", "eq": price}]}
            while True:
                status, answer = call(
                    "POST", "/v1/search", {"product_id": name, "k": 1, "filter": where}
                )
                if status != 200:
                    raise CatalensError(
                        f"/v1/search with a filter answered {status}: {str(answer)[:300]}"
                    )
                if answer["results"]:
                    break
                _no_longer_than(done)
            filtered.append(time.perf_counter() - done)
        connection.close()
    return {
        "batch": len(batch),
        "batches": _BATCHES,
        "pinned": pinned,
        "patches_per_s": len(batch) * _BATCHES / sum(took),
        "visible_s": max(max(shown), max(filtered)),
        "product_visible_s": shown,
        "filter_visible_s": filtered,
        "batch_s": took,
    }


def _no_longer_than(since: float) -> None:
    if time.perf_counter() - since > _PATIENCE_S:
        raise CatalensError(f"a patch was not visible within {_PATIENCE_S:.0f} s")
