"""Dataset reader: class folders, split folders, plain folders and feed files to rows."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from indexer.catalog.attributes import (
    RESERVED,
    AttributeType,
    AttributeValue,
    checked_types,
    infer,
    is_missing,
    is_odd,
    read,
)
from indexer.catalog.records import bad_product_id
from indexer.core.category_path import CategoryPath, format_path, parse_path
from indexer.core.errors import BadDataError
from indexer.feeds.folder import SPLITS, printable, scan_folder, split_named
from indexer.feeds.notice import Notice
from indexer.feeds.photo_files import resolve
from indexer.feeds.reader import FeedSource, LostLines, Record, Table, find_feed, open_table

__all__ = [
    "SPLITS",
    "AttributeType",
    "AttributeValue",
    "Dataset",
    "DatasetRow",
    "assign_splits",
    "read_dataset",
]


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
    skipped: list[Notice]
    types: dict[str, AttributeType]
    # Rows kept, but not all they say.
    warnings: list[Notice] = field(default_factory=list)
    # Of ``types``, those the caller fixed; the others are stored or inferred.
    given_types: frozenset[str] = frozenset()
    # Every product id read, also of skipped rows: the feed does not lack them.
    mentioned: frozenset[str] = frozenset()
    # Where skipped rows stand of which it cannot be told what product they name.
    unnamed: tuple[str, ...] = ()
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


def read_dataset(
    data: Path,
    *,
    types: Mapping[str, str] | None = None,
    stored: Mapping[str, AttributeType] | None = None,
) -> Dataset:
    """Read DATA without opening a photo; rows whose photo is missing are skipped with a reason.

    ``types`` fixes attribute types by column; for the other columns those hold that a catalog has
    ``stored``, the rest are inferred. A row whose value does not fit such a type is skipped. A
    value that no type can hold is left out with a warning, unless its type was fixed by ``types``.
    Raises ``BadDataError`` where DATA is missing or unusable as a whole, or a type has an unknown
    name.
    """
    data = Path(data)
    fixed = checked_types(types or {})
    known = dict(stored or {})
    feed = find_feed(data)
    if feed.path is None:
        return replace(_from_folder(feed.root, feed.notices, fixed), source=feed)
    return replace(_from_manifest(feed.path, feed.notices, fixed, known), source=feed)


def _from_folder(root: Path, notices: Sequence[Notice], fixed: dict[str, AttributeType]) -> Dataset:
    scan = scan_folder(root)
    if not scan.photos:
        raise BadDataError(f"{root} holds no photos")
    skipped = [*notices, *scan.notices]
    ids = _default_ids(
        [("/".join(photo.below_split), "/".join(photo.parts)) for photo in scan.photos]
    )
    rows = []
    for photo, product_id in zip(scan.photos, ids, strict=True):
        image = root.joinpath(*photo.parts)
        where = printable("/".join(photo.parts))
        category = format_path(photo.below_split[:-1]) or None
        reason = bad_product_id(product_id) or _bad_file(image)
        try:
            path = _category(category)
        except ValueError as error:
            reason = reason or str(error)
            path = None
        if reason:
            skipped.append(Notice(where, reason))
        else:
            rows.append(DatasetRow(where, product_id, image, None, path, (), photo.split, {}))
    return Dataset(root, rows, skipped, {}, [], frozenset(fixed), frozenset(ids))


def _default_ids(paths: list[tuple[str, str]]) -> list[str]:
    """(path, path with its split) to ids: the path without its extension.

    Those that would be the same keep their extension; if even that is the same, only the split
    tells them apart.
    """
    forms = [(os.path.splitext(path)[0], path, full) for path, full in paths]
    level = [0] * len(forms)
    while True:
        holders: dict[str, set[int]] = {}
        for i, form in enumerate(forms):
            holders.setdefault(form[level[i]], set()).add(i)
        changed = False
        for clashing in holders.values():
            lowest = min(level[i] for i in clashing)
            if lowest < 2 and len({forms[i][2] for i in clashing}) > 1:
                changed = True
                for i in clashing:
                    level[i] += level[i] == lowest
        if not changed:
            return [form[at] for form, at in zip(forms, level, strict=True)]


def _from_manifest(
    path: Path,
    notices: Sequence[Notice],
    fixed: dict[str, AttributeType],
    known: dict[str, AttributeType],
) -> Dataset:
    table = open_table(path)
    root = table.root
    lost = LostLines()
    records = list(table.records(lost))
    _check_columns(table, records, lost)
    skipped = [*notices, *lost.skipped]
    warnings = [*table.notices, *lost.warnings]
    types = _column_types(table, records, {**known, **fixed}, warnings)
    defaults, lost_ids = _manifest_default_ids(records, lost, root)
    rows = []
    mentioned = {*lost.ids, *lost_ids}
    unnamed = list(lost.unnamed)
    for record, default in zip(records, defaults, strict=True):
        product_id = None
        try:
            given = record.values.get("product_id")
            product_id = default if is_missing(given) else _text(given, "product_id")
            row = _manifest_row(record.where, record.values, product_id, root)
            held, odd = _attributes(record.values, types, fixed, known)
            rows.append(replace(row, attributes=held))
            warnings += [Notice(record.where, reason) for reason in odd]
        except ValueError as error:
            skipped.append(Notice(record.where, printable(str(error))))
        if product_id is not None:
            mentioned.add(product_id)
        elif not all(map(is_missing, record.values.values())):
            unnamed.append(record.where)
    torn = _torn(rows)
    rows = _merge_products(rows, warnings)
    named = frozenset(mentioned)
    return Dataset(
        root, rows, skipped, types, warnings, frozenset(fixed), named, tuple(unnamed), torn
    )


def _check_columns(table: Table, records: list[Record], lost: LostLines) -> None:
    """Raise ``BadDataError`` where a table has no rows, or none that could name a photo."""
    path = table.source.path
    if not records and not lost.skipped:
        raise BadDataError(f"{path} has no rows")
    if "image" not in table.columns and (records or table.columns):
        found = ", ".join(map(repr, table.columns)) or "none"
        raise BadDataError(f"{path} has no column 'image'; columns found: {found}")


def _column_types(
    table: Table,
    records: list[Record],
    settled: Mapping[str, AttributeType],
    warnings: list[Notice],
) -> dict[str, AttributeType]:
    types: dict[str, AttributeType] = {}
    for column in table.columns:
        if column in RESERVED or not column.strip():
            continue
        found = settled.get(column) or infer(
            (record.values.get(column) for record in records), text=table.text
        )
        if found:
            types[column] = found
        else:  # of a column without values there is nothing to say
            for record in records:
                if not is_missing(record.values.get(column)):
                    warnings.append(
                        Notice(
                            record.where, f"column {column!r} is left out: no attribute can hold it"
                        )
                    )
                    break
    return types


def _attributes(
    values: Mapping[str, Any],
    types: Mapping[str, AttributeType],
    fixed: Mapping[str, AttributeType],
    known: Mapping[str, AttributeType],
) -> tuple[dict[str, AttributeValue], list[str]]:
    """The present values as ``types`` ask, and what was left out. Raises ``ValueError`` where that
    skips the row."""
    held: dict[str, AttributeValue] = {}
    odd = []
    for name, wanted in types.items():
        try:
            value = read(values.get(name), wanted)
        except ValueError as error:
            reason = f"column {name!r}: {error}"
            if name in fixed:
                raise ValueError(reason) from error
            if name in known and not is_odd(values[name]):
                raise ValueError(f"{reason} (the type is stored in the catalog)") from error
            odd.append(f"{reason}; the value is left out")
            continue
        if value is not None:
            held[name] = value
    return held, odd


def _manifest_default_ids(
    records: list[Record], lost: LostLines, root: Path
) -> tuple[list[str | None], list[str]]:
    """The id each row has if it names none, or None where its image is unusable; and those of lost
    lines' images."""

    def relative(image: str) -> str:
        inside = os.path.isabs(image) and Path(image).is_relative_to(root.absolute())
        return Path(os.path.relpath(image, root) if inside else os.path.normpath(image)).as_posix()

    paths: dict[int, str] = {}
    for number, record in enumerate(records):
        image = record.values.get("image")
        if is_missing(record.values.get("product_id")) and isinstance(image, str) and image.strip():
            paths[number] = relative(image)
    every = [*paths.values(), *map(relative, lost.images)]
    found = _default_ids([(path, path) for path in every])
    ids = dict(zip(paths, found, strict=False))
    return [ids.get(number) for number in range(len(records))], found[len(paths) :]


def _manifest_row(
    where: str, values: Mapping[str, Any], product_id: str | None, root: Path
) -> DatasetRow:
    """The row but for attributes. Raises ``ValueError`` with the reason why it cannot be used."""
    image = values.get("image")
    if is_missing(image):
        raise ValueError("names no image")
    if not isinstance(image, str):
        raise ValueError(f"image is {type(image).__name__}, not a path")
    file = resolve(root, image) or root / image
    reason = bad_product_id(product_id or "") or _bad_file(file)
    if reason:
        raise ValueError(reason)
    named = _text(values.get("split"), "split")
    split = split_named(named) if named is not None else None
    if named is not None and split is None:
        raise ValueError(f"split {named!r} is none of {', '.join(SPLITS)}")
    title = _text(values.get("title"), "title")
    category = _text(values.get("category"), "category")
    return DatasetRow(
        where,
        product_id or "",
        file,
        title,
        _category(category),
        _tags(values.get("tags")),
        split,
        {},
    )


def _text(value: object, column: str) -> str | None:
    """A cell as text, None if missing. A whole float is an integer that had a missing neighbour in
    its column."""
    if is_missing(value):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{column} is {type(value).__name__}, not text")
    return str(value)


def _category(text: str | None) -> CategoryPath | None:
    if text is None:
        return None
    path = parse_path(text)
    if not all(level.strip() for level in path):
        raise ValueError(f"category {text!r} has an empty level")
    return path


def _tags(value: object) -> tuple[str, ...]:
    """Tags as written (spaces and case kept), blanks and repetitions dropped."""
    if is_missing(value):
        return ()
    parts = value.split("|") if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(
        part is None or isinstance(part, str) for part in parts
    ):
        raise ValueError("tags are neither a list of texts nor text joined by |")
    return tuple(dict.fromkeys(part for part in parts if part and part.strip()))


def _torn(rows: list[DatasetRow]) -> dict[str, tuple[str, ...]]:
    named: dict[str, set[str]] = {}
    for row in rows:
        if row.split:
            named.setdefault(row.product_id, set()).add(row.split)
    return {
        product: tuple(sorted(splits, key=SPLITS.index))
        for product, splits in named.items()
        if len(splits) > 1
    }


def _merge_products(rows: list[DatasetRow], warnings: list[Notice]) -> list[DatasetRow]:
    """Give all rows of a product the first present value of each field; one that differs is a
    warning."""
    first: dict[str, DatasetRow] = {}
    several: set[str] = set()
    for row in rows:
        kept = first.get(row.product_id)
        if kept is None:
            first[row.product_id] = row
            continue
        several.add(row.product_id)
        changes: dict[str, Any] = {}
        for name in ("title", "category", "tags", "split"):
            old = getattr(kept, name)
            new = getattr(row, name)
            if not old and new:
                changes[name] = new
            elif new and new != old:
                warnings.append(_conflict(row, name, old, new))
        merged = {**row.attributes, **kept.attributes}
        for name, value in row.attributes.items():
            if merged[name] != value:
                warnings.append(_conflict(row, name, merged[name], value))
        first[row.product_id] = replace(kept, **changes, attributes=merged)
    if not several:
        return rows
    return [
        _like_first(row, first[row.product_id]) if row.product_id in several else row
        for row in rows
    ]


def _like_first(row: DatasetRow, first: DatasetRow) -> DatasetRow:
    """A product's further photo, with what its first row says of the product."""
    names = ("title", "category", "tags", "split", "attributes")
    return replace(row, **{name: getattr(first, name) for name in names})


def _conflict(row: DatasetRow, name: str, old: object, new: object) -> Notice:
    return Notice(
        row.where,
        f"{name} {new!r} of product {row.product_id!r} differs from its first, {old!r}, which "
        "stays",
    )


def _bad_file(path: Path) -> str | None:
    """Why ``path`` is no readable photo file, or None. Never opens it: it could be a pipe."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return f"there is no file {printable(str(path))}"
    except (OSError, ValueError) as error:
        return f"{printable(str(path))} cannot be read: {getattr(error, 'strerror', None) or error}"
    if stat.S_ISDIR(mode):
        return f"{printable(str(path))} is a folder, not a photo"
    if not stat.S_ISREG(mode):
        return f"{printable(str(path))} is not a regular file"
    return None
