"""HTML report of an evaluation, self-contained: figures, plots and photos inside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from indexer.core.atomic_files import make_folder, write_atomic, write_json
from indexer.core.category_path import format_path
from indexer.evaluation.plots import confusion, flat_map, reliability, short_labels, tag_rows
from indexer.evaluation.results import FEW_PHOTOS, Classified, EvaluationResults, Nearest
from indexer.evaluation.thumbnails import photo_sheet, small_photos
from indexer.model.calibration import softmax
from indexer.training.tag_samples import TaggedPhotos

PAGE = "report.html"
_PAIRS = 12
_PAIR_PHOTOS = 4
_MISTAKES = 32
_RANDOM_PRODUCTS = 20
_NEIGHBOURS = 8
_MAP_PHOTOS = 1500  # on the map; more take minutes to lay out and make the page heavy
_MAP_SIDES = (56, 112)  # px of a thumbnail on the map: the more photos, the smaller
_MAP_SHEET = 2400  # px, about the side of the sheet of all of them
_PHOTO_SIDE = 176  # px; shown at half of that on fine screens
_SERIES = 10  # colours that can be told apart on the map
_TAG_ROWS = 400


def write_report(evidence: EvaluationResults, folder: Path, *, model: str, data: str) -> Path:
    """Write ``report.html`` and ``evaluation.json`` into ``folder``; ``model`` and ``data`` are
    names for the title."""
    make_folder(folder)
    write_json(folder / "evaluation.json", evidence.figures)
    page = folder / PAGE
    write_atomic(page, render(evidence, model=model, data=data).encode(errors="replace"))
    return page


def render(evidence: EvaluationResults, *, model: str, data: str) -> str:
    """The page. Labels and ids are shown as text whatever they hold; the same evidence gives the
    same page."""
    found = evidence.classified
    pairs = _confused_pairs(found, evidence.queries) if found else []
    mistakes = _mistakes(found, evidence.queries) if found else []
    neighbours = _neighbours(evidence)
    files = [photo["file"] for pair in pairs for way in pair["ways"] for photo in way["photos"]]
    files += [mistake["file"] for mistake in mistakes]
    files += [photo["file"] for row in neighbours for photo in (row, *row["found"])]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"figure": figure, "percent": percent}
    return environment.get_template("page.html").render(
        model=model,
        data=data,
        figures=evidence.figures,
        headlines=headlines(evidence.figures),
        few=evidence.figures["n"] < FEW_PHOTOS,
        enough=FEW_PHOTOS,
        levels=_levels(evidence.figures),
        attributes=_attributes(evidence.figures),
        classes=_classes(evidence.figures, found),
        matrix=confusion(found.truth, found.predicted, found.names) if found else None,
        pairs=pairs,
        mistakes=mistakes,
        wrong=int((found.truth != found.predicted).sum()) if found else 0,
        reliability=_reliability(found) if found else None,
        tag_rows=_tag_rows(evidence),
        tag_count=len(evidence.tagged.tags) if evidence.tagged else 0,
        lists=_lists(evidence.figures),
        map=_map(evidence),
        neighbours=neighbours,
        photos=small_photos(files, _PHOTO_SIDE),
    )


def _tag_rows(evidence: EvaluationResults) -> list[dict[str, Any]]:
    tagged = evidence.tagged
    if tagged is None:
        return []
    return tag_rows(tagged.tags, tagged.actual, tagged.suggested)[:_TAG_ROWS]


def figure(value: float | None) -> str:
    """Three digits, or a dash."""
    return "–" if value is None else f"{value:.3f}"


def percent(value: float | None) -> str:
    """Whole percent from 1 to 99, one digit nearer the ends, or a dash."""
    if value is None:
        return "–"
    return f"{100 * value:.1f}%" if 0 < value < 0.01 or 0.99 < value < 1 else f"{100 * value:.0f}%"


def headlines(figures: dict[str, Any]) -> list[dict[str, Any]]:
    """The figures to read first, each with its interval and what it says; those that are null are
    left out."""
    tags = figures.get("tags") or {}
    wanted = [
        ("accuracy", figures.get("accuracy"), "Accuracy", "photos whose category is named right"),
        (
            "macro_f1",
            figures.get("macro_f1"),
            "Macro F1",
            "precision and recall, every class counting the same",
        ),
        (
            "top5_accuracy",
            figures.get("top5_accuracy"),
            "Top 5",
            "right category among the five most probable",
        ),
        (
            "hit_rate_at_1",
            figures.get("hit_rate_at_1"),
            "Hit rate @1",
            "nearest product is of the same category",
        ),
        ("map", figures.get("map"), "mAP", "same-category products ranked before all others"),
        (
            "instance_hit_rate_at_1",
            figures.get("instance_hit_rate_at_1"),
            "Same product",
            "a photo taken again finds its original first",
        ),
        (
            "attribute_agreement_at_10.category+colour",
            (figures.get("attribute_agreement_at_10") or {}).get("category+colour"),
            "Kind and colour",
            "of the ten nearest share both",
        ),
        (
            "tags.f1",
            tags.get("f1"),
            "Tags F1",
            f"suggested tags; plain votes reach {figure(tags.get('baseline_f1'))}",
        ),
        (
            "ece",
            figures.get("ece"),
            "Calibration error",
            "gap between confidence and accuracy; lower is better",
        ),
    ]
    return [
        {"value": value, "name": name, "says": says, "interval": figures["intervals"].get(key)}
        for key, value, name, says in wanted
        if value is not None
    ]


def _levels(figures: dict[str, Any]) -> list[dict[str, Any]]:
    levels = figures.get("accuracy_by_level") or []
    return [
        {
            "level": number + 1,
            "accuracy": value,
            "interval": figures["intervals"].get(f"accuracy_by_level.{number}"),
        }
        for number, value in enumerate(levels)
    ]


def _attributes(figures: dict[str, Any]) -> list[dict[str, Any]]:
    agreement = figures.get("attribute_agreement_at_10") or {}
    names = list(dict.fromkeys([*(figures.get("attributes") or {}), *agreement]))
    return [
        {
            "name": name.replace("_", " ").replace("+", " + "),
            **dict.fromkeys(("head", "nn1", "ece", "nll", "answered", "answered_accuracy")),
            **(figures["attributes"].get(name) or {}),
            "agreement": agreement.get(name),
            "intervals": {
                "head": figures["intervals"].get(f"attributes.{name}.head"),
                "nn1": figures["intervals"].get(f"attributes.{name}.nn1"),
                "agreement": figures["intervals"].get(f"attribute_agreement_at_10.{name}"),
            },
        }
        for name in names
    ]


def _lists(figures: dict[str, Any]) -> list[dict[str, Any]]:
    """Heads of several labels, each with its most frequent ones."""
    return [
        dict(found, name=name.replace("_", " "), rows=_label_rows(found["per_label"]))
        for name, found in (figures.get("labels") or {}).items()
    ]


def _label_rows(per_label: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": label, **row} for label, row in list(per_label.items())[:_TAG_ROWS]]


def _classes(figures: dict[str, Any], found: Classified | None) -> list[dict[str, Any]]:
    """Per class, hardest first, with the class it is most often taken for."""
    if found is None:
        return []
    taken: dict[int, Counter[int]] = {}
    for true, guess in zip(found.truth.tolist(), found.predicted.tolist(), strict=True):
        if true != guess:
            taken.setdefault(true, Counter())[guess] += 1
    labels = short_labels(found.names)
    number_of = {format_path(path): number for number, path in enumerate(found.names)}
    rows: list[dict[str, Any]] = []
    for path, row in figures["per_class"].items():
        number = number_of[path]
        [(other, times)] = taken[number].most_common(1) if number in taken else [(None, 0)]
        rows.append(
            {
                "label": labels[number],
                "path": path,
                "anchor": number,
                "unknown": number >= found.logits.shape[1],
                **row,
                "mistaken_for": None if other is None else labels[other],
                "times": times,
            }
        )
    return sorted(rows, key=lambda row: (row["f1"], -row["n"], row["path"]))


def _photo(photos: TaggedPhotos, number: int) -> dict[str, Any]:
    row = photos.rows[number]
    return {"file": row.image, "product": row.product_id, "title": row.title or row.product_id}


def _confused_pairs(found: Classified, queries: TaggedPhotos) -> list[dict[str, Any]]:
    """Pairs of classes taken for one another most often, with photos of both ways, the surest
    mistakes first."""
    labels = short_labels(found.names)
    sure = found.probabilities.max(1)
    wrong = np.flatnonzero(found.truth != found.predicted)
    cases: dict[tuple[int, int], list[int]] = {}
    for case in wrong[np.argsort(-sure[wrong], kind="stable")].tolist():
        cases.setdefault((int(found.truth[case]), int(found.predicted[case])), []).append(case)
    totals: Counter[tuple[int, int]] = Counter()
    for (true, guess), numbers in cases.items():
        totals[min(true, guess), max(true, guess)] += len(numbers)
    pairs = []
    for (first, second), total in sorted(totals.items(), key=lambda entry: (-entry[1], entry[0]))[
        :_PAIRS
    ]:
        ways: list[dict[str, Any]] = []
        for true, guess in ((first, second), (second, first)):
            numbers = cases.get((true, guess), [])
            photos = [
                {**_photo(queries, int(found.numbers[case])), "confidence": float(sure[case])}
                for case in numbers[:_PAIR_PHOTOS]
            ]
            of = int((found.truth == true).sum())
            ways.append(
                {
                    "true": labels[true],
                    "guess": labels[guess],
                    "times": len(numbers),
                    "of": of,
                    "photos": photos,
                }
            )
        pairs.append({"total": total, "ways": sorted(ways, key=lambda way: -way["times"])})
    return pairs


def _mistakes(found: Classified, queries: TaggedPhotos) -> list[dict[str, Any]]:
    """Wrong answers, the most confident first."""
    labels = short_labels(found.names)
    probability = found.probabilities
    sure = probability.max(1)
    wrong = np.flatnonzero(found.truth != found.predicted)
    order = wrong[np.argsort(-sure[wrong], kind="stable")][:_MISTAKES]
    return [
        {
            **_photo(queries, int(found.numbers[case])),
            "true": labels[found.truth[case]],
            "guess": labels[found.predicted[case]],
            "confidence": float(sure[case]),
            "chance": float(probability[case, found.truth[case]]) if found.known[case] else None,
        }
        for case in order.tolist()
    ]


def _reliability(found: Classified) -> list[dict[str, Any]]:
    right = (found.predicted == found.truth).astype(float)
    return [
        {
            "name": name,
            "points": reliability(softmax(found.logits, temperature).max(1), right),
        }
        for name, temperature in (("before", 1.0), ("after", found.temperature))
    ]


def _neighbours(evidence: EvaluationResults, seed: int = 0) -> list[dict[str, Any]]:
    """The nearest gallery products of random query products; ``right`` is None where a category is
    missing."""
    queries = evidence.queries
    gallery = evidence.gallery
    first: dict[str, int] = {}
    for number, row in enumerate(queries.rows):
        first.setdefault(row.product_id, number)
    numbers = np.array(list(first.values()))
    drawn = np.random.default_rng(seed).permutation(numbers)[:_RANDOM_PRODUCTS]
    paths = sorted(
        {row.category for photos in (queries, gallery) for row in photos.rows if row.category}
    )
    label = dict(zip(paths, short_labels(paths), strict=True))
    shown = []
    for number in drawn.tolist():
        row = queries.rows[number]
        found = []
        for entry, score in _products(evidence.nearest, gallery, number):
            other = gallery.rows[entry]
            known = row.category is not None and other.category is not None
            found.append(
                {
                    **_photo(gallery, entry),
                    "score": score,
                    "label": label.get(other.category) if other.category else None,
                    "right": other.category == row.category if known else None,
                }
            )
        own = label.get(row.category) if row.category else None
        shown.append({**_photo(queries, number), "label": own, "found": found[:_NEIGHBOURS]})
    return shown


def _products(nearest: Nearest, gallery: TaggedPhotos, number: int) -> list[tuple[int, float]]:
    """(gallery number, score) of one query, one entry per product."""
    best: dict[str, tuple[int, float]] = {}
    for entry, score in zip(
        nearest.numbers[number].tolist(), nearest.scores[number].tolist(), strict=True
    ):
        if entry >= 0:
            best.setdefault(gallery.rows[entry].product_id, (entry, score))
    return list(best.values())


def _map(evidence: EvaluationResults, seed: int = 0) -> dict[str, Any]:
    """Query photos laid out flat, coloured by the commonest top levels of their category."""
    queries = evidence.queries
    count = len(queries.rows)
    chosen = np.sort(np.random.default_rng(seed).permutation(count)[:_MAP_PHOTOS])
    places, way = flat_map(queries.vectors[chosen])
    groups = _groups([queries.rows[number].category for number in chosen.tolist()])
    frequency = Counter(name for name in groups if name)
    ranked = [name for name, _ in frequency.most_common()]
    series = {name: number for number, name in enumerate(ranked[:_SERIES])}
    side = int(np.clip(_MAP_SHEET / len(chosen) ** 0.5, *_MAP_SIDES))
    sheet = photo_sheet([queries.rows[number].image for number in chosen.tolist()], side)
    wrong: set[int] = set()
    guess: dict[int, str] = {}
    if evidence.classified:
        found = evidence.classified
        labels = short_labels(found.names)
        wrong = set(found.numbers[found.truth != found.predicted].tolist())
        guess = {int(n): labels[p] for n, p in zip(found.numbers, found.predicted, strict=True)}
    points = []
    for position, number in enumerate(chosen.tolist()):
        row = queries.rows[number]
        points.append(
            {
                "x": round(float(places[position, 0]), 4),
                "y": round(float(places[position, 1]), 4),
                "series": series.get(groups[position] or "", -1),
                "title": row.title or row.product_id,
                "label": format_path(row.category) if row.category else "no category",
                "guess": guess.get(number) if number in wrong else None,
            }
        )
    legend = list(series)
    return {
        "points": points,
        "legend": legend,
        "others": any(point["series"] < 0 for point in points),
        "way": way,
        "sheet": sheet,
        "total": count,
    }


def _groups(paths: Sequence[tuple[str, ...] | None]) -> list[str | None]:
    """Groups that colour the map: the deepest level with at most as many names as there are
    colours, else the leaf."""
    known = [path for path in paths if path]
    depth = max((len(path) for path in known), default=0)
    level = depth
    for candidate in range(depth, 0, -1):
        names = {path[:candidate] for path in known}
        if 1 < len(names) <= _SERIES:
            level = candidate
            break
    return [" › ".join(path[:level]) if path else None for path in paths]
