"""Images on one sheet: where each lies, in its colours."""

from __future__ import annotations

import numpy as np
import pytest

from medcli.core.contact_sheet import contact_sheet


def test_each_image_lies_in_its_row_and_column() -> None:
    grey = np.full((40, 40), 100, np.uint8)
    red = np.zeros((80, 80, 3), np.uint8)
    red[..., 0] = 255
    sheet = contact_sheet([[grey, red], [red, grey]], ["left", "right"], ["first", "second"], panel=60)
    assert sheet.dtype == np.uint8
    height, width = sheet.shape[:2]
    assert (sheet == (255, 0, 0)).all(axis=2).sum() == 2 * 60 * 60
    assert (sheet == 100).all(axis=2).sum() >= 2 * 60 * 60  # letters have such pixels, too
    assert (sheet[: height // 2, : width // 2] == 100).all(axis=2).sum() > 3000
    assert (sheet[height // 2 :, : width // 2] == (255, 0, 0)).all(axis=2).sum() > 3000


def test_rows_and_headings_must_fit() -> None:
    grey = np.zeros((4, 4), np.uint8)
    with pytest.raises(ValueError, match="1 rows need as many notes and 2 pictures each"):
        contact_sheet([[grey]], ["left", "right"], ["note"])
