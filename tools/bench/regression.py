"""Benchmark ``regression``: this working tree beside another commit, in pairs.

``CATALENS_BENCH_BASE`` is a checkout of the other commit (``git worktree add DIR COMMIT``).
``CATALENS_BENCH_PAIRS`` (200) pairs of requests and ``_STARTS`` (20) pairs of starts are counted,
over ``_PRODUCTS`` (1,500) products of the sample catalog. The other commit builds the home and
each side serves a copy of its own. Both use one thread; with two cores or more both servers share
one core and the client has the rest.
"""

from __future__ import annotations

import base64
import csv
import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from indexer.core.errors import BadDataError, CatalensError
from tools.bench.harness.framework import BenchRow, Goal, figure, knob
from tools.bench.harness.servers import (
    ROOT,
    Server,
    core_apart,
    free_port,
    multipart,
    running,
    serve_arguments,
)
from tools.output import log

BASE = "CATALENS_BENCH_BASE"
RECIPES = {
    "describe": "POST /v1/describe, multipart, a photo of bytes never sent before",
    "search": "POST /v1/search, multipart, a photo of bytes never sent before",
    "search-by-id": "POST /v1/search with product_id, every product once before any again",
    "put": "PUT of a new product with one photo of bytes never sent before",
    "start": "start of the process to the first 200 of /readyz",
}
PARTS = tuple(RECIPES)
K = 10
RESAMPLES = 10_000
_WARM_UP_REQUESTS, _WARM_UP_STARTS = 20, 1
_READY_POLL_S = 0.01

GOALS = tuple(
    Goal(
        f"{part}: upper end of the 95% interval of the time over the other commit's",
        "<=",
        1.05,
        figure(part, "ratio_high"),
    )
    for part in PARTS
)


def measure(part: str, work: Path) -> BenchRow:
    """One operation's row. Raises ``BadDataError`` where the other commit is not there."""
    log(f"bench regression: {part}")
    base, tree = base_checkout(), Checkout("tree", ROOT)
    for side in (base, tree):
        side.check()
    shop = built_shop(base, work / f"regression-{knob('PRODUCTS', 1500)}", knob("PRODUCTS", 1500))
    if part == "start":
        figures = compare_starts((base, tree), shop.home, knob("STARTS", 20))
    else:
        figures = compare_requests(part, (base, tree), shop, knob("PAIRS", 200))
    return {
        "recipe": RECIPES[part],
        "products": len(shop.product_ids),
        "base": base.commit(),
        "tree": tree.commit(),
        **figures,
    }


@dataclass(frozen=True)
class Checkout:
    """A folder with a commit's files, run by this interpreter; ``name`` is ``base`` or ``tree``."""

    name: str
    root: Path

    def environment(self) -> dict[str, str]:
        """This folder's packages before any installed ones, and one thread."""
        return {**os.environ, "PYTHONPATH": str(self.root), "CATALENS_THREADS": "1"}

    def check(self) -> None:
        """Raise ``BadDataError`` unless it is this folder's code that runs."""
        found = self._output(sys.executable, "-c", "import tools; print(tools.__path__[0])")
        if found is None or Path(found).resolve().parent != self.root.resolve():
            raise BadDataError(f"{self.root} is not a checkout of Catalens: it holds no 'tools'")

    def commit(self) -> str | None:
        """The commit, marked ``-dirty`` where files differ from it; None outside git."""
        return self._output("git", "describe", "--always", "--dirty", "--exclude=*")

    def run(self, module: str, *arguments: str | Path | int) -> None:
        """Run a module of this folder to its end, on all cores. Raises ``CatalensError``."""
        command = [sys.executable, "-m", module, *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": str(self.root)}
        done = subprocess.run(command, cwd=self.root, env=environment, stdout=sys.stderr)
        if done.returncode != 0:
            raise CatalensError(f"failed in {self.root}: {' '.join(command[1:])}")

    def serve(self, home: Path, core: int | None) -> AbstractContextManager[Server]:
        """The service over ``home``, ready, on ``core`` alone unless that is None."""
        port = free_port()
        return running(
            serve_arguments(home, port),
            port,
            root=self.root,
            environment=self.environment(),
            core=core,
            poll_s=_READY_POLL_S,
        )

    def _output(self, *command: str) -> str | None:
        done = subprocess.run(
            command, cwd=self.root, env=self.environment(), capture_output=True, text=True
        )
        return done.stdout.strip() if done.returncode == 0 else None


@dataclass(frozen=True)
class SampleShop:
    """A home that serves the sample catalog, and the catalog's photos and product ids."""

    home: Path
    photos: Sequence[Path]
    product_ids: Sequence[str]


@dataclass(frozen=True)
class BenchRequest:
    """What both sides are asked in one pair."""

    method: str
    path: str
    body: bytes
    content_type: str


def base_checkout() -> Checkout:
    """The other commit's folder. Raises ``BadDataError`` where none is named."""
    named = os.environ.get(BASE)
    if not named:
        raise BadDataError(
            f"name the other commit: run git worktree add DIR COMMIT and set {BASE}=DIR"
        )
    return Checkout("base", Path(named).absolute())


def built_shop(base: Checkout, folder: Path, products: int) -> SampleShop:
    """The sample catalog drawn, trained and indexed by ``base``, unless ``folder`` has it."""
    home, manifest = folder / "home", folder / "catalog" / "products.csv"
    if not (home / "CURRENT").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        log(f"{products:,} products are drawn, trained and indexed by {base.root}")
        base.run("tools.sample_catalog", manifest.parent, "--products", products)
        base.run("tools.cli", "train", manifest, "--out", folder / "model")
        base.run("tools.cli", "import", manifest, "--home", home, "--photos", "reference")
        build = ("index", "build", "--home", home, "--model", folder / "model", "--activate")
        base.run("tools.cli", *build)
    with manifest.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    photos = [manifest.parent / row["image"] for row in rows]
    return SampleShop(home, photos, list(dict.fromkeys(row["product_id"] for row in rows)))


def request_of(part: str, number: int, shop: SampleShop) -> BenchRequest:
    """Request ``number`` of a part; bytes behind a JPEG's end make it a photo never sent before."""
    photo = shop.photos[number % len(shop.photos)].read_bytes() + f"{part} {number}".encode()
    if part in ("describe", "search"):
        return BenchRequest("POST", f"/v1/{part}", *multipart(photo, K))
    if part == "search-by-id":
        path = "/v1/search"
        document = {"product_id": shop.product_ids[number % len(shop.product_ids)], "k": K}
        return BenchRequest("POST", path, json.dumps(document).encode(), "application/json")
    product = {
        "title": f"Product {number}",
        "attributes": {"price": float(number)},
        "images": [{"base64": base64.b64encode(photo).decode()}],
    }
    path = f"/v1/products/regression-{number}"
    return BenchRequest("PUT", path, json.dumps(product).encode(), "application/json")


def compare_requests(
    part: str, sides: Sequence[Checkout], shop: SampleShop, pairs: int
) -> BenchRow:
    """Both services up and asked the same in turn; with each pair the other one is first."""
    taken: dict[str, list[float]] = {side.name: [] for side in sides}
    same = 0
    with ExitStack() as stack:
        core = stack.enter_context(core_apart())
        connections = {}
        for side in sides:
            home = stack.enter_context(copied(shop.home, side.name))
            server = stack.enter_context(side.serve(home, core))
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
            connections[side.name] = connection
            stack.callback(connection.close)
        for number in range(_WARM_UP_REQUESTS + pairs):
            request = request_of(part, number, shop)
            answers = []
            for side in sides if number % 2 else sides[::-1]:
                seconds, answer = timed_answer(connections[side.name], request)
                answers.append(product_ids_of(answer))
                if number >= _WARM_UP_REQUESTS:
                    taken[side.name].append(1000 * seconds)
            same += number >= _WARM_UP_REQUESTS and answers[0] == answers[1]
    return {**paired_figures(taken), "pinned": core is not None, "same_products": same / pairs}


def compare_starts(sides: Sequence[Checkout], home: Path, pairs: int) -> BenchRow:
    """One service at a time, started and stopped in turn; the first pair warms the disk's cache."""
    taken: dict[str, list[float]] = {side.name: [] for side in sides}
    with ExitStack() as stack:
        core = stack.enter_context(core_apart())
        homes = {side.name: stack.enter_context(copied(home, side.name)) for side in sides}
        for number in range(_WARM_UP_STARTS + pairs):
            for side in sides if number % 2 else sides[::-1]:
                with side.serve(homes[side.name], core) as server:
                    if number >= _WARM_UP_STARTS:
                        taken[side.name].append(1000 * server.seconds)
    return {**paired_figures(taken), "pinned": core is not None}


@contextmanager
def copied(home: Path, name: str) -> Iterator[Path]:
    """A copy of a home beside it, deleted afterwards."""
    copy = home.with_name(f"{home.name}-{name}-{time.time_ns()}")
    try:
        yield shutil.copytree(home, copy)
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def timed_answer(
    connection: http.client.HTTPConnection, request: BenchRequest
) -> tuple[float, Mapping[str, object]]:
    """(seconds from the request to the answer's last byte, the answer). Raises
    ``CatalensError`` unless the status is 200 or 201."""
    started = time.perf_counter()
    headers = {"Content-Type": request.content_type}
    connection.request(request.method, request.path, request.body, headers)
    response = connection.getresponse()
    text = response.read()
    seconds = time.perf_counter() - started
    if response.status not in (200, 201):
        raise CatalensError(f"{request.path} answered {response.status}: {text[:200]!r}")
    return seconds, json.loads(text)


def product_ids_of(answer: Mapping[str, object]) -> list[str]:
    """The products of an answer's results, best first."""
    results = answer.get("results")
    return [row["product_id"] for row in results] if isinstance(results, list) else []


def paired_figures(taken: Mapping[str, Sequence[float]]) -> BenchRow:
    """Raw samples of ``base`` and ``tree`` in ms, both medians, and the pairs' ratio.

    ``ratio`` is the median of tree over base within a pair; its 95% interval is the percentile
    bootstrap over pairs (generator seeded by 0).
    """
    samples = {name: np.round(side, 3).tolist() for name, side in taken.items()}
    ratios = np.asarray(samples["tree"]) / np.asarray(samples["base"])
    resampled = np.random.default_rng(0).choice(ratios, (RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(resampled, axis=1), (2.5, 97.5))
    return {
        "pairs": len(ratios),
        "base_p50_ms": median(samples["base"]),
        "tree_p50_ms": median(samples["tree"]),
        "ratio": float(np.median(ratios)),
        "ratio_low": float(low),
        "ratio_high": float(high),
        "interval": f"95%, bootstrap of the median over pairs, {RESAMPLES:,} resamples, seed 0",
        "samples_ms": samples,
    }
