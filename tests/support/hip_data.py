"""UltraBonesHip in small, in the layout that its authors' code reads, and a Hub that publishes it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.transform import Rotation

from medcli.core.image_io import read_grey, write_image
from medcli.core.rigid_transforms import invert_rigid
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.dataset.probe import ULTRABONES_HIP
from medcli.ultrabones.dataset.tracking_table import POSE_COLUMNS
from medcli.ultrabones.geometry.image_to_ct import corner_to_probe, image_to_ct
from tests.support.download_fixtures import files_in, zipped
from tests.support.servers import FakeHub

HIP_RECORD = Path("specimen02/ultrasound_records/left_femur_axial/record01")


@pytest.fixture(scope="session")
def hip_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic sweep as UltraBonesHip would hold it: its probe, its frame size, its names; and the true labels."""
    folder = tmp_path_factory.mktemp("hip")
    settings = SweepSettings(2, scale=0.05392 / 0.080227, optimized_columns=False, pose_error_mm=0, pose_error_deg=0)
    made = make_ultrabones(folder / "made", (2,), settings=settings)
    record = made / "specimen02/ultrasound_records/fibula/record01"
    target = folder / "hip" / HIP_RECORD
    for path in (record / "UltrasoundImages").glob("*.png"):
        image = np.zeros((ULTRABONES_HIP.rows, ULTRABONES_HIP.columns), np.uint8)
        image[:545] = read_grey(path)  # the same width; the depth is greater
        (target / "UltrasoundImages").mkdir(parents=True, exist_ok=True)
        write_image(target / "UltrasoundImages" / path.name, image)
    shutil.copytree(record / "Labels_full", folder / "true")
    table = pd.read_csv(record / "tracking.csv")
    poses = image_to_ct(table[list(POSE_COLUMNS)].to_numpy()) @ invert_rigid(corner_to_probe(ULTRABONES_HIP))
    angles = Rotation.from_matrix(poses[:, :3, :3]).as_euler("xyz", degrees=True)
    table[list(POSE_COLUMNS)] = np.concatenate([poses[:, :3, 3], angles], axis=1)
    table.drop(columns="space_factor").to_csv(target / "poses.csv", index=False)
    meshes = folder / "hip/specimen02/CT_bone_segmentations"
    meshes.mkdir()
    for source, bone in (("fibula", "left_femur"), ("tibia", "pelvis"), ("foot", "right_femur")):
        shutil.copy(made / f"specimen02/CT_bone_segmentations/{source}.stl", meshes / f"{bone}.stl")
    return folder


@pytest.fixture
def hip_hub(hip_data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    hub = FakeHub("luohwu/UltraBonesHip")
    others = {"reconstruct.py": b"code", "code/preset.yaml": b"a: 1", "specimen00/notes.txt": b"other"}
    hub.add("UltraBonesHip.zip", zipped(files_in(hip_data / "hip") | others, "UltraBonesHip/"))
    hub.add("README.md", b"# UltraBonesHip")
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    yield hub
    hub.stop()
