"""Both resamplings against the known undistorted truth of synthetic images."""

from __future__ import annotations

import numpy as np
import pytest

from medcli.core import image_io
from medcli.synthetic.fluoroscopy.dataset import IMAGE_FOLDER, SyntheticVeriserum, make_veriserum
from medcli.veriserum.calibration.undistort import CalibrationSettings, ImageSelection, calibrate
from medcli.veriserum.calibration.undistortion_map import AreaMap


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> SyntheticVeriserum:
    return make_veriserum(tmp_path_factory.mktemp("synthetic"), pairs=2, seed=5, frames_per_trial=1)


def errors(
    synthetic: SyntheticVeriserum, resample: str, size: int, ids: tuple[int, ...] = (1, 2)
) -> tuple[list[float], list[float]]:
    """RMSE in grey levels of each calibrated image against the truth: inside the field of view, and everywhere."""
    out = synthetic.root / f"{resample}-{size}"
    settings = CalibrationSettings(size=size, format="png", resample=resample)
    result = calibrate(synthetic.root, out, settings, ImageSelection(ids=[(number, number) for number in ids]))
    assert (result.done, result.failed) == (2 * len(ids), 0)
    study, inside, everywhere = synthetic.study, [], []
    for number in ids:
        frame = study.frames[number]
        for plane in ("bs", "fs"):
            # Calibrating makes the brightest pixel of the file white.
            scale = 255 * 255 / image_io.read_grey(synthetic.root / IMAGE_FOLDER / f"{plane}_{number:06d}.jpg").max()
            truth = study.truth(number, plane, size) * scale
            squared = (image_io.read_grey(out / f"calibrated_{plane}_{number:06d}.png") - truth) ** 2
            view = AreaMap.build(study.calibrations[frame.calibration_id].distortion(plane), size).inside
            inside.append(float(np.sqrt(squared[view].mean())))
            everywhere.append(float(np.sqrt(squared.mean())))
    return inside, everywhere


def test_calibrating_restores_the_truth_and_area_is_closer(synthetic: SyntheticVeriserum) -> None:
    """At 512 pixels: reference about 3.3 grey levels from the truth, area about 1.9 (the rest is image noise)."""
    reference, reference_everywhere = errors(synthetic, "reference", 512)
    area, area_everywhere = errors(synthetic, "area", 512)
    assert max(reference) < 6, "the published procedure restores the truth, but aliases"
    for close, far in zip(area, reference, strict=True):
        assert close < 0.7 * far
    for close, far in zip(area_everywhere, reference_everywhere, strict=True):
        assert close < far, "no copied edge pixels outside the field of view"


def test_a_map_of_another_calibration_does_not_restore_it(synthetic: SyntheticVeriserum) -> None:
    """The comparison can fail: pixels corrected with another plane's calibration are far from the truth."""
    study = synthetic.study
    native = study.native(1, "bs")
    truth = study.truth(1, "bs", 512) * (255 / (native.max() / 255))
    wrong = AreaMap.build(study.calibrations[study.frames[1].calibration_id].distortion("fs"), 512)
    difference = (wrong.apply(native, float(native.max())) - truth)[wrong.inside]
    assert np.sqrt((difference**2).mean()) > 10


@pytest.mark.deep
def test_area_at_native_resolution(synthetic: SyntheticVeriserum) -> None:
    area, _ = errors(synthetic, "area", 1600, ids=(1,))
    assert max(area) < 6
