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
    """
    from tools.doctor import examine, show

    print_result(examine(home, selftest_gpu=selftest_gpu), as_json, show)
