"""What a review judges by: quality profiles, the shop's policies, and the signatures that find repeated photos."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from indexer.catalog.photos import PhotoStore
from indexer.catalog.store import Catalog
from indexer.decisions.quality.examine import examine
from indexer.decisions.quality.profiles import Profile, overall, profile
from indexer.decisions.quality.shop import ShopQuality
from indexer.errors import BadData, BadRequest, BadSettings, CatalensError, OutdatedVersion
from indexer.home import Home
from indexer.images import Photo
from indexer.moderation.checker import Checker, Glance
from indexer.moderation.policy import PolicySet, load_policies
from indexer.moderation.stored import fit_home
from indexer.repeat_groups import load_rule
from indexer.repeats import NEAREST, find_repeats, nearest
from indexer.signatures import SignatureIndex, Signatures, SignatureStore
from service.answers import image_url
from service.batching import InferenceQueue
from service.near import Near
from service.serving import Snapshot

_PORTION = 8  # photos embedded between two looks at the queue of requests
SHOP_QUALITY = "quality.json"  # in the home: how the shop's own photos score, written by an audit


class QualityJudge:
    """Examines photos by a profile, beside the shop's own percentiles where an audit has measured them."""

    def __init__(self, home: Home, name: str, changes: Mapping[str, Mapping[str, float]], log: Any) -> None:
        self._changes = dict(changes)
        self._default = profile(name, self._changes)
        self._file, self._log = home.path / SHOP_QUALITY, log
        self._stamp: float | None = None
        self._shop: ShopQuality | None = None

    def examine(self, photo: Photo, name: str | None) -> dict[str, Any]:
        """{"profile", "score" in [0, 1], 1 = nothing to mend, "findings"}. Raises ``BadRequest``: no such profile."""
        asked = self._profile(name)
        pixels = np.asarray(photo.pixels, np.uint8)
        findings = examine(pixels, size=(photo.width, photo.height), profile=asked, shop=self._measured())
        return {
            "profile": asked.name,
            "score": round(overall(findings, asked), 6),
            "findings": [finding.as_json() for finding in findings],
        }

    def _profile(self, name: str | None) -> Profile:
        if name is None or name == self._default.name:
            return self._default
        try:
            return profile(name)
        except BadSettings as error:
            raise BadRequest(str(error)) from error

    def _measured(self) -> ShopQuality | None:
        try:
            stamp = self._file.stat().st_mtime
        except OSError:
            return None
        if stamp != self._stamp:
            try:
                self._shop = ShopQuality.from_json(json.loads(self._file.read_text()))
            except (OSError, ValueError, BadData) as error:
                self._log.warning("the shop's own quality cannot be read", error=str(error))
                self._shop = None
            self._stamp = stamp
        return self._shop


class PolicyJudge:
    """Checks photos against the shop's policy file.

    Galleries are fitted to the catalog and the model that serves, by a thread of its own and through the one owner of
    the network; until that is done policies with a gallery answer ``review``. Each time the catalog has grown by a
    quarter, it is seen whether they must be fitted again.
    """

    def __init__(self, home: Home, catalog: Catalog, queue: InferenceQueue, file: Path | None, log: Any) -> None:
        self._home, self._catalog, self._queue, self._log = home, catalog, queue, log
        self._policies: PolicySet | None = None if file is None else load_policies(file)
        self._checkers: dict[str, Checker] = {}  # by the embedding_id that galleries are fitted to
        self._due: dict[str, int] = {}  # by embedding_id: from so many products on fitting is looked at again
        self._tagged: tuple[int, bool] = (-1, False)  # at this sequence: is any product of the catalog
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    @property
    def version(self) -> str | None:
        return None if self._policies is None else self._policies.policy_version

    def close(self) -> None:
        if self._thread is not None:
            self._thread.join(timeout=30)

    def check(
        self,
        photo: Photo,
        vector: np.ndarray,
        *,
        embed: Callable[[Sequence[Photo]], np.ndarray],
        categories: Sequence[tuple[str, float]],
        tags: Sequence[tuple[str, float]],
        snapshot: Snapshot,
        glance: Glance | None,
    ) -> list[dict[str, Any]]:
        """One result for each policy, [] where the shop has none; ``glance``: what ``glance`` gave.

        No categories, or no tags, where nothing could tell any: policies that ban some answer ``review``.
        """
        if self._policies is None:
            return []
        checker = self._checker(self._policies, snapshot)
        told = categories if snapshot.bundle.decision.categories else None
        suggested = tags if tags or self._tells_tags(snapshot) else None
        found = checker.check(photo, vector[np.newaxis], embed, told, suggested, glance=glance)
        return [asdict(result) for result in found]

    def _tells_tags(self, snapshot: Snapshot) -> bool:
        """Whether a tag could be suggested at all: by heads, by rows from photos, or by votes of tagged products."""
        decision = snapshot.bundle.decision
        if snapshot.live.base.tag_rule is not None or any(entry.kind == "tag" for entry in decision.few_shot):
            return True  # only where products were tagged a version has a rule of its own
        if decision.tag_heads and any(part.head for part in snapshot.tag_rule.parts):
            return True
        sequence = snapshot.live.sequence
        if not self._tagged[1] and self._tagged[0] != sequence:
            self._tagged = (sequence, bool(self._catalog.given_tags()))
        return self._tagged[1]

    def glance(self, photo: Photo, snapshot: Snapshot) -> Glance | None:
        """What detectors see in the pixels of ``photo``, for ``check``; None where the shop has no policies."""
        return None if self._policies is None else self._checker(self._policies, snapshot).glance(photo)

    def _checker(self, policies: PolicySet, snapshot: Snapshot) -> Checker:
        name = snapshot.bundle.embedding_id
        with self._starting:
            checker = self._checkers.get(name)
            if checker is None:
                checker = self._checkers[name] = Checker(policies)
            fitting = self._thread is not None and self._thread.is_alive()
            if snapshot.live.product_count >= self._due.get(name, 0) and not fitting:
                self._thread = threading.Thread(target=self._fit, args=(snapshot,), name="policies", daemon=True)
                self._thread.start()
            return checker

    def fit(self, snapshot: Snapshot) -> None:
        """Fit the galleries to the catalog now, in this thread; what is stored already is read. Takes up to minutes."""
        if self._policies is None:
            return
        products = snapshot.live.product_count
        self._due[snapshot.bundle.embedding_id] = products + max(products // 4, 1)

        def embed(photos: Sequence[Photo]) -> np.ndarray:
            parts = [photos[start : start + _PORTION] for start in range(0, len(photos), _PORTION)]
            return np.concatenate([self._queue.embed(snapshot.embedder, part, patient=True) for part in parts])

        fitted = fit_home(self._home, self._policies, snapshot.bundle, self._catalog, embed)
        checker = Checker(self._policies, fitted)
        with self._starting:
            self._checkers[snapshot.bundle.embedding_id] = checker

    def _fit(self, snapshot: Snapshot) -> None:
        try:
            self.fit(snapshot)
        except CatalensError as error:
            self._log.error("galleries of policies cannot be fitted: they answer review", error=str(error))


class RepeatJudge:
    """Finds the products that a photo repeats.

    The signatures of the whole catalog are read, and made where they are missing, by a thread of their own; until they
    are there only identical photos and near embeddings are found, and ``complete`` says so.
    """

    def __init__(self, home: Home, catalog: Catalog, photos: PhotoStore, log: Any) -> None:
        self._home, self._catalog, self._photos, self._log = home, catalog, photos, log
        self._store: SignatureStore | None = None  # takes one call at a time
        self._using = threading.Lock()
        self._index = SignatureIndex(Signatures.of(np.zeros(0, np.int64), np.zeros((0, 32, 32, 3), np.uint8)), 0)
        self._thread: threading.Thread | None = None
        self.complete = False

    def close(self) -> None:
        if self._thread is not None:
            self._thread.join(timeout=30)
        if self._store is not None:
            self._store.close()

    def find(
        self, photo: Photo, vector: np.ndarray, snapshot: Snapshot, *, but: set[int], near: Near
    ) -> list[dict[str, Any]]:
        """The products repeated, the surest kind first; ``but``: pids that do not count; ``near``: the request's
        searches."""
        hits = near.search(snapshot.live, vector, NEAREST, but, None)
        close = nearest(snapshot.live, vector[np.newaxis], snapshot.bundle.spec, hits=hits)
        rule = load_rule(self._home, snapshot.bundle.embedding_id)
        with self._using:
            if self._store is None:
                self._store = SignatureStore(self._home)
            if self._thread is None and not self.complete:
                self._thread = threading.Thread(target=self._read, name="signatures", daemon=True)
                self._thread.start()
            if self.complete:
                self._follow(self._store)
            found = find_repeats(self._catalog, self._index, self._store, photo, near=close, rule=rule, exclude=but)
        return [{**asdict(repeat), "image_url": image_url(repeat.photo)} for repeat in found]

    def _follow(self, store: SignatureStore) -> None:
        try:
            self._index.follow(self._catalog, self._photos, store)
        except OutdatedVersion:  # the log was compacted past what the index had seen
            self._index = SignatureIndex.open(self._catalog, self._photos, store)

    def read(self) -> None:
        """Read and make all signatures now, in this thread."""
        with closing(SignatureStore(self._home)) as store:
            self._index = SignatureIndex.open(self._catalog, self._photos, store)
        self.complete = True

    def _read(self) -> None:
        try:
            self.read()
        except CatalensError as error:
            self._log.error("signatures cannot be read: repeated photos are found by embedding only", error=str(error))
