"""The bead-grid phantom for measuring distortion calibrations (Wang et al., "Veriserum", MICCAI 2025).

45 x 45 lead beads of 2 mm diameter, 7 mm apart, about the centre of the field, on the intensifier itself (no
magnification). The corners are cut: the outermost row has 23 beads, each of the next ten rows two more. One further
bead outside the top left edge marks the orientation.

A bead's **node** is its index from the left and from below, (0, 0) to (44, 44).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

BEADS_ALONG, PITCH_MM, BEAD_RADIUS_MM = 45, 7.0, 1.0
CUT_ROWS = 11
ORIENTATION_BEAD = (5, 39)
"""Node of the orientation bead."""
MIDDLE = BEADS_ALONG // 2


def octagon() -> NDArray[np.bool_]:
    """(45, 45): nodes of the regular beads, [from the left, from below]; invariant under quarter turns and flips."""
    index = np.abs(np.arange(BEADS_ALONG) - MIDDLE)
    return np.asarray(index[:, None] + index[None, :] <= 2 * MIDDLE - CUT_ROWS)


def bead_presence() -> NDArray[np.bool_]:
    """(45, 45): whether there is a bead, [from the left, from below]: the octagon and the orientation bead."""
    present = octagon()
    present[ORIENTATION_BEAD] = True
    return present


def nodes_to_mm(nodes: ArrayLike) -> NDArray[np.float64]:
    """Nodes (N, 2) to millimetres (N, 2), to the right and up from the centre of the phantom."""
    return (np.asarray(nodes, dtype=np.float64) - MIDDLE) * PITCH_MM


def bead_centres_mm() -> NDArray[np.float64]:
    """(N, 2): the beads, to the right and up from the centre, in millimetres."""
    return nodes_to_mm(np.argwhere(bead_presence()))
