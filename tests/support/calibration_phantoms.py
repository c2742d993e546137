"""Tracked frames of calibration phantoms with known truth: a point, or the wires of three N."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.spatial.transform import Rotation

from medcli.core.rigid_transforms import ULTRABONES_EULER, invert_rigid, rigid_transform

SPACING_MM = 0.12
ROWS, COLUMNS = 480, 640
TRUE = rigid_transform([21.0, -4.0, 95.0], [80.0, -3.0, 172.0], ULTRABONES_EULER)
"""Top-left corner of the image to the marker."""
POINT = np.array([40.0, -60.0, 900.0])
POSE = ["x", "y", "z", "euler_x", "euler_y", "euler_z"]


def wires() -> pd.DataFrame:
    """Three layers of an N: nine wires, in the coordinates of the tracker, mm."""
    rows = []
    for layer, depth in enumerate((20.0, 30.0, 40.0)):
        for number, (start, end) in enumerate(((0, 0), (0, 30), (30, 30))):
            first, last = [start - 15, depth, -30], [end - 15, depth, 30]
            rows.append([f"{layer}{'abc'[number]}", *(POINT + first), *(POINT + last)])
    return pd.DataFrame(rows, columns=["wire", "x1", "y1", "z1", "x2", "y2", "z2"])


def _poses_in_world(frames: int, tilt_deg: float, generator: np.random.Generator) -> np.ndarray:
    turns = Rotation.from_euler("xyz", generator.uniform(-tilt_deg, tilt_deg, (frames, 3)), degrees=True)
    image = np.tile(np.eye(4), (frames, 1, 1))
    image[:, :3, :3] = turns.as_matrix()
    return image


def draw_points(
    generator: np.random.Generator,
    frames: int = 60,
    noise_px: float = 0.7,
    beam_mm: float = 0.3,
    tilt_deg: float = 45.0,
    tracking_mm: float = 0.0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One point seen at a random place of each frame, off the plane as far as the beam is thick; and the poses."""
    pixels = generator.uniform([40, 40], [COLUMNS - 40, ROWS - 40], (frames, 2))
    image = _poses_in_world(frames, tilt_deg, generator)
    local = np.column_stack([(pixels + 0.5) * SPACING_MM, generator.normal(0, beam_mm, frames)])
    image[:, :3, 3] = POINT - np.einsum("nij,nj->ni", image[:, :3, :3], local)
    seen = pixels + generator.normal(0, noise_px, pixels.shape)
    points = pd.DataFrame({"frame": np.arange(frames), "u": seen[:, 0], "v": seen[:, 1], "point": "tip"})
    return points, _pose_table(image, tracking_mm, generator)


def draw_wires(
    generator: np.random.Generator,
    frames: int = 40,
    noise_px: float = 0.7,
    tilt_deg: float = 20.0,
    tracking_mm: float = 0.0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The wires where they pass through each frame."""
    image = _poses_in_world(frames, tilt_deg, generator)
    middle = np.array([COLUMNS / 2 * SPACING_MM, ROWS / 2 * SPACING_MM, 0]) + generator.uniform(-6, 6, (frames, 3))
    image[:, :3, 3] = POINT + np.array([0, 30, 0]) - np.einsum("nij,nj->ni", image[:, :3, :3], middle)
    table, rows = wires(), []
    for frame, to_image in enumerate(invert_rigid(image)):
        ends = table[["x1", "y1", "z1", "x2", "y2", "z2"]].to_numpy().reshape(-1, 2, 3)
        local = ends @ to_image[:3, :3].T + to_image[:3, 3]
        share = local[:, 0, 2] / (local[:, 0, 2] - local[:, 1, 2])
        cut = local[:, 0] + share[:, None] * (local[:, 1] - local[:, 0])
        for name, place, part in zip(table["wire"], cut[:, :2] / SPACING_MM - 0.5, share, strict=True):
            if 0 < part < 1 and (place > 5).all() and (place < np.array([COLUMNS, ROWS]) - 5).all():
                rows.append([frame, *(place + generator.normal(0, noise_px, 2)), name])
    points = pd.DataFrame(rows, columns=["frame", "u", "v", "wire"])
    return points, _pose_table(image, tracking_mm, generator)


def _pose_table(image: np.ndarray, tracking_mm: float, generator: np.random.Generator) -> pd.DataFrame:
    marker = image @ invert_rigid(TRUE)
    angles = Rotation.from_matrix(marker[:, :3, :3]).as_euler("xyz", degrees=True)
    places = marker[:, :3, 3] + generator.normal(0, 1, (len(marker), 3)) * tracking_mm
    table = pd.DataFrame(np.concatenate([places, angles], axis=1), columns=POSE)
    table.insert(0, "frame", np.arange(len(table)))
    return table


def write(folder: Path, points: pd.DataFrame, poses: pd.DataFrame, phantom: pd.DataFrame | None = None) -> Path:
    """``points.csv``, ``poses.csv`` and ``phantom.csv`` in a folder; returns it."""
    points.to_csv(folder / "points.csv", index=False)
    poses.to_csv(folder / "poses.csv", index=False)
    if phantom is not None:
        phantom.to_csv(folder / "phantom.csv", index=False)
    return folder
