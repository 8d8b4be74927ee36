"""Lines that are no records: what they still tell, so that nothing is taken to be lacking that a
broken line names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from indexer.feeds.feed_input import open_input
from indexer.feeds.feed_pass import read_products, scan_rows
from indexer.feeds.import_options import ImportOptions
from indexer.feeds.import_report import Notices
from indexer.feeds.row_digests import hash_text
from tests.indexer.feeds.test_dataset import manifest, photos


@dataclass
class Reading:
    """What reading a feed tells of its products."""

    products: list[str]
    skipped: int
    # Hashes of ids.
    mentioned: set[int]
    unnamed: list[str]


def read(path: Path) -> Reading:
    skipped = Notices()
    feed = open_input(path, ImportOptions(), skipped=skipped, warnings=Notices())
    rows = scan_rows(feed, None)
    groups = read_products(feed, rows.groups, np.ones(len(rows.groups), bool), None)
    products = [product for group in groups for product in group.products]
    return Reading(
        [product.product_id for product in products if product.photos],
        skipped.total + sum(not product.photos for product in products),
        set(rows.mentioned.tolist()),
        [*rows.lost.unnamed, *feed.unnamed],
    )


@pytest.mark.parametrize(
    ("header", "line", "mentioned"),
    [
        ("product_id,image,title", "7,i/a.jpg,Shirt, red", {"7"}),
        ("title,product_id,image", "Shirt, red,7,i/a.jpg", {"7"}),
        ("title,product_id,image", "Shirt, red,,i/a.jpg", {"i/a"}),
        ("image,title,price", "i/a.jpg,Shirt, red,2", {"i/a"}),
        ("title,image,price", "Shirt, red,i/a.jpg,2", {"i/a"}),
        ("image,title,price", "i/a.jpg,Shirt", {"i/a"}),
        ("product_id,image,title", "7,i/a.jpg", {"7"}),
        ("product_id,image,title", "7", None),
        ("image,title,product_id", "i/none.jpg,Shirt", None),
        ("image,title,price", "i/none.jpg,Shirt, red,2", None),
        ("product_id,image,title", '7,i/a.jpg,"12 inch\n8,i/b.jpg,"Hat",x', None),
        ("product_id,image,title", ",,Shirt", None),
        ("product_id,image,title", ",,", set()),
    ],
)
def test_what_a_broken_csv_line_mentions(
    tmp_path: Path, header: str, line: str, mentioned: set[str] | None
) -> None:
    """Its id, or its image's where it names none; where that cannot be told the line is remembered
    (None)."""
    photos(tmp_path, "i/a.jpg", "i/b.jpg")
    found = read(manifest(tmp_path, f"{header}\n{line}\n"))
    assert (found.products, found.skipped) == ([], 1)
    assert found.unnamed == (["feed.csv:2"] if mentioned is None else [])
    assert found.mentioned >= set(map(hash_text, mentioned or ()))


def test_what_a_broken_jsonl_line_mentions(tmp_path: Path) -> None:
    """Half a line, an id that is no text and no photo tell nothing."""
    photos(tmp_path, "a.jpg")
    lines = (
        '{"product_id": "8", "ima',
        '{"product_id": {"n": "9"}}',
        '{"title": "Hat"}',
        '{"image": null, "title": null}',
    )
    found = read(manifest(tmp_path, "\n".join(lines), "feed.jsonl"))
    assert (found.products, found.skipped) == ([], 4)
    assert found.unnamed == [f"feed.jsonl:{line}" for line in (1, 2, 3)]


def test_a_broken_line_changes_no_other_default_id(tmp_path: Path) -> None:
    """Two photos with one default id keep their extension also while the line of one of them cannot
    be read."""
    photos(tmp_path, "i/a.jpg", "i/a.png")
    path = manifest(tmp_path, "image,title\ni/a.jpg,x\ni/a.png,y\n")
    whole = read(path)
    assert whole.products == ["i/a.jpg", "i/a.png"]
    broken = read(manifest(tmp_path, "image,title\ni/a.jpg,x\ni/a.png,y, z\n"))
    assert broken.products == ["i/a.jpg"]
    assert broken.mentioned == whole.mentioned
