"""The quickstart: its commands run as they stand, in an empty folder, and do what it says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.demo import free_port

ROOT = Path(__file__).parents[2]
QUICKSTART = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")


def script(port: int) -> str:
    """The quickstart's blocks as one shell script; each command's line is printed before it, behind
    ``@@``."""
    lines = ["set -e -m", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"]
    for kind, block in re.findall(
        r"^```(sh|python)\n(.*?)^```", QUICKSTART, flags=re.MULTILINE | re.DOTALL
    ):
        if kind == "python":
            lines += ["echo '@@ python'", f"python - <<'END'\n{block}END"]
        for line in block.splitlines() if kind == "sh" else ():
            quoted = f"@@ {line}".replace("'", "'\\''")
            lines += [f"echo '{quoted}'", line]
    return (
        "\n".join(lines)
        .replace("127.0.0.1:8000", f"127.0.0.1:{port}")
        .replace("--port 8000", f"--port {port}")
        + "\n"
    )


@pytest.mark.long
def test_the_quickstart_can_be_followed(tmp_path: Path) -> None:
    """Shop, import, index, questions, training, service, program: each step succeeds and shows what
    is promised."""
    if shutil.which("curl") is None or shutil.which("bash") is None:
        pytest.skip("the quickstart is typed into bash and uses curl")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, module in (("python", ""), ("catalens", "-m tools.cli ")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {module}"$@"\n')
        (programs / name).chmod(0o755)
    folder = tmp_path / "empty"
    folder.mkdir()
    environment = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        ["bash", "-c", script(free_port(None))],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    said = dict(part.split("\n", 1) for part in done.stdout.split("@@ ")[1:])
    steps = {command: output for command, output in said.items() if output.strip()}
    assert "backpack-0001" in next(
        iter(steps[name] for name in steps if name.startswith("catalens similar photos"))
    )
    filtered = next(steps[name] for name in steps if "--filter" in name)
    assert "backpack" in filtered
    assert "backpack-0001" not in filtered.replace("backpack-0001-", "")
    assert next(steps[name] for name in steps if name.startswith("catalens classify")).strip()
    answer = json.loads(next(steps[name] for name in steps if "/v1/search" in name))
    assert [answer["results"][0]["product_id"], len(answer["results"])] == ["backpack-0001", 3]
    first, second = steps["python"].strip().splitlines()
    assert set(json.loads(first.replace("'", '"'))) == {"my-mug", "backpack-0001"}
    assert second == "deleted"
