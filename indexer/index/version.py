"""Index versions of a home: publish, verify, open, activate and remove them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import structlog

from indexer.core.atomic_files import (
    file_stamp,
    publish_folder,
    remove_folder,
    sha256_file,
    write_atomic,
    write_json,
)
from indexer.core.errors import (
    BadHomeError,
    BusyError,
    DamagedIndexError,
    IndexMismatchError,
    NewerFormatError,
    UnknownVersionError,
)
from indexer.core.home import Active, Home
from indexer.core.manifest import MANIFEST, Manifest, read_manifest, version_number
from indexer.index.version_files import IndexVersion, NewVersion, open_files

VERIFIED = "VERIFIED"
_KEPT_ACTIVATIONS = 8
Names = list[str]

log = structlog.get_logger(__name__)


class Versions:
    """The index versions of one home. Holds no open file; cheap to make."""

    def __init__(self, home: Home) -> None:
        self.home = home

    @property
    def folder(self) -> Path:
        return self.home.indexes

    def names(self) -> Names:
        """Published versions, oldest first, sound or not."""
        if not self.folder.is_dir():
            return []
        found = [
            path.name for path in self.folder.iterdir() if version_number(path.name) is not None
        ]
        return sorted(found, key=lambda name: version_number(name) or 0)

    def list(self) -> Sequence[Manifest]:
        """Manifests, oldest first; one that cannot be read is left out with a log line."""
        found = []
        for name in self.names():
            try:
                found.append(read_manifest(self.folder / name))
            except (DamagedIndexError, NewerFormatError) as error:
                log.warning("index version left out", version=name, reason=str(error))
        return found

    def manifest(self, version: str) -> Manifest:
        """Raises ``UnknownVersionError``, ``DamagedIndexError``, ``NewerFormatError``."""
        if version_number(version) is None or not (self.folder / version).is_dir():
            have = ", ".join(self.names()) or "none"
            raise UnknownVersionError(f"no index version {version!r}; there are: {have}")
        return read_manifest(self.folder / version)

    def next_name(self) -> str:
        """A name that no version ever had; call it under the lock "publish".

        Taken before anything is written, so that a number is given out once whatever happens later.
        """
        counter = self.folder / "LAST"
        try:
            given = int(counter.read_text())
        except (FileNotFoundError, ValueError):
            given = 0
        active = self.home.active()
        known = [
            version_number(name) or 0
            for name in [*self.names(), active.index_version if active else ""]
        ]
        number = max([given, *known]) + 1
        write_atomic(counter, f"{number}\n".encode())
        return f"v{number:06d}"

    def publish(self, content: NewVersion) -> str:
        """Write a new version aside, flush it and rename it into place; returns its name. Activates
        nothing.

        A crash leaves the earlier versions as they were. Raises ``BadVectorsError``, ``BusyError``,
        ``StorageError`` naming the file.
        """
        content.check()
        self.folder.mkdir(exist_ok=True)
        with self.home.lock("publish", wait_s=60.0):
            self._clear_leftovers()
            version = self.next_name()
            aside = self.folder / f".building-{version}"
            try:
                aside.mkdir()
                manifest = content.write(aside, version)
                publish_folder(aside, self.folder / version)
            except BaseException:
                shutil.rmtree(aside, ignore_errors=True)
                raise
        self.stamp(manifest)
        return version

    def _clear_leftovers(self) -> None:
        """What a killed build or removal left; only ever called under the lock."""
        for path in self.folder.iterdir():
            if path.name.startswith(".building-") or path.name.endswith(".removed"):
                shutil.rmtree(path, ignore_errors=True)

    def verify(self, version: str) -> Manifest:
        """Check every file of a version against its checksum. Raises ``DamagedIndexError`` naming
        the file and version."""
        manifest = self.manifest(version)
        for name, expected in manifest.files.items():
            path = self.folder / version / name
            try:
                size = path.stat().st_size
            except FileNotFoundError as error:
                raise DamagedIndexError(f"index version {version}: {name} is missing") from error
            if size != expected["size"]:
                raise DamagedIndexError(
                    f"index version {version}: {name} has {size} bytes, not {expected['size']}"
                )
            if sha256_file(path) != expected["sha256"]:
                raise DamagedIndexError(
                    f"index version {version}: {name} does not match its checksum"
                )
        self.stamp(manifest)
        return manifest

    def _stamps(self, manifest: Manifest) -> dict[str, Sequence[int]]:
        stamps: dict[str, Sequence[int]] = {}
        for name in (MANIFEST, *manifest.files):
            found = file_stamp(self.folder / manifest.version / name)
            if found is None:
                raise FileNotFoundError(name)
            modified_ns, inode, size = found
            stamps[name] = [size, modified_ns, inode]
        return stamps

    def stamp(self, manifest: Manifest) -> None:
        """Remember that the files as they lie are the verified ones."""
        try:
            write_json(self.folder / manifest.version / VERIFIED, self._stamps(manifest))
        except (
            OSError
        ) as error:  # a read-only home still serves; it just checks again at the next open
            log.warning("verification not remembered", version=manifest.version, reason=str(error))

    def _is_verified(self, manifest: Manifest) -> bool:
        try:
            return bool(
                json.loads((self.folder / manifest.version / VERIFIED).read_text())
                == self._stamps(manifest)
            )
        except (OSError, ValueError):
            return False

    def open(self, version: str, *, device: str = "cpu") -> IndexVersion:
        """Open for searching; checksums are read in full unless every file's stamp is the verified
        one.

        ``device``: "cpu", "cuda", or "auto" (the GPU where FAISS sees one). Raises
        ``UnknownVersionError``, ``DamagedIndexError`` naming file and version,
        ``NewerFormatError``.
        """
        manifest = self.manifest(version)
        if not self._is_verified(manifest):
            self.verify(version)
        return open_files(self.folder / version, manifest, device)

    # -- which version serves

    def _activations(self) -> Sequence[Active]:
        try:
            stored = json.loads((self.folder / "ACTIVATIONS").read_text())
            return [Active(entry["index_version"], entry["model_version"]) for entry in stored]
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def _past(self) -> Sequence[Active]:
        """Activations up to and with the current one; what a crash noted but did not make current
        is cut off.

        Where the current pair cannot be read, the last one noted stands for it: activating must
        mend that.
        """
        noted = self._activations()
        try:
            current = self.home.active()
        except BadHomeError:
            return noted
        if current is None:
            return []
        # By the version alone: a changed decision layer is another model of the same entry, not an
        # entry of its own.
        last = max(
            (i for i, pair in enumerate(noted) if pair.index_version == current.index_version),
            default=len(noted),
        )
        return [*noted[:last], current]

    def previous(self) -> Active | None:
        """What was active before the current pair, or None."""
        past = self._past()
        return past[-2] if len(past) > 1 else None

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
            manifest = self.verify(version)
            past = self._past()
            if instead_of is not None and (not past or past[-1].index_version != instead_of):
                raise BusyError(
                    f"another index was activated in {self.home.path} instead of {instead_of} "
                    "meanwhile"
                )
            pair = self.pair_of(manifest)
            self._check_pair(pair, manifest, model_embedding_id)
            again = bool(past) and past[-1].index_version in (version, instead_of)
            self._flip(pair, past[:-1] if again else past)
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
            self._flip(pair, self._past()[:-1])
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

    def _flip(self, pair: Active, past: Sequence[Active]) -> None:
        """Note ``pair`` after ``past``, then make it current: a crash in between is cut off by
        ``_past``."""
        self._note([*past, pair])
        self.home.activate(pair)

    def pair_of(self, manifest: Manifest) -> Active:
        """A version with the model that it would serve with: the latest revision of the one it was
        built for.

        That is the one last active among those with its origin; the manifest's own where there was
        none.
        """
        from indexer.model.registry import origin

        wanted = origin(self.home, manifest.model_version)
        served = (pair.model_version for pair in reversed(self._past()))
        latest = (model for model in served if origin(self.home, model) == wanted)
        return Active(manifest.version, next(latest, manifest.model_version))

    def replace(self, successors: Mapping[str, str]) -> None:
        """Versions that are about to go (name -> rewrite) give their place to their rewrites:
        serving, and in history.

        In an order that a crash cannot hurt: at each step what serves and what served before are
        whole. Models stay.
        """
        with self.home.lock("activate", wait_s=60.0):
            past = self._past()
            if not past:
                return
            moved = [
                Active(successors.get(pair.index_version, pair.index_version), pair.model_version)
                for pair in past
            ]
            if moved[-1] != past[-1]:
                self._note([*moved[:-1], past[-1], moved[-1]])
                self.home.activate(moved[-1])
            unrepeated = [
                pair for pair, before in zip(moved, [None, *moved], strict=False) if pair != before
            ]
            self._note(unrepeated)

    def _note(self, entries: Sequence[Active]) -> None:
        write_json(
            self.folder / "ACTIVATIONS", [asdict(entry) for entry in entries[-_KEPT_ACTIVATIONS:]]
        )

    def _registered(self, model_version: str) -> str:
        from indexer.model.registry import by_version

        return by_version(self.home, model_version).embedding_id

    def rollback(self, *, model_embedding_id: Callable[[str], str] | None = None) -> str:
        """Activate what was active before; a second call returns. Raises ``UnknownVersionError``
        where there is nothing."""
        previous = self.previous()
        if previous is None:
            raise UnknownVersionError("nothing to roll back to: no other version was active before")
        self.activate(previous.index_version, model_embedding_id=model_embedding_id)
        return previous.index_version

    def settled(self) -> bool:
        """Whether it is known what serves and what served before; else nothing may be called
        superseded."""
        active = self.home.active()
        return (
            active is not None
            and active.index_version in self.names()
            and bool(self._activations())
        )

    def gc(self) -> Names:
        """Remove versions that neither serve, nor served before, nor are newer than the serving
        one; returns them."""
        with self.home.lock("activate", wait_s=60.0), self.home.lock("publish", wait_s=60.0):
            active = self.home.active()
            previous = self.previous()
            if active is None or not self.settled():
                return []
            kept = {active.index_version, previous.index_version if previous else ""}
            newest = self._place(active.index_version)
            doomed = [
                name for name in self.names() if name not in kept and self._place(name) < newest
            ]
            for name in doomed:
                remove_folder(self.folder / name)
            return doomed

    def remove(self, versions: Iterable[str]) -> None:
        """Delete versions that nothing refers to any more. Raises ``BusyError`` for one that serves
        or served before."""
        with self.home.lock("activate", wait_s=60.0), self.home.lock("publish", wait_s=60.0):
            used = {pair.index_version for pair in self._past()[-2:]}
            for name in versions:
                if name in used:
                    raise BusyError(
                        f"index version {name} serves, or is kept for rollback: activate another "
                        "one first"
                    )
                remove_folder(self.folder / name)

    def _place(self, version: str) -> int:
        """A version's place in the order of builds; a rewrite has the place of what it was
        rewritten from."""
        try:
            root = read_manifest(self.folder / version).root
        except (DamagedIndexError, NewerFormatError):
            root = version
        return version_number(root) or version_number(version) or 0
