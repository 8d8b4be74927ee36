"""The look of a model: what validation prefers, the cheapest where it cannot tell."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer.core.errors import BadRequestError
from indexer.core.native import torch
from indexer.model import backbones
from indexer.model.bundle import load_bundle
from indexer.model.preprocessing import with_look
from indexer.training.look import (
    cheapest_of_best,
    choose_tuned_look,
    nearest_hits,
    ridge_hits,
    shown_by,
    take_look,
)
from indexer.training.options import FinetuneOptions, TrainingOptions
from indexer.training.problem import read_problem
from indexer.training.train import TrainReport, train
from tests.indexer.model.test_bundle import make_network


def hits(share: float, count: int = 400, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random(count) < share).astype(float)


def test_twice_the_cost_is_paid_only_for_what_chance_does_not_explain() -> None:
    """The cheapest look within one standard error of the best, photo by photo."""
    plain = hits(0.8)
    better = plain.copy()
    better[np.flatnonzero(plain == 0)[:12]] = 1
    assert cheapest_of_best({"crop": plain, "both": better}) == "both"
    other = plain.copy()
    other[np.flatnonzero(plain == 0)[:5]] = 1
    other[np.flatnonzero(plain == 1)[:4]] = 0
    assert cheapest_of_best({"crop": plain, "both": other}) == "crop"
    assert cheapest_of_best({"crop": plain, "whole": better, "both": better}) == "whole"
    assert cheapest_of_best({"crop": better, "both": plain}) == "crop"


def test_photos_of_one_product_do_not_judge_each_other() -> None:
    """Random features of products with three equal photos each: chance, not three of three."""
    rng = np.random.default_rng(1)
    features = rng.normal(size=(60, 32)).repeat(3, axis=0)
    labels = rng.integers(0, 4, 60).repeat(3)
    products = np.arange(60).repeat(3)
    for judge in (ridge_hits, nearest_hits):
        assert judge(features, labels, products).mean() < 0.45
        assert judge(features, labels, np.arange(180)).mean() > 0.6
    telling = features + 8 * np.eye(32)[labels]
    for judge in (ridge_hits, nearest_hits):
        assert judge(telling, labels, products).mean() > 0.9


def test_a_network_of_squares_says_which_looks_it_takes() -> None:
    network = make_network()
    plain = network.spec.preprocess
    backbone = backbones.find(network.spec.backbone)
    squares = replace(backbone, any_shape=False)
    with pytest.raises(BadRequestError, match=r"squares of 224 px alone.*crop, whole, both"):
        take_look(network, squares, "rect")
    assert network.spec.preprocess == plain
    for taken, look in ((squares, "both"), (backbone, "rect"), (backbone, "crop")):
        take_look(network, taken, look)
        assert network.spec.preprocess.look == look
        assert network.spec.format == (1 if look == "crop" else 2)


def test_a_look_that_is_none_is_named() -> None:
    with pytest.raises(BadRequestError, match="offered: auto, crop"):
        TrainingOptions(look="wide")


@pytest.mark.long
def test_a_fine_tuned_network_is_shown_what_its_validation_prefers(
    shapes: Path, trained: TrainReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its own head and nearest photos; the weights stay, and too few photos judge nothing."""
    network = load_bundle(trained.model).network()
    square = with_look(network.spec.preprocess, "whole")
    network = shown_by(network, square)
    found_rows = read_problem(shapes, 0).rows
    rows = [row for row in found_rows if row.category and row.image.suffix == ".png"]
    kinds = sorted({row.category for row in rows if row.category})
    labels = np.array([kinds.index(row.category) for row in rows if row.category])
    options = TrainingOptions(device="cpu", cache=tmp_path / "cache")
    assert choose_tuned_look(rows, labels, network, options).look == "whole"
    options = replace(options, finetuning=FinetuneOptions(framed=0.5))
    few = choose_tuned_look(rows, labels, network, options)
    assert (few.look, few.scores) == ("whole", {})
    monkeypatch.setattr("indexer.training.look.LEAST_PHOTOS", 10)
    found = choose_tuned_look(rows, labels, network, options)
    assert list(found.scores) == ["whole", "rect", "both"]
    assert found.scores[found.look].accuracy > 0.8
    # square photos look the same in all of them: the cheapest
    assert found.look == "whole"
    assert len({score.accuracy for score in found.scores.values()}) == 1
    asked = choose_tuned_look(rows, labels, network, replace(options, look="both"))
    assert (asked.look, asked.reason) == ("both", "asked for")
    twice = shown_by(network, with_look(square, "both"))
    assert twice.spec.preprocess.views == 2
    for name, value in network.state_dict().items():
        assert torch.equal(value, twice.state_dict()[name])


def ends(folder: Path, count: int) -> Path:
    """Tall photos of two kinds that differ at their ends alone, in marks that the middle square
    does not hold."""
    rng = np.random.default_rng(2)
    for number in range(count):
        kind = ("dots", "bars")[number % 2]
        pixels = np.full((240, 80, 3), rng.integers(150, 250), np.uint8)
        pixels[90:150, 20:60] = rng.integers(0, 200, 3)
        for top in (0, 200):
            block = pixels[top : top + 40]
            (block[::8] if kind == "bars" else block[::8, ::8])[:] = 0
        (folder / kind).mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / kind / f"{number}.png")
    return folder


@pytest.mark.long
def test_train_takes_the_look_that_shows_what_tells_kinds_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chosen, written, said, and served; fewer photos are not judged."""
    # Each photo goes through the network four times.
    least = 24
    monkeypatch.setattr("indexer.training.look.LEAST_PHOTOS", least)
    (tmp_path / "photos").mkdir()
    data = ends(tmp_path / "photos", least + 16)
    options = TrainingOptions(epochs=2, device="cpu", cache=tmp_path / "cache")
    report = train(data, tmp_path / "model", options)
    bundle = load_bundle(tmp_path / "model")
    assert report.look == bundle.spec.preprocess.look == bundle.training["look"]["look"] == "both"
    assert bundle.spec.format == 2
    assert set(bundle.training["look"]["scores"]) == {"crop", "whole", "both"}
    assert any("look 'both'" in note and "2 times as much" in note for note in report.notes)
    (tmp_path / "few").mkdir()
    few = train(ends(tmp_path / "few", least // 2), tmp_path / "small", options)
    assert (few.look, load_bundle(tmp_path / "small").spec.format) == ("crop", 1)
