"""Folders of random image and text pairs of open_clip, as the hub would hold them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from indexer.core.native import torch

SIDE = 32
NAME = "open_clip:ViT-S-32"
VISION = {"image_size": SIDE, "layers": 2, "width": 64, "patch_size": 8, "head_width": 32}
TEXT = {
    "context_length": 8,
    "vocab_size": 40,
    "hf_tokenizer_name": "tests/tiny",
    "tokenizer_kwargs": {"clean": "canonicalize"},
    "width": 32,
    "heads": 2,
    "layers": 1,
    "no_causal_mask": True,
    "proj_bias": True,
    "pool_type": "last",
}
WORDS = ("red", "blue", "green", "thing", "a", "photo", "of", "红色")


def random_pair(folder: Path, *, text: Mapping[str, Any] = TEXT, tokenizer: bool = True) -> Any:
    """Write the files of a tiny pair, drawn from a seed; returns open_clip's own model of it."""
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(5)
    config = {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": dict(text), "custom_text": True}
    pair = open_clip.CustomTextCLIP(24, dict(VISION), dict(text)).eval()
    folder.mkdir(parents=True)
    save_file(pair.state_dict(), folder / "open_clip_model.safetensors")
    about = {"model_cfg": config, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(about))
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    if tokenizer:
        (folder / "tokenizer.json").write_text(tiny_tokenizer())
        (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": "[PAD]"}))
    return pair


def tiny_tokenizer() -> str:
    """Words of a list, by their places, with a mark behind them."""
    import tokenizers
    from tokenizers import models, pre_tokenizers, processors

    pieces = ["[PAD]", "[UNK]", "[EOS]", *WORDS]
    vocabulary = {piece: place for place, piece in enumerate(pieces)}
    made = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="$A [EOS]", special_tokens=[("[EOS]", 2)]
    )
    return str(made.to_str())


def plant(folder: Path, pair: Any, meanings: Mapping[str, Any]) -> None:
    """Change the text tower's last layer so that each text is told as a photo is.

    ``meanings``: text -> photo float32 [3, SIDE, SIDE], as the network takes it.
    """
    from safetensors.torch import save_file
    from tokenizers import Tokenizer

    made = Tokenizer.from_file(str(folder / "tokenizer.json"))
    made.enable_padding(length=TEXT["context_length"])
    rows = torch.tensor([made.encode(text).ids for text in meanings])
    last = pair.text.text_projection
    with torch.no_grad():
        wanted = pair.encode_image(torch.stack(list(meanings.values())), normalize=True)
        pair.text.text_projection = None
        hidden = pair.encode_text(rows)
        middle = hidden.mean(0)
        last.weight.copy_((torch.linalg.pinv(hidden - middle) @ (wanted - wanted.mean(0))).T)
        last.bias.copy_(wanted.mean(0) - last.weight @ middle)
        pair.text.text_projection = last
    save_file(pair.state_dict(), folder / "open_clip_model.safetensors")
