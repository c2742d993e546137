"""What a laboratory with a probe of its own has: a calibration phantom's points, a recorded sweep, CT meshes."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from medcli.core.image_io import read_grey
from medcli.core.rigid_transforms import invert_rigid
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.dataset.tracking_table import POSE_COLUMNS
from medcli.ultrabones.geometry.image_to_ct import image_to_ct
from tests.support.calibration_phantoms import COLUMNS, ROWS, SPACING_MM, TRUE, draw_points, draw_wires, wires, write
from tests.support.plus_files import frame_fields, write_sequence


def write_own_recording(folder: Path, frames: int = 4) -> None:
    """Fill ``folder``: points.csv, poses.csv, wires/, sweep.igs.mha and meshes/."""
    write(folder, *draw_points(np.random.default_rng(1)))
    (folder / "wires").mkdir()
    write(folder / "wires", *draw_wires(np.random.default_rng(1)), wires())
    with tempfile.TemporaryDirectory() as made:
        settings = SweepSettings(frames, 0.05392 / SPACING_MM, False, 0, 0)
        specimen = make_ultrabones(Path(made), (1,), settings=settings) / "specimen01"
        record = specimen / "ultrasound_records/fibula/record01"
        table = pd.read_csv(record / "tracking.csv")
        images = np.zeros((frames, ROWS, COLUMNS), np.uint8)
        for image, stamp in zip(images, table["timestamp"], strict=True):
            seen = read_grey(record / f"UltrasoundImages/{stamp}.png")
            image[: seen.shape[0], : seen.shape[1]] = seen
        (folder / "meshes").mkdir()
        shutil.copy(specimen / "CT_bone_segmentations/fibula.stl", folder / "meshes")
    poses = image_to_ct(table[list(POSE_COLUMNS)].to_numpy()) @ invert_rigid(TRUE)
    fields = [frame_fields(pose, stamp / 1000) for pose, stamp in zip(poses, table["timestamp"], strict=True)]
    fields[1]["ProbeToReferenceTransformStatus"] = "INVALID"
    write_sequence(folder / "sweep.igs.mha", images, fields, compressed=True)
