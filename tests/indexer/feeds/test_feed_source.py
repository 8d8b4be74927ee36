"""What DATA means: the feed beside the photos, the zip's own folder, the one that was named."""

from __future__ import annotations

import gc
import zipfile
from pathlib import Path

import pytest

from indexer.core.errors import BadDataError
from indexer.core.home import Home
from indexer.feeds.dataset import read_dataset
from indexer.feeds.feed_source import find_feed
from indexer.feeds.importer import import_feed
from tests.indexer.feeds.test_folder import folder
from tests.indexer.feeds.test_importer import draw

XML = "<rss><channel><item><id>1</id></item></channel></rss>"


def write(root: Path, **files: str) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (root / name.replace("_", ".")).write_text(text)
    return root


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("feed.tsv", "id\timage_link\n1\ta.jpg\n"),
        ("feed.xml", XML),
        ("feed.json", '[{"id": 1}]'),
        ("feed.xlsx", "x"),
        ("feed.csv.gz", "x"),
        ("google.txt", "id\ttitle\timage_link\n1\tHat\ta.jpg\n"),
        ("train.txt", "shirt/1.jpg\tshirt\n"),
    ],
)
def test_the_only_feed_beside_photos_is_read(tmp_path: Path, name: str, text: str) -> None:
    """Whatever its format; the folders beside it are its photos."""
    folder(tmp_path, "shirt/1.jpg", "Thumbs.db", ".hidden.csv", "~$feed.xlsx")
    (tmp_path / name).write_text(text)
    found = find_feed(tmp_path)
    assert (found.path, found.root) == (tmp_path / name, tmp_path)


def test_notes_beside_photos_are_no_feed(tmp_path: Path) -> None:
    """Texts and settings without a table."""
    write(folder(tmp_path, "shirt/1.jpg"), readme_txt="Photos, of May.\n", info_json='"x"')
    write(tmp_path, classes_json='{"shirt": 1, "mug": {"title": "Mug"}}', split_txt="a\nb\n")
    assert find_feed(tmp_path).path is None


def test_several_feeds_are_named(tmp_path: Path) -> None:
    """With what to do; one can be chosen by name."""
    write(tmp_path, a_csv="id,image\n", b_csv="id,price\n", c_xml=XML)
    with pytest.raises(BadDataError, match=r"\(a\.csv, b\.csv, c\.xml\): name the one to read"):
        find_feed(tmp_path)
    assert find_feed(tmp_path, name="b.csv").path == tmp_path / "b.csv"
    with pytest.raises(BadDataError, match=r"no feed 'd\.csv'.*a\.csv, b\.csv, c\.xml"):
        find_feed(tmp_path, name="d.csv")
    with pytest.raises(BadDataError, match="no feed"):
        find_feed(tmp_path, name="../a.csv")


def test_the_manifest_goes_before_other_formats(tmp_path: Path) -> None:
    """A folder with exactly one manifest is that manifest; what is not read is named."""
    write(tmp_path, products_csv="product_id,image\n", sizes_xlsx="x")
    found = find_feed(tmp_path)
    assert found.path == tmp_path / "products.csv"
    assert [(notice.where, notice.code) for notice in found.notices] == [
        ("sizes.xlsx", "feed-not-read")
    ]


def zipped(root: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(root.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(root).as_posix())
    return path


@pytest.mark.parametrize("inside", ["", "My shop/", "a/b/"])
def test_a_zip_is_read_one_folder_down(tmp_path: Path, inside: str) -> None:
    """As Finder and Explorer pack it; gone when nobody refers to it any more."""
    root = folder(tmp_path / "in", f"{inside}img/1.jpg", f"__MACOSX/{inside}._feed.csv")
    (root / inside / "feed.csv").write_text("product_id,image\n1,img\\1.jpg\n")
    data = read_dataset(zipped(root, tmp_path / "feed.zip"))
    [row] = data.rows
    assert (row.product_id, row.image.read_bytes()) == ("1", b"x")
    image = row.image
    del data, row
    gc.collect()
    assert not image.exists()


@pytest.mark.parametrize(
    ("names", "category"),
    [
        (["photos/shirt/1.jpg", "photos/mug/2.jpg"], {("shirt",), ("mug",)}),
        (["shirt/1.jpg", "shirt/2.jpg"], {("shirt",)}),
        (["1.jpg", "2.jpg"], {None}),
    ],
)
def test_class_folders_in_a_zip(
    tmp_path: Path, names: list[str], category: set[tuple[str, ...] | None]
) -> None:
    """The folder around class folders is no category; a single class is one."""
    path = zipped(folder(tmp_path / "in", *names), tmp_path / "photos.zip")
    assert {row.category for row in read_dataset(path).rows} == category


def test_a_zip_that_cannot_be_used(tmp_path: Path) -> None:
    """Named with its own path, not that of where it was unpacked; nothing of it stays."""
    path = zipped(write(tmp_path / "in", a_csv="id\n", b_csv="id\n"), tmp_path / "feed.zip")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with pytest.raises(BadDataError, match=r"feed\.zip holds several feeds"):
        find_feed(path, scratch=scratch)
    with pytest.raises(BadDataError, match=r"feed\.zip: the archive unpacks to"):
        find_feed(path, scratch=scratch, most_bytes=3)
    assert list(scratch.iterdir()) == []
    with find_feed(path, name="a.csv", scratch=scratch) as found:
        assert found.path is not None
        assert found.path.is_file()
    assert list(scratch.iterdir()) == []


def test_a_zip_names_no_photo_of_the_machine(tmp_path: Path) -> None:
    """Whoever made it, its paths lead to its own files only; in an import and in a training."""
    draw(tmp_path / "secret.png", 1)
    root = write(tmp_path / "in", feed_csv=f"product_id,image\n1,{tmp_path}/secret.png\n2,a.png\n")
    draw(root / "a.png", 2)
    path = zipped(root, tmp_path / "feed.zip")
    data = read_dataset(path)
    assert [row.product_id for row in data.rows] == ["2"]
    assert [notice.where for notice in data.skipped] == ["feed.csv:2"]
    report = import_feed(Home.create(tmp_path / "home"), path)
    assert (report.added, len(report.skipped)) == (1, 1)
