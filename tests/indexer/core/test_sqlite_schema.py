"""Tests of ``indexer.core.sqlite_schema``."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from indexer.core.sqlite import connect
from indexer.core.sqlite_schema import exactly, foreign_part

# A text: before 3.47 SQLite takes no expression there.
_TRIGGER = (
    "CREATE TRIGGER IF NOT EXISTS keeps BEFORE DELETE ON a BEGIN SELECT RAISE(ABORT, '1'); END"
)


def judge(*statements: str, programs: tuple[str, ...] | None = ()) -> str | None:
    with TemporaryDirectory() as folder:
        file = Path(folder, "a.sqlite3")
        file.touch()
        return _judge(file, statements, programs)


def _judge(file: Path, statements: tuple[str, ...], programs: tuple[str, ...] | None) -> str | None:
    with closing(connect(file)) as sql:
        sql.execute("CREATE TABLE a (b TEXT, c)")
        for statement in statements:
            sql.execute(statement)
        return foreign_part(sql, programs)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE d (e INTEGER PRIMARY KEY AUTOINCREMENT, f TEXT UNIQUE, g INT DEFAULT 0)",
        "CREATE TABLE d (\n  e TEXT, -- a word (of a shop)\n f, PRIMARY KEY (e, f)) WITHOUT ROWID",
        "CREATE INDEX d ON a (b, c)",
        "CREATE UNIQUE INDEX d ON a (c)",
    ],
)
def test_plain_tables_of_any_release_pass(statement: str) -> None:
    """A newer release adds tables and indexes that an older one passes by."""
    assert judge(statement) is None


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE VIEW d AS SELECT 1",
        "CREATE TABLE d (e, f AS (length(e)))",
        "CREATE TABLE d (e, f GENERATED ALWAYS AS (length(e)) STORED)",
        "CREATE TABLE d (e, CHECK (length(e)))",
        "CREATE TABLE d (e DEFAULT (zeroblob(9)))",
        # A comment's mark inside quotes hides nothing.
        "CREATE TABLE d (e DEFAULT '--', f AS (length(e)\n), g DEFAULT '')",
        'CREATE TABLE "d--" (e DEFAULT (zeroblob(9))\n)',
        "CREATE INDEX d ON a (length(b))",
        "CREATE INDEX d ON a (b) WHERE length(c) > 1",
        "CREATE VIRTUAL TABLE d USING fts5 (e)",
        "CREATE TRIGGER keeps BEFORE DELETE ON a BEGIN SELECT 1; END",
    ],
)
def test_what_sqlite_would_run_is_named(statement: str) -> None:
    """Views, triggers, generated columns, checks and expressions are somebody else's program."""
    found = judge(statement, programs=(exactly(_TRIGGER),))
    assert found is not None
    assert any(name in found for name in ("'d'", "'d--'", "'keeps'"))


def test_a_known_trigger_passes() -> None:
    """As the code makes it; of a file that is only read any one, since it does not run."""
    assert judge(_TRIGGER, programs=(exactly(_TRIGGER),)) is None
    assert judge(_TRIGGER, programs=None) is None
    assert judge(_TRIGGER) == "the trigger 'keeps'"


def test_a_schema_without_end_is_refused() -> None:
    """Its size is bounded before it is read."""
    tables = [f"CREATE TABLE t{number} (a)" for number in range(501)]
    assert judge(*tables) == "more than 500 tables and indexes"
    columns = ", ".join(f"c{number}_{'x' * 20}" for number in range(1000))
    assert judge(f"CREATE TABLE wide ({columns})") == "the table 'wide'"
