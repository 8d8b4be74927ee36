"""Request context: snapshot, stage timer, search cache and deadline of one request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from indexer.core.timer import StageTimer
from indexer.index.query_weighting import search_params
from service.inference.admission import DeadlineExceededError
from service.inference.deadline import Deadline
from service.query.response import Envelope, Framed
from service.query.search_cache import SearchCache
from service.state.snapshots import Snapshot

_DOUBT = 1.5  # how much quicker the rest of a request may yet become
TAG_ROOM = 1.5  # products searched per voter wanted: some have no tags, some are near-duplicates


@dataclass(frozen=True)
class RequestContext:
    """What travels with one request, from its start to its answer."""

    snapshot: Snapshot
    timer: StageTimer
    searches: SearchCache
    deadline_s: float  # seconds on ``timer``
    # What could not be looked at yet: the answer says that it is not complete.
    _gaps: set[str] = field(default_factory=set)

    @classmethod
    def begin(
        cls,
        snapshot: Snapshot,
        deadline_s: float,
        *,
        timer: StageTimer | None = None,
        with_tags: bool = False,
    ) -> RequestContext:
        """``with_tags``: tags are suggested too, so each search is made deep enough for them."""
        depths = snapshot.derived(TagDepths).by_widen if with_tags else None
        return cls(snapshot, timer or StageTimer(), SearchCache(depths), deadline_s)

    def for_photo(self) -> RequestContext:
        """The same request about another photo: its searches have nothing in common with these."""
        depths = self.snapshot.derived(TagDepths).by_widen
        searches = SearchCache(depths)
        return RequestContext(self.snapshot, self.timer, searches, self.deadline_s, self._gaps)

    def note_pending(self) -> None:
        """Say that the products were looked at, of which some may wait for their photos."""
        if len(self.snapshot.pending):
            self._gaps.add("photos")

    def note_gap(self, name: str) -> None:
        """Say that ``name``, which follows the catalog, is behind it."""
        self._gaps.add(name)

    @property
    def _deadline(self) -> Deadline:
        return Deadline(self.deadline_s, self.timer)

    def left_s(self) -> float:
        """Seconds to the deadline, not below 0."""
        return self._deadline.left_s()

    def check(self) -> None:
        """Raise ``DeadlineExceededError`` after the deadline; asked in every loop whose length a
        client or the catalog decides."""
        self._deadline.check()

    def check_pace(self, done: int, total: int) -> None:
        """As ``check``, and also where ``total`` steps cannot be done by then at the pace of those
        ``done``: what would be thrown away in the end is not worked on."""
        self.check()
        took = self.timer.elapsed()
        if done and total * took > self.deadline_s * done * _DOUBT:
            raise DeadlineExceededError(
                f"{done} of {total} photos took {took:.1f} s, all of them would not be done within "
                f"{self.deadline_s:g} s (setting deadline_s): send fewer or smaller ones"
            )

    def respond(self, content: Framed, fields: Sequence[str] = ()) -> Envelope[Framed]:
        """Frame the answer, once; ``fields``: of its products these alone."""
        envelope = Envelope.around(content, self.snapshot, self.timer).choosing(fields)
        return replace(envelope, complete=not self._gaps)


class TagDepths:
    """How many products a tag suggestion searches for, by ``SearchParams.widen``."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.by_widen: dict[str, int] = {}
        for part in snapshot.tag_rule.parts:
            widen = search_params(part.view).widen if part.view else ""
            depth = int(TAG_ROOM * part.k)
            self.by_widen[widen] = max(self.by_widen.get(widen, 0), depth)
