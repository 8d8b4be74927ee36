"""The rules of every request: the name it carries, and what its head alone decides."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.test import EnvironBuilder

from indexer.core.actor import current_actor
from indexer.core.errors import BadHomeError, BadSettingsError
from indexer.core.home import KEYS_FILE, Home
from indexer.index.version import Versions
from indexer.operations.jobs import Jobs
from service import app
from service.access.caller import Caller
from service.access.keys import KeyFile
from service.access.roles import Role
from service.api.refusals import RefusalLog
from service.app import create_app, head_check
from service.engine import Engine
from service.inference.admission import AdmissionGate
from service.settings import Settings


def named(engine: Engine, name: str) -> FlaskClient:
    """A client with a key of ``name``."""
    key = KeyFile(engine.home).create(name, "admin").key
    web = create_app(engine, engine.settings).test_client()
    web.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
    return web


def test_writes_decisions_activations_and_jobs_carry_the_callers_name(own: Engine) -> None:
    anna = named(own, "Anna")
    assert anna.patch("/v1/products/ring-blue", json={"title": "x"}).status_code == 200
    batch = {"items": [{"op": "patch", "product_id": "ring-blue", "title": "y"}]}
    assert anna.post("/v1/products:batch", json=batch).get_json()["results"][0]["status"] == 200
    assert own.catalog.actions.actions(limit=1)[0].kind == "batch"
    name = own.reviews.submit({"verdict": "review", "prohibited": []}, [], product_id=None)
    decided = anna.post(f"/v1/reviews/{name}:decide", json={"decision": "approve"}).get_json()
    assert decided["decided"]["by"] == "Anna"
    assert anna.post("/v1/indexes/v000001:activate").status_code == 200
    job = anna.post("/v1/indexes", json={}).get_json()
    assert job["options"]["by"] == "Anna"
    assert Jobs(Home(own.home.path)).get(job["job_id"]).options["by"] == "Anna"
    assert Versions(own.home).history()[-1].by == "Anna"
    assert {each.by for each in own.catalog.actions.actions(limit=1)} == {"Anna"}
    assert current_actor() == ""
    own.products.patch("ring-blue", {"title": "z"})
    assert own.catalog.actions.actions(limit=1)[0].by == ""


@pytest.mark.parametrize("keys", ['{"format": 1, "keys": []}', "damaged"])
def test_what_may_not_be_served_is_refused_before_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: str
) -> None:
    """A file of keys without one, or a damaged one, on an address that other machines reach: no
    index is loaded for it."""
    home = Home.create(tmp_path / "home").path
    (home / KEYS_FILE).write_text(keys)
    monkeypatch.setattr(app, "Engine", None)
    monkeypatch.setattr(app, "capture_library_logs", lambda log: None)
    settings = Settings.make(home=home, host="0.0.0.0")
    with pytest.raises((BadSettingsError, BadHomeError), match=r"reachable from other|is damaged"):
        app.serve(settings)


@pytest.mark.parametrize(
    ("role", "rate", "said"), [("search", 0, True), ("search", 9, False), ("write", 0, False)]
)
def test_the_start_says_that_one_client_can_use_up_a_search_key(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    *,
    role: Role,
    rate: float,
    said: bool,
) -> None:
    """A key in a page and no limit per address: the log names the option."""
    home = Home.create(tmp_path / "home")
    KeyFile(home).create("page", role)
    monkeypatch.setattr(app, "Engine", None)
    monkeypatch.setattr(app, "capture_library_logs", lambda log: None)
    with pytest.raises(TypeError):
        app.serve(Settings.make(home=home.path, address_rate=float(rate)))
    assert ("--address-rate" in capfd.readouterr().err) == said


def test_bodies_beyond_an_own_share_are_the_askers_excess(shop: Engine) -> None:
    """429 where the server found that the same address or key holds too much, 503 where others do;
    both say when to come again. The head says for whom a body is counted."""
    made = create_app(shop, shop.settings)
    for mark, status, code in (
        ("excess", 429, "too-many-requests"),
        ("refused", 503, "overloaded"),
    ):
        answer = made.test_client().get(
            "/v1/products", environ_overrides={f"catalens.{mark}": "send fewer at once"}
        )
        told = answer.get_json()
        assert (answer.status_code, told["code"]) == (status, code)
        assert (told["detail"], answer.headers["Retry-After"]) == ("send fewer at once", "1")
    environ = EnvironBuilder("/v1/search", method="POST", base_url="http://127.0.0.1/")
    head = {**environ.get_environ(), "REMOTE_ADDR": "2001:db8::7", "CONTENT_LENGTH": "9"}
    assert not head_check(made).refuses(head)
    assert head["catalens.owners"] == ("address 2001:db8::/64",)
    assert Caller("erp", "write", "192.0.2.1").owners == ("address 192.0.2.1", "name erp")
    # All shoppers have one key: what one of them holds is not the others'.
    assert Caller("shop-page", "search", "192.0.2.1").owners == ("address 192.0.2.1",)


def test_a_photo_that_would_be_refused_is_not_read(
    shop: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no room for another question its head is enough; small bodies and writes are read."""
    made = create_app(shop, shop.settings)
    check = head_check(made)
    rules = {rule.rule for rule in made.url_map.iter_rules()}
    assert rules >= app._QUESTIONS

    def refused(path: str, length: int) -> bool:
        builder = EnvironBuilder(path, method="POST", base_url="http://127.0.0.1/")
        environ = {**builder.get_environ(), "CONTENT_LENGTH": str(length)}
        return check.refuses(environ)

    assert not refused("/v1/search", 10**6)
    monkeypatch.setattr(AdmissionGate, "refuses", lambda *_: True)
    assert refused("/v1/search", 10**6)
    assert not refused("/v1/search", 1000)
    assert not refused("/v1/imports", 10**6)
    assert refused("/v1/imports", shop.settings.max_body_bytes + 1)
    assert refused("/v1/nowhere", 10)


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ("revoke", 401, "unauthorized"),
        ("rotate", 401, "unauthorized"),
        ("lesser", 403, "forbidden"),
    ],
)
def test_a_key_that_ended_while_a_body_arrived_writes_nothing(
    own: Engine, change: str, status: int, code: str
) -> None:
    """A head that was let in is judged again when its body is there: revoked or rotated out 401,
    of a lesser role 403."""
    keys = KeyFile(own.home)
    admin(own)
    key = keys.create("erp", "write").key
    made = create_app(own, own.settings)
    builder = EnvironBuilder(
        "/v1/products:batch",
        method="POST",
        base_url="http://127.0.0.1/",
        headers={"Authorization": f"Bearer {key}"},
        json={"items": [{"op": "patch", "product_id": "ring-blue", "title": "late"}]},
    )
    environ = builder.get_environ()
    assert not head_check(made).refuses(environ)
    if change == "revoke":
        keys.revoke("erp")
    elif change == "rotate":
        keys.rotate("erp")
    else:
        *others, erp = keys.read()
        keys._write((*others, erp.model_copy(update={"role": "review"})))
    answer = made.test_client().open(environ_overrides=environ)
    assert (answer.status_code, answer.get_json()["code"]) == (status, code)
    assert own.catalog.actions.actions(limit=1)[0].kind != "batch"


def test_a_refusal_by_the_head_is_the_applications_answer(
    own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's own answer to an upload that is refused by its head has the document and the
    headers that the application would have given, and counts in /metrics."""
    key = KeyFile(own.home).create("page", "search").key
    made = create_app(own, own.settings.model_copy(update={"allowed_origins": ("https://a.b",)}))
    monkeypatch.setattr(AdmissionGate, "refuses", lambda *_: True)
    for given, status in ((key, 503), ("wrong", 401)):
        builder = EnvironBuilder(
            "/v1/search",
            method="POST",
            base_url="http://127.0.0.1/",
            headers={
                "Authorization": f"Bearer {given}",
                "X-Request-Id": "r1",
                "Origin": "https://a.b",
            },
        )
        environ = {**builder.get_environ(), "CONTENT_LENGTH": "1000000"}
        assert head_check(made).refuses(environ)
        head, _, body = environ.pop("catalens.answer").render().partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        answer = made.test_client().open(environ_overrides=environ)
        assert first == f"HTTP/1.1 {answer.status_code} {answer.status.title()[4:]}"
        assert answer.status_code == status
        assert body == answer.data
        told = {name: value for name, value in (line.split(": ", 1) for line in lines)}
        assert told.pop("Connection") == "close"
        del told["Date"]
        assert told == dict(answer.headers)
    numbers = made.test_client().get("/metrics", headers={"Authorization": f"Bearer {admin(own)}"})
    counted = 'catalens_request_seconds_count{method="POST",route="/v1/search",status="503"} 2.0'
    assert counted in numbers.text


def test_methods_that_people_invent_make_no_series_and_no_long_lines(
    own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has no key sends as many methods as he likes, each as long as a head may be: kept in
    numbers that end with the process, they would take all memory."""
    KeyFile(own.home).create("page", "search")
    lines: list[dict[str, object]] = []

    class Log:
        def info(self, _: str, **fields: object) -> None:
            lines.append(fields)

    monkeypatch.setattr(own, "log", Log())
    made = create_app(own, own.settings)
    for number in range(3):
        method = f"X{number}" + "Y" * 30_000
        builder = EnvironBuilder("/v1/search", method=method, base_url="http://127.0.0.1/")
        environ = {**builder.get_environ(), "CONTENT_LENGTH": "9"}
        assert head_check(made).refuses(environ)
        environ.pop("catalens.answer").render()
        made.test_client().open("/v1/search", method=method)
    assert len(lines) == 6
    assert {len(str(line["method"])) for line in lines} == {16}
    numbers = made.test_client().get("/metrics", headers={"Authorization": f"Bearer {admin(own)}"})
    counts = [line for line in numbers.text.splitlines() if "request_seconds_count" in line]
    assert counts == [
        'catalens_request_seconds_count{method="other",route="none",status="401"} 6.0'
    ]


def admin(engine: Engine) -> str:
    """A new key that may do all."""
    return KeyFile(engine.home).create("admin", "admin").key


def test_refusals_of_a_crowd_are_counted_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line a second says how many were refused; each refusal for another reason has its line."""
    now = [10.0]
    monkeypatch.setattr("service.api.refusals.time.monotonic", lambda: now[0])
    lines: list[dict[str, object]] = []

    class Log:
        def info(self, event: str, **fields: object) -> None:
            assert event == "request"
            lines.append(fields)

    log = RefusalLog(Log())
    for _ in range(500):
        log.add("overloaded", status=503)
        log.add("unauthorized", status=401)
    now[0] += 1.1
    log.add("overloaded", status=503)
    assert [line for line in lines if "refused" in line] == [
        {"status": 503, "refused": 1},
        {"status": 503, "refused": 500},
    ]
    assert len(lines) == 502
