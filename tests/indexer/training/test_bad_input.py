"""Training on data as shops have it: thousands of classes, odd attributes, leaks, full disks, paths
of categories."""

from __future__ import annotations

import hashlib
import resource
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from indexer.core.errors import BadDataError, BadModelError, StorageError, TrainingError
from indexer.evaluation.evaluate import evaluate
from indexer.imaging.decode import hash_content
from indexer.imaging.lab_color import NEWEST
from indexer.model import feature_store
from indexer.model.bundle import load_bundle
from indexer.model.feature_store import FeatureCache
from indexer.model.torch_runtime import TorchRuntime
from indexer.training import frozen_graph
from indexer.training.advise import frozen_runtime
from indexer.training.options import TrainingOptions
from indexer.training.train import TrainReport, train
from tests.indexer.conftest import KINDS, draw


def feed(folder: Path, header: str, rows: Sequence[str]) -> Path:
    """A manifest over stand-ins for photos; ``stored`` gives them features, so none is ever
    decoded."""
    file = folder / "feed.csv"
    file.write_text("\n".join([header, *rows]), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def features_id() -> tuple[str, int]:
    return known_features(1)


@pytest.fixture(scope="module")
def attributes_id() -> tuple[str, int]:
    """Of data with attributes, of which one may name a colour."""
    return known_features(NEWEST)


def known_features(colours: int) -> tuple[str, int]:
    runtime = frozen_runtime(device="cpu", colours=colours)
    return feature_store.features_id(runtime), runtime.feature_width


def stored(folder: Path, cache: Path, known: tuple[str, int], features: np.ndarray) -> None:
    """Write ``0.jpg`` ... into ``folder``, whose cached features are the rows of ``features`` [N,
    any]."""
    name, width = known
    store, entries = FeatureCache(cache, name), []
    for number, row in enumerate(features):
        data = f"stand-in {number}".encode()
        (folder / f"{number}.jpg").write_bytes(data)
        value = np.zeros(width, np.float16)
        value[: len(row)] = row
        entries.append((hash_content(data), hashlib.sha256(data).hexdigest(), value))
    store.put(entries)
    store.close()


@pytest.mark.long
def test_a_thousand_classes_of_which_450_have_one_photo(
    tmp_path: Path, features_id: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are trained and judged like any others; what is odd about them is said, shortly."""
    # A quicker form of the network costs as much as all else here, and no photo can be decoded.
    monkeypatch.setattr(frozen_graph, "WORTH_INPUTS", 10**9)
    classes, lonely = 1000, 450
    rng = np.random.default_rng(0)
    counts = np.where(np.arange(classes) < lonely, 1, 4)
    labels = np.repeat(np.arange(classes), counts)
    place = np.concatenate([np.arange(count) for count in counts])
    centres = np.abs(rng.normal(size=(classes, 64)))
    stored(
        tmp_path,
        tmp_path / "cache",
        features_id,
        centres[labels] + 0.05 * rng.normal(size=(len(labels), 64)),
    )
    splits = np.where(place == 2, "validation", np.where(place == 3, "test", "train"))
    data = feed(
        tmp_path,
        "image,category,split",
        [f"{number}.jpg,kind {label},{splits[number]}" for number, label in enumerate(labels)],
    )
    report = train(
        data, tmp_path / "m", TrainingOptions(epochs=8, device="cpu", cache=tmp_path / "cache")
    )
    assert report.categories == classes
    assert report.photos == {"train": lonely + 2 * 550, "validation": 550}
    [note] = [note for note in report.notes if "one training photo" in note]
    assert note.startswith("450 categories")
    assert len(note) < 300
    found = evaluate(tmp_path / "m", data, device="cpu", cache=tmp_path / "cache")
    assert found["n"] == 550
    assert found["hit_rate_at_1"] > 0.9
    assert found["accuracy"] > 0.5
    assert found["instance_hit_rate_at_1"] is None  # the stand-ins cannot be photographed again


def test_attributes_that_are_missing_or_not_numbers_teach_nothing(
    tmp_path: Path, attributes_id: tuple[str, int]
) -> None:
    """NaN, empty cells and numbers have no head and break none; a text among gaps is learned from
    where it stands."""
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    finish = (labels + np.arange(120) // 3) % 2
    features = np.eye(5)[labels] + np.eye(5)[3 + finish] + 0.1 * rng.normal(size=(120, 5))
    stored(tmp_path, tmp_path / "cache", attributes_id, features)
    rows = []
    for number, label in enumerate(labels):
        price = ["nan", "", "NaN", "12.5"][number % 4]
        text = ["", "matt", "gloss"][1 + finish[number]] if number % 5 else ""
        rows.append(
            f"{number}.jpg,kind "
            f"{label},{price},nan,{text},{('train', 'train', 'validation', 'test')[number % 4]}"
        )
    data = feed(tmp_path, "image,category,price,nothing,finish,split", rows)
    report = train(
        data,
        tmp_path / "m",
        TrainingOptions(epochs=12, batch_size=16, device="cpu", cache=tmp_path / "cache"),
    )
    bundle = load_bundle(report.model)
    assert [head.name for head in bundle.spec.heads] == ["category", "finish"]
    assert bundle.decision.attributes == {"finish": ("gloss", "matt")}
    found = evaluate(tmp_path / "m", data, device="cpu", cache=tmp_path / "cache")
    assert found["accuracy"] > 0.9
    assert found["attributes"]["finish"]["head"] > 0.9
    assert "price" not in found["attributes"]


def test_data_of_which_nothing_is_usable_says_why(trained: TrainReport, tmp_path: Path) -> None:
    """A wrong folder of photos: the refusal counts the rows skipped and shows the first."""
    data = feed(tmp_path, "image,category,split", ["i/0.jpg,a,train"] * 3)
    said = "rows skipped: 3, the first: feed.csv:2: there is no file"
    with pytest.raises(BadDataError, match=f"has no labelled train photos; {said}"):
        train(data, tmp_path / "m", TrainingOptions(device="cpu", cache=tmp_path / "cache"))
    with pytest.raises(BadDataError, match=f"has no test photos; {said}"):
        evaluate(Path(trained.model), data, device="cpu", cache=tmp_path / "cache")


def test_copies_and_products_of_training_judge_no_test_photo(
    tmp_path: Path, features_id: tuple[str, int]
) -> None:
    """A test photo that training has, under another name, and one of a product that training names
    are left out."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    stored(
        tmp_path,
        tmp_path / "cache",
        features_id,
        np.eye(2)[labels] + 0.1 * rng.normal(size=(60, 2)),
    )
    split = np.where(
        np.arange(60) < 30, "train", np.where(np.arange(60) < 45, "validation", "test")
    )
    rows = [f"p{number},{number}.jpg,kind {labels[number]},{split[number]}" for number in range(60)]
    data = feed(
        tmp_path,
        "product_id,image,category,split",
        [*rows, "copy,3.jpg,kind 0,test", "p4,59.jpg,kind 1,test"],
    )
    train(data, tmp_path / "m", TrainingOptions(epochs=2, device="cpu", cache=tmp_path / "cache"))
    found = evaluate(tmp_path / "m", data, device="cpu", cache=tmp_path / "cache")
    notes = " ".join(found["notes"])
    assert "'p4'" in notes
    assert "exact copies" in notes
    assert found["n"] == 14  # 15, less 59.jpg, which training now has; "copy" is no sixteenth


def test_a_disk_that_is_full_while_saving_keeps_the_previous_model(
    trained: TrainReport, shapes: Path, feature_cache: Path, tmp_path: Path
) -> None:
    """Real writes of weights fail: the old model is whole, nothing lies about, the file named."""
    cache = Path(shutil.copytree(feature_cache, tmp_path / "cache"))
    old = Path(shutil.copytree(trained.model, tmp_path / "models" / "m"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(StorageError, match=r"embedding\.safetensors"):
            train(shapes, old, TrainingOptions(epochs=1, seed=3, device="cpu", cache=cache))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert load_bundle(old).model_version == trained.model_version
    load_bundle(old).network()
    assert [path.name for path in old.parent.iterdir()] == ["m"]


def test_a_model_edited_by_hand_is_refused_and_the_file_named(
    trained: TrainReport, tmp_path: Path
) -> None:
    """A label changed in an editor: the checksum says so before anything is answered with it."""
    model = Path(shutil.copytree(trained.model, tmp_path / "m"))
    file = model / "decision.json"
    file.write_text(file.read_text().replace("disc", "DISC"))
    with pytest.raises(BadModelError, match=r"decision\.json was changed or damaged .*checksum"):
        load_bundle(model)


def test_paths_of_categories_are_judged_level_by_level(
    shapes: Path, feature_cache: Path, tmp_path: Path
) -> None:
    """A wrong leaf of the right branch is right above it; the same leaf name in two branches is two
    categories."""
    rows = []
    paths = {"disc": "Toys > Round", "square": "Toys > Flat", "stripes": "Cloth > Flat"}
    for kind in KINDS:
        for number in range(10):
            split = "train" if number < 6 else "validation" if number < 8 else "test"
            draw(kind, number).save(tmp_path / f"{kind}{number}.png")
            rows.append(f"{kind}{number}.png,{paths[kind]},{split}")
    data = feed(tmp_path, "image,category,split", rows)
    report = train(
        data,
        tmp_path / "m",
        TrainingOptions(epochs=8, batch_size=8, device="cpu", cache=feature_cache),
    )
    assert report.categories == 3
    categories = load_bundle(report.model).decision.categories
    assert [category.path for category in categories] == [
        ("Cloth", "Flat"),
        ("Toys", "Flat"),
        ("Toys", "Round"),
    ]
    found = evaluate(tmp_path / "m", data, device="cpu", cache=feature_cache)
    top, leaf = found["accuracy_by_level"]
    assert leaf == found["accuracy"]
    assert top >= leaf
    assert found["top5_accuracy"] == 1.0  # of three categories
    assert set(found["per_class"]) == {"Cloth > Flat", "Toys > Flat", "Toys > Round"}
    assert {"accuracy_by_level.0", "accuracy_by_level.1"} <= set(found["intervals"])


def test_one_category_with_attributes_trains_and_without_is_refused(
    tmp_path: Path, attributes_id: tuple[str, int]
) -> None:
    """What tells the photos apart is learned and judged, each head with calibration and abstention;
    a kind made later from a few photos stands against the one; with nothing to learn the refusal
    says what would do."""
    rng = np.random.default_rng(0)
    finish = np.arange(160) % 2
    features = np.eye(5)[finish] + 0.1 * rng.normal(size=(160, 5))
    cache = tmp_path / "cache"
    stored(tmp_path, cache, attributes_id, features)
    splits = ("train", "train", "validation", "test")
    rows = [
        f"{number // 2},{number}.jpg,Rings,{('gloss', 'matt')[finish[number]]},"
        f"{splits[number // 2 % 4]}"
        for number in range(160)
    ]
    data = feed(tmp_path, "sku,image,category,finish,split", rows)
    options = TrainingOptions(epochs=12, batch_size=16, device="cpu", cache=cache)
    bundle = load_bundle(train(data, tmp_path / "m", options).model)
    assert [category.label for category in bundle.decision.categories] == ["Rings"]
    assert bundle.decision.temperature == 1.0
    vectors = rng.normal(size=(3, bundle.spec.dim)).astype(np.float32)
    assert (TorchRuntime(bundle.network()).logits(vectors)["category"] == 0).all()
    found = evaluate(tmp_path / "m", data, device="cpu", cache=cache)
    assert any("knows one category" in note for note in found["notes"])
    finish_figures = found["attributes"]["finish"]
    assert finish_figures["head"] > 0.9
    assert finish_figures["answered"] > 0.9
    assert finish_figures["answered_accuracy"] >= finish_figures["head"]
    assert 0 <= finish_figures["ece"] < 0.2
    assert 0 <= finish_figures["nll"] < 0.5
    assert found["product_accuracy"] == 1.0

    data = feed(tmp_path, "image,category", [f"{number}.jpg,Rings" for number in range(20)])
    with pytest.raises(TrainingError, match=r"one category, 'Rings'.*: add photos of a second"):
        train(data, tmp_path / "m", options)
