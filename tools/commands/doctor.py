"""Command ``doctor``: diagnosis of machine and home."""

from __future__ import annotations

from pathlib import Path

import click

from tools.options import AnyPath, json_option
from tools.output import print_result


@click.command()
@click.option(
    "--home",
    type=AnyPath,
    envvar="CATALENS_HOME",
    help="Look at this home too (or set CATALENS_HOME).",
)
@click.option(
    "--selftest-gpu",
    is_flag=True,
    help="Also prove on this GPU that the index answers as on the CPU.",
)
@json_option
def doctor(home: Path | None, selftest_gpu: bool, as_json: bool) -> None:
    """Report what this machine has and lacks.

    GPU, FAISS build, threads, where weights come from; with --home also the state of that home.
    Exit code 1 where the home is damaged or cannot be checked now, as `verify` has it.
    """
    from indexer.core.errors import DamagedHomeError
    from tools.doctor import examine, show

    found = examine(home, selftest_gpu=selftest_gpu)
    print_result(found, as_json, show)
    if home is not None and not found["home"]["intact"]:
        raise DamagedHomeError(
            f"{home} is damaged, or cannot be checked now: each problem is named above"
        )
