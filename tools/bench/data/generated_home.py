"""A home of many products with generated vectors and no photo files."""

from __future__ import annotations

import hashlib
import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from indexer.catalog.product_fields import ProductFields
from indexer.catalog.records import NewPhoto, ProductInput, Put, Tag
from indexer.catalog.store import Catalog, open_catalog
from indexer.core.atomic_files import write_json
from indexer.core.home import Home
from indexer.core.native import torch
from indexer.index.embedding_store import EmbeddingStore
from indexer.index_build.pipeline import BuildOptions, build_index
from indexer.model.bundle import Bundle, write_bundle
from indexer.model.decision_layer import Decision
from indexer.model.network import Network
from indexer.model.registry import register_model
from indexer.model.spec import Block
from tools.generated_vectors import vectors

_PORTION = 5000
COLOURS = ("black", "white", "blue", "red", "green", "grey", "brown", "pink", "yellow", "orange")
KINDS = tuple(f"kind {number}" for number in range(40))


def big_home(
    folder: Path,
    products: int,
    *,
    dim: int = 256,
    seed: int = 0,
    tags: bool = False,
    variants: int = 1,
) -> Home:
    """The home at ``folder``, made unless it is there already with the same numbers; built and
    active.

    One photo per product, vectors by ``bench-data``'s recipe ``vectors(n, d, seed)``. Attributes:
    ``price`` and ``stock`` (numbers), ``colour`` and ``brand`` (strings, by Zipf), ``sale`` (bool,
    one in ten), ``day`` (datetime); the category is one of 40. With ``tags`` each product has two.
    ``variants``: so many products in a row have one parent, photos that are nearly the same, and
    page fields.
    Photos are references to files that do not exist: everything but thumbnails works, and nothing
    is ever decoded.
    """
    numbers = {"products": products, "dim": dim, "seed": seed, "tags": tags}
    if variants > 1:
        numbers["variants"] = variants
    ready = folder / "bighome.json"
    if ready.is_file() and json.loads(ready.read_text()) == numbers:
        return Home(folder)
    home = Home.create(folder)
    bundle = projected(home, dim, seed)
    with (
        open_catalog(home) as catalog,
        closing(EmbeddingStore(home.embeddings, bundle.embedding_id, dim)) as store,
    ):
        rows = vectors(products, dim, seed, queries=0).rows
        if variants > 1:
            rows = _variants(rows, variants, seed)
        _fill(catalog, store, rows, seed, tags, variants)
    build_index(home, bundle=bundle, options=BuildOptions(recaptures=False), activate=True)
    write_json(ready, numbers)
    return home


def projected(home: Home, dim: int, seed: int = 0) -> Bundle:
    """The shipped network with its features projected to ``dim`` at random: real, registered, and
    of that size."""
    bare = Network.frozen("efficientnet_lite0")
    spec = replace(bare.spec, blocks=(Block("g", dim, 1.0),))
    network = Network(spec, bare.backbone)
    if network.neck.projected:
        axes = np.linalg.qr(np.random.default_rng(seed).standard_normal((spec.feature_dim, dim)))[0]
        with torch.no_grad():
            network.neck.general.copy_(torch.from_numpy(axes.T.astype(np.float32)))
    aside = home.path / "projected"
    write_bundle(
        aside,
        network,
        Decision(),
        metrics={},
        training={"recipe": "random projection"},
        replace=True,
    )
    return register_model(home, aside)


def photo_hash(number: int) -> str:
    """The content hash of product ``number``'s photo."""
    return hashlib.sha256(f"bighome {number}".encode()).hexdigest()


def product_id(number: int) -> str:
    return f"p{number:07d}"


def _variants(rows: np.ndarray, variants: int, seed: int) -> np.ndarray:
    """Rows of which so many in a row are the first of them with noise of norm 0.05."""
    rng = np.random.default_rng(seed + 2)
    first = rows[np.arange(len(rows)) // variants * variants].astype(np.float32)
    noise = rng.standard_normal(rows.shape, dtype=np.float32)
    moved = first + 0.05 * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    return (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float16)


def _fields(number: int, price: float, variants: int) -> ProductFields:
    if variants == 1:
        return ProductFields()
    return ProductFields(
        price=price,
        currency="EUR",
        availability="out_of_stock" if number % 4 == 0 else "in_stock",
        parent=f"parent {number // variants}",
        variant=str(number % variants),
    )


def _fill(
    catalog: Catalog,
    store: EmbeddingStore,
    rows: np.ndarray,
    seed: int,
    tags: bool,
    variants: int,
) -> None:
    products = len(rows)
    rng = np.random.default_rng(seed + 1)
    colours = np.minimum(rng.zipf(1.3, products) - 1, len(COLOURS) - 1)
    brands = np.minimum(rng.zipf(1.2, products), 2000)
    kinds = rng.integers(0, len(KINDS), products)
    prices = np.round(rng.lognormal(3.5, 1.0, products), 2)
    for start in range(0, products, _PORTION):
        stop = min(start + _PORTION, products)
        puts = []
        for i in range(start, stop):
            photo = NewPhoto(photo_hash(i), "JPEG", 1, 1, 1, "reference", "/nowhere")
            facts: dict[str, Any] = {
                "price": float(prices[i]),
                "stock": int(i % 97),
                "colour": COLOURS[colours[i]],
                "brand": f"brand {brands[i]}",
                "sale": bool(i % 10 == 0),
                "day": f"2026-{1 + i % 12:02d}-{1 + i % 28:02d}",
            }
            given = (
                (Tag(COLOURS[colours[i]], "merchant"), Tag(KINDS[kinds[i]], "merchant"))
                if tags
                else ()
            )
            category = ("Things", KINDS[kinds[i]])
            product = ProductInput(
                product_id(i),
                f"Product {i}",
                category,
                given,
                facts,
                (photo.content_hash,),
                fields=_fields(i, float(prices[i]), variants),
            )
            puts.append(Put(product, [photo]))
        catalog.apply(puts)
        ids = catalog.photos_by_hash(put.product.photos[0] for put in puts)
        store.put(
            np.array([ids[put.product.photos[0]].photo_id for put in puts]),
            rows[start:stop].astype(np.float32),
        )
