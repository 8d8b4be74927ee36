"""Index versions of a home: publish, verify, open and remove them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence

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
    BusyError,
    DamagedIndexError,
    NewerFormatError,
    UnknownVersionError,
)
from indexer.core.file_owner import make_owned
from indexer.core.manifest import MANIFEST, VERIFIED, Manifest, read_manifest, version_number
from indexer.core.regular_files import read_json
from indexer.index.activation import Activations
from indexer.index.version_files import IndexVersion, NewVersion, open_files

Names = list[str]

_MEND = "catalens verify --repair removes the version, and builds the one that serves anew"

log = structlog.get_logger(__name__)


class Versions(Activations):
    """The index versions of one home. Holds no open file; cheap to make."""

    def names(self) -> Names:
        """Published versions, oldest first, sound or not. Raises as ``Home.require``: those of a
        home that took the place of this one are not its own."""
        self.home.require()
        if not self.folder.is_dir():
            return []
        found = [
            path.name for path in self.folder.iterdir() if version_number(path.name) is not None
        ]
        return sorted(found, key=lambda name: version_number(name) or 0)

    def list(self) -> Sequence[Manifest]:
        """All that ``iterate`` gives."""
        return [*self.iterate()]

    def iterate(self) -> Iterator[Manifest]:
        """Manifests, oldest first; one that cannot be read is left out with a log line."""
        for name in self.names():
            try:
                yield read_manifest(self.folder / name)
            except (DamagedIndexError, NewerFormatError) as error:
                log.warning("index version left out", version=name, reason=str(error))

    def manifest(self, version: str) -> Manifest:
        """Raises ``UnknownVersionError``, ``DamagedIndexError``, ``NewerFormatError``, and as
        ``Home.require``."""
        self.home.require()
        if version_number(version) is None or not (self.folder / version).is_dir():
            have = ", ".join(self.names()) or "none"
            raise UnknownVersionError(f"no index version {version!r}; there are: {have}")
        return read_manifest(self.folder / version)

    def next_name(self) -> str:
        """A name that no version ever had; call it under the lock "publish".

        Taken before anything is written, so that a number is given out once whatever happens later.
        """
        number = self.last_given() + 1
        write_atomic(self.folder / "LAST", f"{number}\n".encode())
        return f"v{number:06d}"

    def last_given(self) -> int:
        """The highest number that any version ever had, as far as the home knows.

        Of the counter, whatever is left of it, and of all that names a version: the counter has no
        checksum, and a number given twice would be another version under the name of one that
        served.
        """
        try:
            given = int((self.folder / "LAST").read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            given = 0
        active = self.home.active()
        served = [past.version for past in self.history()]
        known = [*self.names(), *served, active.index_version if active else ""]
        return max([given, *(version_number(name) or 0 for name in known)])

    def publish(self, content: NewVersion) -> str:
        """Write a new version aside, flush it and rename it into place; returns its name. Activates
        nothing.

        A crash leaves the earlier versions as they were. Raises ``BadVectorsError``, ``BusyError``,
        ``StorageError`` naming the file.
        """
        content.check()
        self.home.make_folder(self.folder)
        with self.home.lock("publish", wait_s=60.0):
            self._clear_half_built()
            version = self.next_name()
            aside = self.folder / f".building-{version}"
            try:
                make_owned(aside)
                manifest = content.write(aside, version)
                publish_folder(aside, self.folder / version)
            except BaseException:
                shutil.rmtree(aside, ignore_errors=True)
                raise
        self.stamp(manifest)
        return version

    def clear_half_built(self) -> int:
        """Delete what killed builds and removals left, with the vectors in it; how many folders.

        Raises ``BusyError`` while a version is written.
        """
        with self.home.lock("publish"):
            return self._clear_half_built()

    def _clear_half_built(self) -> int:
        """``clear_half_built`` for who holds the lock."""
        left = [
            path
            for path in (self.folder.iterdir() if self.folder.is_dir() else ())
            if path.name.startswith(".building-") or path.name.endswith(".removed")
        ]
        for path in left:
            shutil.rmtree(path, ignore_errors=True)
        return len(left)

    def verify(self, version: str) -> Manifest:
        """Check every file of a version against its checksum. Raises ``DamagedIndexError`` naming
        the file and version."""
        manifest = self.manifest(version)
        for name, expected in manifest.files.items():
            path = self.folder / version / name
            try:
                size = path.stat().st_size
            except FileNotFoundError as error:
                raise DamagedIndexError(
                    f"index version {version}: {name} is missing; {_MEND}"
                ) from error
            if size != expected["size"]:
                raise DamagedIndexError(
                    f"index version {version}: {name} has {size} bytes, not "
                    f"{expected['size']}; {_MEND}"
                )
            if sha256_file(path) != expected["sha256"]:
                raise DamagedIndexError(
                    f"index version {version}: {name} does not match its checksum; {_MEND}"
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
        """Remember that the files as they lie are the verified ones; never in a backup, whose files
        stay as they were listed."""
        if self.home.is_backup():
            return
        try:
            write_json(self.folder / manifest.version / VERIFIED, self._stamps(manifest))
        except (
            OSError
        ) as error:  # a read-only home still serves; it just checks again at the next open
            log.warning("verification not remembered", version=manifest.version, reason=str(error))

    def _is_verified(self, manifest: Manifest) -> bool:
        try:
            return bool(
                read_json(self.folder / manifest.version / VERIFIED) == self._stamps(manifest)
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

    def gc(self) -> Names:
        """Remove versions that neither serve, nor served before, nor are newer than the serving
        one; returns them."""
        with self.home.lock("activate", wait_s=60.0), self.home.lock("publish", wait_s=60.0):
            active = self.home.active()
            previous = self.previous()
            if active is None or not self.settled():
                return []
            kept = {active.index_version, previous.index_version if previous else ""}
            newest = self._build_order(active.index_version)
            doomed = [
                name
                for name in self.names()
                if name not in kept and self._build_order(name) < newest
            ]
            for name in doomed:
                remove_folder(self.folder / name)
            return doomed

    def remove(self, versions: Iterable[str]) -> None:
        """Delete versions that nothing refers to any more. Raises ``BusyError`` for one that serves
        or served before."""
        with self.home.lock("activate", wait_s=60.0), self.home.lock("publish", wait_s=60.0):
            used = {past.version for past in self.history()[-2:]}
            for name in versions:
                if name in used:
                    raise BusyError(
                        f"index version {name} serves, or is kept for rollback: activate another "
                        "one first"
                    )
                remove_folder(self.folder / name)

    def _build_order(self, version: str) -> int:
        """A version's place in the order of builds; a rewrite has the place of what it was
        rewritten from."""
        try:
            root = read_manifest(self.folder / version).root
        except (DamagedIndexError, NewerFormatError):
            root = version
        return version_number(root) or version_number(version) or 0
