"""Filter columns: what filters and facets ask of a version's products, memory-mapped."""

from __future__ import annotations

import bisect
import json
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np

from indexer.catalog.filters import (
    NUMERIC,
    Element,
    FieldKind,
    Filter,
    FilterableProduct,
    FilterCondition,
    category_paths,
    elements,
)
from indexer.core.errors import DamagedIndexError

FORMAT = b"1"
# Values up to which each is looked up by halving; more are looked up together.
_FEW = 32
# What is kept per product: (column, field, kind). A category has two, its paths and its leaf;
# facets count paths only.
_Name = tuple[str, str]
_PATHS = ("paths", "category")
_LEAF = ("leaf", "category")
_TAGS = ("tags", "tags")


@dataclass(frozen=True)
class FilterColumn:
    """One field: which products have which value. Products are numbered 0..P-1 in order of pid.

    Text fields: ``keys`` (Arrow, sorted, each held by a product), ``places[starts[i]:starts[i +
    1]]`` are the products with ``keys[i]``, ascending. Number fields: ``numbers`` sorted,
    ``places`` the product of each. A product that has no value stands nowhere; one with several
    stands at each.
    """

    field: str
    kind: FieldKind
    places: np.ndarray  # int32 [M]
    # Pyarrow.LargeStringArray [V].
    keys: Any = None
    starts: np.ndarray | None = None  # int64 [V + 1]
    numbers: np.ndarray | None = None  # float64 [M]

    def holding(self, condition: FilterCondition) -> Iterator[np.ndarray]:
        """The places of products with a value that fits; a product may come twice."""
        if self.numbers is not None:
            for start, stop in self._spans(condition, self.numbers):
                yield self.places[start:stop]
        elif self.starts is not None:
            found = (
                self._entries(condition)
                if condition.wanted is None
                else self.positions(condition.wanted)
            )
            for position in found:
                yield self.places[self.starts[position] : self.starts[position + 1]]

    @staticmethod
    def _spans(condition: FilterCondition, numbers: np.ndarray) -> Iterator[tuple[int, int]]:
        if condition.wanted is not None:
            wanted = np.array(
                [value for value in condition.wanted if not isinstance(value, str)],
                dtype=np.float64,
            )
            for start, stop in zip(
                np.searchsorted(numbers, wanted),
                np.searchsorted(numbers, wanted, side="right"),
                strict=True,
            ):
                yield int(start), int(stop)
            return
        start = 0
        stop = len(numbers)
        if condition.low is not None:
            start = int(
                np.searchsorted(
                    numbers, condition.low, side="right" if condition.open_low else "left"
                )
            )
        if condition.high is not None:
            stop = int(
                np.searchsorted(
                    numbers, condition.high, side="left" if condition.open_high else "right"
                )
            )
        yield start, max(start, stop)

    def positions(self, wanted: Iterable[Element]) -> Sequence[int]:
        """Where keys equal to one of ``wanted`` stand."""
        texts = [value for value in wanted if isinstance(value, str)]
        if len(texts) > _FEW:
            import pyarrow as pa
            import pyarrow.compute as pc

            together = pc.index_in(pa.array(texts, pa.large_string()), value_set=self.keys)
            return [
                int(position) for position in together.drop_null().to_numpy(zero_copy_only=False)
            ]
        places = [self._first_not_below(text) for text in texts]
        return [
            place
            for place, text in zip(places, texts, strict=True)
            if place < len(self.keys) and self.keys[place].as_py() == text
        ]

    def _first_not_below(self, text: str) -> int:
        # Keys are sorted by their UTF-8 bytes, which is the order of Python's texts too.
        return bisect.bisect_left(
            range(len(self.keys)), text, key=lambda place: self.keys[place].as_py()
        )

    def _entries(self, condition: FilterCondition) -> Sequence[int]:
        """Of a list's entries (JSON) those in a range: the numbers among them stand together, from
        "-" to "9"."""
        span = range(self._first_not_below("-"), self._first_not_below(":"))
        return [place for place in span if condition.within(self.keys[place].as_py())]

    def counts(self, held: np.ndarray | None) -> np.ndarray:
        """How many products have each key, int64 [V]. ``held``: which of ``places`` count, bool
        [M]; None: all of them."""
        if self.starts is None or not len(self.places):
            return np.zeros(0, dtype=np.int64)
        if held is None:
            return np.diff(self.starts)
        return np.add.reduceat(held, self.starts[:-1], dtype=np.int64)

    @cached_property
    def products(self) -> int:
        """How many products have a value."""
        seen = np.zeros(int(self.places.max(initial=-1)) + 1, dtype=bool)
        seen[self.places] = True
        return int(np.count_nonzero(seen))

    def count_products(self, held: np.ndarray | None) -> int:
        """How many products have a value, by ``held`` as in ``counts``."""
        if held is None:
            return self.products
        if self.products == len(self.places):
            return int(np.count_nonzero(held))
        return len(np.unique(self.places[held]))


@dataclass(frozen=True)
class PidCondition(FilterCondition):
    """Whether a product is one of many, by number."""

    field: str = "product_id"
    kind: FieldKind = "product_id"
    # Int64, ascending.
    pids: np.ndarray = dataclass_field(kw_only=True, compare=False)

    def holds(self, facts: FilterableProduct) -> bool:
        place = int(np.searchsorted(self.pids, facts.pid))
        return place < len(self.pids) and int(self.pids[place]) == facts.pid


class FilterColumns:
    """The columns of the products of one version, whose numbers are ``pids`` (int64 [P],
    ascending)."""

    def __init__(
        self,
        pids: np.ndarray,
        columns: Mapping[_Name, FilterColumn],
        facts: Sequence[FilterableProduct] | None = None,
    ) -> None:
        self.pids = pids
        self._columns = dict(columns)
        self._facts = facts

    @classmethod
    def build(
        cls, facts: Iterable[FilterableProduct], pids: np.ndarray, types: Mapping[str, str]
    ) -> FilterColumns:
        """From the catalog's products; those not among ``pids`` are passed over. ``types``: of the
        attributes."""
        builder = ColumnsBuilder(pids, types)
        builder.add(facts)
        return builder.finish()

    @classmethod
    def over(cls, pids: np.ndarray, facts: Sequence[FilterableProduct]) -> FilterColumns:
        """Of a few products in memory: a column is made when a filter first asks for it, of
        whatever type it takes."""
        return cls(pids, {}, facts)

    @classmethod
    def open(cls, file: np.memmap, pids: np.ndarray) -> FilterColumns:
        """From ``write``'s file, mapped as bytes, without a copy; ``pids`` as it was built for.

        Raises ``DamagedIndexError``.
        """
        import pyarrow as pa

        path = Path(str(file.filename))
        try:
            table = pa.ipc.open_file(pa.py_buffer(file)).read_all().combine_chunks()
            meta = table.schema.metadata or {}
            if meta.get(b"format") != FORMAT or int(meta[b"products"]) != len(pids):
                raise ValueError(
                    f"format {meta.get(b'format')!a} of {meta.get(b'products')!a} products"
                )
            return cls(
                pids, {(row.pop("column"), row["field"]): _column(**row) for row in _rows(table)}
            )
        except (OSError, ValueError, KeyError) as error:
            raise DamagedIndexError(
                f"{path.parent.name}: {path.name} cannot be read: {error}"
            ) from error

    def write(self, path: Path) -> None:
        """One Arrow file: a row per column, its arrays as lists, so that they can be mapped without
        a copy."""
        import pyarrow as pa

        rows = [
            {
                "column": name,
                "field": column.field,
                "kind": column.kind,
                "places": column.places,
                "keys": column.keys,
                "starts": column.starts,
                "numbers": column.numbers,
            }
            for (name, _), column in self._columns.items()
        ]
        schema = pa.schema(
            [
                ("column", pa.string()),
                ("field", pa.string()),
                ("kind", pa.string()),
                ("places", pa.large_list(pa.int32())),
                ("keys", pa.large_list(pa.large_string())),
                ("starts", pa.large_list(pa.int64())),
                ("numbers", pa.large_list(pa.float64())),
            ],
            metadata={"format": FORMAT, "products": str(len(self.pids))},
        )
        arrays = []
        for entry in schema:
            arrays.append(_lists(entry, [row[entry.name] for row in rows]))
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))

    def fits(self, types: Mapping[str, str]) -> bool:
        """Whether attributes still have the types that the columns were built with; those that were
        forgotten ask for nothing."""
        return not self.misfits(types)

    def misfits(self, types: Mapping[str, str]) -> dict[str, str]:
        """The attributes whose type is another one than the columns were built with, and that."""
        return {
            column.field: column.kind
            for column in self._columns.values()
            if column.kind not in ("category", "tags")
            and types.get(column.field, column.kind) != column.kind
        }

    def select(self, clause: Filter | FilterCondition) -> np.ndarray:
        """Bool [P]: which products a filter lets through."""
        if isinstance(clause, FilterCondition):
            return self._having(clause)
        mask = np.ones(len(self.pids), dtype=bool)
        for part in clause.must:
            mask &= self.select(part)
        for part in clause.must_not:
            mask &= ~self.select(part)
        if clause.should:
            either = np.zeros(len(self.pids), dtype=bool)
            for part in clause.should:
                either |= self.select(part)
            mask &= either
        return mask

    def _having(self, condition: FilterCondition) -> np.ndarray:
        mask = np.zeros(len(self.pids), dtype=bool)
        if condition.kind == "product_id":
            if condition.exists is not None:
                return np.full(len(self.pids), condition.exists)
            if isinstance(condition, PidCondition):
                wanted = condition.pids
            else:
                wanted = np.array(sorted(condition.wanted or ()), dtype=np.int64)
            mask[np.isin(self.pids, wanted)] = True
            return mask
        for column in self._of(condition):
            if condition.exists is not None:
                mask[column.places] = True
            else:
                for places in column.holding(condition):
                    mask[places] = True
        return ~mask if condition.exists is False else mask

    def _of(self, condition: FilterCondition) -> list[FilterColumn]:
        own: _Name = (condition.kind, condition.field)
        names = {"category": (_PATHS, _LEAF), "tags": (_TAGS,)}.get(condition.kind, (own,))
        for name in names if self._facts is not None else ():
            if name not in self._columns:
                self._columns[name] = self._made(name, condition.kind)
        return [self._columns[name] for name in names if name in self._columns]

    def _made(self, name: _Name, kind: FieldKind) -> FilterColumn:
        gatherer = _Gatherer(kind)
        for product in self._facts or ():
            gatherer.add(
                _column_elements(product, name, kind), int(np.searchsorted(self.pids, product.pid))
            )
        return gatherer.finish(name[1])

    def facets(self) -> Iterator[FilterColumn]:
        """The columns that values are counted of, in order of field: category (by path), tags,
        attributes."""
        for name in (_PATHS, _TAGS):
            yield self._columns[name]
        yield from (
            column
            for _, column in sorted(self._columns.items(), key=lambda entry: entry[1].field)
            if column.kind not in ("category", "tags")
        )

    def of_field(self, field: str, kind: FieldKind) -> FilterColumn | None:
        """The column that values of a field are counted of, if any product has such a field."""
        return self._columns.get(_PATHS if kind == "category" else (kind, field))


@dataclass(frozen=True)
class BoundFilter(Filter):
    """A filter with the columns that it is answered from, in place of the version's own."""

    columns: FilterColumns = dataclass_field(kw_only=True, compare=False, repr=False)

    @classmethod
    def of(cls, where: Filter, columns: FilterColumns) -> BoundFilter:
        """``where``, to be answered from ``columns``."""
        return cls(where.must, where.should, where.must_not, where.key, columns=columns)


def facet_elements(product: FilterableProduct, column: FilterColumn) -> tuple[Element, ...]:
    """What a facet counts of one product: of a category its paths, otherwise the values that
    filters compare."""
    return _column_elements(
        product, _PATHS if column.kind == "category" else ("", column.field), column.kind
    )


def _column_elements(
    product: FilterableProduct, column: _Name, kind: FieldKind
) -> tuple[Element, ...]:
    if column == _PATHS:
        return category_paths(product.category)
    if column == _LEAF:
        return product.category[-1:] if product.category else ()
    return elements(product, column[1], kind)


class ColumnsBuilder:
    """Columns that are made of the catalog's products, some at a time."""

    def __init__(self, pids: np.ndarray, types: Mapping[str, str]) -> None:
        self.types = dict(types)
        self._pids = pids
        self._gathered = {name: _Gatherer("category") for name in (_PATHS, _LEAF)}
        self._gathered[_TAGS] = _Gatherer("tags")
        self._attributes = {name: _Gatherer(kind) for name, kind in types.items()}  # type: ignore[arg-type]

    def add(self, facts: Iterable[FilterableProduct]) -> None:
        """Take in products, in order of their pids; those that are not asked for are passed
        over."""
        for product in facts:
            place = int(np.searchsorted(self._pids, product.pid))
            if place == len(self._pids) or self._pids[place] != product.pid:
                continue
            for column, gatherer in self._gathered.items():
                gatherer.add(_column_elements(product, column, gatherer.kind), place)
            for name in product.attributes:
                if name in self._attributes:
                    gatherer = self._attributes[name]
                    gatherer.add(elements(product, name, gatherer.kind), place)

    def finish(self) -> FilterColumns:
        """The columns of all that was taken in."""
        every = dict(self._gathered)
        every |= {(gatherer.kind, name): gatherer for name, gatherer in self._attributes.items()}
        return FilterColumns(
            self._pids, {column: gatherer.finish(column[1]) for column, gatherer in every.items()}
        )


class _Gatherer:
    """Gathers (value, place) pairs of one field."""

    def __init__(self, kind: FieldKind) -> None:
        self.kind = kind
        # Of texts, in order of appearance.
        self._codes: dict[str, int] = {}
        self._values: array[Any] = array("d" if kind in NUMERIC else "i")
        self._places = array("i")

    def add(self, found: Iterable[Element], place: int) -> None:
        for element in found:
            self._values.append(
                self._codes.setdefault(element, len(self._codes))
                if isinstance(element, str)
                else element
            )
            self._places.append(place)

    def finish(self, field: str) -> FilterColumn:
        values = np.array(self._values)
        places = np.array(self._places, dtype=np.int32)
        if self.kind in NUMERIC:
            order = np.lexsort((places, values))
            return FilterColumn(
                field, self.kind, places[order], numbers=values[order].astype(np.float64)
            )
        import pyarrow as pa

        keys = sorted(self._codes)
        rank = np.empty(len(keys), dtype=np.int64)
        rank[[self._codes[key] for key in keys]] = np.arange(len(keys))
        codes = rank[values.astype(np.int64)]
        order = np.lexsort((places, codes))
        starts = _starts(np.bincount(codes, minlength=len(keys)))
        return FilterColumn(
            field, self.kind, places[order], pa.array(keys, pa.large_string()), starts
        )


def _starts(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _lists(entry: Any, values: list[Any]) -> Any:
    """One Arrow array of the rows' texts, or of their lists without a detour through Python
    objects."""
    import pyarrow as pa

    if not pa.types.is_large_list(entry.type):
        return pa.array(values, entry.type)
    parts = [pa.array([] if value is None else value, entry.type.value_type) for value in values]
    offsets = _starts(np.array([len(part) for part in parts], dtype=np.int64))
    joined = pa.concat_arrays(parts) if parts else pa.array([], entry.type.value_type)
    return pa.LargeListArray.from_arrays(pa.array(offsets), joined)


def _rows(table: Any) -> Iterator[dict[str, Any]]:
    """The rows of the file: texts as they are, lists as Arrow arrays over the mapped file."""
    for number in range(table.num_rows):
        row: dict[str, Any] = {}
        for name in table.column_names:
            value = table.column(name)[number]
            row[name] = value.values if hasattr(value, "values") else value.as_py()
        yield row


def _column(
    *, field: str, kind: str, places: Any, keys: Any, starts: Any, numbers: Any
) -> FilterColumn:
    if kind not in get_args(FieldKind):
        raise ValueError(f"column {field!r} of an unknown kind {kind!r}")
    of_numbers = kind in NUMERIC
    return FilterColumn(
        field,
        kind,  # type: ignore[arg-type]
        places.to_numpy(),
        None if of_numbers else keys,
        None if of_numbers else starts.to_numpy(),
        numbers.to_numpy() if of_numbers else None,
    )


def shown(element: Element, kind: FieldKind) -> Any:
    """A value as a person or a filter would write it: entries of lists and bools are read back from
    their text."""
    return json.loads(element) if kind in ("list", "bool") and isinstance(element, str) else element
