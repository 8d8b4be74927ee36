"""Benchmark ``duplicates``: search beside imagededup's; copies and identical photos found."""

from __future__ import annotations

import hashlib
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.store import open_catalog
from indexer.core.csv_text import CsvWriter
from indexer.core.errors import BadDataError
from indexer.core.home import Home
from indexer.core.native import THREADS
from indexer.core.proportions import clopper_pearson
from indexer.duplicates.detect import find_repeats, nearest
from indexer.duplicates.groups import find_groups
from indexer.duplicates.hash_store import SignatureIndex, Signatures, SignatureStore
from indexer.duplicates.perceptual_hash import near_pairs, thumbnail
from indexer.duplicates.print_difference import PrintComparison
from indexer.feeds.dataset import read_dataset
from indexer.feeds.import_options import ImportOptions
from indexer.feeds.importer import import_feed
from indexer.imaging.decode import Photo, decode_photo
from indexer.imaging.parallel import in_order
from indexer.index.live import LiveIndex
from indexer.index.version import Versions
from indexer.index_build.pipeline import BuildOptions, build_index
from indexer.model.open_runtime import open_embedder
from indexer.model.registry import pretrained
from tools.bench.data.photo_copies import HARDER, HARDER_RECIPE, KINDS, RECIPE, made
from tools.bench.harness.framework import BenchRow, Goal, figure, knob, percentile, real_data
from tools.doctor import installed
from tools.output import log

PARTS = (
    "search",
    "copies of fashion",
    "copies of clothing",
    "harder copies of fashion",
    "harder copies of clothing",
    "identical",
)
_RADIUS = 10  # imagededup's default, of 64 bits
_ROUNDS = 5

GOALS = (
    Goal(
        "20k photos: times as fast as imagededup's search", ">=", 150.0, figure("search", "times")
    ),
    Goal(
        "20k photos: pairs that one finds and the other does not",
        "<=",
        0.0,
        figure("search", "different_pairs"),
    ),
    *(
        Goal(f"transformed copies of {name}: {what}", ">=", goal, figure(f"copies of {name}", what))
        for name in ("fashion", "clothing")
        for what, goal in (("recall", 0.98), ("precision", 0.99))
    ),
    Goal(
        "fashion: share of the pairs of identical photos found",
        ">=",
        1.0,
        figure("identical", "recall"),
    ),
)


def measure(part: str, work: Path) -> BenchRow:
    """One part. Sizes: ``CATALENS_BENCH_FILES`` (search), ``CATALENS_BENCH_PHOTOS`` (photos copied
    of each set)."""
    log(f"bench duplicates: {part}")
    if part == "search":
        return _search(work)
    if part == "identical":
        return _identical(work)
    name = part.rpartition(" ")[2]
    return _copies(work, name, KINDS) if part.startswith("copies") else _harder(work, name)


# -- search


def _search(work: Path) -> BenchRow:
    """Near pairs of one list of 64-bit hashes by both; then the time from files to signatures."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from imagededup.methods import PHash
    except ImportError:
        raise BadDataError("this part needs imagededup: pip install 'catalens[bench]'") from None
    files = _files(work / "files", knob("FILES", 20_000))
    started = time.perf_counter()
    read = in_order(files, _thumb, workers=min(4, THREADS), ahead=64)
    thumbs = np.stack([thumb for _, thumb in read if isinstance(thumb, np.ndarray)])
    decoded_s = time.perf_counter() - started
    Signatures.compute(np.arange(len(files)), thumbs)
    signed_s = time.perf_counter() - started
    hasher = PHash(verbose=False)
    encodings = {str(i): hasher.encode_image(image_array=thumb) for i, thumb in enumerate(thumbs)}
    codes = (
        np.array([int(code, 16) for code in encodings.values()], ">u8")
        .view(np.uint8)
        .reshape(-1, 8)
    )
    own_s: list[float] = []

    def search() -> np.ndarray:
        started = time.perf_counter()
        rows = [np.stack(portion, 1) for portion in near_pairs(codes, _RADIUS)]
        own_s.append(time.perf_counter() - started)
        return np.concatenate(rows)

    for _ in range(
        _ROUNDS
    ):  # and as often after the peer: the machine may be busier at one time than at another
        own = search()
    pairs = {(a, b) for a, b, _ in own.tolist()}
    log(f"own search: {min(own_s):.3f} s, {len(pairs):,} pairs; now imagededup")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        started = time.perf_counter()
        found = hasher.find_duplicates(encoding_map=encodings, max_distance_threshold=_RADIUS)
        peer_s = time.perf_counter() - started
    for _ in range(_ROUNDS):
        search()
    theirs = {tuple(sorted((int(a), int(b)))) for a, others in found.items() for b in others}
    times = peer_s / float(np.median(own_s))
    log(f"imagededup: {peer_s:.1f} s, {len(theirs):,} pairs: {times:,.0f} times as long")
    return {
        "recipe": "fashion and clothing photos, then copies of fashion photos until there are "
        "enough; hashes: "
        "imagededup's PHash of 32 px thumbnails, the same to both; the search alone is timed",
        "peer": "imagededup PHash.find_duplicates, its default search (brute_force_cython, all "
        "cores)",
        "peer_version": installed("imagededup"),
        "photos": len(files),
        "radius": _RADIUS,
        "pairs": len(pairs),
        "different_pairs": len(pairs ^ theirs),
        "own_s": own_s,
        "peer_s": peer_s,
        "times": times,
        "signatures_per_s": len(files) / signed_s,
        "decoded_per_s": len(files) / decoded_s,
    }


def _thumb(file: Path) -> np.ndarray:
    return thumbnail(decode_photo(file.read_bytes(), shrink_to=64).pixels)


def _files(folder: Path, count: int) -> list[Path]:
    """``count`` different photo files: real ones, then copies of fashion's, written once."""
    fashion = sorted((real_data("fashion") / "images").glob("*.jpg"))
    found = ([*fashion, *sorted(real_data("clothing").rglob("*.jpg"))])[:count]
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count - len(found)):
        place, kind = number % len(fashion), KINDS[(number // len(fashion) + number) % len(KINDS)]
        file = folder / f"{number:06d}-{kind}.jpg"
        if not file.exists():
            file.write_bytes(
                made(
                    decode_photo(fashion[place].read_bytes()).pixels,
                    kind,
                    [1, place, KINDS.index(kind)],
                )
            )
        found.append(file)
    return found


# -- copies


def _harder(work: Path, name: str) -> BenchRow:
    """Copies beyond what the search is made for beside its own, of validation photos."""
    row = _copies(work, name, (*KINDS, *HARDER), split="validation")
    return {**row, "recipe": f"{RECIPE}; {HARDER_RECIPE}"}


def _copies(work: Path, name: str, kinds: Sequence[str], *, split: str = "test") -> BenchRow:
    """Each copy asked as an upload is, against a home of the set's photos of ``split``; and these
    among themselves."""
    work.mkdir(parents=True, exist_ok=True)
    files = _photo_files(name, split)
    home = _home(work / f"{name}-{split}", files)
    bundle = pretrained(home)
    embedder = open_embedder(bundle, device="cpu")
    if home.active() is None:
        build_index(
            home,
            bundle=bundle,
            options=BuildOptions(recaptures=False),
            activate=True,
            embedder=embedder,
        )
    live = LiveIndex(Versions(home).open(home.active().index_version))  # type: ignore[union-attr]
    same = _same_bytes(files)
    picked = np.random.default_rng(0).permutation(len(files))[: knob("PHOTOS", 1000)]
    found: dict[str, dict[str, int]] = {
        kind: {"asked": 0, "right": 0, "wrong": 0} for kind in kinds
    }
    samples_ms, wrong_pairs = [], []
    with open_catalog(home) as catalog, closing(SignatureStore(home)) as store:
        signed = SignatureIndex.open(catalog, PhotoStore(home), store)
        prints = PrintComparison(catalog, PhotoStore(home))
        for photo_at, kind, photo in _made(files, picked, name, kinds):
            vector = embedder.embed([photo])
            started = time.perf_counter()
            repeats = find_repeats(
                catalog,
                signed,
                store,
                photo,
                neighbours=nearest(live, vector, bundle.spec),
                prints=prints,
            )
            samples_ms.append(round(1000 * (time.perf_counter() - started), 3))
            named = {int(repeat.product_id) for repeat in repeats}
            found[kind]["asked"] += 1
            found[kind]["right"] += photo_at in named
            others = sorted(named - same[photo_at])
            found[kind]["wrong"] += len(others)
            wrong_pairs += [(files[photo_at].stem, files[other].stem, kind) for other in others]
    chosen = set(picked.tolist())
    among = [
        pair for pair in _among_originals(home, same) if chosen & set(pair)
    ]  # each photo is asked itself too
    right = sum(row["right"] for row in found.values())
    asked = sum(row["asked"] for row in found.values())
    wrong = sum(row["wrong"] for row in found.values())
    log(
        f"{name}: recall {right / asked:.4f}, precision "
        f"{right / max(right + wrong + len(among), 1):.4f}, {found}"
    )
    return {
        "recipe": RECIPE,
        "model": "the shipped pretrained network",
        "gallery": len(files),
        "photos": len(picked),
        "by_kind": found,
        "recall": right / asked,
        "precision": right / max(right + wrong + len(among), 1),
        "recall_by_kind": {
            kind: row["right"] / max(row["asked"], 1) for kind, row in found.items()
        },
        "interval_by_kind": {
            kind: clopper_pearson(row["right"], row["asked"]) for kind, row in found.items()
        },
        "wrong": wrong_pairs,
        "wrong_among_originals": [(files[a].stem, files[b].stem) for a, b in among],
        "p50_ms": percentile(samples_ms, 0.5),
        "samples_ms": samples_ms,
    }


def _photo_files(name: str, split: str) -> list[Path]:
    if name == "clothing":
        return sorted((real_data("clothing") / split).rglob("*.jpg"))
    rows = read_dataset(real_data("fashion") / "products.csv").rows
    return [row.image for row in rows if row.split == split]


def _home(folder: Path, files: Sequence[Path]) -> Home:
    """A home whose product ids are the places of ``files``."""
    home = Home.create(folder)
    manifest = folder.with_suffix(".csv")
    with manifest.open("w", newline="", encoding="utf-8") as stream:
        writer = CsvWriter(stream)
        writer.writerow(("product_id", "image"))
        writer.writerows((number, file.absolute()) for number, file in enumerate(files))
    import_feed(home, manifest, ImportOptions(photos="reference"))
    return home


def _same_bytes(files: Sequence[Path]) -> list[set[int]]:
    """For each file the places of all with its bytes, its own among them."""
    by_digest: defaultdict[str, set[int]] = defaultdict(set)
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    for place, digest in enumerate(digests):
        by_digest[digest].add(place)
    return [by_digest[digest] for digest in digests]


def _made(
    files: Sequence[Path], picked: np.ndarray, name: str, kinds: Sequence[str]
) -> Iterator[tuple[int, str, Photo]]:
    for place in picked.tolist():
        picture = decode_photo(files[place].read_bytes()).pixels
        for number, kind in enumerate(kinds):
            yield (
                place,
                kind,
                decode_photo(made(picture, kind, [len(name), place, number]), shrink_to=256),
            )


def _among_originals(home: Home, same: Sequence[set[int]]) -> list[tuple[int, int]]:
    """Pairs of different photos that are called nearly the same."""
    wrong = set()
    for group in find_groups(home, kinds=["near_same_photo"]).groups:
        centre = [int(product) for product in group.photos[0]["products"]]
        for photo in group.photos[1:]:
            for a in centre:
                wrong |= {
                    (min(a, int(b)), max(a, int(b)))
                    for b in photo["products"]
                    if int(b) not in same[a]
                }
    return sorted(wrong)


# -- identical


def _identical(work: Path) -> BenchRow:
    """All of fashion imported; its pairs of equal files beside the pairs that the command's
    function names."""
    rows = read_dataset(real_data("fashion") / "products.csv").rows
    files = [row.image for row in rows]
    home = _home(work / "identical", files)
    wanted = {pair for places in _same_bytes(files) for pair in combinations(sorted(places), 2)}
    groups: list[Any] = find_groups(home, kinds=["same_photo"]).groups
    found = {pair for group in groups for pair in combinations(sorted(map(int, group.products)), 2)}
    return {
        "recipe": "every photo of fashion; equal files by SHA-256 of the files, apart from the "
        "catalog",
        "photos": len(files),
        "pairs": len(wanted),
        "found": len(found & wanted),
        "wrong": len(found - wanted),
        "recall": len(found & wanted) / max(len(wanted), 1),
    }
