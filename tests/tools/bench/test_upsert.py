"""``bench upsert`` in small: its home is a real one, its rows hold what its goals read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from service.engine import Engine
from service.settings import Settings
from tools.bench import upsert
from tools.bench.data.generated_home import COLOURS, big_home, photo_hash, product_id
from tools.generated_vectors import vectors


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


def test_a_big_home_serves_what_it_was_told_to_hold(work: Path) -> None:
    """Every product with its generated vector and its attributes, active, found by search and
    filter; made once."""
    home = big_home(work / "small", 300, dim=32, seed=3)
    made = (work / "small" / "CURRENT").stat().st_mtime_ns
    rows = vectors(300, 32, 3, queries=0).rows
    with Engine(Settings(home=home.path), watch=False) as engine:
        live = engine.ready().live
        assert (live.product_count, live.delta_size) == (300, 0)
        stored = np.concatenate([live.vectors_of(pid)[1] for pid in live.base.rows[:, 0].tolist()])
        np.testing.assert_array_equal(stored, rows.astype(np.float32))
        shown = engine.products.get(product_id(7)).content
        assert shown.images[0].hash == photo_hash(7)
        assert set(shown.attributes) == {"price", "stock", "colour", "brand", "sale", "day"}
        assert shown.attributes["colour"] in COLOURS
        on_sale = engine.similar(
            product_id(0), k=100, filter={"must": [{"field": "sale", "eq": True}]}
        ).content.results
        assert {int(row.product_id[1:]) % 10 for row in on_sale} == {0}
        assert len(on_sale) == 29
    assert big_home(work / "small", 300, dim=32, seed=3).path == home.path
    assert (work / "small" / "CURRENT").stat().st_mtime_ns == made


def test_the_catalog_part_counts_patches_at_their_commit(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rate for each batch, and the best of them is the figure."""
    monkeypatch.setattr(upsert, "_PATCHES", 50)
    row = upsert.measure("catalog", work)
    assert len(row["rates"]) == 5
    assert row["patches_per_s"] == max(row["rates"]) > 0


def test_the_commit_part_measures_both_sides_in_turn(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many bare commits as PUTs; the ratio is that of the samples; every product was visible at
    once."""
    monkeypatch.setenv(upsert.PRODUCTS, "200")
    row = upsert.measure("commit", work)
    assert len(row["put_s"]) == len(row["bare_s"]) == row["commits"] == 100
    assert row["visible_share"] == 1.0
    assert row["p99_ratio"] == pytest.approx(sorted(row["put_s"])[99] / sorted(row["bare_s"])[99])


def test_every_goal_reads_a_part() -> None:
    """The issue's figures, none left out, each from a row that a part makes."""
    given = dict.fromkeys(
        ("p99_ratio", "visible_share", "times_faster", "patches_per_s", "visible_s"), 1.0
    )
    rows = [{"part": part, **given} for part in upsert.PARTS]
    wanted = [(">=", 5000), ("<=", 3), (">=", 1), (">=", 1000), (">=", 5000), ("<=", 1)]
    found = [(goal.op, goal.goal, goal.read(rows)) for goal in upsert.GOALS]
    assert found == [(*each, 1.0) for each in wanted]
