"""Snapshot: model, decision layer and index that answer one request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from indexer.classification.local_outlier import Neighbourhood
from indexer.core.vectors import evenly_spaced
from indexer.index.embedding_store import EmbeddingStore
from indexer.index.live import LiveIndex
from indexer.model.bundle import Bundle
from indexer.model.runtime_base import Runtime
from indexer.model.tag_rule import TagRule
from service.state.derived import DerivedT, DerivedValues, IndexDerivedT, IndexValues
from service.state.neighbourhood import LiveNeighbourhood
from service.state.pending_photos import PendingPhotos


@dataclass(frozen=True)
class Snapshot:
    """One state of one index version, the same from a request's start to its end."""

    index_version: str
    bundle: Bundle
    embedder: Runtime
    live: LiveIndex
    store: EmbeddingStore
    # What the index lacks of the changes that it has seen. ``replace`` carries it over.
    pending: PendingPhotos = field(default_factory=PendingPhotos, repr=False, compare=False)
    _derived: DerivedValues = field(
        default_factory=DerivedValues, init=False, repr=False, compare=False
    )
    # ``replace`` carries it over: a changed decision layer leaves the index as it is.
    _of_index: IndexValues | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self._of_index is None or self._of_index.live is not self.live:
            object.__setattr__(self, "_of_index", IndexValues(self.live))

    @property
    def model_version(self) -> str:
        return self.bundle.model_version

    @property
    def tag_rule(self) -> TagRule:
        """As the build of this index version fitted it; versions without one take the model's."""
        return self.live.base.tag_rule or self.bundle.decision.tagging()

    @property
    def unknown_rule(self) -> Mapping[str, Any] | None:
        """The model's rule for unknown kinds, with what the build of this index version fitted.

        What was fitted to another model's rule, of other signals, leaves the model's as it is.
        """
        rule = self.bundle.decision.unknown_rule
        fitted = self.live.base.unknown
        if rule is None or fitted is None or ("mix" in fitted and "local_mix" not in rule):
            return rule
        return {**rule, **fitted}

    @property
    def neighbourhood(self) -> Neighbourhood | None:
        """What the rule for unknown kinds compares with; None where it reads the nearest alone."""
        rule, base = self.unknown_rule, self.live.base
        if rule is None or "local_mix" not in rule or base.around is None:
            return None
        return self.derived_from_index(LiveNeighbourhood).current()

    def derived(self, kind: type[DerivedT]) -> DerivedT:
        """What ``kind`` computes from this snapshot: made once, gone with the snapshot."""
        return self._derived.get(kind, self)

    def derived_from_index(self, kind: type[IndexDerivedT]) -> IndexDerivedT:
        """What ``kind`` computes from the live index: made once for all snapshots that share it,
        gone with the last of them."""
        assert self._of_index is not None
        return self._of_index.get_value(kind)


def sample_products(
    live: LiveIndex, limit: int, *, nearest: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """At most ``limit`` products of the index version, evenly spread: pids int64 [n] and the
    embeddings of their first photos, float32 [n, D]."""
    base = live.base
    pids, first = np.unique(np.asarray(base.rows[:, 0]), return_index=True)
    places = evenly_spaced(len(pids), limit, nearest=nearest)
    return pids[places], np.asarray(base.stored[first[places]], dtype=np.float32)
