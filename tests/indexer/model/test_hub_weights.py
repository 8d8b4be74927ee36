"""Weights of the hub: downloaded when asked, recorded by commit and licence, read without a
network.

The hub is a server of this machine that speaks as much of its interface as the official client
asks for; huggingface.co itself is never reached.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from indexer.core.errors import WeightsUnavailableError
from indexer.model import backbones
from indexer.model.hub_weights import HubWeights, fetch
from tests.indexer.model.timm_folders import random_folder

REPO = "timm/test_vit.r160_in1k"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CARD = b"---\nlicense: bsd-3-clause\ntags:\n- image\n---\n# A network\n"


class FakeHub(ThreadingHTTPServer):
    """One repository; ``gate`` answers as a repository whose licence was not accepted."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), FakeHubHandler)
        self.files = files
        self.gate = False
        self.asked: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class FakeHubHandler(BaseHTTPRequestHandler):
    server: FakeHub

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        hub = self.server
        hub.asked.append(self.path)
        if hub.gate:
            self._send(403, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "gated"}, body)
        elif self.path.startswith(f"/api/models/{REPO}"):
            revision = self.path.rpartition("/revision/")[2] if "/revision/" in self.path else ""
            if revision in ("", "main", COMMIT):
                siblings = [{"rfilename": name} for name in hub.files]
                found = {"id": REPO, "sha": COMMIT, "siblings": siblings}
                self._send(200, json.dumps(found).encode(), {}, body)
            else:
                self._send(404, b"", {"X-Error-Code": "RevisionNotFound"}, body)
        elif self.path.startswith(f"/{REPO}/resolve/{COMMIT}/"):
            content = hub.files[self.path.rpartition("/")[2]]
            etag = hashlib.sha256(content).hexdigest()
            self._send(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}, body)
        else:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"}, body)

    def _send(self, status: int, content: bytes, headers: dict[str, str], body: bool) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    folder = random_folder(tmp_path / "published", "test_vit")
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    server = FakeHub({**files, "README.md": CARD, "pytorch_model.bin": b"never asked for"})
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def source() -> HubWeights:
    found = backbones.find("timm:test_vit").weights
    assert isinstance(found, HubWeights)
    return found


def test_fetched_weights_are_recorded_and_then_read_without_a_network(
    hub: FakeHub, tmp_path: Path
) -> None:
    """Commit, licence and checksum are those of the file; training finds it by the name alone."""
    found = fetch(source(), revision=COMMIT, endpoint=hub.address)
    content = hub.files["model.safetensors"]
    assert (found.origin.repo, found.origin.revision) == (REPO, COMMIT)
    assert found.origin.licence == "bsd-3-clause"
    assert found.origin.sha256 == hashlib.sha256(content).hexdigest()
    assert found.bytes == len(content)
    assert not any("pytorch_model" in path for path in hub.asked)
    asked = len(hub.asked)
    by_name = backbones.build("timm:test_vit").state_dict()
    by_folder = backbones.build("timm:test_vit", weights=tmp_path / "published").state_dict()
    for name, tensor in by_name.items():
        np.testing.assert_array_equal(tensor.numpy(), by_folder[name].numpy())
    assert backbones.weights_origin(backbones.find("timm:test_vit")) == found.origin
    assert len(hub.asked) == asked


def test_one_of_several_revisions_must_be_named(hub: FakeHub) -> None:
    """Which weights a name means is never a matter of chance."""
    here = Path(fetch(source(), endpoint=hub.address).folder)
    other = here.with_name("f" * 40)
    other.mkdir()
    (other / "model.safetensors").write_bytes(b"another")
    with pytest.raises(WeightsUnavailableError, match=rf"{COMMIT}.*--weights .*snapshots"):
        backbones.build("timm:test_vit")
    (here.parents[1] / "refs").mkdir(exist_ok=True)
    (here.parents[1] / "refs" / "main").write_text(COMMIT)
    assert source().local_file() == here / "model.safetensors"


def test_what_cannot_be_fetched_says_what_to_do(hub: FakeHub) -> None:
    """A gate, an unknown revision, no safetensors, no network: each says so in one line and how to
    go without."""
    by_hand = r".*config\.json and model\.safetensors from https://huggingface\.co/.*--weights DIR"
    with pytest.raises(WeightsUnavailableError, match="no such revision" + by_hand):
        fetch(source(), revision="nightly", endpoint=hub.address)
    del hub.files["model.safetensors"]
    with pytest.raises(WeightsUnavailableError, match=r"no model\.safetensors.*pytorch_model\.bin"):
        fetch(source(), endpoint=hub.address)
    hub.gate = True
    with pytest.raises(WeightsUnavailableError, match="licence accepted.*HF_TOKEN" + by_hand):
        fetch(source(), endpoint=hub.address)
    with pytest.raises(WeightsUnavailableError, match="cannot fetch timm/test_vit" + by_hand):
        fetch(source(), endpoint="http://127.0.0.1:1")
