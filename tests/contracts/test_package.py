"""What is installed is what is tracked: no module hidden by an ignore rule, none left out."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("indexer", "service", "tools")


@pytest.fixture(scope="module")
def tracked() -> set[str]:
    """All files of the packages that git knows."""
    command = ["git", "ls-files", "-z", "--", *PACKAGES]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return {name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()}


def test_every_module_on_disk_is_tracked(tracked: set[str]) -> None:
    """An ignore rule (``build/``, say) that matches a room of code would lose it silently."""
    on_disk = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--others", "--exclude-standard", "--", *PACKAGES],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    not_yet_added = set(listed.stdout.split("\0")) - {""}
    assert on_disk - not_yet_added == tracked


def test_the_wheel_holds_every_tracked_file(tracked: set[str], tmp_path: Path) -> None:
    """Modules, the page, templates and word lists are all installed, and nothing else is."""
    source = tmp_path / "source"
    for name in [*tracked, "pyproject.toml", "README.md", "LICENSE"]:
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    code = "from setuptools import build_meta; print(build_meta.build_wheel('wheel'))"
    built = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    with zipfile.ZipFile(source / "wheel" / built.stdout.split()[-1]) as wheel:
        held = {name for name in wheel.namelist() if name.split("/")[0] in PACKAGES}
    assert held == tracked
