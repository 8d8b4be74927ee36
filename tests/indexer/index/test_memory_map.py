"""Memory maps: an opened version copies nothing, answers as before, and gives pages back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from indexer.core.errors import DamagedIndexError
from indexer.index.faiss_index import FaissIndex
from indexer.index.memory_map import Rows, faiss, read_index
from tests.indexer.index.conftest import brute_force, clustered, queries_near

RECIPES = (
    "Flat",
    "IVF16,SQ8",
    "IVF16,Flat",
    "IVF16,PQ12x4fsr,Refine(SQ8)",
    "IVF16,PQ12x4fsr",
    "HNSW16,SQ8",
)


def resident(field: str = "Pss_Anon") -> int:
    """Bytes of this process's own memory, which no map of a file counts in."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(field)


def test_scan_in_place_is_brute_force(tmp_path: Path) -> None:
    """The half-precision scan of a mapped file finds what brute force finds, and holds no copy of
    it."""
    vectors = clustered(40_000, 128)
    np.save(tmp_path / "v.npy", vectors)
    stored = np.load(tmp_path / "v.npy", mmap_mode="r")
    before = resident() if Path("/proc/self/smaps_rollup").exists() else None
    index = FaissIndex.load("Flat", stored, None, params={})
    if (
        before is not None
    ):  # read at once: what the test itself computes below stays in the heap for a while
        assert resident() - before < vectors.nbytes / 2
    hits = index.search(queries_near(vectors, 4), 10)
    for query, found in zip(queries_near(vectors, 4), hits, strict=True):
        np.testing.assert_allclose(
            found.scores, [score for _, score in brute_force(vectors, query, 10)], atol=1e-6
        )


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_is_served_from_its_file(recipe: str, tmp_path: Path) -> None:
    """What is mapped answers to the last bit as what was built, with and without allowed rows;
    nothing is logged."""
    vectors = clustered(3000, 24)
    index = FaissIndex.build(recipe, vectors)
    np.save(tmp_path / "v.npy", vectors)
    wrote = index.save(tmp_path / "index.faiss")
    with capture_logs() as logs:
        again = FaissIndex.load(
            recipe,
            np.load(tmp_path / "v.npy", mmap_mode="r"),
            tmp_path / "index.faiss" if wrote else None,
            params={},
        )
    assert logs == []
    queries = queries_near(vectors, 8)
    for allowed in (None, np.arange(0, 3000, 2)):
        for one, other in zip(
            index.search(queries, 10, allowed=allowed),
            again.search(queries, 10, allowed=allowed),
            strict=True,
        ):
            assert one.rows.tolist() == other.rows.tolist()
            assert one.scores.tolist() == other.scores.tolist()


def test_vectors_that_are_not_contiguous_stay_right() -> None:
    """The scan reads memory in place: a view with gaps is copied first, and the copy outlives its
    maker."""
    wide = clustered(2000, 48)
    vectors = np.concatenate([wide, wide], axis=1)[:, :48]
    assert not vectors.flags.c_contiguous
    index = FaissIndex.load("Flat", vectors, None, params={})
    rubbish = [
        np.full((2000, 48), 7, np.float16) for _ in range(20)
    ]  # would overwrite what was freed
    query = queries_near(wide, 1)
    found = index.search(query, 5)[0]
    assert found.rows.tolist() == [row for row, _ in brute_force(wide, query[0], 5)]
    del rubbish


def test_what_cannot_be_mapped_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where FAISS refuses to map a kind, it is read into memory instead, and the log says so."""
    vectors = clustered(400, 16)
    FaissIndex.build("IVF4,SQ8", vectors).save(tmp_path / "index.faiss")
    real = faiss.read_index

    def no_maps(path: str, *flags: Any) -> Any:
        if flags:
            raise RuntimeError("not supported for this kind")
        return real(path)

    monkeypatch.setattr(faiss, "read_index", no_maps)
    with capture_logs() as logs:
        assert read_index(tmp_path / "index.faiss").ntotal == 400
    assert [entry["reason"] for entry in logs] == ["not supported for this kind"]


def mapped_bytes(file: Path) -> int:
    """What this process has mapped of a file and touched."""
    lines = Path("/proc/self/smaps").read_text().splitlines()
    starts = [place for place, line in enumerate(lines) if line.endswith(str(file))]
    assert starts
    resident = [next(line for line in lines[place:] if line.startswith("Rss:")) for place in starts]
    return sum(int(line.split()[1]) for line in resident) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_single_rows_are_read_right_and_map_nothing(tmp_path: Path) -> None:
    """Of a mapped file by its places, many of them through the map, which is given back; in memory
    as they are."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((20_000, 512)).astype(np.float16)  # 20 MB
    file = tmp_path / "v.npy"
    np.save(file, vectors)
    rows = Rows(np.load(file, mmap_mode="r"))
    for asked in (
        np.array([19_999, 0, 0, 7]),
        rng.integers(0, 20_000, (3, 40)),
        rng.permutation(np.arange(19_900, 20_000)),  # one run, in no order
        np.repeat(rng.integers(0, 4000, 30) * 5, 5) + np.tile(np.arange(5), 30),  # and with repeats
        np.empty(0, np.int64),
    ):
        found = rows.take(asked)
        assert found.dtype == np.float16
        assert found.tolist() == vectors[asked].tolist()
    assert mapped_bytes(file) == 0
    many = rng.integers(0, 20_000, 5000)
    assert rows.take(many).tolist() == vectors[many].tolist()
    assert mapped_bytes(file) == 0
    assert Rows(vectors).take(many).tolist() == vectors[many].tolist()


def test_a_row_that_the_file_lost_is_an_error(tmp_path: Path) -> None:
    """A version's file that somebody cuts under the service: an error that names it, never a
    made-up vector."""
    np.save(tmp_path / "v.npy", np.ones((20_000, 512), np.float16))
    rows = Rows(np.load(tmp_path / "v.npy", mmap_mode="r"))
    with (tmp_path / "v.npy").open("r+b") as file:
        file.truncate(128 + 1024 * 19_999 + 10)
    assert rows.take(np.array([19_998])).min() == 1
    with pytest.raises(DamagedIndexError, match=r"v\.npy ends before row 19999"):
        rows.take(np.array([0, 19_999]))
    with pytest.raises(DamagedIndexError, match="ends before row 19900"):
        rows.take(np.arange(19_900, 20_000))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_search_leaves_few_pages_of_the_vectors_mapped(tmp_path: Path) -> None:
    """After searches that touched rows all over the file, at most a little over a tenth of it is
    mapped."""
    vectors = clustered(40_000, 256)  # 20 MB
    FaissIndex.build("IVF64,SQ8", vectors).save(tmp_path / "index.faiss")
    np.save(tmp_path / "vectors.npy", vectors)
    stored = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    index = FaissIndex.load(
        "IVF64,SQ8",
        stored,
        tmp_path / "index.faiss",
        params={"nprobe": {"10": 8, "100": 16}, "rerank": 4},
    )
    for query in queries_near(vectors, 200):
        index.search(query[None], 10)
    assert mapped_bytes(tmp_path / "vectors.npy") < 0.1 * stored.nbytes


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_was_copied_from_a_file_does_not_stay_mapped_too(tmp_path: Path) -> None:
    """Four-bit lists are kept once: the pages that they were read from go back as soon as the index
    is open."""
    vectors, recipe = clustered(20_000, 64), "IVF64,PQ32x4fsr,Refine(SQ8)"
    FaissIndex.build(recipe, vectors).save(tmp_path / "index.faiss")
    index = FaissIndex.load(recipe, vectors, tmp_path / "index.faiss", params={})
    lines = Path("/proc/self/smaps").read_text().splitlines()
    starts = [
        place for place, line in enumerate(lines) if line.endswith(str(tmp_path / "index.faiss"))
    ]
    assert starts
    assert (
        sum(
            int(next(x for x in lines[place:] if x.startswith("Rss:")).split()[1])
            for place in starts
        )
        == 0
    )
    assert len(index.search(queries_near(vectors, 4), 10)[3]) == 10
