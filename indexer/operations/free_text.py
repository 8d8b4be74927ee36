"""Erasure of deleted products from free text: reviews, feedback, histories, audit findings."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from indexer.catalog.deletions import DeletedProduct, Deletions, Salted
from indexer.catalog.erased_texts import ErasedTexts
from indexer.catalog.schema import is_old
from indexer.catalog.store import Catalog
from indexer.core.atomic_files import (
    is_claimed,
    read_sealed_json,
    remove_entry,
    write_atomic,
    write_sealed_json,
)
from indexer.core.home import Home
from indexer.core.regular_files import read_json
from indexer.core.sqlite import has_table
from indexer.model.bundle import DECISION
from indexer.operations.audit_findings import erase_findings
from indexer.reviews.redaction import count_named, redact_erased
from indexer.reviews.store import open_reviews

_TEXTS = (
    ("products", "product_id"),
    ("products", "title"),
    ("products", "category"),
    ("products", "attributes"),
    ("tags", "tag"),
    ("photos", "path"),
    ("attribute_types", "name"),
)
_SINCE_FORMAT_2 = (
    ("products", "fields"),
    ("products", "spellings"),
    ("product_photos", "source"),
    ("field_owners", "owner"),
)
_PORTION = 1000
_NO_PID = -1
_WAIT_S = 60.0
_JSON = ("category", "attributes", "fields", "spellings")
# Whose texts may name rows of a feed: sealed documents, JSON by lines, and logs.
_DOCUMENTS = ("alerts.json", "start/state.json")
_HISTORIES = ("sync/*.runs.jsonl",)
_LOGS = ("start/rest.log",)
_FINDINGS = ("audit/*.jsonl",)
# What an address gave last: fetched again when it is needed.
_FEED_COPIES = ("sync/*.feed*", "start/*.feed*")
# What a training read, and a killed one or a release before left.
TRAINING_FEED = "start/train.jsonl"


def erase_free_text(
    home: Home, catalog: Catalog, again: Sequence[str] = ()
) -> tuple[list[int], int]:
    """Take the products that were deleted out of all free text of the home.

    ``again``: ids that were erased before, and that a feed may have brought back into its copy and
    its reports. Without any only what is pending is looked for.

    Returns their pids, to be settled once everything else is erased too, and how many entries
    changed. Raises ``BusyError``, ``StorageError``.
    """
    # Whatever is pending: nobody needs it, and an erasure of a release before left it.
    (home.path / TRAINING_FEED).unlink(missing_ok=True)
    deletions = Deletions(catalog.database)
    salted = deletions.salted()
    products = deletions.pending()
    if salted is None or not (again or products):
        return [], 0
    # Of no number any more: their reviews and findings went with the first erasure.
    living = catalog.pids(again)
    back = [
        DeletedProduct(_NO_PID, (salted.mark("id", product_id),))
        for product_id in again
        if product_id not in living
    ]
    erased = ErasedTexts(
        salted,
        [*products, *back],
        deletions.photos(),
        lambda text: living_texts(home, catalog, text),
    )
    count = sum(erase_from(home, catalog, erased) for erase_from in _STORES)
    _forget_copies(home)
    return [product.pid for product in products], count


def _forget_copies(home: Home) -> None:
    """Delete what addresses gave, whole or as far as a killed fetch came; what is fetched right now
    is a copy of what its source says after the deletion."""
    for name in _FEED_COPIES:
        for path in home.path.glob(name):
            if not (path.name.startswith(".") and is_claimed(path)):
                remove_entry(path)


def _erase_reviews(home: Home, catalog: Catalog, erased: ErasedTexts) -> int:
    if not home.reviews_file.exists():
        return 0
    with open_reviews(home, catalog) as reviews:
        return redact_erased(reviews.database, erased, reviews.known_numbers())


def _erase_audit(home: Home, catalog: Catalog, erased: ErasedTexts) -> int:
    return erase_findings(home, erased, catalog.change_log)


def _erase_histories(home: Home, catalog: Catalog, erased: ErasedTexts) -> int:
    lines = [path for name in _HISTORIES for path in home.path.glob(name)]
    logs = [path for name in _LOGS for path in home.path.glob(name)]
    count = sum(_cover_lines(path, erased) for path in lines)
    count += sum(_cover_log(path, erased) for path in logs)
    # Whoever checks what is open holds it in memory, and stores it again.
    with home.lock("alerts", wait_s=_WAIT_S):
        return count + sum(_cover_document(home.path / name, erased) for name in _DOCUMENTS)


def _erase_action_notes(home: Home, catalog: Catalog, erased: ErasedTexts) -> int:
    """Cover what people noted of their imports and edits."""
    with catalog.database.transaction() as sql:
        if not has_table(sql, "actions"):
            return 0
        rows = sql.execute("SELECT action_no, note FROM actions WHERE note <> ''").fetchall()
        covered = [(erased.cover(note), number) for number, note in rows]
        changed = [row for row, (_, note) in zip(covered, rows, strict=True) if row[0] != note]
        sql.executemany("UPDATE actions SET note = ? WHERE action_no = ?", changed)
    return len(changed)


def _erase_kept_values(home: Home, catalog: Catalog, erased: ErasedTexts) -> int:
    """Take values that name them out of what can be undone of other products; the products'
    own go with the delete."""
    count = 0
    after = (0, 0)
    query = (
        "SELECT action_no, pid, parts FROM kept WHERE (action_no, pid) > (?, ?) "
        f"ORDER BY action_no, pid LIMIT {_PORTION}"
    )
    while True:
        with catalog.database.read() as sql:
            rows = sql.execute(query, after).fetchall() if has_table(sql, "kept") else []
        if not rows:
            return count
        after = rows[-1][:2]
        changed = []
        for number, pid, parts in rows:
            stored = json.loads(parts)
            kept = {name: part for name, part in stored.items() if erased.cover_all(part) == part}
            if len(kept) < len(stored):
                changed.append((json.dumps(kept, ensure_ascii=False), number, pid))
        if changed:
            with catalog.database.transaction() as sql:
                update = "UPDATE kept SET parts = ? WHERE action_no = ? AND pid = ?"
                sql.executemany(update, changed)
        count += len(changed)


def texts_left(home: Home, catalog: Catalog, texts: Sequence[str]) -> dict[Path, int]:
    """How many entries of each file of free text still hold one of these texts of a product that
    was erased, as an erasure looks for them."""
    salted = Salted(os.urandom(32))
    marks = tuple(salted.mark("text", text) for text in texts)
    living = partial(living_texts, home, catalog)
    erased = ErasedTexts(salted, [DeletedProduct(_NO_PID, marks)], (), living)
    found: dict[Path, int] = {}
    if home.reviews_file.exists():
        with open_reviews(home, catalog) as reviews:
            found[home.reviews_file] = count_named(reviews.database, erased)
    with catalog.database.read() as sql:
        columns = (("actions", "note"), ("kept", "parts"))
        values = [
            value
            for table, column in columns
            if has_table(sql, table)
            for (value,) in sql.execute(f"SELECT {column} FROM {table}")
        ]
    found[home.catalog_file] = sum(_is_named(value, erased) for value in values)
    for name in (*_DOCUMENTS, *_HISTORIES, *_LOGS, *_FINDINGS):
        for path in home.path.glob(name):
            try:
                lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            except FileNotFoundError:
                continue
            found[path] = sum(_is_named(line, erased) for line in lines)
    return {path: count for path, count in found.items() if count}


def _is_named(text: str, erased: ErasedTexts) -> bool:
    """Whether a text, or a JSON document's own, names an erased product."""
    document = _document(text)
    value = text if document is None else document
    return bool(erased.cover_all(value) != value)


# Every store of free text; a new one adds its function here, and its file to ``texts_left``.
_STORES = (
    _erase_reviews,
    _erase_audit,
    _erase_histories,
    _erase_action_notes,
    _erase_kept_values,
)


def _cover_document(path: Path, erased: ErasedTexts) -> bool:
    """Cover the texts of a sealed document and seal it again; whether it changed. One that is
    damaged goes: nobody can read it, and it is made again."""
    try:
        stored = read_sealed_json(path)
    except ValueError:
        path.unlink(missing_ok=True)
        return True
    except OSError:
        return False
    covered = erased.cover_all(stored)
    if covered == stored:
        return False
    write_sealed_json(path, covered, private=_is_private(path))
    return True


def _cover_lines(path: Path, erased: ErasedTexts) -> bool:
    """Cover the texts of JSON by lines; whether it changed. A line that a power cut left
    half-written goes with it."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return False
    stored = [document for line in lines if (document := _document(line)) is not None]
    covered = [erased.cover_all(document) for document in stored]
    if covered == stored:
        return False
    written = [json.dumps(document, ensure_ascii=False) for document in covered]
    data = ("\n".join(written) + "\n").encode()
    write_atomic(path, data, private=_is_private(path))
    return True


def _cover_log(path: Path, erased: ErasedTexts) -> bool:
    """Cover the lines of a log in place, since a process may have it open; whether it changed."""
    with path.open("r+b") as stream:
        text = stream.read().decode("utf-8", "replace")
        covered = "".join(map(erased.cover, text.splitlines(keepends=True)))
        if covered == text:
            return False
        stream.seek(0)
        stream.write(covered.encode())
        stream.truncate()
    return True


def _is_private(path: Path) -> bool:
    """Whether it is closed to others; its folder says whether it is to its group."""
    return not path.stat().st_mode & 0o007


def _document(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def living_texts(home: Home, catalog: Catalog, part: str) -> Iterator[str]:
    """Texts of living products, and labels of models, that hold ``part``."""
    with catalog.database.read() as sql:
        newer = () if is_old(sql) else _SINCE_FORMAT_2
        for table, column in (*_TEXTS, *newer):
            query = f"SELECT DISTINCT {column} FROM {table} WHERE instr({column}, ?)"
            written = json.dumps(part, ensure_ascii=False)[1:-1] if column in _JSON else part
            for (text,) in sql.execute(query, (written,)):
                yield text
                if column in _JSON:
                    yield from _with_part(json.loads(text), part)
    for path in home.models.glob(f"*/{DECISION}"):
        try:
            yield from _with_part(read_json(path), part)
        except (OSError, ValueError):
            continue


def _with_part(value: Any, part: str) -> Iterator[str]:
    if isinstance(value, str):
        if part in value:
            yield value
    elif isinstance(value, dict):
        yield from (name for name in value if part in name)
        for entry in value.values():
            yield from _with_part(entry, part)
    elif isinstance(value, list):
        for entry in value:
            yield from _with_part(entry, part)
