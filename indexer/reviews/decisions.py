"""Latest decisions of the reviews, from their log."""

from __future__ import annotations

import json
from dataclasses import dataclass

from indexer.reviews.store import KEPT_DAYS, OUTCOMES, Reviews, days_ago

# Entries of the log that are looked through, from its end: most are feedback.
_SEARCHED = 10_000


@dataclass(frozen=True)
class ReviewDecision:
    """A decision on a review. ``outcome``: approved or rejected; ``state``: undoable, undone or
    expired."""

    entry: int
    review: str
    at: str
    by: str
    outcome: str
    state: str


def latest_decisions(reviews: Reviews, *, limit: int) -> list[ReviewDecision]:
    """The last ``limit`` of those that stand near the end of the log, the newest first."""
    return _decisions(
        reviews,
        "entry > (SELECT max(entry) FROM log) - ? ORDER BY entry DESC LIMIT ?",
        (_SEARCHED, limit),
    )


def find_decision(reviews: Reviews, entry: int) -> ReviewDecision | None:
    """The decision that is this entry of the log."""
    return next(iter(_decisions(reviews, "entry = ?", (entry,))), None)


def _decisions(reviews: Reviews, condition: str, values: tuple[int, ...]) -> list[ReviewDecision]:
    oldest = days_ago(KEPT_DAYS)
    query = (
        "SELECT entry, at, name, state, body, (SELECT max(entry) FROM log AS later WHERE "
        "later.review_id = log.review_id AND kind = 'decided') FROM log JOIN reviews USING "
        f"(review_id) WHERE kind = 'decided' AND {condition}"
    )
    found = []
    with reviews.database.read() as sql:
        for entry, at, name, now, text, last in sql.execute(query, values):
            body = json.loads(text)
            stands = now != "open" and entry == last
            state = "undone" if not stands else "expired" if at < oldest else "undoable"
            outcome = OUTCOMES.get(body.get("decision"), now)
            found.append(ReviewDecision(entry, name, at, body.get("by") or "", outcome, state))
    return found
