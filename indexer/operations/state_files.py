"""Small files of a home that hold state: whether each is as it was written, and what mends it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from indexer.core.atomic_files import (
    read_sealed_json,
    read_sealed_texts,
    write_sealed_json,
)
from indexer.core.errors import BadHomeError
from indexer.core.home import FORMAT, SECRET_FILE, Home, read_secret
from indexer.core.home_clock import CLOCK_FILE
from indexer.core.manifest import version_number
from indexer.core.regular_files import read_json
from indexer.index.pushed import pushed_folders
from indexer.operations.damaged_jobs import job_damage, job_folders
from indexer.operations.made_backups import made_backups
from indexer.operations.retention_terms import TERMS_FILE, remembered_terms
from indexer.text.glossary import glossary_damage, glossary_file

# Made again when they are needed; a repair takes damaged ones away.
DERIVED = (
    "duplicates.json",
    "moderation.json",
    "alerts.json",
    "quality.json",
    "start/state.json",
    CLOCK_FILE,
)
# As ``DERIVED``, of every feed that is kept in step.
FETCHED = "sync/*.state.json"
FOLDED = "indexes/FOLDED"
COUNTER = "indexes/LAST"
# What a home is marked with, by the beginnings of the files' names.
_MARKS = ("keys", "reviews", SECRET_FILE, TERMS_FILE)
_SYNC = "delete it, and add the feed again (catalens sync add)"
_MEND_GLOSSARY = (
    "correct it, or import a good one (catalens glossary import FILE); until then the last good "
    "one is asked"
)
_MEND_KEYS = (
    "put keys.json of a backup's folder in its place, or move away what is left of it and make "
    "keys anew (catalens keys create NAME --role admin)"
)


@dataclass(frozen=True)
class StateDamage:
    """A small file that is not as it was written. ``mend``: in words; None: a repair of the home
    (``derived``), or a backup of it."""

    path: Path
    what: str
    mend: str | None = None
    derived: bool = False


@dataclass
class StateCheck:
    """What ``check_state`` found, and how many files it looked at."""

    damages: list[StateDamage]
    count: int


def check_state(home: Home) -> StateCheck:
    """Read each small file of ``home`` against its checksum, where it has one.

    Those of releases before have none. Files that people write by hand (``glossary.csv``,
    ``labels.csv``, profiles of feeds) can have none, and progress and estimates need none; of the
    glossary it is seen whether it can be read.
    """
    found = StateCheck([], 0)
    for path in sorted(_paths(home)):
        found.count += 1
        found.damages += _check(home, path)
    found.damages += _missing(home)
    if (what := glossary_damage(home)) is not None:
        found.damages.append(StateDamage(glossary_file(home), what, _MEND_GLOSSARY))
    return found


def _paths(home: Home) -> Iterator[Path]:
    yield from job_folders(home)
    patterns = ("*.json", "sync/*.json", "start/state.json", SECRET_FILE, CLOCK_FILE, TERMS_FILE)
    for pattern in (*patterns, "indexes/ACTIVATIONS", FOLDED, COUNTER):
        yield from home.path.glob(pattern)


def _check(home: Home, path: Path) -> Iterator[StateDamage]:
    name = path.relative_to(home.path).as_posix()
    try:
        if name == "pushed.json":
            pushed_folders(home)
        elif name == "backups.json":
            made_backups(home)
        elif name == SECRET_FILE:
            read_secret(path)
        elif name == TERMS_FILE:
            remembered_terms(home)
        elif name == FOLDED:
            read_sealed_texts(path)
        elif name == COUNTER:
            _check_counter(home, path)
        elif name.startswith("jobs/"):
            reason = job_damage(path)
            if reason is not None:
                yield StateDamage(path / "job.json", f"is not readable: {reason}", derived=True)
        elif name in DERIVED or name.startswith("sync/") or path == home.keys_file:
            read_sealed_json(path)
        else:
            read_json(path)
    except BadHomeError as error:
        # It says itself what mends it.
        what, _, mend = str(error).partition("; ")
        yield StateDamage(path, what, mend)
    except FileNotFoundError:
        # Gone since it was listed.
        return
    except (OSError, ValueError) as error:
        derived = name in (*DERIVED, FOLDED, COUNTER) or path.match(FETCHED)
        mend = None
        if path == home.keys_file:
            mend = _MEND_KEYS
        elif name == SECRET_FILE:
            mend = f"delete it; then {_secret_mend(home)}"
        elif name.startswith("sync/") and not derived:
            mend = _SYNC
        yield StateDamage(path, f"is not readable: {error}", mend, derived)


def _check_counter(home: Home, path: Path) -> None:
    """Raise ``ValueError`` where the counter of versions is lower than a version that is there."""
    given = int(path.read_text(encoding="ascii"))
    folders = [entry.name for entry in home.indexes.iterdir()]
    newest = max((version_number(name) or 0 for name in folders), default=0)
    if given < newest:
        raise ValueError(f"it says {given}, and there is version {newest}")


def _missing(home: Home) -> Iterator[StateDamage]:
    if home.has_mark("keys") and not home.keys_file.exists():
        yield StateDamage(home.keys_file, "is missing, though keys were made", _MEND_KEYS)
    if home.has_mark(SECRET_FILE) and not home.secret_file.exists():
        what = "is missing, though receivers of webhooks have it: no webhook is sent"
        yield StateDamage(home.secret_file, what, _secret_mend(home))
    if not (home.path / TERMS_FILE).exists():
        yield from _check(home, home.path / TERMS_FILE)


def remake_marker(folder: Path, known: Iterable[str] = ()) -> None:
    """Write ``home.json`` anew, with the marks of what is left of it, of what is there, and of
    ``known``: names of files that were there. Raises ``OSError``."""
    names = [*known, *(path.name for path in folder.iterdir())]
    marker = folder / "home.json"
    try:
        said = {name for name, value in read_json(marker).items() if value is True}
    except (OSError, ValueError, AttributeError):
        said = set()
    there = {mark for mark in _MARKS for name in names if name.startswith(mark)}
    held = {mark: True for mark in _MARKS if mark in said | there}
    write_sealed_json(marker, {"format": FORMAT, **held})


def _secret_mend(home: Home) -> str:
    return (
        "put alert-secret of a backup's folder in its place, or make a new one and give it to "
        f"receivers: catalens alerts secret --rotate --home {shlex.quote(str(home.path))}"
    )
