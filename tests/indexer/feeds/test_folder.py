"""Photo folders as NAS devices, data sets and systems leave them."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.feeds.folder import scan_folder


def folder(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def test_what_systems_leave_is_counted_once_a_name(tmp_path: Path) -> None:
    """Thumbnails and bins are no products and no categories, at any depth and in any case."""
    scan = scan_folder(
        folder(
            tmp_path,
            "shirt/1.jpg",
            "shirt/@eaDir/1.jpg/SYNOPHOTO_THUMB_XL.jpg",
            "mug/@eaDir/2.jpg/SYNOPHOTO_THUMB_XL.jpg",
            "mug/2.jpg",
            "#recycle/old.jpg",
            "$RECYCLE.BIN/x.jpg",
            "lost+found/y.jpg",
            "__MACOSX/shirt/._1.jpg",
            "shirt/Thumbs.db",
            "shirt/.DS_Store",
            "shirt/.hidden.jpg",
        )
    )
    assert [photo.parts for photo in scan.photos] == [("mug", "2.jpg"), ("shirt", "1.jpg")]
    counts = {notice.where: notice.reason.rpartition(": ")[2] for notice in scan.notices}
    assert counts == {
        "@eaDir": "2 places",
        "#recycle": "1 place",
        "$RECYCLE.BIN": "1 place",
        "lost+found": "1 place",
        "__MACOSX": "1 place",
        "Thumbs.db": "1 place",
        ".DS_Store": "1 place",
    }


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["Train", "val", "TEST"], ["train", "validation", "test"]),
        (["training", "valid", "testing"], ["train", "validation", "test"]),
        (["train", "validation"], ["train", "validation"]),
    ],
)
def test_splits_by_any_of_their_names(tmp_path: Path, names: list[str], splits: list[str]) -> None:
    """In the order of splits, not of the alphabet; the folder is no part of the class."""
    scan = scan_folder(folder(tmp_path, *(f"{name}/hat/{name}.jpg" for name in names)))
    assert [photo.split for photo in scan.photos] == splits
    assert {photo.below_split[:-1] for photo in scan.photos} == {("hat",)}
    assert scan.notices == []
