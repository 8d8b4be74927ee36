"""Categories in cells: levels, several paths, Google's numbers, and what a column shows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.core.category_path import format_path, parse_path
from indexer.feeds.values.categories import detect, google, is_internal_id, split


@pytest.mark.parametrize(
    ("text", "separator", "several", "paths"),
    [
        ("Clothing > Shirts", ">", None, ["Clothing > Shirts"]),
        ("Clothing>Shirts", ">", None, ["Clothing > Shirts"]),
        ("Clothing &gt; Shirts &amp; Tops", ">", None, ["Clothing > Shirts & Tops"]),
        ("Clothing » Shirts › Polo", ">", None, ["Clothing > Shirts > Polo"]),
        ("Clothing > Tshirts, Sale", ">", ",", ["Clothing > Tshirts", "Sale"]),
        ("Clothing > Tshirts, Sale,", ">", ",", ["Clothing > Tshirts", "Sale"]),
        ("Cups\\, mugs > Big, Sale", ">", ",", ["Cups, mugs > Big", "Sale"]),
        ("A > B|A > B| |C", ">", "|", ["A > B", "C"]),
        ("Default/Gear,Default/Sale", "/", ",", ["Default > Gear", "Default > Sale"]),
        ("T-Shirts\\/Tops/Men", "/", None, ["T-Shirts/Tops > Men"]),
        ("A > B/C", "/", None, ["A > B > C"]),
        ("T-Shirts/Tops", ">", None, ["T-Shirts/Tops"]),
        ("T-Shirts/Tops", None, None, ["T-Shirts/Tops"]),
        (" > Shirts > > Polo > ", ">", None, ["Shirts > Polo"]),
        (" , > ,", ">", ",", []),
    ],
)
def test_cells_are_split_into_paths(
    text: str, separator: str | None, several: str | None, paths: list[str]
) -> None:
    """Levels and categories as each shop system writes them, blanks and repeats left out."""
    assert [format_path(path) for path in split(text, separator, several)] == paths


def test_what_is_no_path_is_refused() -> None:
    """A cell of a thousand levels costs itself, in words."""
    with pytest.raises(ValueError, match="1000 levels"):
        split(">".join("ab" for _ in range(1000)))
    with pytest.raises(ValueError, match="1000 categories"):
        split(",".join(map(str, range(1000))), several=",")


@given(
    st.text(alphabet="ab >/|,\\&;»", max_size=30),
    st.sampled_from([">", "/", "|", None]),
    st.sampled_from([",", "|", None]),
)
def test_paths_survive_the_way_through_text(
    text: str, separator: str | None, several: str | None
) -> None:
    """A path that was split is the same after it was written as text and read."""
    if separator is None:
        return
    for path in split(text, separator, several):
        assert all(level == level.strip() and level for level in path)
        if not any(" > " in level for level in path):
            assert parse_path(format_path(path)) == path


@pytest.mark.parametrize(
    ("text", "number", "path"),
    [
        ("212", "212", None),
        (" 212 ", "212", None),
        ("Apparel & Accessories > Clothing", None, ("Apparel & Accessories", "Clothing")),
        ("1604 - Apparel > Clothing", "1604", ("Apparel", "Clothing")),
        ("", None, None),
    ],
)
def test_googles_categories_are_numbers_paths_or_both(
    text: str, number: str | None, path: tuple[str, ...] | None
) -> None:
    """A number is not taken for the name of a category."""
    assert google(text) == (number, path)


def test_ids_of_a_shop_system_are_no_names() -> None:
    """Shopware's UUIDs and Medusa's ids are told from categories that people named."""
    ids = ("018F00000000000000000000000000aa", "0b9e57ed-0f1b-4c0c-8e2d-0a5d0f7a4f11")
    assert all(map(is_internal_id, (*ids, "pcat_01HZXK3V0M6R1VYT0C9Z5W7J2N")))
    assert not any(map(is_internal_id, ("Tees", "deadbeef", "summer_2024", "212")))


@pytest.mark.parametrize(
    ("values", "separator"),
    [
        (["A > B", "C"], ">"),
        (["A>B", "C"], ">"),
        (["A &gt; B"], ">"),
        (["A » B"], "»"),
        (["Men/Shirts", "Men/Shoes", "Women/Shirts", "Women/Bags"], "/"),
        (["Men|Shirts", "Men|Shoes"], "|"),
        (["T-Shirts/Tops", "Cups/Mugs", "Bags"], None),
        (["Shirts", "Shoes"], None),
        ([], None),
    ],
)
def test_a_column_shows_its_separator(values: list[str], separator: str | None) -> None:
    """Arrows do; a slash only where levels come again, since it also stands in names."""
    assert detect(values).separator == separator
