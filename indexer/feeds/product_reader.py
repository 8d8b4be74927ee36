"""Product reader: records of a feed to products, as a profile says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from indexer.catalog.attributes import AttributeType
from indexer.feeds.assembly import Assembly
from indexer.feeds.column_roles import role_of
from indexer.feeds.families import FamilyKeys, read_family
from indexer.feeds.groups import (
    GroupContext,
    id_text,
    read_photos,
    read_products,
    read_variants,
)
from indexer.feeds.id_claims import IdClaims, made_id
from indexer.feeds.nested_rows import NestedRows
from indexer.feeds.photo_ids import PhotoIds
from indexer.feeds.product import FeedProduct
from indexer.feeds.profile import FeedProfile
from indexer.feeds.row_plan import RowPlan
from indexer.feeds.row_values import Notes, NoticeSink, RowValues
from indexer.feeds.table import LostLines, Record, Table

# Changes where the same profile gives other products than before.
_VERSION = 1
# Rows that decide how numbers that can be read in two ways are meant.
_SAMPLE = 1000
# Characters of a value that a column is shown by.
_EXAMPLE = 120
# Before keys that are no id, which cannot begin like this.
_PATH = "\0photo:"
_ALONE = "\0row:"


class ProductReader:
    """Products of one feed.

    First ``group_key`` is asked of every record, once, in the feed's order; then ``resolve`` of
    each key. Records whose resolved keys are equal, in their order, are a group for ``read_group``.
    ``warn`` takes notices of values that were left out, ``skip`` those of rows; ``changes``: rows
    only change products that are there.
    """

    def __init__(
        self,
        table: Table,
        profile: FeedProfile,
        *,
        warn: NoticeSink,
        skip: NoticeSink | None = None,
        changes: bool = False,
    ) -> None:
        self.table = table
        self.profile = profile
        self._changes = changes
        self._notes = Notes(warn, warn if skip is None else skip)
        # Ids of rows that were left out for a mistake: the feed does not lack them.
        self.lost_ids: set[str] = set()
        # Ids of products that no shopper may see.
        self.refused_ids: set[str] = set()
        # Product -> its splits, where its rows name several.
        self.torn: dict[str, tuple[str, ...]] = {}
        self._claims = IdClaims()
        self._photo_ids = PhotoIds(table.root)
        self._family: FamilyKeys | None = None
        self._first_pass = True
        self._last = ""
        self._refused: str | None = None
        nested = profile.nested
        is_nested = not table.text and nested is not None and nested.rows in table.columns
        self._nested = NestedRows(nested) if nested is not None and is_nested else None
        self._sample: list[Mapping[str, Any]] = []
        for record in islice(table.records(LostLines()), _SAMPLE):
            self._sample += [row.values for row in self._rows([record])]
        # In order; a feed without a header may have more of them further down.
        self._columns: dict[str, None] = dict.fromkeys([] if self._nested else table.columns)
        for values in self._sample:
            self._columns.update(dict.fromkeys(values))
        self._prepare()
        for decided in self.plan.decided:
            self._notes.warn(table.name, "ambiguous-price", decided)
        self._key = self._keys()

    def _prepare(self) -> None:
        """Plan how rows with the columns that are known now are read."""
        profile = self.profile
        self.plan = RowPlan(
            profile, self._columns, self._notes, text=self.table.text, sample=self._sample
        )
        partial = self._changes or not self.plan.header.has(profile.photo_columns)
        assembly = Assembly(self.plan, self._notes, partial=partial)
        self._context = GroupContext(
            assembly, self._claims, self.lost_ids, self.torn, self.refused_ids
        )
        self._ids = assembly.id_columns
        self._image_columns = self._found(profile.photos.columns)
        self._parents = assembly.parent_columns
        self._marks = self._found(profile.marks)
        self._options = [
            found.column
            for option in profile.options
            for found in self.plan.header.match(option.value)
        ]
        self._nones = frozenset(
            word.casefold() for option in profile.options for word in option.none
        )
        self._titles = self._found(profile.title)
        family = self._family
        self._family = FamilyKeys(profile, self.plan.header) if profile.family else None
        if family is not None and self._family is not None:
            self._family.aliases = family.aliases

    @property
    def types(self) -> dict[str, AttributeType]:
        """Attribute types that the profile says; the others are to be found from the values."""
        return self.plan.types

    @property
    def partial(self) -> bool:
        """Whether the feed has no photos, so that it can only change products that are there."""
        return self._context.assembly.partial

    @property
    def fingerprint(self) -> str:
        """Changes where the same rows would give other products."""
        columns = list(self._columns)
        decided = [*self.plan.decided, self.plan.counts_some, *self.plan.grouped_counts]
        said = [_VERSION, self.profile.digest, columns, self.table.text, decided]
        return hashlib.sha256(json.dumps(said, ensure_ascii=False).encode()).hexdigest()

    def map(self) -> dict[str, str]:
        """Column -> what it becomes, in words, in the feed's order."""
        meanings = self.plan.meanings
        return {column: ", ".join(meanings.get(column, ["left out"])) for column in self._columns}

    def columns(self) -> list[dict[str, Any]]:
        """Per column: its name, its role (None where no role says what it is), what it becomes in
        words, and its first value."""
        return [
            {
                "column": column,
                "meaning": role_of(self.plan.meanings.get(column, [])),
                "becomes": becomes,
                "example": self._example(column),
            }
            for column, becomes in self.map().items()
        ]

    def _example(self, column: str) -> str | None:
        for values in self._sample:
            value = values.get(column)
            text = "" if value is None else " ".join(str(value).split())
            if text:
                return text[:_EXAMPLE]
        return None

    def group_key(self, record: Record) -> str:
        """The key of the rows that a record is read with."""
        if self._first_pass:
            self._claims.next_row()
        return self._key(record)

    def repeated_rows(self) -> np.ndarray:
        """Numbers of the rows that named an id that a row before them has, int64 [R]; asked once
        all records were seen."""
        return self._claims.repeated_rows()

    def resolve(self, key: str) -> str:
        """The key that a group has after all, once all records were seen."""
        if self._first_pass:
            self._first_pass = False
            known = len(self._columns)
            if self._nested is None:
                self._columns.update(dict.fromkeys(self.table.columns))
            if len(self._columns) > known:
                self._prepare()
        if self._family is not None:
            return self._family.resolve(key)
        if key.startswith(_PATH):
            return self._photo_ids.id_of(key.removeprefix(_PATH))
        return key

    def image_key(self, image: str) -> str:
        """The key of a line of which only its photo is known; asked before ``resolve``."""
        path = self._photo_ids.relative(image.strip())
        if self._first_pass:
            self._photo_ids.note(path)
        return _PATH + path

    def read_group(self, records: Sequence[Record]) -> list[FeedProduct]:
        """The products of all records of one group. A wrong row costs itself."""
        plan = self.plan
        records = self._rows(records)
        kind = self.profile.rows
        # Rows of one product mostly say the same again.
        said = records[0].values if kind == "photos" else None
        rows = [plan.read(records[0].where, records[0].values)]
        rows += [plan.read(record.where, record.values, said) for record in records[1:]]
        if kind == "photos":
            return read_photos(self._context, rows, self._id_of_photos(records[0]))
        if kind == "variants":
            for row in rows:
                row.kind = "variant" if self._is_variant(row.values) else "photo"
            handle = self._handle(records[0]) or self._own_id(rows[0]) or records[0].where
            return read_variants(self._context, rows, handle, self._own_id)
        if self._family is not None:
            return read_family(self._context, rows, self._family, self._own_id)
        return read_products(self._context, rows, self._own_id(rows[0]), self._ids)

    def _rows(self, records: Sequence[Record]) -> Sequence[Record]:
        """The rows that records hold: themselves, but where they are nested."""
        if self._nested is None:
            return records
        rows: list[Record] = []
        for record in records:
            rows += self._nested.split(record)
        return rows

    # --- keys
    # ----------------------------------------------------------------------------------------------

    def _keys(self) -> Callable[[Record], str]:
        """What tells the key of a record, as the profile's rows go."""
        if self.profile.rows == "photos":
            return self._photo_key
        if self.profile.rows == "variants":
            return self._variant_key
        if self._family is not None:
            return self._family_key
        return self._product_key

    def _product_key(self, record: Record) -> str:
        values = record.values
        for column in self._ids:
            found = id_text(values.get(column))
            if found is not None:
                return found
        return _ALONE + record.where

    def _photo_key(self, record: Record) -> str:
        values = record.values
        for column in self._ids:
            found = id_text(values.get(column))
            if found is not None:
                return found
        for column in self._image_columns:
            image = values.get(column)
            if isinstance(image, str) and image.strip():
                return self.image_key(image)
        return _ALONE + record.where

    def _variant_key(self, record: Record) -> str:
        handle = self._handle(record)
        if handle is None:
            handle = self._last or _ALONE + record.where
        self._last = handle
        if self._first_pass:
            if self._nested is None:
                self._claim(handle, record)
            else:
                for row in self._nested.split(record):
                    self._columns.update(dict.fromkeys(row.values))
                    self._claim(handle, row)
        return handle

    def _claim(self, handle: str, record: Record) -> None:
        """Take the id of a variant, the one that it names or the one that it will get."""
        values = record.values
        if self._context.refusal(values) is not None:
            # A product that nobody sees takes no id from another, nor do its further rows.
            self._refused = handle
        if handle == self._refused:
            return
        own = self._own_id_of(values)
        if own is None and self._is_variant(values):
            texts = [str(values.get(column) or "").strip() for column in self._options]
            chosen = [text for text in texts if text and text.casefold() not in self._nones]
            own = made_id(handle, " / ".join(chosen))
        if own is not None:
            self._claims.claim(own, record.where)

    def _family_key(self, record: Record) -> str:
        assert self._family is not None
        values = record.values
        kind = self._family.kind(values)
        key = self._family.key(values, kind, note=self._first_pass)
        claims = self._first_pass and kind in ("variant", "single")
        if claims and self._context.refusal(values) is None:
            own = self._own_id_of(values)
            if own is not None:
                self._claims.claim(own, record.where)
        return key if key is not None else _ALONE + record.where

    def _handle(self, record: Record) -> str | None:
        for column in self._parents:
            found = id_text(record.values.get(column))
            if found is not None:
                return found
        # A title begins a product, even where it has no handle yet.
        for column in self._titles:
            title = record.values.get(column)
            if isinstance(title, str) and title.strip():
                return title.strip()
        return None

    def _is_variant(self, values: Mapping[str, Any]) -> bool:
        return any(values.get(column) not in (None, "") for column in self._marks)

    def _own_id(self, row: RowValues) -> str | None:
        return self._own_id_of(row.values)

    def _own_id_of(self, values: Mapping[str, Any]) -> str | None:
        for column in self._ids:
            found = id_text(values.get(column))
            if found is not None:
                return found
        return None

    def _id_of_photos(self, record: Record) -> str | None:
        key = self._photo_key(record)
        return None if key.startswith(_ALONE) else self.resolve(key)

    def _found(self, names: Sequence[str]) -> list[str]:
        return [found.column for found in self.plan.header.all(names)]


def read_all(reader: ProductReader) -> Iterator[FeedProduct]:
    """All products of a small feed, which is held in memory."""
    records = list(reader.table.records(LostLines()))
    keys = [reader.group_key(record) for record in records]
    groups: dict[str, list[Record]] = {}
    for record, key in zip(records, keys, strict=True):
        groups.setdefault(reader.resolve(key), []).append(record)
    for group in groups.values():
        yield from reader.read_group(group)
