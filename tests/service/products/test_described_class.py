"""Classes from words: a suggestion that says on what it stands, until photos take its place."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from indexer.core.errors import BadRequestError, NoTextTowerError
from indexer.model.decision_layer import Decision, FewShot
from indexer.operations.undo import list_actions
from indexer.text.zero_shot import rare_score
from service.app import create_app
from service.engine import Engine, Query
from service.settings import Settings
from tests.conftest import build_once
from tests.service.pair_home import make_pair_home, thing
from tools import cli

pytest.importorskip("open_clip")
pytest.importorskip("tokenizers")


def bytes_of(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    shutil.copytree(build_once(tmp_path_factory, "pair", make_pair_home) / "home", tmp_path / "h")
    return tmp_path / "h"


@pytest.fixture
def engine(home: Path) -> Iterator[Engine]:
    with Engine(Settings(home=home), watch=False) as opened:
        yield opened


def first_category(engine: Engine, colour: str) -> tuple[str, str | None]:
    found = engine.classify(Query(image=bytes_of(thing(colour, 1)))).content
    first = found.categories[0]
    return first.label, first.stands_on


def tags(engine: Engine, colour: str) -> dict[str, str | None]:
    found = engine.tags(Query(image=bytes_of(thing(colour, 1)))).content.tags
    return {entry.tag: entry.stands_on for entry in found}


def test_a_category_from_words_is_suggested_until_photos_take_its_place(engine: Engine) -> None:
    """Known at the next answer, which says that no photo stands behind it; trained kinds stay."""
    before = [first_category(engine, colour) for colour in ("red", "blue")]
    assert before == [("one", None), ("two", None)]
    made = engine.classes.add_described("Lime", ["green"]).content
    assert (made.photos, made.prompts) == (0, ["green"])
    assert made.suggested is not None
    assert 0.1 < made.suggested <= 1 / 3
    assert first_category(engine, "green") == ("Lime", "text")
    assert [first_category(engine, colour) for colour in ("red", "blue")] == before
    (row,) = [one for one in engine.classes.list().content.classes if one.label == "Lime"]
    assert (row.source, row.photos, row.prompts) == ("text", 0, ["green"])
    with pytest.raises(BadRequestError, match="described by words already"):
        engine.classes.add_described("Lime", ["blue"])
    shown = engine.classes.add("Lime", [bytes_of(thing("green", n)) for n in range(3)]).content
    assert (shown.photos, shown.prompts) == (3, None)
    (row,) = [one for one in engine.classes.list().content.classes if one.label == "Lime"]
    assert (row.id, row.source, row.photos, row.prompts) == (shown.id, "few-shot", 3, None)
    assert first_category(engine, "green")[1] is None
    notes = [action.note for action in list_actions(engine.home, engine.catalog)[:3]]
    assert notes == ["added Lime", "removed Lime (photos follow)", "added Lime"]


def test_a_tag_from_words_over_http_and_the_command_line(engine: Engine, home: Path) -> None:
    """``prompts`` instead of photos; an empty list asks the name itself."""
    web = create_app(engine, engine.settings, check_answers=True).test_client()
    body: dict[str, Any] = {"label": "crimson", "kind": "tag", "prompts": ["red"]}
    answer = web.post("/v1/classes", json=body)
    assert (answer.status_code, answer.get_json()["prompts"]) == (200, ["red"])
    assert tags(engine, "red") == {"crimson": "text"}
    assert tags(engine, "blue") == {}
    photo = [{"base64": "aGk="}]
    both = web.post("/v1/classes", json={**body, "label": "x", "images": photo})
    assert (both.status_code, "one of them" in both.get_json()["detail"]) == (422, True)
    named = web.post("/v1/classes", json={"label": "blue", "kind": "tag", "prompts": []})
    assert named.get_json()["prompts"] == ["blue", "a photo of blue"]
    removed = web.delete("/v1/classes?label=crimson&kind=tag")
    assert (removed.status_code, tags(engine, "red")) == (200, {})
    run = CliRunner().invoke
    made = run(
        cli.cli, ["class", "add", "Lime", "--prompt", "green", "--home", str(home), "--json"]
    )
    assert json.loads(made.stdout)["prompts"] == ["green"]
    listed = run(cli.cli, ["class", "list", "--home", str(home)])
    assert "text" in listed.stdout
    assert run(cli.cli, ["class", "add", "Lime", "--home", str(home)]).exit_code == 2


@pytest.mark.parametrize(
    ("prompts", "reason"),
    [
        ([" "], "a prompt is empty"),
        (["🎉"], "no letter and no digit"),
        (["red " * 100], "400 characters, at most 300"),
        (["a photo of red thing of blue thing"], "longer than the model's text tower reads"),
        (["a zebra"], "does not know zebra"),
        (["красное"], "does not know красное"),
        (["red"] * 21, "1 to 20 prompts, not 21"),
    ],
)
def test_words_that_cannot_be_asked_are_refused(
    engine: Engine, prompts: list[str], reason: str
) -> None:
    """In plain words; nothing is changed."""
    version = engine.snapshot.model_version  # type: ignore[union-attr]
    with pytest.raises(BadRequestError, match=reason):
        engine.classes.add_described("Lime", prompts)
    assert engine.snapshot.model_version == version  # type: ignore[union-attr]


def test_a_model_without_a_text_tower_says_what_to_do(shop: Engine) -> None:
    """An image tower asked by words is no server's failure."""
    with pytest.raises(NoTextTowerError, match=r"has none: train one on the backbone open_clip"):
        shop.classes.add_described("Lime", ["green"])


def test_rows_from_photos_are_stored_and_scored_as_before() -> None:
    """The stored form has prompts only where there are any; old ones read as from photos."""
    vector = np.ones(3, np.float32)
    row = FewShot(0, "category", 0, None, ("x",), 0.0, 1.0, vector, vector)
    assert "prompts" not in row.to_json()
    told = Decision(
        few_shot=(row, FewShot(1, "tag", None, "t", (), 0, 0.5, vector, vector, ("a",)))
    )
    again = Decision.from_json(
        json.loads(json.dumps(told.to_json())), where="here", tensors=told.tensors()
    )
    assert [entry.prompts for entry in again.few_shot] == [(), ("a",)]
    assert again.described == {"t"}


def test_a_kind_that_the_catalog_sells_does_not_hide_itself() -> None:
    """The bar is what the lower end says of the upper one, at most the 99% quantile."""
    others = np.random.default_rng(0).normal(size=900)
    sold = np.concatenate([others, np.full(100, 9.0)])
    assert 2.0 < rare_score(sold) < 4.0
    assert rare_score(others) <= np.quantile(others, 0.99)
