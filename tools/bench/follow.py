"""Benchmark ``follow``: answers of a large catalog, and beside one that was written to at length.

Knobs of the environment: ``CATALENS_BENCH_PRODUCTS`` (20,000; 1000000 takes its time) and
``CATALENS_BENCH_REVIEWS`` (1,000) of the answers, ``CATALENS_BENCH_PHOTOS`` (200; 10000) of the
import, ``CATALENS_BENCH_SECONDS`` (10) of the searches before and beside the reviews.
"""

from __future__ import annotations

import io
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from indexer.core.home import Home
from indexer.reviews.store import open_reviews
from service.app import create_app
from service.engine import Engine
from service.settings import Settings
from tools.bench.data.generated_home import COLOURS, big_home, product_id
from tools.bench.harness.framework import BenchRow, Goal, figure, knob, percentile
from tools.output import log

PARTS = ("answers", "review")
ROOT = Path(__file__).parents[2]
GOALS = (
    Goal("/metrics, p50 ms", "<", 50, figure("answers", "metrics_ms")),
    Goal("facets, p50 ms", "<", 200, figure("answers", "facets_ms")),
    Goal("first question by text, ms", "<", 1000, figure("answers", "first_text_ms")),
    Goal("a page of reviews, p50 ms", "<", 100, figure("answers", "reviews_ms")),
    Goal(
        "searches beside a review after an import: p99 over quiet p99",
        "<=",
        2.0,
        figure("review", "p99_ratio"),
    ),
)
_DIM, _SEED, _TIMES = 64, 5, 15


def measure(part: str, work: Path) -> BenchRow:
    """One part's row."""
    log(f"bench follow: {part}")
    return {"answers": _answers, "review": _review}[part](work)


# -- answers of a large catalog


def _answers(work: Path) -> BenchRow:
    """What is asked often, over HTTP in process; words are read anew beside the questions."""
    products = knob("PRODUCTS", 20_000)
    home = big_home(work / f"follow-{products}", products, dim=_DIM)
    reviews = _fill_reviews(home, knob("REVIEWS", 1000))
    for path in home.path.glob("keywords.sqlite3*"):
        path.unlink()
    settings = Settings(home=home.path, max_delta=0)
    with Engine(settings) as engine:
        web = create_app(engine, engine.settings).test_client()
        first_ms, first = _asked(web, "POST", "/v1/search", {"text": "product 7 blue", "k": 20})
        # While the words are still read, if they are many.
        facets = [_asked(web, "GET", "/v1/facets")[0] for _ in range(_TIMES)]
        metrics = [_asked(web, "GET", "/metrics")[0] for _ in range(_TIMES)]
        pages = [_asked(web, "GET", "/v1/reviews?limit=20")[0] for _ in range(_TIMES)]
        began = time.perf_counter()
        while _asked(web, "POST", "/v1/search", {"text": "blue"})[1].get("complete") is False:
            time.sleep(0.5)
        followed_s = time.perf_counter() - began
        word_ms, _ = _asked(web, "POST", "/v1/search", {"text": "red", "k": 20})
    return {
        "recipe": f"big_home(products={products}, dim={_DIM}), {reviews} reviews of three photos, "
        "HTTP in process, one client",
        "products": products,
        "reviews": reviews,
        "first_text_ms": first_ms,
        "first_text_complete": first.get("complete", True),
        "words_followed_s": followed_s,
        "text_ms": word_ms,
        "facets_ms": percentile(facets, 0.5),
        "metrics_ms": percentile(metrics, 0.5),
        "reviews_ms": percentile(pages, 0.5),
        "samples_ms": {"facets": facets, "metrics": metrics, "reviews": pages},
    }


def _asked(
    web: Any, method: str, path: str, body: dict[str, Any] | None = None
) -> tuple[float, dict[str, Any]]:
    """Milliseconds, and the answer."""
    began = time.perf_counter()
    answer = web.open(path, method=method, json=body)
    took = (time.perf_counter() - began) * 1000
    assert answer.status_code == 200, answer.get_data(as_text=True)[:500]
    return took, answer.get_json(silent=True) or {}


def _fill_reviews(home: Home, count: int) -> int:
    """Reviews as large as those of three photos are, a third of them decided."""
    words = ["evidence of a detector and what a merchant can do about it"] * 40
    photo = {"quality": {"findings": [{"code": f"q{n}", "advice": words[:4]} for n in range(12)]}}
    alarms = [{"policy": f"policy {n}", "decision": "review", "evidence": words} for n in range(3)]
    body = {"verdict": "review", "prohibited": alarms, "photos": [photo] * 3}
    with open_reviews(home) as reviews:
        there = sum(reviews.counts().values())
        for number in range(there, count):
            name = reviews.open_review(body, [])
            reviews.add_feedback([{"accepted": ["a"], "rejected": ["b"]}])
            if number % 3 == 0:
                reviews.decide(name, "reject" if number % 2 else "approve", reason="")
        return max(there, count)


# -- a review after an import


def _review(work: Path) -> BenchRow:
    """Searches of stored products by one client, quiet and beside reviews after another process
    has imported photos that nobody has embedded or signed."""
    products, photos = 2000, knob("PHOTOS", 200)
    seconds = float(knob("SECONDS", 10))
    home = big_home(work / f"imported-{photos}-{time.time_ns()}", products, dim=_DIM)
    data = _write_photos(work / f"photos-{photos}", photos)
    with Engine(Settings(home=home.path, max_delta=0)) as engine:
        engine.review([_photo(-1)], queue=False)
        _wait_until_followed(engine)
        quiet = _searches(engine, seconds)
        command = [sys.executable, "-m", "tools.cli", "import", str(data), "--home", str(home.path)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        stop = threading.Event()
        reviews: list[tuple[float, bool]] = []

        def review() -> None:
            number = photos
            while not stop.is_set():
                number += 1
                began = time.perf_counter()
                answer = engine.review([_photo(number)], queue=False).content
                reviews.append(((time.perf_counter() - began) * 1000, answer.duplicates_complete))
                stop.wait(1.0)

        reviewing = threading.Thread(target=review)
        reviewing.start()
        beside = _searches(engine, seconds)
        stop.set()
        reviewing.join()
        waiting = len(engine.ready().pending)
    return {
        "recipe": f"big_home(products={products}, dim={_DIM}); {photos} JPEGs of 1200 x 1600 px "
        "imported by another process; a review a second beside one client's searches",
        "photos": photos,
        "quiet_p99_ms": percentile(quiet, 0.99),
        "beside_p99_ms": percentile(beside, 0.99),
        "p99_ratio": percentile(beside, 0.99) / percentile(quiet, 0.99),
        "p50_ms": {"quiet": percentile(quiet, 0.5), "beside": percentile(beside, 0.5)},
        "first_review_ms": reviews[0][0],
        "reviews": reviews,
        "waiting_at_the_end": waiting,
        "searches": {"quiet": len(quiet), "beside": len(beside)},
    }


def _wait_until_followed(engine: Engine) -> None:
    while not engine.review([_photo(-1)], queue=False).content.duplicates_complete:
        time.sleep(0.5)


def _searches(engine: Engine, seconds: float) -> list[float]:
    """Milliseconds of each search of a stored product, one after the other."""
    drawn, took = random.Random(_SEED), []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        engine.similar(product_id(drawn.randrange(2000)), k=10)
        took.append((time.perf_counter() - began) * 1000)
        time.sleep(0.01)
    return took


def _write_photos(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / f"{number}.jpg"
        if not path.exists():
            path.write_bytes(_photo(number))
    return folder


def _photo(number: int) -> bytes:
    """A JPEG of a few blurred patches of colour, another one for each number."""
    rng = np.random.default_rng([_SEED, number + 1])
    small = rng.integers(0, 255, (8 + len(COLOURS) % 3, 8, 3), dtype=np.uint8)
    picture = Image.fromarray(small).resize((1200, 1600), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=85)
    return stream.getvalue()
