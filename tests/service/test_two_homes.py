"""Two homes on one machine share nothing, even in one process."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from service.access.keys import KeyFile
from service.app import create_app
from service.engine import Engine
from service.products.writer import Draft
from service.settings import Settings
from tests.service.conftest import photo

TITLE = "a title of one home alone"


def contents(folder: Path) -> dict[str, str]:
    """Name -> hash of every file, but for SQLite's index of its log, which readers write."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith("-shm")
    }


@pytest.fixture
def homes(template: Path, tmp_path: Path) -> Iterator[list[Engine]]:
    """Two shops that begin as the same."""
    opened = []
    for name in ("one", "two"):
        shutil.copytree(template, tmp_path / name)
        opened.append(Engine(Settings(home=tmp_path / name), watch=False))
    yield opened
    for engine in opened:
        engine.close()


def client(engine: Engine, role: str, **settings: object) -> tuple[FlaskClient, dict[str, str]]:
    """A client of one home, and the header of a new key of it."""
    web = create_app(engine, engine.settings.replace(**settings)).test_client()
    key = KeyFile(engine.home).create(f"{role}-one", role).key  # type: ignore[arg-type]
    return web, {"Authorization": f"Bearer {key}"}


def test_what_is_done_in_one_home_is_not_in_the_other(homes: list[Engine]) -> None:
    """Keys, products, photos, feedback and limits of one are unknown to the other, no file of
    which changes."""
    (one, mine), (two, theirs) = (client(engine, "admin") for engine in homes)
    assert two.get("/v1/whoami", headers=mine).status_code == 401
    before = contents(homes[1].home.path)
    shot = photo("ring", "red", turn=77)
    for path, fields in (
        ("/v1/search", {"text": "ring", "k": 3}),
        ("/v1/tags", {"product_id": "ring-blue"}),
    ):
        assert one.post(path, json=fields, headers=mine).status_code == 200
    draft = Draft(TITLE, ("Shapes", "ring"), (), {}, (shot,))
    homes[0].products.put("only-here", draft)
    homes[0].classes.add("secret kind", [shot], kind="category")
    found = one.get("/v1/products/only-here", headers=mine).get_json()
    image = found["images"][0]["image_url"]
    assert one.get(image, headers=mine).status_code == 200
    asked = one.post("/v1/tags", json={"product_id": "only-here"}, headers=mine).get_json()
    said = {"request_id": asked["request_id"], "added": ["x"]}
    assert contents(homes[1].home.path) == before
    assert two.get("/v1/products/only-here", headers=theirs).status_code == 404
    assert two.get(image, headers=theirs).status_code == 404
    assert two.post("/v1/feedback", json=said, headers=theirs).status_code == 404
    assert one.post("/v1/feedback", json=said, headers=mine).status_code == 200
    classes = two.get("/v1/classes", headers=theirs).get_data(as_text=True)
    assert "secret kind" not in classes
    hits = two.post("/v1/search", json={"text": TITLE, "k": 50}, headers=theirs).get_json()
    assert "only-here" not in [row["product_id"] for row in hits["results"]]
    hidden = (TITLE.encode(), b"only-here", b"secret kind")
    for file in homes[1].home.path.rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            assert not any(text in data for text in hidden), file


def test_limits_are_counted_by_home(homes: list[Engine]) -> None:
    """Keys of the same name in two homes have a limit each."""
    answers = []
    for engine in homes:
        web, key = client(engine, "search", key_rate=0.1)
        answers.append([web.get("/v1/whoami", headers=key).status_code for _ in range(2)])
    assert answers == [[200, 429], [200, 429]]
