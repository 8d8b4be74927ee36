"""Which model 'index build' means, by the rule of the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from indexer.core.errors import BadModelError, UnknownModelError
from indexer.core.home import Active, Home
from indexer.core.manifest import Manifest
from indexer.model import registry
from indexer.model.bundle import MANIFEST, Bundle, write_bundle, write_revision
from indexer.model.decision_layer import Decision
from tests.indexer.model.test_bundle import make_network


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home")


def model(tmp_path: Path, seed: int) -> Bundle:
    return write_bundle(
        tmp_path / f"m{seed}", make_network(seed), Decision(), metrics={}, training={"seed": seed}
    )


def test_registering_twice_is_one_model(home: Home, tmp_path: Path) -> None:
    bundle = model(tmp_path, 0)
    first, second = (
        registry.register_model(home, bundle.path),
        registry.register_model(home, bundle.path),
    )
    assert first == second
    assert [entry.model_version for entry in registry.registered(home)] == [bundle.model_version]
    assert home.active() is None  # registering activates nothing


def test_without_any_model_the_shipped_network_is_used(home: Home) -> None:
    bundle = registry.resolve(home, None)
    assert bundle.spec.backbone == "efficientnet_lite0"
    assert (bundle.spec.dim, bundle.spec.heads) == (1280, ())
    assert registry.resolve(home, None) == bundle


def test_the_only_registered_model_is_meant(home: Home, tmp_path: Path) -> None:
    bundle = registry.register_model(home, model(tmp_path, 0).path)
    assert registry.resolve(home, None) == bundle


def test_several_and_none_active_is_an_error_that_lists_them(home: Home, tmp_path: Path) -> None:
    names = [
        registry.register_model(home, model(tmp_path, seed).path).model_version for seed in (0, 1)
    ]
    with pytest.raises(UnknownModelError) as caught:
        registry.resolve(home, None)
    assert all(name in str(caught.value) for name in names)
    home.activate(Active("v000001", names[1]))
    assert registry.resolve(home, None).model_version == names[1]


def test_a_folder_is_registered_on_the_way_and_a_version_is_found(
    home: Home, tmp_path: Path
) -> None:
    bundle = model(tmp_path, 0)
    assert registry.resolve(home, bundle.path).path == home.models / bundle.model_version
    assert registry.resolve(home, bundle.model_version).model_version == bundle.model_version


@pytest.mark.parametrize("ref", ["m0000", "..", ""])
def test_an_unknown_version_lists_the_known_ones(home: Home, tmp_path: Path, ref: str) -> None:
    known = registry.register_model(home, model(tmp_path, 0).path).model_version
    with pytest.raises(UnknownModelError, match=known):
        registry.by_version(home, ref)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_good_copy_replaces_a_damaged_one_and_mends_what_shares_its_files(
    home: Home, tmp_path: Path
) -> None:
    """A revision shares the weights as one file, so one flipped byte breaks both; adding the good
    model again mends both, as the refusal says."""
    good = model(tmp_path, 0)
    known = registry.register_model(home, good.path)
    revision = write_revision(known, replace(known.decision, revision=1), home.models)
    flip(known.path / "embedding.safetensors")
    for name in (known.model_version, revision.model_version):
        with pytest.raises(BadModelError, match=r"embedding\.safetensors.*catalens model add"):
            registry.by_version(home, name)
    assert registry.registered(home) == []
    with pytest.raises(BadModelError, match="catalens model add"):
        registry.resolve(home, None)
    assert registry.register_model(home, good.path) == known
    assert registry.by_version(home, revision.model_version) == revision


def test_a_damaged_manifest_of_a_model_is_replaced(home: Home, tmp_path: Path) -> None:
    """Whatever file it is, and where files are missing."""
    good = model(tmp_path, 0)
    known = registry.register_model(home, good.path)
    for name in (MANIFEST, *known.checksums):
        (known.path / name).unlink()
        assert registry.register_model(home, good.path) == known


def test_an_empty_models_folder_does_not_mean_that_nothing_was_trained(home: Home) -> None:
    """Versions that name a model ask for it; the shipped network is not taken in its place."""
    folder = home.indexes / "v000001"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_bytes(manifest_of("m0123456789abcdef").to_bytes())
    with pytest.raises(UnknownModelError, match=r"m0123456789abcdef.*catalens model add"):
        registry.resolve(home, None)


def manifest_of(model_version: str) -> Manifest:
    return Manifest(
        format=1,
        version="v000001",
        embedding_id="e1",
        model_version=model_version,
        dim=1,
        metric="inner_product",
        recipe="Flat",
        params={},
        counts={},
        last_sequence=0,
        recall={},
        files={},
        created="",
    )
