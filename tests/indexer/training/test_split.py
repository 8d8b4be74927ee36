"""Splits made here: by category, copies together, the same again, and nearly so with more."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from indexer.feeds.dataset import DatasetRow
from indexer.training.split import near_duplicate_groups, split_products, unjudged_notes


def row(product: str, category: str | None, image: Path = Path("none")) -> DatasetRow:
    path = (category,) if category else None
    return DatasetRow(product, product, image, None, path, (), None, {})


def rows_of(counts: dict[str, int]) -> list[DatasetRow]:
    return [row(f"{name}{n}", name) for name, count in counts.items() for n in range(count)]


def test_each_category_is_cut_at_the_shares() -> None:
    """70, 15 and 15 of a hundred in each category, not only over all; every one of two products
    or more has one to train."""
    for seed in range(3):
        rows = rows_of({"shirt": 100, "rare": 20, **{f"pair{n}": 2 for n in range(60)}, "one": 1})
        split = split_products(rows, seed)
        found = Counter((item.category, split[item.product_id]) for item in rows)
        assert abs(found[("shirt",), "train"] - 70) <= 1
        assert abs(found[("shirt",), "validation"] - 15) <= 1
        assert abs(found[("rare",), "validation"] - 3) <= 1
        assert all(found[(f"pair{n}",), "train"] for n in range(60))
        assert found[("one",), "train"] == 1
        # of the second ones some judge
        assert {name for (path, name), n in found.items() if n and path != ("shirt",)} == {
            "train",
            "validation",
            "test",
        }


def test_a_split_hangs_on_the_seed_and_moves_little_with_more_products() -> None:
    rows = rows_of({"a": 200, "b": 50})
    first = split_products(rows, 1)
    assert split_products(rows[::-1], 1) == first
    assert split_products(rows, 2) != first
    more = split_products([*rows, row("new", "a"), row("newer", "b")], 1)
    assert sum(more[name] != where for name, where in first.items()) <= 6


def test_products_of_one_group_stay_together() -> None:
    """Linked over any number of steps; a category whose products are all copies of one trains."""
    rows = [*rows_of({"a": 30, "b": 30}), row("x1", "c"), row("x2", "c")]
    groups = np.arange(len(rows))
    groups[[0, 31, 40]] = 0
    groups[-2:] = 99
    for seed in range(5):
        split = split_products(rows, seed, groups=groups)
        assert len({split[rows[n].product_id] for n in (0, 31, 40)}) == 1
        assert split["x1"] == split["x2"] == "train"


def test_single_products_are_cut_where_nothing_else_is_there() -> None:
    """Ten thousand categories of one product each are one heap: some judge."""
    split = split_products(rows_of({f"c{n}": 1 for n in range(100)}), 0)
    assert abs(Counter(split.values())["train"] - 70) <= 1


def test_a_recompressed_smaller_photo_is_a_copy_and_another_one_is_none(tmp_path: Path) -> None:
    """The supplier's photo under two ids; plain grounds and what is no photo are like nothing."""
    rng = np.random.default_rng(0)
    scenes = [
        Image.fromarray(rng.integers(0, 256, (12, 10, 3), dtype=np.uint8)).resize((300, 360), 3)
        for _ in range(3)
    ]
    for number, scene in enumerate(scenes):
        scene.save(tmp_path / f"{number}.png")
    scenes[0].resize((200, 240)).save(tmp_path / "3.jpg", quality=60)
    for number in (4, 5):
        Image.new("RGB", (80, 80), "grey").save(tmp_path / f"{number}.png")
    (tmp_path / "6.png").write_text("no photo")
    names = ["0.png", "1.png", "2.png", "3.jpg", "4.png", "5.png", "6.png"]
    groups = near_duplicate_groups([row(name, "a", tmp_path / name) for name in names])
    assert groups[0] == groups[3]
    assert len(set(groups.tolist())) == 6


def test_what_no_product_can_judge_is_said() -> None:
    rows = rows_of({"a": 40, "lonely": 1})
    split = split_products(rows, 0)
    first, second = unjudged_notes(rows, split)
    assert first.startswith("1 categories have too few products for a validation photo")
    assert second.startswith("1 categories have too few products for a test photo")
    assert "'lonely'" in first
