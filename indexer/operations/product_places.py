"""Places that hold data of one product."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from indexer.catalog.photo_store import THUMBNAIL_WIDTHS
from indexer.catalog.records import PhotoRow, Product, photo_file
from indexer.catalog.schema import has_orders
from indexer.catalog.store import Catalog
from indexer.core.home import Home
from indexer.duplicates.hash_store import stored_signatures
from indexer.fetch.state import stored_urls
from indexer.index.embedding_store import stored_embeddings
from indexer.index.pushed import pushed_folders
from indexer.index.version_files import ROWS
from indexer.model.feature_store import FeatureCache, cache_folders
from indexer.operations.audit_findings import read_findings
from indexer.operations.class_erasure import stored_classes
from indexer.operations.data_places import is_cache_seen, place_of
from indexer.operations.erasure_audit import find_traces
from indexer.operations.made_backups import backups_by_folder, describe_backups
from indexer.operations.outside_erasure import cached_files
from indexer.reviews.store import open_reviews
from indexer.text.keyword_index import Keywords
from indexer.training.feature_cache import recapture_key


@dataclass(frozen=True)
class ProductPlace:
    """Where a product stands. ``entries``: how often; None where it is only found, not counted."""

    place: str
    path: str
    what: str
    entries: int | None


def find_product(home: Home, catalog: Catalog, product_id: str) -> list[ProductPlace]:
    """Every place that holds something of a product: what the stores know, then every file in
    which its id stands besides.

    Raises ``UnknownProductError``: for a deleted product, ``erasure_audit.find_traces`` searches.
    """
    product = catalog.get(product_id)
    photos = list(catalog.photos_by_id(product.photo_ids).values())
    found = [
        *_in_catalog(catalog, product),
        *_photos(home, photos),
        *_derived(home, catalog, product),
        *_classes(home, product),
        *_said(home, catalog, product),
        *_cached(product),
        *_backed_up(home),
    ]
    known = {place.path for place in found}
    for trace in find_traces(home, catalog, product_id).found:
        path = home.path / trace["where"]
        # The log beside a database is of the database.
        owner = str(path).removesuffix("-wal")
        if trace["what"].startswith("id") and owner not in known:
            name = place_of(Path(trace["where"]))
            found.append(ProductPlace(name, str(path), "its id", None))
    return [place for place in found if place.entries != 0]


def _in_catalog(catalog: Catalog, product: Product) -> Iterator[ProductPlace]:
    path = str(catalog.path)
    yield ProductPlace("catalog", path, "the product", 1)
    with catalog.database.read() as sql:
        query = "SELECT count(*) FROM changes WHERE pid = ?"
        changes = sql.execute(query, (product.pid,)).fetchone()[0]
        orders = 0
        if has_orders(sql):
            query = "SELECT count(*) FROM order_items WHERE pid = ?"
            orders = sql.execute(query, (product.pid,)).fetchone()[0]
    yield ProductPlace("catalog", path, "changes", int(changes))
    yield ProductPlace("catalog", path, "orders that hold it", int(orders))


def _photos(home: Home, photos: Iterable[PhotoRow]) -> Iterator[ProductPlace]:
    for row in photos:
        if row.path:
            yield ProductPlace("referenced photos", row.path, "an original photo", 1)
        # Of a referenced one too: an import that was to keep copies may have come that far.
        if (path := photo_file(home.photos, row.content_hash)).is_file():
            yield ProductPlace("photos", str(path), "an original photo", 1)
        if (path := home.damaged / row.content_hash).is_file():
            yield ProductPlace("set aside", str(path), "a damaged original photo", 1)
        for width in THUMBNAIL_WIDTHS:
            name = f"{row.content_hash}-{width}.jpg"
            small = home.thumbnails / row.content_hash[:2] / name
            if small.is_file():
                yield ProductPlace("thumbnails", str(small), f"{width} px", 1)


def _derived(home: Home, catalog: Catalog, product: Product) -> Iterator[ProductPlace]:
    ids = np.array(product.photo_ids, dtype=np.int64)
    for store in stored_embeddings(home.embeddings):
        count = len(ids) - len(store.missing(ids))
        yield ProductPlace("embeddings", str(store.path), "vectors", count)
    with stored_signatures(home) as signatures:
        if signatures is not None:
            count = int(np.isin(ids, signatures.ids()).sum())
            yield ProductPlace("signatures", str(signatures.path), "hashes of photos", count)
    keywords = Keywords(home, catalog)
    if keywords.path.exists():
        with closing(keywords):
            count = int(np.isin(product.pid, keywords.pids()))
        yield ProductPlace("keywords", str(keywords.path), "its words", count)
    with stored_urls(home.fetch_file) as state:
        if state is not None:
            count = len(set(product.photos) & state.hashes())
            where = str(home.fetch_file)
            yield ProductPlace("addresses of photos", where, "addresses", count)
    for folder in (home.path, *pushed_folders(home)):
        place = "index versions" if folder == home.path else "pushed versions"
        for path in sorted((folder / "indexes").glob(f"v*/{ROWS}")):
            rows = _rows_of(path, product.pid)
            yield ProductPlace(place, str(path.parent), "rows with their vectors", rows)


def _classes(home: Home, product: Product) -> Iterator[ProductPlace]:
    photos = set(product.photos)
    for folder in sorted(home.models.glob("[!.]*")):
        held = sum(not photos.isdisjoint(entry["photos"]) for entry in stored_classes(folder))
        yield ProductPlace("models", str(folder), "classes made from its photos", held)


def _backed_up(home: Home) -> Iterator[ProductPlace]:
    for folder, made in backups_by_folder(home).items():
        yield ProductPlace("backups", folder, f"it may be in {describe_backups(made)}", None)


def _rows_of(path: Path, pid: int) -> int | None:
    try:
        return int((np.load(path, mmap_mode="r")[:, 0] == pid).sum())
    except (OSError, ValueError, IndexError):
        return None


def _said(home: Home, catalog: Catalog, product: Product) -> Iterator[ProductPlace]:
    if home.reviews_file.exists():
        own = named = 0
        with open_reviews(home, catalog) as reviews:
            for pid, body in reviews.bodies():
                if product.pid in (pid, body.get("pid")):
                    own += 1
                elif _names(body, product):
                    named += 1
            previews = reviews.count_previews(product.photos)
        where = str(home.reviews_file)
        yield ProductPlace("reviews", where, "entries about it", own)
        yield ProductPlace("reviews", where, "entries about others that name it", named)
        yield ProductPlace("reviews", where, "small photos", previews)
    for path in sorted((home.path / "audit").glob("*.jsonl")):
        count = int(product.pid in read_findings(path, catalog.change_log))
        yield ProductPlace("audits", str(path), "findings", count)


def _names(node: Any, product: Product) -> bool:
    if isinstance(node, dict):
        return node.get("pid") == product.pid or any(
            _names(value, product) for value in node.values()
        )
    if isinstance(node, list):
        return any(_names(value, product) for value in node)
    return isinstance(node, str) and product.product_id in node


def _cached(product: Product) -> Iterator[ProductPlace]:
    keys = {*product.photos, *map(recapture_key, product.photos)}
    default, *named = cache_folders()
    for folder in named:
        if not is_cache_seen(folder):
            yield ProductPlace("feature cache", str(folder), "not there now: not looked into", None)
    for path in (path for folder in (default, *named) for path in cached_files(folder)):
        with closing(FeatureCache(path.parent, path.stem)) as cache:
            count = len(cache.get_many(sorted(keys)))
        yield ProductPlace("feature cache", str(path), "features of photos", count)
