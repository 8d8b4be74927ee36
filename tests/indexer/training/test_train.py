"""Training: what it promises about splits, caches, repeats and odd data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from indexer.core.errors import (
    BadModelError,
    TrainingError,
)
from indexer.evaluation.evaluate import evaluate
from indexer.model.bundle import load_bundle
from indexer.model.torch_runtime import TorchRuntime
from indexer.training.options import TrainingOptions
from indexer.training.problem import read_problem
from indexer.training.train import TrainReport, train
from tests.indexer.conftest import KINDS, draw


def test_a_trained_model_knows_its_classes(
    trained: TrainReport, shapes: Path, feature_cache: Path
) -> None:
    """The whole way on drawn shapes: labels in order, test photos classified and found far above
    chance."""
    bundle = load_bundle(trained.model)
    assert [category.path for category in bundle.decision.categories] == [
        (kind,) for kind in sorted(KINDS)
    ]
    assert (bundle.spec.blocks[0].name, bundle.spec.blocks[1].name) == ("a", "g")
    report = evaluate(Path(trained.model), shapes, device="cpu", cache=feature_cache)
    assert report["n"] == sum(name == "test" for name in read_problem(shapes, 1).split.values()) > 0
    assert report["accuracy"] >= 0.7
    assert report["hit_rate_at_1"] >= 0.6
    assert 0 <= report["map"] <= 1
    assert report["tags"] is None
    assert (
        report["intervals"]["accuracy"][0]
        <= report["accuracy"]
        <= report["intervals"]["accuracy"][1]
    )


def test_an_unreadable_photo_is_skipped_with_its_place_and_reason(trained: TrainReport) -> None:
    [skipped] = trained.skipped
    assert "text.jpg" in skipped.where + skipped.reason
    assert sum(trained.photos.values()) + 1 >= 20


def test_the_same_seed_gives_the_same_model(
    trained: TrainReport, shapes: Path, feature_cache: Path, tmp_path: Path
) -> None:
    again = train(
        shapes,
        tmp_path / "again",
        TrainingOptions(epochs=8, batch_size=16, seed=1, device="cpu", cache=feature_cache),
    )
    assert again.model_version == trained.model_version
    other = train(
        shapes,
        tmp_path / "other",
        TrainingOptions(epochs=8, batch_size=16, seed=2, device="cpu", cache=feature_cache),
    )
    assert other.model_version != trained.model_version


def test_a_warm_cache_runs_no_photo_through_the_backbone(
    trained: TrainReport,
    shapes: Path,
    feature_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Features are cached by content: a second training, also of renamed photos, costs seconds."""

    def forbidden(*_: Any) -> np.ndarray:
        raise AssertionError("a cached photo went through the backbone")

    monkeypatch.setattr(TorchRuntime, "extract_features", forbidden)
    renamed = tmp_path / "renamed"
    for kind in KINDS:
        (renamed / kind).mkdir(parents=True)
        for file in (shapes / kind).glob("*.png"):
            (renamed / kind / f"other-{file.name}").write_bytes(file.read_bytes())
    train_only = {"train", "validation"}
    names = read_problem(shapes, 1).split
    for product, name in names.items():
        if name not in train_only:  # those were never embedded by training
            (renamed / product.replace("/", "/other-")).with_suffix(".png").unlink(missing_ok=True)
    train(
        renamed,
        tmp_path / "m",
        TrainingOptions(epochs=1, seed=1, device="cpu", cache=feature_cache),
    )


def test_test_photos_are_never_read(shapes: Path, feature_cache: Path, tmp_path: Path) -> None:
    """Training gives the same model when every test photo is replaced."""
    first = train(
        shapes, tmp_path / "a", TrainingOptions(epochs=2, seed=1, device="cpu", cache=feature_cache)
    )
    import shutil

    copy = Path(shutil.copytree(shapes, tmp_path / "copy"))
    for row in read_problem(shapes, 1).of("test"):
        Image.new("RGB", (50, 50)).save(copy / row.image.relative_to(shapes))
    second = train(
        copy, tmp_path / "b", TrainingOptions(epochs=2, seed=1, device="cpu", cache=feature_cache)
    )
    assert second.embedding_id == first.embedding_id


@pytest.mark.parametrize("recipe", ["linear", "finetune"])
def test_photos_without_labels_train_the_general_block(
    shapes: Path, feature_cache: Path, tmp_path: Path, recipe: str
) -> None:
    """A plain folder of photos gives a model that knows no category but finds a
    photo taken again."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for photo in shapes.glob("*/*.png"):
        (folder / f"{photo.parent.name}-{photo.name}").write_bytes(photo.read_bytes())
    chosen: dict[str, Any] = (
        {"epochs": 1, "batch_size": 8, "unfreeze": 1} if recipe == "finetune" else {}
    )
    report = train(
        folder,
        tmp_path / "m",
        TrainingOptions(recipe=recipe, device="cpu", cache=feature_cache, **chosen),
    )
    bundle = load_bundle(tmp_path / "m")
    assert [block.name for block in bundle.spec.blocks] == ["g"]
    assert bundle.spec.heads == ()
    assert report.categories == 0
    assert report.validation["accuracy"] is None
    assert any("have no category" in note for note in report.notes)
    figures = evaluate(tmp_path / "m", folder, cache=feature_cache)
    assert figures["accuracy"] is None
    assert figures["instance_hit_rate_at_1"] >= 0.5


def test_one_class_only_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "d" / "disc").mkdir(parents=True)
    for number in range(4):
        draw("disc", number).save(tmp_path / "d" / "disc" / f"{number}.png")
    with pytest.raises(TrainingError, match="'disc'"):
        train(tmp_path / "d", tmp_path / "m", TrainingOptions(device="cpu"))


def test_odd_labels_are_reported_and_kept_apart(tmp_path: Path, feature_cache: Path) -> None:
    """A class with one photo trains on; 'Disc' and 'disc ' are two classes, and said
    to look alike."""
    rows = ["image,category,split"]
    for number in range(6):
        for kind, label in (("disc", "disc"), ("square", "Square")):
            draw(kind, number).save(tmp_path / f"{kind}{number}.png")
            rows.append(f"{kind}{number}.png,{label},{'train' if number < 4 else 'validation'}")
    draw("stripes", 0).save(tmp_path / "lonely.png")
    draw("disc", 9).save(tmp_path / "other.png")
    rows += ["lonely.png,lonely,train", "other.png,Disc,train", "other.png,,train"]
    (tmp_path / "p.csv").write_text("\n".join(rows))
    report = train(
        tmp_path / "p.csv",
        tmp_path / "m",
        TrainingOptions(epochs=1, device="cpu", cache=feature_cache),
    )
    assert report.categories == 4
    notes = "\n".join(report.notes)
    assert "'Disc', 'disc'" in notes
    assert "one training photo" in notes
    assert "'lonely'" in notes


def test_a_loss_that_is_not_finite_stops_and_keeps_the_old_model(
    trained: TrainReport, shapes: Path, feature_cache: Path, tmp_path: Path
) -> None:
    import shutil

    old = Path(shutil.copytree(trained.model, tmp_path / "m"))
    with pytest.raises(TrainingError, match=r"loss is .* in epoch"):
        train(
            shapes,
            old,
            TrainingOptions(epochs=3, lr=1e30, seed=1, device="cpu", cache=feature_cache),
        )
    assert load_bundle(old).model_version == trained.model_version


def test_an_out_folder_with_other_things_is_refused_before_any_work(
    shapes: Path, tmp_path: Path
) -> None:
    (tmp_path / "keep.txt").write_text("mine")
    with pytest.raises(BadModelError, match="not a model folder"):
        train(shapes, tmp_path, TrainingOptions(device="cpu"))
    assert (tmp_path / "keep.txt").read_text() == "mine"
