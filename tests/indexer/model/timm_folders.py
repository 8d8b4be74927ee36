"""Folders of random weights of timm's tiny test networks, as the hub would hold them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from indexer.core.native import torch

DATA = ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode", "license")


def random_folder(folder: Path, architecture: str, **changes: Any) -> Path:
    """Write ``config.json`` and ``model.safetensors`` of ``architecture``, drawn from a seed.

    ``changes`` replace entries of its ``pretrained_cfg``.
    """
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(3)
    network = timm.create_model(architecture, pretrained=False)
    folder.mkdir(parents=True)
    save_file(network.state_dict(), folder / "model.safetensors")
    known = {key: network.pretrained_cfg[key] for key in DATA if key in network.pretrained_cfg}
    config = {"architecture": architecture, "pretrained_cfg": {**known, **changes}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder
