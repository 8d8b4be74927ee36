"""Two commits side by side: the same requests in turn, and a ratio that follows from samples."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from indexer.core.errors import BadDataError, CatalensError
from tools.bench import regression

# A checkout's command line that answers everything after its own time, and notes what it was asked.
STUB = """
import hashlib, json, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

home, port = Path(sys.argv[3]), int(sys.argv[5])

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet an answer

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != "/readyz":
            time.sleep(DELAY)
            line = [self.command, self.path, hashlib.sha256(body).hexdigest()]
            with LOG.open("a") as log:
                print(json.dumps(line), file=log)
        text = json.dumps({"results": [{"product_id": "a"}]}).encode()
        self.send_response(200 if self.path == "/readyz" else STATUS)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = answer

    def log_message(self, *_):
        pass

assert (home / "CURRENT").read_text() == "v1"
HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def checkout(folder: Path, name: str, delay_s: float, status: int = 200) -> regression.Checkout:
    package = folder / name / "tools"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    log = folder / f"{name}.log"
    head = f"from pathlib import Path\nDELAY, STATUS, LOG = {delay_s}, {status}, Path({str(log)!r})"
    (package / "cli.py").write_text(head + STUB)
    return regression.Checkout(name, folder / name)


def asked(folder: Path, name: str) -> list[list[str]]:
    return [json.loads(line) for line in (folder / f"{name}.log").read_text().splitlines()]


@pytest.fixture
def shop(tmp_path: Path) -> regression.SampleShop:
    home = tmp_path / "home"
    home.mkdir()
    (home / "CURRENT").write_text("v1")
    photos = [tmp_path / f"{number}.jpg" for number in range(2)]
    for photo in photos:
        photo.write_bytes(photo.name.encode())
    return regression.SampleShop(home, photos, ["a", "b", "c"])


@pytest.mark.parametrize("part", ["describe", "put"])
def test_both_sides_are_asked_the_same_and_never_twice(
    tmp_path: Path, shop: regression.SampleShop, part: str
) -> None:
    """Every request is new and goes to both; the slower side's ratio shows, with its interval."""
    sides = [checkout(tmp_path, "base", 0), checkout(tmp_path, "tree", 0.03)]
    row = regression.compare_requests(part, sides, shop, 20)
    base = asked(tmp_path, "base")
    assert base == asked(tmp_path, "tree")
    assert len({tuple(request) for request in base}) == len(base) > 20
    assert [len(row["samples_ms"][name]) for name in ("base", "tree")] == [20, 20]
    assert 1 < row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
    assert row["same_products"] == 1
    assert sorted(path.name for path in tmp_path.glob("home*")) == ["home"]
    again = regression.paired_figures(row["samples_ms"])
    assert again == {name: row[name] for name in again}


def test_starts_are_paired(tmp_path: Path, shop: regression.SampleShop) -> None:
    """Each counted pair has a start of both, from the process to a ready answer."""
    sides = [checkout(tmp_path, "base", 0), checkout(tmp_path, "tree", 0)]
    row = regression.compare_starts(sides, shop.home, 2)
    assert [len(row["samples_ms"][name]) for name in ("base", "tree")] == [2, 2]
    assert min(row["samples_ms"]["tree"]) > 0


def test_a_failed_answer_fails_the_benchmark(tmp_path: Path, shop: regression.SampleShop) -> None:
    """A service that is ready but refuses is named, not timed."""
    sides = [checkout(tmp_path, name, 0, 503) for name in ("base", "tree")]
    with pytest.raises(CatalensError, match="/v1/search answered 503"):
        regression.compare_requests("search", sides, shop, 2)


def test_the_interval_is_of_the_median_of_pairs() -> None:
    """A slow hour that hits both sides alike changes no ratio; one odd pair moves no median."""
    base = np.linspace(10, 200, 41)
    tree = base * 1.02
    tree[0] *= 50
    found = regression.paired_figures({"base": list(base), "tree": list(tree)})
    assert found["ratio"] == pytest.approx(1.02, abs=1e-3)
    assert found["ratio_high"] == pytest.approx(1.02, abs=1e-3)


def test_the_other_commit_must_be_named_and_be_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without the variable, or with a folder that holds something else, nothing is built."""
    monkeypatch.delenv(regression.BASE, raising=False)
    with pytest.raises(BadDataError, match=regression.BASE):
        regression.measure("start", tmp_path)
    monkeypatch.setenv(regression.BASE, str(tmp_path))
    with pytest.raises(BadDataError, match="not a checkout"):
        regression.measure("start", tmp_path)


def test_every_part_has_its_goal() -> None:
    """The upper end of the interval is what is judged, by 1.05 on each operation."""
    for part, goal in zip(regression.PARTS, regression.GOALS, strict=True):
        judged = goal.judge([{"part": part, "ratio_high": 1.051}])
        assert (judged["op"], judged["goal"], judged["met"]) == ("<=", 1.05, False)
