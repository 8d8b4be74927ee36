"""Photos, texts, galleries and text tower of ``bench text`` and ``bench compose``.

``CATALENS_BENCH_MODELS``: a folder of ready models; ``fashion-finetune-0`` found there is not
trained again.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from indexer.catalog.records import NewPhoto, ProductInput, Put, Tag
from indexer.catalog.store import open_catalog
from indexer.core.home import Home
from indexer.feeds.dataset import DatasetRow as Photo
from indexer.index.embedding_store import EmbeddingStore
from indexer.index_build.pipeline import BuildOptions, build_index
from indexer.model.bundle import Bundle, load_bundle
from indexer.model.open_runtime import open_embedder
from indexer.model.registry import register_model
from indexer.text.fit_text_tower import Described, colour_of, fit
from indexer.text.text_tower import TextTower
from indexer.text.tokenizer import words
from indexer.training.feature_cache import photo_features
from indexer.training.problem import read_trained
from service.engine import Engine
from service.query.response import Envelope, SearchPage
from service.settings import Settings
from tools.bench.harness.framework import real_data
from tools.bench.spine import catalens

DATA, SEED, TEN, LEAST = "fashion", 0, 10, 10
_given: TextTower | None = None


@dataclass(frozen=True)
class TextShop:
    """All photos of the data with what is known of them; arrays of one length N."""

    bundle: Bundle
    rows: list[Photo]
    content: np.ndarray  # str [N], of each photo's file
    vectors: np.ndarray  # float32 [N, D]
    split: np.ndarray  # str [N]
    article: np.ndarray  # str [N]
    colour: np.ndarray  # str [N], "" where not known

    def places(self, *splits: str) -> np.ndarray:
        """Where the photos of these splits stand."""
        return np.flatnonzero(np.isin(self.split, splits))

    def title(self, place: int) -> str:
        """A photo's title."""
        return self.rows[place].title or ""

    def told(self, places: Sequence[int] | np.ndarray) -> list[Described]:
        """What a tower learns of some photos: their titles, tags and attributes,
        and their vectors."""
        return [
            Described(
                self.title(place),
                f"{self.colour[place]} {self.article[place]}".strip(),
                " ".join(self.rows[place].tags),
                str(self.colour[place]) or None,
                self.vectors[place],
            )
            for place in places
        ]

    def tower(self, told: Sequence[Described]) -> TextTower:
        """The tower that an index build would fit to these."""
        found = fit(told, colours=True, seed=SEED)
        assert found is not None
        return found


def shop(work: Path) -> TextShop:
    """The data as the recipe ``finetune``'s model sees it; trained here where no ready one is
    named."""
    data, name = real_data(DATA), f"{DATA}-finetune-{SEED}"
    ready = Path(os.environ.get("CATALENS_BENCH_MODELS") or work).absolute() / name
    if not ready.is_dir():
        ready = work / name
        catalens("train", data, "--out", ready, "--recipe", "finetune", "--seed", SEED)
    bundle = load_bundle(ready)
    embedder = open_embedder(bundle)
    problem = read_trained(data, bundle.training)
    features = photo_features(problem.rows, embedder)
    return TextShop(
        bundle,
        features.rows,
        features.content,
        embedder.embed_features(features.values),
        np.array([problem.split[row.product_id] for row in features.rows]),
        np.array([row.category[-1] if row.category else "" for row in features.rows]),
        np.array([colour_of(row.attributes) or "" for row in features.rows]),
    )


def gallery(
    made: TextShop, home: Path, places: np.ndarray, titles: Sequence[str] | None = None
) -> Home:
    """A home of these photos with an active index: no tags, categories or attributes, and no titles
    but ``titles``."""
    opened = Home.create(home)
    bundle = register_model(opened, made.bundle.path)
    with (
        open_catalog(opened) as catalog,
        closing(EmbeddingStore(opened.embeddings, bundle.embedding_id, bundle.spec.dim)) as store,
    ):
        puts = []
        for number, place in enumerate(places.tolist()):
            content = str(made.content[place])
            photo = NewPhoto(content, "JPEG", 1, 1, 1, "reference", str(made.rows[place].image))
            title = titles[number] if titles else None
            tags: tuple[Tag, ...] = ()
            puts.append(Put(ProductInput(str(place), title, None, tags, {}, (content,)), [photo]))
        catalog.apply(puts)
        ids = catalog.photos_by_hash(made.content[places].tolist())
        store.put(
            np.array([ids[content].photo_id for content in made.content[places]]),
            made.vectors[places],
        )
    build_index(opened, bundle=bundle, options=BuildOptions(recaptures=False), activate=True)
    return opened


def given(bundle: Bundle) -> TextTower | None:
    """The setting ``text_encoder`` of ``asking``'s engines."""
    return _given


@contextmanager
def asking(home: Home, tower: TextTower | None) -> Iterator[Engine]:
    """An engine on a gallery whose text is projected by ``tower``, which learned
    from other photos."""
    global _given
    _given = tower
    settings = Settings.make(
        home=home.path, text_encoder="tools.bench.data.text_gallery:given" if tower else ""
    )
    with Engine(settings, watch=False) as engine:
        yield engine


def found(answer: Envelope[SearchPage]) -> list[int]:
    """The places of an answer's products."""
    return [int(row.product_id) for row in answer.content.results]


def pairs(made: TextShop, places: np.ndarray) -> list[tuple[str, str]]:
    """(colour, article) that at least ten of the photos have."""
    counted = Counter(zip(made.colour[places].tolist(), made.article[places].tolist(), strict=True))
    return sorted(pair for pair, count in counted.items() if count >= LEAST and pair[0])


def precision(made: TextShop, listed: Sequence[int], colour: str, article: str) -> float:
    """Share of the listed photos that have both."""
    chosen = np.array(listed, dtype=np.int64)
    return float(np.mean((made.colour[chosen] == colour) & (made.article[chosen] == article)))


def without(made: TextShop, place: int) -> str:
    """A title without the words of any article or colour, in the singular or the plural."""
    named = {word for text in {*made.article, *made.colour} for word in words(text)}
    return " ".join(word for word in words(made.title(place)) if word not in named)


def hidden(told: Sequence[Described], order: np.ndarray) -> list[Described]:
    """The photos with each other's texts."""
    return [replace(told[other], vector=one.vector) for one, other in zip(told, order, strict=True)]
