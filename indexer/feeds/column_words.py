"""Words by which shops call their columns, in English, German, French, Italian, Spanish, Dutch,
Polish and Chinese."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Literal

from indexer.core.lru import cache_texts
from indexer.core.unicode_form import normalize

ColumnMeaning = Literal[
    "id",
    "title",
    "photo",
    "category",
    "tags",
    "url",
    "brand",
    "gtin",
    "sku",
    "parent",
    "price",
    "sale_price",
    "before",
    "currency",
    "availability",
    "stock",
    "description",
]

# In the order in which a column is believed: the first meaning that its name fits.
_WORDS: dict[ColumnMeaning, str] = {
    "parent": """
        parent|parent id|parent sku|group id|item group id|model|style number|master|master id|
        configurable sku|hauptartikel|vaterartikel|gruppe|modellnummer|parent product|
        produit parent|id parent|modele|padre|id padre|prodotto padre|producto padre|
        hoofdartikel|hoofdproduct|produkt nadrzedny|rodzic|父商品|主商品|款号|spu
    """,
    "gtin": """
        gtin|ean|ean13|ean 13|ean code|upc|isbn|barcode|bar code|strichcode|code barre|
        code barres|codice a barre|codigo de barras|streepjescode|kod kreskowy|条码|条形码
    """,
    "sku": """
        sku|item number|item no|part number|artikelnummer|artikelnr|artikel nr|art nr|artnr|
        bestellnummer|reference|ref|code article|codice|codice articolo|referencia|
        artikelcode|symbol|kod produktu|indeks|货号|商品编码|sku编码
    """,
    "id": """
        id|product id|productid|item id|article id|uid|produkt id|produktnummer|produktnr|
        identifiant|id produit|id prodotto|id producto|product nummer|id produktu|
        商品id|商品编号|产品编号|编号
    """,
    "before": """
        list price|old price|rrp|msrp|uvp|streichpreis|was price|price before|statt preis|
        prix barre|ancien prix|prezzo pieno|prezzo di listino|precio anterior|pvp|adviesprijs|
        oude prijs|cena przed|stara cena|原价|市场价|吊牌价
    """,
    "sale_price": """
        sale price|special price|offer price|promo price|discount price|angebotspreis|
        aktionspreis|sonderpreis|prix promo|prix solde|prix remise|prezzo scontato|
        prezzo offerta|precio oferta|precio rebajado|aanbiedingsprijs|actieprijs|
        cena promocyjna|促销价|折扣价|特价
    """,
    "price": """
        price|unit price|retail price|selling price|price gross|gross price|amount|preis|
        verkaufspreis|vk|vk preis|bruttopreis|prix|prix ttc|prix de vente|prezzo|
        prezzo di vendita|precio|precio de venta|prijs|verkoopprijs|cena|cena brutto|
        价格|售价|单价|销售价
    """,
    "currency": """
        currency|currency code|wahrung|waehrung|devise|monnaie|valuta|moneda|divisa|waluta|
        币种|货币
    """,
    "availability": """
        availability|available|in stock|is in stock|stock status|verfugbarkeit|verfuegbarkeit|
        verfugbar|verfuegbar|lieferbar|lieferstatus|disponibilite|disponible|disponibilita|
        disponibile|disponibilidad|beschikbaarheid|beschikbaar|dostepnosc|dostepny|
        库存状态|是否有货
    """,
    "stock": """
        stock|quantity|qty|inventory|stock quantity|bestand|lagerbestand|lager|menge|anzahl|
        quantite|giacenza|quantita|existencias|cantidad|voorraad|aantal|stan|ilosc|
        stan magazynowy|库存|库存数量|数量
    """,
    "photo": """
        image|image url|image link|image src|images|photo|photo url|photos|picture|pictures|
        picture url|main image|img|img url|media|thumbnail|bild|bilder|bild url|hauptbild|
        produktbild|foto|fotos|bildlink|image principale|lien image|immagine|immagini|
        url immagine|imagen|imagenes|url imagen|afbeelding|afbeeldingen|zdjecie|zdjecia|
        obrazek|图片|主图|图片链接|商品图片|照片
    """,
    "url": """
        url|link|product url|product link|deeplink|deep link|page|page url|permalink|
        produktlink|produkt url|artikel url|lien|lien produit|url produit|collegamento|
        enlace|url producto|product pagina|adres|链接|商品链接|网址
    """,
    "title": """
        title|name|product name|product title|item name|label|titel|bezeichnung|artikelname|
        produktname|artikelbezeichnung|artikel|nom|nom du produit|titre|libelle|designation|
        nome|nome prodotto|titolo|nombre|nombre del producto|titulo|naam|productnaam|nazwa|
        nazwa produktu|tytul|标题|名称|商品名称|产品名称|品名
    """,
    "brand": """
        brand|brand name|manufacturer|vendor|maker|marke|hersteller|marque|fabricant|marca|
        produttore|fabricante|merk|fabrikant|marka|producent|品牌|厂商
    """,
    "category": """
        category|categories|category path|product type|product category|department|breadcrumb|
        kategorie|kategorien|warengruppe|kategoriepfad|categorie|categories produit|rayon|
        categoria|categorias|productgroep|kategoria|kategorie produktu|类目|分类|类别|商品分类
    """,
    "tags": """
        tags|tag|keywords|labels|schlagworte|schlagworter|stichworte|etiquettes|mots cles|
        etichette|parole chiave|etiquetas|palabras clave|trefwoorden|tagi|slowa kluczowe|
        标签|关键词
    """,
    "description": """
        description|long description|body|body html|details|text|beschreibung|
        produktbeschreibung|langtext|kurzbeschreibung|texte|descrizione|descripcion|
        omschrijving|beschrijving|opis|描述|详情|商品描述
    """,
}
_SIGNS = re.compile(r"[^\w]+|_+")
_NUMBER = re.compile(r"\s*\d{1,3}$")


@cache_texts(4096)
def plain_words(name: str) -> str:
    """A column's name in small letters without accents, signs and a number at its end.

    >>> plain_words("Verfügbarkeit (Lager)"), plain_words("Image_URL2")
    ('verfugbarkeit lager', 'image url')
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.strip())
    apart = normalize("NFKD", spaced.casefold().replace("ł", "l"))
    letters = "".join(sign for sign in apart if not unicodedata.combining(sign))
    return _NUMBER.sub("", _SIGNS.sub(" ", letters).strip())


def meaning_of(name: str) -> tuple[ColumnMeaning, bool] | None:
    """What a column of that name usually holds, and whether the name says just that; None where it
    says nothing.

    >>> meaning_of("Artikelnummer"), meaning_of("Preis (EUR)"), meaning_of("Farbe")
    (('sku', True), ('price', False), None)
    """
    plain = plain_words(name)
    words = _words()
    if plain in words:
        return words[plain], True
    found = [word for word in words if f" {word} " in f" {plain} " and len(word) > 2]
    if not found:
        return None
    # The longest says most: "sale price" and not "price".
    return words[max(found, key=len)], False


@lru_cache(maxsize=1)
def _words() -> dict[str, ColumnMeaning]:
    found: dict[str, ColumnMeaning] = {}
    for meaning, words in _WORDS.items():
        for word in words.split("|"):
            found.setdefault(" ".join(word.split()), meaning)
    return found
