"""Folds: repeats stand together, kinds are spread evenly, test photos are not there."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer.feeds.dataset import read_dataset
from tools.bench.data.fold_split import (
    FoldData,
    photo_keys,
    read_folds,
    thin_to_tail,
    write_manifest,
)

KINDS = ("shirt", "hat")
EACH = 20


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two kinds of 20 products, two test products, and one smaller copy under another product."""
    folder = tmp_path_factory.mktemp("folds")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(2 * EACH + 2):
        blocks = rng.integers(0, 255, (12, 12, 3), dtype=np.uint8)
        photo = Image.fromarray(blocks).resize((96, 96), Image.Resampling.BICUBIC)
        photo.save(folder / f"{number}.png")
        split = "test" if number >= 2 * EACH else "train" if number % 5 else "validation"
        rows.append((f"p{number}", f"{number}.png", KINDS[number % 2], split, "red"))
    with Image.open(folder / "3.png") as original:
        original.resize((80, 80)).save(folder / "copy.jpg", quality=80)
    rows.append(("again", "copy.jpg", KINDS[1], "train", "red"))
    with (folder / "photos.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("product_id", "image", "category", "split", "shade"), *rows])
    return folder / "photos.csv"


@pytest.fixture(scope="module")
def folds(data: Path) -> FoldData:
    return read_folds(data)


def test_test_photos_are_in_no_fold(folds: FoldData) -> None:
    names = {row.product_id for row in folds.rows}
    assert names == {*(f"p{number}" for number in range(2 * EACH)), "again"}


def test_a_product_and_its_smaller_copy_stand_in_one_part(folds: FoldData) -> None:
    """A copy on the other side would be found and called a success."""
    place = {row.product_id: number for number, row in enumerate(folds.rows)}
    assert folds.group[place["again"]] == folds.group[place["p3"]] == "again"
    assert folds.part[place["again"]] == folds.part[place["p3"]]
    assert len(set(folds.group.tolist())) == 2 * EACH


def test_every_photo_is_held_out_once_and_kinds_are_spread(folds: FoldData) -> None:
    splits = np.stack([folds.split(fold) for fold in range(5)])
    np.testing.assert_array_equal((splits == "test").sum(0), 1)
    np.testing.assert_array_equal((splits == "validation").sum(0) <= 1, True)
    for split in splits:
        for kind in KINDS:
            of_kind = np.array([row.category == (kind,) for row in folds.rows])
            assert 3 <= (of_kind & (split == "test")).sum() <= 6
            assert 1 <= (of_kind & (split == "validation")).sum() <= 3


def test_a_manifest_says_what_the_data_said(folds: FoldData, tmp_path: Path) -> None:
    """Training reads a fold as it would read the data: columns become attributes again."""
    split = folds.split(0)
    path = write_manifest(tmp_path / "fold.csv", folds.rows, split.tolist())
    found = read_dataset(path)
    assert photo_keys(found.rows) == photo_keys(folds.rows)
    assert [row.split for row in found.rows] == split.tolist()
    assert {row.attributes["shade"] for row in found.rows} == {"red"}


def test_fewer_photos_keep_whole_groups(data: Path) -> None:
    few = read_folds(data, photos=10)
    assert 10 <= len(few.rows) <= 11
    assert few.digest() == read_folds(data, photos=10).digest()


def test_a_tail_keeps_all_held_out_photos_and_few_of_the_last_kinds(folds: FoldData) -> None:
    split = folds.split(0)
    kept = thin_to_tail(folds.rows, split, 0)
    assert kept[split == "test"].all()
    counts = sorted(
        sum(
            row.category == (kind,)
            for row, use in zip(folds.rows, kept & (split == "train"), strict=True)
            if use
        )
        for kind in KINDS
    )
    assert counts[0] == round(counts[1] / 2)
