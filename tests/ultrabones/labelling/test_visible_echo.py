"""Which part of a label returns an echo: a bone drawn by hand, column by column."""

from __future__ import annotations

import numpy as np
import pytest

from medcli.ultrabones.labelling import visible_echo
from medcli.ultrabones.labelling.visible_echo import echo_part

SPACING_MM = 0.05
ROW = 200
SEEN, GREY_WALL, NO_SHADOW, SEEN_AGAIN = slice(20, 120), slice(120, 200), slice(200, 280), slice(280, 380)


def frame() -> tuple[np.ndarray, np.ndarray]:
    """A level label at row 200, and an image with tissue of grey 50 above, and echo and shadow in some columns."""
    label, grey = np.zeros((400, 400), np.uint8), np.full((400, 400), 50, np.uint8)
    label[ROW : ROW + 4, 20:380] = 255
    grey[ROW + 4 :, 20:200] = grey[ROW + 4 :, SEEN_AGAIN] = 10
    for columns in (SEEN, NO_SHADOW, SEEN_AGAIN):
        grey[ROW - 4 : ROW + 6, columns] = 200
    grey[ROW + 6 :, NO_SHADOW] = 150
    return label, grey


def columns_of(part: np.ndarray) -> set[int]:
    return set(np.flatnonzero(part.any(axis=0)).tolist())


def test_bone_is_bright_with_a_shadow_below() -> None:
    label, grey = frame()
    found = echo_part(label, grey, SPACING_MM)
    kept = columns_of(found)
    for columns, expected in ((SEEN, 1), (GREY_WALL, 0), (NO_SHADOW, 0), (SEEN_AGAIN, 1)):
        inner = range(columns.start + 8, columns.stop - 8)  # smoothing blurs the borders
        assert sum(column in kept for column in inner) == expected * len(inner)
    assert not (found & ~label).any()
    assert (found[:, 60] == label[:, 60]).all()


@pytest.mark.parametrize(("offset_mm", "is_seen"), [(-0.6, True), (0.6, True), (1.5, False), (-1.5, False)])
def test_an_echo_is_looked_for_within_the_error_of_tracking(offset_mm: float, is_seen: bool) -> None:
    label, grey = frame()
    moved = np.roll(label, round(offset_mm / SPACING_MM), axis=0)
    assert (60 in columns_of(echo_part(moved, grey, SPACING_MM))) == is_seen


def test_short_gaps_are_filled_and_short_pieces_dropped() -> None:
    label, grey = frame()
    grey[ROW - 4 : ROW + 6, 60:68] = 20  # 0.4 mm without echo
    grey[ROW - 4 : ROW + 6, 155:163] = 200  # 0.4 mm of echo in the wall
    kept = columns_of(echo_part(label, grey, SPACING_MM))
    assert set(range(50, 90)) <= kept
    assert not kept & set(range(140, 180))


def test_at_the_lower_edge_the_shadow_is_not_asked_for() -> None:
    label, grey = frame()
    low = 400 - ROW - 12
    found = echo_part(np.roll(label, low, axis=0), np.roll(grey, low, axis=0), SPACING_MM)
    assert {60, 240} <= columns_of(found)
    assert 160 not in columns_of(found)


def test_nothing_of_an_empty_label_or_a_black_image() -> None:
    label, grey = frame()
    assert not echo_part(np.zeros_like(label), grey, SPACING_MM).any()
    assert not echo_part(label, np.zeros_like(grey), SPACING_MM).any()


def test_the_stated_thresholds_are_those_of_the_kernel() -> None:
    label, grey = frame()
    for level, is_seen in ((visible_echo.LEAST_GREY - 3, False), (visible_echo.LEAST_GREY + 3, True)):
        flat = np.where(grey == 200, round(level), np.where(grey == 10, 10, 30)).astype(np.uint8)
        flat[: ROW - 4, :] = round(level)
        assert (60 in columns_of(echo_part(label, flat, SPACING_MM))) == is_seen
