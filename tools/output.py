"""Output of commands: one JSON document or a table on stdout, progress on stderr."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import asdict, is_dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import click

from indexer.core.printable import plain_json, plain_line, plain_text
from indexer.core.progress import OnProgress, OnStage


def to_plain(value: Any) -> Any:
    """Convert ``value`` to JSON's types: dataclasses, paths, sets, numpy arrays and numbers.

    A dataclass that has a ``to_json`` method is trusted to know its own form.
    """
    if hasattr(value, "to_json"):
        return to_plain(value.to_json())
    if is_dataclass(value) and not isinstance(value, type):
        return to_plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (Sequence, Set)) and not isinstance(value, (str, bytes)):
        return [to_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # numpy arrays and scalars
        return to_plain(value.tolist())
    return value


def print_result(document: Any, as_json: bool, human: Callable[[Any], None]) -> None:
    """Print ``document`` as the one JSON document on stdout, or let ``human`` print it."""
    document = to_plain(document)
    if as_json:
        text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
        click.echo(plain_json(text))
    else:
        human(document)


def print_secret(document: Any, name: str, as_json: bool, *, otherwise: str) -> None:
    """``print_result`` of what is shown once, the value ``name`` of ``document``: out of this
    process when this returns.

    Raises ``click.ClickException`` where it cannot be, which says ``otherwise``.
    """
    try:
        print_result(document, as_json, lambda found: click.echo(found[name]))
        sys.stdout.flush()
    except OSError as error:
        # Else the interpreter tries, and complains, once more at its exit.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        reason = error.strerror or error
        raise click.ClickException(
            f"the secret cannot be written out ({reason}): {otherwise}"
        ) from error


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str | None = None
) -> None:
    """Print a table on stdout; numbers are right-aligned, ``None`` is a dash."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = [list(row) for row in rows]
    shown = Table(box=None, pad_edge=False, header_style="dim")
    for position, name in enumerate(columns):
        values = [row[position] for row in rows if row[position] is not None]
        numeric = bool(values) and all(isinstance(value, (int, float)) for value in values)
        shown.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        # Text: an id such as "[red]" is no markup.
        shown.add_row(*(Text(format_cell(value)) for value in row))
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    with console.capture() as captured:
        console.print(shown)
    if title:
        click.secho(plain_text(title), bold=True)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def format_cell(value: Any) -> str:
    """Format one value for people."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) <= 1 else f"{value:,.1f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, (list, tuple)):
        return plain_line(", ".join(str(item) for item in value))
    return plain_line(str(value))


def log(text: str) -> None:
    """Print a line for people on stderr."""
    click.echo(plain_text(text), err=True)


def say(text: str, *, newline: bool = True) -> None:
    """Print a line for people on stdout."""
    click.echo(plain_text(text), nl=newline)


@contextmanager
def stages() -> Iterator[OnStage]:
    """A progress callback ``(stage, done, total)`` with rate and time left on stderr.

    On a terminal a bar for each stage; elsewhere a line at its end and every ten seconds, so that a
    log stays readable.
    """
    if sys.stderr.isatty():
        with _bars() as callback:
            yield callback
    else:
        yield _lines()


@contextmanager
def progress(label: str) -> Iterator[OnProgress]:
    """``stages`` for work that has one stage only: a callback ``(done, total)``."""
    with stages() as callback:
        yield partial(callback, label)


@contextmanager
def _bars() -> Iterator[OnStage]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        tasks: dict[str, TaskID] = {}

        def callback(stage: str, done: int, total: int, note: str = "") -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, rate="")
            task = bar.tasks[bar.task_ids.index(tasks[stage])]
            speed = task.finished_speed or task.speed
            rate = ", ".join(part for part in (f"{speed:,.0f}/s" if speed else "", note) if part)
            bar.update(tasks[stage], completed=done, total=total, rate=rate)

        yield callback


def _lines(every_s: float = 10.0) -> OnStage:
    started: dict[str, float] = {}
    said: dict[str, float] = {}

    def callback(stage: str, done: int, total: int, note: str = "") -> None:
        now = time.monotonic()
        start = started.setdefault(stage, now)
        if said.get(stage) == math.inf or (done < total and now - said.get(stage, start) < every_s):
            return
        said[stage] = math.inf if done >= total else now
        rate = done / (now - start) if now > start else 0.0
        speed = f", {rate:,.1f}/s" if rate else ""
        left = f", {(total - done) / rate:.0f} s left" if rate and done < total else ""
        most = f", most of it {note}" if note else ""
        log(f"{stage}: {done:,} of {total:,}{speed}{left}{most}")

    return callback


_SHOWN = 10  # label issues in the table; --json has all


def show_labels(report: dict[str, Any]) -> None:
    """What was found about the labels of DATA: the worst ``label_issues`` as a table, then
    ``notes`` on all else."""
    issues = report["label_issues"]
    if issues:
        columns = ("where", "given", "suggested", "confidence")
        worst = [list(map(format_cell, itemgetter(*columns)(issue))) for issue in issues[:_SHOWN]]
        print_table(
            columns,
            worst,
            title=f"Labels to look at first, {len(worst)} of {len(issues)} (all with --json)",
        )
    listed = {issue["where"] for issue in issues}
    for note in report["notes"]:
        if note.partition(": ")[0] not in listed:
            say(f"note: {note}")
