"""Store of reviews and feedback: an append-only log beside the catalog."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import orjson

from indexer.catalog.checksums import CheckedDatabase
from indexer.core.actor import current_actor
from indexer.core.errors import (
    AlreadyDecidedError,
    MissingReviewsError,
    NotUndoableError,
    UnknownReviewError,
)
from indexer.core.home import Home
from indexer.core.home_clock import latest_time_text
from indexer.core.sqlite import Database, chunks, has_table, read_meta
from indexer.core.sqlite_files import has_log, is_made
from indexer.reviews.body_hashes import hash_bodies
from indexer.reviews.catalog_lineage import CatalogLineage, KnownNumbers
from indexer.reviews.redaction import MUST_SCRUB, OPENED, dump_body, note_removal
from indexer.reviews.schema import ROW_KINDS, SCHEMA
from indexer.reviews.tallies import count_log, ensure_tallies, is_counted, tallied

if TYPE_CHECKING:
    from indexer.catalog.store import Catalog

# How long the photos of a decided review can still be looked at, and those of one that nobody
# decides.
KEPT_DAYS = 30.0
WAITING_DAYS = 180.0
ReviewState = Literal["open", "approved", "rejected"]
STATES: tuple[ReviewState, ...] = ("open", "approved", "rejected")
OUTCOMES: dict[str, ReviewState] = {"approve": "approved", "reject": "rejected"}


@dataclass(frozen=True)
class Preview:
    """A photo as a person who decides sees it: small, and gone once the review is."""

    content_hash: str
    jpeg: bytes


@dataclass(frozen=True)
class Review:
    """One review of the queue. ``body`` is what was answered; products in it stand as ``pid``,
    which is None for one of another catalog."""

    name: str
    opened: str  # ISO 8601, UTC
    state: ReviewState
    pid: int | None
    body: dict[str, Any]
    decided: dict[str, Any] | None  # {"at", "entry", "decision", ...}
    photos: dict[
        int, str
    ]  # content hashes of the previews there still are, by the photo's place in the listing


class Reviews:
    """Safe from several threads and processes; a call returns after its commit.

    ``catalog``: whose products the entries name. What was written beside another one, or beside a
    state that this one never had, then names none.
    """

    def __init__(self, path: Path, catalog: Catalog | None = None) -> None:
        self.database: Database = CheckedDatabase(path, SCHEMA, ROW_KINDS)
        self._lineage = None if catalog is None else CatalogLineage(catalog)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def path(self) -> Path:
        return self.database.path

    def close(self) -> None:
        """Close the connections of all threads; a later call opens a new one."""
        self.database.close()

    # -- writing

    def open_review(
        self,
        body: dict[str, Any],
        previews: Sequence[Preview],
        *,
        name: str | None = None,
        pid: int | None = None,
    ) -> str:
        """Put a review into the queue; its name. ``body`` is kept in the log as it stands.

        Raises ``UnknownProductError`` where the product ``pid`` is erased, or was while its photos
        were looked at; then nothing is kept.
        """
        name = name or uuid.uuid4().hex
        with self.database.transaction() as connection:
            self._require_product(pid)
            cursor = connection.execute(
                "INSERT INTO reviews (name, opened, state, pid) VALUES (?, ?, 'open', ?)",
                (name, self._now(), pid),
            )
            review_id = cursor.lastrowid
            connection.executemany(
                "INSERT INTO previews VALUES (?, ?, ?, ?)",
                [
                    (review_id, place, preview.content_hash, preview.jpeg)
                    for place, preview in enumerate(previews)
                ],
            )
            self._note(self._append("opened", body, review_id))
            count_log(connection)
        return name

    def decide(
        self, name: str, decision: str, *, reason: str, more: dict[str, Any] | None = None
    ) -> Review:
        """Close a review by a person's ``decision`` (``approve`` or ``reject``), who is named in it
        (``by``).

        Raises ``UnknownReviewError``, ``AlreadyDecidedError`` that says how.
        """
        with self.database.transaction():
            review_id, state = self._found(name)
            if state != "open":
                raise AlreadyDecidedError(
                    f"review {name} was {state} already: a decision is made once"
                )
            self.database.connection.execute(
                "UPDATE reviews SET state = ? WHERE review_id = ?", (OUTCOMES[decision], review_id)
            )
            body = {"decision": decision, "reason": reason, "by": current_actor(), **(more or {})}
            self._append("decided", body, review_id)
            # Inside: what was decided, though somebody else takes it back at once.
            return self.get(name)

    def reopen(self, name: str, *, entry: int | None = None) -> Review:
        """Take a decision back: the review waits again. Both stay in the log. ``entry``: only
        where the last decision is this entry.

        Raises ``UnknownReviewError``, ``NotUndoableError`` where it waits, or was decided longer
        ago than its photos are kept.
        """
        with self.database.transaction() as connection:
            review_id, state = self._found(name)
            query = "SELECT max(at), max(entry) FROM log WHERE review_id = ? AND kind = 'decided'"
            decided, last = connection.execute(query, (review_id,)).fetchone()
            if state == "open":
                raise NotUndoableError(f"review {name} is open: there is no decision to undo")
            if entry not in (None, last):
                raise NotUndoableError(f"review {name} was decided anew since: undo that decision")
            if str(decided) < days_ago(KEPT_DAYS):
                raise NotUndoableError(
                    f"review {name} was {state} on {decided}: a decision can be undone for "
                    f"{KEPT_DAYS:g} days"
                )
            query = "UPDATE reviews SET state = 'open' WHERE review_id = ?"
            connection.execute(query, (review_id,))
            self._append("undone", {"by": current_actor()}, review_id)
            return self.get(name)

    def add_feedback(self, entries: Iterable[dict[str, Any]]) -> int:
        """Append what people accepted, rejected or clicked; how many entries. Raises as
        ``open_review`` for the product that an entry is about."""
        count = last = 0
        with self.database.transaction() as connection:
            for entry in entries:
                self._require_product(entry.get("pid"))
                last = self._append("feedback", entry, None)
                count += 1
            if count:
                self._note(last)
            count_log(connection)
        return count

    def bring_up_to_date(self) -> None:
        """Give a file of an older release what it lacks."""
        if self.database.read_only:
            return
        with self.database.read() as connection:
            is_old = not has_table(connection, "tallies")
            is_due = self._lineage is not None and self._lineage.is_due(connection)
        if is_old or is_due:
            with self.database.transaction() as connection:
                ensure_tallies(connection)
                if self._lineage is not None:
                    self._lineage.adopt(connection)

    def count_some(self) -> bool:
        """Count the next entries of a log that is not counted; whether none are left."""
        if self.database.read_only or self.is_counted():
            return True
        with self.database.transaction() as connection:
            return count_log(connection)

    def forget(self, hashes: Iterable[str]) -> int:
        """Delete the previews of these photos, of whatever review; how many."""
        count = 0
        with self.database.transaction():
            for part, marks in chunks(list(hashes)):
                query = f"DELETE FROM previews WHERE content_hash IN ({marks})"
                count += self.database.connection.execute(query, part).rowcount
            if count:
                note_removal(self.database.connection)
        return count

    def tidy(
        self,
        *,
        decided_before: str,
        living: Callable[[set[str]], set[str]],
        opened_before: str = "",
    ) -> int:
        """Delete the previews of reviews that no one needs; how many.

        Those of reviews decided before that time (ISO 8601), of reviews opened before that time,
        and of decided reviews those whose photos no product has: ``living`` says which of the
        content hashes it gets belong to one.
        """
        with self.database.transaction() as connection:
            decided = (
                "SELECT review_id FROM reviews JOIN log USING (review_id) WHERE kind = 'decided' "
                "AND state <> 'open'"
            )
            query = f"DELETE FROM previews WHERE review_id IN ({decided} AND at < ?)"
            count = connection.execute(query, (decided_before,)).rowcount
            waiting = "SELECT review_id FROM reviews WHERE state = 'open' AND opened < ?"
            query = f"DELETE FROM previews WHERE review_id IN ({waiting})"
            count += connection.execute(query, (opened_before,)).rowcount
            query = f"SELECT DISTINCT content_hash FROM previews WHERE review_id IN ({decided})"
            held = {row[0] for row in connection.execute(query)}
            for part, marks in chunks(sorted(held - living(held))):
                query = (
                    f"DELETE FROM previews WHERE review_id IN ({decided}) AND content_hash IN "
                    f"({marks})"
                )
                count += connection.execute(query, part).rowcount
            if count:
                note_removal(connection)
        return count

    def are_previews_due(self, *, decided_before: str, opened_before: str) -> bool:
        """Whether a review has photos that came to their end."""
        query = (
            "SELECT 1 FROM previews JOIN reviews USING (review_id) WHERE (state = 'open' AND "
            "opened < ?) OR (state <> 'open' AND review_id IN (SELECT review_id FROM log WHERE "
            "kind = 'decided' AND at < ?)) LIMIT 1"
        )
        with self.database.read() as connection:
            return connection.execute(query, (opened_before, decided_before)).fetchone() is not None

    def must_scrub(self) -> bool:
        """Whether deleted bytes may still be in the file."""
        with self.database.read() as connection:
            return read_meta(connection, MUST_SCRUB) is not None

    def scrub(self) -> None:
        """Write the file anew, so that no deleted byte stays in it.

        Raises ``BusyError`` where another process keeps its log in use; ``must_scrub`` then stays.
        """
        with self.database.read() as connection:
            noted = read_meta(connection, MUST_SCRUB)
        self.database.scrub()
        if noted is not None:
            # Unless more was deleted meanwhile.
            with self.database.transaction() as connection:
                query = "DELETE FROM meta WHERE key = ? AND value = ?"
                connection.execute(query, (MUST_SCRUB, noted))

    # -- reading

    def get(self, name: str) -> Review:
        """Raises ``UnknownReviewError``."""
        with self.database.read():
            review_id, _ = self._found(name)
            return self._reviews([review_id])[0]

    def waiting(
        self, state: ReviewState, *, limit: int, after: str | None = None
    ) -> tuple[list[Review], int]:
        """Up to ``limit`` reviews of a state, the oldest first, behind the one named ``after``; and
        how many of it."""
        with self.database.read() as connection:
            begin = self._found(after)[0] if after is not None else 0
            query = (
                "SELECT review_id FROM reviews WHERE state = ? AND review_id > ? ORDER BY "
                "review_id LIMIT ?"
            )
            ids = [row[0] for row in connection.execute(query, (state, begin, limit))]
            return self._reviews(ids), self.counts()[state]

    def preview(self, name: str, position: int) -> bytes:
        """The JPEG of one photo of a review. Raises ``UnknownReviewError`` where there is none (any
        more)."""
        with self.database.read() as connection:
            review_id, _ = self._found(name)
            query = "SELECT jpeg FROM previews WHERE review_id = ? AND position = ?"
            row = connection.execute(query, (review_id, position)).fetchone()
        if row is None:
            raise UnknownReviewError(f"review {name} has no photo {position} (any more)")
        return bytes(row[0])

    def feedback(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """(time, body) of all feedback, in order; ``foreign`` in a body: on a product of another
        catalog."""
        with self.database.read() as connection:
            known = self.known_numbers()
            query = "SELECT entry, at, body FROM log WHERE kind = 'feedback' ORDER BY entry"
            for entry, at, body in connection.execute(query):
                yield at, known.body(entry, json.loads(body))

    def is_counted(self) -> bool:
        """Whether ``judged_tags`` and ``decided_alarms`` hold all of the log: one of an older
        release is counted beside the answers."""
        with self.database.read() as connection:
            return is_counted(connection)

    def bodies(self) -> Iterator[tuple[int | None, dict[str, Any]]]:
        """(pid of the stored product that its review looked at, body) of all entries, in order."""
        with self.database.read() as connection:
            known = self.known_numbers()
            query = (
                f"SELECT entry, {OPENED}, pid, body FROM log LEFT JOIN reviews USING (review_id) "
                "ORDER BY entry"
            )
            for entry, opened, pid, body in connection.execute(query):
                yield known.own_pid(opened, pid), known.body(entry, json.loads(body))

    def known_numbers(self) -> KnownNumbers:
        """Which numbers in entries are the catalog's; all, where it was opened without one."""
        with self.database.read() as connection:
            return KnownNumbers([]) if self._lineage is None else self._lineage.numbers(connection)

    def count_previews(self, hashes: Iterable[str]) -> int:
        """How many previews there are of these photos."""
        count = 0
        with self.database.read() as connection:
            for part, marks in chunks(list(hashes)):
                query = f"SELECT count(*) FROM previews WHERE content_hash IN ({marks})"
                count += connection.execute(query, part).fetchone()[0]
        return count

    def judged_tags(self) -> tuple[int, int]:
        """How many suggested tags people accepted, and how many they rejected."""
        with self.database.read() as connection:
            found = tallied(connection, "tags")
        return found.get("accepted", 0), found.get("rejected", 0)

    def counts(self) -> dict[ReviewState, int]:
        """How many reviews are in each state."""
        with self.database.read() as connection:
            found = tallied(connection, "state")
            if not found:  # of an older release, and read-only
                query = "SELECT state, count(*) FROM reviews GROUP BY state"
                found = dict(connection.execute(query))
        return {state: int(found.get(state, 0)) for state in STATES}

    def decided_alarms(self) -> list[tuple[ReviewState, str, int]]:
        """(state, policy, how many): of the reviews that a person decided, those a policy had asked
        for."""
        with self.database.read() as connection:
            return [
                (state, policy, count)
                for state in OUTCOMES.values()
                for policy, count in sorted(tallied(connection, f"alarms {state}").items())
                if count
            ]

    # -- inside

    def _append(self, kind: str, body: dict[str, Any], review_id: int | None) -> int:
        query = "INSERT INTO log (at, kind, review_id, body) VALUES (?, ?, ?, ?)"
        text, sql = dump_body(body), self.database.connection
        entry = int(sql.execute(query, (self._now(), kind, review_id, text)).lastrowid or 0)
        hash_bodies(sql, [(entry, text)])
        return entry

    def _now(self) -> str:
        return latest_time_text(self.path.parent)

    def _require_product(self, pid: int | None) -> None:
        if self._lineage is not None:
            self._lineage.require_product(pid)

    def _note(self, entry: int) -> None:
        """Note which catalog the entries up to this one name products of."""
        if self._lineage is not None:
            self._lineage.note(self.database.connection, entry)

    def _found(self, name: str) -> tuple[int, str]:
        query = "SELECT review_id, state FROM reviews WHERE name = ?"
        row = self.database.connection.execute(query, (name,)).fetchone()
        if row is None:
            raise UnknownReviewError(f"there is no review {name!a}")
        return int(row[0]), str(row[1])

    def _reviews(self, ids: Sequence[int]) -> list[Review]:
        """Those of ``ids``, in their order."""
        connection = self.database.connection
        known = self.known_numbers()
        opened: dict[int, int] = {}
        rows: dict[int, tuple[str, str, ReviewState, int | None]] = {}
        bodies: dict[int, dict[str, dict[str, Any]]] = {}
        hashes: dict[int, dict[int, str]] = {}
        for part, marks in chunks(ids):
            query = (
                "SELECT review_id, name, opened, state, pid FROM reviews WHERE review_id IN "
                f"({marks})"
            )
            for review_id, *row in connection.execute(query, part):
                rows[review_id] = tuple(row)
            query = (
                f"SELECT entry, review_id, kind, at, body FROM log WHERE review_id IN ({marks}) "
                "ORDER BY entry"
            )
            for entry, review_id, kind, at, text in connection.execute(query, part):
                opened.setdefault(review_id, entry)
                body = known.body(entry, orjson.loads(text))
                own = bodies.setdefault(review_id, {})
                own[kind] = {"at": at, "entry": entry, **body} if kind == "decided" else body
                if kind == "undone":
                    own.pop("decided", None)
            query = (
                "SELECT review_id, position, content_hash FROM previews WHERE review_id IN "
                f"({marks}) ORDER BY position"
            )
            for review_id, position, content_hash in connection.execute(query, part):
                hashes.setdefault(review_id, {})[position] = content_hash
        found = []
        for review_id in ids:
            own = bodies[review_id]
            photos = hashes.get(review_id, {})
            name, at, state, pid = rows[review_id]
            pid = known.own_pid(opened[review_id], pid)
            found.append(Review(name, at, state, pid, own["opened"], own.get("decided"), photos))
        return found


def open_reviews(home: Home, catalog: Catalog | None = None) -> Reviews:
    """The reviews of ``home``; the file is made at the first use. ``catalog``: the home's, for
    whoever asks or says something of products. Raises ``NewerFormatError``, ``BadHomeError``,
    ``MissingReviewsError``: decisions that are lost are not taken for none."""
    path = home.reviews_file
    if not is_made(path) and not (home.has_mark("reviews") and has_log(path)):
        if home.has_mark("reviews"):
            raise MissingReviewsError(
                f"{path} is missing or empty, but people decided reviews in this home: put it back "
                f"from a backup (catalens restore FROM --home NEW); without one, catalens "
                f"verify --repair --home {home.path} begins a new one"
            )
        with home.lock("reviews", wait_s=30), Reviews(path) as reviews:
            reviews.database.prepare()
    home.mark("reviews")
    reviews = Reviews(path, catalog)
    try:
        reviews.database.check()
        reviews.bring_up_to_date()
    except BaseException:
        reviews.close()
        raise
    return reviews


def forget_photos(home: Home, hashes: Iterable[str]) -> int:
    """Delete the previews of these photos, if the home has reviews; how many previews.

    For photos that ``PhotoStore.collect`` removed: nothing else shows them any more.
    """
    hashes = list(hashes)
    if not hashes or not home.reviews_file.exists():
        return 0
    with open_reviews(home) as reviews:
        return reviews.forget(hashes)


def days_ago(days: float) -> str:
    """That time as the log has it: ISO 8601, UTC."""
    return (datetime.now(UTC) - timedelta(days=days)).isoformat(timespec="milliseconds")
