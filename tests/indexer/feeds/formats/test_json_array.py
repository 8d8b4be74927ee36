"""JSON documents give an object at a time, wherever their list is; broken ones cost themselves."""

from __future__ import annotations

import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from indexer.core.errors import BadDataError
from indexer.feeds.reader import LostLines, open_table
from tests.indexer.feeds.feed_reads import read


def product(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "title": f"Hat {number}",
        "variants": [{"id": 10 * number, "price": "1.00"}, {"id": 10 * number + 1, "price": "2"}],
        "tags": ["a", "b"],
    }


PRODUCTS = [product(number) for number in range(5)]


@pytest.mark.parametrize(
    "document",
    [
        PRODUCTS,
        {"products": PRODUCTS},
        {"version": 1, "errors": [], "meta": {"pages": [{"n": 1}]}, "items": PRODUCTS, "x": 1},
        {"data": {"products": {"edges": [{"node": one, "cursor": "c"} for one in PRODUCTS]}}},
        {"whatever": PRODUCTS},
    ],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_the_list_is_found(tmp_path: Path, document: Any, indent: int | None) -> None:
    """At the top, under a shop's own name, as GraphQL has it; lists in it stay as they are."""
    found = read(tmp_path, json.dumps(document, indent=indent), "products.json")
    assert [record.values for record in found.records] == PRODUCTS
    assert found.table.columns == ["id", "title", "variants", "tags"]
    assert (found.table.text, found.codes) == (False, [])


def test_one_product_is_a_document(tmp_path: Path) -> None:
    """Its variants are no list of products; objects a line are JSON lines whatever the name."""
    found = read(tmp_path, json.dumps(product(1), indent=1), "one.json")
    assert [record.values for record in found.records] == [product(1)]
    lines = "\n".join(map(json.dumps, PRODUCTS))
    assert read(tmp_path, lines, "lines.json").table.format == "jsonl"


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ('"title": "Hat {}",', '"title": "Hat {}"'),
        ('"title": "Hat {}",', '"title": "Hat {},'),
        ('"variants": [', '"variants": [,}}'),
        ('"title"', "title"),
    ],
)
@pytest.mark.parametrize("number", [0, 2, 4])
def test_a_broken_object_is_lost_alone(
    tmp_path: Path, number: int, good: str, bad: str, indent: int | None
) -> None:
    """Named by its line; reading goes on with the next product, not with one of its variants."""
    texts = [json.dumps(one, indent=indent) for one in PRODUCTS]
    texts[number] = texts[number].replace(good.format(number), bad.format(number))
    found = read(tmp_path, "[" + ",".join(texts) + "]", "feed.json")
    assert found.values("id") == [one["id"] for one in PRODUCTS if one["id"] != number]
    line = 1 + sum(text.count("\n") for text in texts[:number])
    assert [notice.where for notice in found.lost.skipped] == [f"feed.json:{line}"]


def test_what_was_whole_before_the_cut_is_read(tmp_path: Path) -> None:
    """And that the rest is missing is said."""
    found = read(tmp_path, json.dumps(PRODUCTS)[:-60], "feed.json")
    assert found.values("id") == [0, 1, 2, 3]
    assert found.codes == ["cut-off"]


@pytest.mark.parametrize("text", ["[" * 6_000_000, '{"a":' * 1_200_000])
def test_nested_braces_end_at_once(tmp_path: Path, text: str) -> None:
    """6 MB of them: refused, or lost with a reason, without a crash."""
    (tmp_path / "feed.json").write_text(text)
    try:
        table = open_table(tmp_path / "feed.json")
    except BadDataError as error:
        assert "too deep" in str(error)  # noqa: PT017
        return
    lost = LostLines()
    assert list(table.records(lost)) == []
    assert "too deep" in lost.skipped[0].reason


@pytest.mark.parametrize("name", ["feed.json", "feed.jsonl"])
def test_a_number_that_is_too_long_is_said_in_our_words(tmp_path: Path, name: str) -> None:
    """Python names a function of its own to whoever reads the report."""
    rows = [json.dumps(product(0)), '{"id": %s}' % ("9" * 5000), json.dumps(product(2))]
    text = "\n".join(rows) if name.endswith("l") else f"[{','.join(rows)}]"
    found = read(tmp_path, text, name)
    assert found.values("id") == [0, 2]
    assert "a number is too long" in found.lost.skipped[0].reason


def test_depth_is_held_to_a_bound(tmp_path: Path) -> None:
    """Deeper than feeds go is a lost line."""
    deep = {"id": 1, "x": json.loads("[" * 70 + "]" * 70)}
    found = read(tmp_path, json.dumps([product(0), deep, product(2)]), "feed.json")
    assert found.values("id") == [0, 2]
    assert "64 levels" in found.lost.skipped[0].reason


def test_what_is_no_list_of_objects(tmp_path: Path) -> None:
    """Said as such; entries that are none are lost lines."""
    with pytest.raises(BadDataError, match="without a list"):
        read(tmp_path, '"text"', "feed.json")
    found = read(tmp_path, '[1, {"id": 2}, null]', "feed.json")
    assert (found.values("id"), found.lost.count) == ([2], 2)


def test_memory_does_not_grow_with_objects(tmp_path: Path) -> None:
    """One object and a buffer are held."""
    path = tmp_path / "feed.json"
    with path.open("w") as file:
        file.write('{"products": [')
        file.write(",".join(json.dumps(product(number)) for number in range(5_000)))
        file.write("]}")
    table = open_table(path)
    tracemalloc.start()
    try:
        count = sum(1 for _ in table.records(LostLines()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 5_000
    assert peak < 2_500_000


@pytest.mark.parametrize("suffix", ["json", "jsonl", "xml"])
def test_a_record_of_too_many_columns_is_lost_alone(tmp_path: Path, suffix: str) -> None:
    """As a table of so many is refused: the work for each is that for all of a feed."""
    names = [f"a{number}" for number in range(5_001)]
    wide = {"id": 9, **dict.fromkeys(names, "x")}
    text = json.dumps([product(0), wide, product(1)])
    if suffix == "jsonl":
        text = "\n".join(map(json.dumps, [product(0), wide, product(1)]))
    if suffix == "xml":
        given = " ".join(f'{name}="x"' for name in names)
        items = [f"<item><id>{number}</id></item>" for number in (0, 1)]
        text = f"<items>{items[0]}<item {given}><id>9</id></item>{items[1]}</items>"
    found = read(tmp_path, text, f"feed.{suffix}")
    assert [int(record.values["id"]) for record in found.records] == [0, 1]
    assert len(found.lost.skipped) == 1
    assert len(found.table.columns) <= 4


@pytest.mark.parametrize(
    "text",
    [
        # Each of the quotes might open a string that nothing closes.
        '[{"id":"' + '\\"' * 30_000,
        # Behind each broken object a hundred begin that are as long and as broken.
        "["
        + '{"id":"1","image":"a.jpg"},'
        + ('{"x":[{},' * 100 + "{}," * 15_000 + '{"id":"2","image":"b.jpg"},') * 30,
    ],
)
def test_broken_text_takes_time_as_its_length(tmp_path: Path, text: str) -> None:
    """What is looked for behind it is bounded by what was read; what is given up is named."""
    path = tmp_path / "feed.json"
    path.write_text(text)
    lost = LostLines()
    begun = time.process_time()
    list(open_table(path).records(lost))
    assert time.process_time() - begun < 5
    assert lost.skipped[-1].code == "cut-off"


def test_a_string_across_portions_hides_its_brackets(tmp_path: Path) -> None:
    """A broken object is passed by its brackets, those in a long string aside."""
    long = "]}" * 150_000
    text = f'[{{"id": 1 "a": "{long}"}}, {{"id": 2, "image": "b.jpg"}}]'
    assert read(tmp_path, text, "feed.json").values("id") == [2]


def test_a_record_with_a_long_name_is_lost_with_its_reason(tmp_path: Path) -> None:
    """Five thousand columns with names of 4 MB each would be held for the whole of a feed."""
    text = json.dumps([{"id": "1"}, {"id": "2", "x" * 1_001: 1}, {"id": "3", "x" * 1_000: 1}])
    found = read(tmp_path, text, "feed.json")
    assert found.values("id") == ["1", "3"]
    assert "name of more than 1,000 characters" in found.lost.skipped[0].reason
