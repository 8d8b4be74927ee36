"""The ways torch runs the network: memory that runs out halves the batch, heads need no owner,
compiled is alike."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from indexer.core.errors import OutOfMemoryError
from indexer.core.native import torch
from indexer.imaging.decode import Photo
from indexer.imaging.margins import pad_to_square
from indexer.model import torch_runtime
from indexer.model.backbones import find
from indexer.model.bundle import write_bundle
from indexer.model.decision_layer import Decision
from indexer.model.open_runtime import open_embedder
from indexer.model.openvino_runtime import cosines
from indexer.model.preprocessing import with_look
from indexer.model.torch_runtime import TorchRuntime
from tests.indexer.model.test_bundle import make_network


@pytest.fixture(scope="module")
def photos() -> list[Photo]:
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (240, 230, 3), np.uint8)) for _ in range(7)]
    return [Photo(picture, "PNG", 230, 240, str(number)) for number, picture in enumerate(pictures)]


def starved(runtime: TorchRuntime, fits: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Make batches of more than ``fits`` photos fail as a full GPU does; the sizes
    that were tried."""
    whole, tried = runtime._extract, []

    def described(pixels: np.ndarray, whole_: bool) -> Any:
        tried.append(len(pixels))
        if len(pixels) > fits:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return whole(pixels, whole_)

    monkeypatch.setattr(runtime, "_extract", described)
    return tried


def test_memory_that_runs_out_halves_the_batch_and_loses_nothing(
    photos: list[Photo], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every photo gets its own vector all the same, and the next call begins with the size that
    fitted."""
    runtime = TorchRuntime(make_network(), device="cpu")
    wanted = runtime.embed(photos)
    tried = starved(runtime, 1, monkeypatch)
    np.testing.assert_allclose(runtime.embed(photos), wanted, atol=1e-5)
    assert tried == [4, 2, *[1] * 7]
    tried.clear()
    runtime.embed(photos[:3])
    assert tried == [1, 1, 1]


def test_memory_for_not_even_one_photo_is_a_clear_failure(
    photos: list[Photo], monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = TorchRuntime(make_network(), device="cpu")
    starved(runtime, 0, monkeypatch)
    with pytest.raises(OutOfMemoryError, match="no memory for one photo"):
        runtime.embed(photos)


def test_heads_give_what_the_network_gives(photos: list[Photo]) -> None:
    network = make_network()
    runtime = TorchRuntime(network, device="cpu")
    vectors = runtime.embed(photos)
    with torch.inference_mode():
        wanted = network.heads(torch.from_numpy(vectors))["category"].numpy()
    np.testing.assert_allclose(runtime.logits(vectors)["category"], wanted, atol=1e-4)


def test_where_compiling_fails_the_plain_network_answers_and_it_is_said(
    tmp_path: Path,
    photos: list[Photo],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no C++ compiler\nand more")

    bundle = write_bundle(tmp_path / "m", make_network(), Decision(), metrics={}, training={})
    monkeypatch.setattr(torch, "compile", broken)
    runtime = open_embedder(bundle, device="cpu", engine="compiled")
    assert runtime.engine == "torch"
    printed = capsys.readouterr()
    assert "cannot be used" in printed.out + printed.err
    assert "no C++ compiler" in printed.out + printed.err


@pytest.mark.long
def test_a_compiled_network_gives_the_plain_ones_vectors(
    tmp_path: Path, photos: list[Photo], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced by torch.compile's front end; what the back end does with it depends on the machine's
    compiler."""
    bundle = write_bundle(tmp_path / "m", make_network(), Decision(), metrics={}, training={})
    compile_ = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda module, **_: compile_(module, backend="eager", dynamic=False)
    )
    runtime = open_embedder(bundle, device="cpu", engine="compiled")
    assert runtime.engine == "compiled"
    plain = open_embedder(bundle, device="cpu", engine="torch")
    for count in (1, 3, 7):
        assert cosines(runtime.embed(photos[:count]), plain.embed(photos[:count])).min() > 0.99999
    np.testing.assert_allclose(
        runtime.extract_features(photos[:3]), plain.extract_features(photos[:3]), atol=1e-3
    )


def test_float32_is_float32_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """cuDNN multiplies in TF32 by default; a runtime on a GPU switches that off before it opens."""
    flags = [torch.backends.cudnn, torch.backends.cuda.matmul]
    before = [flag.allow_tf32 for flag in flags]
    for flag in flags:
        flag.allow_tf32 = True

    class Network:
        spec = SimpleNamespace(preprocess=find("efficientnet_lite0").preprocess)

        def eval(self) -> Any:
            raise StopIteration

    monkeypatch.setattr(torch_runtime, "choose_device", lambda _device: "cuda")
    with pytest.raises(StopIteration):
        TorchRuntime(Network())  # type: ignore[arg-type]
    found = [flag.allow_tf32 for flag in flags]
    for flag, value in zip(flags, before, strict=True):
        flag.allow_tf32 = value
    assert found == [False, False]


def test_cuda_graphs_stay_in_one_thread() -> None:
    """The probe at the start and every request: a graph belongs to who recorded it."""
    runtime = TorchRuntime.__new__(TorchRuntime)
    runtime._owner = ThreadPoolExecutor(1)
    threads: list[int] = []

    def run_here(*_: Any) -> np.ndarray:
        threads.append(threading.get_ident())
        return np.zeros((0, 1), np.float32)

    runtime._run_here = run_here  # type: ignore[method-assign]
    with ThreadPoolExecutor(3) as pool:
        for _ in range(6):
            pool.submit(runtime._run, [], lambda pixels: pixels, 1).result()
    assert set(threads) == {threads[0]} != {threading.get_ident()}
    runtime._owner.shutdown()


@pytest.mark.parametrize("look", ["rect", "both"])
def test_photos_of_several_forms_keep_their_places(look: str) -> None:
    """Wide, tall and square ones in one call: each has the vector that it has alone."""
    network = make_network()
    network.spec = network.spec.with_preprocess(with_look(network.spec.preprocess, look))
    runtime = TorchRuntime(network, device="cpu")
    rng = np.random.default_rng(3)
    photos = []
    for width, height in [(60, 60), (60, 80), (80, 60), (60, 62), (60, 90), (61, 60), (90, 60)]:
        picture = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
        photos.append(Photo(picture, "PNG", width, height, f"{width} {height}"))
    together = runtime.embed(photos)
    alone = np.concatenate([runtime.embed([photo]) for photo in photos])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert runtime.embed([]).shape == (0, runtime.spec.dim)


def test_a_photo_seen_twice_is_the_mean_of_both_views() -> None:
    """Of unit features, the middle square's and those of all of the photo in margins."""
    network = make_network()
    plain = network.spec.preprocess
    rng = np.random.default_rng(4)
    picture = Image.fromarray(rng.integers(0, 256, (60, 100, 3), np.uint8))
    padded = pad_to_square(picture)
    found = {}
    for name, shown, look in [
        ("middle", picture, "crop"),
        ("all", padded, "whole"),
        ("both", picture, "both"),
    ]:
        network.spec = network.spec.with_preprocess(with_look(plain, look))
        photo = Photo(shown, "PNG", *shown.size, name)
        runtime = TorchRuntime(network, device="cpu")
        found[name] = runtime.extract_features([photo])[0]
    width = network.spec.feature_dim
    units = [
        found[name][:width] / np.linalg.norm(found[name][:width]) for name in ("middle", "all")
    ]
    assert cosines([found["both"][:width]], [np.mean(units, axis=0)])[0] > 0.9995
    colours = np.mean([found[name][width:] for name in ("middle", "all")], axis=0)
    np.testing.assert_allclose(found["both"][width:], colours, atol=0.02)
