"""Families: who has one parent."""

from __future__ import annotations

from pathlib import Path

from indexer.catalog.families import Families
from indexer.catalog.product_fields import ProductFields
from indexer.catalog.records import NewPhoto, ProductInput
from indexer.catalog.store import Catalog


def test_a_family_is_a_parent(tmp_path: Path) -> None:
    """Variants of one parent are one family, by field as by attribute; who has none is alone."""
    catalog = Catalog.create(tmp_path / "catalog.sqlite3")
    photo = NewPhoto("0" * 64, "PNG", 1, 1, 1, "copy", None)
    pids = []
    for number, (attributes, fields) in enumerate(
        [
            ({}, ProductFields(parent="shirt")),
            ({"parent": "shirt"}, ProductFields()),
            ({}, ProductFields()),
            ({}, ProductFields()),
        ]
    ):
        given = ProductInput(
            f"p{number}", None, None, (), attributes, (photo.content_hash,), fields=fields
        )
        pids.append(catalog.put(given, photos=[photo]).pid)
    families = Families.read(catalog, pids)
    assert not families.several(pids[:2])
    assert families.several(pids[1:3])
    assert families.several(pids[2:])
    assert families.one_each([*pids, *pids]) == [pids[0], pids[2], pids[3]]
    catalog.close()
