"""Tag samples: draws to fit a rule on, heads that predict a tag."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from indexer.feeds.dataset import DatasetRow
from indexer.model.spec import Block
from indexer.training.tag_samples import TaggedPhotos, sample_of
from indexer.training.targets import Target
from tests.indexer.training.dataset_rows import rows_with


def test_a_tag_is_told_by_the_head_that_marks_the_same_photos() -> None:
    from indexer.training.tag_samples import tags_by_head

    rows = rows_with(colour=["red", "red", "blue", "blue", "red"])
    tags = (("Red", "new"), ("Red",), ("Blue",), ("Blue", "new"), ("Red",))
    rows = [replace(row, tags=mine) for row, mine in zip(rows, tags, strict=True)]
    paint = Target("colour", ("blue", "red"), np.array([1, 1, 0, 0, 1]))
    assert tags_by_head(rows, [paint]) == {"Red": ("colour", 1), "Blue": ("colour", 0)}


def test_a_tag_rule_is_fitted_on_a_draw_of_products_and_judged_on_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of 30 asked and 40 voting products 7 and 20 fit a rule, with all of their photos; who judges
    sees all."""
    monkeypatch.setattr("indexer.tagging.samples.MAX_QUERIES", 7)
    monkeypatch.setattr("indexer.training.tag_samples.MAX_VOTERS", 20)
    rng = np.random.default_rng(0)

    def photos(name: str, products: int) -> TaggedPhotos:
        rows = [
            DatasetRow(
                f"f:{n}", f"{name}{n // 2}", Path("x"), None, None, (f"t{n // 2 % 3}",), None, {}
            )
            for n in range(2 * products)
        ]
        vectors = rng.normal(size=(len(rows), 8)).astype(np.float32)
        pixels = np.array([f"{name}{n}" for n in range(len(rows))], dtype=object)
        return TaggedPhotos(rows, vectors / np.linalg.norm(vectors, axis=1, keepdims=True), pixels)

    asked, voters, blocks = photos("a", 30), photos("v", 40), [Block("g", 8, 1.0)]
    sizes = []
    for fitting in (True, False):
        sample = sample_of(asked, voters, blocks, fitting=fitting)
        assert sample is not None
        sizes.append((len(sample.actual), sample.voters.shape[0]))
    assert sizes == [(7, 20), (30, 40)]


def test_photos_that_an_earlier_split_has_shown_are_asked_for_no_tags() -> None:
    """A copy of a training photo judges no tag, neither where a rule is fitted nor where it is
    measured; as a voter it counts."""
    rows = rows_with(colour=["red", "blue", "red", "blue"])
    rows = [replace(row, tags=(f"t{n % 2}",)) for n, row in enumerate(rows)]
    vectors, pixels = np.eye(4, 8, dtype=np.float32), np.array(list("abcd"), object)
    photos = TaggedPhotos(rows, vectors, pixels, leaked=np.array([False, True, False, True]))
    apart = [replace(row, product_id=f"v{row.product_id}") for row in rows]
    voters = TaggedPhotos(apart, vectors, pixels, leaked=np.ones(4, bool))
    for fitting in (True, False):
        sample = sample_of(photos, voters, [Block("g", 8, 1.0)], fitting=fitting)
        assert sample is not None
        assert sample.voters.shape[0] == 4
        assert sample.actual[:, sample.tags.index("t0")].tolist() == [True, True]
    nobody = replace(photos, leaked=np.ones(4, bool))
    assert sample_of(nobody, voters, [Block("g", 8, 1.0)]) is None
