"""Columns against the filter's own definition: the same products, from memory and from the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.catalog.filters import FilterableProduct, parse_filter
from indexer.core.errors import DamagedIndexError
from indexer.index.filter_columns import FilterColumns

TYPES = {
    "colour": "string",
    "price": "number",
    "sale": "bool",
    "since": "datetime",
    "sizes": "list",
}
CATEGORIES = [None, ("A",), ("A", "B"), ("A", "B", "C"), ("B",), ("A > B",), ("X", "B")]
TEXTS = ["red", "blue", "", " ", "été", "z" * 40, "-", "9"]
NUMBERS = [0, -1, 1.5, 2, 2**53, 2**53 + 1, -0.0, 1e300]
MOMENTS = ["2024-01-01", "2024-01-01T00:00:00Z", "2024-06-01T12:30:00+02:00", "1969-12-31T23:59:59"]
ENTRIES = [*TEXTS, *NUMBERS, True, False]

values = {
    "colour": st.sampled_from(TEXTS),
    "price": st.sampled_from(NUMBERS),
    "sale": st.booleans(),
    "since": st.sampled_from(MOMENTS),
    "sizes": st.lists(st.sampled_from(ENTRIES), max_size=3),
}
attributes = st.fixed_dictionaries({}, optional=values)
tags = st.lists(st.sampled_from(TEXTS[:5]), max_size=3, unique=True).map(tuple)
facts = st.builds(lambda c, t, a: (c, t, a), st.sampled_from(CATEGORIES), tags, attributes)


def bounds(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    low = st.one_of(
        st.just({}), st.builds(lambda op, v: {op: v}, st.sampled_from(["gt", "gte"]), strategy)
    )
    high = st.one_of(
        st.just({}), st.builds(lambda op, v: {op: v}, st.sampled_from(["lt", "lte"]), strategy)
    )
    return st.builds(lambda one, other: {**one, **other}, low, high).filter(bool)


def conditions() -> st.SearchStrategy[dict[str, Any]]:
    wanted: dict[str, st.SearchStrategy[Any]] = {
        **values,
        "sizes": st.sampled_from(ENTRIES),
        "tags": st.sampled_from(TEXTS),
        "category": st.sampled_from(["A", "B", "C", "A > B", "A > B > C", "X", "X > B", "nothing"]),
        "product_id": st.integers(0, 15).map(str),
    }
    ranges = {"price": values["price"], "since": values["since"], "sizes": st.sampled_from(NUMBERS)}
    made = [
        one
        for field, value in wanted.items()
        for one in (
            st.builds(lambda v, f=field: {"field": f, "eq": v}, value),
            st.builds(lambda v, f=field: {"field": f, "in": v}, st.lists(value, max_size=4)),
            st.builds(lambda v, f=field: {"field": f, "exists": v}, st.booleans()),
        )
    ]
    made += [
        st.builds(lambda b, f=field: {"field": f, **b}, bounds(value))
        for field, value in ranges.items()
    ]
    return st.one_of(made)


def groups(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    clauses = st.lists(inner, min_size=1, max_size=3)
    return st.fixed_dictionaries(
        {}, optional={"must": clauses, "should": clauses, "must_not": clauses}
    ).filter(bool)


filters = groups(st.one_of(conditions(), groups(conditions())))


@settings(max_examples=300, deadline=None)
@given(products=st.dictionaries(st.integers(1, 15), facts, max_size=12), raw=filters)
def test_columns_select_what_the_filter_matches(
    products: dict[int, tuple[Any, ...]], raw: dict[str, Any]
) -> None:
    """Any filter over any products: the mask is, product by product, what ``Filter.holds`` says."""
    known = [FilterableProduct(pid, *rest) for pid, rest in products.items()]
    pids = np.array(sorted(products), dtype=np.int64)
    where = parse_filter(raw, TYPES, pid_of=int)
    mask = FilterColumns.build(known, pids, TYPES).select(where)
    expected = {product.pid for product in known if where.holds(product)}
    assert set(pids[mask].tolist()) == expected


SHOP = [
    FilterableProduct(3, ("A", "B"), ("x",), {"colour": "red", "price": 5, "sizes": [38, "XL"]}),
    FilterableProduct(5, ("A",), (), {"colour": "blue", "sale": True, "since": "2024-01-01"}),
    FilterableProduct(9, None, ("x", "y"), {"colour": "red", "price": 7.5}),
]
PIDS = np.array([3, 5, 9], dtype=np.int64)
QUESTIONS: list[tuple[dict[str, Any], list[int]]] = [
    ({"field": "colour", "eq": "red"}, [3, 9]),
    ({"field": "category", "eq": "A"}, [3, 5]),
    ({"field": "category", "eq": "B"}, [3]),
    ({"field": "tags", "in": ["y", "z"]}, [9]),
    ({"field": "price", "gt": 5}, [9]),
    ({"field": "sale", "eq": True}, [5]),
    ({"field": "since", "lte": "2024-01-01"}, [5]),
    ({"field": "sizes", "gte": 38}, [3]),
    ({"field": "price", "exists": False}, [5]),
    ({"field": "product_id", "eq": "5"}, [5]),
    ({"field": "colour", "in": [f"colour {i}" for i in range(100)] + ["blue"]}, [5]),
]


def mapped(path: Path) -> np.memmap:
    return np.memmap(path, np.uint8, "r")


def selected(columns: FilterColumns, condition: dict[str, Any]) -> list[int]:
    mask = columns.select(parse_filter({"must": [condition]}, TYPES, pid_of=int))
    return [int(pid) for pid in columns.pids[mask]]


def test_the_file_answers_as_memory_does(tmp_path: Path) -> None:
    """Written and mapped again: every kind of condition gives the products it gave, and the known
    right ones."""
    built = FilterColumns.build(SHOP, PIDS, TYPES)
    built.write(tmp_path / "columns.arrow")
    opened = FilterColumns.open(mapped(tmp_path / "columns.arrow"), PIDS)
    for condition, expected in QUESTIONS:
        assert selected(built, condition) == expected
        assert selected(opened, condition) == expected
    assert [column.field for column in opened.facets()] == [
        "category",
        "tags",
        "colour",
        "price",
        "sale",
        "since",
        "sizes",
    ]


def test_an_empty_shop_has_columns_too(tmp_path: Path) -> None:
    """No products, no attributes: nothing matches, and the file can be opened."""
    nobody = np.empty(0, dtype=np.int64)
    FilterColumns.build([], nobody, {}).write(tmp_path / "columns.arrow")
    opened = FilterColumns.open(mapped(tmp_path / "columns.arrow"), nobody)
    assert selected(opened, {"field": "category", "eq": "A"}) == []


def test_columns_of_other_products_are_refused(tmp_path: Path) -> None:
    """A file for another number of products, a cut and a foreign one: an error that names it, never
    wrong answers."""
    path = tmp_path / "columns.arrow"
    FilterColumns.build(SHOP, PIDS, TYPES).write(path)
    with pytest.raises(DamagedIndexError, match=r"columns\.arrow"):
        FilterColumns.open(mapped(path), PIDS[:2])
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DamagedIndexError, match=r"columns\.arrow"):
        FilterColumns.open(mapped(path), PIDS)
    path.write_bytes(b"no columns at all")
    with pytest.raises(DamagedIndexError, match=r"columns\.arrow"):
        FilterColumns.open(mapped(path), PIDS)


def test_columns_know_when_a_type_changed() -> None:
    """Columns built for numbers do not answer for texts; a new attribute changes nothing."""
    columns = FilterColumns.build(SHOP, PIDS, TYPES)
    assert columns.fits(TYPES)
    assert columns.fits({**TYPES, "brand": "string"})
    assert not columns.fits({**TYPES, "price": "string"})


def test_a_product_counts_once_however_many_values_it_has() -> None:
    """Counts by value and of products, of all and of a part, of one value each and of several."""
    facts = [
        FilterableProduct(pid, ("Things",), tuple(tags), {})
        for pid, tags in ((3, "ab"), (5, "b"), (8, ""), (9, "abc"))
    ]
    columns = FilterColumns.build(facts, np.array([3, 5, 8, 9]), {})
    category, tags = columns.facets()
    mask = np.array([True, False, True, True])
    assert (category.count_products(None), tags.count_products(None)) == (4, 3)
    assert category.count_products(mask[category.places]) == 3
    assert tags.count_products(mask[tags.places]) == 2
    assert tags.counts(None).tolist() == [2, 3, 1]
    assert tags.counts(mask[tags.places]).tolist() == [2, 2, 1]
    assert tags.counts(np.zeros(len(tags.places), bool)).tolist() == [0, 0, 0]
