"""Pairs undistorted on the fly, and the cached maps."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from medcli.veriserum.calibration import undistorted_pairs
from medcli.veriserum.calibration.undistorted_pairs import Undistorter, to_native_size
from medcli.veriserum.calibration.undistortion_map import AreaMap, ReferenceMap
from tests.support.made_veriserum import make_distortion, smooth_image

MODELS = {"bs": make_distortion(1), "fs": make_distortion(2)}
PAIR = {"bs": smooth_image(1), "fs": smooth_image(2)}
BLACK = np.zeros((1600, 1664), np.uint8)


def test_each_plane_is_divided_by_its_maximum_unless_one_is_black() -> None:
    undistorter = Undistorter(64)
    found = undistorter.pair(PAIR, MODELS)
    for plane, model in MODELS.items():
        expected = ReferenceMap.build(model, 64).apply(PAIR[plane], float(PAIR[plane].max()))
        np.testing.assert_array_equal(found[plane], expected)
    beside_black = undistorter.pair({**PAIR, "fs": BLACK}, MODELS)
    np.testing.assert_array_equal(beside_black["bs"], ReferenceMap.build(MODELS["bs"], 64).apply(PAIR["bs"], 0))
    assert not beside_black["fs"].any()


def test_a_plane_that_is_not_selected_only_determines_the_scaling() -> None:
    undistorter = Undistorter(64)
    only = {"bs": MODELS["bs"]}
    assert list(undistorter.pair(PAIR, only)) == ["bs"]
    np.testing.assert_array_equal(undistorter.pair(PAIR, only)["bs"], undistorter.pair(PAIR, MODELS)["bs"])
    np.testing.assert_array_equal(
        undistorter.pair({**PAIR, "fs": BLACK}, only)["bs"], undistorter.pair({**PAIR, "fs": BLACK}, MODELS)["bs"]
    )
    assert undistorter.pair({"fs": PAIR["fs"]}, only) == {}


def test_area_accepts_images_of_any_size() -> None:
    small = PAIR["bs"][::2, ::2]
    found = Undistorter(64, "area").pair({"bs": small}, {"bs": MODELS["bs"]})["bs"]
    np.testing.assert_array_equal(found, AreaMap.build(MODELS["bs"], 64).apply(small, float(small.max())))


def test_an_image_of_the_native_size_is_unchanged() -> None:
    assert to_native_size(PAIR["bs"]) is PAIR["bs"]
    resized = to_native_size(PAIR["bs"][::2, ::2])
    assert (resized.shape, resized.dtype) == ((1600, 1664), np.float32)
    assert 0 <= resized.min() < resized.max() <= 1


def test_a_map_is_built_once_for_all_threads_and_the_oldest_is_dropped_first(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def build(model: object, size: int, resampling: str) -> ReferenceMap:
        made.append(model.fingerprint)  # type: ignore[attr-defined]
        return ReferenceMap(size, np.zeros((2, 2), np.int32))

    monkeypatch.setattr(undistorted_pairs, "load_or_build", build)
    undistorter, models = Undistorter(64, most_maps=2), [make_distortion(seed) for seed in range(3)]
    with ThreadPoolExecutor(8) as pool:
        maps = list(pool.map(undistorter.map_of, models[:1] * 20))
    assert all(one is maps[0] for one in maps)
    for model in (models[1], models[0], models[2], models[0], models[1]):
        undistorter.map_of(model)
    names = [model.fingerprint for model in models]
    assert made == [names[0], names[1], names[2], names[1]]
