"""The benchmark ``compose``: "like this, but blue", of photos whose attributes nobody stored.

``CATALENS_BENCH_MODELS`` as in ``text_gallery``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from indexer.index.query_weighting import reweight_queries
from service.engine import Query
from tools.bench.data.text_gallery import (
    TEN,
    TextShop,
    asking,
    found,
    gallery,
    pairs,
    precision,
    shop,
)
from tools.bench.harness.framework import BenchRow, Goal, figure
from tools.output import log

PARTS = ("colour",)
_LINEAR = {"a": 0.5, "c": 0.45, "g": 0.05}

GOALS = (
    Goal(
        "like this, but another colour: article and colour, precision@10",
        ">=",
        0.74,
        figure("colour", "both"),
    ),
)


def measure(part: str, work: Path) -> BenchRow:
    """Each test and validation photo, asked for in each other colour that ten or more photos of its
    article have.

    The gallery holds the test and validation photos without title, tags, category or attributes;
    tower and colours are learned from the train photos. Right is a photo of the question's article
    in the colour asked for; the photo itself is left out. ``samples``: the mean over questions by
    target. Peers: the photo alone; the colour block replaced by the mean of that colour's train
    photos, weighed as the model does and as does best on validation photos; the photo's vector less
    the mean vector of its own colour's train photos plus that of the new one.
    """
    log(f"bench compose: {part}")
    made = shop(work)
    places = made.places("test", "validation")
    wanted = [
        (place, colour, article)
        for colour, article in pairs(made, places)
        for place in places[
            (made.article[places] == article) & (made.colour[places] != colour)
        ].tolist()
    ]
    home = gallery(made, work / "compose", places)
    with asking(home, made.tower(made.told(made.places("train")))) as engine:
        lists = [
            found(engine.search(Query(product_id=str(place), text=colour), k=TEN))
            for place, colour, _ in wanted
        ]
    answered = list(zip(lists, wanted, strict=True))
    both = [precision(made, listed, colour, article) for listed, (_, colour, article) in answered]
    samples: dict[str, list[float]] = {}
    for value, (_, colour, article) in zip(both, wanted, strict=True):
        samples.setdefault(f"{colour} {article}", []).append(value)
    return {
        "recipe": measure.__doc__,
        "model": made.bundle.model_version,
        "questions": len(wanted),
        "both": float(np.mean(both)),
        "article": float(
            np.mean([made.article[listed] == article for listed, (_, _, article) in answered])
        ),
        "colour": float(
            np.mean([made.colour[listed] == colour for listed, (_, colour, _) in answered])
        ),
        "peers": _peers(made, places, wanted),
        "samples": [
            {"target": name, "questions": len(values), "both": float(np.mean(values))}
            for name, values in samples.items()
        ],
    }


def _peers(
    made: TextShop, places: np.ndarray, wanted: list[tuple[int, str, str]]
) -> dict[str, Any]:
    blocks, train = made.bundle.spec.blocks, made.places("train")
    colours = made.bundle.spec.block_slice("c")
    weight = next(block.weight for block in blocks if block.name == "c")
    means = {
        colour: made.vectors[train[made.colour[train] == colour]].mean(axis=0)
        for colour in set(made.colour[train].tolist())
    }
    photos = made.vectors[[place for place, _, _ in wanted]]
    new = np.stack([means[colour] for _, colour, _ in wanted])
    centre = made.vectors[train].mean(axis=0)
    old = np.stack([means.get(str(made.colour[place]), centre) for place, _, _ in wanted])
    replaced = photos.copy()
    block = new[:, colours]
    replaced[:, colours] = np.sqrt(weight) * block / np.linalg.norm(block, axis=1, keepdims=True)
    queries = {
        "the photo alone": photos,
        "colour block replaced": replaced,
        "colour block replaced, weights chosen for it": reweight_queries(replaced, blocks, _LINEAR)[
            0
        ],
        "less the old colour's mean, plus the new one's": photos - old + new,
    }
    return {name: _precision(made, places, wanted, asked) for name, asked in queries.items()}


def _precision(
    made: TextShop, places: np.ndarray, wanted: list[tuple[int, str, str]], queries: np.ndarray
) -> float:
    values = []
    for query, (place, colour, article) in zip(queries, wanted, strict=True):
        scores = made.vectors[places] @ query
        scores[places == place] = -np.inf
        listed = places[np.argsort(-scores, kind="stable")[:TEN]].tolist()
        values.append(precision(made, listed, colour, article))
    return float(np.mean(values))
