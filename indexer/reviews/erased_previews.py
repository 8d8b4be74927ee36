"""What reviews still keep of products that are erased, whenever it was queued."""

from __future__ import annotations

from collections.abc import Mapping

from indexer.catalog.births import catalog_head
from indexer.catalog.store import Catalog
from indexer.core.home import Home
from indexer.core.sqlite import chunks
from indexer.reviews.redaction import note_removal, redact_reviews
from indexer.reviews.store import Reviews, open_reviews

_QUERY = (
    "SELECT review_id, pid, (SELECT min(entry) FROM log WHERE log.review_id = reviews.review_id) "
    "FROM reviews WHERE pid IS NOT NULL"
)


def clean(home: Home, catalog: Catalog) -> int:
    """Delete previews of decided reviews whose photos no product has, and all that reviews of
    erased products keep; how many previews.

    The file is written anew, so that no deleted byte stays in it. Raises ``BusyError`` where
    another process reads it: what was deleted is then still in it, and ``Reviews.must_scrub`` says
    so.
    """
    if not home.reviews_file.exists():
        return 0
    with open_reviews(home, catalog) as reviews:
        count = _forget_erased(reviews, catalog)
        count += reviews.tidy(
            decided_before="",
            living=lambda hashes: set(catalog.photos_by_hash(hashes)),
        )
        reviews.scrub()
    return count


def forget_erased(home: Home, catalog: Catalog) -> int:
    """Delete the previews and the texts of reviews whose product is erased; how many previews.

    An older release put a review into the queue though its product was erased while its photos
    were looked at. The file is to be written anew afterwards (``Reviews.must_scrub``).
    """
    if not home.reviews_file.exists():
        return 0
    with open_reviews(home, catalog) as reviews:
        return _forget_erased(reviews, catalog)


def _forget_erased(reviews: Reviews, catalog: Catalog) -> int:
    count = 0
    with reviews.database.transaction() as sql:
        known = reviews.known_numbers()
        rows = sql.execute(_QUERY).fetchall()
        erased = _erased(catalog, {row[0]: known.own_pid(row[2], row[1]) for row in rows})
        for part, marks in chunks(erased):
            query = f"DELETE FROM previews WHERE review_id IN ({marks})"
            count += sql.execute(query, part).rowcount
        if count:
            note_removal(sql)
    redact_reviews(reviews.database, erased)
    return count


def _erased(catalog: Catalog, pid_of: Mapping[int, int | None]) -> list[int]:
    """The reviews whose product the catalog had and has no more; one of another catalog, or of a
    state that this one never had, is not known to be erased."""
    last = catalog_head(catalog.database).pid
    there = catalog.ids_of({pid for pid in pid_of.values() if pid is not None})
    return [
        review_id
        for review_id, pid in pid_of.items()
        if pid is not None and pid <= last and pid not in there
    ]
