"""Lines that are no records: what they still tell, so that nothing is taken to be lacking that a
broken line names."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.feeds.dataset import read_dataset
from tests.indexer.feeds.test_dataset import manifest, photos


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
    data = read_dataset(manifest(tmp_path, f"{header}\n{line}\n"))
    assert (data.rows, len(data.skipped)) == ([], 1)
    assert data.unnamed == (("feed.csv:2",) if mentioned is None else ())
    assert data.mentioned >= (mentioned or set())
    assert mentioned != set() or not data.mentioned


def test_what_a_broken_jsonl_line_mentions(tmp_path: Path) -> None:
    """Half a line, an id that is no text and no photo tell nothing."""
    photos(tmp_path, "a.jpg")
    lines = (
        '{"product_id": "8", "ima',
        '{"product_id": ["9"], "image": "a.jpg"}',
        '{"title": "Hat"}',
        '{"title": null}',
    )
    data = read_dataset(manifest(tmp_path, "\n".join(lines), "feed.jsonl"))
    assert (data.rows, len(data.skipped)) == ([], 4)
    assert (data.mentioned, data.unnamed) == (
        set(),
        tuple(f"feed.jsonl:{line}" for line in (1, 2, 3)),
    )


def test_a_broken_line_changes_no_other_default_id(tmp_path: Path) -> None:
    """Two photos with one default id keep their extension also while the line of one of them cannot
    be read."""
    photos(tmp_path, "i/a.jpg", "i/a.png")
    path = manifest(tmp_path, "image,title\ni/a.jpg,x\ni/a.png,y\n")
    whole = read_dataset(path)
    assert [row.product_id for row in whole.rows] == ["i/a.jpg", "i/a.png"]
    broken = read_dataset(manifest(tmp_path, "image,title\ni/a.jpg,x\ni/a.png,y, z\n"))
    assert [row.product_id for row in broken.rows] == ["i/a.jpg"]
    assert broken.mentioned == whole.mentioned
