"""What the tracked tree as a whole keeps: no trace of one machine, no oversized file."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import LONGEST_FIRST

ROOT = Path(__file__).parents[2]
# Put together so that this file does not contain what it looks for.
WORKPLACE = re.compile("/" + r"work/|\bshar" + r"ed/(?!lib)")
MAY_NAME_REAL_DATA = {"Makefile", "tests/conftest.py"}
# Tests of what several modules keep between them.
NAMED_BY_PROMISE = {
    "indexer/catalog/test_lost_catalog.py": "imports, erasure and builds beside a lost catalog",
    "indexer/index/test_gpu_fallback.py": "the GPU's part of every engine, on a stand-in",
    "indexer/index/test_index_contract.py": "one contract for all engines",
    "indexer/index/test_live_filters.py": "live writes: live, filter_columns, facts_log",
    "indexer/model/test_every_backbone.py": "one contract for all backbones",
    "indexer/training/test_bad_input.py": "what training says of bad data, whatever step reads it",
    "service/products/test_described_class.py": "classes from words, wherever they are made",
    "service/products/test_storage_failures.py": "a full disk, wherever it is written to",
    "service/products/test_tombstones.py": "late writes of deleted products, alone and in a batch",
    "service/test_http_schema.py": "every route against the OpenAPI document",
    "service/test_two_homes.py": "two homes on one machine",
    "service/test_two_processes.py": "two servers on one home",
    "service/web/test_check_view.py": "a view of the page, which is JavaScript",
    "service/web/test_actions_part.py": "a part of the studio, which is JavaScript",
    "service/web/test_objects.py": "a view of the page, which is JavaScript",
    "service/web/test_page.py": "the page as a whole, which is JavaScript",
    "service/web/test_search_view.py": "a view of the page, which is JavaScript",
    "service/web/test_studio_view.py": "a view of the page, which is JavaScript",
}


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_nothing_names_the_place_it_was_written_at() -> None:
    """No tracked text has a path of one machine; the default place of the real photos stands in two
    files only."""
    found = []
    for path in tracked():
        name = path.relative_to(ROOT).as_posix()
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        found += [
            f"{name}:{number}: {line.strip()}"
            for number, line in enumerate(lines, 1)
            if WORKPLACE.search(line)
            and not (name in MAY_NAME_REAL_DATA and "CATALENS_DATA" in line)
        ]
    assert found == []


def test_files_stay_small_enough_to_read() -> None:
    """No Python file of the three rooms of code is longer than 500 lines."""
    long = {
        path.name: lines
        for path in tracked()
        if path.suffix == ".py"
        and path.relative_to(ROOT).parts[0] != "tests"
        and (lines := len(path.read_text(encoding="utf-8").splitlines())) > 500
    }
    assert long == {}


def test_no_large_file_is_tracked() -> None:
    """A clone stays quick: no tracked file is larger than 2 MiB."""
    assert {path.name for path in tracked() if path.stat().st_size > 2 * 2**20} == set()


def test_each_test_file_is_named_after_a_module() -> None:
    """``tests/x/test_y.py`` tests ``x/y.py``, so a module's tests are found without a search."""
    tests = ROOT / "tests"
    without = set()
    for path in tests.rglob("test_*.py"):
        name = path.relative_to(tests)
        module = ROOT / name.parent / name.stem.removeprefix("test_")
        found = module.with_suffix(".py").exists() or (module / "__init__.py").exists()
        if name.parts[0] != "contracts" and not found:
            without.add(name.as_posix())
    assert without == set(NAMED_BY_PROMISE)


def test_the_files_begun_first_are_there() -> None:
    """A renamed test file would silently run last again."""
    assert [name for name in LONGEST_FIRST if not (ROOT / "tests" / name).exists()] == []
