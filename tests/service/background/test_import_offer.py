"""Imports of any feed over HTTP: a dry run that shows the map, corrected maps that are kept, files
by address only where that is on."""

from __future__ import annotations

import io
import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from indexer.operations.import_job import upload_name
from indexer.operations.jobs import Jobs, run
from service.engine import Engine
from service.settings import Settings
from tests.service.conftest import photo
from tools.cli import cli

FEED = (
    "nr;bezeichnung;bild;farbe;kommentar\n"
    "A1;Rotes Hemd;a1.png;rot;Sommer\n"
    "A2;Blaues Hemd;a2.png;blau;Winter\n"
    "A3;Kein Bild;a9.png;blau;Winter\n"
)


def packed(feed: str = FEED) -> bytes:
    """A zip of the feed and its two photos."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("ware.csv", feed)
        archive.writestr("a1.png", photo("ring", "red", turn=31))
        archive.writestr("a2.png", photo("dots", "blue", turn=41))
    return stream.getvalue()


@pytest.fixture
def waiting(own: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """A shop whose jobs wait until a test runs them itself."""
    monkeypatch.setattr(own.jobs, "poll", lambda: None)
    return own


def send(web: Any, name: str, data: bytes, **fields: Any) -> Any:
    return web.post("/v1/imports", data={"archive": (io.BytesIO(data), name), **fields})


def result_of(engine: Engine, response: Any) -> Any:
    """The job of a response once it ran here."""
    assert response.status_code == 202, response.get_json()
    job_id = response.get_json()["job_id"]
    run(engine.home, job_id)
    return engine.jobs.get(job_id)


def web_of(engine: Engine) -> Any:
    from service.app import create_app

    return create_app(engine, engine.settings, check_answers=True).test_client()


def test_a_dry_run_shows_what_would_be_stored(waiting: Engine) -> None:
    """Profile, why, map, columns with roles and examples, samples, warnings by kind and counts; the
    catalog stays as it is, and no path of the machine is told."""
    before = len(waiting.catalog)
    sent = send(web_of(waiting), "ware.zip", packed(), dry_run="true", map="{}")
    job = result_of(waiting, sent)
    found = job.result
    assert {"profile", "why", "map", "samples", "warnings", "counts", "columns"} <= set(found)
    assert found["why"].startswith("no profile fits")
    roles = {column["column"]: column["meaning"] for column in found["columns"]}
    assert roles == {
        "nr": "id", "bezeichnung": "title", "bild": "photo", "farbe": "attribute",
        "kommentar": "attribute",
    }  # fmt: skip
    assert found["columns"][1]["example"] == "Rotes Hemd"
    assert [sample["product_id"] for sample in found["samples"]] == ["A1", "A2", "A3"]
    assert found["counts"]["added"] == 2
    assert found["skipped_by_kind"][0]["lines"][0]["where"] == "ware.csv:4"
    assert len(waiting.catalog) == before
    assert str(waiting.home.path) not in str(found)


def test_a_corrected_map_is_kept_for_the_next_import(waiting: Engine) -> None:
    """A column's meaning is corrected, imported so, and the same feed is read so again without
    being told."""
    web = web_of(waiting)
    said = '{"kommentar": "tags", "farbe": "leave_out"}'
    job = result_of(waiting, send(web, "ware.zip", packed(), map=said))
    assert (job.state, job.result["added"], job.result["saved_profile"]) == ("done", 2, "ware")
    stored = waiting.catalog.get("A1")
    assert [tag.tag for tag in stored.tags] == ["Sommer"]
    assert "farbe" not in stored.attributes
    again = result_of(waiting, send(web, "spring.zip", packed(), dry_run="true"))
    assert again.result["profile"] == "ware"
    assert "corrected" in again.result["why"]
    assert again.result["map"]["kommentar"] == "tags"
    own = [one for one in web.get("/v1/imports").get_json()["profiles"] if one["own"]]
    assert [one["name"] for one in own] == ["ware"]
    asked = ["profile", "list", "--home", str(waiting.home.path), "--json"]
    listed = json.loads(CliRunner().invoke(cli, asked).stdout)["profiles"]
    assert listed[-1]["name"] == "ware"


def test_a_map_of_a_known_export_keeps_its_other_rules(waiting: Engine) -> None:
    """Only the corrected column changes; a column that is not there is refused by name."""
    feed = (
        "id,title,image_link,price,availability,color\n"
        "G1,Shirt,a1.png,12.50 EUR,in stock,red\nG2,Hat,a2.png,9 EUR,in stock,blue\n"
    )
    web = web_of(waiting)
    data = packed(feed)
    job = result_of(waiting, send(web, "g.zip", data, dry_run="true", map='{"color": "tags"}'))
    sample = job.result["samples"][0]
    assert (sample["tags"], sample["fields"]["price"], sample["fields"]["currency"]) == (
        ["red"], 12.5, "EUR",
    )  # fmt: skip
    wrong = result_of(waiting, send(web, "g.zip", data, dry_run="true", map='{"colour": "tags"}'))
    assert wrong.problem is not None
    assert "no column 'colour'" in wrong.problem.detail
    unknown = send(web, "g.zip", data, map='{"color": "hue"}')
    assert unknown.status_code == 422


@pytest.mark.parametrize("name", ["../../etc/passwd.csv", "ware.csv"])
def test_a_bare_table_is_taken(waiting: Engine, name: str) -> None:
    """No zip is needed; the name that was sent stays within the job's folder."""
    sent = send(web_of(waiting), name, FEED.encode(), dry_run="true", map="{}")
    job = result_of(waiting, sent)
    assert job.state == "done", job.problem
    assert job.result["counts"]["rows"] == 3


def test_what_is_no_feed_is_refused_at_once(waiting: Engine) -> None:
    """422 in words, with no path of the machine, and no job is left."""
    response = send(web_of(waiting), "offer.pdf", b"%PDF-1.7 ...")
    assert response.status_code == 422
    assert response.get_json()["detail"].startswith("offer.pdf is a PDF document")
    assert Jobs(waiting.home).list() == []


def test_addresses_are_off_unless_the_setting_is_on(waiting: Engine) -> None:
    """``url`` and ``fetch`` name the setting; the offer says what is on."""
    web = web_of(waiting)
    for asked in (
        web.post("/v1/imports", json={"url": "https://shop.example/feed.csv"}),
        send(web, "ware.zip", packed(), fetch="true"),
    ):
        assert asked.status_code == 422
        assert "allow_urls" in asked.get_json()["detail"]
    offer = web.get("/v1/imports").get_json()
    assert (offer["addresses"], offer["folders"]) == (False, False)
    assert {"id", "photo", "attribute", "leave_out"} <= set(offer["meanings"])
    assert "shopify" in [one["name"] for one in offer["profiles"]]


@pytest.fixture
def shop() -> Iterator[str]:
    """host:port of a server that has the feed."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(FEED.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_feed_is_fetched_from_its_address(
    own_home: Path, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is on, the address is read through the checked client; clients do not see it again,
    and an inner address is refused."""
    settings = Settings(home=own_home, allow_urls=True, fetch_private=(shop,))
    with Engine(settings, watch=False) as engine:
        monkeypatch.setattr(engine.jobs, "poll", lambda: None)
        web = web_of(engine)
        told = {"dry_run": True, "map": {}}
        sent = web.post("/v1/imports", json={"url": f"http://{shop}/w.csv?token=x", **told})
        assert "token" not in sent.get_data(as_text=True)
        job = result_of(engine, sent)
        assert job.state == "done", job.problem
        assert job.result["counts"]["rows"] == 3
        inner = result_of(engine, web.post("/v1/imports", json={"url": "http://127.0.0.1:9/x"}))
        assert inner.problem is not None
        assert inner.problem.code == "url-refused"


def test_names_of_uploads_are_plain() -> None:
    """No folder, no hidden file, nothing empty."""
    assert upload_name("C:\\shop\\.hidden?.csv") == "hidden_.csv"
    assert upload_name("///") == "feed"
    assert len(upload_name("x" * 500 + ".csv")) <= 120
