"""Cache of what is computed from one snapshot, each value once and on first use."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

if TYPE_CHECKING:
    from service.state.snapshot import Snapshot


class FromSnapshot(Protocol):
    """A value that a snapshot is enough to compute."""

    def __init__(self, snapshot: Snapshot) -> None: ...


DerivedT = TypeVar("DerivedT", bound=FromSnapshot)


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

    def get(self, kind: type[DerivedT], snapshot: Snapshot) -> DerivedT:
        """The value of class ``kind``, made from ``snapshot`` unless it is there."""
        slot = self._slots.get(kind)
        if slot is None:
            with self._lock:
                slot = self._slots.setdefault(kind, _Slot())
        if slot.value is None:
            with slot.lock:
                if slot.value is None:
                    slot.value = kind(snapshot)
        return cast(DerivedT, slot.value)
