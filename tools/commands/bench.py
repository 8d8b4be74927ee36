"""Command ``bench``: benchmarks."""

from __future__ import annotations

from operator import itemgetter
from pathlib import Path
from typing import Any

import click

from tools.options import AnyPath, json_option
from tools.output import format_cell, log, print_result, print_table


@click.command()
@click.argument("name", metavar="NAME|list")
@click.option(
    "--only", multiple=True, metavar="PART", help="Only this part of the benchmark; repeatable."
)
@click.option(
    "--work",
    type=AnyPath,
    help="Keep what the benchmark builds here, and use it again (default: temporary).",
)
@click.option(
    "--picture", type=AnyPath, help="Draw the goals and what was reached into this SVG file."
)
@json_option
def bench(
    name: str, only: tuple[str, ...], work: Path | None, picture: Path | None, as_json: bool
) -> None:
    """Run the benchmark NAME, or list them.

    Real photos are read from CATALENS_DATA.
    """
    from tools.bench.harness import framework

    if name == "list":
        print_result({"benchmarks": framework.listing()}, as_json, _show_list)
        return
    result = framework.run(name, only=only, work=work)
    if picture is not None:
        from tools.bench.plots.bars import drawn

        picture.write_text(drawn(result["goals"], f"catalens bench {name}"), encoding="utf-8")
    print_result(result, as_json, _show_result)


def _show_list(found: dict[str, Any]) -> None:
    columns = ("name", "parts", "about")
    print_table(columns, map(itemgetter(*columns), found["benchmarks"]))


def _show_result(result: dict[str, Any]) -> None:
    for row in result["rows"]:
        shown = {name: value for name, value in row.items() if not isinstance(value, (dict, list))}
        print_table(("", "value"), shown.items(), title=row.get("part"))
        click.echo()
    goals = result["goals"]
    met = {True: "yes", False: "NO", None: "not measured"}
    rows = [
        (g["name"], f"{g['op']} {g['goal']:g}", format_cell(g["value"]), met[g["met"]])
        for g in goals
    ]
    print_table(("goal", "wanted", "value", "met"), rows)
    log(f"{sum(1 for goal in goals if goal['met'])} of {len(goals)} goals met")
