"""The Python client, over a real socket: each call, what goes wrong, and that the documents show
each call."""

from __future__ import annotations

import contextlib
import inspect
import json
import re
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from service.api.responses import JobResponse, UndoResponse
from service.client import Client, ProblemError
from service.engine import Engine
from tests.service.conftest import ODD_IDS, photo
from tools.browser import serving_engine

ROOT = Path(__file__).parents[3]
RED = {"must": [{"field": "colour", "eq": "red"}]}


@pytest.fixture(scope="module")
def client(shop: Engine) -> Iterator[Client]:
    """A client of the shop that nobody writes to."""
    with serving_engine(shop) as address, Client(address) as made:
        yield made


@pytest.fixture
def writer(own: Engine) -> Iterator[Client]:
    """A client of the test's own shop."""
    with serving_engine(own) as address, Client(address) as made:
        yield made


def operations(web: FlaskClient) -> dict[str, tuple[str, str]]:
    """Of each documented ``/v1`` call its name: method and path."""
    paths = web.get("/openapi.json").get_json()["paths"]
    return {
        call["operationId"]: (method.upper(), path)
        for path, item in paths.items()
        if path.startswith("/v1/")
        for method, call in item.items()
    }


def test_there_is_a_method_for_each_call(web: FlaskClient) -> None:
    """Whatever the service documents under /v1, the client has under the same name."""
    methods = {name for name, _ in inspect.getmembers(Client, inspect.isfunction)}
    assert set(operations(web)) - methods == set()


def curl_examples(page: Path) -> set[tuple[str, str]]:
    """Method and path of each curl command that a page shows."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    shown = set()
    for line in re.findall(r"^curl .*$", text, flags=re.MULTILINE):
        address = re.search(r"(?:http://)?(?:localhost|127\.0\.0\.1):8000(/[^\s'\"?]*)", line)
        assert address, line
        method = re.search(r"-X (\w+)", line)
        posts = re.search(r" (-F|-d|--json) ", line)
        shown.add((method[1] if method else "POST" if posts else "GET", address[1]))
    return shown


def fits(path: str, example: str) -> bool:
    """True if an example's path is one of the documented ``path``, whose parameters are free."""
    pattern = re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(path))
    return re.fullmatch(pattern, example) is not None


def test_there_is_a_curl_example_for_each_call(web: FlaskClient) -> None:
    """docs/reference/http.md shows each documented call once at least, with its method."""
    shown = curl_examples(ROOT / "docs" / "reference" / "http.md")
    lacking = {
        name
        for name, (method, path) in operations(web).items()
        if not any(method == other and fits(path, example) for other, example in shown)
    }
    assert lacking == set()


def test_each_curl_example_names_a_call(web: FlaskClient) -> None:
    """Every curl command of the README and the documentation asks for a path that exists, by a
    method that it has."""
    paths = web.get("/openapi.json").get_json()["paths"]
    known = [(method.upper(), path) for path, item in paths.items() for method in item]
    known.append(("GET", "/openapi.json"))
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for method, example in curl_examples(page):
            assert any(method == other and fits(path, example) for other, path in known), (
                f"{page.name}: {method} {example}"
            )


def test_questions_are_answered_as_over_plain_http(client: Client, web: FlaskClient) -> None:
    """A photo's categories, products, tags and description are those that a
    hand-made request gets."""
    data = photo("ring", "red", turn=5)
    form = {"image": (__import__("io").BytesIO(data), "p.png")}
    plain = web.post(
        "/v1/describe", data={**form, "k": "6"}, content_type="multipart/form-data"
    ).get_json()
    assert [entry.label for entry in client.classify(data).categories] == [
        row["label"] for row in plain["categories"]
    ]
    assert [row.product_id for row in client.search(data, k=6).results] == [
        row["product_id"] for row in plain["results"]
    ]
    assert [tag.tag for tag in client.tags(data).tags] == [row["tag"] for row in plain["tags"]]
    whole = client.describe(data, k=6)
    assert (whole.unknown, len(whole.results)) == (plain["unknown"], 6)


def test_options_arrive(client: Client, tmp_path: Path) -> None:
    """Filters, weights, crops and lists reach the service from a file as from a product id."""
    path = tmp_path / "a photo.png"
    path.write_bytes(photo("cross", "red", turn=3))
    found = client.search(path, filter=RED, k=1000).results
    assert {row.attributes["colour"] for row in found} == {"red"}
    blocks = client.list_indexes().blocks
    assert sum(blocks.values()) == pytest.approx(1)
    assert set(
        client.search(path, weights=dict.fromkeys(blocks, 1.0), k=1).results[0].signals
    ) >= set(blocks)
    assert client.search(path, crop=[10, 10, 100, 100], k=1).results
    assert "cross-red" not in {
        row.product_id for row in client.search(path, k=1000, exclude=["cross-red"]).results
    }
    similar = client.similar("cross-red", filter=RED, exclude=["stripes-red"], k=1000).results
    assert {row.product_id for row in similar} == {"a/similar", "dots-red"}
    facets = client.facets(fields=["colour"], filter=RED)
    assert [(facet.field, facet.count) for facet in facets.facets] == [("colour", 4)]


def test_results_go_on_over_pages(client: Client) -> None:
    whole = [row.product_id for row in client.search(product_id="cross-red", k=1000).results]
    assert [row.product_id for row in client.results(product_id="cross-red", k=3)] == whole
    assert len(whole) == 19


def test_heat_maps_and_many_photos(client: Client) -> None:
    """A category's map, a pair's maps for each block, and batches with one bad photo among good
    ones."""
    data = photo("dots", "blue")
    assert client.explain(data, category="dots").category.label == "dots"  # type: ignore[union-attr]
    assert {entry.photo for entry in client.explain(data, other="cross-red").maps} == {
        "image",
        "with",
    }
    for ask in (client.classify_batch, client.search_batch, client.tags_batch):
        assert [row["status"] for row in ask([data, b"no photo"])] == [200, 422]


@pytest.mark.parametrize("chosen", ODD_IDS.values())
def test_odd_ids_are_read_and_written(writer: Client, chosen: str) -> None:
    """Slashes, colons, percent signs and Chinese in an id survive the way there and back."""
    assert writer.get_product(chosen).product_id == chosen
    assert (
        writer.patch_product(chosen, title="new", attributes={"colour": None}).outcome == "patched"
    )
    now = writer.get_product(chosen)
    assert (now.title, now.attributes) == ("new", {})
    assert writer.delete_product(chosen).outcome == "deleted"
    with pytest.raises(ProblemError) as caught:
        writer.get_product(chosen)
    assert (caught.value.status, caught.value.code) == (404, "unknown-product")


def test_a_product_comes_and_goes(writer: Client) -> None:
    """Put with photos, found, seen as a thumbnail, written in a batch, a class from photos, a
    version activated."""
    put = writer.put_product(
        "mug/1",
        [photo("ring", "tan", turn=40)],
        title="A mug",
        category=["Shapes", "ring"],
        tags=["mug"],
    )
    assert put.outcome == "added"
    found = writer.search(photo("ring", "tan", turn=40), k=1, min_sequence=put.sequence).results[0]
    assert (found.product_id, found.title) == ("mug/1", "A mug")
    assert writer.image(found.photo, 160)[:2] == b"\xff\xd8"
    assert [
        row["status"]
        for row in writer.batch_products([{"op": "delete", "product_id": "mug/1"}, {"op": "x"}])
    ] == [
        200,
        422,
    ]
    assert writer.list_products(limit=3).total == 20
    made = writer.add_class("Shapes > mug", [photo("ring", "tan", turn=40)])
    assert made.id in {entry.id for entry in writer.list_classes().classes}
    writer.remove_class(id=made.id)
    (version,) = writer.list_indexes().indexes
    assert writer.activate_index(version.version).activated == version.version
    assert len(writer.map(limit=5).points) == 5


def test_recommendations_and_reviews(client: Client) -> None:
    """A history of ids gets reasons; a listing gets a verdict; words find products."""
    found = client.recommend(["cross-red", {"product_id": "dots-red", "weight": 3}], k=3)
    assert len(found.results) == 3
    assert not {"cross-red", "dots-red"} & {row.product_id for row in found.results}
    assert (
        client.review([photo("ring", "red", turn=20)], profile="studio").quality.profile == "studio"
    )
    assert client.search(text="red cross", k=1).results[0].product_id == "cross-red"


def test_feedback_and_the_queue(writer: Client, own: Engine) -> None:
    """Accepted tags are stored; a review of the queue is read, seen and decided once."""
    answer = writer.tags(photo("ring", "red"))
    assert writer.feedback(answer.request_id, accepted=[answer.tags[0].tag]).stored == 1
    from indexer.reviews.store import Preview

    body = {"verdict": "review", "prohibited": [], "duplicates": []}
    name = own.reviews.submit(body, [Preview("0" * 64, b"\xff\xd8jpeg")], product_id=None)
    assert [entry.review_id for entry in writer.list_reviews(state="open").reviews] == [name]
    assert writer.get_review(name).state == "open"
    assert writer.review_photo(name, 0) == b"\xff\xd8jpeg"
    assert writer.decide_review(name, "approve", "fine").state == "approved"
    with pytest.raises(ProblemError, match="already-decided"):
        writer.decide_review(name, "reject")


def test_what_goes_wrong_is_a_problem_that_says_what(client: Client) -> None:
    """The service's code, detail and wrong fields are at hand; nothing listening is status 0."""
    with pytest.raises(ProblemError) as caught:
        client.classify(b"no photo")
    assert (caught.value.status, caught.value.code) == (422, "bad-image")
    assert caught.value.request_id
    with pytest.raises(ProblemError) as caught:
        client.search(product_id="cross-red", k=0)
    assert [error["field"] for error in caught.value.errors] == ["k"]
    with Client("http://127.0.0.1:9", timeout_s=1) as nobody, pytest.raises(ProblemError) as caught:
        nobody.list_indexes()
    assert (caught.value.status, caught.value.code) == (0, "offline")


def test_a_key_is_sent(own: Engine) -> None:
    """Without the key 401, with it an answer."""
    object.__setattr__(own, "settings", own.settings.replace(api_keys=("a-key-of-this-shop-1",)))
    with serving_engine(own) as address:
        with Client(address) as stranger, pytest.raises(ProblemError, match="401"):
            stranger.list_indexes()
        with Client(address, key="a-key-of-this-shop-1") as known:
            assert known.list_indexes().indexes


@pytest.fixture
def streaming() -> Iterator[str]:
    """A service whose stream cuts each job's ``é`` in two, and goes on in a while; all else is a
    list of jobs."""
    job = {
        "job_id": "j",
        "kind": "import",
        "state": "running",
        "created": 0,
        "started": None,
        "ended": None,
        "done": 0,
    }
    job |= {"stage": "é", "total": 0, "options": {}, "result": None, "problem": None}
    event = f"event: progress\ndata: {json.dumps(job, ensure_ascii=False)}\n\n".encode()
    cut = event.index("é".encode()) + 1

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            if not self.path.endswith("/events"):
                around = {
                    "request_id": "r",
                    "model_version": None,
                    "index_version": None,
                    "timings_ms": {},
                }
                body = json.dumps({**around, "jobs": []}).encode()
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                return
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            with contextlib.suppress(OSError):
                for number in range(9):
                    time.sleep(0.5 if number == 3 else 0)
                    for part in (event[:cut], event[cut:]):
                        self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
                        self.wfile.flush()
                        time.sleep(0.005)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_job_s_stream_may_be_cut_anywhere_and_left_early(streaming: str) -> None:
    """A character in two pieces is read; what is left of a stream is never taken for the answer to
    the next call."""
    with Client(streaming, timeout_s=5) as made:
        for _ in range(2):
            follow = made.follow_job("j")
            assert [next(follow).stage for _ in range(3)] == ["é"] * 3
            follow.close()
            assert made.list_jobs().jobs == []


def test_long_work_is_started_followed_and_listed(writer: Client, tmp_path: Path) -> None:
    """An archive is imported: progress until it is done, and the product is there."""
    archive = tmp_path / "feed.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("mugs/new-mug.png", photo("ring", "tan", turn=30))
    job = writer.import_products(archive, photos="copy", sync=False)
    *_, last = writer.follow_job(job.job_id)
    assert last.state == "done", last.problem
    assert [entry.job_id for entry in writer.list_jobs().jobs] == [job.job_id]
    assert writer.get_job(job.job_id).result == last.result
    assert writer.get_product("mugs/new-mug").category == "mugs"
    with pytest.raises(ProblemError, match="409"):
        writer.cancel_job(job.job_id)


def test_a_long_undo_is_a_job_and_a_short_one_an_answer(
    writer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes back tells which: a job to be followed, whose result is what the other says."""
    change = {"op": "patch", "title": "SALE"}
    writer.batch_products([{**change, "product_id": f"dots-{name}"} for name in ("red", "blue")])
    name = writer.list_actions().actions[0].name
    would = writer.start_undo(name, dry_run=True)
    assert isinstance(would, UndoResponse)
    assert would.restored == 2
    monkeypatch.setattr("indexer.operations.undo.LONG", 1)
    begun = writer.start_undo(name)
    assert isinstance(begun, JobResponse)
    *_, last = writer.follow_job(begun.job_id)
    assert (last.kind, last.state) == ("undo", "done")
    assert (last.result["restored"], last.result["skipped"]) == (2, [])
    assert writer.get_product("dots-red").title != "SALE"
    with pytest.raises(ProblemError) as refused:
        writer.start_undo(name)
    assert refused.value.code == "not-undoable"


def test_with_chosen_fields_the_others_are_none(writer: Client) -> None:
    """Results and products have the chosen fields; what is wrong with a name is said."""
    writer.patch_product("cross-red", price=3.5, currency="EUR")
    (found,) = writer.similar("ring-blue", k=1, fields=["product_id"]).results
    assert (found.product_id, found.price, found.title) == (found.product_id, None, None)
    one = writer.get_product("cross-red", fields=["price"])
    assert (one.price, one.currency) == (3.5, None)
    (best,) = writer.search(product_id="ring-blue", k=1).results
    assert best.attributes
    with pytest.raises(ProblemError, match="no field 'prise'"):
        writer.search(product_id="cross-red", fields=["prise"])
