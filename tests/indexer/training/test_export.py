"""An exported model gives the vectors of the one it came from, and is refused where it does not."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from indexer.catalog.store import open_catalog
from indexer.core.atomic_files import sha256_file
from indexer.core.errors import (
    BadModelError,
    BadRequestError,
    NotAlikeError,
    WeightsUnavailableError,
)
from indexer.core.native import torch
from indexer.imaging.decode import Photo, decode_photo
from indexer.model import open_runtime, openvino_runtime
from indexer.model.bundle import (
    MANIFEST,
    PARITY,
    PROBES,
    Bundle,
    _model_version,
    load_bundle,
    write_bundle,
)
from indexer.model.decision_layer import Category, Decision
from indexer.model.network import Network
from indexer.model.open_runtime import open_embedder
from indexer.model.openvino_runtime import cosines
from indexer.model.preprocessing import QUICK, to_pixels, with_look
from indexer.training import export as exporting
from indexer.training.export import MOST_LOST, _most_lost, export
from tests.service.conftest import COLOURS, KINDS, photo

pytestmark = pytest.mark.skipif(
    openvino_runtime.openvino() is None, reason="OpenVINO is not installed (the extra openvino)"
)


# Turns of each drawn photo: enough of them to calibrate int8 within its tolerance.
TURNS = (0, 8, 32)
_RECORDING = threading.Event()
CONNECTIONS: list[str] = []


@cache
def record_connections() -> None:
    """Note each look-up and each connection of this process while ``_RECORDING`` is set; an audit
    hook stays to the end."""

    def note(event: str, arguments: object) -> None:
        if event in ("socket.getaddrinfo", "socket.connect") and _RECORDING.is_set():
            CONNECTIONS.append(f"{event} {arguments!r}")

    sys.addaudithook(note)


@pytest.fixture(autouse=True)
def torch_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def traced_once() -> Iterator[None]:
    """All networks here have the shipped weights: their graph is traced once for what they see, and
    each export works on a copy."""
    traced: dict[object, tuple[Any, Network]] = {}
    trace = exporting.convert

    def convert(network: Network) -> Any:
        seen = network.spec.backbone, network.spec.preprocess
        if seen not in traced:
            # The graph's numbers may lie in the network's memory.
            traced[seen] = trace(network), network
        return traced[seen][0].clone()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "convert", convert)
        patch.setattr(exporting, "_TIMED", 8)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    with (folder / "products.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["product_id", "image", "category", "split"])
        for number, (kind, colour) in enumerate(
            (kind, colour) for kind in KINDS for colour in COLOURS
        ):
            for place, turn in enumerate(TURNS):
                name = f"{kind}-{colour}-{turn}.png"
                (folder / name).write_bytes(photo(kind, colour, turn=turn))
                split = "validation" if (number + place) % 3 == 0 else "train"
                writer.writerow([f"{number}-{turn}", name, kind, split])
    return folder / "products.csv"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The shipped network as it is, with categories so that the decision layer is seen to stay."""
    decision = Decision(categories=(Category(0, ("a",), ()), Category(1, ("b",), ())))
    folder = tmp_path_factory.mktemp("model") / "m"
    return write_bundle(
        folder, Network.frozen("efficientnet_lite0"), decision, metrics={}, training={"seed": 0}
    )


@pytest.fixture(scope="module")
def exported(
    model: Bundle, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """Reports by numeric class; the bundles stand where they say."""
    folder = tmp_path_factory.mktemp("exported")
    record_connections()
    _RECORDING.set()
    try:
        return {
            name: export(model.path, data, folder / name, numeric=name)
            for name in ("fp32", "bf16", "int8")
        }
    finally:
        _RECORDING.clear()


@pytest.mark.slow
def test_an_export_connects_to_nobody(exported: dict[str, dict[str, Any]]) -> None:
    """OpenVINO and NNCF would report their use to their makers: nothing looks up a name or opens a
    connection while a model is exported in all classes, telemetry's module included."""
    assert CONNECTIONS == []
    assert sys.modules.get("openvino_telemetry") is None


@pytest.fixture(scope="module")
def photos(data: Path) -> list[Photo]:
    """The validation photos, which judge an export and calibrate nothing."""
    with data.open(newline="", encoding="utf-8") as stream:
        names = [row["image"] for row in csv.DictReader(stream) if row["split"] == "validation"]
    return [decode_photo((data.parent / name).read_bytes()) for name in names]


@pytest.mark.parametrize("numeric", ["fp32", "bf16", "int8"])
@pytest.mark.slow
def test_every_runtime_is_within_the_stated_tolerance(
    numeric: str, exported: dict[str, dict[str, Any]], model: Bundle, photos: list[Photo]
) -> None:
    """Alone, together, beside others, and (but int8) by torch instead of OpenVINO: as near as was
    stated."""
    bundle = load_bundle(exported[numeric]["model"])
    own = open_embedder(model, device="cpu").embed(photos)
    least = bundle.parity["tolerance"]["cosine_mean"]
    quick = open_embedder(bundle, device="cpu")
    assert (quick.engine, quick.spec.numeric) == ("openvino", numeric)
    together = quick.embed(photos)
    ways = {
        "together": together,
        "alone": np.concatenate([quick.embed([one]) for one in photos]),
        "beside": quick.embed_features(
            np.stack([quick.extract_photo_features(quick.to_pixels(one)) for one in photos])
        ),
        "from features": quick.embed_features(quick.extract_features(photos)),
    }
    if numeric != "int8":
        ways["torch"] = open_embedder(bundle, device="cpu", engine="torch").embed(photos)
    assert cosines(together, own).mean() == pytest.approx(bundle.parity["cosine"]["mean"], abs=1e-4)
    for name, vectors in ways.items():
        assert cosines(vectors, own).mean() >= least, name
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for name in ("alone", "beside", "from features"):
        assert cosines(ways[name], together).min() > 0.9999, name


@pytest.mark.long
@pytest.mark.parametrize("numeric", ["fp32", "int8"])
def test_every_form_of_input_is_within_the_stated_tolerance(numeric: str, tmp_path: Path) -> None:
    """One graph is stored and probed in each form: a model of rectangles gives its own vectors for
    wide, tall and square photos."""
    network = Network.frozen("efficientnet_lite0")
    network.spec = network.spec.with_preprocess(with_look(network.spec.preprocess, "rect"))
    model = write_bundle(tmp_path / "m", network, Decision(), metrics={}, training={"seed": 0})
    forms = [(224, 224), (200, 300), (300, 200), (120, 400)]
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(32):
        drawn = Image.open(io.BytesIO(photo(KINDS[number % 4], "red", turn=number)))
        drawn.convert("RGB").resize(forms[number // 4 % 4]).save(folder / f"{number}.png")
    found = export(tmp_path / "m", folder, tmp_path / "out", numeric=numeric)
    own = open_embedder(model, device="cpu")
    quick = open_embedder(load_bundle(Path(found["model"])), device="cpu")
    photos = [decode_photo(file.read_bytes()) for file in sorted(folder.iterdir())]
    # Strips of eight drawings, mostly plain margin, are the hardest for int8.
    least = {"fp32": 0.995, "int8": 0.96}[numeric]
    vectors = quick.embed(photos)
    for form in forms:
        of_form = [place for place, one in enumerate(photos) if one.pixels.size == form]
        assert len(of_form) == 8
        apart = cosines(vectors[of_form], own.embed([photos[place] for place in of_form]))
        assert apart.mean() >= least, form
    alone = [quick.extract_photo_features(quick.to_pixels(one)) for one in photos]
    assert cosines(quick.embed_features(np.stack(alone)), vectors).min() > 0.9999
    kept = load_bundle(Path(found["model"])).probe_features()
    assert len(kept) == 3 * openvino_runtime.PROBES


@pytest.mark.slow
def test_int8_keeps_to_the_processor_unless_a_gpu_is_asked_for(
    exported: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    bundle = load_bundle(exported["int8"]["model"])
    assert open_embedder(bundle).engine == "openvino"
    with pytest.raises(WeightsUnavailableError, match="does not run on a GPU"):
        open_embedder(bundle, device="cuda")


@pytest.mark.slow
def test_each_numeric_class_has_an_embedding_of_its_own(
    exported: dict[str, dict[str, Any]], model: Bundle
) -> None:
    """So no index mixes them; heads and decision layer are the model's."""
    bundles = [model, *(load_bundle(found["model"]) for found in exported.values())]
    assert len({bundle.embedding_id for bundle in bundles}) == 4
    for bundle in bundles[1:]:
        assert bundle.decision.categories == model.decision.categories
        assert bundle.training["exported_from"] == model.model_version
        assert bundle.spec.preprocess == replace(
            model.spec.preprocess, interpolation=QUICK[model.spec.preprocess.interpolation]
        )
        assert bundle.parity["alike"] is True


@pytest.fixture
def copy(exported: dict[str, dict[str, Any]], tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(exported["int8"]["model"], tmp_path / "copy"))


def signed(folder: Path) -> Path:
    """The manifest after a change of files, as if it had been written so."""
    manifest = json.loads((folder / MANIFEST).read_text())
    for name, known in manifest["files"].items():
        known["sha256"] = sha256_file(folder / name)
        known["size"] = (folder / name).stat().st_size
    manifest["model_version"] = _model_version(manifest["files"])
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


@pytest.mark.slow
def test_a_graph_that_computes_otherwise_here_is_refused(copy: Path) -> None:
    """The probe pictures' features are kept: another processor that gives others is told to export
    again."""
    from safetensors.numpy import load_file, save_file

    kept = load_file(copy / PROBES)["features"]
    save_file({"features": np.ascontiguousarray(kept[:, ::-1])}, copy / PROBES)
    with pytest.raises(
        BadModelError, match=r"exported on another kind of processor.*catalens model export"
    ):
        open_embedder(load_bundle(signed(copy)), device="cpu")


@pytest.mark.slow
def test_a_damaged_graph_is_named(copy: Path) -> None:
    (copy / "graph.xml").write_text("<net>")
    with pytest.raises(BadModelError, match=r"graph\.xml was changed or damaged"):
        load_bundle(copy)
    with pytest.raises(BadModelError, match=r"graph\.xml cannot be read by OpenVINO"):
        open_embedder(load_bundle(signed(copy)), device="cpu")
    (copy / PARITY).unlink()
    with pytest.raises(BadModelError, match=r"parity\.json is missing"):
        load_bundle(copy)


@pytest.mark.slow
def test_without_openvino_bf16_runs_in_torch_and_int8_says_what_to_install(
    exported: dict[str, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    data: Path,
    model: Bundle,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(openvino_runtime, "openvino", lambda: None)
    monkeypatch.setattr(exporting, "openvino", lambda: None)
    monkeypatch.setattr(open_runtime, "openvino", lambda: None)
    assert open_embedder(load_bundle(exported["bf16"]["model"]), device="cpu").engine == "torch"
    with pytest.raises(WeightsUnavailableError, match=r"int8.*pip install 'catalens\[openvino\]'"):
        open_embedder(load_bundle(exported["int8"]["model"]), device="cpu")
    with pytest.raises(
        WeightsUnavailableError, match=r"not installed: pip install 'catalens\[openvino\]'"
    ):
        export(model.path, data, tmp_path / "out")


@pytest.mark.slow
def test_a_processor_without_bf16_runs_wider_and_says_so(
    exported: dict[str, dict[str, Any]],
    photos: list[Photo],
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    bundle = load_bundle(exported["bf16"]["model"])
    narrow = open_embedder(bundle, device="cpu").embed(photos)
    monkeypatch.setattr(openvino_runtime, "capabilities", lambda: frozenset({"FP32"}))
    wide = open_embedder(bundle, device="cpu")
    printed = capsys.readouterr()
    assert "has no bfloat16" in printed.out + printed.err
    assert cosines(wide.embed(photos), narrow).mean() >= 0.996


@pytest.mark.slow
def test_what_is_not_near_enough_is_not_written(
    model: Bundle, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "TOLERANCE", {"fp32": 1.1, "bf16": 1.1, "int8": 1.1})
    with pytest.raises(
        NotAlikeError, match=r"fp32: mean cosine .* \(at least 1\.1\), nearest of the same category"
    ):
        export(model.path, data, tmp_path / "out", numeric="fp32")
    assert not (tmp_path / "out").exists()


def test_a_loss_counts_beyond_what_chance_moves_only() -> None:
    """Of 400 photos nine lost and five won are noise; fourteen lost and none won are a loss."""
    before = np.ones(400, bool)
    before[:5] = False
    mixed, worse = ~before, before.copy()
    mixed[5:], mixed[5:14] = True, False
    worse[5:19] = False
    assert before.mean() - mixed.mean() <= _most_lost(before, mixed)
    assert before.mean() - worse.mean() > _most_lost(before, worse)
    assert _most_lost(before, before) == MOST_LOST


def test_wrong_questions_are_refused(model: Bundle, data: Path, tmp_path: Path) -> None:
    with pytest.raises(
        BadRequestError, match=r"unknown numeric class 'int4': use auto, fp32, bf16, int8"
    ):
        export(model.path, data, tmp_path / "out", numeric="int4")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    with pytest.raises(BadModelError, match="exists and is not a model folder"):
        export(model.path, data, tmp_path / "full")
    with pytest.raises(BadRequestError, match="holds no graph"):
        open_embedder(model, device="cpu", engine="openvino")
    with pytest.raises(BadRequestError, match="unknown engine"):
        open_embedder(model, device="cpu", engine="onnx")


@pytest.mark.slow
def test_an_exported_model_is_not_exported_again(
    exported: dict[str, dict[str, Any]], data: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadRequestError, match="is an exported model already"):
        export(Path(exported["fp32"]["model"]), data, tmp_path / "out")


@pytest.mark.parametrize("size", [(600, 600), (400, 711), (225, 224), (31, 900)])
def test_quick_pixels_are_the_plain_ones_but_for_rounding(
    size: tuple[int, int], model: Bundle
) -> None:
    """Where the box falls on whole px; elsewhere it is moved by half a px at most."""
    plain = replace(model.spec.preprocess, resize=224, crop=224)
    rng = np.random.default_rng(1)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8))
    image = coarse.resize(size, Image.Resampling.BICUBIC)
    quick = replace(plain, interpolation=QUICK[plain.interpolation])
    apart = np.abs(to_pixels(image, plain).astype(int) - to_pixels(image, quick).astype(int))
    whole = (max(size) - min(size)) % 2 == 0
    assert apart.mean() < (0.5 if whole else 4.0)
    assert apart.max() <= (8 if whole else 60)


def test_nothing_is_reported_to_the_makers_of_openvino() -> None:
    """Its package for that is kept from being loaded."""
    openvino_runtime.openvino()
    assert sys.modules["openvino_telemetry"] is None


@pytest.mark.slow
def test_an_index_of_an_exported_model_answers(
    exported: dict[str, dict[str, Any]], data: Path, tmp_path: Path
) -> None:
    """Built by threads side by side; a broken photo is left out alone; the service finds what was
    indexed."""
    from indexer.core.home import Home
    from indexer.feeds.import_options import ImportOptions
    from indexer.feeds.importer import import_feed
    from indexer.index_build.pipeline import build_index
    from indexer.model.registry import register_model
    from service.engine import Engine, Query
    from service.settings import Settings

    home = Home.create(tmp_path / "home")
    import_feed(home, data, ImportOptions(photos="reference"))
    with open_catalog(home) as catalog:
        products = [catalog.get(f"0-{turn}") for turn in TURNS]
        broken = catalog.photo(products[2].photos[0])
    assert broken is not None
    notes: list[str] = []
    name = data.parent / f"{KINDS[0]}-{next(iter(COLOURS))}-32.png"
    whole = name.read_bytes()
    try:
        name.write_bytes(whole[:100])
        report = build_index(
            home,
            register_model(home, exported["int8"]["model"]),
            activate=True,
            progress=lambda stage, done, total, note="": notes.append(note),
        )
    finally:
        name.write_bytes(whole)
    assert [skipped.content_hash for skipped in report.skipped] == [broken.content_hash]
    assert any(note.startswith(("network", "decode")) for note in notes)
    with Engine(Settings(home=home.path), watch=False) as engine:
        found = engine.search(Query(image=photo(KINDS[0], next(iter(COLOURS)), turn=8)), k=1)
    (first,) = found.content.results
    assert first.product_id == "0-8"
    assert first.score > 0.999


# Asks every question about a photo, as the service, then says whether torch was loaded meanwhile.
ASK = """
import sys
from pathlib import Path
import service.app
from service.engine import Engine
from service.query.query import Query
from service.settings import Settings

home, photo = map(Path, sys.argv[1:])
source = Query(image=photo.read_bytes())
with Engine(Settings(home=home)) as engine:
    service.app.create_app(engine, engine.settings)
    assert engine.describe(source, k=3).content.results
    assert engine.similar("0-8", k=3).content.results
    engine.classify(source), engine.tags(source)
print("torch" in sys.modules)
"""


@pytest.mark.long
def test_serving_an_exported_model_loads_no_torch(
    exported: dict[str, dict[str, Any]], data: Path, tmp_path: Path
) -> None:
    """Half a gigabyte and seconds of each start."""
    from indexer.core.home import Home
    from indexer.feeds.import_options import ImportOptions
    from indexer.feeds.importer import import_feed
    from indexer.index_build.pipeline import build_index
    from indexer.model.registry import register_model

    home = Home.create(tmp_path / "home")
    import_feed(home, data, ImportOptions(photos="reference"))
    build_index(home, bundle=register_model(home, exported["int8"]["model"]), activate=True)
    asked = tmp_path / "asked.png"
    asked.write_bytes(photo(KINDS[0], next(iter(COLOURS)), turn=3))
    command = [sys.executable, "-c", ASK, str(home.path), str(asked)]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "False"
