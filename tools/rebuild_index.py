"""Offline rebuild as a job of its own: ``catalens index build`` with the same options.

python -m tools.rebuild_index --home H [--model M] [--recall R] [--memory SIZE] [--device D]
    [--dry-run]
    [--activate] [--json]
"""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point; exits 0 done, 1 failed with a one-line reason, 2 wrong usage."""
    from tools.cli import run

    sys.exit(run(["index", "build", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
