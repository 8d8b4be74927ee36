"""Policy check: prohibited content of a listing by the shop's policies."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from indexer.catalog.store import Catalog
from indexer.core.backoff import Backoff
from indexer.core.home import Home
from indexer.imaging.decode import Photo
from indexer.moderation.checker import Checker, DetectorResults
from indexer.moderation.gallery_store import fit_home
from indexer.moderation.policy import PolicySet, load_policies
from indexer.text.zero_shot import DescribedKind, describe_kind
from service.inference.queue import InferenceQueue
from service.query.context import RequestContext
from service.query.pair_texts import PairEncoders
from service.query.photo_embedder import PhotoEmbedder
from service.review.result import PolicyReport
from service.state.snapshot import Snapshot

_PORTION = 8  # photos embedded between two looks at the queue of requests
_AGAIN_S, _LONGEST_S = 5.0, 600.0  # between two tries to fit galleries


class PolicyCheck:
    """Checks photos against the shop's policy file.

    Galleries are fitted to the catalog and the model that serves, by a thread of its own and
    through the one owner of the network; until that is done policies with a gallery answer
    ``review``. Each time the catalog has grown by a quarter, it is seen whether they must be fitted
    again.
    """

    def __init__(
        self,
        home: Home,
        catalog: Catalog,
        queue: InferenceQueue,
        embedder: PhotoEmbedder,
        pairs: PairEncoders,
        file: Path | None,
        log: Any,
    ) -> None:
        self._home = home
        self._catalog = catalog
        self._queue = queue
        self._embedder = embedder
        self._pairs = pairs
        self._log = log
        self._policies: PolicySet | None = None if file is None else load_policies(file)
        self._checkers: dict[str, Checker] = {}  # by the embedding_id that galleries are fitted to
        self._due: dict[
            str, int
        ] = {}  # by embedding_id: from so many products on fitting is looked at again
        self._fitting = Backoff(_AGAIN_S, _LONGEST_S)
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
        ctx: RequestContext,
        photo: Photo,
        vector: np.ndarray,
        *,
        categories: Sequence[tuple[str, float]],
        tags: Sequence[tuple[str, float]],
        detected: DetectorResults | None,
    ) -> list[PolicyReport]:
        """One report for each policy, [] where the shop has none; ``detected`` as ``detect`` gave.

        No categories, or no tags, where nothing could tell any: policies that ban some answer
        ``review``.
        """
        if self._policies is None:
            return []
        checker = self._checker(self._policies, ctx.snapshot)
        known = categories if ctx.snapshot.bundle.decision.categories else None
        suggested = tags if tags or self._tells_tags(ctx.snapshot) else None
        found = checker.check(
            photo,
            vector[np.newaxis],
            partial(self._embedder.embed_photos, ctx),
            known,
            suggested,
            results=detected,
        )
        return [
            PolicyReport(entry.policy, entry.decision, entry.score, entry.evidence)
            for entry in found
        ]

    def _tells_tags(self, snapshot: Snapshot) -> bool:
        """Whether a tag could be suggested at all: by heads, by rows from photos, or by votes of
        tagged products."""
        decision = snapshot.bundle.decision
        if snapshot.live.base.tag_rule is not None or any(
            entry.kind == "tag" for entry in decision.few_shot
        ):
            return True  # only where products were tagged a version has a rule of its own
        if decision.tag_heads and any(part.head for part in snapshot.tag_rule.parts):
            return True
        return self._catalog.has_given_tags()

    def detect(self, photo: Photo, snapshot: Snapshot) -> DetectorResults | None:
        """What detectors see in the pixels of ``photo``, for ``check``; None where the shop has no
        policies."""
        return (
            None
            if self._policies is None
            else self._checker(self._policies, snapshot).detect(photo)
        )

    def _checker(self, policies: PolicySet, snapshot: Snapshot) -> Checker:
        name = snapshot.bundle.embedding_id
        with self._starting:
            checker = self._checkers.get(name)
            if checker is None:
                checker = self._checkers[name] = Checker(policies)
            waits = self._thread is not None and self._thread.is_alive()
            waits = waits or not self._fitting.is_due
            if snapshot.live.product_count >= self._due.get(name, 0) and not waits:
                self._thread = threading.Thread(
                    target=self._fit, args=(snapshot,), name="policies", daemon=True
                )
                self._thread.start()
            return checker

    def fit(self, snapshot: Snapshot) -> None:
        """Fit the galleries to the catalog now, in this thread; what is stored already is read.
        Takes up to minutes."""
        if self._policies is None:
            return
        products = snapshot.live.product_count

        def embed(photos: Sequence[Photo]) -> np.ndarray:
            parts = [photos[start : start + _PORTION] for start in range(0, len(photos), _PORTION)]
            return np.concatenate(
                [self._queue.embed(snapshot.embedder, part, patient=True) for part in parts]
            )

        bundle = snapshot.bundle

        def describe(prompts: Sequence[str]) -> list[DescribedKind]:
            encoder, blocks = self._pairs.of(bundle), bundle.spec.blocks
            return [describe_kind(encoder, blocks, [prompt]) for prompt in prompts]

        fitted = fit_home(
            self._home,
            self._policies,
            bundle,
            self._catalog,
            embed,
            describe=None if bundle.spec.block("t") is None else describe,
        )
        checker = Checker(self._policies, fitted.galleries, fitted.words)
        if fitted.alarms is not None:
            self._log.info("galleries of policies fitted", alarms=fitted.alarms.describe())
        with self._starting:
            self._checkers[snapshot.bundle.embedding_id] = checker
            self._due[snapshot.bundle.embedding_id] = products + max(products // 4, 1)
            self._fitting.succeed()

    def _fit(self, snapshot: Snapshot) -> None:
        try:
            self.fit(snapshot)
        except Exception as error:  # a later review tries again
            self._log.error(
                "galleries of policies cannot be fitted: they answer review",
                error=str(error),
                again_s=self._fitting.fail(),
                exc_info=error,
            )
