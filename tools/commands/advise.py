"""Command ``advise``: advice on training with a data set."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from tools.options import (
    AnyPath,
    FromSignature,
    NumberRange,
    cache_option,
    device_option,
    given,
    json_option,
    seed_option,
)
from tools.output import format_cell, print_result, print_table, say, show_labels, stages

# options that the comparison takes too
_SHARED = ("weights", "minutes", "seed", "cache", "device")
ADVISE = "indexer.training.advise:advise"


@click.command()
@click.argument("data", type=AnyPath)
@click.option(
    "--backbone", cls=FromSignature, source=ADVISE, help="Name of the pretrained network to probe."
)
@click.option("--weights", type=AnyPath, help="A file or folder with the backbone's weights.")
@click.option(
    "--compare",
    multiple=True,
    metavar="NAME",
    help="Also judge this network on the same photos; repeatable; local: all on this machine.",
)
@click.option(
    "--minutes",
    type=NumberRange(0, min_open=True),
    cls=FromSignature,
    source=ADVISE,
    help="What a training may take.",
)
@seed_option(ADVISE, help="Fixes the split where DATA has none.")
@cache_option
@device_option(ADVISE)
@json_option
def advise(data: Path, as_json: bool, compare: tuple[str, ...], **options: Any) -> None:
    """Inspect DATA and advise how to train on it.

    Counts, copies, photos that stand in two splits, likely wrong labels, what a linear probe
    reaches, what training will cost on this machine, and the command line to use.
    """
    from indexer.training.advise import advise as job

    with stages() as callback:
        found = job(data, progress=callback, **given(**options))
        if compare:
            from indexer.training.backbone_comparison import compare_backbones

            names = [found["recommendation"]["backbone"], *compare]
            shared = given(**{name: options[name] for name in _SHARED})
            found["comparison"] = asdict(
                compare_backbones(data, names, progress=callback, **shared)
            )
    print_result(found, as_json, _show)


def _show(found: dict[str, Any]) -> None:
    rows: list[tuple[str, Any]] = [
        (f"{name} photos", count) for name, count in found["photos"].items()
    ]
    rows += [("products", found["products"]), ("photos looked at", found["probed"])]
    for name, value in (found["categories"] or {}).items():
        rows.append((f"categories, {name.replace('_', ' ')}", value))
    rows += [
        ("exact copies", found["duplicates"]["photos"]),
        ("photos shown in an earlier split", found["leaks"]["photos"]),
        ("products in several splits", found["leaks"]["products"]),
        ("likely wrong labels", len(found["label_issues"])),
        ("labels in doubt", len(found["label_doubts"])),
        ("median short side, px", found["short_side_px"]["median"]),
        ("photos/s through the network here", found["speed"]["forward_per_s"]),
        ("photos/s in training here", found["speed"]["training_per_s"]),
        ("validation accuracy of a linear probe", found["probe"]["validation_accuracy"]),
        ("the same, always the commonest category", found["probe"]["majority"]),
        ("photos that cannot be used", len(found["skipped"])),
    ]
    print_table(
        ("", "value"),
        [(name, format_cell(value)) for name, value in rows],
        title=f"{found['data']}",
    )
    show_labels(found)
    if "comparison" in found:
        _show_comparison(found["comparison"])
    for reason in found["recommendation"]["reasons"]:
        say(f"because: {reason}")
    if found["recommendation"]["command"]:
        click.secho(found["recommendation"]["command"], bold=True)


def _show_comparison(found: dict[str, Any]) -> None:
    names = (
        *("accuracy", "hit_rate_at_1", "difference", "seconds_per_1000", "query_ms"),
        *("weights_mb", "linear_minutes", "finetune_epoch_minutes"),
    )
    print_table(
        ("network", *(name.replace("_", " ") for name in names)),
        [
            (score["backbone"], *map(format_cell, map(score.__getitem__, names)))
            for score in found["scores"]
        ],
        title=f"Frozen networks on {found['photos']} photos of {found['products']} products",
    )
    for note in found["notes"]:
        say(note)
