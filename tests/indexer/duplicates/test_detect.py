"""Repeats in a home: found with the right kind, nothing computed twice, nothing said of what was
deleted."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.product_fields import NO_FIELDS, ProductFields
from indexer.catalog.records import NewPhoto, ProductInput
from indexer.catalog.store import Catalog, open_catalog
from indexer.core.errors import BadRequestError, NewerFormatError, NoIndexError
from indexer.core.home import Home
from indexer.duplicates import groups, hash_store, product_threshold
from indexer.duplicates.detect import find_repeats, nearest
from indexer.duplicates.groups import find_groups
from indexer.duplicates.hash_store import SignatureIndex, SignatureStore
from indexer.duplicates.product_threshold import _store_rule, load_rule
from indexer.duplicates.same_product import ProductRule
from indexer.duplicates.signature_follower import SignatureFollower
from indexer.imaging import decode as images
from indexer.imaging.decode import Photo
from indexer.index.live import LiveIndex
from indexer.index.version import Versions
from indexer.index_build.pipeline import build_index
from indexer.model.decision_layer import Decision
from indexer.model.spec import Block
from indexer.operations import erasure
from indexer.operations.erasure_audit import find_traces, ticket
from tests.indexer.duplicates.test_perceptual_hash import COPIES, drawn

PLAIN = ("resized", "recompressed", "mirrored", "text")  # copies that codes alone find


def png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def add(home: Home, catalog: Catalog, product_id: str, *pictures: Image.Image) -> None:
    photos = [PhotoStore(home).add(data, images.decode_photo(data)) for data in map(png, pictures)]
    put(catalog, product_id, *photos)


def put(
    catalog: Catalog, product_id: str, *photos: NewPhoto, fields: ProductFields = NO_FIELDS
) -> None:
    hashes = tuple(photo.content_hash for photo in photos)
    catalog.put(ProductInput(product_id, None, None, (), {}, hashes, fields=fields), photos=photos)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Ten products; copies of the first in five others; two with one photo; two of
    one white each."""
    home = Home.create(tmp_path / "home")
    with open_catalog(home) as catalog:
        for seed in range(10):
            add(home, catalog, f"p{seed}", drawn(seed))
        for kind in (*PLAIN, "cropped"):
            add(home, catalog, kind, COPIES[kind](drawn(0)))
        add(home, catalog, "the same", drawn(5))
        add(home, catalog, "white", Image.new("RGB", (60, 60), "white"))
        add(home, catalog, "also white", Image.new("RGB", (70, 60), "white"))
    return home


@dataclass(frozen=True)
class Spec:
    dim: int = 216
    blocks: tuple[Block, ...] = (Block("g", 216, 1.0),)

    def block(self, name: str) -> Block | None:
        return next((block for block in self.blocks if block.name == name), None)

    def block_slice(self, name: str) -> slice:
        return slice(0, 216)


@dataclass(frozen=True)
class Bundle:
    embedding_id: str = "e1"
    model_version: str = "m1"
    spec: Spec = Spec()
    decision: Decision = field(default_factory=Decision)


class Embedder:
    """Which colours a photo has and how much of each, but for white: a crop or a
    turn stays near."""

    shrink_to = None

    def embed(self, photos: Sequence[Photo]) -> np.ndarray:
        rows = []
        for photo in photos:
            levels = np.asarray(photo.pixels, np.int64).reshape(-1, 3) // 43
            counts = np.bincount(levels @ [36, 6, 1], minlength=216).astype(np.float32)
            counts[215] = 1
            rows.append(np.sqrt(counts) / np.sqrt(counts.sum()))
        return np.stack(rows)


def index(home: Home, monkeypatch: pytest.MonkeyPatch) -> LiveIndex:
    """Build and activate an index by ``Embedder``."""
    monkeypatch.setattr(groups, "by_version", lambda home, version: Bundle())
    report = build_index(home, bundle=Bundle(), embedder=Embedder())  # type: ignore[arg-type]
    assert report.version is not None
    Versions(home).activate(report.version, model_embedding_id=lambda model: "e1")
    return LiveIndex(Versions(home).open(report.version))


def found(home: Home, **options: object) -> dict[str, list[set[str]]]:
    kinds: dict[str, list[set[str]]] = {}
    for group in find_groups(home, **options).groups:  # type: ignore[arg-type]
        kinds.setdefault(group.kind, []).append(set(group.products))
    return kinds


def test_copies_are_found_with_their_kind(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same bytes are the same photo; copies are nearly the same, crops with an index; others and
    whites are neither."""
    assert found(home) == {"same_photo": [{"p5", "the same"}], "near_same_photo": [{"p0", *PLAIN}]}
    index(home, monkeypatch)
    kinds = found(home)
    assert kinds["same_photo"] == [{"p5", "the same"}]
    assert set().union(*kinds["near_same_photo"]) == {"p0", "cropped", *PLAIN}
    assert {"p0", "cropped", *PLAIN} in kinds["near_same_photo"]


def test_variants_of_one_parent_are_no_repeats(tmp_path: Path) -> None:
    """Sizes that share a photo, or have nearly the same, are not reported; a product of another
    parent that has it too is, beside the first of them."""
    home = Home.create(tmp_path / "home")
    shirt = ProductFields(parent="shirt")
    with open_catalog(home) as catalog:
        store = PhotoStore(home)
        first, second = (
            store.add(data, images.decode_photo(data))
            for data in (png(drawn(0)), png(COPIES["resized"](drawn(0))))
        )
        put(catalog, "shirt-s", first, fields=shirt)
        put(catalog, "shirt-m", first, fields=shirt)
        put(catalog, "shirt-l", second, fields=shirt)
    assert found(home) == {}
    with open_catalog(home) as catalog:
        put(catalog, "copied", first, fields=ProductFields(parent="other shop's shirt"))
    assert found(home) == {
        "same_photo": [{"shirt-s", "copied"}],
        "near_same_photo": [{"shirt-s", "copied"}],
    }
    with open_catalog(home) as catalog:
        catalog.delete("copied")
    assert found(home) == {}


def test_evidence_says_what_was_seen(home: Home) -> None:
    """Each pair has its agreement, the threshold, bits and whether it is mirrored; flat photos are
    counted."""
    report = find_groups(home)
    (group,) = [group for group in report.groups if group.kind == "near_same_photo"]
    assert group.photos[0]["products"] == ["p0"]
    by_product = {photo["products"][0]: photo for photo in group.photos[1:]}
    assert {name for name, photo in by_product.items() if photo["evidence"]["mirrored"]} == {
        "mirrored"
    }
    assert all(
        photo["score"] >= photo["evidence"]["threshold"] == 0.74 for photo in by_product.values()
    )
    assert (
        0
        <= by_product["recompressed"]["evidence"]["hamming"]
        < by_product["text"]["evidence"]["hamming"]
        <= 64
    )
    assert (report.photos, report.signed, report.flat) == (17, 17, 2)
    assert any("no active index" in note for note in report.notes)


def test_nothing_is_computed_twice(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was stopped goes on where it was; a second one decodes nothing."""
    monkeypatch.setattr(hash_store, "_CHUNK", 4)
    seen: list[str] = []
    decode = images.decode_photo

    def watched(data: bytes, **options: object) -> Photo:
        photo = decode(data, **options)  # type: ignore[arg-type]
        seen.append(photo.content_hash)
        if len(seen) == 10:
            raise KeyboardInterrupt
        return photo

    monkeypatch.setattr(hash_store, "decode_photo", watched)
    monkeypatch.setattr(hash_store, "decoding_threads", lambda most: 1)
    with pytest.raises(KeyboardInterrupt):
        find_groups(home)
    with closing(SignatureStore(home)) as store:
        kept = len(store.ids())
    assert kept in (4, 8)
    begun = len(seen)
    assert find_groups(home).signed == 17 - kept
    assert len(seen) == begun + 17 - kept
    assert find_groups(home).signed == 0
    assert len(seen) == begun + 17 - kept


def test_a_photo_that_is_gone_costs_only_itself(home: Home) -> None:
    """It is named with its reason, and the rest is compared."""
    with open_catalog(home) as catalog:
        row = catalog.photo(catalog.get("text").photos[0])
        assert row is not None
    (home.photos / row.content_hash[:2] / row.content_hash[2:4] / row.content_hash).write_bytes(
        b"torn"
    )
    report = find_groups(home)
    assert [photo.content_hash for photo in report.skipped] == [row.content_hash]
    assert "was changed" in report.skipped[0].reason
    assert {"p0", "resized", "recompressed", "mirrored"} in [
        set(group.products) for group in report.groups
    ]


def test_an_erased_photo_leaves_no_signature(home: Home) -> None:
    """After erasure no signature of it is in the file; before, the search for traces says so."""
    find_groups(home)
    with open_catalog(home) as catalog:
        photo_id = catalog.get("mirrored").photo_ids[0]
        known = ticket(home, catalog, "mirrored")
        with closing(SignatureStore(home)) as store:
            there, thumbs = store.get([photo_id])
        assert there.all()
        PhotoStore(home).collect(catalog, catalog.delete("mirrored").orphaned)
        left = {
            entry["what"] for entry in find_traces(home, catalog, "mirrored", ticket=known).found
        }
        assert "1 signatures of deleted photos" in left
    assert set().union(*found(home)["near_same_photo"]) == {"p0", "resized", "recompressed", "text"}
    assert erasure.erase(home).signatures == 1
    with closing(SignatureStore(home)) as store:
        assert photo_id not in store.ids()
        assert len(store.ids()) == 16
    assert thumbs.tobytes()[1000:1400] not in home.signatures_file.read_bytes()
    with open_catalog(home) as catalog:
        assert find_traces(home, catalog, "mirrored", ticket=known).found == []


def test_an_upload_is_told_what_it_repeats(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """By bytes, by code and, given its neighbours, by embedding; one answer for each product, the
    surest kind first."""
    live = index(home, monkeypatch)
    with open_catalog(home) as catalog, closing(SignatureStore(home)) as store:
        signed = SignatureIndex.open(catalog, PhotoStore(home), store)

        def ask(
            picture: Image.Image, *, near: bool = False, **options: object
        ) -> list[tuple[str, str]]:
            photo = images.decode_photo(png(picture))
            close = nearest(live, Embedder().embed([photo]), Spec()) if near else ()  # type: ignore[arg-type]
            repeats = find_repeats(catalog, signed, store, photo, neighbours=close, **options)  # type: ignore[arg-type]
            return [
                (repeat.kind + "?" * (not repeat.is_claimed), repeat.product_id)
                for repeat in repeats
            ]

        assert ask(drawn(5)) == [("same_photo", "p5"), ("same_photo", "the same")]
        assert ask(drawn(99), near=True) == []
        assert ask(Image.new("RGB", (61, 61), "white"), near=True) == []
        assert ask(COPIES["mirrored"](drawn(7))) == [("near_same_photo", "p7")]
        crop = COPIES["cropped"](drawn(8))
        assert ask(crop) == []
        assert ask(crop, near=True) == [("near_same_photo", "p8")]
        assert ask(crop, near=True, exclude=[catalog.pid("p8")]) == []
        rule = ProductRule(0.05, "", precision=0.9, recall=0.5, photos=30)
        alike = ask(drawn(99), near=True, rule=rule)
        assert alike
        assert {kind for kind, _ in alike} == {"same_product?"}
        sure = ask(drawn(99), near=True, rule=replace(rule, is_claimed=True))
        assert {kind for kind, _ in sure} == {"same_product"}
        # Writes since are followed, what was deleted is not named.
        add(home, catalog, "new", COPIES["resized"](drawn(7)))
        catalog.delete("p7")
        follower = SignatureFollower(home, catalog, PhotoStore(home))
        while not follower.follow_some():
            pass
        signed = follower.index
        assert signed.sequence == catalog.last_sequence()
        assert ask(COPIES["mirrored"](drawn(7))) == [("near_same_photo", "new")]


def test_one_product_s_own_photos_repeat_nobody(tmp_path: Path) -> None:
    """A product with a photo and its mirror image is no group; the same pair in two products is
    one."""
    home = Home.create(tmp_path / "home")
    with open_catalog(home) as catalog:
        add(home, catalog, "one", drawn(1), COPIES["mirrored"](drawn(1)))
        assert find_groups(home).groups == []
        add(home, catalog, "two", COPIES["resized"](drawn(1)))
    (group,) = find_groups(home).groups
    assert set(group.products) == {"one", "two"}


def test_the_threshold_of_one_product_is_fitted_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With several photos of a product it is fitted on them and stored; too few and no network: not
    claimed."""
    home = Home.create(tmp_path / "home")
    with open_catalog(home) as catalog:
        for seed in range(60):
            crop = drawn(seed).crop((40, 40, 240, 240)).rotate(4, fillcolor="white")
            add(home, catalog, f"p{seed}", drawn(seed), crop)
        add(home, catalog, "again", drawn(3).rotate(5, fillcolor="white"))
    index(home, monkeypatch)
    report = find_groups(home)
    assert report.rule is not None
    assert report.rule.threshold is not None
    assert (report.rule.photos, report.rule.positives) == (60, "photos of one product")
    assert report.rule.least_precision >= 0.9  # type: ignore[operator]
    assert (report.rule.is_claimed, report.suggestions) == (True, [])
    assert load_rule(home, "e1") == report.rule
    groups = [set(group.products) for group in report.groups if group.kind == "same_product"]
    assert {"p3", "again"} in groups
    assert len(groups) <= 1 + 6  # a tenth of sixty


def turned(
    catalog: Catalog, photos: PhotoStore, network: Embedder, ids: np.ndarray, **_: int
) -> tuple[np.ndarray, np.ndarray]:
    """Photos of a catalog, each a little turned, in place of recaptures."""
    rows = catalog.photos_by_id(ids.tolist())
    pictures = [
        images.decode_photo(photos.read(rows[photo_id])).pixels.rotate(4, fillcolor="white")
        for photo_id in ids.tolist()
    ]
    return ids, network.embed([images.decode_photo(png(picture)) for picture in pictures])


def test_photos_shot_again_by_simulation_claim_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no product has a second photo of its own, what is alike is a suggestion that says on
    what it stands; a rule from before that is fitted anew."""
    home = Home.create(tmp_path / "home")
    with open_catalog(home) as catalog:
        for seed in range(60):
            add(home, catalog, f"p{seed}", drawn(seed))
        add(home, catalog, "again", drawn(3).rotate(5, fillcolor="white"))
    index(home, monkeypatch)
    monkeypatch.setattr(product_threshold, "embed_recaptures", turned)
    before = ProductRule(0.5, "", precision=0.95, photos=61, version="v000001")
    _store_rule(home, "e1", before)
    report = find_groups(
        home, kinds=["same_product"], embedder=cast(Any, lambda bundle: Embedder())
    )
    assert report.groups == []
    assert {"p3", "again"} in [set(group.products) for group in report.suggestions]
    rule = report.rule
    assert rule is not None
    assert rule != before
    assert (rule.is_claimed, rule.positives, rule.photos) == (False, "photos shot again", 61)
    assert "61 photos that were shot again by simulation" in report.notes[0]
    pair = report.suggestions[0].photos[1]["evidence"]
    assert (pair["measured_on"], pair["least_precision"]) == (61, rule.least_precision)


def test_few_photos_claim_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten products with one photo each say too little: the kind is not claimed, and the note says
    why."""
    index(home, monkeypatch)
    report = find_groups(home, kinds=["same_product"])
    assert report.groups == []
    assert report.notes == ["same_product is not claimed: only 0 products have several photos"]
    report = find_groups(home, kinds=["same_product"], embedder=lambda bundle: Embedder())
    assert report.notes == ["same_product is not claimed: 17 photos to measure with, 30 are needed"]


def test_bad_asking_is_refused(home: Home) -> None:
    """An unknown kind, a kind that needs an index where there is none, a store of
    a newer Catalens."""
    with pytest.raises(BadRequestError, match="twins"):
        find_groups(home, kinds=["twins"])
    with pytest.raises(NoIndexError, match="same_product"):
        find_groups(home, kinds=["same_product"])
    with closing(SignatureStore(home)) as store, store._database.transaction() as sql:
        sql.execute("PRAGMA user_version = 9")
    with pytest.raises(NewerFormatError, match=r"signatures\.sqlite3 has format 9"):
        find_groups(home)
