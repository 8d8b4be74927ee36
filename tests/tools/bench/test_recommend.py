"""The benchmark ``recommend`` in small: the sessions' recipe, its figures, its goals, and the
command's evaluation."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tests.service.conftest import own, own_home, template  # noqa: F401
from tools.bench.data.sessions import sessions
from tools.bench.recommend import GOALS, measure
from tools.cli import cli
from tools.recommendation_metrics import gains

PRODUCTS = [
    {"gender": g, "usage": "Casual", "article": a, "colour": c}
    for g in ("Men", "Women")
    for a in ("Shirt", "Shoe", "Hat")
    for c in ("red", "blue")
    for _ in range(20)
]


def test_sessions_follow_the_recipe() -> None:
    """A third have one interest; 5 to 20 views, none twice; most views share gender and article or
    colour."""
    drawn = sessions(PRODUCTS, shoppers=150, seed=3)
    assert Counter(session.interests for session in drawn) == {1: 50, 2: 50, 3: 50}
    assert {len(session.views) for session in drawn} == set(range(5, 21))
    assert all(len(set(session.views)) == len(session.views) for session in drawn)
    assert all(
        session.held_out == session.views[-1] and session.held_out not in session.history
        for session in drawn
    )
    shares = []
    for session in drawn[::3]:
        counts = Counter(
            key
            for place in session.views
            for name in ("article", "colour")
            if (key := (PRODUCTS[place]["gender"], PRODUCTS[place][name]))
        )
        shares.append(max(counts.values()) / len(session.views))
    assert 0.83 < np.mean(shares) < 0.97
    assert sessions(PRODUCTS, shoppers=150, seed=3) == drawn
    assert sessions(PRODUCTS, shoppers=150, seed=4) != drawn


def test_gains_are_those_of_one_right_answer() -> None:
    """First place 1, third 1 / log2(4) = 0.5, eleventh and absent 0."""
    ndcg, hits = gains([[7], [1, 2, 7], [*range(100, 110), 7], []], [7, 7, 7, 7])
    assert ndcg == pytest.approx([1, 0.5, 0, 0])
    assert hits.tolist() == [1, 1, 0, 0]


@pytest.mark.slow
def test_latency_gives_what_its_goal_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a small shop: the percentile is that of the samples, and each goal of the issue is there
    once."""
    monkeypatch.setenv("CATALENS_BENCH_PRODUCTS", "600")
    monkeypatch.setenv("CATALENS_BENCH_QUERIES", "5")
    row = {"part": "latency", **measure("latency", tmp_path)}
    assert len(row["samples_ms"]) == 5
    assert row["p50_ms"] == sorted(row["samples_ms"])[2]
    assert [goal.read([row]) for goal in GOALS] == [None, None, row["p50_ms"]]
    assert [(goal.op, goal.goal) for goal in GOALS] == [(">=", 1.3), (">=", 1.0), ("<=", 10)]


def test_interactions_are_evaluated(own_home: Path, tmp_path: Path) -> None:  # noqa: F811
    """Leave-last-out over a CSV: who looks at rings and then at another ring is hit; unknown rows
    are counted."""
    rows = [
        "u1,ring-blue",
        "u1,ring-black",
        "u1,ring-tan",
        "u2,dots-red",
        "u2,dots-blue",
        "u2,nobody",
        "u3,ring-blue",
    ]
    file = tmp_path / "views.csv"
    file.write_text("\n".join(["user,product", *rows]))
    done = CliRunner().invoke(
        cli, ["evaluate-recommendations", str(file), "--home", str(own_home), "--json"]
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["users"], found["unknown_rows"], found["skipped"]) == (2, 1, [])
    assert found["ours"]["hit_at_10"] == 1.0
    assert set(found["average_embedding"]) == {"ndcg_at_10", "hit_at_10", "coverage", "diversity"}


def test_the_command_recommends(own_home: Path, tmp_path: Path) -> None:  # noqa: F811
    """Ids in one option; an unknown one is said on stderr and the rest is used; orders come in by
    their command."""
    asked = ["recommend", "--history", "ring-blue, nobody", "-k", "3", "--home", str(own_home)]
    done = CliRunner().invoke(cli, [*asked, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert len(found["results"]) == 3
    assert found["unknown_products"] == ["nobody"]
    assert "Because you viewed blue ring" in CliRunner().invoke(cli, asked).output
    (tmp_path / "orders.csv").write_text("order_id,product_id\n1,ring-blue\n1,nobody\n")
    done = CliRunner().invoke(
        cli, ["orders", "import", str(tmp_path / "orders.csv"), "--home", str(own_home), "--json"]
    )
    assert (json.loads(done.stdout)["added"], json.loads(done.stdout)["unknown_products"]) == (
        1,
        ["nobody"],
    )
