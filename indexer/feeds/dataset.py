"""Data set for training and evaluation: the photos of a feed or a folder as rows in memory."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from indexer.catalog.attributes import AttributeType, AttributeValue, checked_types
from indexer.core.category_path import CategoryPath
from indexer.core.errors import BadDataError
from indexer.feeds.attribute_typing import AttributeTyping
from indexer.feeds.feed_input import FeedInput, open_input
from indexer.feeds.feed_pass import read_products, scan_rows
from indexer.feeds.folder import SPLITS
from indexer.feeds.import_options import ImportOptions
from indexer.feeds.import_report import Notices
from indexer.feeds.notice import Notice
from indexer.feeds.photo_files import resolve
from indexer.feeds.photo_intake import bad_file, missing_file, nameless
from indexer.feeds.product import FeedProduct, PhotoReference
from indexer.feeds.reader import FeedSource

__all__ = [
    "SPLITS",
    "AttributeType",
    "AttributeValue",
    "Dataset",
    "DatasetRow",
    "assign_splits",
    "read_dataset",
]

_LINE = re.compile(r"(\d+)\Z")


@dataclass(frozen=True)
class DatasetRow:
    """One photo of one product. All rows of a product carry the same title, category, tags, split
    and attributes."""

    where: str
    product_id: str
    image: Path
    title: str | None
    # From the top level to the leaf.
    category: CategoryPath | None
    tags: tuple[str, ...]
    # One of SPLITS.
    split: str | None
    # Present values only.
    attributes: dict[str, AttributeValue]


@dataclass(frozen=True)
class Dataset:
    """What DATA holds: the usable rows, what was left out and why, the attributes' types."""

    root: Path
    rows: list[DatasetRow]
    skipped: Notices
    types: dict[str, AttributeType]
    # What it was read from, and the types that were fixed.
    data: Path
    given_types: dict[str, AttributeType]
    # Rows kept, but not all they say.
    warnings: Notices = field(default_factory=Notices)
    # Product -> its splits, where its rows name several.
    torn: dict[str, tuple[str, ...]] = field(default_factory=dict)
    # Holds the photos of an archive for as long as they are needed.
    source: FeedSource | None = None

    def by_product(self) -> dict[str, list[DatasetRow]]:
        """Rows of each product, products and rows in the order of first appearance."""
        products: dict[str, list[DatasetRow]] = {}
        for row in self.rows:
            products.setdefault(row.product_id, []).append(row)
        return products


def assign_splits(product_ids: Iterable[str], seed: int) -> dict[str, str]:
    """70% train, 15% validation, 15% test by SHA-256(seed, product_id): stable whatever else the
    data holds."""
    splits = {}
    for product_id in product_ids:
        digest = hashlib.sha256(f"{seed}\0{product_id}".encode()).digest()
        share = int.from_bytes(digest[:8], "big") / 2**64
        splits[product_id] = "train" if share < 0.70 else "validation" if share < 0.85 else "test"
    return splits


def read_dataset(data: Path, *, types: Mapping[str, str] | None = None) -> Dataset:
    """Read DATA without opening a photo, by the profile that fits it; photos that are missing are
    skipped with a reason.

    ``types`` fixes attribute types by name, the rest are the profile's or inferred. A value that
    does not fit its type is left out with a warning. Raises ``BadDataError`` where DATA is missing
    or unusable as a whole, or a type has an unknown name.
    """
    fixed = checked_types(types or {})
    skipped = Notices()
    warnings = Notices()
    data = Path(data)
    feed = open_input(data, ImportOptions(), skipped=skipped, warnings=warnings)
    typing = AttributeTyping(fixed=fixed, stored={}, given=feed.reader.types, text=feed.table.text)
    products: list[FeedProduct] = []
    for product in _products(feed, data):
        typing.see(product.attributes, product.where)
        products.append(product)
    warnings += typing.settle()
    rows: list[DatasetRow] = []
    for product in products:
        values, odd = typing.fit(product.attributes, product.where)
        warnings += odd
        rows += _rows(product, values, feed, skipped)
    if feed.table.format != "folder":
        rows.sort(key=_line)
    return Dataset(
        feed.table.root,
        rows,
        skipped,
        typing.used(),
        data,
        fixed,
        warnings,
        dict(feed.reader.torn),
        feed.source,
    )


def _products(feed: FeedInput, data: Path) -> Iterator[FeedProduct]:
    """All products of the feed. Raises ``BadDataError`` where it has no row at all."""
    rows = scan_rows(feed, None)
    if not len(rows.groups) and not rows.lost.count:
        raise BadDataError(f"{data} has no rows")
    for group in read_products(feed, rows.groups, np.ones(len(rows.groups), bool), None):
        yield from group.products


def _rows(
    product: FeedProduct, values: dict[str, AttributeValue], feed: FeedInput, skipped: Notices
) -> Iterator[DatasetRow]:
    """A row for each photo of a product that is there."""
    root = feed.table.root
    # An archive may come from anybody.
    within = root if feed.source.unpacked is not None else None
    if not product.photos:
        skipped.append(nameless(product))
    for reference in product.photos:
        path = None if reference.is_url else resolve(root, reference.source, within=within)
        reason = _refusal(reference, path, root)
        if path is None or reason:
            skipped.append(Notice(reference.where, reason or "", "photo-missing"))
            continue
        yield DatasetRow(
            reference.where,
            product.product_id,
            path,
            product.title,
            product.category,
            product.tags,
            product.split,
            dict(values),
        )


def _refusal(reference: PhotoReference, path: Path | None, root: Path) -> str | None:
    if reference.is_url:
        return f"{reference.source} is an address: photos to train from must lie on this machine"
    return missing_file(root, reference.source) if path is None else bad_file(path)


def _line(row: DatasetRow) -> int:
    found = _LINE.search(row.where)
    return int(found[1]) if found else 0
