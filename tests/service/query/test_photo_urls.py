"""Promise: a photo by URL is as good as its bytes, where it is allowed, and leads nowhere else."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from flask.testing import FlaskClient

from indexer.core.errors import UrlFailedError, UrlRefusedError
from service.access.keys import KeyFile
from service.app import create_app
from service.engine import Engine
from service.inference.admission import OverloadedError
from service.query.photo_urls import FetchedBytes, PhotoUrls
from service.settings import Settings
from tests.service.api.routes.test_queries import assert_problem
from tools.bench.harness.photo_server import (
    PhotoServer,
    PhotoServerPlan,
    running,
)


@pytest.fixture(scope="module")
def server() -> Iterator[PhotoServer]:
    with running(PhotoServerPlan(slow_s=3.0)) as found:
        yield found


@pytest.fixture(scope="module")
def web(
    template: Path, tmp_path_factory: pytest.TempPathFactory, server: PhotoServer
) -> Iterator[FlaskClient]:
    home = shutil.copytree(template, tmp_path_factory.mktemp("urls") / "home")
    settings = Settings(
        home=home,
        allow_urls=True,
        fetch_private=(server.endpoint,),
        fetch_connections=2,
        fetch_timeout_s=0.5,
        max_image_bytes=100_000,
    )
    with Engine(settings, watch=False) as engine:
        yield create_app(engine, settings, check_answers=True).test_client()


def test_a_question_by_url(web: FlaskClient, server: PhotoServer) -> None:
    """Searches, classifications and tags take a URL; so does each photo of a batch."""
    asked: dict[str, Any] = {"image": {"url": server.url("photo", 1)}}
    for call in ("search", "classify", "tags"):
        assert web.post(f"/v1/{call}", json=asked).status_code == 200
    images = [{"url": server.url(kind, 2)} for kind in ("photo", "html")]
    answer = web.post("/v1/search:batch", json={"images": images}).json
    assert answer is not None
    assert [row["status"] for row in answer["results"]] == [200, 502]
    assert answer["results"][1]["problem"]["code"] == "url-failed"


def test_a_product_by_url(web: FlaskClient, server: PhotoServer) -> None:
    """A put, alone or in a batch, takes photos by URL; the photo is then a stored one."""
    product = {"title": "By URL", "images": [{"url": server.url("photo", 3)}]}
    assert web.put("/v1/products/by-url", json=product).status_code in (200, 201)
    stored = web.get("/v1/products/by-url").json
    assert stored is not None
    assert len(stored["images"]) == 1
    item = {"op": "put", "product_id": "other", "images": [{"url": server.url("404", 3)}]}
    answer = web.post("/v1/products:batch", json={"items": [item]}).json
    assert answer is not None
    assert answer["results"][0]["status"] == 502


@pytest.mark.parametrize(
    ("kind", "status", "code", "words"),
    [
        ("404", 502, "url-failed", "image.url: HTTP 404 (not found)"),
        ("html", 502, "url-failed", "web page"),
        ("slow", 502, "url-failed", "in time"),
    ],
)
def test_a_url_without_a_photo_is_502(
    web: FlaskClient, server: PhotoServer, kind: str, status: int, code: str, words: str
) -> None:
    """What its server did is said, within the time that requests have for it."""
    started = time.monotonic()
    answer = web.post("/v1/search", json={"image": {"url": server.url(kind, 1)}})
    assert words in assert_problem(answer, status, code)["detail"]
    assert time.monotonic() - started < 2.0


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/a.jpg",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:10.0.0.1]/",
        "http://me:secret@127.0.0.1/",
        "file:///etc/passwd",
        "http://2130706433/",
        "",
    ],
)
def test_a_url_inwards_is_refused(web: FlaskClient, url: str) -> None:
    """An inner address is 422 `url-refused`, and a password is not repeated."""
    answer = assert_problem(
        web.post("/v1/search", json={"image": {"url": url}}), 422, "url-refused"
    )
    assert answer["detail"].startswith("image.url: ")
    assert "secret" not in str(answer)


def test_a_redirect_inwards_is_refused(web: FlaskClient, server: PhotoServer) -> None:
    """Each hop is checked as the first one was."""
    url = f"http://{server.endpoint}/to/?http://127.0.0.1:1/"
    answer = web.post("/v1/search", json={"image": {"url": url}})
    assert_problem(answer, 422, "url-refused")


def test_a_search_key_reaches_no_private_server(web: FlaskClient, server: PhotoServer) -> None:
    """Anybody can read one in a shop's page: what ``fetch_private`` names is for the shop's own
    keys."""
    keys = KeyFile(web.application.extensions["catalens"].home)
    ask = {"image": {"url": server.url("photo", 1)}}
    engine = web.application.extensions["catalens"]
    mine = create_app(engine, engine.settings).test_client()
    try:
        for role, status in (("search", 422), ("write", 200)):
            key = {"Authorization": f"Bearer {keys.create(f'page-{role}', role).key}"}  # type: ignore[arg-type]
            assert mine.post("/v1/search", json=ask, headers=key).status_code == status
    finally:
        keys.path.unlink()
        engine.home.unmark("keys")


def test_http_cannot_allow_an_address(web: FlaskClient) -> None:
    """What may be private is a setting of the service, and no field of a request."""
    body = {"image": {"url": "http://10.0.0.1/", "fetch_private": ["10.0.0.1:80"]}}
    assert_problem(web.post("/v1/search", json=body), 422, "invalid-request")


def test_without_the_setting_nothing_is_fetched(shop: Engine, server: PhotoServer) -> None:
    """Off unless `allow_urls`: the server hears nothing, and the setting is named."""
    web = create_app(shop, shop.settings, check_answers=True).test_client()
    answer = web.post("/v1/search", json={"image": {"url": server.url("photo", 77)}})
    assert "allow_urls" in assert_problem(answer, 422, "bad-request")["detail"]
    assert server.counts["/photo/77.jpg"] == 0


def test_one_of_base64_and_url(web: FlaskClient, server: PhotoServer) -> None:
    """Two photos in one place are refused, not guessed."""
    image = {"url": server.url("photo", 1), "base64": "aGk="}
    assert_problem(web.post("/v1/search", json={"image": image}), 422, "invalid-request")


def test_requests_of_one_host_share_its_connections(server: PhotoServer) -> None:
    """Above ``fetch_connections`` a request waits, and no longer than it has time."""
    urls = PhotoUrls(
        Settings(allow_urls=True, fetch_private=(server.endpoint,), fetch_connections=1)
    )
    with urls._turn(server.endpoint, 0.0, FetchedBytes(stranger=False)):
        started = time.monotonic()
        with pytest.raises(Exception, match="already"):
            urls.read(server.url("photo", 1), started + 0.05, FetchedBytes(stranger=False))
    held = FetchedBytes(stranger=False)
    assert urls.read(server.url("photo", 1), time.monotonic() + 5, held)
    urls.close()


def test_fetched_photos_count_as_bodies(server: PhotoServer) -> None:
    """A short request of 64 addresses brings no more into memory than a body may, strangers leave
    half of it to the shop, and what a request held is free at its end."""
    with urlopen(server.url("photo", 1)) as answer:
        size = len(answer.read())
    settings = Settings(
        allow_urls=True,
        fetch_private=(server.endpoint,),
        max_image_bytes=2 * size,
        max_body_bytes=2 * size,
        max_bodies_bytes=4 * size,
    )
    urls = PhotoUrls(settings)
    # Strangers do not reach this server; their share is the same.
    urls._public_client = urls._client

    def read(held: FetchedBytes) -> bytes:
        return urls.read(server.url("photo", 1), time.monotonic() + 0.2, held)

    one, page = FetchedBytes(stranger=False), FetchedBytes(stranger=True)
    assert read(page)
    assert page.size == size
    # Half of it would not be left, and no waiting helps: only this request holds some.
    with pytest.raises(UrlFailedError, match="ask for fewer at once"):
        read(page)
    with pytest.raises(UrlFailedError, match="already"):
        read(FetchedBytes(stranger=True))
    while one.size < settings.max_body_bytes:
        assert read(one)
    with pytest.raises(UrlFailedError, match="max_body_bytes"):
        read(one)
    with pytest.raises(UrlFailedError, match="already"):
        read(FetchedBytes(stranger=False))
    for held in (one, page):
        urls.release(held)
    assert read(one)
    assert read(page)
    urls.close()


def test_a_request_gives_back_what_it_fetched(web: FlaskClient, server: PhotoServer) -> None:
    """Also where it fails: else its bytes would be missing until a restart."""
    urls = web.application.extensions["catalens"].photo_urls
    images = [{"url": server.url(kind, 2)} for kind in ("photo", "html", "photo")]
    assert web.post("/v1/search:batch", json={"images": images}).status_code == 200
    assert web.post("/v1/search", json={"image": images[0], "k": -1}).status_code == 422
    assert urls._held == {False: 0, True: 0}


def test_strangers_leave_connections(server: PhotoServer) -> None:
    """Whoever holds a page's key makes servers answer slowly: the shop's own fetches go on."""
    urls = PhotoUrls(Settings(allow_urls=True, fetch_private=(server.endpoint,)))
    with ExitStack() as stack:
        for number in range(8):
            turn = urls._turn(f"slow{number}.example:80", 0.0, FetchedBytes(stranger=True))
            stack.enter_context(turn)
        with (
            pytest.raises(UrlFailedError, match="already"),
            urls._turn("slow.example:80", 0.0, FetchedBytes(stranger=True)),
        ):
            pass
        held = FetchedBytes(stranger=False)
        assert urls.read(server.url("photo", 1), time.monotonic() + 5, held)
    urls.close()


def test_strangers_leave_connections_to_each_host(server: PhotoServer) -> None:
    """Four questions with a page's key held all connections to the shop's own host, and its own
    fetches from it failed."""
    urls = PhotoUrls(Settings(allow_urls=True, fetch_private=(server.endpoint,)))
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(urls._turn(server.endpoint, 0.0, FetchedBytes(stranger=True)))
        with (
            pytest.raises(UrlFailedError, match="already"),
            urls._turn(server.endpoint, 0.0, FetchedBytes(stranger=True)),
        ):
            pass
        with ExitStack() as own:
            for _ in range(2):
                own.enter_context(urls._turn(server.endpoint, 0.0, FetchedBytes(stranger=False)))
            with (
                pytest.raises(UrlFailedError, match="already"),
                urls._turn(server.endpoint, 0.0, FetchedBytes(stranger=False)),
            ):
                pass
    assert not urls._open
    assert not urls._strangers
    urls.close()


def test_strangers_leave_threads(server: PhotoServer) -> None:
    """Whoever waits for a photo holds a thread of the web server: forty who named one slow server
    with a page's key were all of them, and the shop's own questions waited for ten seconds."""
    settings = Settings(allow_urls=True, fetch_private=(server.endpoint,), threads=8)
    urls = PhotoUrls(settings)
    url = server.url("photo", 1)

    def read(*, stranger: bool) -> bytes:
        return urls.read(url, time.monotonic() + 5, FetchedBytes(stranger))

    with ExitStack() as strangers:
        for _ in range(2):
            strangers.enter_context(urls._thread(stranger=True))
        with pytest.raises(OverloadedError, match="2 requests fetch photos by URL"):
            read(stranger=True)
        assert read(stranger=False)
        with ExitStack() as own:
            for _ in range(2):
                own.enter_context(urls._thread(stranger=False))
            with pytest.raises(OverloadedError, match="4 requests"):
                read(stranger=False)
        assert read(stranger=False)
    with pytest.raises(UrlRefusedError):
        read(stranger=True)  # the shop's own server is none for strangers, who have a thread again
    assert urls._asking == {False: 0, True: 0}
    urls.close()
