"""What names a deleted product is covered in whatever escapes it stands."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from indexer.catalog.deletions import DeletedProduct, Salted
from indexer.catalog.erased_texts import ErasedTexts
from indexer.operations.erasure_audit import _spellings

IDS = ["BS\\uniqidone-1", "a'b\"c-uniq", "é\\'x\"-😀id", "plain-id-1", "it's-1x", "w\\\\x41-ab"]


def escaped(text: str) -> list[str]:
    """As messages and JSON write it."""
    return [repr(text), ascii(text), json.dumps(text), json.dumps(text, ensure_ascii=False)]


def forms(text: str) -> Iterator[str]:
    yield text
    for once in escaped(text):
        yield once
        yield from escaped(once)


@pytest.mark.parametrize("product_id", IDS)
def test_an_id_is_covered_and_found_in_escapes(product_id: str) -> None:
    """Plain, once and twice escaped; the words around it stay, and the audit knows each form."""
    salted = Salted(b"x" * 32)
    product = DeletedProduct(1, (salted.mark("id", product_id),))
    erased = ErasedTexts(salted, [product], [], lambda _: [])
    spellings = set(_spellings(product_id))
    for form in forms(product_id):
        covered = erased.cover(f"row \\d {form} left out")
        assert covered.startswith("row \\d "), form
        assert covered.endswith(" left out"), form
        assert "[erased]" in covered, form
        assert product_id[-4:] not in covered, form
        assert any(spelling in form.encode() for spelling in spellings), form


def test_other_escapes_are_left_as_they_are() -> None:
    salted = Salted(b"x" * 32)
    product = DeletedProduct(1, (salted.mark("id", "BS\\uniq-1"),))
    erased = ErasedTexts(salted, [product], [], lambda _: ["BS\\uniq-12"])
    text = "'C:\\\\new' \\u00e9 'BS\\\\uniq-12' \\Uffffffff"
    assert erased.cover(text) == text
