"""From catalog to version: only what is new is embedded, a killed build goes on, a bad photo costs
only itself."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.records import NewPhoto, ProductInput, Put
from indexer.catalog.store import Catalog, open_catalog
from indexer.core.errors import BadRequestError, BusyError, UnknownModelError
from indexer.core.home import Home
from indexer.core.progress import OnStage, no_progress
from indexer.imaging.decode import Photo, decode_photo
from indexer.index.live import LiveIndex
from indexer.index.version import Versions
from indexer.index_build import pipeline
from indexer.index_build.cost_estimate import CostRates, Peak
from indexer.index_build.pipeline import BuildOptions, BuildReport, build_index
from indexer.model.decision_layer import Decision
from indexer.model.spec import Block
from tests.indexer.conftest import copy_home

DIM = 6


@dataclass(frozen=True)
class Spec:
    dim: int = DIM
    blocks: tuple[Block, ...] = ()

    def block(self, name: str) -> Block | None:
        return next((block for block in self.blocks if block.name == name), None)


@dataclass(frozen=True)
class FakeBundle:
    """What a build reads of a bundle."""

    embedding_id: str = "e1"
    model_version: str = "m1"
    spec: Spec = Spec()
    decision: Decision = field(default_factory=Decision)


class FakeEmbedder:
    """A photo's colour, as a unit vector. Stops (as a killed process would) after ``stop_after``
    photos."""

    shrink_to = None

    def __init__(self, stop_after: int | None = None) -> None:
        self.seen: list[str] = []
        self._stop_after = stop_after

    def embed(self, photos: Sequence[Photo]) -> np.ndarray:
        if self._stop_after is not None and len(self.seen) + len(photos) > self._stop_after:
            raise KeyboardInterrupt
        self.seen += [photo.content_hash for photo in photos]
        return np.stack([vector_of(photo.pixels.getpixel((0, 0))) for photo in photos])  # type: ignore[arg-type]


def vector_of(colour: tuple[int, int, int]) -> np.ndarray:
    vector = np.array([*colour, 255 - colour[0], 40, 7], dtype=np.float32)
    return vector / np.linalg.norm(vector)


def colour(i: int) -> tuple[int, int, int]:
    return (i * 37 % 256, i * 91 % 256, i * 53 % 256)


def add_photo(home: Home, i: int) -> NewPhoto:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), colour(i)).save(buffer, "PNG")
    data = buffer.getvalue()
    return PhotoStore(home).add(data, decode_photo(data))


def put(catalog: Catalog, product_id: str, *photos: NewPhoto) -> int:
    product = ProductInput(
        product_id, None, None, (), {}, tuple(photo.content_hash for photo in photos)
    )
    (written,) = catalog.apply([Put(product, photos)])
    return written.pid  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """150 products with one photo each, one more with two of these photos."""
    home = Home.create(tmp_path_factory.mktemp("build") / "home")
    with open_catalog(home) as catalog:
        photos = [add_photo(home, i) for i in range(150)]
        for i, photo in enumerate(photos):
            put(catalog, f"p{i}", photo)
        put(catalog, "both", photos[3], photos[4])
    return home


@pytest.fixture
def home(template: Home, tmp_path: Path) -> Home:
    return copy_home(template, tmp_path)


def build(
    home: Home,
    embedder: FakeEmbedder | None = None,
    *,
    bundle: dict[str, str] | None = None,
    activate: bool = False,
    progress: OnStage = no_progress,
    **options: Any,
) -> BuildReport:
    return build_index(
        home,
        FakeBundle(**bundle or {}),  # type: ignore[arg-type]
        BuildOptions(**options),
        activate=activate,
        progress=progress,
        embedder=embedder or FakeEmbedder(),  # type: ignore[arg-type]
    )


def live(home: Home, version: str | None) -> LiveIndex:
    assert version is not None
    return LiveIndex(Versions(home).open(version))


def test_every_photo_of_every_product_is_an_entry(home: Home) -> None:
    """A photo two products share is embedded once and found for both; the report and the manifest
    count alike."""
    embedder = FakeEmbedder()
    report = build(home, embedder)
    assert (report.version, report.entries, report.products) == ("v000001", 152, 151)
    assert (report.embedded, report.reused, report.to_embed, report.skipped) == (150, 0, 0, [])
    assert len(embedder.seen) == len(set(embedder.seen)) == 150
    assert (report.recipe, report.recall["at_10"]) == ("Flat", 1.0)
    manifest = Versions(home).manifest("v000001")
    assert manifest.counts == {"entries": 152, "products": 151}
    assert (manifest.embedding_id, manifest.model_version, manifest.last_sequence) == (
        "e1",
        "m1",
        151,
    )
    with open_catalog(home) as catalog:
        index = live(home, report.version)
        for i in (0, 3, 4, 149):
            expected = [catalog.pid(f"p{i}")] + ([catalog.pid("both")] if i in (3, 4) else [])
            hits = index.search(vector_of(colour(i))[None], 2)[0]
            assert hits.pids[: len(expected)].tolist() == expected
            assert hits.scores[: len(expected)].min() >= 0.999


def test_second_build_embeds_only_what_is_new(home: Home) -> None:
    """Known photos are not looked at again; a model with another embedding starts anew."""
    build(home)
    with open_catalog(home) as catalog:
        new = add_photo(home, 200)
        put(catalog, "new", new)
    embedder = FakeEmbedder()
    report = build(home, embedder)
    assert embedder.seen == [new.content_hash]
    assert (report.version, report.embedded, report.reused, report.entries) == (
        "v000002",
        1,
        150,
        153,
    )
    other = FakeEmbedder()
    assert build(home, other, bundle={"embedding_id": "e2", "model_version": "m2"}).embedded == 151
    assert len(other.seen) == 151
    relabelled = FakeEmbedder()  # another decision layer over the same vectors
    assert build(home, relabelled, bundle={"model_version": "m3"}).embedded == 0
    assert relabelled.seen == []


def test_killed_build_goes_on_where_it_stopped(home: Home) -> None:
    """A kill loses at most a chunk of 64; the next build embeds only the rest and publishes the
    first version."""
    first, second = FakeEmbedder(stop_after=100), FakeEmbedder()
    with pytest.raises(KeyboardInterrupt):
        build(home, first)
    assert Versions(home).names() == []
    report = build(home, second)
    assert len(first.seen) - 64 <= report.reused == 64
    assert report.embedded == len(second.seen) == 86
    assert report.entries == 152


def test_unreadable_photo_is_reported_and_the_rest_goes_on(home: Home) -> None:
    """A photo whose file is gone or was changed costs its own entries, named; a later build picks
    it up again."""
    with open_catalog(home) as catalog:
        gone, changed = (catalog.get(name).photos[0] for name in ("p3", "p9"))
    files = {hash_: next(home.photos.rglob(f"{hash_}*")) for hash_ in (gone, changed)}
    kept = files[gone].read_bytes()
    files[gone].unlink()
    files[changed].write_bytes(b"changed")
    report = build(home)
    assert {skipped.content_hash for skipped in report.skipped} == {gone, changed}
    assert all(
        skipped.content_hash in skipped.reason for skipped in report.skipped if skipped.content_hash
    )
    assert (report.entries, report.products, report.embedded) == (149, 149, 148)
    files[gone].write_bytes(kept)
    again = build(home)
    assert (again.entries, again.embedded, len(again.skipped)) == (151, 1, 1)


def test_dry_run_says_what_it_would_do_and_does_nothing(home: Home) -> None:
    """Entries, photos to embed, and how long it takes: tried on a few photos, none of which is
    stored."""
    report = build(home, dry_run=True)
    assert (report.version, report.entries, report.products, report.to_embed) == (
        None,
        152,
        151,
        150,
    )
    assert (report.recipe, report.seconds) == ("Flat", {})
    assert report.estimated is not None
    assert report.estimated.basis == "trial"
    assert set(report.estimated.seconds) == {"embed", "build", "tags", "publish", "total"}
    assert all(value is not None for value in report.estimated.seconds.values())
    assert report.estimated.memory_bytes > 152 * DIM * 2
    assert Versions(home).names() == []
    first = build(home)
    assert (first.embedded, first.reused) == (150, 0)
    again = build(home, dry_run=True)
    assert again.to_embed == 0
    assert again.estimated is not None
    assert (again.estimated.basis, again.estimated.seconds["embed"]) == ("measured", 0.0)
    assert again.estimated.disk_bytes == first.disk_bytes


def test_a_build_says_what_it_took_beside_what_was_expected(home: Home) -> None:
    """Seconds add up to the total; memory is the process's, disk that of the version's files."""
    build(home)
    report = build(home)
    parts = [report.seconds[stage] for stage in ("embed", "build", "tags", "publish")]
    assert sum(parts) == pytest.approx(report.seconds["total"], abs=0.5)
    assert report.estimated is not None
    assert report.estimated.seconds["total"] is not None
    folder = home.indexes / str(report.version)
    held = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert report.disk_bytes == sum(held.values()) - held["manifest.json"] - held["VERIFIED"]
    assert report.memory_bytes is not None
    assert 50e6 < report.memory_bytes < 64e9


def test_the_network_is_part_of_what_is_told(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is opened before the estimate is made, and remembered for the next one: ``index build``
    told 246 MB and took 1,147."""

    class Loaded(FakeEmbedder):
        engine = "openvino"
        backbone_digest = "none"

        def configure_threads(self) -> None:
            self.held = bytes(1) * 60_000_000

    monkeypatch.setattr("indexer.model.open_runtime.open_embedder", lambda *_, **__: Loaded())
    monkeypatch.setattr(pipeline, "embed_cached", lambda _c, _s, _e, missing: missing)
    monkeypatch.setattr(pipeline, "is_loaded", lambda _engine: False)
    monkeypatch.setattr(pipeline, "expected_engine", lambda *_: "openvino")
    expected: list[int] = []
    monkeypatch.setattr(pipeline, "expect_memory", lambda _what, need: expected.append(need))
    before = Peak().start()
    report = build_index(home, FakeBundle())  # type: ignore[arg-type]
    assert report.estimated is not None
    assert report.embedded == 150
    assert expected == [report.estimated.memory_bytes]
    assert expected[0] > before + 55_000_000
    known = CostRates.load(home).networks["openvino"]
    assert 55e6 < known["opened"] < 500e6
    assert known["working"] < 500e6


def test_a_budget_that_cannot_hold_the_vectors_is_refused(home: Home) -> None:
    """Before anything is embedded, with the least that would do; one that can hold them
    is kept to."""
    embedder = FakeEmbedder()
    with pytest.raises(
        BadRequestError, match=r"a budget of 1,000 bytes is too small.*give at least"
    ):
        build(home, embedder, memory=1000)
    assert embedder.seen == []


def test_progress_counts_what_is_committed(home: Home) -> None:
    """Each stage is heard of from its beginning to its end; photos are counted
    by committed chunks."""
    seen: list[tuple[str, int, int]] = []
    build(home, progress=lambda stage, done, total, note="": seen.append((stage, done, total)))
    assert [entry[1:] for entry in seen if entry[0] == "embed"] == [
        (64, 150),
        (128, 150),
        (150, 150),
    ]
    assert seen[3:] == [
        ("build", 0, 152),
        ("build", 152, 152),
        ("tags", 0, 1),
        ("tags", 1, 1),
        ("publish", 0, 1),
        ("publish", 1, 1),
    ]


def test_empty_catalog_gives_an_empty_version(tmp_path: Path) -> None:
    """A shop may begin with nothing: the index opens, answers nothing and takes
    the first product."""
    home = Home.create(tmp_path / "home")
    open_catalog(home).close()
    report = build(home)
    assert (report.entries, report.products, report.recall["at_10"]) == (0, 0, 1.0)
    index = live(home, report.version)
    assert len(index.search(vector_of((1, 2, 3))[None], 5)[0]) == 0
    index.apply(sequence=1, upserts={1: ([1], vector_of((1, 2, 3))[None])})
    assert index.search(vector_of((1, 2, 3))[None], 5)[0].pids.tolist() == [1]


def test_two_builds_at_once_are_refused(home: Home) -> None:
    """The second builder is told, in plain words, and nothing is mixed."""
    with home.lock("build"), pytest.raises(BusyError, match="build"):
        build(home)


def test_activation_needs_the_registered_model(home: Home) -> None:
    """A version of a model that the home does not have is published but not activated."""
    with pytest.raises(UnknownModelError):
        build(home, activate=True)
    assert Versions(home).names() == ["v000001"]
    assert home.active() is None


@pytest.mark.parametrize("recall", [0.0, 1.5, -1.0])
def test_impossible_recall_is_refused(home: Home, recall: float) -> None:
    """Before anything is embedded."""
    embedder = FakeEmbedder()
    with pytest.raises(BadRequestError, match="recall"):
        build(home, embedder, recall=recall)
    assert embedder.seen == []
