"""A model folder keeps what was trained, and refuses what was damaged, edited or never a model."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from indexer.core.errors import BadModelError, NewerFormatError
from indexer.core.native import torch
from indexer.imaging.decode import Photo, decode_photo
from indexer.model import backbones
from indexer.model.bundle import Bundle, load_bundle, write_bundle
from indexer.model.decision_layer import Category, Decision, TagParams
from indexer.model.network import Network
from indexer.model.open_runtime import open_embedder
from indexer.model.spec import FORMAT, Block, Head, ModelSpec
from indexer.model.tag_rule import TagGroup, TagRule

DECISION = Decision(
    categories=(Category(0, ("Home", "Mug")), Category(1, ("Home", "杯子"))),
    temperature=0.7,
    tags=TagParams(5, 0.1, 0.2),
    tag_rule=TagRule(
        (TagGroup("colour", ("red", "杯"), {"g": 1.0}, head=0.5),), seen={"red": 3}, size=9
    ),
)


def make_network(
    seed: int = 0, backbone: str = "mobilenet_v3_small", *, classes: int = 2
) -> Network:
    """A whole model of random weights: right shapes, no meaning."""
    found = backbones.find(backbone)
    spec = ModelSpec(
        FORMAT,
        found.name,
        found.feature_dim,
        "fp32",
        found.preprocess,
        (Block("a", 24, 0.5), Block("g", 16, 0.5)),
        (Head("category", tuple(range(classes)), several=False),),
        colours=1,
    )
    torch.manual_seed(seed)
    network = Network(spec, backbones.build(backbone, random=True))
    with torch.no_grad():
        network.neck.general.copy_(torch.randn(16, found.feature_dim))
    return network.eval()


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(
        tmp_path_factory.mktemp("model") / "m",
        make_network(),
        DECISION,
        metrics={"x": 1},
        training={"seed": 3},
    )


@pytest.fixture
def copy(stored: Bundle, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(stored.path, tmp_path / "copy"))


@pytest.fixture(scope="module")
def photo() -> Photo:
    import io

    from PIL import Image

    rng = np.random.default_rng(0)
    stream = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (300, 260, 3), np.uint8)).save(stream, "PNG")
    return decode_photo(stream.getvalue())


def test_round_trip_gives_the_same_vectors_logits_and_decisions(
    stored: Bundle, photo: Photo
) -> None:
    """Training and serving run the same network: what was written is what is loaded."""
    from indexer.model.torch_runtime import TorchRuntime

    before, after = TorchRuntime(make_network(), device="cpu"), open_embedder(stored, device="cpu")
    vectors = after.embed([photo])
    np.testing.assert_allclose(vectors, before.embed([photo]), atol=1e-6)
    np.testing.assert_allclose(
        after.logits(vectors)["category"], before.logits(vectors)["category"], atol=1e-6
    )
    assert stored.decision == DECISION
    assert (stored.metrics, stored.training) == ({"x": 1}, {"seed": 3})


def test_a_decision_from_before_tag_rules_votes_plainly() -> None:
    """Formats only grow: without the key the model's k, temperature, bars and the heads' share
    hold."""
    old = DECISION.to_json()
    del old["tag_rule"]
    old["tags"]["heads"] = 0.25
    old["tag_thresholds"] = {"red": 0.6}
    rule = Decision.from_json(old, where="here").tagging()
    assert (rule.groups, rule.rest) == ((), TagGroup(k=5, temperature=0.1, head=0.25, vote=0.75))
    assert (rule.bar("red"), rule.bar("blue")) == (0.6, 0.2)


def test_vectors_are_unit_blocks_by_weight(stored: Bundle, photo: Photo) -> None:
    """Cosine is the weighted sum of block cosines only if every block has
    the length sqrt(weight)."""
    vector = open_embedder(stored, device="cpu").embed([photo])[0]
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-5)
    assert np.linalg.norm(vector[:24]) == pytest.approx(0.5**0.5, abs=1e-5)


def test_same_content_has_the_same_identities(stored: Bundle, tmp_path: Path) -> None:
    again = write_bundle(
        tmp_path / "again", make_network(), DECISION, metrics={"x": 1}, training={"seed": 3}
    )
    assert (again.model_version, again.embedding_id) == (stored.model_version, stored.embedding_id)


def test_a_new_label_changes_the_model_and_not_the_embedding(
    stored: Bundle, tmp_path: Path
) -> None:
    """Adding a class or renaming one never re-embeds a catalog."""
    renamed = Decision(categories=(Category(0, ("Cup",)), Category(1, ("Tasse",))))
    other = write_bundle(tmp_path / "other", make_network(), renamed, metrics={}, training={})
    assert other.model_version != stored.model_version
    assert other.embedding_id == stored.embedding_id


def test_one_changed_weight_changes_the_embedding_id(stored: Bundle, tmp_path: Path) -> None:
    network = make_network()
    with torch.no_grad():
        next(network.backbone.parameters()).view(-1)[0] += 1e-3
    assert (
        write_bundle(tmp_path / "o", network, DECISION, metrics={}, training={}).embedding_id
        != stored.embedding_id
    )


@pytest.mark.parametrize(
    "name",
    ["embedding.safetensors", "heads.safetensors", "spec.json", "decision.json", "metrics.json"],
)
def test_a_flipped_byte_is_refused_and_the_file_named(copy: Path, name: str) -> None:
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(bytes(data))
    with pytest.raises(BadModelError, match=name):
        load_bundle(copy)


def test_a_missing_file_is_named(copy: Path) -> None:
    (copy / "decision.json").unlink()
    with pytest.raises(BadModelError, match=r"decision\.json is missing"):
        load_bundle(copy)


def test_no_folder_no_model(tmp_path: Path) -> None:
    with pytest.raises(BadModelError, match="not a model folder"):
        load_bundle(tmp_path / "nothing")


def test_a_newer_model_says_upgrade(copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "format": 2}))
    with pytest.raises(NewerFormatError, match="format 2"):
        load_bundle(copy)


def test_a_pickle_is_never_loaded(copy: Path) -> None:
    """Even with a checksum that fits, weights are read as safetensors only."""
    file = copy / "embedding.safetensors"
    file.write_bytes(pickle.dumps({"weights": [1, 2, 3]}))
    certify(file)
    bundle = load_bundle(copy)
    with pytest.raises(BadModelError, match="not a safetensors file"):
        bundle.network()


def certify(file: Path) -> None:
    """Write the checksum of ``file`` into its model's manifest, as a stranger would."""
    from indexer.core.atomic_files import canonical_json, sha256_file

    manifest = json.loads((file.parent / "manifest.json").read_text())
    manifest["files"][file.name] = {"sha256": sha256_file(file), "size": file.stat().st_size}
    sums = {name: known["sha256"] for name, known in manifest["files"].items()}
    manifest["model_version"] = "m" + hashlib.sha256(canonical_json(sums)).hexdigest()[:16]
    (file.parent / "manifest.json").write_text(json.dumps(manifest))


def test_a_model_takes_no_more_memory_than_its_weights(tmp_path: Path) -> None:
    """A stranger's spec can name a network of gigabytes beside a file of nothing: it is refused
    before any of it is made."""
    made = write_bundle(
        tmp_path / "m", make_network(0, "timm:test_vit"), DECISION, metrics={}, training={}
    )
    file = made.path / "spec.json"
    spec = json.loads(file.read_text())
    file.write_text(json.dumps({**spec, "backbone": spec["backbone"] + "?reg_tokens=4000000"}))
    certify(file)
    with pytest.raises(BadModelError, match=r"reg_token.* is missing"):
        load_bundle(made.path).network()


def test_a_model_is_not_written_over_something_else(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_bytes(b"precious")
    with pytest.raises(BadModelError, match="not a model folder"):
        write_bundle(
            tmp_path / "photos", make_network(), DECISION, metrics={}, training={}, replace=True
        )
    assert (tmp_path / "photos" / "holiday.jpg").read_bytes() == b"precious"


def test_a_failed_write_keeps_the_old_model(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk while saving leaves the previous model whole."""
    import indexer.model.bundle as module

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = load_bundle(copy)
    monkeypatch.setattr(module, "write_json", full)
    with pytest.raises(OSError, match="No space"):
        write_bundle(copy, make_network(seed=1), DECISION, metrics={}, training={}, replace=True)
    assert load_bundle(copy).model_version == before.model_version
    assert not list(copy.parent.glob(".copy*"))
