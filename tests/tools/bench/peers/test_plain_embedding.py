"""The plain embedding loop shows a network what the model is shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer.model.preprocessing import with_look
from indexer.model.spec import ModelSpec
from tests.indexer.model.test_bundle import make_network
from tools.bench.peers.plain_embedding import PhotoDataset


@pytest.mark.parametrize(("look", "views"), [("crop", 1), ("both", 2)])
def test_each_photo_is_shown_as_often_as_the_model_sees_it(
    look: str, views: int, tmp_path: Path
) -> None:
    """Else a network that averages two views would average two photos, at half of the cost."""
    spec: ModelSpec = make_network().spec
    preprocess = with_look(spec.preprocess, look)
    pixels = np.full((60, 240, 3), 255, np.uint8)
    pixels[:, :40] = (255, 0, 0)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    found = PhotoDataset([str(tmp_path / "wide.png")], preprocess)[0]
    assert found.shape == (views, 3, preprocess.crop, preprocess.crop)
    # red stands at the end of the photo: only all of it shows that
    green = found[:, 1].flatten(1)
    assert [len(view.unique()) > 1 for view in green] == [False, True][:views]
