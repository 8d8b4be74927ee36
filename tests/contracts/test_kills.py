"""SIGKILL at any moment of a build, an erasure or a transfer: what served still does, and the next
run finishes.

One kill of each by default; ``CATALENS_KILLS`` asks for more (``make prove-kill KILLS=20``).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.store import open_catalog
from indexer.core.home import Home
from indexer.index.transfer import pull, push
from indexer.index.version import Versions
from indexer.index_build.pipeline import build_index
from indexer.model.bundle import load_bundle, write_bundle
from indexer.model.decision_layer import Decision
from indexer.model.registry import register_model
from indexer.operations.erasure import erase
from indexer.operations.erasure_audit import find_traces, ticket
from tests.indexer.conftest import copy_home
from tests.indexer.index_build.test_pipeline import add_photo, put
from tests.indexer.model.test_bundle import make_network

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("CATALENS_KILLS", "1"))
PRODUCTS, DIM = 200, 40

# Each job slowed down a little at every step that writes, so that a kill at a random time meets any
# of them.
JOBS = """
import sys, time
from pathlib import Path
import numpy as np
from indexer.core import atomic_files
from indexer.index.embedding_store import EmbeddingStore
from indexer.core.home import Home
from tests.contracts import test_kills as own

def slowed(holder, name):
    original = getattr(holder, name)
    def wrapper(*arguments, **options):
        time.sleep(0.02)
        found = original(*arguments, **options)
        time.sleep(0.02)
        return found
    setattr(holder, name, wrapper)

for name in ("fsync", "replace", "rename"):
    slowed(atomic_files.os, name)
slowed(EmbeddingStore, "put")
print("ready", flush=True)
getattr(own, sys.argv[1])(Home(sys.argv[2]), Path(sys.argv[3]))
print("done", flush=True)
"""


class Embedder:
    """A photo's colour, as a vector of the model's numbers."""

    shrink_to = None
    workers = 0

    def embed(self, photos: object) -> np.ndarray:
        colours = np.array([photo.pixels.getpixel((0, 0)) for photo in photos], np.float32)  # type: ignore[attr-defined]
        vectors = np.zeros((len(colours), DIM), np.float32)
        vectors[:, :3], vectors[:, 3] = colours, 60
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def build(home: Home, model: Path) -> None:
    bundle = register_model(home, model)
    build_index(home, bundle=bundle, embedder=Embedder(), activate=True)


def erasing(home: Home, _: Path) -> None:
    erase(home)


def pushing(home: Home, depot: Path) -> None:
    push(home, depot)


def pulling(home: Home, depot: Path) -> None:
    pull(depot, home)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    return [
        write_bundle(
            folder / f"m{seed}", make_network(seed), Decision(), metrics={}, training={}
        ).path
        for seed in (1, 2)
    ]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, models: list[Path]) -> Home:
    """200 products, an active version of the first model."""
    home = Home.create(tmp_path_factory.mktemp("kills") / "home")
    with open_catalog(home) as catalog:
        for i in range(PRODUCTS):
            put(catalog, f"product-{i}", add_photo(home, i))
    build(home, models[0])
    return home


@pytest.fixture
def home(template: Home, tmp_path: Path) -> Home:
    return copy_home(template, tmp_path)


def kill(job: str, home: Home, argument: Path, after_s: float) -> bool:
    """Run ``job`` in a process of its own and kill it; whether it had come through before."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", JOBS, job, str(home.path), str(argument)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(after_s)
        process.send_signal(signal.SIGKILL)
        return "done" in process.stdout.read()


def assert_serves(home: Home) -> str:
    """The active pair is whole: the version verified, its model registered and of the same
    embedding."""
    active = home.active()
    assert active is not None
    manifest = Versions(home).verify(active.index_version)
    assert load_bundle(home.models / active.model_version).embedding_id == manifest.embedding_id
    return active.index_version


@pytest.mark.long
@pytest.mark.parametrize("seed", range(KILLS))
def test_a_killed_model_change_ends_on_the_second_try(
    home: Home, models: list[Path], seed: int
) -> None:
    """Whatever the moment, old or new pair serves; the next build embeds only the rest, and
    everything is found."""
    came_through = kill("build", home, models[1], random.Random(seed).uniform(0.0, 1.5))
    assert assert_serves(home) in ({"v000002"} if came_through else {"v000001", "v000002"})
    build(home, models[1])
    opened = Versions(home).open(assert_serves(home))
    assert opened.manifest.counts == {"entries": PRODUCTS, "products": PRODUCTS}
    assert opened.manifest.embedding_id == load_bundle(models[1]).embedding_id


@pytest.mark.long
@pytest.mark.parametrize("seed", range(KILLS))
def test_a_killed_erasure_leaves_nothing_after_the_next(
    home: Home, models: list[Path], seed: int
) -> None:
    """Old or new versions serve, with a way back; the next run leaves no trace of the product."""
    build(home, models[1])
    with open_catalog(home) as catalog:
        known = ticket(home, catalog, "product-7")
        PhotoStore(home).collect(catalog, catalog.delete("product-7").orphaned)
    kill("erasing", home, home.path, random.Random(seed).uniform(0.0, 1.5))
    assert_serves(home)
    assert Versions(home).previous() is not None
    erase(home)
    assert_serves(home)
    assert len(Versions(home).names()) == 2
    with open_catalog(home) as catalog:
        assert find_traces(home, catalog, "product-7", ticket=known).found == []


@pytest.mark.long
@pytest.mark.parametrize("seed", range(KILLS))
def test_killed_transfers_go_on(home: Home, tmp_path: Path, seed: int) -> None:
    """Of a push and of a pull, nothing is published before it is whole; the next run ends it,
    verified."""
    import shutil

    depot, other = tmp_path / "depot", Home(shutil.copytree(home.path, tmp_path / "other"))
    shutil.rmtree(other.indexes)
    shutil.rmtree(other.models)
    rng = random.Random(seed)
    if not kill("pushing", home, depot, rng.uniform(0.0, 0.6)):
        for folder in (depot / "indexes").glob("v*") if depot.exists() else ():
            assert (folder / "manifest.json").exists()
    push(home, depot)
    kill("pulling", other, depot, rng.uniform(0.0, 0.6))
    for name in Versions(other).names():
        Versions(other).verify(name)
    moved = pull(depot, other)
    Versions(other).verify(moved.version)
    Versions(other).activate(moved.version)
    assert_serves(other)
