"""The first index of a model is built with its exported form, where that is as good."""

from __future__ import annotations

import weakref
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexer.core.errors import NotAlikeError, UnknownPhotoError
from indexer.core.home import Home
from indexer.feeds.importer import import_feed
from indexer.imaging import photo_sequence
from indexer.imaging.decode import Photo, decode_photo
from indexer.index.embedding_store import EmbeddingStore
from indexer.model.openvino_runtime import openvino
from indexer.model.registry import pretrained
from indexer.operations import automatic_export
from indexer.operations.automatic_export import choose_exported
from indexer.training import export
from tests.indexer.conftest import KINDS, copy_home, draw

pytestmark = pytest.mark.skipif(openvino() is None, reason="OpenVINO is not installed")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """36 drawn photos in three categories, imported; no index yet."""
    folder = tmp_path_factory.mktemp("shop")
    for kind in KINDS:
        (folder / "photos" / kind).mkdir(parents=True)
        for seed in range(12):
            draw(kind, seed).save(folder / "photos" / kind / f"{seed}.png")
    home = Home.create(folder / "home")
    import_feed(home, folder / "photos")
    return home


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(automatic_export, "LEAST_PHOTOS", 30)
    monkeypatch.setattr(automatic_export, "_CLASSES", ("fp32",))


def test_a_model_is_exported_once_before_its_first_index(
    shop: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exported form is registered, named with its figures, and found again; few photos are held
    meanwhile, however many calibrate and judge it."""
    held: list[int] = [0]

    def decode(*arguments: Any, **options: Any) -> Photo:
        photo = decode_photo(*arguments, **options)
        held.append(held[-1] + 1)
        weakref.finalize(photo, lambda: held.append(held[-1] - 1))
        return photo

    monkeypatch.setattr(export, "_PORTION", 4)
    monkeypatch.setattr(photo_sequence, "decode_photo", decode)
    # Of hard-edged drawings of 120 px, cutting at whole px costs more than of photos.
    monkeypatch.setitem(export.TOLERANCE, "fp32", 0.99)
    home = copy_home(shop, tmp_path)
    bundle = pretrained(home)
    choice = choose_exported(home, bundle, device="cpu")
    assert choice.bundle.exported
    assert choice.bundle.training["exported_from"] == bundle.model_version
    assert (choice.reason or "").startswith("exported as fp32: ")
    assert choice.bundle.path.parent == home.models
    # Those of a portion, beside those of the one before.
    assert 4 <= max(held) <= 9
    again = choose_exported(home, bundle, device="cpu")
    assert (again.bundle.model_version, again.reason) == (
        choice.bundle.model_version,
        "exported before as fp32",
    )
    assert choose_exported(home, choice.bundle, device="cpu").reason is None


def test_a_photo_that_is_erased_meanwhile_leaves_the_model_as_it_is(
    shop: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could be decoded at first, and is gone when it is asked for again."""

    def erased(*_: object, **__: object) -> Photo:
        raise UnknownPhotoError("photo 7: its file is gone")

    home = copy_home(shop, tmp_path)
    monkeypatch.setattr(photo_sequence, "decode_photo", erased)
    choice = choose_exported(home, pretrained(home), device="cpu")
    assert not choice.bundle.exported
    assert choice.reason == "not exported: photo 7: its file is gone"


@pytest.mark.parametrize("obstacle", ["vectors", "few", "unlike", "gpu"])
def test_a_model_stays_as_it_is_where_its_export_would_not_help(
    obstacle: str, shop: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vectors that are there already, too few photos, an export that is not near enough, a GPU:
    each is named."""
    home = copy_home(shop, tmp_path)
    bundle = pretrained(home)
    device = "cpu"
    if obstacle == "vectors":
        with closing(
            EmbeddingStore(home.embeddings, bundle.embedding_id, bundle.spec.dim)
        ) as store:
            store.put(np.array([1]), np.eye(1, bundle.spec.dim, dtype=np.float32))
        word = "holds vectors of the model itself"
    elif obstacle == "few":
        monkeypatch.setattr(automatic_export, "LEAST_PHOTOS", 37)
        word = "36 photos are too few"
    elif obstacle == "unlike":

        def refuse(*_: object, **__: object) -> None:
            raise NotAlikeError("int8: mean cosine 0.5")

        monkeypatch.setattr(export, "export_bundle", refuse)
        word = "not exported: int8: mean cosine 0.5"
    else:
        device = "cuda"
        word = "it runs on the GPU"
    choice = choose_exported(home, bundle, device=device)
    assert choice.bundle.model_version == bundle.model_version
    assert word in (choice.reason or "")
    assert [path.name for path in home.models.iterdir()] == [bundle.model_version]
