"""The service judges a photo by the very rule that training fitted, with the catalog's own
neighbours."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from indexer.classification.local_outlier import CatalogNeighbourhood, local_closeness
from indexer.classification.open_set import closeness, fit_unknown, is_unknown, rule_logits
from indexer.classification.unknown_refit import local_rule
from indexer.core.timer import StageTimer
from indexer.core.vectors import unit_rows
from indexer.index.product_hits import ProductHits
from indexer.model.decision_layer import Category, Decision
from indexer.model.network import Network
from indexer.model.spec import Block
from service.engine import Engine
from service.query import classify as classify_module
from service.query.classify import classify, is_unknown_kind
from service.query.context import RequestContext
from service.query.photo_embedder import EmbeddedQuery
from service.query.query import Query, SnapshotSelector
from service.query.search_cache import SearchCache
from service.state.snapshot import Snapshot
from tests.service.conftest import photo

DIM, GENERAL = 24, slice(8, 24)


def vectors_of(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Unit rows with two blocks of weight .4 and .6; each class is a direction of the second."""
    block = np.eye(16, dtype=np.float32)[labels] + 0.15 * rng.normal(size=(len(labels), 16)).astype(
        np.float32
    )
    other = rng.normal(size=(len(labels), 8)).astype(np.float32)
    parts = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in (other, block)]
    return np.concatenate([0.4**0.5 * parts[0], 0.6**0.5 * parts[1]], axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def world() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    labels, held = rng.integers(0, 5, 300), rng.integers(0, 5, 80)
    train, checked = vectors_of(labels, rng), vectors_of(held, rng)
    logits = 10 * checked[:, 8:13]
    rule = fit_unknown(train, labels, checked, logits, general=GENERAL)
    assert rule is not None
    strange = vectors_of(np.full(40, 11), rng)
    return {"train": train, "rule": rule, "known": checked, "strange": strange}


class Scores:
    """The category head of ``world``, as the network's owner gives it."""

    def logits(self, vectors: np.ndarray) -> dict[str, np.ndarray]:
        return {"category": 10 * vectors[:, 8:10]}


def snapshot_of(world: dict[str, Any], rule: dict[str, Any] | None) -> Any:
    def search(
        queries: np.ndarray, k: int, *, exclude: Any = (), params: object = None
    ) -> list[Any]:
        scores = -np.sort(-(queries @ world["train"].T), axis=1)[:, :k]
        return [ProductHits(np.arange(len(row)), np.arange(len(row)), row) for row in scores]

    base = SimpleNamespace(unknown=None, around=None)
    live = SimpleNamespace(search=search, product_count=len(world["train"]), base=base)
    decision = Decision(categories=(Category(0, ("a",)), Category(1, ("b",))), unknown=rule)
    start, stop = rule["columns"] if rule else (0, 8)
    blocks = [Block("a", start, 0.5)] * bool(start) + [Block("g", stop - start, 0.5)]
    spec = replace(Network.frozen_spec("resnet18"), blocks=tuple(blocks))
    bundle: Any = SimpleNamespace(decision=decision, spec=spec)
    return Snapshot("v000001", bundle, Scores(), live, cast("Any", None))


def context(snapshot: Any) -> RequestContext:
    return RequestContext(snapshot, StageTimer(), SearchCache(), 10.0)


def test_strangers_are_called_unknown_and_known_kinds_are_not(world: dict[str, Any]) -> None:
    snapshot = snapshot_of(world, world["rule"])
    trained = Category(0, ("a",))

    def share(vectors: np.ndarray) -> float:
        return float(
            np.mean(
                [
                    is_unknown_kind(
                        context(snapshot), v[None], 10 * v[None, 8:13], trained, frozenset()
                    )
                    for v in vectors
                ]
            )
        )

    assert share(world["strange"]) > 0.9
    assert share(world["known"]) < 0.12


def test_the_service_s_neighbours_are_those_of_the_fit(world: dict[str, Any]) -> None:
    """Searching with one block alone gives the block's own cosines, so threshold and signal have
    one unit."""
    rule = {**world["rule"], "mix": [0.0, 0.0, 1.0, 0.0]}
    snapshot = snapshot_of(world, rule)
    near = closeness(world["known"], world["train"], GENERAL)
    for vector, wanted in zip(world["known"][:20], near, strict=False):
        read = rule_logits(vector[None], np.zeros((1, 5)), rule)
        rule_at = {**rule, "threshold": float((rule["mean"][2] - wanted) / rule["spread"][2])}
        above, below = (
            {**rule_at, "threshold": rule_at["threshold"] + step} for step in (-1e-3, 1e-3)
        )
        assert is_unknown(read[0], float(wanted), above)
        for bar, said in ((above, True), (below, False)):
            snapshot.bundle.decision = Decision(
                categories=snapshot.bundle.decision.categories, unknown=bar
            )
            assert (
                is_unknown_kind(
                    context(snapshot),
                    vector[None],
                    np.zeros((1, 5)),
                    Category(0, ("a",)),
                    frozenset(),
                )
                is said
            )


def test_the_service_counts_by_what_the_build_measured(world: dict[str, Any]) -> None:
    """Of a version that knows how near its products lie, each product judged without itself; a
    model whose rule does not say how that counts answers as before."""
    vectors = world["train"].astype(np.float16)
    rows = np.stack([np.arange(len(vectors))] * 2, 1)
    around = CatalogNeighbourhood.build(rows, vectors, (GENERAL.start, GENERAL.stop))
    assert around is not None
    snapshot = snapshot_of(world, world["rule"])
    live = cast("Any", snapshot.live)
    live.base.around, live.base.stored, live.base.rows = around.column, vectors, rows
    live.products, live.sequence = rows[:, 0], 1
    live.still_stored = lambda pids: np.ones(len(pids), bool)
    none = np.zeros(0, np.int64)
    live.newer_products = lambda: (none, none, np.zeros((0, DIM), np.float32))
    asked = vectors[:40].astype(np.float32)
    block = unit_rows(asked[:, GENERAL])
    near = local_closeness(block, around.products, frozenset())
    rule = local_rule(world["rule"], near) | {"mix": [0.0, 0.0, 1.0, 0.0], "products": 300}

    def said(place: int, without: frozenset[int]) -> bool:
        logits = np.zeros((1, 5))
        ctx = context(snapshot)
        return is_unknown_kind(ctx, asked[place][None], logits, Category(0, ("a",)), without)

    alone = local_closeness(block[:1], around.products, {0})[0]
    for wanted, without in ((near[0], frozenset[int]()), (alone, frozenset({0}))):
        bar = (rule["mean"][2] - wanted) / rule["spread"][2]
        for step, known in ((-1e-3, True), (1e-3, False)):
            live.base.unknown = rule | {"threshold": bar + step}
            assert said(0, without) is known
    old = {name: value for name, value in world["rule"].items() if name != "local_mix"}
    assert snapshot_of(world, old).neighbourhood is None
    before = Snapshot("v000001", snapshot_of(world, old).bundle, Scores(), live, cast("Any", None))
    assert before.unknown_rule == before.bundle.decision.unknown_rule


def test_without_a_rule_and_for_a_class_of_a_few_photos_nothing_is_unknown(
    world: dict[str, Any],
) -> None:
    strange, trained, fewshot = world["strange"][:1], Category(0, ("a",)), Category(7, ("new",), ())
    assert not is_unknown_kind(
        context(snapshot_of(world, None)), strange, strange[:, 8:13], trained, frozenset()
    )
    ctx = context(snapshot_of(world, world["rule"]))
    assert not is_unknown_kind(ctx, strange, strange[:, 8:13], fewshot, frozenset())


def test_a_photo_shows_its_attributes_with_probabilities(shop: Engine) -> None:
    """``classify`` and ``describe`` name the colour of a photo that no product has."""
    asked = Query(image=photo("ring", "green", turn=5))
    shown = shop.classify(asked).content.attributes
    assert [(entry.name, entry.value) for entry in shown] == [("colour", "green")]
    assert 0.2 < shown[0].probability <= 1
    assert shop.describe(asked).content.attributes == shown


def test_an_unknown_kind_has_no_category_but_the_nearest_kinds(world: dict[str, Any]) -> None:
    """By an index version whose build fitted the rule; what it fitted holds in place of the
    model's. Versions from before give categories all the same."""
    snapshot = snapshot_of(world, world["rule"])
    asked = EmbeddedQuery(Query(), {"image": world["strange"][:1]}, frozenset())
    before = classify(context(snapshot), asked)
    assert before.unknown
    assert len(before.categories) == 2
    assert before.nearest_kinds is None
    snapshot.live.base.unknown = {"threshold": world["rule"]["threshold"]}
    now = classify(context(snapshot), asked)
    assert (now.unknown, now.categories) == (True, [])
    assert {kind.label for kind in now.nearest_kinds or []} == {"a", "b"}
    assert len(classify(context(snapshot), asked, withhold=False).categories) == 2
    snapshot.live.base.unknown = {"threshold": 1e9}
    assert not classify(context(snapshot), asked).unknown


def test_no_answer_names_an_unknown_kind(shop: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a category, nor a tag of a kind: classify, describe, tags, batches, objects, reviews
    and what is proposed for a whole catalog follow one rule. Colour stays; policies still weigh
    all."""
    from indexer.feeds.export.proposal import ExportOptions
    from tools.proposals import make_proposals

    asked = Query(image=photo("ring", "green", turn=5))
    assert shop.tags(asked).content.unknown is None
    monkeypatch.setattr(classify_module, "is_unknown_kind", lambda *_: True)
    monkeypatch.setattr(classify_module, "_names_nothing", lambda _: True)
    named, described = shop.classify(asked).content, shop.describe(asked).content
    reviewed = shop.review([photo("ring", "green", turn=5)]).content
    for answer in (named, described, reviewed, reviewed.photos[0]):
        assert (answer.unknown, answer.categories) == (True, [])
        assert next(kind.label for kind in answer.nearest_kinds or []) == "ring"
        assert [entry.name for entry in answer.attributes] == ["colour"]
    assert (reviewed.category, reviewed.tags, described.tags) == (None, [], [])
    assert "category:unknown" in reviewed.reasons
    tags = shop.tags(asked)
    assert (tags.content.tags, tags.to_json()["unknown"]) == ([], True)
    (row,) = shop.batch("classify", [photo("ring", "red", turn=5)]).content.rows
    assert cast("Any", row).content.categories == []
    objects = shop.find_objects(photo("ring", "red", turn=5)).content.objects
    assert objects
    assert all(entry.category is None for entry in objects)
    proposals = make_proposals(shop, ExportOptions(), confidence=0.0)
    proposal = proposals.find("cross-red")
    assert proposal is not None
    assert (proposal.category, proposal.tags) == (None, ())


def test_a_part_of_a_known_product_is_no_stranger(
    shop: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part is of unknown kind where all of its photo is, too; the photo itself is asked alone."""
    data = photo("ring", "tan", turn=7)
    part = Query(image=data, crop=(20, 20, 60, 60))
    known: list[np.ndarray] = []

    def is_strange(_: Any, vectors: np.ndarray, *__: Any) -> bool:
        return not any(np.array_equal(vectors, one) for one in known)

    monkeypatch.setattr(classify_module, "is_unknown_kind", is_strange)
    monkeypatch.setattr(classify_module, "_names_nothing", lambda _: True)
    assert shop.classify(part).content.unknown
    assert shop.tags(part).content.unknown
    with shop._begin(SnapshotSelector()) as ctx:
        known.append(shop.embedder.embed(ctx, Query(image=data)).vectors)
    assert not shop.classify(part).content.unknown
    assert shop.classify(part).content.categories
    assert shop.tags(part).content.unknown is None
    assert not shop.describe(part).content.unknown
    known[:] = [np.zeros_like(known[0])]
    assert shop.classify(Query(image=data)).content.unknown
