"""Search engines side by side, each a process that answers lines of JSON."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from indexer.core.container import usable_cores
from tools.doctor import installed

ROOT = Path(__file__).parents[3]
ROWS, QUERIES, TRUTH = "rows.npy", "queries.npy", "truth.npy"
K = 10
_SMALLEST, _LARGEST = 16, 16384  # effort of a graph


class SearchEngine:
    """Exact k nearest by inner product of unit vectors; ``effort`` is what it is tuned by, 0 for
    none."""

    package = ""
    parameters = ""
    effort = 0

    def build(self, rows: np.ndarray) -> None:
        """Index float32 ``rows`` [N, D]."""
        raise NotImplementedError

    def search(self, queries: np.ndarray, threads: int) -> np.ndarray:
        """Row numbers int64 [Q, 10] on so many threads, 0 for all."""
        raise NotImplementedError


class FaissHnsw(SearchEngine):
    package, parameters, effort = (
        "faiss",
        "IndexHNSWFlat(d, 32), inner product, efConstruction 40",
        _SMALLEST,
    )

    def build(self, rows: np.ndarray) -> None:
        from indexer.core.native import faiss

        self._faiss: Any = faiss
        self._all = faiss.omp_get_max_threads()
        self._index = faiss.IndexHNSWFlat(rows.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
        self._index.add(rows)

    def search(self, queries: np.ndarray, threads: int) -> np.ndarray:
        self._faiss.omp_set_num_threads(threads or self._all)
        params = self._faiss.SearchParametersHNSW(efSearch=self.effort)
        return np.asarray(self._index.search(queries, K, params=params)[1])


class Hnswlib(SearchEngine):
    package, parameters, effort = "hnswlib", "space ip, M 16, ef_construction 200", _SMALLEST

    def build(self, rows: np.ndarray) -> None:
        import hnswlib

        self._index: Any = hnswlib.Index("ip", rows.shape[1])
        self._index.init_index(len(rows), M=16, ef_construction=200, random_seed=0)
        self._index.add_items(rows, num_threads=usable_cores())

    def search(self, queries: np.ndarray, threads: int) -> np.ndarray:
        self._index.set_ef(max(self.effort, K))
        return self._index.knn_query(queries, K, num_threads=threads or usable_cores())[0].astype(
            np.int64
        )


class Usearch(SearchEngine):
    package, parameters, effort = (
        "usearch",
        "metric ip, f16 (bf16 stays below .99 here), connectivity 16",
        _SMALLEST,
    )

    def build(self, rows: np.ndarray) -> None:
        from usearch.index import Index

        self._index: Any = Index(
            ndim=rows.shape[1], metric="ip", dtype="f16", connectivity=16, expansion_add=128
        )
        self._index.add(np.arange(len(rows)), rows, threads=usable_cores())

    def search(self, queries: np.ndarray, threads: int) -> np.ndarray:
        self._index.expansion_search = self.effort
        found = self._index.search(queries, K, threads=threads or usable_cores())
        return np.asarray(found.keys).reshape(len(queries), -1).astype(np.int64)


class Sklearn(SearchEngine):
    package = "scikit-learn"
    parameters = (
        "NearestNeighbors, brute, euclidean (the same ranking on unit vectors, and its quickest "
        "way)"
    )

    def build(self, rows: np.ndarray) -> None:
        from sklearn.neighbors import NearestNeighbors

        self._index = NearestNeighbors(n_neighbors=K, algorithm="brute", metric="euclidean").fit(
            rows
        )

    def search(self, queries: np.ndarray, threads: int) -> np.ndarray:
        return np.asarray(self._index.kneighbors(queries, return_distance=False))


class Catalens(SearchEngine):
    """The served index: built and tuned, written to files, and opened from them memory-mapped, as a
    server does."""

    package = "catalens"

    def __init__(self, folder: Path, asked: float) -> None:
        self._folder = folder
        self._asked = asked

    def prepare(self) -> dict[str, Any]:
        """Build and tune in this process; what ``build`` then opens."""
        from indexer.index.exact import ExactIndex
        from indexer.index.faiss_index import FaissIndex
        from indexer.index.recipes import candidates
        from indexer.index.tuning import RecallMeter, held_out_queries, tune

        rows = np.load(self._folder / ROWS, mmap_mode="r")
        started = time.perf_counter()
        queries, oracle = held_out_queries(rows), ExactIndex(rows, checked=True)
        judges = RecallMeter(oracle, queries), RecallMeter(oracle, queries.subsample(4))
        judging = time.perf_counter() - started
        refused = []
        for recipe in candidates(*rows.shape):
            started = time.perf_counter()
            index = FaissIndex.build(recipe, np.array(rows), unseen=judges[0].unseen)
            built = time.perf_counter()
            tuned = tune(index, *judges, self._asked)
            if tuned is None:
                refused.append(recipe)
                continue
            index.save(self._folder / "index.faiss")
            done = {
                "recipe": recipe,
                "params": tuned.params,
                "refused": refused,
                "recall": tuned.recall,
            }
            (self._folder / "catalens.json").write_text(json.dumps(done))
            return {
                **done,
                "build_s": built - started,
                "tune_s": judging + time.perf_counter() - built,
            }
        raise AssertionError("the exact scan always holds")

    def build(self, rows: np.ndarray) -> None:
        from indexer.index.faiss_index import FaissIndex

        done = json.loads((self._folder / "catalens.json").read_text())
        file = self._folder / "index.faiss"
        stored = np.load(self._folder / ROWS, mmap_mode="r")
        self._index = FaissIndex.load(
            done["recipe"],
            stored,
            file if done["recipe"] != "Flat" else None,
            params=done["params"],
        )
        self.parameters = f"{done['recipe']}, {done['params']}, asked recall {self._asked}"

    def search(self, queries: np.ndarray, threads: int) -> np.ndarray:
        return np.stack([hits.rows for hits in self._index.search(queries, K)])


PEERS: dict[str, Callable[[], SearchEngine]] = {
    "faiss HNSW32": FaissHnsw,
    "hnswlib": Hnswlib,
    "usearch": Usearch,
    "scikit-learn": Sklearn,
}


def _version(package: str) -> str:
    names = ("faiss-gpu", "faiss-cpu") if package == "faiss" else (package,)
    return next((found for name in names if (found := installed(name))), "")


def pss() -> int:
    """Bytes of memory that are this process's share (Linux); 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def settled_pss() -> int:
    """``pss`` after what was freed went back to the system."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    return pss()


def recall(found: np.ndarray, queries: np.ndarray, rows: np.ndarray, truth: np.ndarray) -> float:
    """recall@10: a hit is right when its exact score >= the 10th exact score - 1e-6."""
    right = 0
    for query, hits, last in zip(queries, found, truth[:, -1], strict=True):
        scores = rows[hits].astype(np.float32) @ query
        right += min(K, int(np.sum(scores >= last - 1e-6)))
    return right / (K * len(queries))


class Remote:
    """An engine in a process of its own."""

    def __init__(self, name: str, folder: Path, asked: float) -> None:
        self.name = name
        command = [
            sys.executable,
            "-m",
            "tools.bench.peers.index_engines",
            name,
            str(folder),
            str(asked),
        ]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ},
        )

    def ask(self, command: str, **options: Any) -> dict[str, Any]:
        """One command and its answer. Raises ``RuntimeError`` where the process ended; its reason
        stands above."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("no pipes")
        stdin.write(json.dumps({"command": command, **options}) + "\n")
        stdin.flush()
        line = stdout.readline()
        if not line:
            raise RuntimeError(
                f"{self.name} ended in the middle of {command}; its reason stands above"
            )
        return dict(json.loads(line))

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(timeout=60)


class _Served:
    """The process's side: one engine and the data it is asked about."""

    def __init__(self, engine: SearchEngine, folder: Path) -> None:
        self._engine = engine
        self._folder = folder
        self._queries = np.load(folder / QUERIES)
        self._truth = np.load(folder / TRUTH)
        self._before = 0

    def prepare(self) -> dict[str, Any]:
        if not isinstance(self._engine, Catalens):
            raise ValueError("only Catalens is built apart")
        return self._engine.prepare()

    def build(self) -> dict[str, Any]:
        ours = isinstance(self._engine, Catalens)
        self._before = settled_pss()
        rows = np.empty((0, 0)) if ours else np.load(self._folder / ROWS).astype(np.float32)
        started = time.perf_counter()
        self._engine.build(rows)
        seconds = time.perf_counter() - started
        return {
            "seconds": seconds,
            "version": _version(self._engine.package),
            "parameters": self._engine.parameters,
        }

    def tune(self, wanted: float) -> dict[str, Any]:
        """The least effort with the wanted recall on a quarter of the queries: doubled, then halved
        in between."""
        rows = np.load(self._folder / ROWS, mmap_mode="r")
        some, truth = self._queries[::4], self._truth[::4]

        def reached(effort: int) -> float:
            self._engine.effort = effort
            return recall(self._engine.search(some, 0), some, rows, truth)

        if self._engine.effort:
            low, high = _SMALLEST, 2 * _SMALLEST
            before, found = 0.0, reached(high)
            while (
                found < wanted and high < _LARGEST and found > before
            ):  # more effort may bring nothing more
                low, high, before = high, 2 * high, found
                found = reached(high)
            for _ in range(3):
                middle = (low + high) // 2
                low, high = (
                    (low, middle) if reached(middle) >= min(wanted, found) else (middle, high)
                )
            self._engine.effort = high
        return {
            "effort": self._engine.effort,
            "recall": recall(self._engine.search(some, 0), some, rows, truth),
        }

    def batch(self, most: int) -> dict[str, Any]:
        asked = self._queries[:most]
        started = time.perf_counter()
        found = self._engine.search(asked, 0)
        seconds = time.perf_counter() - started
        rows = np.load(self._folder / ROWS, mmap_mode="r")
        return {
            "qps": len(asked) / seconds,
            "recall": recall(found, asked, rows, self._truth[:most]),
        }

    def single(self, start: int, count: int) -> dict[str, Any]:
        samples = []
        for q in range(start, start + count):
            query = self._queries[q % len(self._queries)][None]
            began = time.perf_counter()
            self._engine.search(query, 1)
            samples.append(1000 * (time.perf_counter() - began))
        return {"ms": samples}

    def memory(self) -> dict[str, Any]:
        return {"pss": settled_pss() - self._before}


def _main(name: str, folder: str, asked: str) -> None:
    from indexer.core import native

    if native.faiss is None:  # loaded before memory is measured, for every engine alike
        raise RuntimeError("no FAISS")
    ours = name == "catalens"
    served = _Served(Catalens(Path(folder), float(asked)) if ours else PEERS[name](), Path(folder))
    for line in sys.stdin:
        options = json.loads(line)
        answer = getattr(served, options.pop("command"))(**options)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
