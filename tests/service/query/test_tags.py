"""Tags in the service: the version's rule decides, and votes after live writes are those of a fresh
build."""

from __future__ import annotations

import dataclasses
import random
import shutil
import threading
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from indexer.core.errors import UnknownProductError
from indexer.core.home import Home
from indexer.index_build.pipeline import build_index
from indexer.model.registry import by_version
from indexer.model.tag_rule import TagGroup, TagRule
from service.engine import Engine, Query
from service.products.writer import Draft
from service.query.context import RequestContext
from service.query.response import SuggestedTag
from service.query.search_cache import SearchCache
from service.query.tags import TagSuggester, tags_of_look
from service.settings import Settings
from tests.service.conftest import COLOURS, KINDS, photo, product_id

COLUMNS = (
    TagGroup("kind", KINDS, k=6, temperature=0.03, crowding=0.25),
    TagGroup("colour", tuple(COLOURS), k=4, temperature=0.05, crowding=0.5),
)
RULE = TagRule(COLUMNS, TagGroup(k=8), dict.fromkeys([*KINDS, *COLOURS], 4), 20, threshold=0.01)


def use(monkeypatch: pytest.MonkeyPatch, rule: TagRule) -> None:
    monkeypatch.setattr("indexer.index_build.publish.refit_tags", lambda *given, **options: rule)


def test_tags_of_the_look_are_those_of_colour_and_pattern() -> None:
    """Values of such columns, in whatever language they are named; free tags are none."""
    rule = dataclasses.replace(
        RULE, groups=(*COLUMNS, TagGroup("图案", ("stripes",)), TagGroup("material", ("wool",)))
    )
    given = [SuggestedTag(tag, 0.9, []) for tag in ("red", "wool", "ring", "stripes", "sale")]
    found = tags_of_look(cast("Any", SimpleNamespace(tag_rule=rule)), given)
    assert [entry.tag for entry in found] == ["red", "stripes"]


def rebuilt(home: Path) -> str:
    opened = Home(home)
    active = opened.active()
    assert active is not None
    version = build_index(
        opened, bundle=by_version(opened, active.model_version), activate=True
    ).version
    assert version is not None
    return version


def votes(engine: Engine, source: Query) -> list[Any]:
    """Each tag with its confidence and voters."""
    return [
        (
            row.tag,
            round(row.confidence, 4),
            [(n.product_id, round(n.score, 4)) for n in row.neighbours],
        )
        for row in engine.tags(source).content.tags
    ]


def test_votes_after_random_writes_equal_those_of_a_fresh_build(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Upserts, deletes and changed tags: what the delta answers is what an index built from nothing
    answers."""
    use(monkeypatch, RULE)
    rebuilt(own_home)
    draw = random.Random(7)
    names = [product_id(kind, colour) for kind in KINDS for colour in COLOURS]
    with Engine(Settings(home=own_home), watch=False) as engine:
        for number in range(40):
            name, kind, colour = draw.choice(names), draw.choice(KINDS), draw.choice(list(COLOURS))
            tags = ((kind, "merchant"), (colour, draw.choice(["merchant", "curated", "machine"])))
            what = draw.choice(["put", "put", "patch", "delete", "add"])
            if what == "add":
                name = f"new-{number}"
                names.append(name)
            with suppress(UnknownProductError):  # deleted before
                if what == "delete":
                    engine.products.delete(name)
                elif what == "patch":
                    engine.products.patch(
                        name, {"tags": draw.choice([[], [colour], [kind, colour]])}
                    )
                else:
                    data = photo(kind, colour, turn=draw.choice([0, 3, 8]))
                    engine.products.put(name, Draft(tags=tags, photos=(data,)))
        questions = [
            Query(image=photo(kind, colour, turn=5)) for kind in KINDS for colour in ("red", "tan")
        ]
        live = [votes(engine, question) for question in questions]
        assert engine.ready().live.delta_size > 10
    shutil.copytree(own_home, tmp_path / "fresh")
    rebuilt(tmp_path / "fresh")
    with Engine(Settings(home=tmp_path / "fresh"), watch=False) as fresh:
        assert fresh.ready().live.delta_size == 0
        assert [votes(fresh, question) for question in questions] == live
    assert any(live)


def test_the_versions_rule_decides_not_the_models(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One kind and one colour at most, by the columns stored with the version; without any the
    model's rule holds."""
    ask = Query(image=photo("cross", "blue", turn=4))
    use(monkeypatch, RULE)
    version = rebuilt(own_home)
    with Engine(Settings(home=own_home), watch=False) as engine:
        answer = engine.tags(ask)
        assert answer.index_version == version
        said = [row.tag for row in answer.content.tags]
        assert [len(set(said) & set(KINDS)), len(set(said) & set(COLOURS))] == [1, 1]
    use(monkeypatch, dataclasses.replace(RULE, threshold=1.1))
    rebuilt(own_home)
    with Engine(Settings(home=own_home), watch=False) as engine:
        assert engine.tags(ask).content.tags == []
    monkeypatch.setattr("indexer.index_build.publish.refit_tags", lambda *given, **options: None)
    rebuilt(own_home)
    with Engine(Settings(home=own_home), watch=False) as engine:
        assert engine.ready().tag_rule == engine.ready().bundle.decision.tagging()
        assert "cross" in [row.tag for row in engine.tags(ask).content.tags]


def test_what_a_machine_said_never_votes(own: Engine) -> None:
    """A tag nobody accepted stays out of the vote, however near its product is."""
    data = photo("ring", "tan", turn=2)
    own.products.put(
        "echo", Draft(tags=(("robot", "machine"), ("checked", "curated")), photos=(data,))
    )
    found = votes(own, Query(image=photo("ring", "tan", turn=3)))
    assert "robot" not in [tag for tag, _, _ in found]
    assert "checked" in [tag for tag, _, _ in found]


def test_views_searched_side_by_side_vote_as_one_by_one(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question that is alone uses helpers for its views, one among others does not; the votes are
    the same."""
    opened = Home(own_home)
    block = by_version(opened, opened.active().model_version).spec.blocks[0].name  # type: ignore[union-attr]
    kind, colour = (
        dataclasses.replace(column, view={block: k})
        for column, k in zip(COLUMNS, (1.0, 0.5), strict=True)
    )
    use(monkeypatch, dataclasses.replace(RULE, groups=(kind, colour)))
    rebuilt(own_home)
    searched: list[str] = []
    search = SearchCache.search

    def noted(*given: Any) -> Any:
        searched.append(threading.current_thread().name)
        return search(*given)

    monkeypatch.setattr(SearchCache, "search", noted)
    with Engine(Settings(home=own_home), watch=False) as engine:
        suggester = TagSuggester(engine.catalog, engine.admission, threads=2)
        ctx = RequestContext.begin(engine.ready(), 10.0)
        embedded = engine.embedder.embed(ctx, Query(image=photo("cross", "blue", turn=4)))
        with engine.admission.turn():
            alone = suggester.suggest(ctx, embedded)
            assert len(searched) == 3
            assert all(name.startswith("views") for name in searched)
            searched.clear()
            with engine.admission.turn():
                ctx = RequestContext.begin(engine.ready(), 10.0)
                assert suggester.suggest(ctx, embedded) == alone
        assert set(searched) == {threading.current_thread().name}
        suggester.close()
    assert alone.tags
