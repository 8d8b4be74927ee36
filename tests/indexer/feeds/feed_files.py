"""Feeds written for tests, and what a profile reads of them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from indexer.feeds.detection import Detection, detect
from indexer.feeds.notice import Notice
from indexer.feeds.product import FeedProduct
from indexer.feeds.product_reader import ProductReader, read_all
from indexer.feeds.profile import load_profile
from indexer.feeds.reader import open_table


@dataclass(frozen=True)
class ReadFeed:
    """A small feed as it was read."""

    detection: Detection
    reader: ProductReader
    products: list[FeedProduct]
    warnings: list[Notice]
    skipped: list[Notice]

    def __getitem__(self, product_id: str) -> FeedProduct:
        return next(one for one in self.products if one.product_id == product_id)

    @property
    def ids(self) -> list[str]:
        return [one.product_id for one in self.products]

    @property
    def codes(self) -> list[str]:
        """Kinds of all warnings, in order."""
        return [notice.code for notice in self.warnings]


def write_rows(path: Path, rows: Sequence[Mapping[str, str]], delimiter: str = ",") -> Path:
    """A CSV file of rows; the columns are those of all rows, in order of appearance."""
    columns: dict[str, None] = {}
    for row in rows:
        columns.update(dict.fromkeys(row))
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.DictWriter(file, list(columns), restval="", delimiter=delimiter)
        out.writeheader()
        out.writerows(rows)
    return path


def read_feed_file(path: Path, profile: str | None = None) -> ReadFeed:
    """All products of a feed, by the profile that it fits, or by the one named."""
    table = open_table(path)
    detection = Detection(load_profile(profile), "named") if profile else detect(table)
    warnings: list[Notice] = []
    skipped: list[Notice] = []
    reader = ProductReader(table, detection.profile, warn=warnings, skip=skipped)
    return ReadFeed(detection, reader, list(read_all(reader)), warnings, skipped)


def photo_sources(product: FeedProduct) -> list[str]:
    """Its photos as the feed names them."""
    return [photo.source for photo in product.photos]
