"""Activation of an index version, its undo, and the history that the undo reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from indexer.core.actor import current_actor
from indexer.core.atomic_files import seal_of, write_json
from indexer.core.errors import (
    BadHomeError,
    BusyError,
    ChangedError,
    IndexMismatchError,
    UnknownVersionError,
)
from indexer.core.home import Active, Home
from indexer.core.manifest import Manifest
from indexer.core.regular_files import read_json

_KEPT_ACTIVATIONS = 8


@dataclass(frozen=True)
class PastActivation:
    """A pair that serves or served, since when (ISO 8601, UTC; "" unknown) and by whom ("" as
    well)."""

    pair: Active
    at: str = ""
    by: str = ""

    @classmethod
    def now(cls, pair: Active) -> PastActivation:
        """``pair`` activated in this moment by whoever acts."""
        return cls(pair, datetime.now(UTC).isoformat(timespec="milliseconds"), current_actor())

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> PastActivation:
        """Raises ``KeyError``, ``TypeError``, ``ValueError`` for one that was changed. Entries of
        older releases have no time and no name."""
        entry = dict(stored)
        seal = entry.pop("seal", None)
        if seal is not None and seal != seal_of(entry):
            raise ValueError("an entry does not match its checksum")
        pair = Active.checked(entry)
        return cls(pair, str(entry.get("at", "")), str(entry.get("by", "")))

    def record(self) -> dict[str, str]:
        """As it is written, with a checksum of all of it."""
        entry = {**self.pair.record(), "at": self.at, "by": self.by}
        return {**entry, "seal": seal_of(entry)}

    @property
    def version(self) -> str:
        """The index version."""
        return self.pair.index_version


class Activations(ABC):
    """Which index version of a home serves, and which served before (``version.Versions``)."""

    def __init__(self, home: Home) -> None:
        self.home = home

    @property
    def folder(self) -> Path:
        return self.home.indexes

    @abstractmethod
    def names(self) -> Sequence[str]:
        """List the published versions, oldest first."""

    @abstractmethod
    def manifest(self, version: str) -> Manifest:
        """Read the manifest of a version."""

    @abstractmethod
    def verify(self, version: str) -> Manifest:
        """Check every file of a version against its checksum."""

    def _written_history(self) -> Sequence[PastActivation]:
        """The activations as written; where that is lost or damaged, as ``CURRENT`` repeats them.

        Each of the two files can be lost without the other.
        """
        for read in (self._record, self.home.current_record):
            try:
                return [PastActivation.read(entry) for entry in read()]
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return []

    def _record(self) -> list[dict[str, Any]]:
        return list(read_json(self.folder / "ACTIVATIONS"))

    def history(self) -> Sequence[PastActivation]:
        """Return the activations up to and with the current one, oldest first.

        An entry that a crash wrote but did not make current is cut off. Where the current pair
        cannot be read, the last one written stands for it: activating must repair that.
        """
        written = self._written_history()
        try:
            current = self.home.active()
        except BadHomeError:
            return written
        if current is None:
            # Lost, or about to be written for the first time.
            return written
        # By the version alone: a changed decision layer is another model of the same entry, not an
        # entry of its own.
        last = max(
            (i for i, past in enumerate(written) if past.version == current.index_version),
            default=len(written),
        )
        now = replace(written[last], pair=current) if last < len(written) else None
        return [*written[:last], now or PastActivation(current)]

    def previous(self) -> Active | None:
        """Return the pair that was active before the current one and is still there, or None."""
        return self._before(self.history())

    def _before(self, past: Sequence[PastActivation]) -> Active | None:
        there = set(self.names())
        return next((entry.pair for entry in reversed(past[:-1]) if entry.version in there), None)

    def activate(
        self,
        version: str,
        *,
        instead_of: str | None = None,
        model_embedding_id: Callable[[str], str] | None = None,
    ) -> Active:
        """Make ``version`` and the model it was built for the active pair, in one rename.

        Where that model's decision layer was changed since, its latest revision is taken: classes
        that were added stay. Verified in full first. ``instead_of``: the index version whose place
        in the history this one takes, since it is the same state in another form; where another is
        active by now, it is ``BusyError``. ``model_embedding_id`` looks up a registered model's
        embedding id by model version (default: the home's registry). Raises ``DamagedIndexError``,
        ``UnknownVersionError``, ``UnknownModelError``, and ``IndexMismatchError`` naming both ids;
        then what was active stays so.
        """
        with self.home.lock("activate", wait_s=60.0):
            past = self.history()
            if instead_of is not None and (not past or past[-1].version != instead_of):
                raise BusyError(
                    f"another index was activated in {self.home.path} instead of {instead_of} "
                    "meanwhile"
                )
            return self._activate(version, past, instead_of, model_embedding_id)

    def _activate(
        self,
        version: str,
        past: Sequence[PastActivation],
        instead_of: str | None,
        look_up: Callable[[str], str] | None,
    ) -> Active:
        """``activate`` for who holds the lock and has read the history under it."""
        manifest = self.verify(version)
        pair = self.pair_of(manifest)
        self._check_pair(pair, manifest, look_up)
        new = PastActivation.now(pair)
        again = bool(past) and past[-1].version in (version, instead_of)
        if again and instead_of is not None:
            # The same state in another form: since when and by whom stays.
            new = replace(past[-1], pair=pair)
        self._set_active(new, past[:-1] if again else past)
        return pair

    def switch_model(
        self,
        model_version: str,
        *,
        instead_of: Active,
        model_embedding_id: Callable[[str], str] | None = None,
    ) -> Active:
        """Serve the active index version with another decision layer, in one rename; history keeps
        one entry for both.

        ``instead_of`` is the pair that the change was made from: where another is active by now, it
        is ``BusyError`` and nothing happens. Raises ``IndexMismatchError`` for a model of another
        embedding, ``UnknownModelError``.
        """
        with self.home.lock("activate", wait_s=60.0):
            if self.home.active() != instead_of:
                raise BusyError(
                    f"another model or index was activated in {self.home.path} meanwhile: try again"
                )
            pair = Active(instead_of.index_version, model_version)
            self._check_pair(pair, self.manifest(pair.index_version), model_embedding_id)
            past = self.history()
            self._set_active(replace(past[-1], pair=pair), past[:-1])
        return pair

    def _check_pair(
        self, pair: Active, manifest: Manifest, look_up: Callable[[str], str] | None
    ) -> None:
        of_model = (look_up or self._registered)(pair.model_version)
        if of_model != manifest.embedding_id:
            raise IndexMismatchError(
                f"index version {pair.index_version} was built with embedding "
                f"{manifest.embedding_id}, "
                f"model {pair.model_version} gives embedding {of_model}"
            )

    def _set_active(self, new: PastActivation, past: Sequence[PastActivation]) -> None:
        """Write ``new`` after ``past`` into the history, then make it current.

        ``history`` cuts off what a crash in between leaves.
        """
        self._write_history([*past, new])
        self._make_current([*past, new])

    def pair_of(self, manifest: Manifest) -> Active:
        """Pair a version with the latest revision of the model that it was built for.

        That is the one last active among those with its origin; the manifest's own where there was
        none.
        """
        from indexer.model.registry import origin

        wanted = origin(self.home, manifest.model_version)
        served = (past.pair.model_version for past in reversed(self.history()))
        latest = (model for model in served if origin(self.home, model) == wanted)
        return Active(manifest.version, next(latest, manifest.model_version))

    def supersede(self, successors: Mapping[str, str]) -> None:
        """Put rewrites in the place of versions (name -> rewrite): serving, and in history.

        In an order that a crash cannot hurt: at each step what serves and what served before are
        whole. Models stay.
        """
        with self.home.lock("activate", wait_s=60.0):
            past = self.history()
            if not past:
                return
            moved = [_moved(entry, successors) for entry in past]
            if moved[-1] != past[-1]:
                self._write_history([*moved[:-1], past[-1], moved[-1]])
                self._make_current(moved)
            unrepeated = [
                entry
                for entry, before in zip(moved, [None, *moved], strict=False)
                if before is None or entry.pair != before.pair
            ]
            self._write_history(unrepeated)
            self._make_current(unrepeated)

    def _make_current(self, entries: Sequence[PastActivation]) -> None:
        kept = entries[-_KEPT_ACTIVATIONS:]
        self.home.activate(kept[-1].pair, [entry.record() for entry in kept[:-1]])

    def _write_history(self, entries: Sequence[PastActivation]) -> None:
        kept = entries[-_KEPT_ACTIVATIONS:]
        write_json(self.folder / "ACTIVATIONS", [entry.record() for entry in kept])

    def _registered(self, model_version: str) -> str:
        from indexer.model.registry import by_version

        return by_version(self.home, model_version).embedding_id

    def rollback(
        self,
        *,
        instead_of: str | None = None,
        model_embedding_id: Callable[[str], str] | None = None,
    ) -> str:
        """Undo the last activation: activate what was active before; a second call returns.

        ``instead_of``: the version that whoever asks has seen active; where another is by now, it
        is ``ChangedError``. Raises ``UnknownVersionError`` where nothing was active before.
        """
        with self.home.lock("activate", wait_s=60.0):
            past = self.history()
            if instead_of is not None and (not past or past[-1].version != instead_of):
                now = past[-1].version if past else "none"
                raise ChangedError(
                    f"index version {instead_of} is no longer active, {now} is: look again before "
                    "you roll back"
                )
            before = self._before(past)
            if before is None:
                raise UnknownVersionError(
                    "nothing to roll back to: no other version that is still there was active "
                    "before (catalens index list shows them, catalens index activate VERSION "
                    "serves one)"
                )
            self._activate(before.index_version, past, None, model_embedding_id)
            return before.index_version

    def is_recorded(self) -> bool:
        """Whether the record of activations can be read by itself, whatever ``CURRENT`` repeats."""
        try:
            return bool([PastActivation.read(entry) for entry in self._record()])
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def settled(self) -> bool:
        """Tell whether it is known what serves and what served before.

        Otherwise no version may be called superseded.
        """
        active = self.home.active()
        return (
            active is not None
            and active.index_version in self.names()
            and bool(self._written_history())
        )


def _moved(entry: PastActivation, successors: Mapping[str, str]) -> PastActivation:
    pair = replace(entry.pair, index_version=successors.get(entry.version, entry.version))
    return replace(entry, pair=pair)
