"""Container limits: quotas, sets of cores and memory of both versions of cgroups are minded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from indexer.core import container
from indexer.core.container import ContainerLimits, read_container_limits, usable_cores
from indexer.imaging import parallel

V1 = "4:memory:/docker/abc\n3:cpuset:/docker/abc\n2:cpu,cpuacct:/docker/abc\n"


def tree(root: Path, groups: str, files: dict[str, str]) -> Path:
    """A made /proc and /sys/fs/cgroup below ``root``."""
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


@pytest.mark.parametrize(
    ("groups", "files", "want"),
    [
        # version 2, as a container sees its own group
        (
            "0::/\n",
            {"cpu.max": "150000 100000\n", "memory.max": "1073741824\n"},
            (1.5, None, 2**30),
        ),
        ("0::/\n", {"cpu.max": "max 100000\n", "memory.max": "max\n"}, (None, None, None)),
        ("0::/\n", {"cpuset.cpus.effective": "0-2,7\n"}, (None, 4, None)),
        # a group above may be tighter, as in Kubernetes
        (
            "0::/kubepods/pod1/main\n",
            {
                "kubepods/cpu.max": "800000 100000",
                "kubepods/pod1/cpu.max": "200000 100000",
                "kubepods/pod1/main/cpu.max": "max 100000",
            },
            (2.0, None, None),
        ),
        # the path that the group has on the host, which the container does not see
        ("0::/../../other\n", {"cpu.max": "50000 100000\n"}, (0.5, None, None)),
        # version 1
        (
            V1,
            {
                "cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "300000\n",
                "cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000\n",
                "cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
                "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
                "cpuset/docker/abc/cpuset.cpus": "1,3\n",
                "memory/docker/abc/memory.limit_in_bytes": "536870912\n",
                "memory/memory.limit_in_bytes": "9223372036854771712\n",
            },
            (3.0, 2, 2**29),
        ),
        # version 1 where only the container's own tree is mounted
        (
            V1,
            {"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"},
            (1.0, None, None),
        ),
        # what no kernel writes is no limit
        (
            "0::/\n",
            {"cpu.max": "junk\n", "memory.max": "-5\n", "cpuset.cpus": "9-1\n"},
            (None,) * 3,
        ),
        ("0::/\n", {"cpu.max": "100000 0\n", "memory.max": ""}, (None,) * 3),
        ("", {}, (None, None, None)),
    ],
)
def test_limits_are_read_from_both_versions(
    tmp_path: Path, groups: str, files: dict[str, str], want: tuple[float | None, ...]
) -> None:
    """The tightest limit of the group and all above it; none where there is none."""
    made = tree(tmp_path, groups, {f"sys/fs/cgroup/{name}": text for name, text in files.items()})
    found = read_container_limits(made)
    assert (found.cpus, found.cpuset, found.memory) == want


@pytest.mark.parametrize(
    ("limits", "cores"),
    [
        (ContainerLimits(), 8),
        (ContainerLimits(cpus=2.0), 2),
        (ContainerLimits(cpus=1.5), 2),
        (ContainerLimits(cpus=0.25), 1),
        (ContainerLimits(cpus=64.0), 8),
        (ContainerLimits(cpus=6.0, cpuset=3), 3),
    ],
)
def test_threads_are_counted_by_the_quota(
    monkeypatch: pytest.MonkeyPatch, limits: ContainerLimits, cores: int
) -> None:
    """Of eight cores, as many as the container may use; never none."""
    monkeypatch.setattr(container, "container_limits", lambda: limits)
    monkeypatch.setattr(container, "available_cores", lambda: 8)
    assert usable_cores() == cores


def test_libraries_start_with_the_quotas_threads() -> None:
    """OpenMP is told before it is loaded, and what people set stays."""
    code = (
        "from indexer.core import container\n"
        "container.available_cores = lambda: 16\n"
        "container.container_limits = lambda: container.ContainerLimits(cpus=3.0)\n"
        "from indexer.core import native\n"
        "import os; print(native.THREADS, os.environ['OMP_NUM_THREADS'])\n"
    )
    kept = {key: value for key, value in os.environ.items() if "THREADS" not in key}
    for given, want in (
        ({}, "3 3"),
        ({"OMP_NUM_THREADS": "5"}, "5 5"),
        ({"CATALENS_THREADS": "2"}, "2 2"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code], env={**kept, **given}, capture_output=True, text=True
        )
        assert done.stdout.split() == want.split(), done.stderr


def test_photos_are_decoded_as_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container of 1 GiB decodes one photo at once, one of 16 as many as asked; never none."""
    for memory, want in ((2**28, 1), (2**30, 1), (2**31, 2), (2**34, 8), (None, 8)):
        monkeypatch.setattr(parallel, "usable_memory", lambda memory=memory: memory)
        assert parallel.decoding_threads(8) == want
