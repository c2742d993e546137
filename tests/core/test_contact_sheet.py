"""Sheets of images: what stands where."""

from __future__ import annotations

import numpy as np
import pytest

from medcli.core.contact_sheet import TILE_WIDTH, Tile, contact_sheet, tile_sheet


def test_rows_and_columns_of_images_of_any_size() -> None:
    grey, colour = np.full((7, 7), 10, np.uint8), np.zeros((600, 600, 3), np.uint8)
    colour[..., 0] = 200
    sheet = contact_sheet([[grey, colour], [colour, grey]], ["a", "b"], ["", ""], panel=50)
    assert (sheet == 10).all(axis=2).sum() == (sheet == (200, 0, 0)).all(axis=2).sum() == 2 * 50 * 50
    with pytest.raises(ValueError, match="2 images each"):
        contact_sheet([[grey]], ["a", "b"], [""])


@pytest.mark.parametrize("count", [1, 4, 5])
def test_tiles_of_different_heights_keep_theirs(count: int) -> None:
    tiles = [Tile(np.full((50 + 10 * i, TILE_WIDTH, 3), 30 + i, np.uint8), "frame") for i in range(count)]
    sheet = tile_sheet(tiles)
    for i in range(count):
        assert (sheet == 30 + i).all(axis=2).sum() >= (50 + 10 * i) * TILE_WIDTH
    assert sheet.shape[1] == min(count, 4) * (TILE_WIDTH + 6) + 6


def test_of_a_long_caption_the_end_is_kept() -> None:
    image = np.zeros((20, TILE_WIDTH, 3), np.uint8)
    long, other = ("x" * 100 + end for end in ("1.png", "2.png"))
    assert not np.array_equal(tile_sheet([Tile(image, long)]), tile_sheet([Tile(image, other)]))
    for caption, drawn in (("normal äö.png", "normal aeoe.png"), ("a\u0308", "ae"), ("é ñ", "e n"), ("骨", "?")):
        assert np.array_equal(tile_sheet([Tile(image, caption)]), tile_sheet([Tile(image, drawn)])), caption


def test_a_long_caption_is_wrapped_and_a_wide_note_is_smaller() -> None:
    image = np.zeros((20, TILE_WIDTH, 3), np.uint8)
    words = "tibia record01 160200 0.00 mm, 0.00 mm, and more than fits"
    first, second = (tile_sheet([Tile(image, f"{name} {words}")]) for name in ("specimen01", "specimen02"))
    assert len(first) > len(tile_sheet([Tile(image, "short")]))
    assert not np.array_equal(first, second)
    sheet = contact_sheet([[image[:20, :20]]], ["a heading of many letters"], ["a note of many letters"], panel=60)
    assert (sheet[:, -6:] == 250).all(), "nothing runs into the margin"
