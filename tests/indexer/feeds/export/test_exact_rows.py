"""Whatever a product may hold: its exported file changes nothing when it is imported."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from indexer.catalog.product_fields import ProductFields
from indexer.catalog.records import Product, ProductInput, Tag
from indexer.catalog.store import open_catalog
from indexer.core.csv_text import LINE_ENDS
from indexer.core.home import Home
from indexer.feeds.dataset import read_dataset
from indexer.feeds.exact_cells import quoted_column, quoted_name
from indexer.feeds.export.catalog_rows import CatalogRows
from indexer.feeds.export.feed_writer import write_feed
from indexer.feeds.export.proposal import ExportOptions
from indexer.feeds.importer import import_dataset
from tests.indexer.conftest import draw

ALPHABET = [*LINE_ENDS, *"\t\ufeff\u200b\u00a0\u3000", *"|>,;\"'\\=+-@&#/_.:{}[]", *"aB1é空 0"]
WORDS = ["json:1", "json:", "'=A1", "=1+1", "-5", "1e5", "007", "a|b", "&amp;", "true", "nan", "ab"]
NAMES = [
    *("price ", "Image", "product id", "attribute:foo", 'attribute:"x"', '"quoted"', "g:image"),
    *("proposed_x", "Proposed Y", "title_de", "sale_price_CH", "price", "catalens_export", "sku"),
    *("json:", "'=A1", "=A1", " lead", "a\rb", "a|b", "stock", "kind", "colour", "a,b"),
    *("title ", "Tags", "PARENT", "attribute:", "\ufeffbom", "two  blanks", "two blanks"),
]


def text(rng: random.Random) -> str:
    if rng.random() < 0.3:
        return rng.choice(WORDS)
    return "".join(rng.choices(ALPHABET, k=rng.randint(1, 8)))


def full(rng: random.Random) -> str:
    """A text that is not blank."""
    found = text(rng)
    return found if found.strip() else f"{found}x"


def amount(rng: random.Random) -> float | None:
    return rng.choice([None, 0.0, 19.0, 6.125, 1e15, 1e15 + 0.5, 1e-7, 1234567.891, 3e22, 20.5])


def attribute(name: str, rng: random.Random) -> Any:
    """Of one type by name, as a catalog has it."""
    kind = sum(map(ord, name)) % 4
    if kind == 0:
        return rng.choice(["", text(rng), text(rng)])
    if kind == 1:
        return [text(rng) for _ in range(rng.randint(0, 3))]
    if kind == 2:
        return rng.choice([1, -2.5, 1e22, 2**53 + 1, 1e-9, 0, 6.125])
    return rng.choice([True, False])


def fields(rng: random.Random) -> ProductFields:
    def maybe(value: Any) -> Any:
        return value if rng.random() < 0.4 else None

    def plain() -> str | None:
        kept = "".join(char for char in full(rng) if char.isprintable()).strip()
        return kept or None

    price: dict[str, Any] = {"price": amount(rng), "sale_price": amount(rng), "currency": "CHF"}
    given = {name: value for name, value in price.items() if value is not None}
    return ProductFields(
        url=maybe("https://shop.example/a b|c"),
        price=amount(rng),
        sale_price=amount(rng),
        currency=maybe("EUR"),
        availability=maybe("backorder"),
        brand=maybe(plain()),
        gtin=maybe(rng.choice(["4006381333931", "B012345678", "12345678.0", plain()])),
        sku=maybe(plain()),
        parent=maybe(plain()),
        variant=maybe(plain()),
        titles={key: full(rng) for key in ("de", "de_DE", "fr-ca") if rng.random() < 0.3},
        categories={key: (full(rng),) for key in ("de", "de_AT") if rng.random() < 0.3},
        prices={key: given for key in ("CH", "a_b", "x y") if rng.random() < 0.3},
    )


def odd_product(number: int, rng: random.Random, photo: str) -> ProductInput:
    tags = dict.fromkeys(full(rng) for _ in range(rng.randint(0, 4)))
    return ProductInput(
        f"p{number}",
        rng.choice([None, text(rng), full(rng)]),
        rng.choice([None, (full(rng),), ("A", full(rng)), ("12",), ("a > b", "c>d")]),
        tuple(Tag(tag, rng.choice(("merchant", "curated", "machine"))) for tag in tags),
        {name: attribute(name, rng) for name in rng.sample(NAMES, 8)},
        (photo,),
        fields=fields(rng),
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, str]:
    """A catalog with one photo, and its hash."""
    folder = tmp_path_factory.mktemp("odd")
    (folder / "photos" / "disc").mkdir(parents=True)
    draw("disc", 0).save(folder / "photos" / "disc" / "0.png")
    home = Home.create(folder / "home")
    import_dataset(home, read_dataset(folder / "photos"))
    with open_catalog(home) as catalog:
        (only,) = catalog.iterate()
    return home, only.photos[0]


def changed_by_a_round_trip(home: Home, out: Path) -> list[tuple[Product, Product]]:
    """Products before and after their export is imported, of those that changed."""
    is_csv = out.suffix == ".csv"
    with open_catalog(home) as catalog:
        before = list(catalog.iterate())
        rows = CatalogRows(home, catalog, lambda _: None, ExportOptions())
        native = rows.native_rows(text=is_csv)
        write_feed(out, rows.native_columns(), native, spreadsheet=is_csv)
    assert rows.lost == []
    report = import_dataset(home, read_dataset(out))
    assert not report.skipped, list(report.skipped)
    with open_catalog(home) as catalog:
        after = list(catalog.iterate())
    assert len(before) == len(after)
    return [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize("seed", range(3))
def test_no_value_changes_on_its_way_out_and_in(
    suffix: str, seed: int, home: tuple[Home, str], tmp_path: Path
) -> None:
    """Tags and lists with bars, columns' names, blanks, signs of spreadsheets, prices, empties."""
    where, photo = home
    rng = random.Random(seed)
    with open_catalog(where) as catalog:
        for number in range(40):
            catalog.put(odd_product(number, rng, photo))
    assert changed_by_a_round_trip(where, tmp_path / f"out.{suffix}") == []


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_read_from_its_column(name: str) -> None:
    assert quoted_name(quoted_column(name)) == name


def test_plain_values_have_plain_cells(home: tuple[Home, str]) -> None:
    """JSON stands only where it must, and a person may change the cells beside it."""
    where, photo = home
    with open_catalog(where) as catalog:
        tags = (Tag("red", "merchant"), Tag("a|b", "merchant"))
        plain = ProductInput("p0", "Tee", ("A", "B"), tags[:1], {"size": ["S", "M"]}, (photo,))
        catalog.put(plain)
        catalog.put(replace(plain, product_id="p1", tags=tags))
        rows = CatalogRows(where, catalog, lambda _: None, ExportOptions())
        found = {row["product_id"]: row for row in rows.native_rows()}
        natively = {row["product_id"]: row for row in rows.native_rows(text=False)}
    assert (found["p0"]["tags"], found["p0"]["size"]) == (["red"], ["S", "M"])
    assert found["p1"]["tags"] == 'json:["red", "a|b"]'
    assert natively["p1"]["tags"] == ["red", "a|b"]
    assert "json:" not in str(found["p0"])


def test_rows_within_a_title_are_no_rows(home: tuple[Home, str], tmp_path: Path) -> None:
    """In a shop's file they would be taken for what an open quote swallowed."""
    where, photo = home
    with open_catalog(where) as catalog:
        rows = CatalogRows(where, catalog, lambda _: None, ExportOptions())
        commas = len(rows.native_columns()) - 1
        image = next(rows.native_rows())["image"]
        evil = f"evil,{image},Evil{',' * (commas - 2)}\n"
        title = f"Tee{',' * commas}\n{evil * 5}end"
        catalog.put(ProductInput("p0", title, None, (), {}, (photo,)))
    assert changed_by_a_round_trip(where, tmp_path / "out.csv") == []
