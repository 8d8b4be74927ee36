"""Erasure in folders that index versions were pushed to, and the record of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from indexer.catalog.store import Catalog
from indexer.core.atomic_files import (
    read_sealed_texts,
    remove_folder,
    storage_failure,
    write_sealed_texts,
)
from indexer.core.errors import (
    BadHomeError,
    BusyError,
    DamagedIndexError,
    NewerFormatError,
    ReadOnlyError,
    UnknownVersionError,
)
from indexer.core.home import Home
from indexer.core.manifest import Manifest, read_manifest, version_number
from indexer.index.transfer import locked_folder, push
from indexer.index.version import Versions
from indexer.index.version_files import ROWS
from indexer.model.registry import may_hold_classes

_FILE = "pushed.json"
# Whoever notes a folder holds the lock for one small file.
_NOTED_WITHIN_S = 30.0
# What a push or a removal that was killed leaves beside the whole folders.
_LEFTOVERS = (".incoming-*", ".*.removed")
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
    # Models with classes that no version there names any more.
    models: list[str] = field(default_factory=list)
    # Version, or what else lies there -> why it was left alone.
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
    if folder.absolute() in pushed_folders(home):
        return ""
    try:
        # Two that note folders at once keep both.
        with home.lock("pushed", wait_s=_NOTED_WITHIN_S):
            known = {*pushed_folders(home), folder.absolute()}
            write_sealed_texts(home.path / _FILE, sorted(map(str, known)))
    except (BusyError, ReadOnlyError) as error:
        return str(error)
    except OSError as error:
        return str(storage_failure(home.path / _FILE, error))
    return ""


def erase_pushed(
    home: Home, catalog: Catalog, folder: Path, held: Set[str] = frozenset()
) -> PushedErasure:
    """Take the versions that hold deleted products out of ``folder``, for the home's rewrites, and
    then the models with classes that none there names any more.

    To be called once the home itself is erased. ``held``: models with a class of an erased photo.
    Versions of another catalog are left alone and named. Raises ``BadHomeError``,
    ``UnknownVersionError`` where nothing was pushed there, ``BusyError``.
    """
    if (folder / "home.json").exists():
        raise BadHomeError(
            f"{folder} is a home: erase in it (catalens index erase --home {folder})"
        )
    if not (folder / "indexes").is_dir():
        raise UnknownVersionError(f"{folder} holds no index versions: nothing was pushed there")
    done = PushedErasure()
    rewrites = {manifest.root: manifest for manifest in Versions(home).list()}
    stale = _stale(folder, catalog, held, rewrites, done)
    there = {path.name for path in (folder / "indexes").glob("v*")}
    for manifest in stale:
        rewrite = rewrites.get(manifest.root)
        if rewrite is None or rewrite.version == manifest.version:
            continue
        if rewrite.version not in there:
            push(home, folder, rewrite.version)
        done.replaced[manifest.version] = rewrite.version
    with locked_folder(folder):
        names = [manifest.version for manifest in stale]
        gone = [name for name in names if _try(remove_folder, folder / "indexes" / name, done)]
        for kind in _LEFTOVERS:
            for place in ("indexes", "models"):
                for path in (folder / place).glob(kind):
                    _try(_remove, path, done)
        done.replaced = {old: new for old, new in done.replaced.items() if old in gone}
        done.removed = [name for name in gone if name not in done.replaced]
        _remove_models(folder, done, any_gone=bool(gone))
    return done


def _remove(path: Path) -> None:
    """A copy or a removal that was interrupted may hold them too."""
    if path.is_symlink():
        # Refused, by its name.
        remove_folder(path)
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _try(remove: Callable[[Path], None], path: Path, done: PushedErasure) -> bool:
    """Whether ``path`` went; one that does not is named, and keeps no other from going."""
    try:
        remove(path)
    except OSError as error:
        where = f"models/{path.name}" if path.parent.name == "models" else path.name
        reason = error.strerror or str(error)
        if path.is_symlink():
            done.failed[where] = f"it is a link to {path.readlink()}: delete that, and the link"
        else:
            done.failed[where] = f"it cannot be removed: {error.filename or path}: {reason}"
        return False
    return True


def _remove_models(folder: Path, done: PushedErasure, *, any_gone: bool) -> None:
    """Remove the models there with classes that no version there names: nobody can pull them.

    Where a version cannot be read, or none is there and none was, it is not known what is named:
    then they stay, and that is said.
    """
    models = folder / "models"
    versions = [
        path for path in (folder / "indexes").iterdir() if version_number(path.name) is not None
    ]
    try:
        named = {read_manifest(path).model_version for path in versions}
    except (DamagedIndexError, NewerFormatError) as error:
        named, unknown = set(), f"it is not known which versions need it: {error}"
    else:
        unknown = "no version there says what it is for" if not versions and not any_gone else ""
    for path in sorted(models.glob("[!.]*")) if models.is_dir() else ():
        if path.name in named or not path.is_dir() or not may_hold_classes(path):
            continue
        if unknown:
            done.failed[f"models/{path.name}"] = f"{unknown}; delete {path} where nobody pulls it"
            continue
        if _try(remove_folder, path, done):
            done.models.append(path.name)


def _stale(
    folder: Path,
    catalog: Catalog,
    held: Set[str],
    rewrites: Mapping[str, Manifest],
    done: PushedErasure,
) -> list[Manifest]:
    """The versions there that hold a deleted product or photo, or name a model that does."""
    found = []
    identity, living = catalog.change_log.identity(), catalog.change_log.living()
    for path in sorted((folder / "indexes").iterdir()):
        if version_number(path.name) is None:
            continue
        try:
            manifest = read_manifest(path)
            rows = np.load(path / ROWS)
        except (DamagedIndexError, NewerFormatError, OSError, ValueError) as error:
            done.failed[path.name] = f"it cannot be read: {error}"
            continue
        own = rewrites.get(manifest.root)
        if manifest.version != path.name:
            done.failed[path.name] = f"its manifest is of {manifest.version}"
        elif (manifest.source or {}).get("catalog") != identity:
            done.failed[path.name] = "it is of another catalog: its numbers mean other products"
        elif living.dead_rows(rows).any():
            found.append(manifest)
        elif manifest.model_version in held and own is not None and own.model_version in held:
            done.failed[path.name] = (
                f"a class of its model {manifest.model_version} was made from an erased photo, "
                "also in the home: remove the class there, and erase again"
            )
        elif manifest.model_version in held:
            found.append(manifest)
    return found
