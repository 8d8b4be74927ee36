"""Derived rows belong to a photo's content: a number that is given again brings no other's row."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from indexer.catalog.store import Catalog, open_catalog
from indexer.core.errors import CatalogBehindError
from indexer.core.home import Home
from indexer.duplicates.hash_store import SignatureStore
from indexer.index.embedding_store import EmbeddingStore
from tests.indexer.index_build.test_pipeline import add_photo, build, colour, put, vector_of

DIM = 6


@contextmanager
def opened(home: Home) -> Iterator[tuple[Catalog, EmbeddingStore, SignatureStore]]:
    with (
        open_catalog(home) as catalog,
        closing(EmbeddingStore(home.embeddings, "e1", DIM, catalog=catalog)) as vectors,
        closing(SignatureStore(home, catalog)) as signatures,
    ):
        yield catalog, vectors, signatures


def thumb(number: int) -> np.ndarray:
    return np.full((1, 32, 32, 3), number, np.uint8)


def write(home: Home, *numbers: int) -> None:
    """Products of a photo each, embedded and signed."""
    with opened(home) as (catalog, vectors, signatures):
        for number in numbers:
            photo = add_photo(home, number)
            put(catalog, f"p{number}", photo)
            ids = np.array(catalog.get(f"p{number}").photo_ids)
            if len(vectors.missing(ids)):
                vectors.put(ids, vector_of(colour(number))[None])
            if len(signatures.missing(ids)):
                signatures.put(ids, thumb(number))


def check(home: Home, *numbers: int) -> None:
    """Each product has the vector and the signature of its own photo."""
    with opened(home) as (catalog, vectors, signatures):
        for number in numbers:
            ids = np.array(catalog.get(f"p{number}").photo_ids)
            assert float(vectors.get(ids)[0] @ vector_of(colour(number))) > 0.999
            assert signatures.get(ids)[1][0].tolist() == thumb(number)[0].tolist()


def backup(home: Home, to: Path) -> None:
    with open_catalog(home) as catalog:
        catalog.database.checkpoint()
    shutil.copy(home.catalog_file, to)


def restore(home: Home, of: Path) -> None:
    for path in home.path.glob("catalog.sqlite3*"):
        path.unlink()
    shutil.copy(of, home.catalog_file)


def test_an_older_catalog_gives_numbers_again(tmp_path: Path) -> None:
    """Photos 3 and 4 were embedded after the backup; put back, the catalog gives their numbers to
    others: each has its own vector, and one that comes again keeps the one it had."""
    home = Home.create(tmp_path / "home")
    write(home, 0, 1, 2)
    build(home)
    backup(home, tmp_path / "old")
    write(home, 3, 4)
    restore(home, tmp_path / "old")
    write(home, 50, 4, 51)
    check(home, 0, 1, 2, 4, 50, 51)
    with opened(home) as (_, vectors, signatures):
        assert len(vectors) == len(signatures.ids()) == 6


def test_what_no_photo_has_any_more_waits_for_no_number(tmp_path: Path) -> None:
    """Rows above the highest number that a restored catalog gave are gone before it gives it."""
    home = Home.create(tmp_path / "home")
    write(home, 0, 1)
    backup(home, tmp_path / "old")
    write(home, 2, 3)
    restore(home, tmp_path / "old")
    with opened(home) as (_, vectors, signatures):
        assert vectors.ids().tolist() == signatures.ids().tolist() == [1, 2]


def test_a_catalog_made_again_from_the_feed_finds_its_vectors(tmp_path: Path) -> None:
    """In another order: nothing is embedded again, and each photo has its own vector."""
    home = Home.create(tmp_path / "home")
    write(home, *range(8))
    lost = tmp_path / "embeddings"
    shutil.move(home.embeddings, lost)
    again = Home.create(tmp_path / "again")
    shutil.copytree(lost, again.embeddings)
    shutil.copy(home.signatures_file, again.signatures_file)
    with Catalog.create(again.catalog_file, photos=again.photos) as catalog:
        for number in reversed(range(8)):
            put(catalog, f"p{number}", add_photo(again, number))
    check(again, *range(8))


def test_a_catalog_that_went_on_from_an_older_backup_is_refused(tmp_path: Path) -> None:
    """It is as long as the version says, but its last changes are others."""
    home = Home.create(tmp_path / "home")
    write(home, 0, 1)
    backup(home, tmp_path / "old")
    write(home, 2, 3)
    build(home)
    restore(home, tmp_path / "old")
    with Catalog.open(home.catalog_file, photos=home.photos) as catalog:
        for number in (60, 61, 62):
            put(catalog, f"p{number}", add_photo(home, number))
    with pytest.raises(CatalogBehindError, match="never had the state that index version v000001"):
        open_catalog(home)


def test_rows_of_an_older_catalens_are_kept(tmp_path: Path) -> None:
    """A store without keys gets those of the numbers as they are now; nothing is made again."""
    home = Home.create(tmp_path / "home")
    write(home, 0, 1)
    with opened(home) as (_, vectors, signatures):
        for database in (vectors.database, signatures._database):
            with database.transaction() as sql:
                sql.execute("DROP TABLE photo_keys")
                sql.execute("DELETE FROM meta WHERE key = 'catalog_state'")
    check(home, 0, 1)
    with opened(home) as (_, vectors, _), vectors.database.read() as sql:
        assert sql.execute("SELECT count(*) FROM photo_keys").fetchone() == (2,)


def test_a_changed_byte_is_no_answer(tmp_path: Path) -> None:
    """A vector or signature that does not match its checksum counts as missing."""
    home = Home.create(tmp_path / "home")
    write(home, 0, 1)
    with opened(home) as (_, vectors, signatures):
        for database, table, column in (
            (vectors.database, "vectors", "vector"),
            (signatures._database, "signatures", "thumb"),
        ):
            with database.transaction() as sql:
                (value,) = sql.execute(
                    f"SELECT {column} FROM {table} WHERE photo_id = 2"
                ).fetchone()
                flipped = bytes([value[0] ^ 1]) + value[1:]
                sql.execute(f"UPDATE {table} SET {column} = ? WHERE photo_id = 2", (flipped,))
        assert vectors.missing(np.array([1, 2])).tolist() == [2]
        assert vectors.damaged().tolist() == [2]
        assert signatures.get([1, 2])[0].tolist() == [True, False]
        assert [ids.tolist() for ids, _ in signatures.portions()] == [[1]]
        assert signatures.missing(np.array([1, 2])).tolist() == [2]


@pytest.mark.parametrize("kind", ["cut", "zeroed", "noise"])
def test_a_damaged_file_is_made_anew(tmp_path: Path, kind: str) -> None:
    """It is derived: an empty one takes its place, and what was in it is made again."""
    home = Home.create(tmp_path / "home")
    write(home, 0, 1)
    for path in (home.embeddings / "e1.sqlite3", home.signatures_file):
        data = path.read_bytes()
        made = {"cut": data[: len(data) // 2], "zeroed": bytes(len(data)), "noise": b"x" * 8192}
        path.write_bytes(made[kind])
    with opened(home) as (_, vectors, signatures):
        assert len(vectors.missing(np.array([1, 2]))) + len(signatures.missing(np.array([1, 2])))
    write(home, 0, 1)
    check(home, 0, 1)
