"""Benchmark ``text``: products found by words, beside three peers.

``CATALENS_BENCH_MODELS`` as in ``text_gallery``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from indexer.catalog.store import open_catalog
from indexer.text.keyword_index import Keywords
from indexer.text.tokenizer import tokens, words
from indexer.training.advise import frozen_features
from service.engine import Query
from tools.bench.data.text_gallery import (
    TEN,
    TextShop,
    asking,
    found,
    gallery,
    hidden,
    pairs,
    precision,
    shop,
    without,
)
from tools.bench.harness.framework import BenchRow, Goal, figure, installed
from tools.output import log

PARTS = ("photos", "fused", "joint")
_RIDGE = 1.0

GOALS = (
    Goal("photos without text, hit@10", ">=", 0.84, figure("photos", "hit_10")),
    Goal(
        "photos without text, NDCG@10 over that of shuffled titles",
        ">=",
        2.0,
        figure("photos", "times_shuffled"),
    ),
    Goal(
        "titles without article and colour words, fused, hit@10 of all",
        ">=",
        0.95,
        figure("fused", "hit_10"),
    ),
    Goal(
        "photos without text, colour and article, precision@10",
        ">=",
        0.70,
        figure("joint", "precision_10"),
    ),
)


def measure(part: str, work: Path) -> BenchRow:
    """Titles (photos, fused) or "colour article" (joint) as questions to the engine; the tower
    knows train texts alone.

    ``photos``, ``joint``: a gallery of the test photos with no stored text. A hit is a photo whose
    own title equals the question. ``joint``: of the pairs that ten or more test photos have.
    ``fused``: all photos, with titles out of which the words of any article and colour were taken,
    in the singular and the plural; every full title is a question. ``peers``: ridge regression
    (strength 1, features and target centred) from TF-IDF of words and pairs of words to the frozen
    network's features, alone and with the model's colour block, and to the embedding; keywords
    alone; the tower fitted to the same photos with shuffled texts.
    """
    log(f"bench text: {part}")
    made = shop(work)
    return {
        "recipe": measure.__doc__,
        "model": made.bundle.model_version,
        **_MEASURES[part](made, work),
    }


def _photos(made: TextShop, work: Path) -> BenchRow:
    train, test = made.places("train"), made.places("test")
    told = made.told(train)
    home = gallery(made, work / "photos", test)
    order = np.random.default_rng(0).permutation(len(told))
    lists = {}
    for name, learned in (("tower", told), ("shuffled", hidden(told, order))):
        with asking(home, made.tower(learned)) as engine:
            lists[name] = [
                found(engine.search(Query(text=made.title(place)), k=TEN))
                for place in test.tolist()
            ]
    mine, shuffled = (_judged(made, test, lists[name], test) for name in ("tower", "shuffled"))
    return {
        **mine,
        "times_shuffled": mine["ndcg_10"] / shuffled["ndcg_10"],
        "peers": {"shuffled titles": shuffled, **_ridges(made, train, test)},
        "samples": {name: _hits(made, test, listed) for name, listed in lists.items()},
    }


def _tokens_of(title: str) -> list[str]:
    """The keyword tokens of a title's words."""
    return [token for word in words(title) for token in tokens(word)]


def _fused(made: TextShop, work: Path) -> BenchRow:
    every = np.arange(len(made.rows))
    home = gallery(made, work / "fused", every, [without(made, place) for place in every.tolist()])
    with asking(home, made.tower(made.told(made.places("train")))) as engine:
        lists = [
            found(engine.search(Query(text=made.title(place)), k=TEN)) for place in every.tolist()
        ]
    with open_catalog(home) as catalog, closing(Keywords(home, catalog)) as keywords:
        ids = catalog.ids_of(range(1, len(every) + 1))
        asked = [_tokens_of(made.title(place)) for place in every.tolist()]
        alone = []
        for text in asked:
            first = keywords.search(text).pids[:TEN].tolist()
            alone.append([int(ids[pid]) for pid in first])
    by_split = {}
    for name in ("train", "validation", "test"):
        places = made.places(name)
        by_split[name] = _judged(made, places, [lists[place] for place in places], every)
    peers = {"keywords alone": _judged(made, every, alone, every)}
    samples = {"fused": _hits(made, every, lists), "keywords": _hits(made, every, alone)}
    return {
        **_judged(made, every, lists, every),
        "by_split": by_split,
        "peers": peers,
        "samples": samples,
    }


def _joint(made: TextShop, work: Path) -> BenchRow:
    test = made.places("test")
    home = gallery(made, work / "joint", test)
    samples = []
    with asking(home, made.tower(made.told(made.places("train")))) as engine:
        for colour, article in pairs(made, test):
            listed = found(engine.search(Query(text=f"{colour} {article}"), k=TEN))
            samples.append(
                {
                    "text": f"{colour} {article}",
                    "precision": precision(made, listed, colour, article),
                }
            )
    return {
        "precision_10": float(np.mean([sample["precision"] for sample in samples])),
        "samples": samples,
    }


_MEASURES: dict[str, Callable[[TextShop, Path], BenchRow]] = {
    "photos": _photos,
    "fused": _fused,
    "joint": _joint,
}


def _hits(made: TextShop, asked: np.ndarray, lists: Sequence[Sequence[int]]) -> list[bool]:
    return [
        made.title(place) in map(made.title, listed)
        for place, listed in zip(asked.tolist(), lists, strict=True)
    ]


def _judged(
    made: TextShop, asked: np.ndarray, lists: Sequence[Sequence[int]], stored: np.ndarray
) -> dict[str, float]:
    """hit@10 and NDCG@10; right is every stored photo with the same title."""
    titles = np.array([made.title(place) for place in stored.tolist()])
    gains = []
    discount = 1 / np.log2(np.arange(TEN) + 2)
    for place, listed in zip(asked.tolist(), lists, strict=True):
        right = np.array([made.title(one) == made.title(place) for one in listed], float)
        ideal = discount[: int((titles == made.title(place)).sum())].sum()
        gains.append(float((right * discount[: len(right)]).sum() / ideal))
    return {"hit_10": float(np.mean(_hits(made, asked, lists))), "ndcg_10": float(np.mean(gains))}


def _ridges(made: TextShop, train: np.ndarray, test: np.ndarray) -> dict[str, Any]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import Ridge

    frozen = _unit(frozen_features(made.rows).values.astype(np.float32))
    colours = made.bundle.spec.block_slice("c")
    colour = _unit(made.vectors[:, colours])
    spaces = {
        "frozen": frozen,
        "frozen and colour": np.hstack([frozen, colour]),
        "embedding": made.vectors,
    }
    reader = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    known = reader.fit_transform([made.title(place) for place in train.tolist()])
    asked = reader.transform([made.title(place) for place in test.tolist()])
    peers: dict[str, Any] = {}
    for name, space in spaces.items():
        middle = space[train].mean(axis=0)
        told = (
            Ridge(alpha=_RIDGE, solver="sparse_cg").fit(known, space[train] - middle).predict(asked)
        )
        scores = _unit(told) @ _unit(space[test] - middle).T
        lists = test[np.argsort(-scores, axis=1, kind="stable")[:, :TEN]].tolist()
        parameters = {"alpha": _RIDGE, "ngrams": [1, 2], "scikit-learn": installed("scikit-learn")}
        peers[f"TF-IDF ridge, {name}"] = {
            **_judged(made, test, lists, test),
            "parameters": parameters,
        }
    return peers


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)
