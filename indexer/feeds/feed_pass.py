"""Passes over a feed: digests of all rows, then products of those that changed, to the disk."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from indexer.catalog.attributes import is_missing
from indexer.core.errors import BadDataError
from indexer.feeds.feed_input import FeedInput
from indexer.feeds.notice import Notice
from indexer.feeds.product import FeedProduct
from indexer.feeds.row_digests import RowGroups, RowScan, hash_texts, hash_values
from indexer.feeds.spool import Spool
from indexer.feeds.table import LostLines, Record, check_count

# Rows of one group that are read together; a feed whose key is blank has but one group.
MOST_ROWS = 20_000
# Rows between two reports of progress.
_EVERY = 2048

OnRows = Callable[[int, int], None]


@dataclass(frozen=True)
class ReadGroup:
    """What the rows of one group became. ``clean``: all they say could be used."""

    group: int
    products: tuple[FeedProduct, ...]
    clean: bool


@dataclass(frozen=True)
class FeedRows:
    """What the first pass found. ``mentioned``: hashes of the ids of products that lost lines, or
    rows of one product, name. ``repeated`` int64 [R]: groups with a row that names the id of a row
    before it, so that what they become depends on others."""

    groups: RowGroups
    lost: LostLines
    mentioned: np.ndarray
    repeated: np.ndarray


def scan_rows(feed: FeedInput, folder: Path | None, progress: OnRows | None = None) -> FeedRows:
    """First pass: which rows belong together, and digests of them; lines that are no rows are
    lost."""
    lost = feed.lost()
    scan = RowScan(folder)
    add = scan.add
    key_of = feed.reader.group_key
    number = 0
    for number, record in enumerate(feed.table.records(lost), 1):
        add(key_of(record), record.values)
        if number % _EVERY == 0:
            check_count(feed.table.name, number)
            if progress is not None:
                progress(number, 0)
    feed.skipped += lost.skipped
    # Of a folder, what was left out beside its photos.
    (feed.skipped if feed.table.format == "folder" else feed.warnings).extend(feed.table.notices)
    feed.warnings += lost.warnings
    # Before any key is resolved: a photo without its line still counts among those of its name.
    images = [feed.reader.image_key(image) for image in lost.images]
    groups = scan.finish(feed.reader.resolve)
    named = [*lost.ids, *map(feed.reader.resolve, images)]
    # Where rows are photos, their key is the product's id.
    keys = groups.keys if feed.profile.rows == "photos" else groups.keys[:0]
    again = np.unique(groups.of_row[feed.reader.repeated_rows()]).astype(np.int64)
    return FeedRows(groups, lost, np.concatenate([hash_texts(named), keys]), again)


def read_products(
    feed: FeedInput,
    groups: RowGroups,
    wanted: np.ndarray,
    folder: Path | None,
    progress: OnRows | None = None,
) -> Iterator[ReadGroup]:
    """Second pass: the products of the groups ``wanted`` (bool [G]); first those whose rows lie
    together, in the order of the feed, then the others."""
    for group, records in _grouped(feed, groups, wanted, folder, progress):
        before = feed.notices
        if len(records) > MOST_ROWS:
            count = int(groups.counts[group])
            first = records[MOST_ROWS]
            feed.skipped.append(
                Notice(
                    first.where,
                    f"is one of {count} rows of one product; only the first {MOST_ROWS} "
                    "are read: is another column the id?",
                    "too-many-rows",
                )
            )
        products = feed.reader.read_group(records[:MOST_ROWS])
        if feed.unnamed and feed.unnamed[-1] == records[-1].where and _is_blank(records[-1]):
            # There is nothing that it could name.
            feed.unnamed.pop()
        yield ReadGroup(group, tuple(products), clean=feed.notices == before)


def _grouped(
    feed: FeedInput,
    groups: RowGroups,
    wanted: np.ndarray,
    folder: Path | None,
    progress: OnRows | None,
) -> Iterator[tuple[int, Sequence[Record]]]:
    """(group, its rows), of the groups that are wanted; of very many rows one more than are
    read."""
    if not wanted.any():
        return
    wanted_rows = wanted[groups.of_row].tobytes()
    scattered = groups.scattered
    current = -1
    records: list[Record] = []
    rows = array("I")
    # Of groups with more rows than are read: those that came.
    large = dict.fromkeys(np.flatnonzero(groups.counts > MOST_ROWS).tolist(), 0)
    with Spool[Record](folder) as spool:
        for number, record in _same_records(feed, groups, wanted_rows, progress):
            group = int(groups.of_row[number])
            if group in large:
                large[group] += 1
                if large[group] > MOST_ROWS + 1:
                    continue
            if scattered[group]:
                spool.append(record)
                rows.append(group)
                continue
            if group != current:
                if records:
                    yield current, records
                current = group
                records = []
            records.append(record)
        if records:
            yield current, records
        spooled = np.frombuffer(rows, np.uint32)
        order = np.argsort(spooled, kind="stable")
        spooled = spooled[order]
        starts = np.flatnonzero(np.append(True, spooled[1:] != spooled[:-1]))[: len(spooled)]
        # In the order in which their first rows stand in the feed.
        for start in starts[np.argsort(order[starts], kind="stable")]:
            end = start + min(int(groups.counts[spooled[start]]), MOST_ROWS + 1)
            yield int(spooled[start]), [spool[int(place)] for place in order[start:end]]


def _same_records(
    feed: FeedInput, groups: RowGroups, wanted_rows: bytes, progress: OnRows | None
) -> Iterator[tuple[int, Record]]:
    """(row, record) of the wanted rows, read anew. Raises ``BadDataError`` where the feed changed
    since the first pass."""
    total = len(groups.of_row)
    number = -1
    for number, record in enumerate(feed.table.records(LostLines())):
        if number >= total:
            raise _changed(feed)
        if wanted_rows[number]:
            if hash_values(record.values) != groups.row_digests[number].tobytes():
                raise _changed(feed)
            yield number, record
        if progress is not None and (number + 1) % _EVERY == 0:
            progress(number + 1, total)
    if number + 1 != total:
        raise _changed(feed)


def _is_blank(record: Record) -> bool:
    return all(map(is_missing, record.values.values()))


def _changed(feed: FeedInput) -> BadDataError:
    return BadDataError(f"{feed.table.name} changed while it was read: import it again")
