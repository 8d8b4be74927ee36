"""Whatever a cell holds, it costs itself."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from indexer.feeds.profile import load_profile, profile_names
from indexer.feeds.row_plan import RowPlan
from indexer.feeds.row_values import Notes
from tests.indexer.feeds.feed_files import read_feed_file, write_rows
from tools.bench.data.feed_formats import FORMATS

CELLS = (
    *("", " ", "'", '="', "..", "a" * 300, "\x00", "NaN", "1e999", "-5", "12,5", "1.299", ",,,"),
    *("|", ">", " > ", "&gt;", "<b>", "http://", "//x", "id:", "id:1", "x", "y", "true", "0", "1"),
    *("draft", "variable", "variation", "simple", "Parent", "Child", "sku=x,color=r|sku=y"),
    *("a=b,c=d", "٣", "½", "\u202e", "9" * 400, "XYZ 5", "5 %", ">".join("ab" * 40), "A > B, C"),
    *(None, 5, 2**70, 1.5, True, [], ["a", None, 5], [["x"]], {"a": 1}, [{"a": 1}, {"b": [1]}]),
)


@pytest.mark.parametrize("name", [name for name in profile_names() if name in FORMATS])
def test_no_cell_ends_an_import(tmp_path: Path, name: str) -> None:
    """Rows of every profile with any value anywhere become products or notices, never an error."""
    chance = random.Random(name)
    path = tmp_path / "feed.jsonl"
    for _ in range(25):
        rows = [
            {column: chance.choice(CELLS) for column in FORMATS[name][0] if chance.random() < 0.9}
            for _ in range(6)
        ]
        path.write_text("\n".join(map(json.dumps, rows)))
        feed = read_feed_file(path, name)
        feed.reader.map()
        for product in feed.products:
            assert product.product_id.strip()
            assert product.category is None or all(map(str.strip, product.category))
        for notice in (*feed.warnings, *feed.skipped):
            assert notice.where.startswith("feed.jsonl")
            assert notice.code


def test_names_with_the_prefix_of_google(tmp_path: Path) -> None:
    """In a table, too, they are the names without it; the days of a sale are moments."""
    row = {
        "g:id": "1",
        "g:title": "Shoe",
        "g:image_link": "a.jpg",
        "g:price": "9 EUR",
        "g:sale_price": "5 EUR",
        "g:sale_price_effective_date": "2026-01-01T00:00+0100/2026-02-01T00:00+0100",
        "g:custom_label_0": "top",
        "g:shipping(country:price)": "DE:4.90 EUR",
    }
    feed = read_feed_file(write_rows(tmp_path / "feed.csv", [row, {**row, "g:id": "2"}]))
    assert feed["1"].attributes == {
        "custom_label_0": "top",
        "sale_price_from": "2025-12-31T23:00:00+00:00",
        "sale_price_until": "2026-01-31T23:00:00+00:00",
    }
    row["g:sale_price_effective_date"] = "until Friday"
    feed = read_feed_file(write_rows(tmp_path / "odd.csv", [row]))
    assert feed["1"].fields.sale_price == 5.0
    assert [(note.where, note.code) for note in feed.warnings] == [("odd.csv:2", "odd-value")]


def test_a_record_costs_what_it_holds() -> None:
    """Of a feed whose first record has thousands of columns, a small record is read by its own: in
    the order of the plan, with the same result."""
    wide = ["id", "title", "link", *(f"own_{place}" for place in range(4000))]
    row = {"link": "https://shop.example/p", "title": "Shirt", "own_7": "blue", "id": "p1"}
    plan = RowPlan(load_profile("google"), wide, Notes([], []))
    narrow = RowPlan(load_profile("google"), list(row), Notes([], []))

    asked = _Asked(row)
    found = plan.read("feed:1", asked)

    assert asked.count <= 2 * len(row)
    same = narrow.read("feed:1", asked)
    assert (found.title, found.url) == (same.title, same.url) == ("Shirt", row["link"])
    assert found.attributes == same.attributes
    assert "blue" in found.attributes.values()


class _Asked(dict[str, str]):
    """A record that counts how often a column of it is asked for."""

    count = 0

    def get(self, key: str, default: Any = None) -> Any:
        self.count += 1
        return super().get(key, default)
