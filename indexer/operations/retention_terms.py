"""Terms of retention: how long what a home keeps of people's work stays, and who last said so."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from typing import Any

from indexer.catalog.undo_journal import KEPT_DAYS as UNDO_DAYS
from indexer.core.atomic_files import foreign_failure, read_sealed_json, write_sealed_json
from indexer.core.errors import BadHomeError, BusyError, ReadOnlyError
from indexer.core.home import Home
from indexer.reviews.store import KEPT_DAYS, WAITING_DAYS

TERMS_FILE = "TERMS"
_MEND = (
    "start the service (catalens serve), which writes its terms of retention there, or give the "
    "command all of them (a file of settings)"
)


@dataclass(frozen=True)
class RetentionTerms:
    """How many days what is kept of people's work stays; 0: it has no end of its own."""

    # Photos of reviews since the decision, and of reviews that nobody decides since they came in.
    review_photos: float = KEPT_DAYS
    open_review_photos: float = WAITING_DAYS
    # Reasons, tags and texts read from photos, in decided reviews and in feedback.
    review_texts: float = 0.0
    # What a job that ended reported; it may name rows of a feed.
    jobs: float = 30.0
    # What was replaced, for its undo. That of an erased product goes with it.
    undo: float = UNDO_DAYS


def remember_terms(home: Home, terms: RetentionTerms) -> None:
    """Note the terms that a service ends things by: a command that is told none must not end what
    the service keeps for longer. Raises as ``Home.require``."""
    home.require()
    known = None
    # Terms that this user may not read are written anew as well: the folder is the home's.
    with suppress(BadHomeError, ReadOnlyError):
        known = remembered_terms(home)
    # A read-only home is not cleared up either.
    with suppress(OSError, ReadOnlyError):
        if known != terms:
            write_sealed_json(home.path / TERMS_FILE, asdict(terms))
        # Also in a home whose terms an older release noted.
        with suppress(BadHomeError, BusyError):
            home.mark(TERMS_FILE)


def remembered_terms(home: Home) -> RetentionTerms | None:
    """The terms of the service that ran last; None where none did. Raises ``BadHomeError``, also
    where they are lost."""
    path = home.path / TERMS_FILE
    try:
        stored = read_sealed_json(path)
        names = [field.name for field in fields(RetentionTerms)]
        return RetentionTerms(**{name: _days(stored[name]) for name in names if name in stored})
    except FileNotFoundError as error:
        if home.has_mark(TERMS_FILE):
            raise BadHomeError(f"{path} is missing, though a service ran here; {_MEND}") from error
        return None
    except PermissionError as error:
        raise foreign_failure(path) from error
    except (OSError, ValueError, TypeError) as error:
        raise BadHomeError(f"{path} is not readable: {error}; {_MEND}") from error


def _days(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number of days")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{value!r} is no number of days")
    return float(value)
