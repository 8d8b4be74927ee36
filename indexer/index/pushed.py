"""Erasure in folders that index versions were pushed to, and the record of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from indexer.catalog.change_log import Living
from indexer.catalog.store import Catalog
from indexer.core.atomic_files import (
    read_sealed_texts,
    remove_folder,
    storage_failure,
    write_sealed_texts,
)
from indexer.core.errors import (
    BadHomeError,
    DamagedIndexError,
    NewerFormatError,
    UnknownVersionError,
)
from indexer.core.home import Home
from indexer.core.manifest import Manifest, read_manifest, version_number
from indexer.index.transfer import locked_folder, push
from indexer.index.version import Versions
from indexer.index.version_files import ROWS

_FILE = "pushed.json"
MEND_PUSHED = (
    "restore it from a backup's folder, or delete it and push to each folder again (catalens index "
    "push DIR): erasure asks for those that it knows"
)


@dataclass
class PushedErasure:
    """What an erasure did in one folder."""

    # Version -> the home's rewrite of it, which was pushed instead.
    replaced: dict[str, str] = field(default_factory=dict)
    # Versions of which the home has none any more.
    removed: list[str] = field(default_factory=list)
    # Version -> why it was left alone.
    failed: dict[str, str] = field(default_factory=dict)


def pushed_folders(home: Home) -> list[Path]:
    """The folders that versions of ``home`` were pushed to from here.

    Raises ``BadHomeError`` where that is not known any more: they still hold what is erased.
    """
    try:
        return [Path(entry) for entry in read_sealed_texts(home.path / _FILE)]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise BadHomeError(f"{home.path / _FILE} cannot be read: {error}; {MEND_PUSHED}") from error


def note_pushed(home: Home, folder: Path) -> str:
    """Remember that a version was pushed to ``folder``. "" where that is done, else why it is not:
    an erasure in this home does not ask for that folder. Raises ``BadHomeError`` where those before
    are not known any more."""
    known = pushed_folders(home)
    try:
        if folder.absolute() not in known:
            paths = [str(path) for path in (*known, folder.absolute())]
            write_sealed_texts(home.path / _FILE, sorted(paths))
    except OSError as error:
        return str(storage_failure(home.path / _FILE, error))
    return ""


def erase_pushed(home: Home, catalog: Catalog, folder: Path) -> PushedErasure:
    """Take the versions that hold deleted products out of ``folder``, for the home's rewrites.

    To be called once the home itself is erased. Versions of another catalog are left alone and
    named. Raises ``BadHomeError``, ``UnknownVersionError`` where nothing was pushed there,
    ``BusyError``.
    """
    if (folder / "home.json").exists():
        raise BadHomeError(
            f"{folder} is a home: erase in it (catalens index erase --home {folder})"
        )
    if not (folder / "indexes").is_dir():
        raise UnknownVersionError(f"{folder} holds no index versions: nothing was pushed there")
    done = PushedErasure()
    living = catalog.change_log.living()
    stale = _stale(folder, catalog.change_log.identity(), living, done)
    rewrites = {manifest.root: manifest for manifest in Versions(home).list()}
    there = {path.name for path in (folder / "indexes").glob("v*")}
    for manifest in stale:
        rewrite = rewrites.get(manifest.root)
        if rewrite is None or rewrite.version == manifest.version:
            continue
        if rewrite.version not in there:
            push(home, folder, rewrite.version)
        done.replaced[manifest.version] = rewrite.version
    with locked_folder(folder):
        for manifest in stale:
            remove_folder(folder / "indexes" / manifest.version)
        for path in (folder / "indexes").glob(".incoming-*"):
            # A copy that was interrupted may hold them too; a link is somebody else's.
            if path.is_symlink():
                path.unlink()
            else:
                remove_folder(path)
    gone = [manifest.version for manifest in stale]
    done.removed = [name for name in gone if name not in done.replaced]
    return done


def _stale(
    folder: Path, identity: str | None, living: Living, done: PushedErasure
) -> list[Manifest]:
    """The versions there that hold a deleted product or photo."""
    found = []
    for path in sorted((folder / "indexes").iterdir()):
        if version_number(path.name) is None:
            continue
        try:
            manifest = read_manifest(path)
            rows = np.load(path / ROWS)
        except (DamagedIndexError, NewerFormatError, OSError, ValueError) as error:
            done.failed[path.name] = f"it cannot be read: {error}"
            continue
        if manifest.version != path.name:
            done.failed[path.name] = f"its manifest is of {manifest.version}"
        elif (manifest.source or {}).get("catalog") != identity:
            done.failed[path.name] = "it is of another catalog: its numbers mean other products"
        elif living.dead_rows(rows).any():
            found.append(manifest)
    return found
