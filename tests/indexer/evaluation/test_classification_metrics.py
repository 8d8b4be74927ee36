"""Classification figures: photos that training has shown judge no head."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from indexer.evaluation.classification_metrics import attribute_head_figures
from indexer.feeds.dataset import DatasetRow
from indexer.model.bundle import Bundle
from indexer.model.decision_layer import Decision
from indexer.training.tag_samples import TaggedPhotos


def test_a_copy_of_a_training_photo_judges_no_attribute_head() -> None:
    """The head learned that photo's answer: two right copies would make half of a quarter."""
    values: list[Any] = ["red", "red", "blue", "red", None]
    rows = [
        DatasetRow("", f"p{number}", Path("x"), None, None, (), "test", {"colour": value})
        for number, value in enumerate(values)
    ]
    queries = TaggedPhotos(rows, np.zeros((5, 2), np.float32), np.arange(5))
    head = SimpleNamespace(name="colour", classes=(0, 1), several=False)
    decision = Decision(attributes={"colour": ("blue", "red")})
    bundle = cast(Bundle, SimpleNamespace(spec=SimpleNamespace(heads=[head]), decision=decision))
    logits = {"colour": np.array([[0, 1], [0, 1], [0, 1], [1, 0], [0, 1]], np.float32)}
    leaked = np.array([True, True, False, False, False])
    every = attribute_head_figures(bundle, logits, queries).values["colour"]
    rest = attribute_head_figures(bundle, logits, queries, leaked=leaked).values["colour"]
    assert (every["head"], rest["head"]) == (0.5, 0.0)
    everything = np.ones(5, bool)
    assert attribute_head_figures(bundle, logits, queries, leaked=everything).values == {}
