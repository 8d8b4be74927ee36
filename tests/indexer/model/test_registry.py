"""Which model 'index build' means, by the rule of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.core.errors import UnknownModelError
from indexer.core.home import Active, Home
from indexer.model import registry
from indexer.model.bundle import Bundle, write_bundle
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
