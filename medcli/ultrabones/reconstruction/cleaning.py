"""Take points out of a cloud that are probably not bone: statistical outliers, and points without company.

Pixels of one frame lie 0.05 mm apart, frames up to a millimetre, so the nearest points of a pixel are its own frame's
and say nothing. Company is therefore looked for among one point a cube of half a millimetre (or of ``voxel_mm``, if
larger).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError, quantity
from medcli.ultrabones.reconstruction.cleaning_options import COMPANY_VOXEL_MM, Cleaning
from medcli.ultrabones.reconstruction.point_cloud import thin, without_outliers

NEIGHBOURS = 20
"""Cubes that a statistical outlier is judged by."""
LEAST_COMPANY = 5
"""Other cubes that a point needs within the radius."""
_PER_TASK = 200_000


def clean(points: NDArray[np.float64], cleaning: Cleaning, workers: int = 1) -> NDArray[np.int64]:
    """The rows of points (N, 3) that are kept, ascending: thinned, then without outliers, then with company.

    Raises:
        DataError: a coordinate is not finite, or nothing is left.
    """
    if not np.isfinite(points).all():
        wrong = int(np.count_nonzero(~np.isfinite(points).all(axis=1)))
        raise DataError(f"{quantity(wrong, 'point of the cloud is', 'points of the cloud are')} not finite")
    kept = thin(points, cleaning.voxel_mm)[1]
    if len(kept) and cleaning.outlier_sd > 0:
        mean = _distances(points, kept, NEIGHBOURS, cleaning, workers).mean(axis=1)
        kept = kept[without_outliers(mean, cleaning.outlier_sd)]
    if len(kept) and cleaning.radius_mm > 0:
        farthest = _distances(points, kept, LEAST_COMPANY + 1, cleaning, workers)[:, -1]  # the nearest is its own cube
        kept = kept[farthest <= cleaning.radius_mm]
    if len(points) and not len(kept):
        raise DataError(
            f"cleaning leaves none of {quantity(len(points), 'point')}",
            "a larger --radius-mm (millimetres) or --outlier-sd keeps more",
        )
    return kept


def _distances(
    points: NDArray[np.float64], rows: NDArray[np.int64], count: int, cleaning: Cleaning, workers: int
) -> NDArray[np.float64]:
    """Distances of some points to the ``count`` nearest cubes' points, (N, count); infinite beyond the last."""
    from scipy.spatial import cKDTree

    company = thin(points[rows], max(cleaning.voxel_mm, COMPANY_VOXEL_MM))[0]
    tree, count = cKDTree(company), min(count, len(company))
    parts = range(0, len(rows), _PER_TASK)
    found = [tree.query(points[rows[first : first + _PER_TASK]], k=count, workers=workers)[0] for first in parts]
    return np.concatenate(found).reshape(len(rows), count)
