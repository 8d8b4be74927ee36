"""Command ``train``: training of a model."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from tools.options import (
    AnyPath,
    CountRange,
    FromSignature,
    NumberRange,
    OutputPath,
    cache_option,
    device_option,
    given,
    json_option,
    seed_option,
)
from tools.output import log, print_result, print_table, show_labels, stages

# skipped rows and folders that are listed
_SHOWN = 10
TRAIN = "indexer.training.options:TrainingOptions"


class StageOutput(click.ParamType):
    """A number of stages, or ``all``, which is more than any backbone has."""

    name = "N|all"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        return sys.maxsize if value == "all" else int(CountRange(0).convert(value, param, ctx))


@click.command()
@click.argument("data", type=AnyPath)
@click.option("--out", type=OutputPath, required=True, help="The model folder to write.")
@click.option(
    "--backbone",
    cls=FromSignature,
    source=TRAIN,
    help="Name of the pretrained network, timm:NAME, or open_clip:NAME (docs/guides/backbones.md).",
)
@click.option("--weights", type=AnyPath, help="A file or folder with the backbone's weights.")
@click.option(
    "--recipe",
    type=click.Choice(["linear", "finetune"]),
    cls=FromSignature,
    source=TRAIN,
    help="linear: seconds, the backbone stays frozen. finetune: minutes, the backbone learns too.",
)
@click.option(
    "--look",
    type=click.Choice(["auto", "crop", "whole", "rect", "both"]),
    cls=FromSignature,
    source=TRAIN,
    help="What of a photo the network is shown; auto: what validation prefers.",
)
@click.option(
    "--text-tower/--no-text-tower",
    default=None,
    help="open_clip: keep the text tower in the model, with block t.  [default: yes]",
)
@click.option(
    "--colour-attribute",
    metavar="NAME|none",
    cls=FromSignature,
    source=TRAIN,
    help="The attribute that names a colour; auto: the one that photos' colours tell.",
)
@click.option(
    "--epochs",
    type=CountRange(1),
    help="Passes over the train photos.  [default: the recipe's]",
)
@click.option(
    "--lr",
    type=NumberRange(0, min_open=True),
    help="Peak learning rate.  [default: the recipe's]",
)
@click.option("--batch-size", type=CountRange(2), help="Photos per step.  [default: the recipe's]")
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
@cache_option
@device_option(TRAIN)
@json_option
def train(data: Path, out: Path, as_json: bool, **options: Any) -> None:
    """Train a model on DATA.

    DATA is a folder of class folders, or a manifest (.csv, .jsonl, .parquet). The model is written
    as a folder. Started by torchrun, the processes share the fine-tuning.
    """
    from indexer.core.progress import no_progress
    from indexer.training.distributed import team
    from indexer.training.options import TrainingOptions
    from indexer.training.train import train as job

    chosen = TrainingOptions(**given(**options))
    with team(options["device"] or "auto") as members:
        with stages() if members.rank == 0 else nullcontext(no_progress) as callback:
            report = job(data, out, chosen, progress=callback, team=members)
        if members.rank > 0:
            return
    print_result(report, as_json, lambda document: _show_training(document, out))


def _show_training(report: dict[str, Any], out: Path) -> None:
    flat = {
        name: value for name, value in report.items() if isinstance(value, (str, int, float, bool))
    }
    print_table(("", "value"), flat.items(), title=f"Trained {out}")
    show_labels(report)
    skipped = report["skipped"]
    for entry in skipped[:_SHOWN]:
        log(f"skipped {entry['where']}: {entry['reason']}")
    if len(skipped) > _SHOWN:
        log(f"... and {len(skipped) - _SHOWN} more; --json lists all")
    log(
        f"next: catalens evaluate {out} DATA, or catalens index build --home HOME --model {out} "
        "--activate"
    )
