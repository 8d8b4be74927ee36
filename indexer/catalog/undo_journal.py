"""Journal of what writes replaced: the values before, kept in the same transaction as the write."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import orjson

from indexer.catalog.action_log import EXPIRED, begin_action
from indexer.catalog.product_rows import StoredContent, strings_in, texts_in
from indexer.catalog.records import dump, load
from indexer.core.actor import current_action
from indexer.core.sqlite import Connection, chunks, has_table, read_meta, write_meta

# How long what was done can be undone.
KEPT_DAYS = 30.0
# As many days ago nothing was done.
ENDLESS_DAYS = 365_000.0
# Changed products that are kept for it in all; the oldest actions go first.
MOST_KEPT = 2_000_000
_BATCH = 500
_ATTRIBUTE = "attributes/"
# Of ``MOST_KEPT``: how far a write lets them grow beyond it, and how many it then ends.
_SLACK = 0.1
_ENDED_AT_ONCE = 4 * _BATCH
_ALL = 2**62
_NUMBERS = (int, float)
# In ``meta``: about how many products are kept, erased ones included.
_HELD = "undo_kept"
# What a product has under a name: "title", "category", "tags", "photos", "attributes/NAME" or
# "fields/NAME". Of an attribute: [value, as written]; absent is None.
Part = Any
Parts = dict[str, Part]
# Parts before and after a write that changed them.
ReplacedParts = dict[str, tuple[Part, Part]]


@dataclass(frozen=True)
class KeptPart:
    """A part as it was before an action, and a digest of how the action left it."""

    before: Part
    after: str


@dataclass(frozen=True)
class KeptType:
    """An attribute's type before an action, None where it had none, and the one it left."""

    name: str
    before: str | None
    mark: int | None
    after: str


def digest(part: Part) -> str:
    """Short, and the same for equal parts."""
    return hashlib.blake2b(dump(part).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def content_parts(content: StoredContent) -> Parts:
    """All parts that stand in a product's row."""
    return {
        "title": content.title,
        "category": _loaded(content.category),
        **_attribute_parts(content),
        **_field_parts(content),
    }


def changed_parts(before: StoredContent, after: StoredContent) -> ReplacedParts:
    """The parts that differ, before and after; columns that do not are not read."""
    parts: ReplacedParts = {}
    differences(parts, "title", before.title, after.title)
    if before.category != after.category:
        parts["category"] = (_loaded(before.category), _loaded(after.category))
    if (before.attributes, before.spellings) != (after.attributes, after.spellings):
        _compare(parts, _attribute_parts(before), _attribute_parts(after))
    if before.fields != after.fields:
        _compare(parts, _field_parts(before), _field_parts(after))
    return parts


def differences(parts: ReplacedParts, name: str, was: Part, now: Part) -> None:
    """Note a part where it differs."""
    if was != now:
        parts[name] = (was, now)


def loses_text(parts: ReplacedParts, after: StoredContent) -> bool:
    """Whether a text that ``parts`` replaced stands nowhere any more; numbers are no texts."""
    gone: dict[str, set[str]] = {}
    for name, (was, now) in parts.items():
        kind = name.partition("/")[0]
        if kind in ("tags", "photos"):
            return True
        if not was:
            continue
        if kind not in ("attributes", "fields"):
            return True
        value, new = (was[0], now and now[0]) if kind == "attributes" else (was, now)
        if not isinstance(value, _NUMBERS) and value != new:
            gone.setdefault(kind, set()).update(strings_in(value))
    return any(
        texts and not texts <= texts_in(getattr(after, kind)) for kind, texts in gone.items()
    )


def _compare(parts: ReplacedParts, old: Parts, new: Parts) -> None:
    for name in old.keys() | new.keys():
        differences(parts, name, old.get(name), new.get(name))


def _attribute_parts(content: StoredContent) -> Parts:
    spellings = load(content.spellings) if content.spellings else {}
    return {
        f"attributes/{name}": [value, spellings.get(name)]
        for name, value in load(content.attributes).items()
    }


def _field_parts(content: StoredContent) -> Parts:
    fields = load(content.fields) if content.fields else {}
    return {f"fields/{name}": value for name, value in fields.items()}


def _loaded(text: str | None) -> Any:
    return None if text is None else load(text)


def with_parts(content: StoredContent, parts: Parts) -> StoredContent:
    """``content`` with ``parts`` in place of its own."""
    attributes = load(content.attributes)
    spellings = load(content.spellings or "{}")
    fields = load(content.fields or "{}")
    title = content.title
    category = content.category
    for part, value in parts.items():
        kind, _, name = part.partition("/")
        if part == "title":
            title = value
        elif part == "category":
            category = None if value is None else dump(value)
        elif kind == "attributes":
            _put(attributes, name, None if value is None else value[0])
            _put(spellings, name, None if value is None else value[1])
        elif kind == "fields":
            _put(fields, name, value)
    return StoredContent(
        title,
        category,
        dump(attributes),
        dump(fields) if fields else None,
        dump(spellings) if spellings else None,
    )


def _put(values: dict[str, Any], name: str, value: Any) -> None:
    if value is None:
        values.pop(name, None)
    else:
        values[name] = value


class UndoJournal:
    """What the writes of one open transaction replaced. Nothing is read before the first."""

    def __init__(self, connection: Connection) -> None:
        self._sql = connection
        # What all writes of the transaction are part of.
        self.action = current_action()
        self._number: int | None = None
        # Known once it is there: a transaction may make it.
        self._has_kept = False
        self._buffer: dict[int, dict[str, list[Part]]] = {}

    def change(self, pid: int, parts: ReplacedParts) -> None:
        """Keep the parts of a product that a write replaced."""
        kept = self._buffer.setdefault(pid, {})
        for name, (was, now) in parts.items():
            # Of several changes by one action the first has what stood before it.
            kept[name] = [kept[name][0] if name in kept else was, digest(now)]
        if len(self._buffer) >= _BATCH:
            self.flush()

    def change_types(self, types: Iterable[KeptType]) -> None:
        """Keep the types that attributes had."""
        rows = [(kept.name, kept.before, kept.mark, kept.after) for kept in types]
        if not rows:
            return
        number = self.begin()
        query = (
            "INSERT INTO kept_types (action_no, name, before, mark, after) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET after = excluded.after"
        )
        self._sql.executemany(query, [(number, *row) for row in rows])

    def erase(self, pid: int) -> KeptTexts:
        """Forget all that was ever kept of a product, which is erased; the texts among it."""
        found = KeptTexts([], [])
        found.add({name: pair[0] for name, pair in self._buffer.pop(pid, {}).items()})
        if not self._has_kept:
            self._has_kept = has_table(self._sql, "kept")
        if self._has_kept:
            kept = kept_texts(self._sql, pid)
            found.texts.extend(kept.texts)
            found.names.extend(kept.names)
            self._sql.execute("DELETE FROM kept WHERE pid = ?", (pid,))
        return found

    def flush(self) -> None:
        """Write what is kept so far; at the latest before the transaction ends."""
        buffer = {pid: parts for pid, parts in self._buffer.items() if parts}
        self._buffer = {}
        if not buffer:
            return
        number = self.begin()
        for part, marks in chunks(list(buffer)):
            query = f"SELECT pid, parts FROM kept WHERE action_no = ? AND pid IN ({marks})"
            for pid, text in self._sql.execute(query, (number, *part)):
                earlier = load(text)
                for name, (was, now) in buffer[pid].items():
                    earlier[name] = [earlier[name][0] if name in earlier else was, now]
                buffer[pid] = earlier
        rows = [(number, pid, _text(parts)) for pid, parts in sorted(buffer.items())]
        self._sql.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?, ?)", rows)
        held = int(read_meta(self._sql, _HELD) or 0) + len(rows)
        write_meta(self._sql, _HELD, str(held))
        if held > MOST_KEPT * (1 + _SLACK):
            # For their number alone: retention ends them by their age. A little with each write,
            # and counted once in many: others wait for it.
            expire(self._sql, days=ENDLESS_DAYS, portion=_ENDED_AT_ONCE)

    def begin(self) -> int:
        """The action's number, under which all is kept."""
        if self._number is None:
            self._number = begin_action(self._sql, self.action)
        return self._number


def _text(parts: dict[str, list[Part]]) -> str:
    try:
        return orjson.dumps(parts).decode()
    except TypeError:
        # Integers beyond 64 bits, which an older release stored in lists.
        return dump(parts)


class KeptTexts(NamedTuple):
    """Titles, tags and values that a product had before, and names of its attributes."""

    texts: list[str]
    names: list[str]

    def add(self, parts: Parts) -> None:
        """Add those in ``parts``."""
        for name, was in parts.items():
            self.texts.extend(_texts_of(name, was))
            if name.startswith(_ATTRIBUTE) and was is not None:
                self.names.append(name.removeprefix(_ATTRIBUTE))


def kept_texts(sql: Connection, pid: int) -> KeptTexts:
    """What a product said before, as far as it is kept."""
    found = KeptTexts([], [])
    if has_table(sql, "kept"):
        for (parts,) in sql.execute("SELECT parts FROM kept WHERE pid = ?", (pid,)):
            found.add({name: pair[0] for name, pair in load(parts).items()})
    return found


def _texts_of(name: str, was: Part) -> Iterator[str]:
    """The texts of a part that may name its product elsewhere."""
    kind = name.partition("/")[0]
    if was is None:
        return
    if kind == "tags":
        yield from (tag for tag, _ in was)
    elif kind == "attributes":
        yield from strings_in(was[0])
    elif kind in ("title", "fields"):
        yield from strings_in(was)


def read_kept(sql: Connection, number: int, pids: Sequence[int]) -> dict[int, dict[str, KeptPart]]:
    """What an action replaced of those of ``pids``."""
    found: dict[int, dict[str, KeptPart]] = {}
    for part, marks in chunks(list(pids)):
        query = f"SELECT pid, parts FROM kept WHERE action_no = ? AND pid IN ({marks})"
        for pid, text in sql.execute(query, (number, *part)):
            found[pid] = {name: KeptPart(*pair) for name, pair in load(text).items()}
    return found


def changed_since(sql: Connection, number: int, pids: Sequence[int]) -> dict[int, set[str]]:
    """The parts of those of ``pids`` that actions above ``number`` changed and that nobody undid.

    What an undo did counts for nothing: it brought back what stood before another action.
    """
    found: dict[int, set[str]] = {}
    for part, marks in chunks(list(pids)):
        query = (
            "SELECT pid, parts FROM kept JOIN actions USING (action_no) WHERE action_no > ? AND "
            f"undone IS NULL AND undoes IS NULL AND pid IN ({marks})"
        )
        for pid, text in sql.execute(query, (number, *part)):
            found.setdefault(pid, set()).update(load(text))
    return found


def expire(
    sql: Connection, *, days: float = KEPT_DAYS, most: int = MOST_KEPT, portion: int = _ALL
) -> int:
    """Forget what older actions replaced; how many products it was. Inside a write transaction.

    ``most``: products kept in all; the oldest actions go first, the newest one stays. Where
    ``portion`` of them went, there may be more: none of it can be undone any more.
    """
    if not has_table(sql, "kept_decisions"):
        return 0
    last = max(int(read_meta(sql, EXPIRED) or 0), _last_old(sql, days))
    removed = _forget(sql, last, portion)
    before_all = int(read_meta(sql, _HELD) or 0)
    held = max(before_all - removed, 0)
    if held > most and removed < portion:
        # Only now they are counted, which takes long.
        last, held = _last_beyond(sql, last, most)
        removed += _forget(sql, last, portion - removed)
        if removed >= portion:
            # Those that wait for their end are held, too.
            held = max(before_all - removed, held)
    write_meta(sql, _HELD, str(held))
    write_meta(sql, EXPIRED, str(last))
    if removed:
        write_meta(sql, "must_scrub", "1")
    if removed >= portion:
        return removed
    for table in ("kept_types", "kept_decisions"):
        sql.execute(f"DELETE FROM {table} WHERE action_no <= ?", (last,))
    # Who did what is known as long as the log has what was done.
    query = (
        "DELETE FROM actions WHERE action_no <= ? AND action_no NOT IN (SELECT action_no FROM "
        "action_changes)"
    )
    sql.execute(query, (last,))
    return removed


def _last_old(sql: Connection, days: float) -> int:
    """The last of the actions that came to their end, 0 for none.

    None that is not so old may stand before it: an action of a clock that was behind would take
    those of yesterday with it. One of a clock that was ahead holds nothing up.
    """
    now = datetime.now(UTC)
    before, until = (
        at.isoformat(timespec="milliseconds") for at in (now - timedelta(days=days), now)
    )
    query = (
        "SELECT max(action_no) FROM actions WHERE at < ? AND action_no < coalesce((SELECT "
        "min(action_no) FROM actions WHERE at >= ? AND at <= ?), action_no + 1)"
    )
    (last,) = sql.execute(query, (before, before, until)).fetchone()
    return int(last or 0)


def _forget(sql: Connection, last: int, portion: int) -> int:
    """Delete what actions up to ``last`` replaced, ``portion`` products at most; how many."""
    query = (
        "DELETE FROM kept WHERE (action_no, pid) IN (SELECT action_no, pid FROM kept WHERE "
        "action_no <= ? LIMIT ?)"
    )
    if portion == _ALL:
        return int(sql.execute("DELETE FROM kept WHERE action_no <= ?", (last,)).rowcount)
    return int(sql.execute(query, (last, portion)).rowcount)


def _last_beyond(sql: Connection, last: int, most: int) -> tuple[int, int]:
    """The last action beyond the ``most`` products that are kept, and how many later ones hold."""
    held = 0
    query = (
        "SELECT action_no, count(*) FROM kept WHERE action_no > ? GROUP BY action_no ORDER BY "
        "action_no DESC"
    )
    for number, count in sql.execute(query, (last,)).fetchall():
        if held and held + count > most:
            return max(last, number), held
        held += count
    return last, held


def is_expiry_due(sql: Connection, *, days: float = KEPT_DAYS) -> bool:
    """Whether ``expire`` would find something by its age; cheap."""
    if not has_table(sql, "kept_decisions"):
        return False
    query = (
        "SELECT 1 FROM actions WHERE action_no <= ? AND (action_no IN (SELECT action_no FROM kept) "
        "OR action_no IN (SELECT action_no FROM kept_types) OR action_no IN (SELECT action_no FROM "
        "kept_decisions)) LIMIT 1"
    )
    return sql.execute(query, (_last_old(sql, days),)).fetchone() is not None
