"""Retention: what of a home comes to its end by time, whatever else happens."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from indexer.catalog.deletions import Deletions
from indexer.catalog.portions import pause_since
from indexer.catalog.store import Catalog
from indexer.catalog.undo_journal import ENDLESS_DAYS, expire, is_expiry_due
from indexer.core.errors import BusyError
from indexer.core.home import Home
from indexer.core.home_clock import clock_fault, note_time
from indexer.operations.damaged_jobs import remove_damaged_jobs
from indexer.operations.jobs import Jobs
from indexer.operations.retention_terms import RetentionTerms, remembered_terms
from indexer.operations.set_aside import end_set_aside, is_set_aside_due
from indexer.reviews.redaction import redact_before
from indexer.reviews.store import Reviews, days_ago, open_reviews

_DAY_S = 86_400.0
# Products whose replaced values are forgotten in one transaction.
_PORTION = 2000


@dataclass
class EndedTerms:
    """How much came to its end. ``held``: why nothing did, where the clock jumped."""

    review_photos: int = 0
    review_texts: int = 0
    jobs: int = 0
    undo: int = 0
    # Files that a repair set aside.
    set_aside: int = 0
    held: str | None = None


def end_terms(home: Home, catalog: Catalog, terms: RetentionTerms | None = None) -> EndedTerms:
    """Delete what came to its end, and write the file of reviews anew where something went.

    Without ``terms`` it is by those of the service that ran last, where one did. Nothing where the
    clock is far from what the home has seen: what went does not come back. Raises ``BusyError``
    where another process reads that file: the next run tries again.
    """
    terms = terms or remembered_terms(home) or RetentionTerms()
    done = EndedTerms(held=note_clock(home, catalog))
    if done.held is not None:
        return done
    if terms.jobs:
        ended_before = time.time() - terms.jobs * _DAY_S
        done.jobs = Jobs(home).forget(keep=0, ended_before=ended_before)
        done.jobs += len(remove_damaged_jobs(home, changed_before=ended_before))
    done.set_aside = end_set_aside(home)
    Deletions(catalog.database).end()
    if is_undo_due(catalog, terms):
        done.undo = _expire_undo(home, catalog, terms.undo or ENDLESS_DAYS)
    if not home.reviews_file.exists():
        return done
    with open_reviews(home) as reviews:
        if terms.review_texts:
            done.review_texts = redact_before(reviews.database, days_ago(terms.review_texts))
        if _is_review_due(reviews, terms):
            done.review_photos = reviews.tidy(**_ends(terms), living=set)
            reviews.scrub()
    return done


def _expire_undo(home: Home, catalog: Catalog, days: float) -> int:
    """``expire`` in portions, between which others write; not what an undo in work needs: the next
    run tries again."""
    total = 0
    while True:
        removed = 0
        with suppress(BusyError), home.lock("decision"), catalog.database.transaction() as sql:
            began = time.monotonic()
            removed = expire(sql, days=days, portion=_PORTION)
        total += removed
        if removed < _PORTION:
            return total
        pause_since(began)


def is_due(home: Home, catalog: Catalog, terms: RetentionTerms) -> bool:
    """Whether ``end_terms`` would find something; cheap."""
    if clock_fault(home, known=_last_action(catalog)) is not None:
        return False
    if terms.jobs and Jobs(home).have_ended(time.time() - terms.jobs * _DAY_S):
        return True
    if is_set_aside_due(home) or Deletions(catalog.database).has_ended():
        return True
    if is_undo_due(catalog, terms):
        return True
    if not home.reviews_file.exists():
        return False
    with open_reviews(home) as reviews:
        return _is_review_due(reviews, terms)


def note_clock(home: Home, catalog: Catalog) -> str | None:
    """Note that the home is in use now; why nothing in it may end by time, None where it may."""
    return note_time(home, known=_last_action(catalog))


def _last_action(catalog: Catalog) -> float:
    """When the last thing was done to a catalog, in seconds since 1970; 0 where nothing was."""
    actions = catalog.actions.actions(limit=1)
    try:
        return datetime.fromisoformat(actions[0].at).timestamp() if actions else 0.0
    except (ValueError, OverflowError):
        return 0.0


def is_undo_due(catalog: Catalog, terms: RetentionTerms) -> bool:
    """Whether what an action replaced came to its end."""
    with catalog.database.read() as sql:
        return is_expiry_due(sql, days=terms.undo or ENDLESS_DAYS)


def _is_review_due(reviews: Reviews, terms: RetentionTerms) -> bool:
    return reviews.must_scrub() or reviews.are_previews_due(**_ends(terms))


def _ends(terms: RetentionTerms) -> dict[str, str]:
    return {
        "decided_before": days_ago(terms.review_photos or ENDLESS_DAYS),
        "opened_before": days_ago(terms.open_review_photos or ENDLESS_DAYS),
    }
