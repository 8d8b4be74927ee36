"""What the schema of a database may hold: plain tables and indexes, and programs that are known."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indexer.core.sqlite import Connection

# Several times what any file of a home has.
_MOST_PARTS = 500
_LONGEST_STATEMENT = 20_000
_PLAIN = re.A | re.I
_COMMENT = re.compile(r"--[^\n]*")
_NAME = r"(?:\w+|'\w+'|\"\w+\")"
# Taken out first, so that no other bracket is left but the table's own: no call, no check, no
# generated column, no default but a literal can be said without one.
_KEY = re.compile(r"\b(KEY|UNIQUE) ?\([\w ,]+\)", _PLAIN)
_TABLE = re.compile(rf"CREATE TABLE {_NAME} ?\([\w ,]+\)(?: WITHOUT ROWID)?", _PLAIN)
_INDEX = re.compile(rf"CREATE (?:UNIQUE )?INDEX {_NAME} ON {_NAME} ?\([\w ,]+\)", _PLAIN)
_REFUSED = re.compile(r"\b(?:AS|CHECK|GENERATED|REFERENCES)\b", _PLAIN)
# Of a file that is read only: a trigger does not run, and of virtual tables the text index is made.
_IDLE = (r"CREATE TRIGGER .*", rf"CREATE VIRTUAL TABLE {_NAME} USING fts5(?:vocab)? ?\(.*\)")


def exactly(statement: str) -> str:
    """The pattern of a statement that makes a trigger or a virtual table, as SQLite keeps it."""
    return re.escape(_spaced(statement).replace(" IF NOT EXISTS", "", 1))


def foreign_part(sql: Connection, programs: Sequence[str] | None) -> str | None:
    """The first part of a file's schema that no Catalens made, in words; None: there is none.

    Tables and indexes of a newer release are none, as long as they are plain: names, types, keys
    and literals. Whatever SQLite would run (views, triggers, generated columns, checks, defaults
    and indexes that are expressions, virtual tables) must match one of the patterns ``programs``;
    None: nothing is written to the file, so its triggers do not run.
    """
    known = [re.compile(one, re.S) for one in (_IDLE if programs is None else programs)]
    query = "SELECT type, name, substr(sql, 1, ?), length(sql) FROM sqlite_master"
    rows = sql.execute(query, (_LONGEST_STATEMENT,)).fetchmany(_MOST_PARTS + 1)
    if len(rows) > _MOST_PARTS:
        return f"more than {_MOST_PARTS} tables and indexes"
    for kind, name, statement, length in rows:
        # The index of a key has no statement.
        if statement is None:
            continue
        said = f"the {ascii(kind)[1:-1][:20]} {ascii(name)[:80]}"
        if not isinstance(statement, str) or length > _LONGEST_STATEMENT:
            return said
        text = _spaced(statement)
        if not _is_plain(text) and not any(one.fullmatch(text) for one in known):
            return said
    return None


def _is_plain(text: str) -> bool:
    bare = _KEY.sub(r"\1", text)
    if _REFUSED.search(bare):
        return False
    return bool(_TABLE.fullmatch(bare) or _INDEX.fullmatch(bare))


def _spaced(statement: str) -> str:
    """Without comments, words one space apart. A comment's mark inside quotes leaves a quote open,
    which nothing plain has."""
    return " ".join(_COMMENT.sub(" ", statement).split())
