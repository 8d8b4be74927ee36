"""Training: what it promises about splits, caches, repeats and odd data."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from indexer.core.errors import (
    BadDataError,
    BadModelError,
    BadRequestError,
    TrainingError,
    WeightsUnavailableError,
)
from indexer.evaluation.evaluate import evaluate, frozen_photos
from indexer.model.bundle import load_bundle
from indexer.model.torch_runtime import TorchRuntime
from indexer.training import linear
from indexer.training.advise import frozen_runtime
from indexer.training.block_weights import instance_rate
from indexer.training.feature_cache import photo_features, recapture_features
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


@pytest.mark.parametrize(("name", "value"), [("epochs", 0), ("lr", -1.0), ("batch_size", 0)])
def test_bad_numbers_are_named(shapes: Path, tmp_path: Path, name: str, value: Any) -> None:
    with pytest.raises(BadRequestError, match=name):
        train(shapes, tmp_path / "m", TrainingOptions(**{name: value}))


def test_an_out_folder_with_other_things_is_refused_before_any_work(
    shapes: Path, tmp_path: Path
) -> None:
    (tmp_path / "keep.txt").write_text("mine")
    with pytest.raises(BadModelError, match="not a model folder"):
        train(shapes, tmp_path, TrainingOptions(device="cpu"))
    assert (tmp_path / "keep.txt").read_text() == "mine"


def test_evaluate_repeats_the_model_s_own_split_and_names_an_empty_one(
    trained: TrainReport, tmp_path: Path, feature_cache: Path
) -> None:
    (tmp_path / "d" / "disc").mkdir(parents=True)
    draw("disc", 0).save(tmp_path / "d" / "disc" / "0.png")
    with pytest.raises(BadDataError, match=r"no (test|train) photos"):
        evaluate(Path(trained.model), tmp_path / "d", cache=feature_cache)
    assert json.loads((Path(trained.model) / "training.json").read_text())["seed"] == 1


def test_what_data_without_train_photos_cannot_give_is_none(
    trained: TrainReport, tmp_path: Path, feature_cache: Path
) -> None:
    """A folder with a test split alone: categories are judged, retrieval is None."""
    for kind in KINDS:
        (tmp_path / "d" / "test" / kind).mkdir(parents=True)
        for number in range(3):
            draw(kind, number).save(tmp_path / "d" / "test" / kind / f"{number}.png")
    found = evaluate(Path(trained.model), tmp_path / "d", cache=feature_cache)
    assert (found["n"], found["gallery"]) == (9, 0)
    assert found["accuracy"] > 0.5
    assert [found[name] for name in ("hit_rate_at_1", "hit_rate_at_10", "map", "tags")] == [
        None
    ] * 4
    assert found["instance_hit_rate_at_1"] is not None


def test_photos_that_training_set_aside_are_in_the_gallery(
    trained: TrainReport, tmp_path: Path, feature_cache: Path
) -> None:
    """DATA without a validation split: its train photos are the gallery, all of them; its own
    validation is not."""
    for split, numbers in (("train", range(8)), ("test", range(8, 10))):
        for kind in KINDS:
            (tmp_path / "d" / split / kind).mkdir(parents=True)
            for number in numbers:
                draw(kind, number).save(tmp_path / "d" / split / kind / f"{number}.png")
    problem = read_problem(tmp_path / "d", 1)
    assert 0 < len(problem.set_aside) < 24
    assert problem.set_aside == {row.product_id for row in problem.of("validation")}
    found = evaluate(Path(trained.model), tmp_path / "d", cache=feature_cache)
    assert (found["n"], found["gallery"]) == (6, 24)
    held = evaluate(Path(trained.model), tmp_path / "d", split="validation", cache=feature_cache)
    assert held["n"] + held["gallery"] == 24


def test_rows_labelled_unlike_their_product_are_told(tmp_path: Path) -> None:
    """The first row's category stays, and who trains learns of it."""
    for number in range(3):
        draw("disc", number).save(tmp_path / f"{number}.png")
    (tmp_path / "p.csv").write_text(
        "product_id,image,title,category\np,0.png,x,a\np,1.png,y,b\nq,2.png,z,b\n"
    )
    [note] = read_problem(tmp_path / "p.csv", 0).notes
    assert note.startswith("1 rows are labelled as their product's first row")
    assert "category ('b',)" in note


def test_a_baseline_from_weights_that_are_not_kept_is_none(trained: TrainReport) -> None:
    """A network fine-tuned from a file has no features before training to compare with: it says so,
    and builds none."""
    bundle = load_bundle(Path(trained.model))
    tuned = dataclasses.replace(
        bundle, training={**bundle.training, "recipe": "finetune", "weights": "mine.pth"}
    )
    with pytest.raises(WeightsUnavailableError, match=r"mine\.pth"):
        frozen_photos(tuned, None, {}, "cpu", None)  # type: ignore[arg-type]


def test_general_axes_are_the_principal_ones() -> None:
    """The g block keeps the directions of most spread, centred: checked against numpy's SVD."""
    from indexer.core.native import torch
    from indexer.model import backbones
    from indexer.model.network import Neck

    spec = linear.linear_spec(backbones.find("resnet18"), (), 41)
    rng = np.random.default_rng(0)
    features = (np.abs(rng.normal(size=(41, 512))) * np.linspace(3, 0.1, 512)).astype(np.float32)
    neck = Neck(spec)
    linear.fit_statistics(neck, torch.from_numpy(features))
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    _, _, axes = np.linalg.svd(unit - unit.mean(0), full_matrices=False)
    cosine = np.abs((neck.general.detach().numpy()[:10] * axes[:10]).sum(1))
    np.testing.assert_allclose(cosine, 1.0, atol=1e-3)
    assert neck.general.shape == (40, 512)


def test_general_block_sees_through_what_taking_a_photo_again_changes() -> None:
    """Re-shots differ from their photos in a few strong directions: pressed, each finds its own
    photo again."""
    rng = np.random.default_rng(0)
    photos = np.abs(rng.normal(size=(200, 40))).astype(np.float32) + 1
    change = np.zeros((200, 40), np.float32)
    change[:, :4] = 6 * rng.normal(size=(200, 4))
    again = photos + change
    found = []
    for pairs in (None, linear.Pairs(photos[:100], again[:100])):
        mean, _, axes = linear.general_projection(photos[:100], 30, pairs)
        asked, known = (
            (rows / np.linalg.norm(rows, axis=1, keepdims=True) - mean) @ axes.T
            for rows in (again[100:], photos[100:])
        )
        found.append(instance_rate(asked, known, np.arange(100), np.arange(100)))
    assert found[1] > found[0] + 0.2


def test_a_re_shot_has_features_of_its_own_in_the_cache(shapes: Path, tmp_path: Path) -> None:
    """Neither is ever taken for the other, and the second time no photo is decoded."""
    runtime = frozen_runtime()
    rows = read_problem(shapes, 0).of("train")[:4]
    plain = photo_features(rows, runtime, cache=tmp_path)
    drawn = [(np.array([True, True, True, False]), 2)]
    first = recapture_features(plain, runtime, drawn, cache=tmp_path)
    assert len(first.places) == 2
    assert set(first.places) < {0, 1, 2}
    assert np.abs(first.values - plain.values[first.places]).max(1).min() > 0.01
    called: list[int] = []
    again = recapture_features(
        plain, runtime, drawn, cache=tmp_path, progress=lambda _, done, __: called.append(done)
    )
    np.testing.assert_array_equal(first.values, again.values)
    assert called == []
    np.testing.assert_array_equal(
        photo_features(rows, runtime, cache=tmp_path).values, plain.values
    )
