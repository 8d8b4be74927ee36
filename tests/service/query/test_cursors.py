"""Cursors that others wrote or that go too deep are refused."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from indexer.core.errors import BadRequestError
from service.engine import Engine
from service.query.cursors import Cursor, CursorSigner

CURSOR = Cursor("v000001", 7, 0.5, 3, 24, "question")


def test_every_changed_cursor_is_refused(shop: Engine) -> None:
    """Whatever byte of it is another one; a service of the same home reads it."""
    text = CursorSigner(shop.catalog, 1000).write(CURSOR)
    signer = CursorSigner(shop.catalog, 1000)
    assert signer.read(text) == CURSOR
    signed = bytearray(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    for place in range(len(signed)):
        signed[place] ^= 1
        changed = base64.urlsafe_b64encode(signed).decode().rstrip("=")
        signed[place] ^= 1
        with pytest.raises(BadRequestError, match="not one that this service gave"):
            signer.read(changed)
    for made_up in (base64.urlsafe_b64encode(CURSOR.pack()).decode(), "", text[:-4], text + "AAAA"):
        with pytest.raises(BadRequestError):
            signer.read(made_up)


def test_a_cursor_of_another_home_is_refused(shop: Engine, own: Engine) -> None:
    """Its numbers mean other products. A copy of a home is the same home."""
    text = CursorSigner(shop.catalog, 1000).write(CURSOR)
    assert CursorSigner(own.catalog, 1000).read(text) == CURSOR
    with own.catalog.database.transaction() as sql:
        sql.execute("UPDATE meta SET value = 'another' WHERE key = 'identity'")
    with pytest.raises(BadRequestError):
        CursorSigner(own.catalog, 1000).read(text)


def test_pages_have_an_end(shop: Engine) -> None:
    """The deepest page is bounded, so no page costs more than that."""
    signer = CursorSigner(shop.catalog, 1000)
    signer.require_depth(replace(CURSOR, depth=990), 10)
    with pytest.raises(BadRequestError, match="max_depth"):
        signer.require_depth(replace(CURSOR, depth=991), 10)
