"""Folding: the delta stays bounded, answers stay the same to the last bit, and a decision can still
be rolled back."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from indexer.catalog.store import open_catalog
from indexer.core.errors import BusyError
from indexer.core.home import Home
from indexer.index.version import Versions
from indexer.index_build.pipeline import build_index
from indexer.model.registry import resolve
from indexer.operations import compaction
from indexer.operations.compaction import CompactionReport, compact
from service.background.leadership import Leadership
from service.engine import Engine, Query
from service.products.writer import Draft
from service.settings import Settings
from tests.service.conftest import photo
from tests.service.state.test_snapshots import wait_for

SHOTS = [photo("dots", "green", turn=20 + turn) for turn in range(5)]


def answers(engine: Engine) -> list[Any]:
    """What searches find: ids and scores, over everything."""
    found = [
        engine.search(Query(image=shot), k=1000).content.results
        for shot in (SHOTS[0], photo("cross", "red"))
    ]
    return [[(row.product_id, row.score, row.photo) for row in results] for results in found]


def write_some(engine: Engine) -> None:
    for number, shot in enumerate(SHOTS):
        engine.products.put(f"new-{number}", Draft(photos=(shot,)))
    engine.products.delete("cross-red")
    engine.products.delete("new-1")
    engine.products.patch("cross-tan", {"attributes": {"price": 5}})


@pytest.mark.slow
def test_a_delta_past_its_limit_is_folded_beside_the_answers(own_home: Path) -> None:
    """A version is built and activated by a process of its own; questions meanwhile never fail or
    change."""
    with Engine(Settings(home=own_home, poll_s=0.05, max_delta=3)) as engine:
        write_some(engine)
        expected = answers(engine)
        failures: list[Exception] = []
        seen: set[str] = set()
        stop = threading.Event()

        def ask() -> None:
            while not stop.wait(0.05):
                try:
                    answer = engine.similar("cross-tan", k=1000)
                    seen.add(answer.index_version)
                    if len(answer.content.results) != 22:
                        raise AssertionError(f"{len(answer['results'])} results")
                except Exception as error:
                    failures.append(error)

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        wait_for(lambda: engine.ready().index_version == "v000002", seconds=120)
        wait_for(lambda: engine.folding.done == 1, seconds=60)
        stop.set()
        asking.join()
        assert failures == []
        assert seen <= {"v000001", "v000002"}
        live = engine.ready().live
        assert (live.delta_size, live.base.manifest.last_sequence, live.product_count) == (
            0,
            28,
            23,
        )
        assert (engine.folding.failed, engine.folding.running) == (0, False)
        assert engine.folding.last_s is not None
        assert engine.folding.last_s > 0
        assert answers(engine) == expected
        engine.products.put("later", Draft(photos=(photo("ring", "tan", turn=40),)))
        wait_for(lambda: engine.folding.age_s() > 0)
        assert engine.ready().live.delta_size == 1


def test_folding_is_off_at_zero_and_below_the_limit(own: Engine) -> None:
    """Nothing is started for a small delta, nor where it is switched off."""
    write_some(own)
    own.folding.poll()
    assert not own.folding.running
    own.folding._max_delta = 0
    own.folding.poll()
    assert not own.folding.running


def test_a_compaction_that_is_done_is_logged_as_done(
    own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what it made and how long all of it took, its process included."""
    lines: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(
        own.folding._log, "info", lambda event, **fields: lines.append((event, fields))
    )
    report = CompactionReport("v000002", 28, 23, 5, 1234.5)

    class Ended:
        def poll(self) -> int:
            return 0

        def finish(self) -> tuple[str, str]:
            return json.dumps(asdict(report)), ""

    monkeypatch.setattr(own.folding, "_process", Ended())
    monkeypatch.setattr(own.folding, "_began", time.monotonic())
    own.folding.poll()
    (line,) = lines
    assert (line[0], line[1]["version"], line[1]["embedded"]) == ("compaction done", "v000002", 5)
    assert line[1]["seconds"] < 60


def test_only_the_leader_compacts(own: Engine) -> None:
    """Several services of a home see the same delta; those that follow start nothing."""
    write_some(own)
    leader = Leadership(own.home)
    assert leader.holds()
    own.folding._max_delta = 1
    own.folding.poll()
    assert not own.folding.running
    leader.release()


def test_a_fold_takes_the_place_of_what_it_folds(own: Engine) -> None:
    """Rollback undoes the last decision, not a fold; folds do not pile up, what was built stays
    until collected."""
    home, versions = own.home, Versions(own.home)
    build_index(home, bundle=resolve(home, None), activate=True)
    own.refresh()
    for number in range(3):
        own.products.put(f"new-{number}", Draft(photos=(SHOTS[number],)))
        done = compact(home, f"v{number + 2:06d}")
        assert (done.version, done.last_sequence, done.embedded) == (
            f"v{number + 3:06d}",
            21 + number,
            0,
        )
        own.refresh()
        assert own.ready().live.delta_size == 0
    assert versions.names() == ["v000001", "v000002", "v000004", "v000005"]
    assert versions.rollback() == "v000001"
    own.refresh()
    assert len(own.search(Query(image=SHOTS[0]), k=1000).content.results) == 23


def test_a_fold_killed_before_its_activation_is_collected_later(
    own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between publishing and activating: what served still does, with its delta, and the
    folds after the next restart remove what it left, though it noted nothing."""

    class Killed(BaseException):
        pass

    def kill(self: Versions, version: str, **options: Any) -> Any:
        raise Killed

    versions = Versions(own.home)
    own.products.put("new-0", Draft(photos=(SHOTS[0],)))
    with monkeypatch.context() as patched:
        patched.setattr(Versions, "activate", kill)
        with pytest.raises(Killed):
            compact(own.home, "v000001")
    assert versions.names() == ["v000001", "v000002"]
    assert not (own.home.indexes / compaction._MADE).exists()
    own.refresh()
    assert (own.ready().index_version, own.ready().live.delta_size) == ("v000001", 1)
    assert versions.previous() is None
    for number in (1, 3):
        compact(own.home, f"v00000{number}")
        own.refresh()
    assert versions.names() == ["v000001", "v000003", "v000004"]


def test_a_fold_of_what_no_longer_serves_leaves_nothing(
    own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Activated in between: the decision stands, and the fold's version is gone."""
    home, versions = own.home, Versions(own.home)
    with pytest.raises(BusyError, match="v000009"):
        compact(home, "v000009")
    build_index(home, bundle=resolve(home, None))
    activate = Versions.activate

    def late(self: Versions, version: str, **options: Any) -> Any:
        activate(self, "v000002")
        return activate(self, version, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Versions, "activate", late)
        with pytest.raises(BusyError, match="v000001"):
            compact(home, "v000001")
    assert home.active().index_version == "v000002"  # type: ignore[union-attr]
    assert versions.names() == ["v000001", "v000002"]


@pytest.mark.slow
def test_a_fold_waits_for_another_build(own: Engine) -> None:
    """The process says "not now" with its exit code while the build lock is held; the service tries
    again later."""
    with own.home.lock("build"):
        done = subprocess.run(
            [sys.executable, "-m", compaction.__name__, str(own.home.path), "v000001", "cpu"],
            cwd=Path(compaction.__file__).parents[2], capture_output=True, text=True,
        )  # fmt: skip
    assert done.returncode == compaction.NOT_NOW, done.stderr
    assert done.stderr.startswith("busy: ")
    assert Versions(own.home).names() == ["v000001"]


@pytest.mark.slow
def test_a_fold_that_fails_is_counted_and_not_hurried(own: Engine) -> None:
    """A model folder that is gone: one failure, logged, and no new try at once; answers go on."""
    write_some(own)
    own.folding._max_delta = 1
    moved = own.home.path / "away"
    shutil.move(own.home.models, moved)
    own.folding.poll()
    assert own.folding.running
    wait_for(lambda: (own.folding.poll(), not own.folding.running)[1], seconds=60)
    shutil.move(moved, own.home.models)
    own.folding.poll()
    assert (own.folding.failed, own.folding.done, own.folding.running) == (1, 0, False)
    assert own.similar("cross-tan", k=1).index_version == "v000001"


def test_an_offline_build_folds_too(own: Engine) -> None:
    """``index build --activate`` beside the service empties its delta; the answers are the same."""
    write_some(own)
    expected = answers(own)
    build_index(Home(own.home.path), bundle=resolve(own.home, None), activate=True)
    own.refresh()
    assert (own.ready().live.delta_size, own.ready().index_version) == (0, "v000002")
    assert answers(own) == expected
    with open_catalog(own.home) as catalog:
        assert own.ready().live.base.manifest.last_sequence == catalog.last_sequence()
