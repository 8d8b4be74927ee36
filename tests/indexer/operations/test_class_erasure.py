"""Classes made from photos that are erased afterwards."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from indexer.catalog.deletions import Deletions
from indexer.catalog.photo_store import PhotoStore
from indexer.core.errors import BadRequestError
from indexer.index.transfer import push
from indexer.index_build.pipeline import build_index
from indexer.model.decision_layer import FewShot
from indexer.model.registry import resolve
from indexer.operations.class_erasure import class_number, class_removal
from indexer.operations.erasure import Erased, erase
from indexer.operations.erasure_audit import find_traces, ticket
from indexer.operations.outside_erasure import erase_outside
from service.engine import Engine
from service.products import classes
from service.products.writer import Draft
from tests.service.conftest import own, own_home, photo, template  # noqa: F401  (the drawn shop)
from tools.cli import run


@pytest.mark.parametrize(("kind", "category"), [("category", 4), ("tag", None)])
def test_a_class_of_an_erased_photo_names_what_removes_it(kind: Any, category: int | None) -> None:
    """By its id, which fits categories and tags of any label; others go with their version."""
    none = np.zeros(2, np.float32)
    entry = FewShot(7, kind, category, None if category else "x", (), 0.0, 0.5, none, none)
    home: Any = SimpleNamespace(
        path=Path("/shop"), active=lambda: SimpleNamespace(model_version="m1")
    )
    serving = class_removal(home, "m1", class_number(entry))
    assert serving == (
        f"catalens class remove --id {category or 7} --home /shop, then catalens index erase "
        "--home /shop"
    )
    assert class_removal(home, "m0", 7).startswith("catalens index erase --home /shop")


def stored(engine: Engine, product_id: str) -> bytes:
    """The first photo of a product, as the home keeps it."""
    row = engine.catalog.photo(engine.catalog.get(product_id).photos[0])
    assert row is not None
    return PhotoStore(engine.home).read(row)


def delete(engine: Engine, product_id: str) -> dict[str, Any]:
    """Delete a product as its owner; its ticket."""
    known = ticket(engine.home, engine.catalog, product_id)
    PhotoStore(engine.home).collect(engine.catalog, engine.catalog.delete(product_id).orphaned)
    return known


def erased(engine: Engine) -> Erased:
    done = erase(engine.home)
    engine.refresh()
    return done


def rows(engine: Engine) -> tuple[FewShot, ...]:
    return engine.ready().bundle.decision.few_shot


def test_a_class_is_fitted_anew_without_the_erased_photo(own: Engine) -> None:  # noqa: F811
    """What is left is the class of the other photos alone, under its id; the model that held the
    photo is gone, also where an index version was built with it."""
    given = [stored(own, name) for name in ("dots-red", "dots-blue", "dots-green")]
    number = own.classes.add("Band", given).content.id
    held = own.ready().bundle
    build_index(own.home, bundle=resolve(own.home, None), activate=True)
    known = delete(own, "dots-red")
    done = erased(own)
    assert (done.classes, done.failed) == (1, {})
    (entry,) = rows(own)
    assert entry.id == number
    assert entry.photos == tuple(
        own.catalog.get(name).photos[0] for name in ("dots-blue", "dots-green")
    )
    assert not held.path.exists()
    found = find_traces(own.home, own.catalog, "dots-red", ticket=known).found
    assert found == []
    own.classes.remove(number=number)
    own.classes.add("Band", given[1:])
    (alone,) = rows(own)
    np.testing.assert_allclose(entry.prototype, alone.prototype, atol=2e-3)
    np.testing.assert_allclose(entry.weight, alone.weight, atol=2e-2)


def test_a_folder_of_pushed_versions_keeps_no_removed_class(
    own: Engine,  # noqa: F811
    tmp_path: Path,
) -> None:
    """Neither its label nor its hashes nor its vectors: the model that held them goes there, too,
    once no version there names it."""
    depot = tmp_path / "depot"
    given = [stored(own, name) for name in ("dots-red", "dots-blue")]
    number = own.classes.add("Zwielicht", given).content.id
    build_index(own.home, bundle=resolve(own.home, None), activate=True)
    own.refresh()
    held = own.ready().model_version
    push(own.home, depot)
    own.classes.remove(number=number)
    delete(own, "dots-red")
    assert erased(own).failed == {}
    done = erase_outside(own.home, cache=False, pushed=[depot])
    assert (done.failed, done.pushed[str(depot)].models) == ({}, [held])
    files = [path for path in depot.rglob("*") if path.is_file()]
    assert not any(b"Zwielicht" in path.read_bytes() for path in files)
    model = own.ready().model_version
    assert [path.name for path in (depot / "models").iterdir()] == [model]


def test_a_class_of_that_photo_alone_is_no_complete_erasure(
    own: Engine,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing says erased while the class stands, by a service's run or by the command; the
    command that is named ends it."""
    number = own.classes.add("Only", [stored(own, "dots-red")], kind="tag").content.id
    delete(own, "dots-red")
    model = own.ready().model_version
    for _ in range(2):
        assert list(erased(own).failed) == [f"models/{model}"]
    assert run(["index", "erase", "--home", str(own.home.path)]) == 1
    told = capsys.readouterr().err
    assert f"catalens class remove --id {number} --home {own.home.path}" in told
    assert [entry.tag for entry in rows(own)] == ["Only"]
    own.classes.remove(number=number)
    assert erased(own).failed == {}
    assert not (own.home.models / model).exists()


def test_of_several_photos_from_elsewhere_the_row_stays(own: Engine) -> None:  # noqa: F811
    """Their vectors are not kept, so nothing can be fitted: the row of two others is no photo's,
    its hash goes. A row of one other would be."""
    others = [photo("ring", "tan", turn=turn) for turn in (41, 43)]
    own.classes.add("Band", [stored(own, "dots-red"), *others])
    own.classes.add("Pair", [stored(own, "dots-red"), others[0]], kind="tag")
    before = rows(own)
    known = delete(own, "dots-red")
    done = erased(own)
    band, pair = rows(own)
    assert band.photos == before[0].photos[1:]
    np.testing.assert_array_equal(band.weight, before[0].weight)
    assert pair.photos == before[1].photos
    assert "catalens class remove --id" in done.failed[f"models/{own.ready().model_version}"]
    own.classes.remove(number=pair.id)
    assert erased(own).failed == {}
    assert find_traces(own.home, own.catalog, "dots-red", ticket=known).found == []


def test_a_photo_that_is_given_again_is_not_erased(own: Engine) -> None:  # noqa: F811
    """A class that is made after the deletion is what the shop wants, and no reason to say that an
    erasure is not complete; photos that were never a product's are nobody's."""
    again = stored(own, "dots-red")
    own.classes.add("Never", [photo("ring", "tan", turn=41)], kind="tag")
    delete(own, "dots-red")
    own.classes.add("Band", [again])
    assert erased(own).failed == {}
    assert len(rows(own)) == 2
    delete(own, "dots-blue")
    assert erased(own).failed == {}


def test_another_class_keeps_no_photo_that_is_given_again(own: Engine) -> None:  # noqa: F811
    """What a photo is given for is one class: of the one that was made before, and of caches
    outside the home, it stays erased; so it does where it is erased once more."""
    again = stored(own, "dots-red")
    before = own.classes.add("Only", [again], kind="tag").content.id
    delete(own, "dots-red")
    after = own.classes.add("Band", [again]).content.id
    deletions = Deletions(own.catalog.database)
    assert deletions.photos()
    assert f"class remove --id {before} " in next(iter(erased(own).failed.values()))
    own.classes.remove(number=before)
    assert erased(own).failed == {}
    assert len(deletions.photos()) == 2
    own.products.put("dots-red", Draft(photos=(again,)))
    delete(own, "dots-red")
    assert f"class remove --id {after} " in next(iter(erased(own).failed.values()))


def test_a_photo_that_is_erased_while_its_class_is_made_comes_into_none(
    own: Engine,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The erasure has ended by then and would not see it; given again it is taken."""
    given = [stored(own, "dots-blue"), stored(own, "dots-red")]
    add = classes.add_class

    def late(*args: Any, **more: Any) -> Any:
        if own.catalog.pid("dots-red") is not None:
            delete(own, "dots-red")
            assert erased(own).failed == {}
        return add(*args, **more)

    monkeypatch.setattr(classes, "add_class", late)
    with pytest.raises(BadRequestError, match="photo 2 was erased with its product"):
        own.classes.add("Band", given)
    assert rows(own) == ()
    own.classes.add("Band", given)
    assert erased(own).failed == {}
    assert len(rows(own)) == 1


def test_a_photo_that_another_product_has_stays_in_its_class(own: Engine) -> None:  # noqa: F811
    """Nothing was erased of it."""
    given = stored(own, "dots-red")
    own.products.put("twin", Draft(photos=(given,)))
    own.classes.add("Only", [given])
    delete(own, "dots-red")
    done = erased(own)
    assert (done.classes, done.failed) == (0, {})
