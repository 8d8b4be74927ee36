"""A feed's columns say which profile it fits, or what to do where none or two do."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.core.errors import BadDataError
from indexer.feeds.detection import detect
from indexer.feeds.reader import open_table
from tests.indexer.feeds.feed_files import write_rows

GOOGLE = ["id", "title", "link", "image_link", "price", "availability", "brand", "gtin"]
SHOPIFY = ["Handle", "Title", "Vendor", "Option1 Name", "Option1 Value", "Variant SKU", "Image Src"]
WOO = ["Type", "SKU", "Name", "Published", "Is featured?", "Regular price", "Categories", "Images"]


def detected(tmp_path: Path, columns: list[str]) -> str:
    path = write_rows(tmp_path / "feed.csv", [dict.fromkeys(columns, "x")])
    return detect(open_table(path)).profile.name


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        (GOOGLE, "google"),
        ([f"g:{column}" for column in GOOGLE], "google"),
        ([column.replace("_", " ").title() for column in GOOGLE], "google"),
        (SHOPIFY, "shopify"),
        (WOO, "woocommerce"),
        (["image"], "catalens"),
        (
            ["image", "id", "price", "brand", "gtin", "size", "color", "Variant", "Vendor"],
            "catalens",
        ),
        (["product_id", "image", "title", "description", "link", "price", "brand"], "catalens"),
        (["product_id", "price", "stock"], "catalens"),
        (["id", "price", "stock"], "google"),
        # What is trained on after a Google feed: attributes that only Google has.
        (
            [
                *("catalens_export", "product_id", "image", "title", "google_product_category"),
                *("description", "condition", "mpn", "item_group_id", "age_group"),
            ],
            "catalens-export",
        ),
    ],
)
def test_columns_are_recognised(tmp_path: Path, columns: list[str], name: str) -> None:
    """Whatever their case, underscores and prefix; attributes of a manifest confuse nothing."""
    assert detected(tmp_path, columns) == name


def test_a_manifest_may_name_photos_alone(tmp_path: Path) -> None:
    """Only ``image`` is required; columns that say nothing else are attributes."""
    for columns in (["image"], ["image", "color", "sku"], ["image", "title", "référence"]):
        assert detected(tmp_path, columns) == "catalens"


def test_why_is_told(tmp_path: Path) -> None:
    """The columns that decided, and how many of all are known."""
    found = detect(
        open_table(write_rows(tmp_path / "f.csv", [dict.fromkeys([*SHOPIFY, "x"], "1")]))
    )
    assert found.why == (
        "it has the columns Handle, Title, Vendor, Option1 Name, Option1 Value, Variant SKU, "
        "Image Src; 7 of its 8 columns are known"
    )


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (["sku", "photo"], ["feed.csv fits no profile", "no column 'image'", "'sku', 'photo'"]),
        ([*SHOPIFY, *WOO, "Attribute 1 name"], ["fits two profiles", "--profile woocommerce"]),
        ([*SHOPIFY, "Attribute 1 name"], ["shopify: there is a column 'Attribute 1 name'"]),
        (
            ["sku", "name", "price", "categories", "image_url", "additional_images"],
            ["magento: there is a column 'image_url'"],
        ),
        (["product_id", "img", "price"], ["catalens: there is a column 'img'"]),
        (
            ["image", "référence", "désignation", "prix TTC"],
            ["id and title seem to stand in 'référence' and 'désignation'", "--profile catalens"],
        ),
        (
            [*SHOPIFY, *GOOGLE[3:], "id"],
            ["fits two profiles", "--profile shopify", "--profile google"],
        ),
    ],
)
def test_none_or_two_is_an_error(tmp_path: Path, columns: list[str], words: list[str]) -> None:
    """It names what is missing or in the way, and both ways on."""
    with pytest.raises(BadDataError) as caught:
        detected(tmp_path, columns)
    for word in [*words, "--profile", "profile suggest"]:
        assert word in str(caught.value)


def test_a_message_shows_the_beginning_of_long_names(tmp_path: Path) -> None:
    """A file that is no feed may have a column of a megabyte."""
    path = tmp_path / "feed.csv"
    path.write_text("\n".join(["x" * 100_000 + ",y", "1,2"]))
    with pytest.raises(BadDataError, match="fits no profile") as caught:
        detect(open_table(path))
    assert len(str(caught.value)) < 1000
