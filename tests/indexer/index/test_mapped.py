"""Memory maps: an opened version copies nothing, answers as before, and gives pages back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from indexer.index import mapped
from indexer.index.faiss_index import FaissIndex
from tests.indexer.index.conftest import brute_force, clustered, queries_near

RECIPES = ("Flat", "IVF16,SQ8", "IVF16,Flat", "IVF16,PQ12x4fsr,Refine(SQ8)", "IVF16,PQ12x4fsr", "HNSW16,SQ8")


def resident(field: str = "Pss_Anon") -> int:
    """Bytes of this process's own memory, which no map of a file counts in."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(field)


def test_scan_in_place_is_brute_force(tmp_path: Path) -> None:
    """The half-precision scan of a mapped file finds what brute force finds, and holds no copy of it."""
    vectors = clustered(40_000, 128)
    np.save(tmp_path / "v.npy", vectors)
    stored = np.load(tmp_path / "v.npy", mmap_mode="r")
    before = resident() if Path("/proc/self/smaps_rollup").exists() else None
    index = FaissIndex.load("Flat", stored, None, params={})
    if before is not None:  # read at once: what the test itself computes below stays in the heap for a while
        assert resident() - before < vectors.nbytes / 2
    hits = index.search(queries_near(vectors, 4), 10)
    for query, found in zip(queries_near(vectors, 4), hits, strict=True):
        np.testing.assert_allclose(found.scores, [score for _, score in brute_force(vectors, query, 10)], atol=1e-6)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_is_served_from_its_file(recipe: str, tmp_path: Path) -> None:
    """What is mapped answers to the last bit as what was built, with and without allowed rows; nothing is logged."""
    vectors = clustered(3000, 24)
    index = FaissIndex.build(recipe, vectors)
    np.save(tmp_path / "v.npy", vectors)
    wrote = index.save(tmp_path / "index.faiss")
    with capture_logs() as logs:
        again = FaissIndex.load(
            recipe, np.load(tmp_path / "v.npy", mmap_mode="r"), tmp_path / "index.faiss" if wrote else None, params={}
        )
    assert logs == []
    queries = queries_near(vectors, 8)
    for allowed in (None, np.arange(0, 3000, 2)):
        for one, other in zip(
            index.search(queries, 10, allowed=allowed), again.search(queries, 10, allowed=allowed), strict=True
        ):
            assert one.rows.tolist() == other.rows.tolist()
            assert one.scores.tolist() == other.scores.tolist()


def test_vectors_that_are_not_contiguous_stay_right() -> None:
    """The scan reads memory in place: a view with gaps is copied first, and the copy outlives its maker."""
    wide = clustered(2000, 48)
    vectors = np.concatenate([wide, wide], axis=1)[:, :48]
    assert not vectors.flags.c_contiguous
    index = FaissIndex.load("Flat", vectors, None, params={})
    rubbish = [np.full((2000, 48), 7, np.float16) for _ in range(20)]  # would overwrite what was freed
    query = queries_near(wide, 1)
    found = index.search(query, 5)[0]
    assert found.rows.tolist() == [row for row, _ in brute_force(wide, query[0], 5)]
    del rubbish


def test_what_cannot_be_mapped_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where FAISS refuses to map a kind, it is read into memory instead, and the log says so."""
    vectors = clustered(400, 16)
    FaissIndex.build("IVF4,SQ8", vectors).save(tmp_path / "index.faiss")
    real = mapped.faiss.read_index

    def no_maps(path: str, *flags: Any) -> Any:
        if flags:
            raise RuntimeError("not supported for this kind")
        return real(path)

    monkeypatch.setattr(mapped.faiss, "read_index", no_maps)
    with capture_logs() as logs:
        assert mapped.read_index(tmp_path / "index.faiss").ntotal == 400
    assert [entry["reason"] for entry in logs] == ["not supported for this kind"]


def test_pages_are_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows read all over a mapped file do not pile up; they still read right; arrays in memory are left alone."""
    vectors = np.arange(20_000 * 512, dtype=np.float16).reshape(20_000, 512)  # 20 MB
    np.save(tmp_path / "v.npy", vectors)
    stored = np.load(tmp_path / "v.npy", mmap_mode="r")
    shown = [0]
    monkeypatch.setattr(mapped, "_mapped_bytes", lambda: shown[0])
    kept = mapped.Residency(stored)
    released = []

    def madvise(advice: int) -> None:
        released.append(shown[0])
        shown[0] = 500
        stored._mmap.madvise(advice)  # type: ignore[attr-defined]

    kept._map = type("Watched", (), {"madvise": staticmethod(madvise)})()
    tenth = stored.nbytes // 10
    for now in (tenth // 2, tenth, tenth + 1, tenth, 100, 100 + tenth, 101 + tenth):
        shown[0] = now
        assert stored[now % 20_000, 3] == vectors[now % 20_000, 3]
        kept.touched(10)
    assert released == [tenth + 1, 101 + tenth]  # more than a tenth above the least there was since
    plain = mapped.Residency(np.zeros((20_000, 512), np.float16))
    plain.touched(10**9)
    assert plain._map is None


def test_pages_are_counted_by_rows_where_the_system_does_not_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without Linux's figures 64 KiB a row are assumed: of 20 MB a tenth is 31 rows."""
    np.save(tmp_path / "v.npy", np.zeros((20_000, 512), np.float16))
    monkeypatch.setattr(mapped, "_mapped_bytes", lambda: None)
    kept = mapped.Residency(np.load(tmp_path / "v.npy", mmap_mode="r"))
    released = []
    kept._map = type("Watched", (), {"madvise": lambda self, advice: released.append(advice)})()
    for _ in range(320):
        kept.touched(1)
    assert len(released) == 10


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_search_leaves_few_pages_of_the_vectors_mapped(tmp_path: Path) -> None:
    """After searches that touched rows all over the file, at most a little over a tenth of it is mapped."""
    vectors = clustered(40_000, 256)  # 20 MB
    FaissIndex.build("IVF64,SQ8", vectors).save(tmp_path / "index.faiss")
    np.save(tmp_path / "vectors.npy", vectors)
    stored = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    index = FaissIndex.load(
        "IVF64,SQ8", stored, tmp_path / "index.faiss", params={"nprobe": {"10": 8, "100": 16}, "rerank": 4}
    )
    for query in queries_near(vectors, 200):
        index.search(query[None], 10)
    lines = Path("/proc/self/smaps").read_text().splitlines()
    starts = [place for place, line in enumerate(lines) if line.endswith(str(tmp_path / "vectors.npy"))]
    resident = [next(line for line in lines[place:] if line.startswith("Rss:")) for place in starts]
    assert len(starts) > 0
    # between two looks a search of 80 rows may map as many places of the file's cache
    assert sum(int(line.split()[1]) for line in resident) * 1024 < 0.6 * stored.nbytes


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_was_copied_from_a_file_does_not_stay_mapped_too(tmp_path: Path) -> None:
    """Four-bit lists are kept once: the pages that they were read from go back as soon as the index is open."""
    vectors, recipe = clustered(20_000, 64), "IVF64,PQ32x4fsr,Refine(SQ8)"
    FaissIndex.build(recipe, vectors).save(tmp_path / "index.faiss")
    index = FaissIndex.load(recipe, vectors, tmp_path / "index.faiss", params={})
    lines = Path("/proc/self/smaps").read_text().splitlines()
    starts = [place for place, line in enumerate(lines) if line.endswith(str(tmp_path / "index.faiss"))]
    assert starts
    assert sum(int(next(x for x in lines[place:] if x.startswith("Rss:")).split()[1]) for place in starts) == 0
    assert len(index.search(queries_near(vectors, 4), 10)[3]) == 10
