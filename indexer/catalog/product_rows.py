"""Rows of products: their columns as stored, merged, and read as products."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from indexer.catalog.filters import FilterableProduct, filterable_values
from indexer.catalog.product_fields import read_fields
from indexer.catalog.records import Product, Tag, dump, load
from indexer.core.printable import is_utf8
from indexer.core.sqlite import Connection, Error, chunks

ROW_COLUMNS = "pid, title, category, attributes, fields, spellings, external_version, sequence"

_TAGS = "SELECT pid, tag, source FROM tags WHERE pid IN ({}) ORDER BY pid, position"
_PHOTOS = (
    "SELECT pid, photo_id, content_hash, source FROM product_photos JOIN photos USING (photo_id) "
    "WHERE pid IN ({}) ORDER BY pid, position"
)
_PRODUCT_COLUMNS = (
    "pid, product_id, title, category, attributes, fields, external_version, sequence"
)
_PRODUCTS = f"SELECT {_PRODUCT_COLUMNS} FROM products WHERE pid IN ({{}}) ORDER BY pid"
_FACTS = "SELECT pid, category, attributes, fields FROM products WHERE pid IN ({})"


class StoredContent(NamedTuple):
    """What a product says, as it stands in its row: category and the last three are JSON."""

    title: str | None
    category: str | None
    attributes: str
    fields: str | None
    spellings: str | None


class StoredRow(NamedTuple):
    """A product's row. ``content``: its middle."""

    pid: int
    content: StoredContent
    external_version: int | None
    sequence: int

    @classmethod
    def of(cls, row: Sequence[Any]) -> StoredRow:
        return cls(row[0], StoredContent(*row[1:6]), row[6], row[7])


def texts_in(stored: str | None) -> set[str]:
    """The texts among the values of a JSON column."""
    found: set[str] = set()
    waiting: list[Any] = [] if stored is None else [orjson.loads(stored)]
    for value in waiting:  # which grows
        if isinstance(value, str):
            found.add(value)
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return found


def strings_in(value: object) -> Iterator[str]:
    """The texts in a JSON value, but for names of objects."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from strings_in(entry)


def kept_values(stored: str | None, keep: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in load(stored or "{}").items() if name in keep}


def merged_values(
    old: dict[str, Any], given: Mapping[str, Any], checked: Mapping[str, Any]
) -> dict[str, Any]:
    """``old`` with the ``checked`` values, without the names that are ``given`` as None."""
    merged = {**old, **checked}
    for name, value in given.items():
        if value is None:
            merged.pop(name, None)
    return merged


def dump_some(values: Mapping[str, Any]) -> str | None:
    return dump(values) if values else None


def read_pids(connection: Connection, product_ids: Iterable[str]) -> dict[str, int]:
    """The internal numbers of those of ``product_ids`` that exist, in their order."""
    wanted = [one for one in dict.fromkeys(product_ids) if is_utf8(one)]
    found: dict[str, int] = {}
    for part, marks in chunks(wanted):
        query = f"SELECT product_id, pid FROM products WHERE product_id IN ({marks})"
        found.update(connection.execute(query, part).fetchall())
    return {one: found[one] for one in wanted if one in found}


def read_products(
    connection: Connection, pids: Iterable[int], *, tags: bool = True, old: bool = False
) -> dict[int, Product]:
    """Those of ``pids`` that exist. ``old``: the file has no fields and no addresses of photos."""
    wanted = list(pids)
    carried: dict[int, list[Tag]] = {}
    for pid, tag, source in rows_at_once(
        connection, "pid, tag, source", _TAGS, wanted if tags else ()
    ):
        carried.setdefault(pid, []).append(_tag(tag, source))
    photos: dict[int, list[tuple[int, str, str | None]]] = {}
    query = _without(_PHOTOS, "source") if old else _PHOTOS
    for pid, *photo in rows_at_once(
        connection, "pid, photo_id, content_hash, source", query, wanted
    ):
        photos.setdefault(pid, []).append(tuple(photo))
    products: dict[int, Product] = {}
    query = _without(_PRODUCTS, "fields") if old else _PRODUCTS
    for row in rows_at_once(connection, _PRODUCT_COLUMNS, query, wanted):
        pid, product_id, title, category, attributes, fields, version, sequence = row
        held = photos.get(pid, [])
        products[pid] = Product(
            product_id=product_id,
            title=title,
            category=None if category is None else tuple(orjson.loads(category)),
            tags=tuple(carried.get(pid, ())),
            attributes=load(attributes),
            photos=tuple(content_hash for _, content_hash, _ in held),
            fields=read_fields(None if fields is None else orjson.loads(fields)),
            sources={content_hash: source for _, content_hash, source in held if source},
            pid=pid,
            sequence=sequence,
            external_version=version,
            photo_ids=tuple(photo_id for photo_id, _, _ in held),
        )
    return products


def read_facts(
    connection: Connection, pids: Sequence[int], *, old: bool = False
) -> dict[int, FilterableProduct]:
    """What filters ask of those of ``pids`` that exist; ``old``: as ``read_products``."""
    found: dict[int, FilterableProduct] = {}
    facts_query = _without(_FACTS, "fields") if old else _FACTS
    for part, marks in chunks(pids):
        tags: dict[int, dict[str, None]] = {}
        query = f"SELECT pid, tag FROM tags WHERE pid IN ({marks}) ORDER BY pid, position"
        for pid, tag in connection.execute(query, part):
            tags.setdefault(pid, {})[tag] = None
        for pid, category, attributes, fields in connection.execute(
            facts_query.format(marks), part
        ):
            path = None if category is None else tuple(load(category))
            values = filterable_values(load(attributes), load(fields) if fields else {})
            found[pid] = FilterableProduct(pid, path, tuple(tags.get(pid, ())), values)
    return found


def stored_values(connection: Connection, name: str, *, old: bool) -> list[tuple[str, Any]]:
    """(product id, value) of every product that has the field or attribute ``name``; ``old``: as
    ``read_products``."""
    # The path of a JSON object's member: a quote in it cannot be written.
    path = '$."' + name.replace('"', "") + '"'
    value = "json_extract(attributes, ?1)"
    if not old:
        value = f"coalesce(json_extract(fields, ?1), {value})"
    query = f"SELECT product_id, {value} AS value FROM products WHERE value IS NOT NULL"
    return connection.execute(query, (path,)).fetchall()


def _without(query: str, column: str) -> str:
    """``query`` on a file that lacks ``column``."""
    return query.replace(f", {column} ", f", NULL AS {column} ").replace(
        f", {column},", f", NULL AS {column},"
    )


# Most products have the same few.
_tag = lru_cache(4096)(Tag)


def rows_at_once(
    connection: Connection, columns: str, query: str, pids: Iterable[int]
) -> Iterator[list[Any]]:
    """Rows of ``query`` about ``pids`` (in place of its ``{}``), each a list of its ``columns``.

    SQLite makes one text of them: taken row by row, each row gives up Python's lock and waits for
    it again, which among several busy threads takes longer than all the rest.
    """
    for part, marks in chunks([int(pid) for pid in pids]):
        together = f"SELECT json_group_array(json_array({columns})) FROM ({query.format(marks)})"
        try:
            (text,) = connection.execute(together, part).fetchone()
        except Error as error:
            if "too big" not in str(error):
                raise
            # Rows of before there were limits: more than the longest text that SQLite makes.
            yield from map(list, connection.execute(query.format(marks), part))
        else:
            yield from orjson.loads(text)
