"""Currencies: codes of ISO 4217, and the signs and words that shops write for them."""

from __future__ import annotations

# In use, with the funds and metals of the list left out; and those that ended but still stand in
# old feeds (HRK, BGN).
_ISO_4217 = """
AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN
BZD CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS
GIP GMD GNF GTQ GYD HKD HNL HRK HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW
KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN
NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK
SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS
VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG
"""
CODES = frozenset(_ISO_4217.split())
# Three digits stand behind the decimal mark.
THREE_DECIMALS = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})

# Case-folded, without blanks and a point at the end. The first is meant unless the shop's own
# currency is another of them.
_WRITTEN: dict[str, tuple[str, ...]] = {
    "€": ("EUR",),
    "euro": ("EUR",),
    "euros": ("EUR",),
    "欧元": ("EUR",),
    "$": ("USD", "CAD", "AUD", "NZD", "HKD", "SGD", "TWD", "MXN", "ARS", "CLP", "COP"),
    "us$": ("USD",),
    "usd$": ("USD",),
    "美元": ("USD",),
    "c$": ("CAD",),
    "ca$": ("CAD",),
    "a$": ("AUD",),
    "au$": ("AUD",),
    "nz$": ("NZD",),
    "hk$": ("HKD",),
    "s$": ("SGD",),
    "nt$": ("TWD",),
    "mx$": ("MXN",),
    "r$": ("BRL",),
    "£": ("GBP",),
    "¥": ("JPY", "CNY"),
    "jp¥": ("JPY",),
    "円": ("JPY",),
    "日元": ("JPY",),
    "cn¥": ("CNY",),
    "rmb": ("CNY",),
    "元": ("CNY", "TWD", "HKD"),
    "人民币": ("CNY",),
    "fr": ("CHF",),
    "sfr": ("CHF",),
    "zł": ("PLN",),
    "zl": ("PLN",),
    "kč": ("CZK",),
    "kc": ("CZK",),
    "ft": ("HUF",),
    "lei": ("RON",),
    "лв": ("BGN",),
    "₽": ("RUB",),
    "руб": ("RUB",),
    "₴": ("UAH",),
    "грн": ("UAH",),
    "₺": ("TRY",),
    "tl": ("TRY",),
    "₹": ("INR",),
    "rs": ("INR", "PKR", "LKR", "NPR", "MUR"),
    "₩": ("KRW",),
    "₪": ("ILS",),
    "฿": ("THB",),
    "₫": ("VND",),
    "₱": ("PHP",),
    "₦": ("NGN",),
}
# Said of three currencies alike: only the shop's own says which.
_CROWNS = ("SEK", "NOK", "DKK", "ISK")


def code(written: str, own: str | None = None) -> str | None:
    """The ISO code of a sign, word or code as a shop writes it; None where nobody knows it.

    ``own`` is the shop's currency: of the currencies that a sign may mean, it is meant.

    >>> code("€"), code("chf"), code("¥"), code("¥", "CNY"), code("kr", "SEK"), code("XQZ")
    ('EUR', 'CHF', 'JPY', 'CNY', 'SEK', None)
    """
    plain = "".join(written.split()).casefold().removesuffix(".")
    if plain == "kr":
        return own if own in _CROWNS else None
    if plain in _WRITTEN:
        meant = _WRITTEN[plain]
        return own if own in meant else meant[0]
    upper = plain.upper()
    return upper if upper in CODES else None
