"""Availability: words of eight languages and of shop systems, and counts."""

from __future__ import annotations

import pytest

from indexer.feeds.values.availability import of_stock, parse


@pytest.mark.parametrize(
    ("expected", "texts"),
    [
        (
            "in_stock",
            "in_stock|In Stock|instock|https://schema.org/InStock|yes|TRUE|1|4|Only 3 left in stock"
            "|auf Lager|sofort lieferbar|Nur noch 2 auf Lager|ja|en stock|Disponible|oui"
            "|disponibile|sì|hay existencias|op voorraad|w magazynie|dostępny|有货|现货|是",
        ),
        (
            "out_of_stock",
            "out_of_stock|OutOfStock|sold out|no|false|0|0.0|-2|not in stock|In stock: 0"
            "|nicht vorrätig|leider nicht auf Lager|ausverkauft|nein|épuisé|Rupture de stock."
            "|esaurito|non disponibile|agotado|no disponible|sin stock|uitverkocht"
            "|niet op voorraad|wyprzedane|nie ma w magazynie|缺货|暂时缺货|无货|否",
        ),
        (
            "preorder",
            "preorder|Pre-order|https://schema.org/PreOrder|vorbestellbar|précommande|preventa"
            "|noch nicht lieferbar, vorbestellbar|prenotabile|przedsprzedaż|预售|预订",
        ),
        (
            "backorder",
            "backorder|onbackorder|Available on backorder|auf Nachbestellung|sur commande"
            "|bajo pedido|op bestelling|na zamówienie|补货中",
        ),
    ],
)
def test_the_words_of_shops_are_known(expected: str, texts: str) -> None:
    """Each word says what its shop means, whatever its case, blanks and sentence."""
    said = {text: parse(f" {text}\u00a0") for text in texts.split("|")}
    assert said == dict.fromkeys(said, expected)


@pytest.mark.parametrize(
    "text", ["", "perhaps", "red", None, float("nan"), ["in stock"], "x" * 999]
)
def test_other_words_say_nothing(text: object) -> None:
    """What is not known is not guessed."""
    assert parse(text) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [(True, "in_stock"), (False, "out_of_stock"), (3, "in_stock"), (0.0, "out_of_stock")],
)
def test_json_values_are_understood(value: object, expected: str) -> None:
    """Feeds that are no text have bools and numbers."""
    assert parse(value) == expected


@pytest.mark.parametrize(
    ("quantity", "policy", "tracked", "expected"),
    [
        ("4", "deny", True, "in_stock"),
        ("0", "deny", True, "out_of_stock"),
        ("-3", "continue", True, "backorder"),
        ("0", "", True, "out_of_stock"),
        (0, None, False, "in_stock"),
        ("", "deny", True, None),
    ],
)
def test_a_count_and_a_policy_say_whether_it_sells(
    quantity: object, policy: str | None, tracked: bool, expected: str | None
) -> None:
    """Shopify sells below zero where the policy says so, and always where nothing is counted."""
    assert of_stock(quantity, policy, tracked=tracked) == expected
