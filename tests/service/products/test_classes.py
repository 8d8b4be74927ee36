"""Classes from a few photos: known at the next answer, removable, and no vector or weight is
touched."""

from __future__ import annotations

import base64
import io
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from indexer.catalog.store import open_catalog
from indexer.classification.class_editing import class_path
from indexer.core.errors import (
    BadRequestError,
    BusyError,
    IndexMismatchError,
    NoCategoriesError,
    NotUndoableError,
    UnknownClassError,
)
from indexer.core.home import Active, Home
from indexer.index.version import Versions
from indexer.index_build.pipeline import build_index
from indexer.model.registry import by_version, origin, pretrained, resolve
from indexer.operations.garbage_collection import tidy
from indexer.operations.undo import list_actions
from service.engine import Engine, Query
from service.query.context import RequestContext
from service.settings import Settings
from tests.service.api.routes.test_queries import assert_problem
from tests.service.conftest import COLOURS, draw, encode, photo
from tools import cli


def bars(colour: str, turn: float) -> bytes:
    """A product of a kind that the shop does not have: stripes upright and large."""
    picture = draw("stripes", COLOURS[colour], turn=90 + turn).resize((320, 320))
    return encode(picture.crop((60, 60, 260, 260)))


def top(engine: Engine, data: bytes) -> tuple[list[str], float]:
    first = engine.classify(Query(image=data)).content.categories[0]
    return first.path, first.probability


def test_a_class_is_taken_back_and_given_back_by_name(own: Engine) -> None:
    """Added, it goes by the undo; removed, it comes again with its id and its answers; undone in
    turn. Edited since, or its name taken, or its model cleared away, the undo says so."""
    picture = bars("red", 8)
    number = own.classes.add("Shapes > Bars", [bars(c, 0) for c in ("red", "green", "black")])
    known = top(own, picture)
    assert known[0] == ["Shapes", "Bars"]
    added = list_actions(own.home, own.catalog)[0]
    assert (added.kind, added.note, added.state) == ("class", "added Shapes > Bars", "undoable")
    taken = own.actions.undo(added.name, dry_run=False).content
    assert top(own, picture)[0] != ["Shapes", "Bars"]
    own.actions.undo(taken.undone_by, dry_run=False)
    assert top(own, picture) == known
    own.classes.remove(label="Shapes > Bars")
    removed = list_actions(own.home, own.catalog)[0]
    assert removed.note == "removed Shapes > Bars"
    with pytest.raises(NotUndoableError, match="added or removed again since"):
        own.actions.undo(added.name, dry_run=False)
    taker = own.classes.add("Shapes > Bars", [bars("tan", 0)]).content.id
    with pytest.raises(NotUndoableError, match="there is a category 'Shapes > Bars' already"):
        own.actions.undo(removed.name, dry_run=False)
    own.classes.remove(number=taker)
    own.actions.undo(removed.name, dry_run=True)
    assert top(own, picture)[0] != ["Shapes", "Bars"]
    own.actions.undo(removed.name, dry_run=False)
    assert top(own, picture) == known
    assert number.content.id in {row.id for row in own.classes.list().content.classes}
    own.classes.remove(label="Shapes > Bars")
    removed = list_actions(own.home, own.catalog)[0]
    tidy(own.home)
    with pytest.raises(NotUndoableError, match="was cleared away since"):
        own.actions.undo(removed.name, dry_run=False)


def test_a_category_from_photos_is_known_at_once(own: Engine) -> None:
    """Three photos make a category with a path: others of the kind go there, what was known stays,
    ids are new."""
    before = own.ready()
    kept = {kind: top(own, photo(kind, "blue", turn=5))[0] for kind in ("ring", "cross", "dots")}
    made = own.classes.add(
        "Shapes > Bars", [bars(colour, 0) for colour in ("red", "green", "black")]
    )
    assert (made.content.id, made.content.photos) == (4, 3)
    after = own.ready()
    assert made.model_version == after.model_version != before.model_version
    assert after.bundle.embedding_id == before.bundle.embedding_id
    assert (after.index_version, after.embedder, after.live) == (
        before.index_version,
        before.embedder,
        before.live,
    )
    for colour in ("blue", "tan"):
        path, probability = top(own, bars(colour, 3))
        assert path == ["Shapes", "Bars"]
        assert probability > 0.5
    assert {kind: top(own, photo(kind, "blue", turn=5))[0] for kind in kept} == kept
    chances = own.classify(Query(image=bars("tan", 0)), top=100).content.categories
    assert len(chances) == 5
    assert sum(row.probability for row in chances) == pytest.approx(1, abs=1e-4)


def test_weights_are_shared_and_the_vectors_stand_apart(own: Engine) -> None:
    """The new model is a folder whose weights are the old one's files; prototypes lie in
    safetensors."""
    import numpy as np

    old = own.ready().bundle
    own.classes.add("Bars", [bars("red", 0), bars("blue", 0)])
    new = own.ready().bundle
    for name in ("embedding.safetensors", "heads.safetensors"):
        assert os.stat(old.path / name).st_ino == os.stat(new.path / name).st_ino
    (entry,) = new.decision.few_shot
    ctx = RequestContext.begin(own.ready(), 10.0)
    vectors = np.stack([own.embedder.embed_upload(ctx, bars(c, 0)) for c in ("red", "blue")])
    np.testing.assert_allclose(entry.prototype, vectors.mean(0), atol=1e-6)
    assert (new.path / "decision.safetensors").is_file()
    assert (new.decision.origin, new.decision.revision) == (old.model_version, 1)


def test_removing_gives_back_the_old_answers_and_never_the_id(own: Engine) -> None:
    asked = bars("tan", 0)
    before = own.classify(Query(image=asked)).content.categories
    first = own.classes.add("Bars", [bars("red", 0)]).content.id
    assert own.classes.remove(label="Bars").content.id == first
    assert own.classify(Query(image=asked)).content.categories == before
    assert own.classes.add("Bars", [bars("red", 0)]).content.id == first + 1
    assert own.classes.remove(number=first + 1).content.id == first + 1
    with pytest.raises(UnknownClassError, match="Bars"):
        own.classes.remove(label="Bars")


def test_a_tag_from_photos_is_suggested_for_its_kind_only(own: Engine) -> None:
    """A tag nobody ever gave: suggested with a confidence in [0.5, 1] on its kind, and not on
    others."""
    own.classes.add("barred", [bars(colour, 0) for colour in ("red", "green", "black")], kind="tag")
    tags = {row.tag: row for row in own.tags(Query(image=bars("blue", 4))).content.tags}
    assert 0.5 <= tags["barred"].confidence <= 1
    for kind in ("ring", "cross", "dots"):
        found = [row.tag for row in own.tags(Query(image=photo(kind, "blue", turn=5))).content.tags]
        assert "barred" not in found
        assert kind in found  # the neighbours' votes go on
    own.classes.remove(label="barred", kind="tag")
    assert "barred" not in {row.tag for row in own.tags(Query(image=bars("blue", 4))).content.tags}


def test_a_model_without_categories_classifies_by_prototypes(own: Engine) -> None:
    """On the shipped network, two classes of two photos each are enough to tell
    their kinds apart."""
    build_index(own.home, bundle=pretrained(own.home), activate=True)
    own.refresh()
    with pytest.raises(NoCategoriesError, match="class add"):
        own.classify(Query(image=bars("tan", 0)))
    for kind in ("ring", "dots"):
        own.classes.add(kind, [photo(kind, colour) for colour in ("red", "black")])
    for kind in ("ring", "dots"):
        path, probability = top(own, photo(kind, "tan", turn=8))
        assert path == [kind]
        assert 0.6 < probability <= 1


@pytest.mark.parametrize(
    ("label", "kind", "count", "said"),
    [
        ("Shapes > ring", "category", 1, "trained"),
        ("  ", "category", 1, "name"),
        ("A >  > B", "category", 1, "empty level"),
        ("", "tag", 1, "text"),
        ("New", "category", 0, "1 to 20"),
        ("New", "category", 21, "1 to 20"),
    ],
)
def test_what_cannot_be_made_changes_nothing(
    shop: Engine, label: str, kind: str, count: int, said: str
) -> None:
    before = shop.home.active()
    shots = [encode(draw("ring", (number, 9, 9), size=32)) for number in range(count)]
    with pytest.raises(BadRequestError, match=said):
        shop.classes.add(label, shots, kind=kind)  # type: ignore[arg-type]
    assert shop.home.active() == before


def test_a_trained_category_cannot_be_removed(shop: Engine) -> None:
    with pytest.raises(BadRequestError, match="trained"):
        shop.classes.remove(label="Shapes > ring")


def test_a_running_service_picks_it_up(own_home: Path, own: Engine) -> None:
    """A class made by another process is known to a running engine without a restart and without a
    new index."""
    with Engine(Settings(home=own_home, poll_s=0.05)) as running:
        own.classes.add("Bars", [bars("red", 0), bars("black", 0)])
        until = time.monotonic() + 10
        while top(running, bars("tan", 0))[0] != ["Bars"]:
            assert time.monotonic() < until
            time.sleep(0.02)
        assert running.ready().index_version == "v000001"


def test_classes_outlive_builds_activations_and_rollbacks(own: Engine) -> None:
    """Index versions go back and forth; the decision layer stays the latest of its model."""
    own.classes.add("Bars", [bars("red", 0)])
    latest = own.ready().model_version
    build_index(own.home, bundle=resolve(own.home, None), activate=True)
    own.classes.add("More", [bars("blue", 40)])
    newest = own.ready().model_version
    versions = Versions(own.home)
    assert versions.manifest("v000002").model_version == latest != newest
    assert versions.rollback() == "v000001"
    active = own.home.active()
    assert active is not None
    assert (active.index_version, active.model_version) == ("v000001", newest)
    assert versions.rollback() == "v000002"
    assert origin(own.home, newest) == versions.manifest("v000001").model_version


def test_a_model_of_another_embedding_is_still_refused(own: Engine) -> None:
    active, foreign = own.home.active(), "e" + "0" * 32
    assert active is not None
    with pytest.raises(IndexMismatchError) as refused:
        Versions(own.home).switch_model(
            "m1", instead_of=active, model_embedding_id=lambda _: foreign
        )
    assert foreign in str(refused.value)
    assert own.ready().bundle.embedding_id in str(refused.value)
    with pytest.raises(BusyError, match="meanwhile"):
        Versions(own.home).switch_model(active.model_version, instead_of=Active("v000001", "m0"))
    assert own.home.active() == active


def test_over_http(own: Engine, open_web: Callable[..., FlaskClient]) -> None:
    """POST as multipart and as JSON, GET, DELETE, and the problems."""
    web = open_web()
    form = {
        "label": "Shapes > Bars",
        "images": [(io.BytesIO(bars(c, 0)), f"{c}.png") for c in ("red", "green")],
    }
    made = web.post("/v1/classes", data=form, content_type="multipart/form-data").get_json()
    assert (made["id"], made["photos"]) == (4, 2)
    coded = base64.b64encode(bars("black", 0)).decode()
    tag = {"label": "barred", "kind": "tag", "images": [{"base64": coded}]}
    assert web.post("/v1/classes", json=tag).get_json()["id"] == 5
    rows = web.get("/v1/classes").get_json()["classes"]
    assert [
        (row["id"], row["kind"], row["label"], row["source"], row["photos"]) for row in rows[-3:]
    ] == [
        (3, "category", "dots", "trained", None),
        (4, "category", "Bars", "few-shot", 2),
        (5, "tag", "barred", "few-shot", 1),
    ]
    assert_problem(web.post("/v1/classes", json=tag), 422, "bad-request")
    broken = {"label": "x", "images": [{"base64": base64.b64encode(b"no image").decode()}]}
    assert (
        "photo 1"
        in assert_problem(web.post("/v1/classes", json=broken), 422, "bad-image")["detail"]
    )
    assert web.delete("/v1/classes?id=4").get_json()["id"] == 4
    assert web.delete("/v1/classes?label=barred&kind=tag").get_json()["id"] == 5
    assert_problem(web.delete("/v1/classes?id=4"), 404, "unknown-class")
    assert_problem(web.delete("/v1/classes"), 422, "bad-request")
    assert "/v1/classes" in web.get("/openapi.json").get_json()["paths"]


def test_labels_are_parted_at_their_separator_only(own: Engine) -> None:
    """A bare ">" is part of a level; text loses spaces around, a list of levels keeps them and is
    found as it is."""
    assert class_path("Size >40", "category") == ("Size >40",)
    assert class_path(" A > B>C ", "category") == ("A", "B>C")
    plain = own.classes.add("Bars", [bars("red", 0)]).content.id
    spaced = own.classes.add(["Bars "], [bars("blue", 0)]).content.id
    assert own.classes.remove(label="Bars ").content.id == spaced
    assert own.classes.remove(label=" Bars").content.id == plain


def run(capfd: pytest.CaptureFixture[str], *arguments: str | Path) -> dict:
    code = cli.run([*map(str, arguments), "--json"])
    out, err = capfd.readouterr()
    assert code == 0, err
    return json.loads(out)


def test_on_the_command_line(
    own_home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """``class add``, ``list`` and ``remove``, and ``taxonomy apply`` beside it."""
    shot = tmp_path / "bars.png"
    shot.write_bytes(bars("red", 0))
    made = run(capfd, "class", "add", "Shapes > Bars", shot, "--home", own_home)
    assert (
        by_version(Home(own_home), made["model_version"]).decision.few_shot[0].category
        == made["id"]
    )
    listed = run(capfd, "class", "list", "--home", own_home)["classes"]
    assert [row["label"] for row in listed if row["source"] == "few-shot"] == ["Bars"]
    changes = tmp_path / "map.csv"
    changes.write_text(
        "from,to\nShapes > Bars,Lines > Bars\nShapes > stripes,Lines > Bars\nNo > Where,Lines\n"
    )
    done = run(capfd, "taxonomy", "apply", changes, "--home", own_home)
    assert (done["products"], done["unknown"]) == (5, ["No > Where"])
    assert run(capfd, "classify", shot, "--home", own_home)["categories"][0]["path"] == [
        "Lines",
        "Bars",
    ]
    assert cli.run(["class", "remove", "--id", str(made["id"]), "--home", str(own_home)]) == 0
    capfd.readouterr()
    with open_catalog(Home(own_home)) as catalog:
        catalog.patch("shop:7", {"category": ("Rings ",)})
    changes.write_text('from,to\n"Rings ",Lines > Rings\n"No ",Lines\n')
    done = run(capfd, "taxonomy", "apply", changes, "--home", own_home)
    assert (done["products"], done["unknown"]) == (1, ["No "])
    assert cli.run(["taxonomy", "apply", str(changes), "--home", str(own_home)]) == 0
    assert "unknown: 'No '" in capfd.readouterr().err
