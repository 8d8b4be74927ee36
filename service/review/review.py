"""Is this listing fit to publish: what its photos show, how good they are, what they repeat and
what forbids them."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.records import Product
from indexer.catalog.store import Catalog
from indexer.core.category_path import format_path
from indexer.core.errors import BadImageError
from indexer.core.home import Home
from indexer.core.native import THREADS
from indexer.core.timer import StageTimer
from indexer.duplicates.perceptual_hash import KINDS
from indexer.imaging.decode import Photo
from indexer.moderation.checker import DetectorResults
from indexer.reviews.store import Preview
from service.inference.queue import InferenceQueue
from service.query.classify import Classifier
from service.query.photo_embedder import PhotoEmbedder
from service.query.query import Query
from service.query.search_cache import SearchCache
from service.query.tags import TagSuggester
from service.review.duplicate_check import DuplicateCheck
from service.review.policy_check import PolicyCheck
from service.review.quality_check import QualityCheck
from service.review.queue import ReviewQueue
from service.settings import Settings
from service.state.snapshots import Snapshot

_SHOWN = 5  # categories
_PREVIEW = 640  # px, long side
_PAIRS = 2000  # of different products, whose cosines say how alike two products are by chance
_BY_CHANCE = 0.95  # photos of one product are more alike than this share of such pairs
_ORDER = {"allow": 0, "review": 1, "block": 2}


@dataclass(frozen=True)
class _EmbeddedPhoto:
    """One photo of a listing: its bytes, its pixels, its embedding [D]; ``shown``: its quality and
    what policies' detectors see in it, found meanwhile."""

    data: bytes
    photo: Photo
    vector: np.ndarray
    shown: Future[tuple[dict[str, Any], DetectorResults | None]]


class ListingReviewer:
    """Part of the engine."""

    def __init__(
        self,
        home: Home,
        catalog: Catalog,
        photos: PhotoStore,
        queue: InferenceQueue,
        seeing: PhotoEmbedder,
        classifying: Classifier,
        tagging: TagSuggester,
        people: ReviewQueue,
        *,
        settings: Settings,
        answer: Callable[..., dict[str, Any]],
        log: Any,
    ) -> None:
        self._catalog, self._seeing = catalog, seeing
        self._classifying, self._tagging, self._people, self._answer = (
            classifying,
            tagging,
            people,
            answer,
        )
        self.quality = QualityCheck(home, settings.quality_profile, settings.quality_floors, log)
        self.policies = PolicyCheck(home, catalog, queue, settings.policy_file, log)
        self.repeats = DuplicateCheck(home, catalog, photos, log)
        self._examining = ThreadPoolExecutor(THREADS, thread_name_prefix="examining")
        self._chance: tuple[str, float] | None = None  # index version, cosine

    def close(self) -> None:
        self._examining.shutdown()
        self.policies.close()
        self.repeats.close()

    def _photos_of(self, snapshot: Snapshot, product: Product) -> list[bytes]:
        """A stored product's photos, whose stored embeddings are not computed again. Raises
        ``UnknownPhotoError``."""
        rows = self._catalog.photos_by_id(product.photo_ids)
        held = [photo_id for photo_id in product.photo_ids if photo_id in rows]
        photos = [self._seeing.stored(rows[photo_id]) for photo_id in held]
        vectors, there = snapshot.live.vectors_at([product.pid] * len(held), held)
        for data, vector, known in zip(photos, vectors, there.tolist(), strict=True):
            if known:
                self._seeing.remember(snapshot, data, None, vector)
        return photos

    def review(
        self,
        snapshot: Snapshot,
        photos: Sequence[bytes],
        clock: StageTimer,
        *,
        product_id: str | None,
        profile: str | None,
        queue: bool = True,
    ) -> dict[str, Any]:
        """As ``SearchEngine.review``."""
        own: set[int] = set()
        if product_id is not None:
            product = self._catalog.get(product_id)
            own = {product.pid}
            photos = photos or self._photos_of(snapshot, product)
        seen = []
        for place, data in enumerate(photos):
            try:
                seen.append(self._see(snapshot, data, profile, clock))
            except BadImageError as error:
                raise type(error)(f"photo {place}: {error}") from error
        parts = [self._one(snapshot, photo, own, clock) for photo in seen]
        groups = self._products(snapshot, [photo.vector for photo in seen])
        body = {
            **_together(parts),
            "products": groups,
            "photos": parts,
            "policy_version": self.policies.version,
        }
        body["duplicates_complete"] = self.repeats.complete
        body["same_product"] = None if len(parts) < 2 else len(groups) == 1
        body["verdict"], body["reasons"] = _verdict(body)
        review_id = None
        if queue and body["verdict"] in ("review", "block"):
            with clock.stage("queue"):
                kept = {
                    **body,
                    "model_version": snapshot.model_version,
                    "index_version": snapshot.index_version,
                }
                previews = [
                    Preview(photo.photo.content_hash, _preview(photo.photo)) for photo in seen
                ]
                review_id = self._people.submit(kept, previews, product_id=product_id)
        return self._answer(snapshot, clock, review_id=review_id, **body)

    def _see(
        self, snapshot: Snapshot, data: bytes, profile: str | None, clock: StageTimer
    ) -> _EmbeddedPhoto:
        """What needs the pixels alone is done on another core, beside the network
        and the searches."""
        begun: list[tuple[Photo, Future[tuple[dict[str, Any], DetectorResults | None]]]] = []

        def examine(photo: Photo) -> tuple[dict[str, Any], DetectorResults | None]:
            # In this order: quality wants the interpreter, which waits for the network now;
            # detectors do without it.
            return self.quality.examine(photo, profile), self.policies.glance(photo, snapshot)

        def opened(photo: Photo) -> None:
            begun.append((photo, self._examining.submit(examine, photo)))

        vector = self._seeing.look(snapshot, data, clock, opened=opened)
        photo, shown = begun[0]
        return _EmbeddedPhoto(data, photo, vector, shown)

    def _one(
        self, snapshot: Snapshot, seen: _EmbeddedPhoto, own: set[int], clock: StageTimer
    ) -> dict[str, Any]:
        source, near = Query(image=seen.data), SearchCache(self._tagging.depths(snapshot.tag_rule))
        categories: list[dict[str, Any]] = []
        unknown = None
        if snapshot.bundle.decision.categories:
            # All of them: a banned category above many small ones is their sum.
            most = len(snapshot.bundle.decision.categories)
            found = self._classifying.classify(snapshot, source, clock, top=most, near=near)
            categories, unknown = found["categories"], found["unknown"]
        tags = self._tagging.tags(snapshot, source, clock, near, own=own)["tags"]
        with clock.stage("duplicates"):
            duplicates = self.repeats.find(seen.photo, seen.vector, snapshot, but=own, near=near)
        with clock.stage("pixels"):
            quality, glance = seen.shown.result()
        with clock.stage("prohibited"):
            prohibited = self.policies.check(
                seen.photo,
                seen.vector,
                embed=lambda crops: self._seeing.embed(snapshot, crops, clock),
                categories=[
                    (format_path(entry["path"]), entry["probability"]) for entry in categories
                ],
                tags=[(entry["tag"], entry["confidence"]) for entry in tags],
                snapshot=snapshot,
                glance=glance,
            )
        return {
            "width": seen.photo.width,
            "height": seen.photo.height,
            "categories": categories[:_SHOWN],
            "unknown": unknown,
            "tags": tags,
            "quality": quality,
            "prohibited": prohibited,
            "duplicates": duplicates,
        }

    def _products(self, snapshot: Snapshot, vectors: Sequence[np.ndarray]) -> list[list[int]]:
        """The photos, by number, that show one product each: joined where more alike than different
        products are."""
        if len(vectors) < 2:
            return [[place] for place in range(len(vectors))]
        cosines = np.stack(vectors) @ np.stack(vectors).T
        alike = cosines >= self._alike_by_chance(snapshot)
        groups: list[set[int]] = []
        for place in range(len(vectors)):
            near = set(np.flatnonzero(alike[place]).tolist()) | {place}
            joined = [group for group in groups if group & near]
            groups = [group for group in groups if not group & near] + [near.union(*joined)]
        return sorted(sorted(group) for group in groups)

    def _alike_by_chance(self, snapshot: Snapshot) -> float:
        """The cosine that few pairs of different products of the catalog reach."""
        if self._chance is None or self._chance[0] != snapshot.index_version:
            base = snapshot.live.base
            rows, count = base.rows, len(base.rows)
            cosine = 1.0 - 1e-3  # a catalog too small to tell: the same photo only
            if count >= 20:
                places = np.random.default_rng(0).integers(0, count, size=(2, _PAIRS))
                left, right = places[:, rows[places[0], 0] != rows[places[1], 0]]
                pairs = np.einsum(
                    "nd,nd->n",
                    *(np.asarray(base.stored[side], np.float32) for side in (left, right)),
                )
                cosine = float(np.quantile(pairs, _BY_CHANCE)) if len(pairs) else cosine
            self._chance = (snapshot.index_version, cosine)
        return self._chance[1]


def _together(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One answer for all photos: the surest category and tags, of everything else the worst.

    ``photo`` in its evidence is the place of the listing's photo that it was found on.
    """
    surest = max(
        parts, key=lambda part: part["categories"][0]["probability"] if part["categories"] else 0.0
    )
    tags: dict[str, dict[str, Any]] = {}
    findings: dict[str, dict[str, Any]] = {}
    policies: dict[str, dict[str, Any]] = {}
    repeats: dict[str, dict[str, Any]] = {}
    for place, part in enumerate(parts):
        for tag in part["tags"]:
            if tag["confidence"] > tags.get(tag["tag"], {"confidence": -1.0})["confidence"]:
                tags[tag["tag"]] = tag
        for finding in part["quality"]["findings"]:
            if finding["score"] > findings.get(finding["code"], {"score": -1.0})["score"]:
                findings[finding["code"]] = {
                    **finding,
                    "evidence": {"photo": place, **finding["evidence"]},
                }
        for result in part["prohibited"]:
            result = {
                **result,
                "evidence": [{"photo": place, **item} for item in result["evidence"]],
            }
            known = policies.get(result["policy"])
            if known is None:
                policies[result["policy"]] = result
                continue
            worse = max(
                known, result, key=lambda entry: (_ORDER[entry["decision"]], entry["score"])
            )
            policies[result["policy"]] = {
                **worse,
                "evidence": known["evidence"] + result["evidence"],
            }
        for repeat in part["duplicates"]:
            known = repeats.get(repeat["product_id"])
            if known is None or _rank(repeat) < _rank(known):
                repeats[repeat["product_id"]] = {
                    **repeat,
                    "evidence": {"photo": place, **repeat["evidence"]},
                }
    return {
        "category": surest["categories"][0] if surest["categories"] else None,
        "categories": surest["categories"],
        "unknown": surest["unknown"],
        "tags": sorted(tags.values(), key=lambda tag: -tag["confidence"]),
        "quality": {
            "profile": parts[0]["quality"]["profile"],
            "score": min(part["quality"]["score"] for part in parts),
            "findings": list(findings.values()),
        },
        "prohibited": list(policies.values()),
        "duplicates": sorted(repeats.values(), key=_rank),
    }


def _rank(repeat: dict[str, Any]) -> tuple[int, float]:
    """The surest kind first, then the highest score."""
    return KINDS.index(repeat["kind"]), -repeat["score"]


def _verdict(body: dict[str, Any]) -> tuple[str, list[str]]:
    """What to do with the listing, and the codes that say why."""
    decisions = {result["policy"]: result["decision"] for result in body["prohibited"]}
    reasons = [
        f"prohibited:{policy}" for policy, decision in decisions.items() if decision != "allow"
    ]
    poor = [
        entry["code"]
        for entry in body["quality"]["findings"]
        if entry["level"] in ("warning", "fail")
    ]
    reasons += [f"quality:{code}" for code in poor]
    reasons += sorted({f"duplicate:{repeat['kind']}" for repeat in body["duplicates"]})
    if body["same_product"] is False:
        reasons.append("photos:different-products")
    if body["unknown"]:
        reasons.append("category:unknown")
    if "block" in decisions.values():
        return "block", reasons
    if "review" in decisions.values():
        return "review", reasons
    return ("improve" if reasons else "publish"), reasons


def _preview(photo: Photo) -> bytes:
    small = photo.pixels.copy()
    small.thumbnail((_PREVIEW, _PREVIEW), Image.Resampling.BILINEAR, reducing_gap=2.0)
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=80)
    return stream.getvalue()
