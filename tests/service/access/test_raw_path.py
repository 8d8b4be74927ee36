"""Raw paths, also through nginx as the guide configures it."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from service.access.keys import KeyFile
from service.access.raw_path import read_path
from service.app import create_app, head_check
from service.engine import Engine
from service.server import make_server
from service.settings import Settings
from tests.service.conftest import ODD_IDS

ROOT = Path(__file__).parents[3]
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
# A server block of the guide, on the loopback and without TLS.
CONFIG = """
daemon off;
{user}
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  {server}
}}
"""


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/v1/products/a%2Fb?k=1", "/v1/products/a%2Fb"),
        ("/shop/v1/products/a%2fb", "/v1/products/a%2Fb"),
        ("/shop", "/"),
        ("/shopping/v1", "/shopping/v1"),
        ("http://shop.example/shop/v1/%41#x", "/v1/A"),
        ("/v1/products/100%25%3F%23", "/v1/products/100%25%3F%23"),
    ],
)
def test_a_character_has_one_spelling(tmp_path: Path, target: str, path: str) -> None:
    """Encoded slashes stay in their segment; the prefix of the public address is taken off."""
    settings = Settings(home=tmp_path, public_url="https://shop.example/shop")
    assert read_path(target, settings) == path


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def proxied(own: Engine, tmp_path: Path) -> Iterator[int]:
    """The port of nginx before the test's own shop, which is below /visual/ there."""
    if NGINX is None:
        pytest.skip("nginx is not installed")
    port = free_port()
    settings = own.settings.replace(
        port=0,
        public_url=f"http://127.0.0.1:{port}/visual",
        trusted_proxies=("127.0.0.1",),
        address_rate=0.2,
        user_header="X-Forwarded-Email",
    )
    app = create_app(own, settings)
    server = make_server(app, settings, head_check(app))
    answering = threading.Thread(target=server.run, daemon=True)
    answering.start()
    guide = (ROOT / "docs/guides/reverse-proxy.md").read_text(encoding="utf-8")
    found = re.search(r"```nginx\n(.*?)```", guide, flags=re.DOTALL)
    assert found is not None
    assert "ssl_certificate " in found[1]
    assert "ssl_certificate_key " in found[1]
    block = re.sub(r"(?m)^ *ssl_certificate.*\n", "", found[1])
    block = block.replace("listen 443 ssl", f"listen 127.0.0.1:{port}")
    block = block.replace("127.0.0.1:8000", f"127.0.0.1:{server.effective_port}")
    user = "user root;" if os.geteuid() == 0 else ""
    (tmp_path / "nginx.conf").write_text(CONFIG.format(folder=tmp_path, server=block, user=user))
    running = subprocess.Popen([NGINX, "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")])
    try:
        for _ in range(200):
            with socket.socket() as asked:
                if asked.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield port
    finally:
        running.terminate()
        running.wait(timeout=10)
        server.close()
        answering.join(timeout=10)


def ask(
    port: int, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, Any]:
    """Status and JSON, or bytes, of an answer."""
    # From an address that is not the trusted proxy's.
    source = ("127.0.0.2", 0)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20, source_address=source)
    try:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body=body, headers=names)
        answer = connection.getresponse()
        data = answer.read()
        return answer.status, json.loads(data) if b"json" in (
            answer.headers["Content-Type"].encode()
        ) else data
    finally:
        connection.close()


def test_the_recipe_for_nginx_works(own: Engine, proxied: int) -> None:
    """Odd ids, large photos, the page, refusals before a body, and addresses and names that clients
    cannot make up."""
    keys = KeyFile(own.home)
    boss = f"Bearer {keys.create('boss', 'admin').key}"
    page = f"Bearer {keys.create('page', 'search').key}"
    for chosen in ODD_IDS.values():
        path = f"/visual/v1/products/{quote(chosen, safe='')}"
        status, found = ask(proxied, "GET", path, Authorization=boss)
        assert (status, found["product_id"]) == (200, chosen)
    image = found["images"][0]["image_url"]
    assert image.startswith("/visual/v1/images/")
    assert ask(proxied, "GET", image, Authorization=boss)[0] == 200
    status, html = ask(proxied, "GET", "/visual/")
    assert (status, b"web/app.js" in html) == (200, True)
    large = json.dumps({"image": {"base64": "A" * 3_000_000}}).encode()
    json_type = "application/json"
    asked = ("POST", "/visual/v1/classify", large)
    status, refused = ask(proxied, *asked, Authorization=boss, Content_Type=json_type)
    assert (status, refused["code"]) == (422, "bad-image")
    # Nobody reads three megabytes of whom it does not know; nginx passes the answer on.
    status, refused = ask(proxied, *asked, Content_Type=json_type)
    assert (status, refused["code"]) == (401, "unauthorized")
    origin = f"http://127.0.0.1:{proxied}"
    change = ("PATCH", "/visual/v1/products/cross-red", b'{"title": "proxied"}')
    status, _ = ask(proxied, *change, Authorization=boss, Content_Type=json_type, Origin=origin)
    assert status == 200
    # One of the two requests that an address has at once was the one without a key.
    answers = [
        ask(
            proxied,
            "GET",
            "/visual/v1/whoami",
            Authorization=page,
            X_Forwarded_For=f"198.51.100.{number}",
            X_Forwarded_Email="somebody@else.example",
        )
        for number in range(3)
    ]
    assert [status for status, _ in answers] == [200, 429, 429]
    assert answers[0][1]["name"] == "page"
