"""A home of any size whose vectors are those of real photos, slightly varied.

For ``http`` and ``startup``: a model with categories, attributes and tags, exported; photos are
references to nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from indexer.catalog.records import NewPhoto, ProductInput, Put, Tag
from indexer.catalog.store import open_catalog
from indexer.core.atomic_files import write_json
from indexer.core.errors import CatalensError
from indexer.core.home import Home
from indexer.feeds.dataset import DatasetRow, read_dataset
from indexer.index.embedding_store import EmbeddingStore
from indexer.index.version import Versions
from indexer.index_build.pipeline import BuildOptions, build_index
from indexer.model.bulk_embedding import embed_all
from indexer.model.bundle import load_bundle
from indexer.model.open_runtime import open_embedder
from indexer.model.registry import register_model
from indexer.model.spec import ModelSpec
from indexer.training.export import export
from indexer.training.options import TrainingOptions
from indexer.training.train import train
from tools.bench.data.generated_home import photo_hash, product_id
from tools.bench.harness.framework import real_data
from tools.output import log

_NOISE = 0.35  # of a block's length: as far apart as photos of the same kind are
_PORTION = 5000


@dataclass(frozen=True)
class GeneratedShop:
    """``trained``: the model in float32; the home serves its export. ``facts``: what the plain
    service reads."""

    home: Home
    trained: Path
    facts: Path


def shop(work: Path, products: int) -> GeneratedShop:
    """Made once below ``work`` and used again: fashion's model, fashion's photos, ``products``
    products."""
    made = GeneratedShop(
        Home.create(work / f"shop-{products}"), work / "fashion", work / f"facts-{products}"
    )
    if (made.facts / "ready.json").is_file():
        return made
    data = real_data("fashion") / "products.csv"
    if not made.trained.exists():
        # what the plain service shows it too
        train(data, made.trained, TrainingOptions(cache=work / "cache", look="crop"))
    fast = work / "fashion-fast"
    if not fast.exists():
        log(f"exported as {export(made.trained, data, fast)['numeric']}")
    bundle = register_model(made.home, fast)
    rows, vectors = _embedded(fast, read_dataset(data).rows)
    places, varied = _varied(vectors, bundle.spec, products)
    with (
        open_catalog(made.home) as catalog,
        closing(
            EmbeddingStore(made.home.embeddings, bundle.embedding_id, bundle.spec.dim)
        ) as store,
    ):
        for start in range(0, products, _PORTION):
            numbers = range(start, min(start + _PORTION, products))
            puts = [_put(number, rows[places[number]]) for number in numbers]
            catalog.apply(puts)
            ids = catalog.photos_by_hash(put.product.photos[0] for put in puts)
            photo_ids = np.array([ids[put.product.photos[0]].photo_id for put in puts])
            store.put(photo_ids, varied[numbers.start : numbers.stop])
    build_index(made.home, bundle=bundle, options=BuildOptions(recaptures=False), activate=True)
    _write_facts(made, [rows[place] for place in places])
    return made


def _embedded(model: Path, rows: Sequence[DatasetRow]) -> tuple[list[DatasetRow], np.ndarray]:
    embedder = open_embedder(load_bundle(model), device="cpu")
    pairs = [
        (row, found)
        for row, found in embed_all(rows, lambda row: row.image.read_bytes(), embedder)
        if not isinstance(found, CatalensError)
    ]
    return [row for row, _ in pairs], np.stack([found for _, found in pairs])


def _varied(vectors: np.ndarray, spec: ModelSpec, products: int) -> tuple[np.ndarray, np.ndarray]:
    """Which photo each product shows, and its vector: block by block that photo's with noise, of
    unit length."""
    rng = np.random.default_rng(5)
    places = np.concatenate([np.arange(len(vectors)), rng.integers(0, len(vectors), products)])[
        :products
    ]
    out = vectors[places].copy()
    for block in spec.blocks:
        place = spec.block_slice(block.name)
        part = out[:, place]
        noise = rng.standard_normal(part.shape).astype(np.float32)
        noise *= _NOISE * np.sqrt(block.weight) / np.sqrt(block.dim)
        noise[: len(vectors)] = 0
        part += noise
        part *= np.sqrt(block.weight) / np.linalg.norm(part, axis=1, keepdims=True)
    return places, out


def _put(number: int, row: DatasetRow) -> Put:
    photo = NewPhoto(photo_hash(number), "JPEG", 1, 1, 1, "reference", "/nowhere")
    tags = tuple(Tag(tag, "merchant") for tag in row.tags)
    product = ProductInput(
        product_id(number),
        row.title,
        row.category,
        tags,
        dict(row.attributes),
        (photo.content_hash,),
    )
    return Put(product, [photo])


def _write_facts(made: GeneratedShop, rows: Sequence[DatasetRow]) -> None:
    """For the plain service: vectors float32 by number, and each product's title and tags."""
    made.facts.mkdir(parents=True, exist_ok=True)
    active = made.home.active()
    assert active is not None
    stored = np.load(made.home.indexes / active.index_version / "vectors.npy", mmap_mode="r")
    np.save(made.facts / "vectors.npy", np.asarray(stored, np.float32))
    pids = np.load(made.home.indexes / active.index_version / "rows.npy")[:, 0]
    with open_catalog(made.home) as catalog:
        found = catalog.by_pids([int(pid) for pid in pids])
    listed = [found[int(pid)] for pid in pids]
    facts = []
    for product in listed:
        tags = [tag.tag for tag in product.tags]
        facts.append([product.product_id, product.title, tags])
    (made.facts / "products.json").write_text(json.dumps(facts))
    categories = [category.path[-1] for category in load_bundle(made.trained).decision.categories]
    (made.facts / "categories.json").write_text(json.dumps(categories))
    write_json(
        made.facts / "ready.json",
        {"products": len(rows), "versions": len(list(Versions(made.home).list()))},
    )
