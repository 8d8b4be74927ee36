"""Names of columns in eight languages."""

from __future__ import annotations

import pytest

from indexer.feeds.column_words import meaning_of


@pytest.mark.parametrize(
    ("meaning", "names"),
    [
        ("id", "id|Product ID|productId|identifiant|商品编号"),
        ("sku", "SKU|Artikelnummer|Art.-Nr.|Référence|codice articolo|Symbol|货号"),
        ("gtin", "EAN|ean13|GTIN|Strichcode|code-barres|kod kreskowy|条码"),
        ("title", "Title|Bezeichnung|Désignation|nome prodotto|Nombre|Naam|Nazwa produktu|标题"),
        ("photo", "image_url2|Bild 1|Immagine|imagen|afbeelding|Zdjęcie|主图"),
        ("price", "Price|Preis (EUR)|Prix TTC|prezzo|Precio|Prijs|Cena brutto|售价"),
        ("sale_price", "Sale price|Aktionspreis|prix promo|special_price|促销价"),
        ("before", "UVP|list price|ancien prix|原价"),
        ("availability", "In stock?|Verfügbarkeit|disponibilité|Dostępność|库存状态"),
        ("stock", "Stock|qty|Lagerbestand|voorraad|ilość|库存"),
        ("category", "Category|Warengruppe|catégorie|类目"),
    ],
)
def test_names_say_what_columns_hold(meaning: str, names: str) -> None:
    """Case, accents, signs and numbers at the end do not matter."""
    found = {name: (meaning_of(name) or (None,))[0] for name in names.split("|")}
    assert found == dict.fromkeys(found, meaning)


@pytest.mark.parametrize("name", ["Farbe", "c7", "", "Größe", "weight"])
def test_other_names_say_nothing(name: str) -> None:
    """They stay attributes."""
    assert meaning_of(name) is None
