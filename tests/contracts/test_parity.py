"""Training's evaluation and the service give the same embedding for the same bytes, and so the same
answers."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer.core.home import Home
from indexer.evaluation.evaluate import TaggedPhotos, evaluation_photos
from indexer.feeds.dataset import DatasetRow, read_dataset
from indexer.feeds.importer import import_feed
from indexer.index_build.pipeline import BuildOptions, build_index
from indexer.model.open_runtime import open_embedder
from indexer.model.registry import register_model
from indexer.training.feature_cache import photo_features
from indexer.training.options import TrainingOptions
from indexer.training.train import train
from service.engine import Engine, Query
from service.settings import Settings
from tests.indexer.conftest import KINDS, draw


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos that a careless path treats differently: large and small JPEG, turned by EXIF, CMYK,
    alpha, grey."""
    folder = tmp_path_factory.mktemp("parity")
    for kind in KINDS:
        (folder / kind).mkdir()
        for number in range(8):
            draw(kind, number).save(folder / kind / f"{number}.png")
        large = draw(kind, 50).resize((1500, 1250), Image.Resampling.BICUBIC)
        exif = Image.Exif()
        exif[0x0112] = 6
        large.save(folder / kind / "turned.jpg", exif=exif.tobytes(), quality=90)
        draw(kind, 51).resize((900, 700)).convert("CMYK").save(folder / kind / "cmyk.jpg")
        draw(kind, 52).convert("RGBA").save(folder / kind / "alpha.png")
        draw(kind, 53).convert("L").save(folder / kind / "grey.webp")
    return folder


@pytest.fixture(scope="module")
def home(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    work = tmp_path_factory.mktemp("parity-home")
    train(folder, work / "model", TrainingOptions(epochs=4, device="cpu", cache=work / "cache"))
    home = Home.create(work / "home")
    import_feed(home, folder)
    build_index(
        home,
        bundle=register_model(home, work / "model"),
        activate=True,
        options=BuildOptions(device="cpu"),
    )
    return home


def evaluated(home: Home, rows: list[DatasetRow], cache: Path) -> TaggedPhotos:
    active = home.active()
    assert active is not None
    embedder = open_embedder(register_model(home, home.models / active.model_version), device="cpu")
    return evaluation_photos(
        photo_features(rows, embedder, cache=cache), embedder, np.ones(len(rows), bool)
    )


def test_training_and_serving_give_the_same_embedding(
    home: Home, folder: Path, tmp_path: Path
) -> None:
    """For every photo, the vector that evaluation ranks by is the one the service computes for an
    upload and stores."""
    rows = read_dataset(folder).rows
    photos = evaluated(home, rows, tmp_path)
    with Engine(Settings(home=home.path, device="cpu"), watch=False) as engine:
        snapshot = engine.ready()
        for row, vector in zip(photos.rows, photos.vectors, strict=True):
            pid = engine.catalog.pid(row.product_id)
            assert pid is not None
            stored = snapshot.live.vectors_of(pid)[1][0]
            assert float(stored @ vector) == pytest.approx(1.0, abs=2e-3), row.image
            np.testing.assert_allclose(stored, vector, atol=2e-3, err_msg=str(row.image))
            (found,) = engine.search(Query(image=row.image.read_bytes()), k=1).content.results
            assert found.score == pytest.approx(1.0, abs=2e-3)


def test_training_and_serving_give_the_same_probabilities(
    home: Home, folder: Path, tmp_path: Path
) -> None:
    from indexer.model.calibration import softmax

    rows = [row for row in read_dataset(folder).rows if row.image.suffix != ".png"]
    photos = evaluated(home, rows, tmp_path)
    active = home.active()
    assert active is not None
    bundle = register_model(home, home.models / active.model_version)
    logits = open_embedder(bundle, device="cpu").logits(photos.vectors)["category"]
    chances = softmax(logits, bundle.decision.temperature)
    with Engine(Settings(home=home.path, device="cpu"), watch=False) as engine:
        for row, chance in zip(rows, chances, strict=True):
            found = engine.classify(Query(image=row.image.read_bytes()), top=len(KINDS)).content
            served = {tuple(entry.path): entry.probability for entry in found.categories}
            wanted = {
                category.path: float(p)
                for category, p in zip(bundle.decision.categories, chance, strict=True)
            }
            assert served == pytest.approx(wanted, abs=0.01), row.image


def test_an_upload_and_the_stored_original_have_a_cosine_of_one(home: Home) -> None:
    """The same pixels sent again in another lossless container are the same photo
    to the network."""
    stream = io.BytesIO()
    draw("disc", 0).save(stream, "BMP")
    with Engine(Settings(home=home.path, device="cpu"), watch=False) as engine:
        (best,) = engine.search(Query(image=stream.getvalue()), k=1).content.results
    assert (best.product_id, best.score) == ("disc/0", pytest.approx(1.0, abs=2e-3))
