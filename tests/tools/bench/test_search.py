"""``bench search``: goals recomputed from rows."""

from __future__ import annotations

from tools.bench import search

ENGINES = [
    {
        "name": "catalens",
        "recall": 0.991,
        "batch_qps": 900.0,
        "p50_ms": 1.0,
        "p99_ms": 4.0,
        "build_s": 5.0,
        "pss_share": 0.4,
    },
    {"name": "faiss HNSW32", "batch_qps": 300.0, "build_s": 10.0},
    {"name": "hnswlib", "batch_qps": 100.0, "build_s": 20.0, "p50_ms": 2.0},
    {"name": "usearch", "p50_ms": 0.5},
    {"name": "scikit-learn", "batch_qps": 10.0},
]


def test_search_goals_come_from_the_rows() -> None:
    """Every figure of the issue is a goal; each is our figure over the peer's, and unmeasured
    without that peer."""
    rows = [{"part": "engines", "engines": ENGINES}]
    judged = [
        (goal.op, goal.goal, goal.judge(rows)["value"], goal.judge(rows)["met"])
        for goal in search.GOALS
    ]
    assert judged == [
        (">=", 0.99, 0.991, True),
        (">=", 2, 3.0, True),
        (">=", 3, 9.0, True),
        (">=", 50, 90.0, True),
        ("<=", 1, 2.0, False),
        ("<=", 1, 0.5, True),
        ("<=", 5, 4.0, True),
        ("<", 1, 0.25, True),
        ("<", 1, 0.5, True),
        ("<=", 0.5, 0.4, True),
    ]
    assert {goal.judge([])["met"] for goal in search.GOALS} == {None}
