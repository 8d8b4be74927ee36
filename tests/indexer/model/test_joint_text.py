"""Text tower of an image and text pair; all weights are random, which says nothing of quality."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer.core.errors import BadModelError, WeightsUnavailableError
from indexer.core.native import torch
from indexer.imaging.decode import decode_photo
from indexer.model import backbones, joint_encoder, joint_text
from indexer.model.bundle import TEXT_FILES, Bundle, load_bundle
from indexer.model.gradcam import category_direction, category_map, pair_maps
from indexer.model.joint_encoder import JointEncoder
from indexer.model.joint_text import read_text_tower
from indexer.model.open_runtime import open_embedder
from indexer.model.text_packages import CLEANINGS, cleaner
from indexer.training.export import export
from indexer.training.options import TrainingOptions
from indexer.training.train import train
from tests.indexer.model.pair_folders import NAME, TEXT, plant, random_pair

open_clip = pytest.importorskip("open_clip")
pytest.importorskip("tokenizers")


def two_colours(folder: Path) -> Path:
    """Eight photos each of a red and of a blue thing, of the size that the network sees."""
    for kind, colour in (("red", (220, 20, 20)), ("blue", (20, 20, 220))):
        (folder / kind).mkdir(parents=True)
        for number in range(8):
            picture = Image.new("RGB", (32, 32), (250, 250, 250))
            picture.paste(tuple(value + 2 * number for value in colour), (4 + number, 2, 24, 30))
            picture.save(folder / kind / f"{number}.png")
    return folder


def pixels(folder: Path, kind: str) -> torch.Tensor:
    picture = np.asarray(Image.open(folder / kind / "0.png"), np.float32) / 255
    return torch.from_numpy((picture - 0.5) / 0.5).permute(2, 0, 1)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_colours(tmp_path_factory.mktemp("pair") / "photos")


@pytest.fixture(scope="module")
def weights(photos: Path) -> Path:
    """A pair whose words "red" and "blue" mean the first photo of either colour."""
    folder = photos.parent / "weights"
    pair = random_pair(folder)
    plant(folder, pair, {kind: pixels(photos, kind) for kind in ("red", "blue")})
    return folder


def options(weights: Path, photos: Path, **changes: object) -> TrainingOptions:
    return TrainingOptions(
        **{
            "backbone": NAME,
            "weights": weights,
            "epochs": 2,
            "batch_size": 8,
            "device": "cpu",
            "look": "whole",
            "cache": photos.parent / "cache",
            **changes,
        }
    )


@pytest.fixture(scope="module")
def bundle(photos: Path, weights: Path) -> Bundle:
    report = train(photos, photos.parent / "model", options(weights, photos))
    return load_bundle(report.model)


def test_a_trained_pair_answers_words_in_block_t(bundle: Bundle, photos: Path) -> None:
    """Block t is the published tower's own vector, and a text lies beside the photo it means."""
    block = bundle.spec.block("t")
    assert block is not None
    assert block.weight >= 0.1
    assert bundle.training["weights_origin"]["licence"] == "mit"
    files = sorted(photos.rglob("*.png"))
    vectors = open_embedder(bundle, device="cpu").embed(
        [decode_photo(file.read_bytes()) for file in files]
    )
    of_words = vectors[:, bundle.spec.block_slice("t")] / block.weight**0.5
    np.testing.assert_allclose(np.linalg.norm(of_words, axis=1), 1, atol=1e-5)
    texts = JointEncoder(bundle).encode(["Red!", "blue"])
    nearest = [files[place].parent.name for place in (of_words @ texts.T).argmax(0)]
    assert nearest == ["red", "blue"]


def test_texts_are_encoded_as_open_clip_does(bundle: Bundle, weights: Path) -> None:
    """The tower in the model folder gives what the published pair gives for the same pieces."""
    from safetensors.torch import load_file

    from tests.indexer.model.pair_folders import VISION, WORDS

    pair = open_clip.CustomTextCLIP(24, dict(VISION), dict(TEXT)).eval()
    pair.load_state_dict(load_file(weights / "open_clip_model.safetensors"))
    row = [3 + WORDS.index(word) for word in ("a", "photo", "of", "red")] + [2, 0, 0, 0]
    with torch.inference_mode():
        wanted = pair.encode_text(torch.tensor([row]), normalize=True).numpy()
    found = JointEncoder(bundle).encode(["A photo of  red."])
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.fixture(scope="module")
def fast(bundle: Bundle, photos: Path) -> Bundle:
    """The trained pair, exported."""
    made = export(bundle.path, photos, photos.parent / "fast", numeric="fp32")
    return load_bundle(made["model"])


def test_an_exported_pair_reads_words_without_torch(
    bundle: Bundle, fast: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph gives the tower's vectors; where it gives others, the tower itself is asked."""
    texts = ["Red!", "a photo of  blue", "", "zebra_thing &amp; red", "a photo of red thing " * 9]
    wanted = JointEncoder(bundle).encode(texts)
    encoder = JointEncoder(fast)
    assert encoder.network is None
    np.testing.assert_allclose(encoder.encode(texts), wanted, atol=1e-5)
    script = (
        "import sys\n"
        "from indexer.model.bundle import load_bundle\n"
        "from indexer.model.joint_encoder import JointEncoder\n"
        "print(JointEncoder(load_bundle(sys.argv[1])).encode(['red']).shape)\n"
        "print({'torch', 'open_clip', 'transformers'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(fast.path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:2] == ["(1, 24)", "set()"]
    monkeypatch.setattr(Bundle, "text_probes", lambda _: np.ones((4, 24), np.float32))
    other = JointEncoder(fast)
    assert other.network is not None
    np.testing.assert_array_equal(other.encode(texts), wanted)


@pytest.mark.parametrize("kind", CLEANINGS)
def test_texts_are_cleaned_as_open_clip_cleans_them(kind: str) -> None:
    """Marks, entities, broken letters, spaces of any kind and capitals."""
    own, theirs = cleaner(kind), open_clip.tokenizer.get_clean_fn(kind)
    for text in (
        "",
        " A  Photo_of\u00a0Red!\n",
        "&amp;lt;b&amp;gt;",
        "schÃ¶n",
        "ÉCLAIR İ",
        "红色_T恤",
    ):
        assert own(text) == theirs(text)


def test_an_export_keeps_the_tower_and_explanations_work(
    bundle: Bundle, photos: Path, fast: Bundle
) -> None:
    """The graph gives torch's vectors, text files travel, and heat maps have the tower's cells."""
    assert {name: fast.checksums[name] for name in TEXT_FILES} == {
        name: bundle.checksums[name] for name in TEXT_FILES
    }
    shown = [decode_photo(file.read_bytes()) for file in sorted(photos.rglob("*.png"))[:3]]
    plain = open_embedder(bundle, device="cpu")
    graph = open_embedder(fast, device="cpu")
    assert (graph.engine, plain.engine) == ("openvino", "torch")
    np.testing.assert_allclose(graph.embed(shown), plain.embed(shown), atol=2e-4)
    direction = category_direction(plain.network, bundle.decision, bundle.decision.categories[0])
    heat = category_map(plain.network, plain.inputs(shown[:1]), direction)
    assert heat.shape == (4, 4)
    assert heat.max() == pytest.approx(1)
    maps = pair_maps(plain.network, plain.inputs(shown[:1]), plain.inputs(shown[1:2]))
    assert [one.block for one in maps] == [block.name for block in bundle.spec.blocks]


def test_fine_tuning_moves_the_tower_and_says_how_far(photos: Path, weights: Path) -> None:
    """A step is trained through the tower; the text files stay, and what moved is recorded."""
    chosen = options(weights, photos, recipe="finetune", epochs=1, look="auto")
    tuned = load_bundle(train(photos, photos.parent / "tuned", chosen).model)
    start = backbones.build(tuned.spec.backbone, weights=weights).state_dict()
    now = tuned.network().backbone.state_dict()
    assert any(not torch.equal(start[key], now[key]) for key in start)
    assert 0.5 < tuned.training["text_tower"]["kept_cosine"] < 1


def test_without_the_text_tower_a_model_is_one_of_photos(photos: Path, weights: Path) -> None:
    """``--no-text-tower`` gives no block t and no text files, and the same network."""
    chosen = options(weights, photos, text_tower=False)
    plain = load_bundle(train(photos, photos.parent / "plain", chosen).model)
    assert plain.spec.block("t") is None
    assert not set(TEXT_FILES) & set(plain.checksums)
    with pytest.raises(BadModelError, match="does not describe a text tower"):
        JointEncoder(plain)


def test_what_a_pair_lacks_is_said_in_words(tmp_path: Path) -> None:
    """A missing or foreign tokenizer, an image tower alone, a text tower of another package."""
    found = backbones.find(NAME, weights=_made(tmp_path, "none", tokenizer=False))
    with pytest.raises(WeightsUnavailableError, match=r"no tokenizer\.json.*huggingface\.co/tests"):
        read_text_tower(found, tmp_path / "none")
    _made(tmp_path, "small", text={**TEXT, "vocab_size": 6})
    with pytest.raises(BadModelError, match="has 11 pieces, the text tower knows 6"):
        read_text_tower(found, tmp_path / "small")
    folder = _made(tmp_path, "alone")
    from safetensors.torch import load_file, save_file

    file = folder / "open_clip_model.safetensors"
    state = load_file(file)
    save_file({key: one for key, one in state.items() if key.startswith("visual.")}, file)
    assert read_text_tower(found, folder) is None
    save_file({key: one for key, one in state.items() if "ln_final" not in key}, file)
    with pytest.raises(BadModelError, match=r"ln_final\.weight is missing"):
        read_text_tower(found, folder)
    save_file(state, file)
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["hf_model_name"] = "xlm-roberta-base"
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(BadModelError, match=r"xlm-roberta-base.*--no-text-tower"):
        read_text_tower(found, folder)


def test_clips_own_tokenizer_gives_its_own_pieces() -> None:
    """The tokenizer in a model gives what its own does, marks and fillings too."""
    own = open_clip.tokenizer.SimpleTokenizer()
    clean = open_clip.tokenizer.get_clean_fn("lower")
    config = {"text_cfg": {}, "pad_id": 0}
    made = joint_encoder.open_tokenizer(joint_text._clip_tokenizer(), config, "a model")
    for text in (
        "a photo of a cat",
        "Don't  WORRY: crème brûlée, 50%!",
        "红色连衣裙 🙂",
        "x " * 99,
    ):
        assert made.encode(clean(text)).ids == own([text])[0].tolist()


def test_a_damaged_text_tower_is_refused_by_name(bundle: Bundle, tmp_path: Path) -> None:
    """Numbers that no tower has are refused before any memory is taken."""
    import shutil

    config = json.loads((bundle.path / "text.json").read_text())
    for changes, words in (
        ({"width": 2**40}, "is none"),
        ({"layers": 10**6}, "layers is none"),
        ({"heads": 3}, "cannot be built"),
        # The mask of this length would take four terabytes, and no tensor of a file shows it.
        ({"context_length": 2**20}, "pieces is none"),
        ({"context_length": "77"}, "pieces is none"),
        ({"vocab_size": "60"}, "pieces is none"),
        ({"width": 64}, "not the text tower"),
        ({"nonsense": 1}, "cannot be built"),
    ):
        copy = tmp_path / words.replace(" ", "")
        shutil.copytree(bundle.path, copy, dirs_exist_ok=True)
        told = {**config, "text_cfg": {**config["text_cfg"], **changes}}
        (copy / "text.json").write_text(json.dumps(told))
        from dataclasses import replace

        with pytest.raises(BadModelError, match=words):
            JointEncoder(replace(bundle, path=copy))


def _made(folder: Path, name: str, **options: object) -> Path:
    random_pair(folder / name, **options)
    return folder / name
