"""What the options of an import say beside the profile: the currency, names of categories."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.core.errors import BadDataError
from indexer.feeds.import_options import ImportOptions
from indexer.feeds.notice import Notice
from indexer.feeds.own_profiles import OwnProfiles
from indexer.feeds.product import FeedProduct
from indexer.feeds.product_reader import ProductReader, read_all
from indexer.feeds.profile_choice import choose_profile
from indexer.feeds.reader import open_table
from tests.indexer.feeds.feed_files import write_rows

SHIRT = {"id": "1", "title": "Shirt", "image_link": "a.jpg", "google_product_category": "212"}
TAXONOMY = "# Google_Product_Taxonomy_Version: 2021-09-21\n166 - Apparel\n212 - Apparel > Shirts\n"


def read(
    path: Path, rows: list[dict[str, str]], **options: object
) -> tuple[list[FeedProduct], list[Notice]]:
    table = open_table(write_rows(path, rows))
    chosen = choose_profile(table, ImportOptions(**options))  # type: ignore[arg-type]
    notices: list[Notice] = []
    reader = ProductReader(table, chosen.profile, warn=notices)
    return list(read_all(reader)), notices


def test_the_currency_of_amounts_that_name_none(tmp_path: Path) -> None:
    """Without it one warning says what to do, of the first price; a written one stays."""
    row = {key: SHIRT[key] for key in ("id", "title", "image_link")}
    rows = [{**row, "id": str(n), "price": price} for n, price in enumerate(("9", "8", "7 USD"))]
    products, notices = read(tmp_path / "feed.csv", rows)
    assert [one.fields.currency for one in products] == [None, None, "USD"]
    assert [(note.where, note.code, note.value) for note in notices] == [
        ("feed.csv:2", "no-currency", "9")
    ]
    assert "--currency" in notices[0].reason
    products, notices = read(tmp_path / "feed.csv", rows, currency="eur")
    assert [one.fields.currency for one in products] == ["EUR", "EUR", "USD"]
    assert notices == []
    with pytest.raises(BadDataError, match="there is no currency 'EURO'"):
        read(tmp_path / "feed.csv", rows, currency="EURO")


def test_names_of_numbered_categories(tmp_path: Path) -> None:
    """A number that the shop's file knows is its category; another one is told, with the way."""
    rows = [SHIRT, {**SHIRT, "id": "2", "google_product_category": "9999"}]
    taxonomy = tmp_path / "taxonomy.txt"
    taxonomy.write_text(TAXONOMY)
    products, notices = read(tmp_path / "feed.csv", rows, taxonomy_file=taxonomy)
    assert [one.category for one in products] == [("Apparel", "Shirts"), None]
    assert products[0].attributes["google_product_category"] == "212"
    assert [(note.where, note.code, note.value) for note in notices] == [
        ("feed.csv:3", "vendor-number", "9999")
    ]
    assert "--taxonomy-file" in notices[0].reason


@pytest.mark.parametrize("text", ["", "Apparel > Shirts\n", "id\tname\n" * 200 + TAXONOMY])
def test_a_file_that_is_no_taxonomy(tmp_path: Path, text: str) -> None:
    taxonomy = tmp_path / "taxonomy.txt"
    taxonomy.write_text(text)
    with pytest.raises(BadDataError, match="is no file of categories"):
        read(tmp_path / "feed.csv", [SHIRT], taxonomy_file=taxonomy)
    with pytest.raises(BadDataError, match="cannot be read"):
        read(tmp_path / "feed.csv", [SHIRT], taxonomy_file=tmp_path / "none.txt")


def test_a_profile_is_overwritten_by_its_own_feed_alone(tmp_path: Path) -> None:
    """A name given to a corrected map may be that of the profile that the feed was read by, made
    this way; one that somebody wrote, and one of another feed, stay as they are."""
    own = OwnProfiles(tmp_path / "profiles")
    table = open_table(write_rows(tmp_path / "feed.csv", [SHIRT]))

    def keep(save_as: str | None, **options: object) -> str:
        given = ImportOptions(
            profiles=own.folder,
            corrections={"title": "attribute"},
            save_as=save_as,
            **options,  # type: ignore[arg-type]
        )
        corrected = choose_profile(table, given).corrected
        assert corrected is not None
        own.save(corrected)
        return str(corrected["name"])

    assert (keep("ours"), keep("ours"), keep(None)) == ("ours", "ours", "ours")
    written = tmp_path / "profiles/acme.yaml"
    text = own.text("ours").replace("name: ours", "name: acme")
    written.write_text(f"# Ask Ann before you change it.\n{text}")
    before = written.read_bytes()
    with pytest.raises(BadDataError, match="'acme' is there already and was written by hand"):
        keep("acme")
    with pytest.raises(BadDataError, match="was written by hand"):
        keep("acme", profile="acme")
    assert keep(None, profile="acme") == "feed"
    with pytest.raises(BadDataError, match=r"'feed' .* of another feed: .* \(profile feed\)"):
        keep("feed", profile="ours")
    assert keep("feed", profile="feed") == "feed"
    assert written.read_bytes() == before
