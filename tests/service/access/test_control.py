"""Who may ask: keys, Host and Origin, headers, and where the service listens."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from indexer.core.errors import BadSettingsError
from service.access.keys import KeyFile
from service.engine import Engine
from service.query.own_address import image_url
from service.settings import Settings, read_api_keys
from tests.service.api.routes.test_queries import assert_problem

KEY = "correct-horse-battery"
PATCHED = "/v1/products/cross-red"


def test_every_v1_path_needs_a_key_where_keys_are_set(open_web: Callable[..., FlaskClient]) -> None:
    """401 with WWW-Authenticate without one, with a wrong one and on unknown paths; page and health
    stay open."""
    web = open_web(api_keys=("another-key-of-this-shop", KEY))
    for headers in (
        {},
        {"Authorization": f"Bearer {KEY}x"},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": KEY},
    ):
        for path in ("/v1/products", "/v1/nothing", "/v1/indexes", f"/v1/images/{'0' * 64}"):
            response = web.get(path, headers=headers)
            assert_problem(response, 401, "unauthorized")
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert web.get("/v1/products", headers={"Authorization": f"Bearer {KEY}"}).status_code == 200
    for path in ("/", "/web/app.js", "/livez", "/readyz", "/openapi.json", "/docs"):
        assert web.get(path).status_code == 200, path
    shot = web.get(PATCHED, headers={"Authorization": f"Bearer {KEY}"}).get_json()["images"][0][
        "image_url"
    ]
    assert (
        "private"
        in web.get(shot, headers={"Authorization": f"Bearer {KEY}"}).headers["Cache-Control"]
    )


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_writes_from_pages_of_others_are_refused(
    open_web: Callable[..., FlaskClient], headers: dict[str, str]
) -> None:
    """A foreign page's form or script can change nothing, and asks nothing either."""
    web = open_web()
    assert_problem(
        web.patch(PATCHED, json={"title": "owned"}, headers=headers), 403, "forbidden-origin"
    )
    assert_problem(web.delete(PATCHED, headers=headers), 403, "forbidden-origin")
    assert_problem(
        web.post("/v1/search", json={"product_id": "cross-red"}, headers=headers),
        403,
        "forbidden-origin",
    )
    assert web.get(PATCHED).get_json()["title"] == "red cross"


def test_the_page_itself_may_write(open_web: Callable[..., FlaskClient]) -> None:
    headers = {
        "Origin": "http://127.0.0.1:8000",
        "Host": "127.0.0.1:8000",
        "Sec-Fetch-Site": "same-origin",
    }
    assert open_web().patch(PATCHED, json={"title": "mine"}, headers=headers).status_code == 200


def test_a_rebound_name_is_refused(open_web: Callable[..., FlaskClient]) -> None:
    """A foreign name that resolves to this machine (DNS rebinding) reads and writes nothing, until
    it is allowed."""
    web, foreign = open_web(), {"Host": "evil.example:8000"}
    assert_problem(
        web.patch(PATCHED, json={"title": "owned"}, headers=foreign), 403, "forbidden-host"
    )
    assert_problem(web.get(PATCHED, headers=foreign), 403, "forbidden-host")
    assert web.get("/livez", headers=foreign).status_code == 200, (
        "probes name the machine as they like"
    )
    for host in ("localhost:8000", "127.0.0.1", "[::1]:8000"):
        assert web.get(PATCHED, headers={"Host": host}).status_code == 200, host
    allowing = open_web(allowed_hosts=("shop.example",))
    assert allowing.get(PATCHED, headers={"Host": "Shop.Example:8000"}).status_code == 200
    assert_problem(allowing.get(PATCHED, headers=foreign), 403, "forbidden-host")
    keyed = open_web(api_keys=(KEY,))
    bearer = {**foreign, "Authorization": f"Bearer {KEY}"}
    assert_problem(keyed.patch(PATCHED, json={"title": "x"}, headers=bearer), 403, "forbidden-host")


def test_beyond_loopback_needs_keys(tmp_path: Path) -> None:
    """0.0.0.0 or a public address without keys is refused with what to do; loopback and keys are
    fine."""
    for host in ("0.0.0.0", "::", "192.168.1.7", "shop.example", ""):
        with pytest.raises(BadSettingsError, match="--api-key-file"):
            Settings(home=tmp_path, host=host)
        assert Settings(home=tmp_path, host=host, api_keys=(KEY,)).host == host
    for host in ("127.0.0.1", "localhost", "::1", "127.8.8.8"):
        assert Settings(home=tmp_path, host=host).host == host


@pytest.mark.parametrize(
    "values",
    [
        {"public_url": "https://shop.example/visual"},
        {"trusted_proxies": ("127.0.0.1",)},
        {"trusted_proxies": ("10.0.0.0/8",), "public_url": "http://shop.example/"},
    ],
)
def test_behind_a_proxy_needs_keys(
    open_web: Callable[..., FlaskClient], values: dict[str, object]
) -> None:
    """What a proxy passes on comes from this machine, whoever asked: without a key all of them
    would be admin."""
    with pytest.raises(BadSettingsError, match="catalens keys create"):
        open_web(**values)
    assert open_web(**values, api_keys=(KEY,)).get("/v1/products").status_code == 401


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"prot": 1}, "'prot'"),
        ({"port": 70_000}, "port"),
        ({"port": "8000"}, "port"),
        ({"threads": -1}, "threads"),
        ({"max_waiting": True}, "max_waiting"),
        ({"device": "tpu"}, "device"),
        ({"poll_s": 0}, "poll_s"),
        ({"fetch_private": ("photos.local",)}, "fetch_private"),
        ({"fetch_hosts": ("a b",)}, "fetch_hosts"),
        ({"api_keys": ("short",)}, "api_keys"),
        ({"api_keys": KEY}, "api_keys"),
        ({"allowed_hosts": "one.example"}, "allowed_hosts"),
    ],
)
def test_a_bad_setting_is_named(tmp_path: Path, values: dict[str, object], named: str) -> None:
    with pytest.raises(BadSettingsError, match=re.escape(named)):
        Settings.make(home=tmp_path, **values)


def test_keys_come_from_a_file(tmp_path: Path) -> None:
    """One a line, comments and empty lines skipped; an empty or missing file is an error; no key is
    ever printed."""
    file = tmp_path / "keys"
    file.write_text(f"# ours\n\n{KEY}\n  another-key-of-this-shop  \n")
    keys = read_api_keys(file)
    assert keys == (KEY, "another-key-of-this-shop")
    assert KEY not in repr(Settings(home=tmp_path, api_keys=keys))
    file.write_text("# none\n")
    with pytest.raises(BadSettingsError, match="holds no key"):
        read_api_keys(file)
    with pytest.raises(BadSettingsError, match="cannot be read"):
        read_api_keys(tmp_path / "absent")
    with pytest.raises(BadSettingsError, match="cannot be read"):
        read_api_keys(Path("a\0b"))


def test_the_page_loads_nothing_from_elsewhere(web: FlaskClient) -> None:
    """A strict policy, no inline script or style, no address of another host in any file of the
    page."""
    policy = web.get("/").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    for path in ("/", "/docs", "/web/app.js", "/web/app.css", "/web/docs.js", "/web/icon.svg"):
        text = web.get(path).get_data(as_text=True)
        assert text
        found = [
            url
            for url in re.findall(r"(?:https?:)?//[\w.-]+\.\w+", text)
            if "www.w3.org" not in url
        ]
        assert found == [], path
        assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=\"|innerHTML", text), (
            path
        )
    named = set(
        re.findall(r'(?:src|href)="([a-z][\w./-]+)"', web.get("/").text + web.get("/docs").text)
    )
    assert "web/app.js" in named
    for path in named:
        assert web.get(f"/{path}").status_code == 200, path
    assert_problem(web.get("/web/..%2Fsettings.py"), 404, "not-found")


def test_the_first_view_is_small(web: FlaskClient) -> None:
    """The page without photos stays under 200 kB."""
    assert (
        sum(
            len(web.get(path).data)
            for path in ("/", "/web/app.js", "/web/app.css", "/web/icon.svg")
        )
        < 200_000
    )


def test_the_openapi_document_names_every_route(web: FlaskClient) -> None:
    """Each call of the service stands in the document with its bodies and problem answers;
    references resolve."""
    document = web.get("/openapi.json").get_json()
    calls = {(method, path) for path, item in document["paths"].items() for method in item}
    served = {
        (method.lower(), re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in web.application.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule.startswith("/v1") or rule.rule in ("/livez", "/readyz", "/metrics")
    }
    assert calls == served
    search = document["paths"]["/v1/search"]["post"]
    assert set(search["requestBody"]["content"]) == {"application/json", "multipart/form-data"}
    assert "application/problem+json" in search["responses"]["422"]["content"]
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', web.get("/openapi.json").text))
    assert references <= set(document["components"]["schemas"])


def test_a_page_behind_a_proxy_asks_by_its_public_address(
    open_web: Callable[..., FlaskClient],
) -> None:
    """Whatever Host the proxy sends, the page of ``public_url`` is this service's own; the refusal
    of another names the setting."""
    question = {"product_id": "cross-red", "k": 1}
    origin = {"Origin": "https://search.shop.example:8443"}
    hosts = ("127.0.0.1:8000", "search.shop.example", "search.shop.example:8443")
    refused = open_web().post("/v1/search", json=question, headers=origin)
    assert_problem(refused, 403, "forbidden-origin")
    assert "set public_url to https://search.shop.example:8443" in refused.get_json()["detail"]
    web = open_web(public_url="https://Search.shop.example:8443/", api_keys=(KEY,))
    origin |= {"Authorization": f"Bearer {KEY}"}
    for host in hosts:
        headers = {**origin, "Host": host}
        assert web.post("/v1/search", json=question, headers=headers).status_code == 200, host
    other = {**origin, "Origin": "https://search.shop.example", "Host": "127.0.0.1:8000"}
    assert_problem(web.post("/v1/search", json=question, headers=other), 403, "forbidden-origin")
    foreign = web.post("/v1/search", json=question, headers={"Host": "evil.example"})
    assert_problem(foreign, 403, "forbidden-host")
    assert (
        "'evil.example' is not served here: allow it (setting allowed_hosts)"
        in (foreign.get_json()["detail"])
    )
    nameless = web.post("/v1/search", json=question, headers={"Host": ""})
    assert_problem(nameless, 403, "forbidden-host")
    assert nameless.get_json()["detail"] == "the request names no host: send the header Host"


def test_below_a_path_of_a_proxy_everything_is_found(open_web: Callable[..., FlaskClient]) -> None:
    """The prefix may be cut off by the proxy or left: pages, calls and the addresses in answers."""
    web = open_web(public_url="http://localhost/shop/visual/")
    for prefix in ("", "/shop/visual"):
        page = web.get(f"{prefix}/", environ_overrides={"REQUEST_URI": f"{prefix}/"})
        assert page.status_code == 200
        assert not re.search(r'(href|src)="/', page.get_data(as_text=True))
        path = f"{prefix}{PATCHED}"
        found = web.get(path, environ_overrides={"REQUEST_URI": path})
        image, *_ = found.get_json()["images"]
        assert image["image_url"].startswith("/shop/visual/v1/images/")
        shot = image["image_url"]
        assert web.get(shot, environ_overrides={"REQUEST_URI": shot}).status_code == 200
    assert web.get("/openapi.json").get_json()["servers"] == [{"url": "/shop/visual"}]
    elsewhere = "/shop/visually/v1/products"
    assert web.get(elsewhere, environ_overrides={"REQUEST_URI": elsewhere}).status_code == 404


def test_below_a_path_of_a_proxy_what_clients_gave_is_as_they_gave_it(
    open_web: Callable[..., FlaskClient],
) -> None:
    """An attribute that is named and reads like an address in answers; written back it is
    unchanged. Also in an answer that UTF-8 cannot hold."""
    web = open_web(public_url="http://localhost/shop/visual/")
    given = {"image_url": "/v1/images/own-cdn.jpg"}
    assert web.patch(PATCHED, json={"attributes": given}).status_code == 200
    found = web.get(PATCHED)
    stored = found.get_json()
    image, *_ = stored["images"]
    assert image["image_url"].startswith("/shop/visual/v1/images/")
    given["image_url"] = f"/v1/images/{image['hash']}?w=320"
    assert web.patch(PATCHED, json={"attributes": given}).status_code == 200
    stored = web.get(PATCHED).get_json()
    assert stored["attributes"]["image_url"] == given["image_url"]
    again = web.patch(PATCHED, json={"attributes": stored["attributes"]}).get_json()
    assert again["outcome"] == "unchanged"
    with web.application.app_context():
        odd = {"images": [stored["images"][0]], "odd": "\ud800", "url": image_url("a")}
        assert '"/shop/visual/v1/images/a?w=320"' in web.application.json.dumps(odd)


def test_slashes_that_a_proxy_decoded_are_of_the_id(open_web: Callable[..., FlaskClient]) -> None:
    """``a%2Fb`` that arrives as ``a/b`` is found by a setting, which the 404 names otherwise."""

    def ask(web: FlaskClient, path: str) -> TestResponse:
        return web.get(path, environ_overrides={"REQUEST_URI": path})

    plain, joined = open_web(), open_web(decoded_slashes=True)
    path = "/v1/products/mugs/17"
    assert "the setting decoded_slashes" in ask(plain, path).get_json()["detail"]
    for asked in (path, "/v1/products/mugs%2F17"):
        problem = ask(joined, asked).get_json()
        assert problem["code"] == "unknown-product"
        assert "mugs/17" in problem["detail"]
    assert ask(joined, f"{PATCHED}/similar?k=1").status_code == 200


@pytest.mark.parametrize(
    "url", ["shop.example", "ftp://shop.example", "https://u:p@shop.example", "http://a/b?c", "//x"]
)
def test_a_public_url_that_is_none_is_refused(tmp_path: Path, url: str) -> None:
    """With the setting's name."""
    with pytest.raises(BadSettingsError, match="public_url"):
        Settings(home=tmp_path, public_url=url)


def test_beyond_its_limit_a_key_waits(own: Engine, open_web: Callable[..., FlaskClient]) -> None:
    """429 with ``Retry-After`` for its own excess, before the body is looked at; other keys and
    `admin` go on."""
    keys = KeyFile(own.home)
    slow, quick, boss = (
        {"Authorization": f"Bearer {keys.create(name, role, rate=rate).key}"}
        for name, role, rate in (
            ("slow", "search", 0.2),
            ("quick", "search", None),
            ("boss", "admin", None),
        )
    )
    web = open_web(key_rate=0.3)
    assert [web.get("/v1/whoami", headers=slow).status_code for _ in range(3)] == [200, 200, 429]
    refused = web.post("/v1/search", data=b"{", headers=slow)
    assert_problem(refused, 429, "too-many-requests")
    assert 1 <= int(refused.headers["Retry-After"]) <= 5
    assert "'slow' may ask 0.2 times a second" in refused.get_json()["detail"]
    assert [web.get("/v1/whoami", headers=quick).status_code for _ in range(4)].count(200) == 3
    assert [web.get("/v1/whoami", headers=boss).status_code for _ in range(9)].count(200) == 9
    assert web.get("/livez").status_code == 200
    # Another process of the home has counted them too.
    again = open_web(key_rate=0.3)
    assert again.get("/v1/whoami", headers=slow).status_code == 429


def test_beyond_its_limit_an_address_waits(
    own: Engine, open_web: Callable[..., FlaskClient]
) -> None:
    """Whoever comes with a `search` key, a wrong one or none; not who writes. Behind a trusted
    proxy each shopper has an address, and makes up none."""
    keys = KeyFile(own.home)
    page = {"Authorization": f"Bearer {keys.create('page', 'search').key}"}
    boss = {"Authorization": f"Bearer {keys.create('boss', 'write').key}"}
    web = open_web(address_rate=0.2, trusted_proxies=("127.0.0.1",))

    def ask(forwarded: str, **headers: str) -> int:
        sent = {"X-Forwarded-For": forwarded, **headers}
        return web.get("/v1/whoami", headers=sent).status_code

    assert [ask("198.51.100.1", **page) for _ in range(3)] == [200, 200, 429]
    assert ask("10.9.9.9, 198.51.100.1", **page) == 429
    assert ask("198.51.100.2", **page) == 200
    assert [ask("198.51.100.3") for _ in range(3)] == [401, 401, 429]
    assert ask("198.51.100.1", **boss) == 200
    assert web.get("/", headers={"X-Forwarded-For": "198.51.100.1"}).status_code == 200


def test_a_trusted_proxy_names_people(own: Engine, open_web: Callable[..., FlaskClient]) -> None:
    """The header counts from that proxy alone, beside the proxy's key; a name is text."""
    key = KeyFile(own.home).create("proxy", "review").key
    web = open_web(trusted_proxies=("127.0.0.1",), user_header="X-Forwarded-Email")
    headers = {"Authorization": f"Bearer {key}", "X-Forwarded-Email": "jane@shop.example"}

    def name(**more: object) -> str:
        said = web.get("/v1/whoami", headers=headers, **more).get_json()  # type: ignore[arg-type]
        assert said["role"] == "review"
        return str(said["name"])

    assert name() == "jane@shop.example"
    assert name(environ_overrides={"REMOTE_ADDR": "198.51.100.1"}) == "proxy"
    headers["X-Forwarded-Email"] = "Zoë".encode().decode("latin-1")
    assert name() == "Zoë"
    headers["X-Forwarded-Email"] = ""
    assert name() == "proxy"
    for bad in ("x" * 101, b"a\x1bb".decode("latin-1")):
        headers["X-Forwarded-Email"] = bad
        assert_problem(web.get("/v1/whoami", headers=headers), 400, "bad-request")
    del headers["Authorization"]
    assert_problem(web.get("/v1/whoami", headers=headers), 401, "unauthorized")
    with pytest.raises(BadSettingsError, match="user_header needs trusted_proxies"):
        open_web(user_header="X-Forwarded-Email")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("trusted_proxies", ("proxy.local",)),
        ("user_header", "X Forwarded"),
        ("allowed_origins", ("*",)),
        ("allowed_origins", ("null",)),
        ("allowed_origins", ("https://shop.example/page",)),
        ("allowed_origins", ("",)),
        ("key_rate", -1.0),
    ],
)
def test_a_bad_rule_of_access_is_named(tmp_path: Path, name: str, value: object) -> None:
    with pytest.raises(BadSettingsError, match=name):
        Settings.make(home=tmp_path, **{name: value})
