"""Products are shown in the language and for the market that were asked for."""

from __future__ import annotations

import dataclasses

import pytest

from indexer.catalog.product_fields import MarketPrice, ProductFields
from indexer.catalog.records import Product
from service.query.response import SearchResult
from service.query.shown_product import Presentation, known_names, split_names

SHIRT = Product(
    product_id="p",
    title="Shirt",
    category=("Clothes", "Shirts"),
    tags=(),
    attributes={"colour": "red"},
    photos=("a", "b"),
    pid=1,
    sequence=1,
    external_version=None,
    photo_ids=(1, 2),
    fields=ProductFields(
        price=19.9,
        sale_price=15.0,
        currency="EUR",
        titles={"de_DE": "Hemd", "fr": "Chemise"},
        categories={"fr": ("Mode", "Chemises")},
        prices={
            "CH": {"price": 25.0, "currency": "CHF"},
            "at": {"price": 20.0},
            "US": {"sale_price": 1.0},
        },
    ),
    sources={"b": "https://cdn.example/b.jpg"},
)


@pytest.mark.parametrize(
    ("locale", "title", "category"),
    [
        (None, "Shirt", "Clothes > Shirts"),
        ("de", "Hemd", "Clothes > Shirts"),
        ("de-AT", "Hemd", "Clothes > Shirts"),
        ("DE-de", "Hemd", "Clothes > Shirts"),
        ("fr_CA", "Chemise", "Mode > Chemises"),
        ("zh", "Shirt", "Clothes > Shirts"),
    ],
)
def test_texts_are_in_the_language_or_as_stored(
    locale: str | None, title: str, category: str
) -> None:
    """The language itself, one of the same tongue, else what was stored first."""
    shown = Presentation(locale).show(SHIRT, "b")
    assert (shown["title"], shown["category"]) == (title, category)
    assert shown["image_src"] == "https://cdn.example/b.jpg"
    assert Presentation(locale).show(SHIRT, "a")["image_src"] is None


@pytest.mark.parametrize(
    ("market", "price"),
    [
        (None, (19.9, 15.0, "EUR")),
        ("ch", (25.0, None, "CHF")),
        ("AT", (20.0, None, "EUR")),
        ("US", (19.9, 15.0, "EUR")),
        ("JP", (19.9, 15.0, "EUR")),
    ],
)
def test_prices_are_those_of_the_market_or_as_stored(
    market: str | None, price: tuple[float, float | None, str]
) -> None:
    """A market's price never meets another's sale price; without a price of its own the market has
    the first one."""
    shown = Presentation(market=market).show(SHIRT, None)
    assert (shown["price"], shown["sale_price"], shown["currency"]) == price


def test_names_are_a_list_or_one_text_with_commas() -> None:
    """An unknown one is named with those that there are."""
    assert split_names("price, url,") == ["price", "url"]
    assert split_names(["price,url", "sku"]) == ["price", "url", "sku"]
    assert known_names(SearchResult, ["group", "image_src"]) == ["group", "image_src"]
    with pytest.raises(ValueError, match=r"no field 'prise'; there are: product_id, title"):
        known_names(SearchResult, ["prise"])


@pytest.mark.parametrize(
    ("begin", "end", "price"),
    [
        ("2020-01-01T00:00:00+00:00", "2020-02-01T00:00:00+00:00", None),
        ("2999-01-01", None, None),
        ("2020-01-01", "2999-01-01", 15.0),
        (None, "2999-01-01T00:00:00Z", 15.0),
        ("soon", 7, 15.0),
    ],
)
def test_a_sale_price_is_shown_while_it_holds(
    begin: str | None, end: str | int | None, price: float | None
) -> None:
    """By the attributes that say from when and until when; what is no date says nothing."""
    dates = {"sale_price_from": begin, "sale_price_until": end}
    shown = Presentation().show(dataclasses.replace(SHIRT, attributes=dates), None)
    assert (shown["price"], shown["sale_price"]) == (19.9, price)
    assert shown["current_price"] == (19.9 if price is None else price)


@pytest.mark.parametrize(("end", "now"), [("2020-01-01", 25.0), ("2999-01-01", 20.0)])
def test_a_sale_ends_in_each_market(end: str, now: float) -> None:
    """The dates are of the product: no market goes on with a sale price that is over."""
    prices: dict[str, MarketPrice] = {"CH": {"price": 25.0, "sale_price": 20.0, "currency": "CHF"}}
    fields = ProductFields(price=19.9, prices=prices)
    sold = dataclasses.replace(SHIRT, fields=fields, attributes={"sale_price_until": end})
    view = Presentation(market="CH")
    assert view.show(sold, None)["current_price"] == now
    assert view.show(sold, None)["sale_price"] == (None if now == 25.0 else 20.0)
    assert view.show(sold, None, as_stored=True)["sale_price"] == 20.0


def test_names_of_fields_are_not_parted_without_end() -> None:
    """A text of 40 MB of commas took eight seconds, for an answer that there are too many."""
    with pytest.raises(ValueError, match="more than 16,384 characters"):
        split_names("a," * 10_000)
