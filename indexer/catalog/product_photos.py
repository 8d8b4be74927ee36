"""Photos of products inside a write transaction: their rows, and which product has which."""

from __future__ import annotations

from pathlib import Path

from indexer.catalog.records import NewPhoto, photo_file
from indexer.core.errors import UnknownPhotoError
from indexer.core.sqlite import Connection, chunks

# How well the bytes of a photo are kept.
_KEPT = {"forget": 0, "reference": 1, "copy": 2}


class PhotoAssignment:
    """The photos of a catalog's products, inside one open transaction."""

    def __init__(self, connection: Connection, folder: Path | None) -> None:
        self._sql = connection
        self._folder = folder
        # By content hash, as ``check`` found them: number, storage, path.
        self._stored: dict[str, tuple[int, str, str | None]] = {}
        # Photos that lost their last product.
        self.orphaned: list[str] = []

    def check(self, product_id: str, hashes: list[str], offered: dict[str, NewPhoto]) -> None:
        """Raise ``UnknownPhotoError`` for a photo that is neither stored nor ``offered``."""
        self._stored.clear()
        for part, marks in chunks(hashes):
            query = (
                "SELECT content_hash, photo_id, storage, path FROM photos WHERE content_hash IN "
                f"({marks})"
            )
            for content_hash, *row in self._sql.execute(query, part):
                self._stored[content_hash] = (row[0], row[1], row[2])
        for content_hash in hashes:
            new = offered.get(content_hash)
            known = self._stored.get(content_hash)
            if new is None and known is None:
                raise UnknownPhotoError(
                    f"product {product_id!r}: there is no stored photo {content_hash!a}"
                )
            # The file was written before this transaction and a delete may have removed it since.
            becomes_copy = (
                new is not None and new.storage == "copy" and (known is None or known[1] != "copy")
            )
            if (
                becomes_copy
                and self._folder is not None
                and not photo_file(self._folder, content_hash).is_file()
            ):
                raise UnknownPhotoError(
                    f"product {product_id!r}: the file of photo {content_hash} is gone, send it "
                    "again"
                )

    def photo_id(self, content_hash: str, new: NewPhoto | None) -> int:
        """The number of a photo that was checked; it is stored if it is ``new``."""
        found = self._stored.get(content_hash)
        if found is None:
            assert new is not None, "check refuses it"
            query = (
                "INSERT INTO photos (content_hash, format, bytes, width, height, storage, path) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)"
            )
            size = (new.bytes, new.width, new.height)
            values = (content_hash, new.format, *size, new.storage, new.path)
            return int(self._sql.execute(query, values).lastrowid or 0)
        # More replaces less, never the other way; a reference follows its file.
        if new is not None and (
            _KEPT[new.storage] > _KEPT[found[1]]
            or (new.storage == found[1] == "reference" and new.path != found[2])
        ):
            query = "UPDATE photos SET storage = ?, path = ? WHERE photo_id = ?"
            self._sql.execute(query, (new.storage, new.path, found[0]))
        return int(found[0])

    def addresses(self, pid: int) -> list[list[str | None]]:
        """[content hash, the shop's address] of a product's photos, in order."""
        query = (
            "SELECT content_hash, source FROM product_photos JOIN photos USING (photo_id) WHERE "
            "pid = ? ORDER BY position"
        )
        return [list(row) for row in self._sql.execute(query, (pid,))]

    def ids(self, hashes: list[str]) -> list[int] | None:
        """The numbers of these photos; None where one is not stored, or there are none."""
        found: dict[str, int] = {}
        for part, marks in chunks(hashes):
            query = f"SELECT content_hash, photo_id FROM photos WHERE content_hash IN ({marks})"
            found.update(self._sql.execute(query, part))
        if not hashes or len(found) < len(set(hashes)):
            return None
        return [found[content_hash] for content_hash in hashes]

    def rows(self, pid: int) -> list[tuple[int, str | None]]:
        """Photo ids in order, and the shop's address of each."""
        query = "SELECT photo_id, source FROM product_photos WHERE pid = ? ORDER BY position"
        return self._sql.execute(query, (pid,)).fetchall()

    def set(
        self, pid: int, photo_ids: list[int], sources: list[str | None]
    ) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """Replace a product's photos; rows nobody uses any more are removed, their hashes and ids
        returned."""
        old = [photo_id for photo_id, _ in self.rows(pid)]
        self._sql.execute("DELETE FROM product_photos WHERE pid = ?", (pid,))
        if photo_ids:
            self.add(pid, photo_ids, sources)
        orphaned: list[tuple[str, int]] = []
        for photo_id in set(old) - set(photo_ids):
            query = (
                "DELETE FROM photos WHERE photo_id = ?1 "
                "AND NOT EXISTS (SELECT 1 FROM product_photos WHERE photo_id = ?1) RETURNING "
                "content_hash, photo_id"
            )
            orphaned += self._sql.execute(query, (photo_id,)).fetchall()
        orphaned.sort()
        self.orphaned += [content_hash for content_hash, _ in orphaned]
        return tuple(content_hash for content_hash, _ in orphaned), tuple(
            photo_id for _, photo_id in orphaned
        )

    def add(self, pid: int, photo_ids: list[int], sources: list[str | None]) -> None:
        """Give photos to a product that has none."""
        rows = [
            (pid, position, photo_id, source)
            for position, (photo_id, source) in enumerate(zip(photo_ids, sources, strict=True))
        ]
        self._sql.executemany(
            "INSERT INTO product_photos (pid, position, photo_id, source) VALUES (?, ?, ?, ?)", rows
        )
