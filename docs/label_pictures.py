"""Make the pictures of the labelling section: ``python docs/label_pictures.py DATA_FOLDER`` (a record with frames)."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from medcli.images import read_grey, read_rgb, write_image
from medcli.ultrabones.bones import find_meshes, load_surfaces
from medcli.ultrabones.cloud_figure import draw_cloud
from medcli.ultrabones.distance_field import DistanceField
from medcli.ultrabones.label_sweep import draw_overlay
from medcli.ultrabones.point_cloud import surface_distances
from medcli.ultrabones.reconstruct import back_project
from medcli.ultrabones.refine import refine_frame
from medcli.ultrabones.section import full_label, partial_label
from medcli.ultrabones.sweeps import INITIAL, find_sweeps, read_poses

IMAGES = Path(__file__).parent / "images"


def main(root: Path) -> None:
    sweep = find_sweeps(root)[0]
    surfaces = load_surfaces(find_meshes(sweep.folder, sweep.specimen))
    poses = read_poses(sweep, INITIAL)
    field = DistanceField.around(surfaces)
    rows = []
    for frame in (1, len(sweep.timestamps) * 2 // 3 + 1, len(sweep.timestamps) - 5):
        image, spacing = read_grey(sweep.images[frame]), float(poses.spacing_mm[frame])
        found = refine_frame(image, poses.pose[frame], spacing, surfaces, field, sweep.timestamps[frame])
        labels = [full_label(surfaces, pose, spacing)[0] for pose in (poses.pose[frame], found.pose)]
        rows.append(np.vstack([draw_overlay(image, label, partial_label(label)) for label in labels]))
    picture = cv2.resize(np.hstack(rows), None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    write_image(IMAGES / "label.jpg", np.asarray(picture, np.uint8), quality=85)

    clouds = []
    for frame, pose in enumerate(poses.pose):
        label = full_label(surfaces, pose)[0]
        clouds.append(back_project(partial_label(label), pose, float(poses.spacing_mm[frame])))
    points = np.concatenate(clouds)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cloud.png"
        draw_cloud(path, points, surface_distances(points, surfaces), surfaces, f"{sweep.name}, partial labels in 3D")
        write_image(IMAGES / "reconstruct.jpg", read_rgb(path), quality=80)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
