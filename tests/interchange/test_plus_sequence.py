"""``medcli convert plus``: read by SimpleITK and by a parser of the header, and made a record again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy.spatial.transform import Rotation

from tests.conftest import Ran

RECORD = Path("specimen02/ultrasound_records/fibula/record01")
NAME = "specimen02_fibula_record01.igs.mha"


def fields_of(path: Path) -> tuple[dict[str, str], bytes]:
    """The lines of a header and what follows it: as the MetaIO format says, and nothing more."""
    head, mark, pixels = path.read_bytes().partition(b"ElementDataFile = LOCAL\n")
    assert mark
    lines = (line.split(" = ", 1) for line in head.decode("ascii").splitlines())
    return {name: value.strip() for name, value in lines}, pixels


def matrix(text: str) -> np.ndarray:
    return np.array(text.split(), float).reshape(4, 4)


@pytest.mark.parametrize("compress", [False, True])
def test_others_read_the_frames_and_poses(
    compress: bool, ultrasound: Path, medcli: Callable[..., Ran], tmp_path: Path
) -> None:
    root = tmp_path / "Daten für PLUS"
    shutil.copytree(ultrasound / RECORD, root / RECORD)
    table = pd.read_csv(root / RECORD / "tracking.csv").drop(index=1)  # a frame without a pose
    table.to_csv(root / RECORD / "tracking.csv", index=False)
    words = ["convert", "plus", "--root", root, "--poses", "initial", "--out", tmp_path / "out"]
    ran = medcli(*words, *(["--compress"] if compress else []), "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["sequences"][0]["untracked"] == 1
    images = [cv2.imdecode(np.fromfile(path, np.uint8), 0) for path in sorted((root / RECORD).glob("Ultra*/*.png"))]
    fields, pixels = fields_of(tmp_path / "out" / NAME)
    if not compress:
        assert pixels == np.stack(images).tobytes()
    assert fields["DimSize"] == f"{images[0].shape[1]} {images[0].shape[0]} 3"
    assert [fields[f"Seq_Frame000{n}_ProbeToReferenceTransformStatus"] for n in range(3)] == ["OK", "INVALID", "OK"]
    for number, row in zip((0, 2), table.itertuples(), strict=True):
        pose = matrix(fields[f"Seq_Frame000{number}_ProbeToReferenceTransform"])
        angles = [row.euler_x, row.euler_y, row.euler_z]
        assert np.allclose(pose[:3, :3], Rotation.from_euler("xyz", angles, degrees=True).as_matrix(), atol=1e-12)
        assert np.allclose(pose[:3, 3], [row.x, row.y, row.z])
        assert float(fields[f"Seq_Frame000{number}_Timestamp"]) == row.timestamp / 1000
    # The specification's own numbers: pixel (c, r) at T_calib · s (c + ½, r + ½, 0).
    calibration = Rotation.from_euler("xyz", [92.48865621, -0.46874914, 179.2277322], degrees=True)
    there = calibration.apply([10.5 * row.space_factor, 20.5 * row.space_factor, 0])
    at_marker = matrix(fields["Seq_Frame0000_ImageToProbeTransform"]) @ [10, 20, 0, 1]
    assert np.allclose(at_marker[:3] - there, [26.44694442, -0.52572229, 128.00100047], atol=1e-6)
    sitk = pytest.importorskip("SimpleITK")
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(tmp_path / "out" / NAME))
    assert np.array_equal(sitk.GetArrayFromImage(reader.Execute()), np.stack(images))
    assert matrix(reader.GetMetaData("Seq_Frame0002_ProbeToReferenceTransform"))[0, 3] == row.x


def test_a_record_goes_out_and_comes_back(ultrasound: Path, medcli: Callable[..., Ran], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert medcli("convert", "plus", "--root", ultrasound / "specimen02", "--out", out).code == 0
    ran = medcli("import", "plus", out / NAME, "--out", tmp_path / RECORD)
    assert ran.code == 0, ran.err
    there, here = (pd.read_csv(root / RECORD / "tracking.csv") for root in (ultrasound, tmp_path))
    assert here["timestamp"].tolist() == there["timestamp"].tolist()
    for name in ("x", "y", "z", "euler_x", "euler_y", "euler_z"):
        assert np.allclose(here[name], there[f"{name}_optimized"], atol=1e-9)
    for path in sorted((ultrasound / RECORD / "UltrasoundImages").iterdir()):
        copy = cv2.imread(str(tmp_path / RECORD / "UltrasoundImages" / path.name), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(copy, cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
    assert medcli("convert", "plus", "--root", ultrasound / "specimen02", "--out", out).code == 2  # it is there
    content = (out / NAME).read_bytes()
    (out / NAME).write_bytes(content[:-1000])
    ran = medcli("import", "plus", out / NAME, "--out", tmp_path / RECORD, "--overwrite")
    assert ran.code == 3
    assert "is truncated: its header promises 3 frames" in ran.err


def test_records_that_cannot_be_converted(ultrasound: Path, medcli: Callable[..., Ran], tmp_path: Path) -> None:
    shutil.copytree(ultrasound / RECORD, tmp_path / RECORD)
    image = next((tmp_path / RECORD / "UltrasoundImages").iterdir())
    cv2.imwrite(str(image), np.zeros((50, 60), np.uint8))
    ran = medcli("convert", "plus", "--root", tmp_path, "--out", tmp_path / "out")
    assert ran.code == 3
    assert "differ in size" in ran.err
    (tmp_path / RECORD / "tracking.csv").unlink()
    for verb in ("plus", "slicer-ultrabones"):
        ran = medcli("convert", verb, "--root", tmp_path, "--out", tmp_path / "out/new")
        assert ran.code == 3
        assert "has no poses" in ran.err
        assert "tracking.csv" in ran.err
    assert not (tmp_path / "out").exists()
