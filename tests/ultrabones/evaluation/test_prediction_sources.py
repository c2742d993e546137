"""Masks on disk as predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medcli.core.errors import DataError
from medcli.core.image_io import read_grey
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.dataset.frame_index import index_frames, mask_path
from medcli.ultrabones.evaluation.prediction_sources import StoredMasks, shrink_mask
from medcli.ultrabones.segmentation.preprocessing import resize_label


def test_masks_on_disk_at_both_sizes(tmp_path: Path) -> None:
    settings = SweepSettings(frames=2, scale=0.3, predictions=True)
    frames = index_frames(make_ultrabones(tmp_path, (1,), settings=settings))
    source = StoredMasks("Labels_pred")
    with pytest.raises(DataError, match="no mask in folder Absent of 1 record"):
        StoredMasks("Absent").attach(frames)
    masks = mask_path(frames, "Labels_pred").tolist()
    Path(masks[1]).unlink()
    source.attach(frames)
    loaded = source.load(0, frames["image"][0], frames["label"][0])
    (prediction,) = source.predict([loaded])
    np.testing.assert_array_equal(prediction.native, read_grey(masks[0]) == 255)
    np.testing.assert_array_equal(prediction.small, shrink_mask(prediction.native))
    assert loaded.grey.shape == (256, 256)
    with pytest.raises(DataError, match="no mask in Labels_pred"):
        source.load(1, frames["image"][1], frames["label"][1])


def test_masks_shrink_by_the_nearest_pixel() -> None:
    mask = np.random.default_rng(0).random((811, 950)) < 0.3
    np.testing.assert_array_equal(shrink_mask(mask), resize_label(mask.astype(np.uint8)) == 1)
