"""Decision layer: what is fitted for tags and lists, by both recipes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer.evaluation.evaluate import evaluate
from indexer.model.bundle import Bundle, load_bundle
from indexer.model.torch_runtime import TorchRuntime
from indexer.training.options import TrainingOptions
from indexer.training.train import train
from tests.indexer.model.timm_folders import random_folder

PAINTS = {"red": (230, 30, 30), "blue": (30, 30, 230)}


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of two halves: a product may be red, blue, both or neither; no category. A tenth says
    nothing of its tags, and a list repeats them under other names."""
    folder = tmp_path_factory.mktemp("painted")
    rng = np.random.default_rng(0)
    lines = []
    for number in range(96):
        on = rng.random(2) < 0.5
        pixels = rng.integers(0, 40, (64, 64, 3)) + 60
        for half, colour in enumerate(("red", "blue")):
            if on[half]:
                pixels[:, 32 * half : 32 * half + 32] = PAINTS[colour]
        pixels[0] = rng.integers(0, 255, (64, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
        tags = [name for name, there in zip(("red", "blue"), on, strict=True) if there]
        lines.append(
            {
                "image": f"{number}.png",
                "tags": [] if number % 10 == 0 else [*tags, "ours"],
                "paint": [f"{tag} paint" for tag in tags] or None,
                "split": ("train", "train", "validation", "test")[number % 4],
            }
        )
    text = "\n".join(json.dumps(line) for line in lines)
    (folder / "products.jsonl").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> TrainingOptions:
    folder = random_folder(tmp_path_factory.mktemp("weights") / "w", "test_efficientnet")
    return TrainingOptions(
        backbone="timm:test_efficientnet",
        weights=folder,
        look="whole",
        device="cpu",
        cache=tmp_path_factory.mktemp("cache"),
    )


@pytest.fixture(scope="module", params=["linear", "finetune"])
def model(
    request: pytest.FixtureRequest,
    painted: Path,
    options: TrainingOptions,
    tmp_path_factory: pytest.TempPathFactory,
) -> Bundle:
    numbers = {"recipe": request.param, "epochs": 10 if request.param == "linear" else 1}
    chosen = replace(options, **numbers, batch_size=16)
    return load_bundle(Path(train(painted, tmp_path_factory.mktemp("m") / "m", chosen).model))


def test_tags_and_lists_have_heads_of_their_own_by_both_recipes(model: Bundle) -> None:
    """From tags and a list alone, without a category: each tag is mapped to its class, the list's
    values are an attribute, and validation judges by them."""
    heads = {head.name: (len(head.classes), head.several) for head in model.spec.heads}
    assert heads == {"tags": (2, True), "paint": (2, True)}
    assert [block.name for block in model.spec.blocks] == ["a", "g"]
    assert model.decision.tag_heads == {"blue": ("tags", 0), "red": ("tags", 1)}
    assert model.decision.attributes == {"paint": ("blue paint", "red paint")}
    rule = model.decision.tag_rule
    assert rule is not None
    assert rule.rest.head > 0
    network, plain = TorchRuntime(model.network()), model.numpy_network()
    vectors = np.random.default_rng(0).normal(size=(5, model.spec.dim)).astype(np.float32)
    for name, logits in network.logits(vectors).items():
        np.testing.assert_allclose(plain.logits(vectors)[name], logits, rtol=1e-5, atol=1e-5)


def test_an_evaluation_judges_the_labels_by_product(
    model: Bundle, painted: Path, options: TrainingOptions
) -> None:
    report = evaluate(model.path, painted, device="cpu", cache=options.cache)
    found = report["labels"]["tags"]
    assert found["labels"] == 2
    assert found["products"] == sum(n % 10 != 0 for n in range(3, 96, 4))
    assert found["micro_f1"] > 0.8
    row = found["per_label"]["red"]
    low, high = row["recall_interval"]
    assert row["right"] <= min(row["products"], row["suggested"])
    assert low <= row["recall"] <= high
    assert "labels.tags.micro_f1" in report["intervals"]
    assert report["attributes"] == {}
    assert report["tags"]["heads_only_macro_f1"] is not None
