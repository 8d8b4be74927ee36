"""Availability in a shop's words: eight languages, shop systems, and counts."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import lru_cache

from indexer.catalog.product_fields import Availability
from indexer.core.doubles import as_double
from indexer.core.lru import cache_texts
from indexer.core.unicode_form import normalize

# Case-folded; "_" and "-" are blanks. Longer phrases are looked for first.
_WORDS: Mapping[Availability, str] = {
    "in_stock": """
        in stock|instock|available|available now|ready to ship|ships today|yes|y|true|on|
        limited availability|limitedavailability|in store only|instoreonly|online only|onlineonly|
        low stock|few left|left in stock|continue|enabled|
        auf lager|lagernd|ab lager|vorrätig|verfügbar|sofort verfügbar|lieferbar|sofort lieferbar|
        versandfertig|am lager|an lager|ja|
        en stock|disponible|en magasin|oui|
        disponibile|in magazzino|in giacenza|a magazzino|sì|si|disponibilità immediata|
        en existencia|en existencias|hay existencias|sí|con stock|
        op voorraad|voorradig|beschikbaar|leverbaar|uit voorraad leverbaar|direct leverbaar|
        w magazynie|na stanie|dostępny|dostępna|dostępne|dostępność od ręki|tak|na magazynie|
        有货|现货|有库存|有現貨|现货供应|在售|可售|是|有
    """,
    "out_of_stock": """
        out of stock|outofstock|sold out|soldout|unavailable|not available|no stock|discontinued|
        no longer available|temporarily out of stock|no|n|false|off|zero|disabled|none left|
        nicht vorrätig|nicht auf lager|nicht lagernd|ausverkauft|vergriffen|nicht verfügbar|
        nicht lieferbar|kein bestand|nein|zurzeit nicht lieferbar|derzeit nicht verfügbar|
        épuisé|épuisée|en rupture|rupture de stock|en rupture de stock|indisponible|non disponible|
        pas en stock|hors stock|non|
        esaurito|esaurita|non disponibile|terminato|scorte esaurite|fuori stock|
        agotado|agotada|sin stock|sin existencias|no disponible|fuera de stock|
        uitverkocht|niet op voorraad|niet voorradig|niet beschikbaar|niet leverbaar|nee|
        wyprzedane|wyprzedany|wyprzedana|brak w magazynie|niedostępny|niedostępna|niedostępne|
        brak|nie ma|nie|brak na stanie|
        缺货|无货|售罄|已售完|无库存|售完|缺貨|没货|暂时缺货|下架|已下架|否|无
    """,
    "preorder": """
        preorder|pre order|presale|pre sale|coming soon|available soon|
        vorbestellbar|vorbestellung|vorbestellen|demnächst verfügbar|
        précommande|en précommande|pré commande|bientôt disponible|
        preordine|pre ordine|prenotabile|in arrivo|prevendita|
        preventa|en preventa|reserva|en reserva|próximamente|
        pre order mogelijk|voorbestelling|vooruitbestellen|voorbestellen|binnenkort leverbaar|
        przedsprzedaż|w przedsprzedaży|zapowiedź|wkrótce dostępny|
        预售|预订|预购|即将上市|預購
    """,
    "backorder": """
        backorder|back order|on backorder|onbackorder|available on backorder|backordered|
        made to order|available to order|notify|
        nachbestellt|nachbestellbar|lieferrückstand|auf nachbestellung|wird nachbestellt|
        bestellt|auf bestellung|voraussichtlich|wieder verfügbar|wieder lieferbar|
        en réapprovisionnement|réapprovisionnement en cours|sur commande|en commande|
        in riordino|su ordinazione|ordinabile|
        bajo pedido|pedido pendiente|bajo demanda|
        nabestelling|in nabestelling|op bestelling|nalevering|
        na zamówienie|oczekuje na dostawę|zamówienie oczekujące|
        补货中|可预定|缺货登记|延期交货|订货
    """,
}
# Of a phrase inside a sentence the first kind that is found holds.
_ORDER: tuple[Availability, ...] = ("preorder", "backorder", "out_of_stock", "in_stock")
_NEGATING = "not no nicht kein keine keinen non pas niet geen nie brak sin"
_NEGATIONS = frozenset(_NEGATING.split())
# Words too short or too common to be looked for inside a sentence.
_SHORT_WORDS = """
yes y true on no n false off ja nein oui non sì si sí nee nie tak 是 否 有 无 zero continue enabled
disabled reserva bestellt notify brak
"""
_SHORT = frozenset(_SHORT_WORDS.split())
_OTHER_SIGNS = re.compile(r"[^\w]+")
_NUMBER = re.compile(r"[+-]?\d{1,12}(?:[.,]\d{1,6})?", re.ASCII)
_SCHEMA = re.compile(r"^(?:https?:\s*)?(?://)?(?:www\.)?schema\.org/", re.IGNORECASE)
_GAPS = re.compile(r"[\s_\-‐-―]+")
_LONGEST = 120
_CJK = re.compile(r"[\u3400-\u9fff]")


def parse(value: object) -> Availability | None:
    """What a present cell says of stock; None where it says nothing known.

    A number is a count (WooCommerce's 1 and 0 are one too): more than none is in stock.

    >>> parse("In Stock"), parse("nicht vorrätig"), parse("缺货"), parse("0"), parse("perhaps")
    ('in_stock', 'out_of_stock', 'out_of_stock', 'out_of_stock', None)
    """
    if isinstance(value, bool | int | float):
        return None if isinstance(value, float) and math.isnan(value) else _counted(value)
    if not isinstance(value, str) or len(value) > 4 * _LONGEST:
        return None
    return _parsed(value)


def of_stock(
    quantity: object, policy: str | None = None, *, tracked: bool = True
) -> Availability | None:
    """What a count says with Shopify's policy for none left: ``continue`` goes on selling.

    A product that is not tracked is always for sale; a count that is none says nothing.
    """
    if not tracked:
        return "in_stock"
    count = _count(quantity)
    if count is None:
        return None
    if count > 0:
        return "in_stock"
    goes_on = (policy or "").strip().casefold() in ("continue", "true", "yes", "1", "notify")
    return "backorder" if goes_on else "out_of_stock"


@cache_texts(4096)
def _parsed(value: str) -> Availability | None:
    count = _count(value)
    if count is not None:
        return _counted(count)
    text = _SCHEMA.sub("", normalize("NFKC", value).strip())
    text = _GAPS.sub(" ", text).casefold().strip(" .!:;,*()[]\"'")
    if not text or len(text) > _LONGEST:
        return None
    exact = _phrases().get(text)
    return exact or _within(text)


def _within(text: str) -> Availability | None:
    """The kind of a phrase that stands inside ``text``: "Only 3 left in stock"."""
    words = f" {_OTHER_SIGNS.sub(' ', text)} "
    by_kind = _searched()
    for kind in _ORDER:
        for phrase in by_kind[kind]:
            found = phrase in text if _CJK.search(phrase) else f" {phrase} " in words
            if found:
                rest = words.replace(f" {phrase} ", " ").split()
                none = not _NEGATIONS.isdisjoint(rest) or [w for w in rest if w.isdigit()] == ["0"]
                return "out_of_stock" if kind == "in_stock" and none else kind
    return None


@lru_cache(maxsize=1)
def _phrases() -> dict[str, Availability]:
    """Phrase to what it says."""
    found: dict[str, Availability] = {}
    for kind, words in _WORDS.items():
        for phrase in words.split("|"):
            found[" ".join(phrase.split()).casefold()] = kind
    return found


@lru_cache(maxsize=1)
def _searched() -> dict[Availability, list[str]]:
    """Kind to the phrases that may stand inside a sentence, the longest first."""
    kinds: dict[Availability, list[str]] = {kind: [] for kind in _ORDER}
    for phrase, kind in _phrases().items():
        if phrase not in _SHORT:
            kinds[kind].append(phrase)
    for phrases in kinds.values():
        phrases.sort(key=len, reverse=True)
    return kinds


def _count(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        count = as_double(value)
        return None if math.isnan(count) else count
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return float(value.strip().replace(",", "."))
    return None


def _counted(count: float) -> Availability:
    return "in_stock" if count > 0 else "out_of_stock"
