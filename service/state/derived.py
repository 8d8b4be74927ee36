"""Cache of what is computed from a snapshot or its index, each value once and on first use."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from indexer.index.live import LiveIndex

if TYPE_CHECKING:
    from service.state.snapshot import Snapshot


class FromSnapshot(Protocol):
    """A value that a snapshot is enough to compute."""

    def __init__(self, snapshot: Snapshot) -> None: ...


class FromIndex(Protocol):
    """A value that the live index of a snapshot is enough to compute."""

    def __init__(self, live: LiveIndex) -> None: ...


DerivedValueT = TypeVar("DerivedValueT")
DerivedT = TypeVar("DerivedT", bound=FromSnapshot)
IndexDerivedT = TypeVar("IndexDerivedT", bound=FromIndex)


class _Slot:
    """One value and the lock under which it is computed."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.value: Any = None


class DerivedValues:
    """Values by their class; safe between threads.

    A thread that asks for a value in the making waits for it, and for no other one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots: dict[type, _Slot] = {}

    def get(self, kind: type[DerivedValueT], source: object) -> DerivedValueT:
        """The value of class ``kind``, made from ``source`` unless it is there."""
        slot = self._slots.get(kind)
        if slot is None:
            with self._lock:
                slot = self._slots.setdefault(kind, _Slot())
        if slot.value is None:
            with slot.lock:
                if slot.value is None:
                    slot.value = cast(Any, kind)(source)
        return cast(DerivedValueT, slot.value)


class IndexValues(DerivedValues):
    """Values of one live index, for all snapshots that answer from it."""

    def __init__(self, live: LiveIndex) -> None:
        super().__init__()
        self.live = live

    def get_value(self, kind: type[IndexDerivedT]) -> IndexDerivedT:
        """The value of class ``kind``, made from the live index unless it is there."""
        return self.get(kind, self.live)
