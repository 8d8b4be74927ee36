"""The served home against a plain-Python model: after any writes, builds, folds, switches and
restarts both agree.

``make prove-live`` runs it long: ``CATALENS_LIVE_RUNS`` and ``CATALENS_LIVE_STEPS`` say how long.
"""

from __future__ import annotations

import functools
import io
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from PIL import Image

from indexer.catalog.records import Delete, Patch, Written
from indexer.catalog.store import open_catalog
from indexer.core.errors import (
    CatalensError,
    StaleVersionError,
    UnknownProductError,
    UnknownVersionError,
)
from indexer.core.home import Home
from indexer.imaging.decode import Photo, hash_content
from indexer.index.version import Versions
from indexer.index_build.pipeline import build_index
from indexer.model.registry import by_version
from indexer.operations.compaction import compact
from indexer.tagging.voting import Voters, suggest_tags
from service.engine import Engine, Query
from service.products.writer import Draft, Upsert, WriteRequest
from service.settings import Settings
from tools.bench.data.generated_home import projected

DIM = 16
RUNS = int(os.environ.get("CATALENS_LIVE_RUNS", "3"))
STEPS = int(os.environ.get("CATALENS_LIVE_STEPS", "10"))


def _photo(number: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (6, 6), (number * 19 % 256, number * 83 % 256, number)).save(stream, "PNG")
    return stream.getvalue()


PHOTOS = [_photo(number) for number in range(10)]
NUMBER = {hash_content(data): number for number, data in enumerate(PHOTOS)}


@functools.cache
def vectors(embedding_id: str) -> np.ndarray:
    """What a model's network makes of each photo: float32 [10, D], unit. The last two photos look
    the same to it."""
    drawn = np.random.default_rng(int(embedding_id[-8:], 16)).standard_normal((len(PHOTOS), DIM))
    drawn[-1] = drawn[-2]
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


class Network:
    """In the place of the real one: it knows the photos by heart."""

    shrink_to = None

    def __init__(self, bundle: Any, *, device: str = "auto", engine: str = "auto") -> None:
        self.embedding_id, self.dim = bundle.embedding_id, bundle.spec.dim

    def configure_threads(self) -> None:
        pass

    def embed(self, photos: Sequence[Photo]) -> np.ndarray:
        return vectors(self.embedding_id)[[NUMBER[photo.content_hash] for photo in photos]]

    def logits(self, given: np.ndarray) -> dict[str, np.ndarray]:
        return {}


@functools.cache
def template() -> tuple[Path, tuple[str, str]]:
    """A home with two models and no product, made once; the models' versions."""
    folder = Path(tempfile.mkdtemp(prefix="catalens-stateful-"))
    home = Home.create(folder / "home")
    return home.path, tuple(projected(home, DIM, seed).model_version for seed in (0, 1))  # type: ignore[return-value]


@dataclass(frozen=True)
class Thing:
    """A product as the model knows it; ``version`` is its external one."""

    photos: tuple[int, ...]
    title: str | None = None
    tags: tuple[str, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    version: int | None = None

    def content(self) -> tuple[Any, ...]:
        return self.photos, self.title, self.tags, self.attributes


IDS = st.sampled_from(["a", "b/c", "d e", "f", "g%2F", "é"])
VERSION = st.one_of(st.none(), st.integers(0, 3))
ATTRIBUTES = st.fixed_dictionaries(
    {},
    optional={
        "price": st.one_of(st.none(), st.integers(0, 3)),
        "colour": st.sampled_from(["red", "blue", None]),
    },
)
PHOTO_LISTS = st.lists(st.integers(0, len(PHOTOS) - 1), min_size=1, max_size=3, unique=True)
TAGS = st.lists(st.sampled_from(["x", "y", "z"]), max_size=2, unique=True)
PUTS = st.builds(
    lambda product_id, photos, title, tags, attributes, version: Upsert(
        product_id,
        Draft(title=title, tags=tuple((tag, "merchant") for tag in tags), attributes=attributes,
              photos=tuple(PHOTOS[number] for number in photos)),
        version,
    ),
    IDS, PHOTO_LISTS, st.sampled_from([None, "t", "u"]), TAGS, ATTRIBUTES, VERSION,
)  # fmt: skip
PATCHES = st.builds(
    lambda product_id, title, tags, attributes, version: Patch(
        product_id,
        {**title, **({} if tags is None else {"tags": tags}), "attributes": attributes},
        version,
    ),
    IDS,
    st.sampled_from([{}, {"title": None}, {"title": "p"}]),
    st.one_of(st.none(), TAGS),
    ATTRIBUTES,
    VERSION,
)
DELETES = st.builds(Delete, IDS, VERSION)
ORDERS = st.one_of(PUTS, PUTS, PATCHES, DELETES)


class Live(RuleBasedStateMachine):
    """``self.shop`` is the model: all that writes should have made. Everything else is the real
    home."""

    @initialize()
    def open(self) -> None:
        self.patched = pytest.MonkeyPatch()
        self.patched.setattr("service.state.snapshots.open_embedder", Network)
        self.patched.setattr("indexer.model.open_runtime.open_embedder", Network)
        path, self.models = template()
        self.folder = Path(tempfile.mkdtemp(prefix="catalens-stateful-"))
        shutil.copytree(path, self.folder / "home")
        self.home = Home(self.folder / "home")
        self.shop: dict[str, Thing] = {}
        self.pids: dict[str, int] = {}
        # by id: the newest external version of which a deletion is remembered
        self.deleted: dict[str, int] = {}
        self.sequence = 0
        self._build(self.models[0], activate=True)
        self.past = [("v000001", self.models[0])]  # activations; a fold takes its version's place
        self.engine = Engine(Settings(home=self.home.path, max_delta=0), watch=False)

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.engine.close()
            self.patched.undo()
            shutil.rmtree(self.folder)

    # -- writes

    def _expected(self, order: WriteRequest) -> str:
        """Do ``order`` to the model; the outcome, or the error's code."""
        known = self.shop.get(order.product_id)
        new = order.external_version
        if known is None and not isinstance(order, Upsert):
            if isinstance(order, Delete):
                self._remember_deleted(order.product_id, new)
            return UnknownProductError.code
        if known is None and new is not None and new < self.deleted.get(order.product_id, new):
            return StaleVersionError.code
        if (
            known is not None
            and new is not None
            and known.version is not None
            and new < known.version
        ):
            return StaleVersionError.code
        if isinstance(order, Delete):
            del self.shop[order.product_id]
            assert known is not None
            self._remember_deleted(order.product_id, known.version if new is None else new)
            self.pids.pop(order.product_id)
            self.sequence += 1
            return "deleted"
        version = new if new is not None else known.version if known else None
        if isinstance(order, Upsert):
            draft = order.draft
            numbers = [
                NUMBER[photo if isinstance(photo, str) else hash_content(photo)]
                for photo in draft.photos
            ]
            given = {
                name: value for name, value in (draft.attributes or {}).items() if value is not None
            }
            thing = Thing(
                tuple(numbers), draft.title, tuple(tag for tag, _ in draft.tags), given, version
            )
            outcome = "added" if known is None else "replaced"
        else:
            assert known is not None
            merged = {**known.attributes, **order.changes["attributes"]}
            thing = replace(
                known,
                title=order.changes.get("title", known.title),
                tags=tuple(order.changes.get("tags", known.tags)),
                attributes={name: value for name, value in merged.items() if value is not None},
                version=version,
            )
            outcome = "patched"
        self.shop[order.product_id] = thing
        if known is not None and known.content() == thing.content():
            return "unchanged"
        self.sequence += 1
        return outcome

    def _remember_deleted(self, product_id: str, version: int | None) -> None:
        if version is not None:
            self.deleted[product_id] = max(version, self.deleted.get(product_id, version))

    def _agree(
        self, orders: Sequence[WriteRequest], results: Sequence[Written | CatalensError]
    ) -> None:
        for order, result in zip(orders, results, strict=True):
            expected = self._expected(order)
            assert (result.outcome if isinstance(result, Written) else result.code) == expected
            if isinstance(result, Written) and expected not in ("unchanged", "deleted"):
                assert result.sequence == self.sequence
                self.pids[order.product_id] = result.pid

    @rule(orders=st.lists(ORDERS, min_size=1, max_size=4))
    def batch(self, orders: list[WriteRequest]) -> None:
        self._agree(orders, self.engine.products.batch(orders).content.outcomes)

    @rule(put=PUTS, by_hash=st.booleans())
    def put(self, put: Upsert, by_hash: bool) -> None:
        """Photos that the catalog has may be named instead of sent."""
        if by_hash:
            photos = tuple(
                name if self.engine.products.has_photo(name := hash_content(photo)) else photo
                for photo in put.draft.photos
                if isinstance(photo, bytes)
            )
            put = replace(put, draft=replace(put.draft, photos=photos))
        self._agree([put], self.engine.products.batch([put]).content.outcomes)

    @rule(orders=st.lists(st.one_of(PATCHES, DELETES), min_size=1, max_size=3))
    def elsewhere(self, orders: list[WriteRequest]) -> None:
        """Another process writes to the catalog; this one is asked with ``min_sequence`` after its
        next look."""
        with open_catalog(self.home) as other:
            self._agree(
                orders, other.apply([order for order in orders if not isinstance(order, Upsert)])
            )
        self.engine.refresh()

    # -- versions

    def _build(self, model: str, *, activate: bool) -> str:
        bundle = by_version(self.home, model)
        report = build_index(self.home, bundle=bundle, activate=activate, embedder=Network(bundle))
        assert report.version is not None
        assert report.last_sequence == self.sequence
        return report.version

    def _activated(self, version: str, model: str, *, instead: bool = False) -> None:
        if instead or self.past[-1][0] == version:
            self.past.pop()
        self.past.append((version, model))

    @rule(which=st.integers(0, 1), activate=st.booleans())
    def build(self, which: int, activate: bool) -> None:
        version = self._build(self.models[which], activate=activate)
        if activate:
            self._activated(version, self.models[which])
        self.engine.refresh()

    @rule()
    def fold(self) -> None:
        version, model = self.past[-1]
        self._activated(compact(self.home, version).version, model, instead=True)
        self.engine.refresh()
        assert self.engine.ready().live.delta_size == 0

    @rule(data=st.data())
    def activate(self, data: st.DataObject) -> None:
        version = data.draw(st.sampled_from(Versions(self.home).names()))
        self._activated(version, Versions(self.home).manifest(version).model_version)
        self.engine.versions.activate(version)

    @rule()
    def roll_back(self) -> None:
        if len(self.past) < 2 or self.past[-2][0] not in Versions(self.home).names():
            with pytest.raises(UnknownVersionError):
                Versions(self.home).rollback()
            return
        before = self.past[-2]
        assert Versions(self.home).rollback() == before[0]
        self._activated(*before)
        self.engine.refresh()

    @rule()
    def collect(self) -> None:
        removed = Versions(self.home).gc()
        assert self.past[-1][0] not in removed
        assert len(self.past) < 2 or self.past[-2][0] not in removed

    @rule()
    def restart(self) -> None:
        self.engine.close()
        self.engine = Engine(Settings(home=self.home.path, max_delta=0), watch=False)

    # -- what must always hold

    def _ranked(self, query: np.ndarray, names: Sequence[str]) -> list[tuple[str, float, int]]:
        """The definition: each product by its best photo; score descending, then age. Ids, scores,
        photos."""
        stored = (
            vectors(self.engine.ready().bundle.embedding_id).astype(np.float16).astype(np.float64)
        )
        best = []
        for name in names:
            scores = [
                (round(float(stored[n] @ query.astype(np.float64)), 7), -i)
                for i, n in enumerate(self.shop[name].photos)
            ]
            score, place = max(scores)
            best.append((-score, self.pids[name], name, self.shop[name].photos[-place]))
        return [(name, min(1.0, -score), photo) for score, _, name, photo in sorted(best)]

    @precondition(lambda self: hasattr(self, "engine"))
    @invariant()
    def answers_are_the_models(self) -> None:
        """Which version and model serve, how many products there are, and what searches find."""
        snapshot = self.engine.ready()
        assert (snapshot.index_version, snapshot.model_version) == self.past[-1]
        if len(snapshot.pending):
            # A version of another model embeds what came since: until then an answer says so.
            said = self.engine.search(Query(image=PHOTOS[0]), k=50).to_json()
            assert said["complete"] is False
            self.engine.refresh()
            snapshot = self.engine.ready()
        assert len(snapshot.pending) == 0
        assert snapshot.live.product_count == len(self.shop)
        assert snapshot.live.sequence == self.engine.last_sequence() == self.sequence
        cheap = sorted(
            name for name, thing in self.shop.items() if thing.attributes.get("price", 9) < 2
        )
        red = sorted(
            name for name, thing in self.shop.items() if thing.attributes.get("colour") == "red"
        )
        for number, names, where in (
            (0, sorted(self.shop), None),
            (8, cheap, {"must": [{"field": "price", "lt": 2}]}),
            (3, red, {"must": [{"field": "colour", "eq": "red"}]}),
        ):
            query = vectors(snapshot.bundle.embedding_id)[number]
            if where is not None and where["must"][0]["field"] not in self.engine.catalog.types():
                continue  # no product ever had it
            found = self.engine.search(
                Query(image=PHOTOS[number]), k=50, filter=where, min_sequence=self.sequence
            ).content.results
            expected = self._ranked(query, names)
            assert [row.product_id for row in found] == [name for name, _, _ in expected]
            np.testing.assert_allclose(
                [row.score for row in found], [score for _, score, _ in expected], atol=3e-6
            )
            looks = [NUMBER[row.photo] for row in found]
            assert [min(n, 8) for n in looks] == [min(photo, 8) for _, _, photo in expected]

    @precondition(lambda self: hasattr(self, "engine"))
    @invariant()
    def products_are_the_models(self) -> None:
        for name in ("a", "b/c", "d e", "f", "g%2F", "é"):
            thing = self.shop.get(name)
            if thing is None:
                with pytest.raises(UnknownProductError):
                    self.engine.products.get(name)
                continue
            stored = self.engine.products.get(name).content
            assert (stored.title, stored.attributes) == (thing.title, thing.attributes)
            assert [tag.tag for tag in stored.tags] == list(thing.tags)
            assert [NUMBER[row.hash] for row in stored.images] == list(thing.photos)
            assert stored.external_version == thing.version

    @precondition(lambda self: hasattr(self, "engine"))
    @invariant()
    def votes_are_the_models(self) -> None:
        """Tags are those that the rule gives when exactly the model's tagged products vote, nearest
        first."""
        snapshot = self.engine.ready()
        query = vectors(snapshot.bundle.embedding_id)[5]
        ranked = self._ranked(query, [name for name, thing in self.shop.items() if thing.tags])
        stored = vectors(snapshot.bundle.embedding_id).astype(np.float16).astype(np.float32)
        near = Voters(
            [self.pids[name] for name, _, _ in ranked],
            np.array([score for _, score, _ in ranked], dtype=np.float32),
            stored[[photo for _, _, photo in ranked]].reshape(len(ranked), DIM),
        )
        tags_of = {self.pids[name]: self.shop[name].tags for name, _, _ in ranked}
        rule_ = snapshot.tag_rule
        expected = suggest_tags(
            [near] * len(rule_.parts), tags_of, rule_, snapshot.bundle.spec.blocks
        )
        found = self.engine.tags(Query(image=PHOTOS[5])).content.tags
        assert {row.tag for row in found} == {entry.tag for entry in expected}
        by_tag = {entry.tag: entry for entry in expected}
        names = {pid: name for name, pid in self.pids.items()}
        for row in found:
            entry = by_tag[row.tag]
            assert row.confidence == pytest.approx(entry.confidence, abs=1e-4)
            voted = {neighbour.product_id: neighbour.score for neighbour in row.neighbours}
            assert voted == pytest.approx(
                {names[pid]: score for pid, score in entry.neighbours}, abs=3e-6
            )


TestLive = Live.TestCase
TestLive.settings = settings(
    max_examples=RUNS,
    stateful_step_count=STEPS,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
