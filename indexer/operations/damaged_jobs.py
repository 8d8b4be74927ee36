"""Folders of jobs whose file cannot be read: nothing can be told of them, and an upload may lie
there."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path

from indexer.core.atomic_files import remove_folder
from indexer.core.file_owner import lock_file
from indexer.core.home import Home
from indexer.operations.jobs import OWNER_LOCK, Job, read_stored


def job_damage(folder: Path) -> str | None:
    """Why a folder cannot be read as a job; None where it can, or is gone.

    Raises ``OSError`` where that is not known now.
    """
    try:
        Job.read(read_stored(folder), folder.name)
    except FileNotFoundError:
        # One that is being removed has another name by then.
        return "it is missing" if folder.is_dir() else None
    except ValueError as error:
        return str(error).partition("\n")[0]
    return None


def job_folders(home: Home) -> list[Path]:
    """The folders that jobs have, sound or not."""
    folder = home.path / "jobs"
    return sorted(path for path in folder.glob("[!.]*") if path.is_dir())


def remove_damaged_jobs(home: Home, *, changed_before: float = math.inf) -> list[str]:
    """Remove folders that hold no job that can be read, that no service waits for and that nobody
    changed since that time (seconds since 1970); their names.

    Rows of a feed and an upload may lie in them, which no erasure could look through. What this
    user may not read or remove stays, and ends nothing else.
    """
    removed = []
    for folder in job_folders(home):
        with suppress(OSError):
            if job_damage(folder) is None or _changed(folder) >= changed_before:
                continue
            with lock_file(folder / OWNER_LOCK, timeout=0):
                remove_folder(folder)
            removed.append(folder.name)
    return removed


def _changed(folder: Path) -> float:
    """When a folder or what lies in it was changed last."""
    return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
