"""Keypoint matching: SIFT points of examples found again on a photo, and how they lie there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import import_module
from typing import Any

import numpy as np
from PIL import Image

from indexer.imaging.geometry import scaled_size

# Of everything below that a stored point or a fitted threshold depends on.
VERSION = 2
# px of the long side of a photo, and of an example's cut-out, on which points are looked for
PHOTO_SIDE, EXAMPLE_SIDE = 320, 200
# The strongest that are kept: what a comparison costs is bounded by these.
MOST_PHOTO_POINTS, MOST_EXAMPLE_POINTS = 600, 200
# A point's descriptor has so many numbers.
DESCRIPTOR = 128
# Fewer points than these place nothing; an example with fewer than those is hardly found.
LEAST_POINTS, FEW_POINTS = 3, 50
# Emblems printed on cloth are faint: half of what Lowe (2004) asks of a point.
_CONTRAST = 0.02
# px of a side, on the scaled picture, below which no point is looked for
_LEAST_SIDE = 16
# Lowe's ratio: distance to the nearest point of an example over that to its second nearest
_RATIO = 0.8
# Score below which points agree by chance. A catalog without such photos sets no threshold at all.
LEAST_SCORE = 1.0
# An agreeing point lies off by at most this share of the example, is turned and scaled alike.
_REACH, _TURN, _ZOOM = 0.1, math.radians(40), 2.0
# The same after the affine fit; poses that are fitted; of the longest to the shortest axis
_FITTED_REACH, _POSES, _FLATTEST = 0.06, 5, 4.0
# How strongly an affine map of few points is held to its similarity, and on what spread of points.
_HELD, _HELD_SPREAD = 0.1, 0.1
# Distance of unit descriptors at which an agreeing point counts for nothing
_FAR = 0.9
# pairs of one example that are compared with one another; the nearest ones stay
_MOST_PAIRS = 200


@dataclass(frozen=True)
class Keypoints:
    """Points of a picture scaled to ``size``, its width and height in px.

    ``frames`` float32 [N, 4]: x, y, diameter (px of the scaled picture), direction (radians);
    ``raw`` uint8 [N, 128]: SIFT descriptors.
    """

    size: tuple[int, int]
    frames: np.ndarray
    raw: np.ndarray

    @cached_property
    def descriptors(self) -> np.ndarray:
        """Unit descriptors float32 [N, 128] whose products compare as Hellinger's kernel does.

        RootSIFT: Arandjelovic and Zisserman 2012, "Three things everyone should know".
        """
        values = self.raw.astype(np.float32)
        return np.asarray(np.sqrt(values / np.maximum(values.sum(1, keepdims=True), 1.0)))


@dataclass(frozen=True)
class KeypointBank:
    """Points of a gallery's examples, ready to be looked for in photos."""

    examples: tuple[Keypoints, ...]

    @cached_property
    def descriptors(self) -> np.ndarray:
        """All examples' unit descriptors float32 [sum N, 128]."""
        parts = [one.descriptors for one in self.examples]
        return np.concatenate(parts) if parts else np.zeros((0, DESCRIPTOR), np.float32)

    @cached_property
    def _starts(self) -> list[int]:
        return np.cumsum([0, *(len(one.frames) for one in self.examples)]).tolist()

    def part(self, example: int) -> slice:
        """Where an example's points stand in ``descriptors``."""
        return slice(self._starts[example], self._starts[example + 1])


@dataclass(frozen=True)
class KeypointMatch:
    """The example whose points agree best on a place of the photo.

    ``score``: the agreeing points, each by how near its descriptor is (0 to 1); ``points``: how
    many there are; ``corners``: the outline of the example as four points x, y, in px of the scaled
    photo.
    """

    score: float
    points: int
    example: int
    corners: list[tuple[float, float]]


@dataclass(frozen=True)
class _Pairs:
    """Points of an example and of the photo that look alike, by distance."""

    example: np.ndarray  # float32 [M, 4], frames
    photo: np.ndarray  # float32 [M, 4]
    own: np.ndarray  # int [M]: which points of the example
    others: np.ndarray  # int [M]: which of the photo
    distance: np.ndarray  # float32 [M]

    def __len__(self) -> int:
        return len(self.distance)


@dataclass(frozen=True)
class _Pose:
    """Affine map of an example onto the photo, and the pairs that agree with it."""

    linear: np.ndarray  # [2, 2]
    # means of the agreeing points on the example and on the photo
    origin: np.ndarray
    target: np.ndarray
    agreeing: np.ndarray

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Where points [N, 2] of the example lie on the photo."""
        return np.asarray((points - self.origin) @ self.linear.T + self.target)


@lru_cache(maxsize=1)
def find_library() -> tuple[Any, str | None]:
    """OpenCV on one thread, or why it cannot be used here.

    It gets arrays that were decoded elsewhere, never a file.
    """
    try:
        library = import_module("cv2")
    except Exception as error:
        # Absent, without a system library, or overwritten in part by another distribution of it.
        line = (str(error).strip().splitlines() or [""])[0][:200]
        return None, f"keypoints need the package cv2 ({line}): pip install 'catalens[emblems]'"
    if not hasattr(library, "SIFT_create"):
        version = getattr(library, "__version__", "of an unknown version")
        reason = f"keypoints need SIFT, which cv2 {version} lacks: pip install 'catalens[emblems]'"
        return None, reason
    library.setNumThreads(1)
    return library, None


def detect_photo(pixels: Image.Image) -> Keypoints:
    """Find the points of a photo."""
    return _detect(pixels, None, PHOTO_SIDE, MOST_PHOTO_POINTS)


def detect_example(pixels: np.ndarray, mask: np.ndarray) -> Keypoints:
    """Find the points of an example's cut-out: pixels float [h, w, 3], mask float [h, w]."""
    image = Image.fromarray(pixels.astype(np.uint8))
    return _detect(image, mask, EXAMPLE_SIDE, MOST_EXAMPLE_POINTS)


def _detect(image: Image.Image, mask: np.ndarray | None, side: int, most: int) -> Keypoints:
    """Scale a picture to a long side and find its points, the strongest ``most``."""
    library, reason = find_library()
    if reason is not None:
        raise RuntimeError(reason)
    scale = side / max(image.size)
    size = scaled_size(image.size, scale)
    if min(size) < _LEAST_SIDE:
        return Keypoints(size, np.zeros((0, 4), np.float32), np.zeros((0, DESCRIPTOR), np.uint8))
    how = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    grey = np.ascontiguousarray(np.asarray(image.resize(size, how).convert("L")))
    inside = None
    if mask is not None:
        shape = Image.fromarray((mask * 255).astype(np.uint8)).resize(size)
        # Points of an outline lie on either side of it.
        inside = library.dilate(np.asarray(shape), np.ones((5, 5), np.uint8))
    # Of its own: what one keeps of a call is not for other threads.
    sift = library.SIFT_create(nfeatures=most, contrastThreshold=_CONTRAST)
    points, raw = sift.detectAndCompute(grey, inside)
    if raw is None or not len(points):
        return Keypoints(size, np.zeros((0, 4), np.float32), np.zeros((0, DESCRIPTOR), np.uint8))
    # Ties at the last place are all kept by the library.
    frames = [(one.pt[0], one.pt[1], one.size, math.radians(one.angle)) for one in points[:most]]
    descriptors = np.clip(np.rint(raw[:most]), 0, 255).astype(np.uint8)
    return Keypoints(size, np.array(frames, np.float32), descriptors)


def find_keypoints(bank: KeypointBank, photo: Keypoints) -> KeypointMatch | None:
    """Find the example whose points agree best; None where no three of one example do.

    Descriptors are paired by Lowe's ratio ("Distinctive image features from scale-invariant
    keypoints", 2004). Each pair, by its two points' places, sizes and directions, is a whole
    similarity (Philbin et al. 2007, "Object retrieval with large vocabularies and fast spatial
    matching"); those with which most other pairs agree are fitted as affine maps. Nothing is drawn
    at random.
    """
    if len(photo.frames) < LEAST_POINTS or not len(bank.descriptors):
        return None
    likeness = photo.descriptors @ bank.descriptors.T
    best: KeypointMatch | None = None
    for number, example in enumerate(bank.examples):
        if len(example.frames) < LEAST_POINTS:
            continue
        found = _place(number, example, photo, likeness[:, bank.part(number)])
        if found is not None and (best is None or found.score > best.score):
            best = found
    return best


def _place(
    number: int, example: Keypoints, photo: Keypoints, likeness: np.ndarray
) -> KeypointMatch | None:
    """Match one example, ``likeness`` float32 [photo's points, its points]."""
    pairs = _pair(example, photo, likeness)
    if len(pairs) < LEAST_POINTS:
        return None
    side = float(max(example.size))
    best: tuple[float, int, _Pose] | None = None
    for pose in _poses(pairs, side):
        score, points = _weigh(pairs, pose)
        if points >= LEAST_POINTS and (best is None or score > best[0]):
            best = score, points, pose
    if best is None:
        return None
    width, height = example.size
    outline = best[2].apply(np.array([(0, 0), (width, 0), (width, height), (0, height)], float))
    corners = [(float(x), float(y)) for x, y in outline]
    return KeypointMatch(best[0], best[1], number, corners)


def _pair(example: Keypoints, photo: Keypoints, likeness: np.ndarray) -> _Pairs:
    """Pair the photo's points with those of the example that look alike, the nearest first."""
    rows = np.arange(len(likeness))
    nearest = likeness.argmax(1)
    top = np.partition(likeness, likeness.shape[1] - 2, axis=1)[:, -2:]
    second, first = np.sqrt(np.maximum(2 - 2 * top, 1e-9)).T
    kept = rows[first < _RATIO * second]
    kept = kept[np.argsort(first[kept], kind="stable")][:_MOST_PAIRS]
    own = nearest[kept]
    return _Pairs(example.frames[own], photo.frames[kept], own, kept, first[kept])


def _poses(pairs: _Pairs, side: float) -> list[_Pose]:
    """The affine maps with which most pairs agree."""
    ours, theirs = pairs.example, pairs.photo
    zoom, turn = theirs[:, 2] / ours[:, 2], theirs[:, 3] - ours[:, 3]
    across, down = zoom * np.cos(turn), zoom * np.sin(turn)
    step = ours[None, :, :2] - ours[:, None, :2]
    x = across[:, None] * step[..., 0] - down[:, None] * step[..., 1] + theirs[:, None, 0]
    y = down[:, None] * step[..., 0] + across[:, None] * step[..., 1] + theirs[:, None, 1]
    off = np.hypot(x - theirs[None, :, 0], y - theirs[None, :, 1])
    turned = np.abs((turn[:, None] - turn[None, :] + np.pi) % (2 * np.pi) - np.pi)
    zoomed = np.abs(np.log(zoom[:, None] / zoom[None, :]))
    agree = (off < _REACH * side * zoom[:, None]) & (turned < _TURN) & (zoomed < math.log(_ZOOM))
    counts = agree.sum(1)
    found = []
    for place in np.argsort(-counts, kind="stable")[:_POSES].tolist():
        if counts[place] < LEAST_POINTS:
            break
        similarity = np.array([[across[place], -down[place]], [down[place], across[place]]], float)
        pose = _fit(pairs, similarity, agree[place], side)
        if pose is not None:
            found.append(pose)
    return found


def _fit(pairs: _Pairs, similarity: np.ndarray, agree: np.ndarray, side: float) -> _Pose | None:
    """Fit an affine map to pairs that agree with a similarity, and keep those that agree with it.

    Least squares held to the similarity, since few points, or points on a line, tell no more. None
    of a map that mirrors, or that shows the example nearly edge on.
    """
    ours, theirs = pairs.example[:, :2].astype(float), pairs.photo[:, :2].astype(float)
    kept = np.flatnonzero(agree)
    pose = None
    for _ in range(2):
        origin, target = ours[kept].mean(0), theirs[kept].mean(0)
        apart, seen = ours[kept] - origin, theirs[kept] - target
        held = _HELD * len(kept) * (_HELD_SPREAD * side) ** 2 * np.eye(2)
        linear = np.linalg.solve(apart.T @ apart + held, apart.T @ seen + held @ similarity.T).T
        longest, shortest = np.linalg.svd(linear, compute_uv=False)
        if np.linalg.det(linear) <= 0 or longest > _FLATTEST * shortest:
            return None
        pose = _Pose(linear, origin, target, kept)
        off = np.hypot(*(pose.apply(ours) - theirs).T)
        near = off < _FITTED_REACH * side * math.sqrt(longest * shortest)
        kept = np.flatnonzero(near & agree)
        if len(kept) < LEAST_POINTS:
            return None
        pose = _Pose(linear, origin, target, kept)
    return pose


def _weigh(pairs: _Pairs, pose: _Pose) -> tuple[float, int]:
    """Sum what the agreeing pairs count, each point once."""
    own: set[int] = set()
    others: set[int] = set()
    score = 0.0
    # By distance, as the pairs are.
    for place in pose.agreeing.tolist():
        if int(pairs.own[place]) not in own and int(pairs.others[place]) not in others:
            own.add(int(pairs.own[place]))
            others.add(int(pairs.others[place]))
            score += max(0.0, 1 - float(pairs.distance[place]) / _FAR)
    return score, len(own)
