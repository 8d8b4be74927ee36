"""A manifest that somebody else sealed cannot name files outside its folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from indexer.core.errors import DamagedIndexError
from indexer.core.manifest import FORMAT, MANIFEST, Manifest, read_manifest

KNOWN = {"sha256": "0" * 64, "size": 3}


def sealed(folder: Path, **changes: Any) -> Path:
    """A version's folder with a manifest whose seal is right, whatever it says."""
    made = Manifest(
        format=FORMAT,
        version="v000001",
        embedding_id="e1",
        model_version="m1",
        dim=6,
        metric="inner_product",
        recipe="Flat",
        params={},
        counts={"entries": 0, "products": 0},
        last_sequence=0,
        recall={},
        files={"rows.npy": KNOWN},
        created="2026-01-01T00:00:00+00:00",
    )
    path = folder / "v000001"
    path.mkdir()
    (path / MANIFEST).write_bytes(replace(made, **changes).to_bytes())
    return path


def test_a_sealed_manifest_is_read(tmp_path: Path) -> None:
    """What a build writes comes back."""
    assert read_manifest(sealed(tmp_path)).files == {"rows.npy": KNOWN}


@pytest.mark.parametrize(
    "changes",
    [
        {"files": {"/home/shop/.ssh/authorized_keys": KNOWN}},
        {"files": {"../../authorized_keys": KNOWN}},
        {"files": {".bashrc": KNOWN}},
        {"files": {"manifest.json": KNOWN}},
        {"files": {"VERIFIED": KNOWN}},
        {"files": {"rows.npy": {"sha256": "0"}}},
        {"files": {"rows.npy": "0"}},
        {"files": ["rows.npy"]},
        {"embedding_id": "../../outside"},
        {"model_version": "/tmp/model"},
        {"recipe": 3},
        {"source": ["catalog"]},
        {"source": {"erased_through": "x"}},
        {"source": {"erased_through": None}},
        {"source": {"rewrite_of": 3}},
        {"metric": "L2"},
        {"format": 1.5},
        {"dim": True},
        {"last_sequence": -1},
    ],
)
def test_names_that_leave_the_folder_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Absolute names, ways up, hidden and reserved ones, and values of another kind."""
    with pytest.raises(DamagedIndexError, match="v000001"):
        read_manifest(sealed(tmp_path, **changes))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("counts.products", {"counts": {"entries": 0, "products": "7"}}),
        ("counts.entries", {"counts": {"entries": True, "products": 0}}),
        ("params.nprobe", {"params": {"nprobe": 8}}),
        ("params.nprobe", {"params": {"nprobe": {"10": 8}}}),
        ("params.efSearch", {"params": {"efSearch": {"10": "8", "100": 9}}}),
        ("params.rerank", {"params": {"rerank": {"10": 0, "100": 2}}}),
        ("params.rerank", {"params": {"rerank": [4]}}),
        ("params.widen", {"params": {"widen": {"c": 3}}}),
        ("params.widen", {"params": {"widen": {"effort": 2}}}),
        ("params.widen", {"params": {"widen": "c"}}),
        ("recall.asked", {"recall": {"asked": [0.99]}}),
        ("recall.asked", {"recall": {"asked": 2}}),
        ("recall.at_10", {"recall": {"at_10": "all"}}),
        ("recall.curve", {"recall": {"curve": {}}}),
    ],
)
def test_values_of_another_type_are_refused_by_name(
    tmp_path: Path, name: str, changes: dict[str, Any]
) -> None:
    """Whoever reads them counts with them: a search, a compaction, the list of versions."""
    with pytest.raises(DamagedIndexError, match=rf"v000001.* holds {name} of another kind"):
        read_manifest(sealed(tmp_path, **changes))


def test_what_builds_of_all_releases_write_is_read(tmp_path: Path) -> None:
    """Tuned by depth and by block, with one number as before 0.2, and what is not known."""
    folder = sealed(
        tmp_path,
        params={
            "nprobe": {"10": 8, "100": 21},
            "rerank": {"10": 4, "100": 1.5},
            "widen": {"c": {"effort": 2, "rerank": 3}},
            "of another engine": [1],
        },
        recall={"asked": 0.99, "at_10": 1.0, "at_100": None, "queries": 3, "curve": []},
    )
    assert read_manifest(folder).params["rerank"]["100"] == 1.5
    (tmp_path / "old").mkdir()
    old = {"rerank": 4, "widen": {"effort": 2, "rerank": 1}}
    assert read_manifest(sealed(tmp_path / "old", params=old)).params == old
