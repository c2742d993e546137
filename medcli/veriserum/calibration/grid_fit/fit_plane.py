"""Fit the distortion of one plane to an image of the grid phantom."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcli.core import image_io
from medcli.core.errors import DataError
from medcli.veriserum.calibration.distortion_model import DistortionModel, PolynomialDistortion
from medcli.veriserum.calibration.grid_fit.bead_detection import Beads, find_beads
from medcli.veriserum.calibration.grid_fit.bead_matching import GridMatch, View, match_grid
from medcli.veriserum.calibration.grid_fit.held_out import HeldOut, held_out_residuals
from medcli.veriserum.calibration.grid_fit.phantom import nodes_to_mm
from medcli.veriserum.calibration.grid_fit.robust_fit import RobustFit, fit_distortion
from medcli.veriserum.calibration.undistorted_pairs import to_native_size
from medcli.veriserum.dataset.detector import NATIVE_HEIGHT, NATIVE_WIDTH

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class GridFit:
    """The fit of one image with its intermediate results.

    Attributes:
        image: (1600, 1664) the image at the native size.
        beads: every spot that was found.
        match: which of them are beads of the phantom.
        fit: the calibration.
        held_out: its residuals on beads that it was not fitted to.
    """

    image: NDArray[Any]
    beads: Beads
    match: GridMatch
    fit: RobustFit
    held_out: HeldOut

    @property
    def centres_px(self) -> NDArray[np.float64]:
        """(K, 2) column and row of the recognised beads."""
        return self.beads.centres_px[self.match.spots]


def fit_image_file(
    plane: str, path: Path, mirrored: bool = False, model: type[DistortionModel] = PolynomialDistortion
) -> GridFit:
    """Fit the calibration of one plane to an image file.

    Raises:
        DataError: it cannot be read or does not show the phantom.
    """
    image = image_io.read_grey(path)
    if image.shape != (NATIVE_HEIGHT, NATIVE_WIDTH):
        _LOG.warning(
            "%s has %d x %d pixels; it is resized to %d x %d, the native size",
            *(path, image.shape[1], image.shape[0], NATIVE_WIDTH, NATIVE_HEIGHT),
        )
    try:
        found = fit_grid(to_native_size(image), model)
    except DataError as error:
        raise DataError(
            f"{path}, plane {plane}: {error.message}", error.hint or "the image must show the complete bead grid"
        ) from error
    _check_view(found.match.view, f"{path}, plane {plane}", mirrored)
    return found


def fit_grid(image: NDArray[Any], model: type[DistortionModel] = PolynomialDistortion) -> GridFit:
    """Detect the beads in an image (1600, 1664), match them to the phantom, and fit the distortion.

    Raises:
        DataError: it does not show the phantom.
    """
    beads = find_beads(image)
    match = match_grid(beads.centres_px)
    centres = beads.centres_px[match.spots]
    fit = fit_distortion(model, centres, nodes_to_mm(match.nodes))
    return GridFit(image, beads, match, fit, held_out_residuals(fit, centres, match.nodes))


def _check_view(view: View, name: str, mirrored: bool) -> None:
    if view is View.TURNED:
        raise DataError(f"{name}: the image is {view.value}, by its orientation bead", "rotate it and try again")
    if view.is_mirrored and not mirrored:
        raise DataError(
            f"{name}: the image is {view.value} or rotated by 90 degrees, by its orientation bead",
            "rotate it; or, if the study's images are mirrored as well, add --mirrored: the calibration reverses it",
        )
    if mirrored and not view.is_mirrored:
        raise DataError(f"{name}: the image is not mirrored, by its orientation bead", "omit --mirrored")
