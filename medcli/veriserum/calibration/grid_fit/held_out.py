"""Does a fitted distortion model describe the image? Residuals on beads left out, and their pattern in space.

A residual of the fit says how well its own beads were matched. What a study needs is the error between the beads: the
model is fitted to four fifths of them and looked at on the last fifth, five times. If the model can follow the
distortion, what remains is the noise of finding beads, which neighbours do not share. Residuals that neighbours share
are distortion that the model cannot follow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError
from medcli.veriserum.calibration.grid_fit.phantom import BEADS_ALONG, nodes_to_mm
from medcli.veriserum.calibration.grid_fit.robust_fit import RobustFit, rejection_limit_mm, robust_spread_mm

Points = NDArray[np.float64]
FOLDS = 5
_AUTOCORRELATION, _SYSTEMATIC_MM = 0.3, 0.02
"""A pattern over the whole image: both are reached."""
_LARGEST_MM, _LARGEST_SHARE = 0.04, 3.0
"""A pattern at one place: larger than both, the second times the spread of single residuals."""
_NEIGHBOURS = 5
"""Of the nine beads about a place, so many must be there for a local median."""


@dataclass(frozen=True)
class HeldOut:
    """Residuals of beads that the model was not fitted to.

    Attributes:
        residuals_mm: (N, 2) of every recognised bead, mapped minus true, by a fit without it and the rest of its fifth.
        local_mm: (N, 2) their median over the 3 x 3 beads about each; NaN where fewer than five of these are there.
        spread_mm: robust standard deviation of a residual along one axis.
        autocorrelation: Moran's I of the residual vectors over beads next to each other: 0 for independent residuals,
            towards 1 for a smooth field.
        systematic_mm: root mean square of the part that neighbours share.
        largest_mm: largest length in ``local_mm``.
        largest_place_mm: where, to the right and up from the centre of the phantom.
    """

    residuals_mm: Points
    local_mm: Points
    spread_mm: float
    autocorrelation: float
    systematic_mm: float
    largest_mm: float
    largest_place_mm: tuple[float, float]

    @property
    def misfit(self) -> str:
        """What the model cannot follow, as a sentence for a warning; empty where it fits."""
        everywhere = self.autocorrelation >= _AUTOCORRELATION and self.systematic_mm >= _SYSTEMATIC_MM
        if not everywhere and self.largest_mm < max(_LARGEST_MM, _LARGEST_SHARE * self.spread_mm):
            return ""
        x, y = self.largest_place_mm
        return (
            f"the model does not follow this distortion: residuals of held-out beads agree with those of their "
            f"neighbours (autocorrelation {self.autocorrelation:.2f}; shared part {self.systematic_mm:.3f} mm, up to "
            f"{self.largest_mm:.3f} mm at x {x:.0f}, y {y:.0f} mm)"
        )


def held_out_residuals(fit: RobustFit, centres_px: Points, nodes: NDArray[np.int64]) -> HeldOut:
    """Cross-validate a fit over five interleaved sets of beads; deterministic.

    Outliers of the fit are not fitted to here either, but looked at: a local distortion that was rejected as a group of
    outliers is the very thing to be found. A single wrong bead counts as its neighbours do.

    Args:
        fit: the fit to all beads.
        centres_px: (N, 2) column and row of the beads in the image.
        nodes: (N, 2) which bead of the phantom each is.
    """
    beads_mm = nodes_to_mm(nodes)
    fold = (nodes[:, 0] + 2 * nodes[:, 1]) % FOLDS  # none beside another of its own
    residuals = np.empty_like(beads_mm)
    for one in range(FOLDS):
        asked, known = fold == one, fit.used & (fold != one)
        if not asked.any():
            continue
        try:
            model = type(fit.distortion).from_estimate(centres_px[known], beads_mm[known])
        except np.linalg.LinAlgError as error:
            raise DataError("the model cannot be fitted to four fifths of the beads") from error
        residuals[asked] = model.residuals(centres_px[asked], beads_mm[asked])
    spread = robust_spread_mm(residuals[fit.used])
    grid = np.full((BEADS_ALONG, BEADS_ALONG, 2), np.nan)
    grid[tuple(nodes.T)] = residuals
    medians = _local_medians(grid)
    alone = np.linalg.norm(grid - medians, axis=2) > rejection_limit_mm(residuals[fit.used])
    grid[alone] = medians[alone]
    autocorrelation, systematic = _moran(grid)
    local = medians[tuple(nodes.T)]
    size = np.nan_to_num(np.linalg.norm(local, axis=1))
    x, y = beads_mm[int(size.argmax())].tolist()
    return HeldOut(residuals, local, spread, autocorrelation, systematic, float(size.max()), (x, y))


def _moran(grid: Points) -> tuple[float, float]:
    """Autocorrelation of vectors (M, M, 2) over neighbours along both axes, and the size of what they share.

    Not centred: a fit has no mean residual, and a shift of all beads alike would be a pattern, too.
    """
    products = [
        (grid[1:] * grid[:-1]).sum(axis=2).ravel(),
        (grid[:, 1:] * grid[:, :-1]).sum(axis=2).ravel(),
    ]
    pairs = np.concatenate(products)
    pairs = pairs[~np.isnan(pairs)]
    squares = (grid**2).sum(axis=2)
    power = float(squares[~np.isnan(squares)].mean())
    shared = float(pairs.mean()) if len(pairs) else 0.0
    return (shared / power if power > 0 else 0.0), float(np.sqrt(max(shared, 0.0)))


def _local_medians(grid: Points) -> Points:
    """Median of the 3 x 3 vectors about each place of (M, M, 2), of those that are there."""
    padded = np.pad(grid, ((1, 1), (1, 1), (0, 0)), constant_values=np.nan)
    size = len(grid)
    around = np.stack([padded[i : i + size, j : j + size] for i in range(3) for j in range(3)])
    enough = (~np.isnan(around)).sum(axis=0) >= _NEIGHBOURS
    return np.where(enough, np.nanmedian(np.where(enough, around, 0.0), axis=0), np.nan)
