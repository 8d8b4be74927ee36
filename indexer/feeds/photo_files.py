"""Photo files: which files are photos, and where below a root the photo is that a feed names."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from indexer.core.unicode_form import normalize

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    *(".avif", ".avifs", ".heic", ".heif"),
)
_DRIVE = re.compile(r"(?:file:)?/*[A-Za-z]:(?=/|[^/])")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
# Folders whose names are kept for comparison, the least used forgotten first.
_FOLDERS = 256
# Longer texts are no paths.
_LONGEST = 4_096


def is_photo(name: str) -> bool:
    """Whether a file's name ends as photos do."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def resolve(root: Path, text: str, *, within: Path | None = None) -> Path | None:
    """The file below ``root`` that a feed means by ``text``, or None.

    As written first; then with backslashes as slashes, escapes (``%20``) decoded, and names
    compared without regard to Unicode form, case and blanks around them. Of a path of another
    machine (a drive, a share, from its root) the longest end that is found below ``root`` counts.
    Where two files differ in nothing else, neither is meant.

    A path as written may be absolute or lead out of ``root``, unless ``within`` is set: then what
    is found lies below it, links resolved, and what else this machine has changes nothing. Opens no
    file.
    """
    text = text.strip().strip("\"'").strip()
    if not text or len(text) > _LONGEST or "\0" in text:
        return None
    written = _as_written(root, text, within)
    if written is not None:
        return written
    found = _found(root, text)
    if found is None and _ESCAPE.search(text):
        found = _found(root, unquote(text))
    if found is not None and within is not None and not _lies_below(within, found):
        return None
    return found


def _as_written(root: Path, text: str, within: Path | None) -> Path | None:
    path = root / text
    if within is not None:
        # By its name first, so that nothing elsewhere is asked for.
        named = Path(os.path.normpath(path.absolute()))
        if not named.is_relative_to(os.path.normpath(within.absolute())):
            return None
        if _exists(path) and not _lies_below(within, path):
            return None
    return path if _exists(path) else None


def _exists(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _lies_below(root: Path, path: Path) -> bool:
    try:
        return path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):
        return False


def _found(root: Path, text: str) -> Path | None:
    path = text.replace("\\", "/")
    foreign = path.startswith("/") or path.lower().startswith("file:")
    drive = _DRIVE.match(path)
    if drive:
        path = path[drive.end() :]
        foreign = True
    elif path.lower().startswith("file:"):
        path = path[5:]
    parts = [part for part in PurePosixPath(path.lstrip("/")).parts if part != "."]
    while ".." in parts:
        at = parts.index("..")
        # One that leads out of the root is a path from elsewhere.
        foreign = foreign or at == 0
        del parts[max(at - 1, 0) : at + 1]
    ends = range(len(parts)) if foreign else range(min(1, len(parts)))
    for start in ends:
        found = _walk(root, parts[start:])
        if found is not None:
            return found
    return None


def _walk(root: Path, parts: list[str]) -> Path | None:
    """The file at ``parts`` below ``root``, each compared loosely where it is not there as it
    stands."""
    path = root
    for part in parts:
        if not os.path.lexists(path / part):
            alike = _names(path).get(_loose(part), ())
            same_form = [name for name in alike if _composed(name) == _composed(part)]
            chosen = same_form if len(same_form) == 1 else alike
            if len(chosen) != 1:
                return None
            part = chosen[0]
        path = path / part
    return path if _exists(path) else None


def _composed(name: str) -> str:
    return normalize("NFC", name)


def _loose(name: str) -> str:
    return _composed(_composed(name).casefold()).strip()


def _names(folder: Path) -> dict[str, tuple[str, ...]]:
    """Loose name -> the names of a folder that are like it."""
    try:
        changed = folder.stat().st_mtime_ns
    except OSError:
        return {}
    return _listed(folder, changed)


@lru_cache(_FOLDERS)
def _listed(folder: Path, changed: int) -> dict[str, tuple[str, ...]]:
    """``_names`` as they were at a time, so that a folder that changed is read again."""
    names: dict[str, tuple[str, ...]] = {}
    try:
        for name in os.listdir(folder):
            names[_loose(name)] = (*names.get(_loose(name), ()), name)
    except OSError:
        return {}
    return names
