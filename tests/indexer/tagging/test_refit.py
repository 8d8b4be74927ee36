"""An index build fits tags to its catalog: leave one product out, shrink towards the model, keep
what serves."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from indexer.catalog.records import NewPhoto, ProductInput, Put, Tag
from indexer.catalog.store import Catalog
from indexer.core.errors import DamagedIndexError
from indexer.core.home import Home
from indexer.index.faiss_index import FaissIndex
from indexer.index.version import Versions
from indexer.index.version_files import TAGS, NewVersion
from indexer.model.decision_layer import Decision, TagParams
from indexer.model.spec import Block
from indexer.model.tag_rule import TagGroup, TagRule
from indexer.tagging.fit import f1_scores
from indexer.tagging.refit import refit_tags
from indexer.tagging.samples import ProductPhotos, tag_sample

DIM = 12


@dataclass(frozen=True)
class Spec:
    blocks: tuple[Block, ...] = (Block("g", DIM, 1.0),)
    dim: int = DIM
    several: frozenset[str] = frozenset()


@dataclass(frozen=True)
class FakeBundle:
    """What a refit reads of a bundle."""

    decision: Decision
    spec: Spec = Spec()


def put(catalog: Catalog, number: int, tags: list[Tag], colour: str) -> None:
    photo = NewPhoto(hashlib.sha256(b"%d" % number).hexdigest(), "PNG", 10, 4, 4, "copy", None)
    product = ProductInput(
        f"p{number}", None, None, tuple(tags), {"colour": colour}, (photo.content_hash,)
    )
    catalog.apply([Put(product, [photo])])


def shop(path: Path, count: int, *, noise: float = 0.9) -> tuple[Catalog, np.ndarray, np.ndarray]:
    """Products of three colours, whose vectors are near their colour's; and what a build has of
    them."""
    rng = np.random.default_rng(3)
    centres = np.random.default_rng(5).normal(size=(3, DIM))
    catalog = Catalog.create(path / "catalog.sqlite3")
    vectors = []
    for number in range(count):
        place = int(rng.integers(0, 3))
        colour = ("blue", "green", "red")[place]
        tags = [Tag(colour, "merchant"), *([Tag("offer", "curated")] if rng.random() < 0.2 else [])]
        put(catalog, number, [*tags, Tag("guess", "machine")], colour)
        vectors.append(centres[place] + noise * rng.normal(size=DIM))
    found = np.stack(vectors)
    _, rows = catalog.entries()
    return catalog, rows, (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float16)


def bundle(decision: Decision | None = None) -> FakeBundle:
    return FakeBundle(decision or Decision())


def test_a_model_that_knows_no_tags_gets_a_rule_of_the_catalog(tmp_path: Path) -> None:
    """Columns, strengths and thresholds come from the catalog; a machine's own tags are never
    learned from."""
    catalog, rows, vectors = shop(tmp_path, 240)
    rule = refit_tags(catalog, bundle(), rows, vectors)  # type: ignore[arg-type]
    assert rule is not None
    assert [(column.name, column.tags) for column in rule.groups] == [
        ("colour", ("blue", "green", "red"))
    ]
    assert (set(rule.seen), rule.size) == ({"blue", "green", "red", "offer"}, 240)
    everyone = ProductPhotos(vectors.astype(np.float32), rows[:, 0], rows[:, 1])
    held = [catalog.given_tags()[pid] for pid in rows[:, 0].tolist()]
    sample = tag_sample(everyone, held, everyone, held, Spec().blocks)
    scores = [
        f1_scores(sample.actual, sample.suggested(sample.confidence(one), one))[0]
        for one in (rule, TagRule())
    ]
    assert scores[0] > scores[1]


def test_a_fitted_model_keeps_its_rule_and_takes_the_catalogs_thresholds(tmp_path: Path) -> None:
    """Views, strengths and frequencies stay the model's; 240 products move its threshold, three
    hardly do."""
    catalog, rows, vectors = shop(tmp_path, 240)
    seen = {"blue": 90, "green": 90, "red": 90, "offer": 50, "elsewhere": 5}
    rule = TagRule(rest=TagGroup(k=10, temperature=0.1), seen=seen, size=300, threshold=0.9)
    rule = replace(rule, thresholds={"elsewhere": 0.6})
    made = refit_tags(catalog, bundle(Decision(tag_rule=rule)), rows, vectors)  # type: ignore[arg-type]
    assert made is not None
    assert (made.groups, made.rest, made.seen, made.size) == (
        rule.groups,
        rule.rest,
        rule.seen,
        rule.size,
    )
    assert made.threshold < 0.75
    assert made.bar("elsewhere") == 0.6
    few = rows[:3]
    hardly = refit_tags(catalog, bundle(Decision(tag_rule=rule)), few, vectors[:3])  # type: ignore[arg-type]
    assert hardly is not None
    assert hardly.threshold > 0.84


@dataclass(frozen=True)
class HeadBundle(FakeBundle):
    """A bundle whose heads can be asked without torch, and whose network cannot be opened."""

    def numpy_network(self) -> HeadBundle:
        return self

    def logits(self, vectors: np.ndarray) -> dict[str, np.ndarray]:
        return {"colour": np.zeros((len(vectors), 3), np.float32)}


def test_heads_are_read_without_the_network(tmp_path: Path) -> None:
    """A build with nothing to embed loads no torch for the heads: those that say a third of each
    colour count as that, and no network is opened."""
    catalog, rows, vectors = shop(tmp_path, 240)
    seen = {"blue": 90, "green": 90, "red": 90, "offer": 50}
    group = TagGroup(k=10, temperature=0.1, vote=0.0, head=1.0)
    rule = TagRule(rest=group, seen=seen, size=300, threshold=0.9)
    heads = {tag: ("colour", place) for place, tag in enumerate(("blue", "green", "red"))}
    known = HeadBundle(Decision(tag_rule=rule, tag_heads=heads))
    made = refit_tags(catalog, known, rows, vectors)  # type: ignore[arg-type]
    assert made is not None
    assert made.threshold < 0.5, "with a third of each, .9 would suggest nothing"


def test_a_small_catalog_gets_a_threshold_only(tmp_path: Path) -> None:
    """Twenty products are too few to fit strengths on; the plain votes of the model go on."""
    catalog, rows, vectors = shop(tmp_path, 20)
    plain = Decision(tags=TagParams(k=5, temperature=0.1, threshold=0.3))
    rule = refit_tags(catalog, bundle(plain), rows, vectors)  # type: ignore[arg-type]
    assert rule is not None
    assert (rule.groups, rule.rest) == ((), plain.tagging().rest)


def test_without_tags_there_is_nothing_to_fit(tmp_path: Path) -> None:
    catalog = Catalog.create(tmp_path / "catalog.sqlite3")
    put(catalog, 1, [Tag("guess", "machine")], "red")
    put(catalog, 2, [Tag("red", "merchant")], "red")
    _, rows = catalog.entries()
    assert refit_tags(catalog, bundle(), rows, np.eye(2, DIM)) is None  # type: ignore[arg-type]


def publish(home: Home, rule: TagRule | None) -> str:
    vectors = np.eye(4, DIM, dtype=np.float16)
    return Versions(home).publish(
        NewVersion(
            index=FaissIndex.build("Flat", vectors, device="cpu"),
            vectors=vectors,
            rows=np.array([[number, number] for number in range(4)]),
            embedding_id="e1",
            model_version="m1",
            last_sequence=4,
            tag_rule=rule,
        )
    )


def test_a_version_keeps_its_rule_under_a_checksum(tmp_path: Path) -> None:
    """Read back as written; a changed byte is named; a version without the file, as old ones are,
    has none."""
    home = Home.create(tmp_path / "home")
    rule = TagRule(
        (TagGroup("colour", ("blue", "red"), {"c": 1.0}, head=0.5),), seen={"red": 3}, size=9
    )
    version = publish(home, rule)
    versions = Versions(home)
    assert versions.open(version).tag_rule == rule
    assert versions.open(publish(home, None)).tag_rule is None
    path = versions.folder / version / TAGS
    path.write_bytes(path.read_bytes().replace(b"blue", b"bleu"))
    with pytest.raises(DamagedIndexError, match=TAGS):
        versions.open(version)
