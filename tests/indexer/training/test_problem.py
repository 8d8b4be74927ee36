"""Splits that leak: what stands in two of them is said, and judges nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from indexer.evaluation.evaluate import evaluate
from indexer.training.options import TrainingOptions
from indexer.training.problem import categories_of, find_leaks, label_notes, read_problem
from indexer.training.train import train
from tests.indexer.conftest import KINDS, draw


def test_a_copy_of_an_earlier_split_is_left_out_and_counted() -> None:
    """The photo in train stays; copies in validation and test are marked, other labels counted; own
    copies are not."""
    split = np.array(["train", "train", "validation", "validation", "test", "test", "test", "test"])
    pixels = np.array(["a", "b", "b", "c", "a", "c", "d", "d"])
    labels = np.array([0, 1, 1, 2, 5, 2, 3, 3])
    leaks = find_leaks(split, pixels, labels)
    np.testing.assert_array_equal(leaks.leaked, [0, 0, 1, 0, 1, 1, 0, 0])
    assert len(leaks.notes) == 2
    assert leaks.notes[0].startswith("1 of 2 validation photos are exact copies of a train photo")
    assert "another label" not in leaks.notes[0]
    assert leaks.notes[1].startswith(
        "2 of 4 test photos are exact copies of a train or validation photo"
    )
    assert "1 of them carry another label" in leaks.notes[1]


def test_clean_splits_say_nothing() -> None:
    leaks = find_leaks(np.array(["train", "test"]), np.array(["a", "b"]), np.array([0, 0]))
    assert not leaks.leaked.any()
    assert leaks.notes == []


def test_a_product_in_two_splits_counts_for_training_only(tmp_path: Path) -> None:
    """Whatever its first row says, no photo of a product that training names is left to be tested
    with."""
    for number in range(4):
        draw("disc", number).save(tmp_path / f"{number}.png")
    feed = tmp_path / "p.csv"
    feed.write_text(
        "product_id,image,category,split\np,0.png,a,test\np,1.png,a,train\n"
        "q,2.png,b,validation\nr,3.png,b,test\n"
    )
    problem = read_problem(feed, 0)
    assert problem.split == {"p": "train", "q": "validation", "r": "test"}
    [note] = problem.notes
    assert "'p'" in note
    assert "several splits" in note


def test_training_says_what_leaks_and_which_labels_look_wrong(
    tmp_path: Path, feature_cache: Path
) -> None:
    """A validation photo that training has is reported; a square filed under stripes is the one
    label in doubt."""
    rows = ["image,category,split"]
    for kind in KINDS:
        for number in range(10):
            draw(kind, number).save(tmp_path / f"{kind}{number}.png")
            label = "stripes" if (kind, number) == ("square", 3) else kind
            rows.append(f"{kind}{number}.png,{label},{'train' if number < 8 else 'validation'}")
    draw("disc", 0).save(tmp_path / "copy.png")
    (tmp_path / "p.csv").write_text("\n".join([*rows, "copy.png,disc,validation"]))
    report = train(
        tmp_path / "p.csv",
        tmp_path / "m",
        TrainingOptions(epochs=1, device="cpu", cache=feature_cache),
    )
    assert any(
        note.startswith("1 of 7 validation photos are exact copies of a train photo")
        for note in report.notes
    )
    doubted = {(issue.product_id, issue.given, issue.suggested) for issue in report.label_doubts}
    assert ("square3", "stripes", "square") in doubted
    judged = evaluate(
        tmp_path / "m", tmp_path / "p.csv", split="validation", device="cpu", cache=feature_cache
    )
    assert judged["n"] == 6
    assert any("1 of 7 validation photos" in note for note in judged["notes"])


def test_rows_labelled_unlike_their_product_are_told(tmp_path: Path) -> None:
    """The first row's category stays, and who trains learns of it."""
    for number in range(3):
        draw("disc", number).save(tmp_path / f"{number}.png")
    (tmp_path / "p.csv").write_text(
        "product_id,image,title,category\np,0.png,x,a\np,1.png,y,b\nq,2.png,z,b\n"
    )
    note, *_ = read_problem(tmp_path / "p.csv", 0).notes
    assert note.startswith("1 rows are labelled as their product's first row")
    assert "category ('b',)" in note


def test_a_category_is_never_set_aside_whole(tmp_path: Path) -> None:
    """Classes of one and of two photos stay in training where DATA names no validation photos,
    whatever the seed; larger ones still give some."""
    names = [("a", 20), ("b", 20), ("pair", 2), *((f"single{number}", 1) for number in range(8))]
    for name, count in names:
        for number in range(count):
            file = tmp_path / "train" / name / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"")
    for seed in range(6):
        problem = read_problem(tmp_path, seed)
        trained = {row.category for row in problem.of("train")}
        assert trained == {(name,) for name, _ in names}
        assert problem.set_aside == {row.product_id for row in problem.of("validation")} != set()


def test_a_category_without_a_training_photo_is_named(tmp_path: Path) -> None:
    """One whose only photo is for testing is not silently gone from the model."""
    for name in ("train/a/1", "train/a/2", "train/b/1", "validation/a/3", "test/rare/1"):
        file = tmp_path / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    problem = read_problem(tmp_path, 0)
    notes = label_notes(problem, categories_of(problem.of("train")))
    assert any("test photos have no training photo" in note and "'rare'" in note for note in notes)
