"""Extension points: a toy of each kind, defined here alone, is added and used from end to end."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import structlog
from flask import request
from flask_openapi import APIBlueprint
from PIL import Image

from indexer.core.errors import BadDataError, BadPolicyError, BadRequestError
from indexer.core.home import Home
from indexer.core.native import torch
from indexer.core.vectors import unit_rows
from indexer.feeds.feed_file import FeedFile
from indexer.feeds.reader import LostLines, Record, Table, open_table
from indexer.feeds.table import ReadOptions
from indexer.feeds.table_format import FORMATS, TableFormat
from indexer.imaging.decode import Photo, decode_photo
from indexer.index.base import Hits, IndexBackend, SearchParams, rescore, top_k
from indexer.index.live import LiveIndex
from indexer.index.registry import registered
from indexer.index.tuning import build_tuned
from indexer.index.version import Versions
from indexer.index.version_files import NewVersion
from indexer.index_build.cost_estimate import CostRates, try_build
from indexer.model import backbones
from indexer.model.bundle import load_bundle
from indexer.model.open_runtime import open_embedder
from indexer.model.pretrained_weights import WeightSource
from indexer.moderation.checker import Checker
from indexer.moderation.detector import (
    DETECTORS,
    BoundedConfig,
    Detector,
    Evidence,
    PhotoContext,
)
from indexer.moderation.policy import load_policies
from indexer.quality.advice_template import Advice
from indexer.quality.analyzed_photo import AnalyzedPhoto
from indexer.quality.assess import assess_quality
from indexer.quality.findings import FINDINGS, FindingSpec, Floors, Measure
from indexer.quality.profiles import MARKETPLACE, overall, profile
from indexer.quality.shop_percentiles import ShopQuality
from indexer.training.options import TrainingOptions
from indexer.training.train import train
from service.api import routes
from service.api.openapi import SECURITY, json_body
from service.api.parsing import read_json
from service.api.requests import RequestModel
from service.app import create_app
from service.settings import Settings

ROOT = Path(__file__).parents[2]


class DarknessRule(BoundedConfig):
    """Shares of black pixels that count; ``corner`` alone, or all of the photo."""

    corner: bool = False


class DarknessDetector(Detector[DarknessRule, np.ndarray]):
    """A toy: finds photos that are mostly black."""

    name = "darkness"
    config = DarknessRule

    def run(self, photo: Photo) -> np.ndarray:
        """Black pixels bool [H, W]."""
        return np.asarray(np.asarray(photo.pixels).max(axis=2) < 10)

    def judge(
        self, config: DarknessRule, seen: np.ndarray, context: PhotoContext
    ) -> list[Evidence]:
        """The share of black pixels."""
        part = seen[:2, :2] if config.corner else seen
        return [Evidence(float(part.mean()), config.bounds, {"box": context.upright((0, 0, 2, 2))})]


def test_a_detector_is_one_class(tmp_path: Path) -> None:
    """A registered detector has its section in the policy file, is run, judged and shown; without
    it the same file is refused by line."""
    file = tmp_path / "policy.yaml"
    file.write_text(
        "version: 1\n"
        "policies:\n"
        "  night:\n"
        "    darkness: {review: 0.2, block: 0.8}\n"
        "  corners:\n"
        "    action: review\n"
        "    darkness: {corner: yes}\n"
    )
    pixels = np.full((4, 4, 3), 200, np.uint8)
    pixels[:2, :2] = 0
    photo = Photo(Image.fromarray(pixels), "PNG", 8, 8, "content")
    with DETECTORS.registered(DarknessDetector()):
        policies = load_policies(file)
        assert [policy.detectors for policy in policies.policies] == [("darkness",)] * 2
        checker = Checker(policies)
        night, corners = checker.check(photo, None, None, None, None, results=checker.detect(photo))
        assert (night.decision, night.score) == ("review", 0.25)
        assert night.evidence == [
            {
                "detector": "darkness",
                "verdict": "review",
                "score": 0.25,
                "review": 0.2,
                "block": 0.8,
                "box": [0, 0, 4, 4],
            }
        ]
        assert (corners.decision, corners.score) == ("review", 1.0)
        broken = file.read_text().replace("0.2", "2")
        (tmp_path / "broken.yaml").write_text(broken)
        with pytest.raises(BadPolicyError, match=r"line 4: policies\.night\.darkness\.review must"):
            load_policies(tmp_path / "broken.yaml")
    with pytest.raises(BadPolicyError, match=r"line 4: policies\.night\.darkness unknown key"):
        load_policies(file)


class PairsTable(Table):
    """A toy: a product a line, as words with an equals sign."""

    format = "pairs"
    text = True

    def __init__(self, source: FeedFile, options: ReadOptions) -> None:
        super().__init__(source)
        self.columns = ["product_id", "title"]

    def records(self, lost: LostLines) -> Iterator[Record]:
        with self.source.open() as file:
            for number, line in enumerate(file, 1):
                yield Record(f"{self.name}:{number}", dict(self.pairs(line.decode())))

    def pairs(self, line: str) -> Iterator[tuple[str, str]]:
        for word in line.split():
            name, _, value = word.partition("=")
            yield name, value


def test_a_feed_format_is_one_module(tmp_path: Path) -> None:
    """A registered format recognises its files, gzipped ones too, and is read as the others are;
    without it the same file is refused."""
    path = tmp_path / "feed.pairs"
    path.write_bytes(gzip.compress(b"product_id=1 title=Hat\nproduct_id=2 title=Mug\n"))
    pairs = TableFormat("pairs", (".pairs",), lambda head: 4 * ("=" in head.text), PairsTable)
    with FORMATS.registered(pairs):
        table = open_table(path)
        assert (table.format, table.columns) == ("pairs", ["product_id", "title"])
        assert [record.values["title"] for record in table.records(LostLines())] == ["Hat", "Mug"]
    with pytest.raises(BadDataError, match="is no feed"):
        open_table(path)


def measure_green(photo: AnalyzedPhoto) -> Measure:
    """A toy check: how green the photo is."""
    share = float(photo.view.green.mean()) / 255
    return Measure(share, {"share": share}, (0, 0, *photo.size))


def test_a_quality_finding_is_one_spec() -> None:
    """A registered finding is measured, levelled, advised on, counted and compared with the shop;
    its floors can be set like all others."""
    spec = FindingSpec(
        "too-green",
        measure_green,
        floors={"studio": Floors(0.2, 0.4, 0.9), "marketplace": Floors(0.9, 0.95, 1.0)},
        advice=Advice(en="The photo is {share%} green.", zh="照片有 {share%} 是绿色。"),
    )
    pixels = np.full((64, 64, 3), 128, np.uint8)
    known = FINDINGS.names()
    with FINDINGS.registered(spec):
        findings = assess_quality(pixels)
        *others, green = findings
        assert [finding.code for finding in others] == list(known)
        assert (green.code, green.level, green.box) == ("too-green", "warning", (0, 0, 64, 64))
        assert green.score == pytest.approx(128 / 255)
        assert green.advice == {"en": "The photo is 50% green.", "zh": "照片有 50% 是绿色。"}
        assert assess_quality(pixels, profile=MARKETPLACE)[-1].level == "ok"
        strict = profile("studio", {"too-green": {"fail": 0.5}})
        assert assess_quality(pixels, profile=strict)[-1].level == "fail"
        assert 0 < overall([green], profile("studio")) < 1
        assert overall([green], strict) == 0
        shop = ShopQuality.measured([findings])
        assert shop.percentile("too-green", 0.9) == 1.0
    assert [finding.code for finding in assess_quality(pixels)] == list(known)


class ToyRequest(RequestModel):
    """A number to double."""

    number: int


def toy_route() -> ModuleType:
    """A module as it would lie in ``service/api/routes``: a blueprint with one call."""
    module = ModuleType("service.api.routes.toy")
    api = APIBlueprint("toy", module.__name__, url_prefix="/v1", abp_security=SECURITY)

    @api.post("/doubles", operation_id="double", request_body=json_body(ToyRequest))
    def double() -> dict[str, int]:
        """Twice a number."""
        return {"doubled": 2 * read_json(request, ToyRequest).number}

    module.__dict__["api"] = api
    return module


def test_a_route_is_one_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Named in ``service.api.routes``, a blueprint answers, checks what it reads, and stands in the
    document with its request model."""
    module = toy_route()
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(routes, "__all__", [*routes.__all__, "toy"])
    home = Home.create(tmp_path / "home")
    engine = SimpleNamespace(log=structlog.get_logger(), home=home)
    web = create_app(cast(Any, engine), Settings()).test_client()
    assert web.post("/v1/doubles", json={"number": 21}).get_json() == {"doubled": 42}
    refused = web.post("/v1/doubles", json={"numbr": 21})
    assert (refused.status_code, refused.get_json()["code"]) == (422, "invalid-request")
    document = web.get("/openapi.json").get_json()
    schema = document["paths"]["/v1/doubles"]["post"]["requestBody"]["content"]["application/json"]
    assert schema == {"schema": {"$ref": "#/components/schemas/ToyRequest"}}
    assert document["components"]["schemas"]["ToyRequest"]["required"] == ["number"]


class SeededWeights(WeightSource):
    """Weights of a toy network, drawn from a seed."""

    label = "a seed"
    way = "none needed"

    def local_file(self) -> Path | None:
        return None

    def load(self, backbone: str) -> dict[str, Any]:
        torch.manual_seed(3)
        return toy_network().state_dict()


def toy_network() -> Any:
    """A network of one layer: float32 [N, 3, 32, 32] -> [N, 12]."""
    layer = torch.nn.Conv2d(3, 12, 8, stride=8)
    pool = torch.nn.AdaptiveAvgPool2d(1)
    return torch.nn.Sequential(layer, torch.nn.ReLU(), pool, torch.nn.Flatten())


def test_a_backbone_is_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registered backbone is trained, bundled, loaded, and embeds as it did in training."""
    monkeypatch.setattr(backbones, "BACKBONES", dict(backbones.BACKBONES))
    backbones.register_backbone(
        backbones.Backbone("toy", 12, backbones.preprocessing(32, 36), toy_network, SeededWeights())
    )
    for kind, colour in (("red", (200, 30, 30)), ("blue", (30, 30, 200))):
        (tmp_path / "photos" / kind).mkdir(parents=True)
        for number in range(6):
            picture = Image.new("RGB", (48, 48), (250, 250, 250))
            picture.paste(tuple(value + number for value in colour), (4 + number, 6, 40, 44))
            picture.save(tmp_path / "photos" / kind / f"{number}.png")
    options = TrainingOptions(backbone="toy", recipe="linear", epochs=2, device="cpu")
    report = train(tmp_path / "photos", tmp_path / "model", options)
    bundle = load_bundle(tmp_path / "model")
    assert (bundle.spec.backbone, bundle.spec.feature_dim) == ("toy", 12)
    assert bundle.embedding_id == report.embedding_id
    runtime = open_embedder(bundle, device="cpu")
    photos = [decode_photo(path.read_bytes()) for path in sorted(tmp_path.rglob("*.png"))]
    vectors = runtime.embed(photos)
    assert vectors.shape == (12, bundle.spec.dim)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    features = runtime.extract_features(photos)
    np.testing.assert_allclose(runtime.embed_features(features), vectors, atol=1e-5)
    drawn = SeededWeights().load("toy")
    for name, tensor in runtime.network.backbone.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), drawn[name].numpy())


class SignIndex(IndexBackend):
    """A toy engine: rows by the signs of some random projections, the rest by the stored vectors.

    Effort is how many bits of a row's code may differ from the query's.
    """

    prefixes = ("SIGN",)
    file_name = "index.sign"

    def __init__(
        self, recipe: str, stored: np.ndarray, planes: np.ndarray, params: dict[str, Any]
    ) -> None:
        self.kind = "sign"
        self.recipe = recipe
        self.dim = int(stored.shape[1])
        self.params = params
        self._stored = np.asarray(stored, np.float32)
        self._planes = planes
        self._codes = self._stored @ planes > 0

    @classmethod
    def build(
        cls,
        recipe: str,
        vectors: np.ndarray,
        *,
        device: str = "cpu",
        seed: int = 0,
        block_dims: Sequence[int] = (),
        unseen: np.ndarray | None = None,
    ) -> SignIndex:
        bits = int(recipe.removeprefix("SIGN"))
        planes = np.random.default_rng(seed).normal(size=(vectors.shape[1], bits))
        return cls(recipe, vectors.astype(np.float16), planes, {})

    @classmethod
    def load(
        cls,
        recipe: str,
        stored: np.ndarray,
        path: Path | None,
        *,
        params: dict[str, Any],
        device: str = "cpu",
    ) -> SignIndex:
        assert path is not None
        with path.open("rb") as stream:
            return cls(recipe, stored, np.load(stream), params)

    def save(self, path: Path) -> bool:
        with path.open("wb") as stream:
            np.save(stream, self._planes)
        return True

    def __len__(self) -> int:
        return len(self._stored)

    def vectors(self, rows: np.ndarray | Sequence[int]) -> np.ndarray:
        return self._stored[np.asarray(rows, np.int64)]

    def _search(
        self, queries: np.ndarray, k: int, params: SearchParams, allowed: np.ndarray | None
    ) -> list[Hits]:
        rows = np.arange(len(self)) if allowed is None else allowed
        differ = (self._codes[rows][None] != (queries @ self._planes > 0)[:, None]).sum(axis=2)
        effort = params.effort or self.effort(k)
        found = []
        for query, distance in zip(queries, differ, strict=True):
            near = rows[distance <= effort] if params.effort else rows[np.argsort(distance)]
            near = near if len(near) >= k else rows[np.argsort(distance)[:k]]
            found.append(top_k(near, rescore(query, self._stored[near]), k))
        return found

    @property
    def exact(self) -> bool:
        return False

    @property
    def max_effort(self) -> int:
        return self._planes.shape[1]

    def effort(self, k: float) -> int:
        return int(self.params.get("effort", {"10": self.max_effort})["10"])

    def rerank(self, k: float) -> float:
        return 1.0

    def relative_cost(self, effort: int, wanted: float, share: float = 1.0) -> float:
        return len(self) * share * (0.1 + 0.3 * effort / self.max_effort)


def test_an_index_engine_is_one_class(tmp_path: Path) -> None:
    """A registered engine is chosen by its recipe, tuned to the asked recall, estimated, published,
    opened again and searched; without it its recipe and its versions are refused by name."""
    rng = np.random.default_rng(0)
    vectors = unit_rows(rng.normal(size=(600, 16))).astype(np.float16)
    rows = np.column_stack([np.arange(600), np.arange(600)]).astype(np.int64)
    versions = Versions(Home.create(tmp_path / "home"))
    with registered(SignIndex):
        tuned = build_tuned(vectors, recall=0.95, recipe="SIGN12")
        assert (type(tuned.index), tuned.index.recipe) == (SignIndex, "SIGN12")
        assert tuned.recall["at_10"] >= 0.93
        assert 1 <= tuned.params["effort"]["10"] <= 12
        rates = CostRates.load(versions.home)
        try_build(rates, recipe="SIGN12", entries=600, dim=16, recall=0.9)
        assert rates.comparable("SIGN12", 600, 16) is not None
        version = versions.publish(
            NewVersion(
                index=tuned.index,
                vectors=vectors,
                rows=rows,
                embedding_id="e1",
                model_version="m1",
                last_sequence=1,
                recipe=tuned.index.recipe,
                params=tuned.params,
                recall=tuned.recall,
            )
        )
        assert "index.sign" in versions.verify(version).files
        opened = versions.open(version)
        assert isinstance(opened.index, SignIndex)
        assert opened.index.params == tuned.params
        hits = LiveIndex(opened).search(np.asarray(vectors[:5], np.float32), 3)
        assert [found.pids[0] for found in hits] == [0, 1, 2, 3, 4]
        with pytest.raises(ValueError, match="SignIndex makes recipes with 'SIGN' already"):
            registered(SignIndex).__enter__()
    with pytest.raises(BadRequestError, match="unknown index recipe 'SIGN12'"):
        build_tuned(vectors, recipe="SIGN12")
    with pytest.raises(BadRequestError, match="unknown index recipe 'SIGN12'"):
        versions.open(version)


# The program below reads the options' module with one field more, before anything imports it.
ONE_MORE_PARAMETER = """
import importlib.util, sys, types
from pathlib import Path

name = "service.query.query"
path = Path(importlib.util.find_spec(name).origin)
source = path.read_text().replace("    min_score:", "    toy: int = 7\\n    min_score:", 1)
module = sys.modules[name] = types.ModuleType(name)
module.__file__ = str(path)
exec(compile(source, str(path), "exec"), module.__dict__)

from service.api.parsing import validate
from service.api.requests import SearchPhotosRequest, SearchRequest, SimilarQuery
from service.query.query import Query, SearchOptions, fingerprint_fields
from tools.search_options import search_options

asked = validate(SearchRequest, {"product_id": "p", "toy": 8})
options = SearchOptions.of(None, {"toy": asked.toy})
print(
    asked.toy,
    {"toy": 7} == {name: SimilarQuery().model_dump()[name] for name in ("toy",)},
    "toy" in SearchPhotosRequest.model_fields,
    fingerprint_fields(Query(product_id="p"), options)["toy"],
    ["--toy"] in [option.opts for option in search_options()],
)
"""


def test_a_search_parameter_is_one_field() -> None:
    """A field of the options reaches bodies, query strings, batches, fingerprint and options of
    the command line; what is left to write is where it is used."""
    done = subprocess.run(
        [sys.executable, "-c", ONE_MORE_PARAMETER], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.split() == ["8", "True", "True", "8", "True"], done.stderr
