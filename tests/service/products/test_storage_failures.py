"""A disk that is full or read-only: a clear problem, nothing half-written, and questions are
answered on."""

from __future__ import annotations

import errno
import io
import os
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from structlog.testing import CapturingLogger

from indexer.catalog.store import Catalog
from indexer.core.errors import BusyError, CatalensError, ReplacedFileError
from indexer.operations import jobs
from service.app import create_app
from service.background.refresh import SnapshotRefresh
from service.engine import Engine
from service.products.versions import IndexVersions
from service.settings import Settings
from tests.service.api.routes.test_products_batch import files
from tests.service.api.routes.test_queries import assert_problem
from tests.service.conftest import photo
from tests.service.products.test_writer import base64_of, first
from tests.service.state.test_snapshots import wait_for

SHOT = photo("ring", "black", turn=35)
BODY = {
    "title": "x" * 2000,
    "attributes": {f"a{n}": "y" * 500 for n in range(100)},
    "images": [base64_of(SHOT)],
}


@pytest.fixture
def web(open_web: Callable[..., FlaskClient]) -> FlaskClient:
    return open_web()


def _zipped() -> io.BytesIO:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("mugs/a.png", SHOT)
    archive.seek(0)
    return archive


@contextmanager
def full_disk(own: Engine) -> Iterator[None]:
    """SQLite may not grow the catalog, which it reports as a full disk."""
    with own.catalog.database.transaction():
        sql = own.catalog.database.connection  # the one that writes
    sql.execute(f"PRAGMA max_page_count = {sql.execute('PRAGMA page_count').fetchone()[0]}")
    yield
    sql.execute("PRAGMA max_page_count = 4294967294")


@contextmanager
def read_only(own: Engine) -> Iterator[None]:
    """SQLite refuses every write of the catalog as one to a read-only file."""
    with own.catalog.database.transaction():
        sql = own.catalog.database.connection  # the one that writes
    sql.execute("PRAGMA query_only = ON")
    yield
    sql.execute("PRAGMA query_only = OFF")


@pytest.mark.parametrize(
    ("number", "status", "code"),
    [
        (errno.ENOSPC, 507, "disk-full"),
        (errno.EROFS, 503, "read-only"),
        (errno.EIO, 503, "storage-failed"),
    ],
)
def test_a_job_that_cannot_be_stored_is_refused(
    web: FlaskClient,
    own: Engine,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    status: int,
    code: str,
) -> None:
    """Imports and builds: a clear problem without a path, and nothing of the job stays."""

    def broken(path: object, *_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(jobs, "write_sealed_json", broken)
    for response in (
        web.post("/v1/indexes", json={}),
        web.post("/v1/imports", data={"archive": (_zipped(), "feed.zip")}),
    ):
        assert str(own.home.path) not in assert_problem(response, status, code)["detail"]
    assert list((own.home.path / "jobs").iterdir()) == []


@pytest.mark.parametrize(
    ("number", "status", "code"),
    [
        (errno.ENOSPC, 507, "disk-full"),
        (errno.EROFS, 503, "read-only"),
        (errno.EIO, 503, "storage-failed"),
        (errno.ENOTDIR, 500, "internal"),
    ],
)
def test_what_the_disk_refuses_is_said_wherever_it_is_found(
    web: FlaskClient, monkeypatch: pytest.MonkeyPatch, number: int, status: int, code: str
) -> None:
    """Also where a write fails outside of databases and jobs: an activation, a new class."""

    def broken(*_: object) -> None:
        raise OSError(number, os.strerror(number), "/srv/home/CURRENT")

    monkeypatch.setattr(IndexVersions, "activate", broken)
    problem = assert_problem(web.post("/v1/indexes/v000001:activate"), status, code)
    assert "/srv" not in problem["detail"]


def test_a_locked_file_is_not_named(web: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 busy says what it means; the file that another process holds is for the log."""

    def held(*_: object) -> None:
        raise BusyError("/srv/home/catalog.sqlite3 stayed locked by another process for 30 s")

    monkeypatch.setattr(IndexVersions, "activate", held)
    problem = assert_problem(web.post("/v1/indexes/v000001:activate"), 503, "busy")
    assert problem["detail"] == "Another process holds the lock this work needs."


@pytest.mark.parametrize(
    ("broken", "status", "code"), [(full_disk, 507, "disk-full"), (read_only, 503, "read-only")]
)
def test_a_write_that_cannot_be_stored_changes_nothing(
    web: FlaskClient, own: Engine, broken: Callable[[Engine], Any], status: int, code: str
) -> None:
    """Single or in a batch, whole: no row, no file, no path in the detail; questions go on; later
    it works."""
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
        assert own.catalog.last_sequence() == 20
    assert (
        web.patch("/v1/products/cross-tan", json={"title": "room again"}).get_json()["sequence"]
        == 21
    )
    # What was noted while no file could be cleared is for the next erasure to see.
    assert {name for name in files(own) if not name.startswith(".uploads.")} == before
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
        patched.setattr("indexer.core.atomic_files.os.fsync", full)
        assert_problem(web.put("/v1/products/new", json=BODY), 507, "disk-full")
    assert files(own) == before
    assert own.catalog.last_sequence() == 20


def test_a_vector_that_cannot_be_kept_loses_no_write(
    web: FlaskClient, own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The catalog is flushed, the embeddings' disk is full: acknowledged, and searchable once there
    is room."""
    from indexer.core.errors import DiskFullError
    from indexer.index.embedding_store import EmbeddingStore

    def full(*_: Any) -> None:
        raise DiskFullError("embeddings: no space left")

    with monkeypatch.context() as patched:
        patched.setattr(EmbeddingStore, "put", full)
        assert web.put("/v1/products/new", json=BODY).get_json()["outcome"] == "added"
        own.refresh()
        assert first(web, SHOT)["product_id"] != "new"
    own.refresh()
    assert first(web, SHOT)["product_id"] == "new"


def test_a_service_that_began_on_a_read_only_disk_takes_nothing_until_it_starts_again(
    own_home: Path,
) -> None:
    """Its readers take the catalog for one that nobody changes. Where the disk can be written
    later, no write is taken that would never be erased, no job that nobody would run; the answers,
    the probe and the log say what to do, and questions are answered. A new start writes."""
    log = CapturingLogger()
    settings = Settings(home=own_home, poll_s=0.05)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("indexer.core.sqlite.is_read_only", lambda _: True)
        patched.setattr("indexer.catalog.probe.is_read_only", lambda _: True)
        engine = Engine(settings, log=log)
        web = create_app(engine, settings).test_client()
        assert web.get("/readyz").status_code == 200
    with engine:
        for answer in (
            web.delete("/v1/products/cross-red"),
            web.put("/v1/products/new", json=BODY),
            web.post("/v1/indexes", json={}),
            web.post("/v1/indexes/v000001:activate"),
            web.get("/readyz"),
        ):
            problem = assert_problem(answer, 503, "read-only")
            assert "start the service again" in problem["detail"]
        assert first(web, SHOT)["product_id"]
        assert engine.catalog.last_sequence() == 20
        assert engine.jobs.list() == []
        wait_for(lambda: any("start the service again" in repr(call.kwargs) for call in log.calls))
    with Engine(settings, watch=False) as engine:
        web = create_app(engine, settings).test_client()
        assert web.delete("/v1/products/cross-red").status_code == 200
        assert web.get("/readyz").status_code == 200


@pytest.mark.parametrize("is_moved", [True, False])
def test_a_home_that_is_gone_is_said_by_the_probe_and_by_questions(
    web: FlaskClient, own: Engine, is_moved: bool
) -> None:
    """A proxy sends nobody to a service that can answer nothing; the problem is no full disk."""
    assert web.get("/readyz").status_code == 200
    if is_moved:
        own.home.path.rename(own.home.path.with_name("elsewhere"))
    else:
        own.catalog.database.checkpoint()
        with own.home.catalog_file.open("r+b") as file:
            file.write(b"no database at all " * 2000)
    problem = assert_problem(web.get("/readyz"), 503, "replaced-file")
    assert "moved" in problem["detail"]
    assert str(own.home.path) not in problem["detail"]
    assert web.get("/livez").status_code == 200
    if is_moved:
        found: list[Any] = []
        # A thread of its own has no connection yet.
        thread = threading.Thread(
            target=lambda: found.append(web.post("/v1/search", json={"text": "red ring"}))
        )
        thread.start()
        thread.join()
        for response in (*found, web.get("/v1/products/cross-red")):
            assert "moved" in assert_problem(response, 503, "replaced-file")["detail"]


def _moved(home: Path) -> None:
    home.rename(home.with_name("elsewhere"))


def _deleted(home: Path) -> None:
    shutil.rmtree(home)


def _unmounted(home: Path) -> None:
    home.rename(home.with_name("elsewhere"))
    home.mkdir()


@pytest.mark.parametrize("harm", [_moved, _deleted, _unmounted])
def test_nothing_is_acknowledged_or_made_where_the_home_was(
    web: FlaskClient, own: Engine, harm: Callable[[Path], None]
) -> None:
    """What were written to a new folder in the home's place would be lost with it; nor is a home
    that is gone taken for one without jobs, reviews or an active version."""
    harm(own.home.path)
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/v1/imports", {"data": {"archive": (_zipped(), "feed.zip")}}),
        ("POST", "/v1/indexes", {"json": {}}),
        ("GET", "/v1/jobs", {}),
        ("GET", f"/v1/jobs/{'0' * 32}", {}),
        ("DELETE", f"/v1/jobs/{'0' * 32}", {}),
        ("PUT", "/v1/products/new", {"json": BODY}),
        ("PATCH", "/v1/products/cross-red", {"json": {"price": 3}}),
        ("DELETE", "/v1/products/cross-red", {}),
        ("GET", "/v1/reviews", {}),
        ("POST", "/v1/review", {"data": {"images": (io.BytesIO(SHOT), "a.png")}}),
        ("POST", "/v1/indexes:rollback", {"json": {}}),
        ("POST", "/v1/classes", {"data": {"label": "new", "images": (io.BytesIO(SHOT), "a.png")}}),
        ("GET", "/readyz", {}),
    ]
    answers = {}
    for method, path, sent in asked:
        answers[f"{method} {path}"] = web.open(path, method=method, **sent)
    said = {name: (one.status_code, one.get_json()["code"]) for name, one in answers.items()}
    assert said == dict.fromkeys(answers, (503, "replaced-file"))
    for task in own._background._tasks:
        with suppress(CatalensError):
            task.poll()
    own.close()
    left = sorted(own.home.path.rglob("*")) if own.home.path.exists() else []
    assert left == []
    assert own.home.path.exists() == (harm is _unmounted)


def _no_database(catalog: Path) -> None:
    with catalog.open("r+b") as file:
        file.write(b"no database at all " * (catalog.stat().st_size // 19 + 1))


def _of_another(catalog: Path) -> None:
    other = catalog.with_name("other.sqlite3")
    Catalog.create(other).close()
    with catalog.open("r+b") as file:
        file.write(other.read_bytes())
        file.truncate()


@pytest.mark.parametrize("harm", [_no_database, _of_another])
def test_a_catalog_that_is_overwritten_in_place_is_no_failure_of_ours(
    web: FlaskClient, own: Engine, harm: Callable[[Path], None]
) -> None:
    """Whatever is asked, and whether what asks knows some of its pages still: 503 and what to do,
    from the first look on."""
    assert web.post("/v1/search", json={"text": "red ring"}).status_code == 200
    own.catalog.database.checkpoint()
    harm(own.home.catalog_file)
    for round_number in range(2):
        for method, path, sent in (
            ("POST", "/v1/search", {"json": {"text": "red ring"}}),
            ("GET", "/v1/products", {}),
            ("GET", "/v1/products/cross-red", {}),
            ("GET", "/v1/facets", {}),
            ("PUT", "/v1/products/new", {"json": BODY}),
        ):
            response = web.open(path, method=method, **sent)
            if round_number or response.status_code != 200:
                assert "start" in assert_problem(response, 503, "replaced-file")["detail"]
        with pytest.raises(ReplacedFileError):
            SnapshotRefresh(own.snapshots, own._probe).poll()
    assert_problem(web.get("/readyz"), 503, "replaced-file")
