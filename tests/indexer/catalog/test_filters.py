"""The filter language: what matches, and every way to ask wrongly named by its place."""

from __future__ import annotations

from typing import Any

import pytest

from indexer.catalog.filters import (
    MAX_CHARACTERS,
    MAX_CONDITIONS,
    MAX_DEPTH,
    Filter,
    named_products,
    parse_filter,
)
from indexer.catalog.records import Product, Tag
from indexer.core.errors import BadFilterError

TYPES = {
    "colour": "string",
    "price": "number",
    "sale": "bool",
    "since": "datetime",
    "sizes": "list",
    "note": "string",
}
SHIRT = Product(
    product_id="shirt-1",
    title="A shirt",
    category=("Apparel", "Topwear", "Tshirts"),
    tags=(Tag("summer", "merchant"), Tag("cotton", "machine")),
    attributes={
        "colour": "red",
        "price": 19.5,
        "sale": False,
        "since": "2024-05-31T12:00:00+02:00",
        "sizes": [38, "XL", True],
        "note": "  ",
    },
    photos=("0" * 64,),
    pid=7,
    sequence=1,
    external_version=None,
    photo_ids=(1,),
)
PIDS = {"shirt-1": 7, "hat-2": 8}


def parsed(raw: object) -> Filter:
    return parse_filter(raw, TYPES, pid_of=PIDS.get)


def matches(**condition: Any) -> bool:
    return parsed({"must": [condition]}).matches(SHIRT)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("Tshirts", True),
        ("Apparel", True),
        ("Apparel > Topwear", True),
        ("Apparel > Topwear > Tshirts", True),
        (["Apparel", "Topwear"], True),
        ("Topwear", False),
        ("Topwear > Tshirts", False),
        ("Apparel > Top", False),
        ("tshirts", False),
    ],
)
def test_a_category_is_its_label_or_a_path_from_the_top(value: object, found: bool) -> None:
    """The leaf's label, the full path and each path above it match; a middle level and part of a
    label do not."""
    assert matches(field="category", eq=value) is found
    assert matches(**{"field": "category", "in": ["Bags", value]}) is found


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ({"field": "tags", "eq": "cotton"}, True),
        ({"field": "tags", "in": ["winter", "summer"]}, True),
        ({"field": "tags", "eq": "winter"}, False),
        ({"field": "product_id", "eq": "shirt-1"}, True),
        ({"field": "product_id", "in": ["hat-2", "nobody"]}, False),
        ({"field": "colour", "eq": "red"}, True),
        ({"field": "colour", "eq": "Red"}, False),
        ({"field": "price", "eq": 19.5}, True),
        ({"field": "price", "gte": 19.5}, True),
        ({"field": "price", "gt": 19.5}, False),
        ({"field": "price", "lte": 19.5}, True),
        ({"field": "price", "lt": 19.5}, False),
        ({"field": "price", "gt": 19, "lt": 20}, True),
        ({"field": "price", "gte": 20, "lt": 19}, False),
        ({"field": "price", "in": []}, False),
        ({"field": "sale", "eq": False}, True),
        ({"field": "sale", "in": [True]}, False),
        ({"field": "since", "eq": "2024-05-31T10:00:00Z"}, True),
        ({"field": "since", "gte": "2024-05-31", "lt": "2024-06-01"}, True),
        ({"field": "since", "lt": "2024-05-31"}, False),
        ({"field": "sizes", "eq": 38}, True),
        ({"field": "sizes", "eq": 38.0}, True),
        ({"field": "sizes", "eq": "38"}, False),
        ({"field": "sizes", "eq": 1}, False),
        ({"field": "sizes", "eq": True}, True),
        ({"field": "sizes", "in": ["L", "XL"]}, True),
        ({"field": "sizes", "gte": 37, "lt": 39}, True),
        ({"field": "sizes", "gt": 38}, False),
        ({"field": "sizes", "gte": 0, "lte": 1}, False),
        ({"field": "note", "exists": False}, True),
        ({"field": "note", "eq": "  "}, False),
        ({"field": "sizes", "exists": True}, True),
        ({"field": "product_id", "exists": True}, True),
    ],
)
def test_a_condition_says_what_it_says(condition: dict[str, Any], found: bool) -> None:
    """Each operator on each type: bounds inside or outside, equal instants, entries of lists by
    value and type."""
    assert matches(**condition) is found


def test_a_missing_value_matches_exists_false_and_must_not_alone() -> None:
    """A product without price is below nothing, above nothing, equal to nothing, and so passes
    their negations."""
    bare = Product(**{**vars(SHIRT), "attributes": {}, "tags": (), "category": None})
    for field, value in (
        ("price", 5),
        ("colour", "red"),
        ("category", "Apparel"),
        ("tags", "x"),
        ("sizes", 3),
    ):
        for condition in ({"field": field, "eq": value}, {"field": field, "in": [value]}):
            assert not parsed({"must": [condition]}).matches(bare)
            assert parsed({"must_not": [condition]}).matches(bare)
        assert parsed({"must": [{"field": field, "exists": False}]}).matches(bare)
        assert not parsed({"must": [{"field": field, "exists": True}]}).matches(bare)
    for bound in ({"gte": 0}, {"lt": 100}):
        assert not parsed({"must": [{"field": "price", **bound}]}).matches(bare)
        assert parsed({"must_not": [{"field": "price", **bound}]}).matches(bare)


def test_groups_combine_and_nest() -> None:
    """All of must, none of must_not, one of should where any is given; groups stand where
    conditions do."""
    red, blue = ({"field": "colour", "eq": value} for value in ("red", "blue"))
    cheap, dear = {"field": "price", "lt": 20}, {"field": "price", "gte": 20}
    assert parsed({}).matches(SHIRT)
    assert parsed({"must": [], "should": [], "must_not": []}).matches(SHIRT)
    assert parsed({"must": [red, cheap]}).matches(SHIRT)
    assert not parsed({"must": [red, dear]}).matches(SHIRT)
    assert parsed({"should": [blue, cheap]}).matches(SHIRT)
    assert not parsed({"should": [blue, dear]}).matches(SHIRT)
    assert not parsed({"must": [red], "should": [blue]}).matches(SHIRT)
    assert not parsed({"must": [red], "must_not": [cheap]}).matches(SHIRT)
    assert parsed({"must": [{"should": [{"must": [red, cheap]}, {"must": [blue, dear]}]}]}).matches(
        SHIRT
    )
    assert not parsed({"must_not": [{"must": [red, cheap]}]}).matches(SHIRT)


def test_numbers_compare_as_doubles() -> None:
    """Integers beyond 2**53 compare as their nearest double, and -0 is 0: as in the columns of an
    index."""
    big = Product(**{**vars(SHIRT), "attributes": {"price": 2**53 + 1, "sizes": [0]}})
    assert parsed({"must": [{"field": "price", "eq": 2**53}]}).matches(big)
    assert parsed({"must": [{"field": "sizes", "eq": -0.0}]}).matches(big)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ([], "filter must be an object with must, should, must_not, not a list"),
        ({"field": "price", "eq": 1}, "unknown part 'field'"),
        ({"musst": []}, "unknown part 'musst'"),
        ({"must": {"field": "price"}}, "filter.must must be a list"),
        ({"must": ["price"]}, "filter.must[0] must be a condition on a field"),
        ({"must": [{}]}, "filter.must[0]"),
        ({"must": [{"eq": 1}]}, "filter.must[0] must be a condition on a field"),
        ({"must": [{"field": 3, "eq": 1}]}, "filter.must[0].field must be text"),
        (
            {"must": [{"field": "prize", "eq": 1}]},
            "no field 'prize' to filter by; did you mean 'price'?",
        ),
        (
            {"should": [{"must": [{"field": "zzz", "eq": 1}]}]},
            "filter.should[0].must[0]: no field 'zzz'",
        ),
        ({"must": [{"field": "title", "eq": "A shirt"}]}, "no field 'title'"),
        ({"must": [{"field": "price", "like": 1}]}, "(price): unknown operator 'like'"),
        ({"must": [{"field": "price"}]}, "it has none"),
        ({"must": [{"field": "price", "eq": 1, "in": [1]}]}, "it has eq, in"),
        ({"must": [{"field": "price", "eq": 1, "lt": 2}]}, "it has eq, lt"),
        ({"must": [{"field": "price", "gt": 1, "gte": 2}]}, "two bounds on one side: gt, gte"),
        ({"must": [{"field": "price", "eq": "19"}]}, "(price).eq: expected number, got '19'"),
        ({"must": [{"field": "price", "eq": True}]}, "expected number, got True"),
        ({"must": [{"field": "price", "eq": None}]}, "expected number, got None"),
        ({"must": [{"field": "price", "eq": float("nan")}]}, "expected number, got nan"),
        ({"must": [{"field": "price", "lt": [1]}]}, "expected number, got a list"),
        ({"must": [{"field": "price", "in": 5}]}, "(price).in must be a list"),
        ({"must": [{"field": "colour", "eq": 5}]}, "expected string, got 5"),
        (
            {"must": [{"field": "colour", "lt": "red"}]},
            "lt compare numbers and datetimes; the field is a string",
        ),
        ({"must": [{"field": "sale", "eq": 1}]}, "expected bool, got 1"),
        (
            {"must": [{"field": "since", "gte": "31.5.2024"}]},
            "(since).gte: expected datetime, got '31.5.2024'",
        ),
        ({"must": [{"field": "since", "gte": 5}]}, "expected datetime, got 5"),
        (
            {"must": [{"field": "sizes", "eq": [38]}]},
            "(sizes).eq: expected a single value, got a list",
        ),
        ({"must": [{"field": "sizes", "gt": "XL"}]}, "expected number, got 'XL'"),
        ({"must": [{"field": "category", "eq": 5}]}, "(category).eq: expected string, got 5"),
        ({"must": [{"field": "category", "gte": "A"}]}, "the field is a category"),
        ({"must": [{"field": "tags", "eq": "\ud800"}]}, "not valid Unicode"),
        ({"must": [{"field": "product_id", "eq": 7}]}, "(product_id).eq: expected string"),
        (
            {"must_not": [{"field": "price", "exists": "yes"}]},
            "filter.must_not[0] (price).exists must be true or false",
        ),
        (
            {"must": [{"field": "price", "eq": 1}] * (MAX_CONDITIONS + 1)},
            f"at most {MAX_CONDITIONS} conditions",
        ),
        ({"must": [{"field": "price", "in": [1] * 6000}] * 2}, "at most 10000 values"),
    ],
)
def test_a_bad_filter_names_what_is_wrong_and_where(raw: object, words: str) -> None:
    with pytest.raises(BadFilterError) as refused:
        parsed(raw)
    assert words in str(refused.value)


def test_nesting_ends_somewhere() -> None:
    """As deep as allowed is read, one level more is refused, and a thousand levels too, without a
    crash."""

    def nested(depth: int) -> dict[str, Any]:
        raw: dict[str, Any] = {"must": [{"field": "price", "eq": 19.5}]}
        for _ in range(depth - 1):
            raw = {"must": [raw]}
        return raw

    assert parsed(nested(MAX_DEPTH)).matches(SHIRT)
    for depth in (MAX_DEPTH + 1, 900):
        with pytest.raises(BadFilterError, match=f"deeper than {MAX_DEPTH} levels"):
            parsed(nested(depth))


@pytest.mark.parametrize(
    "raw",
    [
        {"must": [{"field": "x" * MAX_CHARACTERS, "eq": 1}]},
        {"must": [{"field": "colour", "in": ["x" * 200_000] * 6}]},
        {"x" * (MAX_CHARACTERS + 1): []},
    ],
)
def test_a_filter_has_no_more_text_than_filters_need(raw: object) -> None:
    """Comparing a field's name of 50 MB with those that there are took twenty seconds and 2 GiB."""
    with pytest.raises(BadFilterError, match="at most 1,000,000 characters") as refusal:
        parsed(raw)
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize(
    "raw",
    [
        {"must": [{"field": "x" * 100_000, "eq": 1}]},
        {"must": [{"field": "colour", "x" * 100_000: 1}]},
        {"must": [{f"{number}" * 100: 1 for number in range(500)}]},
        {"x" * 100_000: []},
    ],
)
def test_a_refusal_repeats_no_long_names(raw: object) -> None:
    """A message is short, whatever was sent."""
    with pytest.raises(BadFilterError) as refusal:
        parsed(raw)
    assert len(str(refusal.value)) < 2000


def test_the_key_of_a_long_filter_is_short() -> None:
    """Selections are remembered by it: long values were held for as long as the service ran."""
    raw = {"must": [{"field": "colour", "eq": "x" * 90_000}]}
    assert len(parsed(raw).key) < 100


def test_equal_keys_select_the_same() -> None:
    """The key says all that the verdict depends on: the text, the fields' types and which products
    ids stand for."""
    raw = {"must": [{"field": "price", "eq": 5}]}
    assert parsed(raw).key == parsed({"must": [{"eq": 5, "field": "price"}]}).key
    assert parsed(raw).key != parsed({"must": [{"field": "price", "eq": 6}]}).key
    assert parsed(raw).key != parse_filter(raw, {"price": "list"}, pid_of=PIDS.get).key
    ids = {"must": [{"field": "product_id", "eq": "new"}]}
    assert parsed(ids).key != parse_filter(ids, TYPES, pid_of={"new": 9}.get).key


def test_products_that_a_filter_names_are_known_before_it_is_read() -> None:
    """Every id that reading it asks for, at any depth; nonsense names none and is refused later."""
    inner = {"must_not": [{"field": "product_id", "in": ["hat-2", 3, "x"]}]}
    raw = {"must": [{"field": "product_id", "eq": "shirt-1"}, {"should": [inner]}]}
    asked: list[str] = []
    parse_filter(
        {
            "must": [
                {"field": "product_id", "eq": "shirt-1"},
                {"should": [{"must_not": [{"field": "product_id", "in": ["hat-2", "x"]}]}]},
            ]
        },
        TYPES,
        pid_of=lambda one: asked.append(one),  # type: ignore[func-returns-value]
    )
    assert sorted(named_products(raw)) == sorted(asked) == ["hat-2", "shirt-1", "x"]
    nested: object = {"field": "product_id", "eq": "deep"}
    for _ in range(1000):
        nested = {"must": [nested]}
    for wrong in (None, [], "x", {"must": {"field": "product_id"}}, nested, {"field": "price"}):
        assert named_products(wrong) == []
