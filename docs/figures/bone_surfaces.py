"""Make the figures of visible rules and of surfaces: ``python docs/figures/bone_surfaces.py``.

From a synthetic sweep with poses as they are: ``docs/images/visible-rule.jpg``, frames with the part of the label that
each rule calls visible, and ``docs/images/surface.jpg``, the open and the watertight surface through the labels.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from medcli.core.image_io import read_grey, write_image
from medcli.core.mesh import Mesh
from medcli.core.overlays import overlay_masks
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.dataset.mesh_files import find_meshes
from medcli.ultrabones.dataset.records import INITIAL, Sweep, find_sweeps, read_poses
from medcli.ultrabones.geometry.bone_meshes import load_surfaces
from medcli.ultrabones.geometry.bone_surface import Surface
from medcli.ultrabones.labelling.label_rules import partial_label
from medcli.ultrabones.labelling.mesh_section import full_label
from medcli.ultrabones.labelling.visible_echo import echo_part
from medcli.ultrabones.reconstruction.bone_shell import OPEN, WATERTIGHT, make_shell
from medcli.ultrabones.reconstruction.cloud_normals import estimate_normals
from medcli.ultrabones.reconstruction.mask_points import masks_of, project_masks

IMAGES = Path(__file__).parents[1] / "images"
QUALITY = 62
ORANGE, BLUE, WHITE = (255, 176, 0), (64, 156, 255), 255


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        sweep, bones = _swept(Path(name) / "few", SweepSettings(5, pose_error_mm=0.0, pose_error_deg=0.0))
        write_image(IMAGES / "visible-rule.jpg", _rules(sweep, bones), QUALITY)
        sweep, bones = _swept(Path(name) / "many", SweepSettings(220, 0.5, pose_error_mm=0.0, pose_error_deg=0.0))
        clouds, towards, _ = project_masks(sweep, read_poses(sweep, INITIAL), masks_of(sweep, "Labels"))
        points = np.concatenate(clouds)
        normals = estimate_normals(points, np.repeat(towards, [len(one) for one in clouds], axis=0))
        shells = [make_shell(points, normals, kind) for kind in (OPEN, WATERTIGHT)]
        seen = np.concatenate([bone.triangles for bone in bones if bone.name != "foot"])
        write_image(IMAGES / "surface.jpg", _surfaces(seen, shells), QUALITY)


def _swept(root: Path, settings: SweepSettings) -> tuple[Sweep, list[Surface]]:
    """A sweep along a tibia and the bones of that leg."""
    make_ultrabones(root, (2,), anatomies=("tibia",), seed=4, settings=settings)
    (sweep,) = find_sweeps(root)
    return sweep, load_surfaces(find_meshes(sweep.folder, sweep.specimen))


def _rules(sweep: Sweep, bones: list[Surface]) -> np.ndarray:
    """Frames in columns; above the first runs in orange, below those with an echo, and in blue what that drops."""
    poses, columns = read_poses(sweep, INITIAL), []
    for frame in range(1, len(sweep.images) - 1):
        grey, spacing = read_grey(sweep.images[frame]), float(poses.spacing_mm[frame])
        full, _ = full_label(bones, poses.pose[frame], spacing, grey.shape)
        runs = partial_label(full)
        seen = echo_part(runs, grey, spacing)
        thick = [cv2.dilate(part, np.ones((7, 7), np.uint8)) > 0 for part in (runs, seen, runs & ~seen)]
        above = overlay_masks(grey, (thick[0], ORANGE))
        below = overlay_masks(grey, (thick[2], BLUE), (thick[1], ORANGE))
        columns.append(np.vstack([above, np.full((8, grey.shape[1], 3), WHITE, np.uint8), below]))
    gap = np.full((len(columns[0]), 8, 3), WHITE, np.uint8)
    sheet = np.hstack([part for column in columns for part in (column, gap)][:-1])
    return np.asarray(cv2.resize(sheet, None, fx=0.36, fy=0.36, interpolation=cv2.INTER_AREA), np.uint8)


def _surfaces(bones: np.ndarray, shells: list[Mesh]) -> np.ndarray:
    """The bones in grey and the two surfaces, seen from the probe (above) and from the other side, long axis level."""
    points = np.concatenate([shell.vertices for shell in shells])
    long = np.linalg.svd((points - points.mean(axis=0))[::20], full_matrices=False)[2][0]
    corners = shells[0].triangles
    outwards = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).sum(axis=0)
    outwards -= long * (outwards @ long)
    outwards /= np.linalg.norm(outwards)
    meshes = ((bones, (205, 200, 190)), (shells[0].triangles, ORANGE), (shells[1].triangles, BLUE))
    views = [np.stack([np.cross(view, long), long, view]) for view in (outwards, -outwards)]
    sides = [np.hstack([_shade(one, frame, points, colour) for frame in views]) for one, colour in meshes]
    return np.vstack(sides)


def _shade(triangles: np.ndarray, frame: np.ndarray, extent: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """A shaded view from ``frame[2]`` of what lies within ``extent``: random points, the nearest on top."""
    scale, margin = 2.6, 5.0
    low, high = (extent @ frame.T).min(axis=0) - margin, (extent @ frame.T).max(axis=0) + margin
    shape = np.ceil((high - low)[:2] * scale).astype(int)
    across = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    area = np.linalg.norm(across, axis=1)
    generator = np.random.default_rng(0)
    chosen = generator.choice(len(triangles), 1_500_000, p=area / area.sum())
    share = generator.dirichlet((1, 1, 1), len(chosen))
    local = np.einsum("nk,nkc->nc", share, triangles[chosen]) @ frame.T
    light = 0.25 + 0.75 * np.abs(across[chosen] @ frame[2]) / area[chosen]
    cells = np.floor((local[:, :2] - low[:2]) * scale).astype(int)
    inside = np.flatnonzero(((cells >= 0) & (cells < shape)).all(axis=1))
    inside = inside[np.argsort(local[inside, 2])]
    image = np.full((*shape, 3), WHITE, np.uint8)
    image[tuple(cells[inside].T)] = (light[inside, None] * np.array(colour)).astype(np.uint8)
    return image


if __name__ == "__main__":
    main()
