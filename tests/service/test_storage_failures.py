"""A disk that is full or read-only: a clear problem, nothing half-written, and questions are answered on."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask.testing import FlaskClient

from service.engine import Engine
from tests.service.conftest import photo
from tests.service.test_batch_writes import files
from tests.service.test_products import base64_of, first
from tests.service.test_questions import assert_problem

SHOT = photo("ring", "black", turn=35)
BODY = {"title": "x" * 2000, "attributes": {f"a{n}": "y" * 500 for n in range(100)}, "images": [base64_of(SHOT)]}


@pytest.fixture
def web(open_web: Callable[..., FlaskClient]) -> FlaskClient:
    return open_web()


@contextmanager
def full_disk(own: Engine) -> Iterator[None]:
    """SQLite may not grow the catalog, which it reports as a full disk."""
    with own._catalog.exclusive():
        sql = own._catalog._connection()  # the one that writes
    sql.execute(f"PRAGMA max_page_count = {sql.execute('PRAGMA page_count').fetchone()[0]}")
    yield
    sql.execute("PRAGMA max_page_count = 4294967294")


@contextmanager
def read_only(own: Engine) -> Iterator[None]:
    """SQLite refuses every write of the catalog as one to a read-only file."""
    with own._catalog.exclusive():
        sql = own._catalog._connection()  # the one that writes
    sql.execute("PRAGMA query_only = ON")
    yield
    sql.execute("PRAGMA query_only = OFF")


@pytest.mark.parametrize(("broken", "status", "code"), [(full_disk, 507, "disk-full"), (read_only, 503, "read-only")])
def test_a_write_that_cannot_be_stored_changes_nothing(
    web: FlaskClient, own: Engine, broken: Callable[[Engine], Any], status: int, code: str
) -> None:
    """Single or in a batch, whole: no row, no file, no path in the detail; questions go on; later it works."""
    before = files(own)
    with broken(own):
        for response in (
            web.put("/v1/products/new", json=BODY),
            web.post(
                "/v1/products:batch",
                json={
                    "items": [
                        {"op": "patch", "product_id": "cross-red", "title": "changed"},
                        {"op": "put", "product_id": "new", **BODY},
                    ]
                },
            ),
        ):
            problem = assert_problem(response, status, code)
            assert str(own.home.path) not in problem["detail"]
            assert ".sqlite3" not in problem["detail"]
        assert first(web, photo("cross", "red"))["title"] == "red cross"
        assert_problem(web.get("/v1/products/new"), 404, "unknown-product")
        assert web.get("/readyz").status_code == 200
        assert own._catalog.last_sequence() == 20
    assert web.patch("/v1/products/cross-tan", json={"title": "room again"}).get_json()["sequence"] == 21
    assert files(own) == before
    assert web.put("/v1/products/new", json=BODY).get_json()["sequence"] == 22
    assert first(web, SHOT)["product_id"] == "new"


def test_a_photo_that_cannot_be_written_is_no_product(
    web: FlaskClient, own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills while the photo's file is written: 507, no file, no row."""
    before = files(own)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("indexer.files.os.fsync", full)
        assert_problem(web.put("/v1/products/new", json=BODY), 507, "disk-full")
    assert files(own) == before
    assert own._catalog.last_sequence() == 20


def test_a_vector_that_cannot_be_kept_loses_no_write(
    web: FlaskClient, own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The catalog is flushed, the embeddings' disk is full: acknowledged, and searchable once there is room."""
    from indexer.embeddings import EmbeddingStore
    from indexer.errors import DiskFull

    def full(*_: Any) -> None:
        raise DiskFull("embeddings: no space left")

    with monkeypatch.context() as patched:
        patched.setattr(EmbeddingStore, "put", full)
        assert web.put("/v1/products/new", json=BODY).get_json()["outcome"] == "added"
        own.refresh()
        assert first(web, SHOT)["product_id"] != "new"
    own.refresh()
    assert first(web, SHOT)["product_id"] == "new"
