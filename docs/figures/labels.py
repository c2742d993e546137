"""Make the figures of the labelling section: ``python docs/figures/labels.py [DATA_FOLDER]``.

- ``docs/images/label.jpg``: three frames with their labels at the tracked pose and at the refined one.
- ``docs/images/reconstruct.jpg``: the visible bone of a whole sweep in CT space.

Without DATA_FOLDER the sweep is synthetic: 60 frames along a fibula, tracked up to 0.8 mm and 0.6 degrees wrong in each
component of the pose. With it the first record of that folder is drawn, into the current folder: images of recorded
frames do not belong into the documentation's own.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from medcli.core.image_io import read_grey, read_rgb, write_image
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.dataset.records import INITIAL, Poses, Sweep, find_sweeps, read_poses
from medcli.ultrabones.geometry.bone_meshes import find_meshes, load_surfaces
from medcli.ultrabones.geometry.bone_surface import Surface
from medcli.ultrabones.labelling.label_record import draw_overlay
from medcli.ultrabones.labelling.label_rules import partial_label
from medcli.ultrabones.labelling.mesh_section import full_label
from medcli.ultrabones.pose_refinement.distance_field import DistanceField
from medcli.ultrabones.pose_refinement.refine_frame import refine_frame
from medcli.ultrabones.reconstruction.figure import draw_cloud
from medcli.ultrabones.reconstruction.mask_points import back_project
from medcli.ultrabones.reconstruction.point_cloud import surface_distances

IMAGES = Path(__file__).parents[1] / "images"
SYNTHETIC = SweepSettings(frames=60, optimized_columns=False, pose_error_mm=0.8, pose_error_deg=0.6)


def main() -> None:
    if len(sys.argv) > 1:
        draw_all(Path(sys.argv[1]), Path.cwd())
        return
    with tempfile.TemporaryDirectory() as folder:
        draw_all(make_ultrabones(folder, (1,), settings=SYNTHETIC), IMAGES)


def draw_all(root: Path, images: Path) -> None:
    """Both figures of the first record below ``root``, into the folder ``images``."""
    sweep = find_sweeps(root)[0]
    surfaces = load_surfaces(find_meshes(sweep.folder, sweep.specimen))
    poses = read_poses(sweep, INITIAL)
    draw_refinement(images / "label.jpg", sweep, poses, surfaces)
    draw_reconstruction(images / "reconstruct.jpg", sweep, poses, surfaces)


def draw_refinement(path: Path, sweep: Sweep, poses: Poses, surfaces: list[Surface]) -> None:
    """Three frames side by side, each with its labels before (above) and after refinement (below)."""
    field = DistanceField.around(surfaces)
    columns = []
    for frame in (1, len(sweep.timestamps) * 2 // 3 + 1, len(sweep.timestamps) - 5):
        image, spacing = read_grey(sweep.images[frame]), float(poses.spacing_mm[frame])
        found = refine_frame(image, poses.pose[frame], spacing, surfaces, field, sweep.timestamps[frame])
        change = f"moved {found.displacement_mm:.2f} mm, {found.rotation_deg:.2f} degrees"
        print(f"frame {frame}: {found.reason or change}")
        labels = [full_label(surfaces, pose, spacing)[0] for pose in (poses.pose[frame], found.pose)]
        columns.append(np.vstack([draw_overlay(image, label, partial_label(label)) for label in labels]))
    shown = cv2.resize(np.hstack(columns), None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    write_image(path, np.asarray(shown, np.uint8), quality=68)


def draw_reconstruction(path: Path, sweep: Sweep, poses: Poses, surfaces: list[Surface]) -> None:
    """The partial labels of all frames in CT, from three sides."""
    clouds = []
    for pose, spacing in zip(poses.pose, poses.spacing_mm, strict=True):
        label = full_label(surfaces, pose, float(spacing))[0]
        clouds.append(back_project(partial_label(label), pose, float(spacing)))
    points = np.concatenate(clouds)
    with tempfile.TemporaryDirectory() as folder:
        figure = Path(folder) / "cloud.png"
        draw_cloud(figure, points, surface_distances(points, surfaces), surfaces, f"{sweep.name}, partial labels in 3D")
        write_image(path, read_rgb(figure), quality=65)


if __name__ == "__main__":
    main()
