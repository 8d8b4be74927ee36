"""Picture of recall against speed for every recipe, as SVG."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from tools.generated_vectors import Generated

_COLOURS = ("#0b6e4f", "#c8553d", "#3d5a98", "#8a6d3b", "#6b4c9a")
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 640, 380, 80, 20, 36, 48
_ROUNDS = 7
_TICKS = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)


def measured(data: Generated) -> list[dict[str, Any]]:
    """For every recipe its points ``{"effort", "rerank", "recall", "qps"}`` on the data's queries,
    from little effort up; "Flat" has the one point. Batches on all threads, the median of
    ``_ROUNDS``."""
    from indexer.index.base import SearchParams
    from indexer.index.exact import ExactIndex
    from indexer.index.faiss_index import FaissIndex
    from indexer.index.recipes import candidates
    from indexer.index.tuning import ann_recall_at_k

    n, dim = data.rows.shape
    queries = data.queries[:500]
    exact = ExactIndex(data.rows, checked=True).search(queries, 10)
    recipes = candidates(n, dim)[:-1]
    if "HNSW32,SQ8" not in recipes:
        recipes.append("HNSW32,SQ8")
    found = []
    for recipe in [*recipes, "Flat"]:
        started = time.perf_counter()
        index = FaissIndex.build(recipe, data.rows)
        built = time.perf_counter() - started
        points = []
        for effort, rerank in _efforts(index):
            seconds = []
            for _ in range(_ROUNDS):
                began = time.perf_counter()
                hits = index.search(queries, 10, params=SearchParams(effort=effort, rerank=rerank))
                seconds.append(time.perf_counter() - began)
            recall = ann_recall_at_k([h.scores for h in hits], exact, 10)
            qps = len(queries) / median(seconds)
            points.append({"effort": effort, "rerank": rerank, "recall": recall, "qps": qps})
        found.append({"recipe": recipe, "build_s": built, "points": points})
    return found


def _efforts(index: Any) -> list[tuple[int | None, int | None]]:
    if index.kind == "flat":
        return [(None, None)]
    rerank = 32 if "x4" in index.recipe else 2 if index.kind == "hnsw" else 4
    start, end = (2, index.max_effort / 2) if index.kind == "ivf" else (16, 1024)
    efforts = [round(start * 2**step) for step in range(int(math.log2(end / start)) + 1)]
    return [(effort, rerank) for effort in efforts]


def drawn(curves: Sequence[dict[str, Any]], title: str) -> str:
    """The curves as one SVG: recall@10 to the right (its miss by powers), queries a second upwards
    (by powers)."""
    rates = [point["qps"] for curve in curves for point in curve["points"]]
    low, high = math.floor(math.log10(min(rates))), math.ceil(math.log10(max(rates)))

    def x(recall: float) -> float:
        place = math.log10(1 - min(max(recall, _TICKS[0]), 0.9995))
        first, last = math.log10(1 - _TICKS[0]), math.log10(0.0005)
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (place - first) / (last - first)

    def y(rate: float) -> float:
        return (
            _HEIGHT
            - _BOTTOM
            - (_HEIGHT - _TOP - _BOTTOM) * (math.log10(rate) - low) / max(high - low, 1)
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="20" font-size="14">{title}</text>',
    ]
    for tick in _TICKS:
        parts.append(f'<path d="M{x(tick):.1f} {_TOP}V{_HEIGHT - _BOTTOM}" stroke="#e4e4e4"/>')
        parts.append(
            f'<text x="{x(tick):.1f}" y="{_HEIGHT - _BOTTOM + 16}" '
            f'text-anchor="middle">{tick:g}</text>'
        )
    for power in range(low, high + 1):
        parts.append(
            f'<path d="M{_LEFT} {y(10.0**power):.1f}H{_WIDTH - _RIGHT}" stroke="#e4e4e4"/>'
        )
        parts.append(
            f'<text x="{_LEFT - 6}" y="{y(10.0**power) + 4:.1f}" '
            f'text-anchor="end">{10**power:,}</text>'
        )
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 10}" text-anchor="middle">recall@10</text>')
    parts.append(
        f'<text transform="translate(14 {_HEIGHT / 2}) rotate(-90)" '
        'text-anchor="middle">queries/s</text>'
    )
    for number, curve in enumerate(curves):
        colour, points = (
            _COLOURS[number % len(_COLOURS)],
            [(x(p["recall"]), y(p["qps"])) for p in curve["points"]],
        )
        line = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in points]
        base = _HEIGHT - _BOTTOM - 12 - 16 * (len(curves) - 1 - number)
        parts.append(f'<text x="{_LEFT + 10}" y="{base}" fill="{colour}">{curve["recipe"]}</text>')
    return "\n".join([*parts, "</svg>\n"])


def draw(data: Generated, path: Path) -> dict[str, Any]:
    """Measure, and write the picture; the curves as a benchmark's row."""
    curves = measured(data)
    path.write_text(
        drawn(curves, f"{len(data.rows):,} x {data.rows.shape[1]}, {_shape(data)}"),
        encoding="utf-8",
    )
    return {"data": data.recipe, "picture": str(path), "curves": curves}


def _shape(data: Generated) -> str:
    return next(shape for shape in ("clustered", "skewed", "flat") if shape in data.recipe)
