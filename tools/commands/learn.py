"""Commands around a model: the demonstration, training, evaluation."""

from __future__ import annotations

import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

import click

from tools.options import AnyPath, FromSignature, device_option, given, json_option, seed_option
from tools.output import answer, cell, say, show_labels, stages, table

TRAIN = "indexer.training.train:train"
EVALUATE = "indexer.evaluation.evaluate:evaluate"
DEMO = "tools.demo:demo"

# The figures people ask for first; the rest of an evaluation is in its JSON document and report.
HEADLINES = (
    "n",
    "accuracy",
    "top5_accuracy",
    "macro_f1",
    "ece",
    "hit_rate_at_1",
    "hit_rate_at_10",
    "map",
    "instance_hit_rate_at_1",
)


@click.command()
@click.option(
    "--serve/--no-serve",
    default=True,
    show_default=True,
    help="Serve the page at the end, or exit.",
)
@click.option(
    "--dir", "folder", type=AnyPath, cls=FromSignature, source=DEMO, help="Where everything is put."
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port of the page (default: the usual one if it is free).",
)
@json_option
def demo(serve: bool, folder: Path | None, port: int | None, as_json: bool) -> None:
    """Do the main job on a sample catalog.

    Draw it, train, evaluate, import, index, ask the three questions, serve. What is already there
    from an earlier run is used again.
    """
    from tools import demo as job

    if serve:
        port = job.free_port(port)  # known to be free before the work, not after it
    result = job.demo(**given(folder=folder))
    answer(result, as_json, job.show)
    if serve:
        with (
            redirect_stdout(sys.stderr) if as_json else nullcontext()
        ):  # stdout holds one document and nothing else
            job.serve(result["home"], port=port)


class StageOutput(click.ParamType):
    """A number of stages, or ``all``, which is more than any backbone has."""

    name = "N|all"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        return sys.maxsize if value == "all" else int(click.IntRange(0).convert(value, param, ctx))


@click.command()
@click.argument("data", type=AnyPath)
@click.option("--out", type=AnyPath, required=True, help="The model folder to write.")
@click.option("--backbone", cls=FromSignature, source=TRAIN, help="Name of the pretrained network.")
@click.option("--weights", type=AnyPath, help="A local file with the backbone's weights.")
@click.option(
    "--recipe",
    type=click.Choice(["linear", "finetune"]),
    cls=FromSignature,
    source=TRAIN,
    help="linear: seconds, the backbone stays frozen. finetune: minutes, the backbone learns too.",
)
@click.option(
    "--epochs",
    type=click.IntRange(1),
    help="Passes over the train photos.  [default: the recipe's]",
)
@click.option(
    "--lr",
    type=click.FloatRange(0, min_open=True),
    help="Peak learning rate.  [default: the recipe's]",
)
@click.option(
    "--batch-size", type=click.IntRange(2), help="Photos per step.  [default: the recipe's]"
)
@click.option(
    "--unfreeze",
    type=StageOutput(),
    help="finetune: stages of the backbone trained, from the top; or all.",
)
@click.option(
    "--resume",
    is_flag=True,
    default=None,
    help="finetune: go on after the last epoch of a killed run.",
)
@seed_option(TRAIN, help="Fixes the split and the training.")
@click.option(
    "--cache",
    type=AnyPath,
    help="Folder of cached features (default: CATALENS_CACHE, or ~/.cache/catalens).",
)
@device_option(TRAIN)
@json_option
def train(data: Path, out: Path, as_json: bool, **options: Any) -> None:
    """Train a model on DATA.

    DATA is a folder of class folders, or a manifest (.csv, .jsonl, .parquet). The model is written
    as a folder. Started by torchrun, the processes share the fine-tuning.
    """
    from indexer.training.distributed import team
    from indexer.training.train import train as job

    with team(options["device"] or "auto") as members:
        with stages() if members.rank == 0 else nullcontext() as callback:
            report = job(data, out, progress=callback, team=members, **given(**options))
        if members.rank > 0:
            return
    answer(report, as_json, lambda document: _show_training(document, out))


def _show_training(report: dict[str, Any], out: Path) -> None:
    flat = {
        name: value for name, value in report.items() if isinstance(value, (str, int, float, bool))
    }
    table(("", "value"), flat.items(), title=f"Trained {out}")
    show_labels(report)
    say(
        f"next: catalens evaluate {out} DATA, or catalens index build --home HOME --model {out} "
        "--activate"
    )


@click.command()
@click.argument("model", type=AnyPath)
@click.argument("data", type=AnyPath)
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test"]),
    cls=FromSignature,
    source=EVALUATE,
    help="The split whose photos are the queries.",
)
@click.option(
    "--report", type=AnyPath, help="Write report.html, with photos, and evaluation.json here."
)
@click.option(
    "--cache",
    type=AnyPath,
    help="Folder of cached features (default: CATALENS_CACHE, or ~/.cache/catalens).",
)
@device_option(EVALUATE)
@json_option
def evaluate(model: Path, data: Path, report: Path | None, as_json: bool, **options: Any) -> None:
    """Measure MODEL on DATA.

    Classification, retrieval and tags, each proportion with its 95% interval.
    """
    from indexer.evaluation.evaluate import measure
    from indexer.evaluation.report import write_report

    with stages() as callback:
        found = measure(model, data, progress=callback, **given(**options))
    if report is not None:
        names = {
            "model": model.resolve().name,
            "data": (data if data.is_dir() else data.parent).resolve().name,
        }
        say(f"report: {write_report(found, report, **names)}")
    answer(found.figures, as_json, _show_figures)


def _show_figures(figures: dict[str, Any]) -> None:
    intervals = figures.get("intervals") or {}

    def row(name: str, value: Any) -> tuple[str, str, str]:
        low_high = intervals.get(name)
        return name, cell(value), f"{low_high[0]:.3f} to {low_high[1]:.3f}" if low_high else ""

    rows = [row(name, figures.get(name)) for name in HEADLINES]
    rows += [row(f"tags.{name}", value) for name, value in (figures.get("tags") or {}).items()]
    for name, both in (figures.get("attributes") or {}).items():
        rows += [row(f"{name}, {way}", value) for way, value in both.items()]
    table(("figure", "value", "95% interval"), rows)
