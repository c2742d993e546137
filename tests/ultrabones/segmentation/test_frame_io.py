"""One frame and its masks, read from files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medcli.core.errors import DataError
from medcli.core.image_io import write_image
from medcli.ultrabones.segmentation.frame_io import read_image, read_label, read_mask
from medcli.ultrabones.segmentation.preprocessing import resize_frame, resize_label


def test_frames_and_labels_are_as_the_network_sees_them(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (81, 95), dtype=np.uint8)
    write_image(tmp_path / "a.png", grey)
    path = str(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(path), resize_frame(grey))
    np.testing.assert_array_equal(read_label(path) == 255, resize_label(grey) == 255)  # other values are no bone
    assert set(np.unique(read_label(path))) == {0, 255}
    assert not read_label("").any()


def test_masks_keep_their_size_and_have_that_of_their_frame(tmp_path: Path) -> None:
    mask = np.zeros((4, 6), np.uint8)
    mask[1, 2], mask[2, 3] = 255, 254
    write_image(tmp_path / "a.png", mask)
    assert np.argwhere(read_mask(str(tmp_path / "a.png"), (4, 6))).tolist() == [[1, 2]]
    with pytest.raises(DataError, match="is 6 x 4, its frame 5 x 4"):
        read_mask(str(tmp_path / "a.png"), (4, 5))
