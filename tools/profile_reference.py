"""Columns of every profile of feeds for docs/feeds.md, read from the profiles.

python -m tools.profile_reference docs/feeds.md  # writes them between the page's two marks
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from indexer.feeds.profile import (
    AttributeRule,
    CategoryRule,
    FamilyRule,
    FeedProfile,
    SkipRule,
    shipped_profiles,
)

BEGIN = "<!-- profiles: written by `make docs` -->\n"
END = "<!-- end of profiles -->\n"
_ROWS = {
    "photos": "rows of one id are photos of one product",
    "products": "each row is a product",
    "variants": "rows of one parent are its variants, and further photos",
    "family": "rows are parents, variants, or products of their own",
}


def profile_sections() -> str:
    """A section for each profile: what becomes of its columns."""
    return "\n".join(_section(profile) for profile in shipped_profiles())


def write_page(page: Path) -> None:
    """Put the sections between the marks of ``page``."""
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(before + BEGIN + profile_sections() + END + after, encoding="utf-8")


def _section(profile: FeedProfile) -> str:
    lines = [
        f"### {profile.name}",
        "",
        f"{profile.label}; {_ROWS[profile.rows]}.",
        "",
        "| becomes | columns |",
        "|---|---|",
    ]
    lines += [f"| {meaning} | {columns} |" for meaning, columns in _meanings(profile) if columns]
    return "\n".join(lines) + "\n"


def _meanings(profile: FeedProfile) -> Iterator[tuple[str, str]]:
    yield "product id", _names(profile.id)
    yield "parent", _names(profile.parent)
    if profile.family is not None:
        yield from _family(profile.family)
    yield "split", _names(profile.split)
    yield "title", _names(profile.title)
    yield "title in other languages", _names(profile.titles)
    for rule in profile.category:
        yield "category", _category(rule)
    for rule in profile.categories:
        yield "category in other languages", _category(rule)
    for tags in profile.tags:
        yield "tags", _names(tags.columns) + _parted(tags.separators)
    photos = profile.photos
    none = f"; not {_names(photos.none)}" if photos.none else ""
    yield "photos", _names(photos.columns) + _parted(photos.separators) + none
    yield "order of photos", _names(photos.position)
    yield "photo of the variant", _names(photos.own)
    yield from _selling(profile)
    for name in ("url", "brand", "gtin", "sku", "variant"):
        yield name, _names(getattr(profile, name))
    for option in profile.options:
        yield "options, as attributes", _names((option.name, option.value))
    for name, attribute in profile.attributes.items():
        yield f"attribute `{name}`", _attribute(attribute)
    for pattern in profile.patterns:
        yield "attributes of that name", _names(pattern.columns)
    for packed in profile.packed:
        yield "attributes, several in a cell", _names(packed.columns)
    for skip in profile.skip:
        yield f"left out: {skip.reason}", _skip(skip)
    yield "nothing", _names(profile.drop)
    others = "attributes of the column's name"
    yield others if profile.others == "attributes" else "nothing", "all others"


def _family(rule: FamilyRule) -> Iterator[tuple[str, str]]:
    yield "how variants name their parent", _names((*rule.keys, *rule.references.values()))
    if rule.kind is not None:
        words = f": {_names(rule.kind.parent)} a parent, {_names(rule.kind.variant)} a variant"
        yield "kind of row", _names(rule.kind.column) + (words if rule.kind.variant else "")
    if rule.children is not None:
        yield "the parent's variants", _names(rule.children.columns)
    yield "a view: only titles and prices there", _names(rule.view)


def _selling(profile: FeedProfile) -> Iterator[tuple[str, str]]:
    price = profile.price
    yield "price", _names(price.price)
    yield "sale price", _names(price.sale_price)
    yield (
        "when the sale price holds",
        _names((*price.sale_from, *price.sale_until, *price.sale_period)),
    )
    yield "price before a sale", _names(price.before)
    yield "currency", _names(price.currency)
    markets = (*price.market_price, *price.market_sale_price, *price.market_before)
    yield "prices of other markets", _names(markets)
    stock = profile.stock
    yield "availability", _names(stock.availability)
    yield "attribute `stock`, and availability", _names(stock.stock)
    yield "whether stock is counted", _names(stock.tracked)
    yield "whether it can be ordered without stock", _names(stock.policy)


def _category(rule: CategoryRule) -> str:
    levels = f", levels parted by `{_bar(rule.separator)}`" if rule.separator else ""
    several = f", several by `{_bar(rule.several)}`" if rule.several else ""
    return _names(rule.columns) + levels + several


def _attribute(rule: AttributeRule) -> str:
    kind = f" ({rule.type})" if rule.type else " (text of HTML)" if rule.html else ""
    return _names(rule.columns) + kind + (_parted((rule.separator,)) if rule.separator else "")


def _skip(rule: SkipRule) -> str:
    words = _names(rule.words) if rule.words else f"anything but {_names(rule.others_than)}"
    return f"{_names(rule.columns)}: {words}"


def _parted(separators: Iterable[str]) -> str:
    signs = " or ".join(f"`{_bar(sign)}`" for sign in separators)
    return f", parted by {signs}" if signs else ""


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{_bar(name)}`" for name in names)


def _bar(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    write_page(Path(sys.argv[1]))
