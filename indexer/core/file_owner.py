"""Owners of new files: what root makes in the folder of another user is that user's, who could not
read it otherwise."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from filelock import FileLock

from indexer.core.errors import ReadOnlyError

_ROOT = 0


def give_open(handle: int, folder: Path) -> None:
    """Give an open file or folder that root just made to the owner of ``folder``, in which it lies
    or will lie; nothing where that is who made it.

    What has a second name is of more than this folder, and stays. Raises ``ReadOnlyError`` where
    the system does not let this root do so, ``OSError``.
    """
    if not _is_root():
        return
    owner, made = folder.stat(), os.fstat(handle)
    # Where the file system has one owner for all, that is who it was made for.
    if owner.st_uid == _ROOT or made.st_uid != _ROOT:
        return
    if not stat.S_ISDIR(made.st_mode) and (made.st_nlink > 1 or not stat.S_ISREG(made.st_mode)):
        return
    try:
        os.fchown(handle, owner.st_uid, owner.st_gid)
    except OSError as error:
        raise ReadOnlyError(
            f"{folder} belongs to another user (number {owner.st_uid}), who could not read what "
            f"root writes there, and files cannot be given to that user here ({error.strerror}): "
            "run this as that user"
        ) from error


def give(path: Path, folder: Path | None = None) -> None:
    """``give_open`` by name, without ``folder`` to the owner of its own folder; a link is not
    followed, and stays."""
    folder = path.parent if folder is None else folder
    if _is_root() and folder.stat().st_uid != _ROOT:
        _give_name(str(path), folder, None)


def give_tree(top: Path, folder: Path) -> None:
    """``give`` a file or a folder that root made, with all that it holds."""
    if not _is_root() or folder.stat().st_uid == _ROOT:
        return
    # By the open folder: who owns what lies around it may have put a link in the place of any.
    for _, names, files, inside in os.fwalk(top, follow_symlinks=False):
        for name in (*names, *files):
            _give_name(name, folder, inside)
    _give_name(str(top), folder, None)


def _give_name(name: str, folder: Path, inside: int | None) -> None:
    try:
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=inside)
    except OSError as error:
        if error.errno == errno.ELOOP:
            return
        raise
    try:
        give_open(handle, folder)
    finally:
        os.close(handle)


def make_owned(folder: Path, mode: int = 0o777) -> None:
    """``mkdir`` where there is no such folder, which is then of the owner of the one above it.
    Raises ``OSError``, ``ReadOnlyError``."""
    try:
        folder.mkdir(mode)
    except FileExistsError:
        if not folder.is_dir():
            raise
    else:
        give(folder)


def open_owned(path: Path, flags: int, mode: int) -> int:
    """``os.open`` of a file that is made where there is none, and then given to the owner of its
    folder. Raises ``OSError``, ``ReadOnlyError``."""
    try:
        handle = os.open(path, flags | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        return os.open(path, flags | os.O_CREAT, mode)
    try:
        give_open(handle, path.parent)
    except BaseException:
        os.close(handle)
        raise
    return handle


def touch(path: Path) -> None:
    """Make an empty file where there is none, of the owner of its folder. Raises as
    ``open_owned``."""
    os.close(open_owned(path, os.O_WRONLY, 0o666))


def lock_file(path: Path, *, timeout: float = -1, thread_local: bool = True) -> FileLock:
    """A lock between processes, not held yet, whose file is of the owner of its folder: one that
    root took is for others to take next. The folder must be there to take it."""
    if _is_root() and not path.exists() and path.parent.is_dir():
        touch(path)
    return FileLock(path, timeout=timeout, thread_local=thread_local)


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == _ROOT
