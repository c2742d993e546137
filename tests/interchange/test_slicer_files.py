"""Files for 3D Slicer: one asymmetric pose in LPS and RAS, read by SimpleITK and as Slicer reads its sequences."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medcli.core.errors import DataError
from medcli.interchange.implant_trials import ImplantTrial
from medcli.interchange.slicer_files import write_markups, write_transform, write_transform_sequence
from tests.conftest import Ran
from tests.interchange.test_plus_sequence import fields_of, matrix

# A quarter turn about z, then a shift: what is 1 mm to the left of the local origin comes to (10, 21, 30), in LPS.
POSE = np.array([[0.0, -1, 0, 10], [1, 0, 0, 20], [0, 0, 1, 30], [0, 0, 0, 1]])
RECORD = Path("specimen02_fibula_record01")


@pytest.mark.parametrize("suffix", ["tfm", "h5"])
def test_transforms_are_lps_and_from_parent(suffix: str, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    write_transform(tmp_path / f"Größe 骨.{suffix}", POSE)
    (tmp_path / f"Größe 骨.{suffix}").rename(tmp_path / f"a.{suffix}")  # which ITK's reader takes on every system
    read = sitk.ReadTransform(str(tmp_path / f"a.{suffix}"))
    assert np.allclose(read.TransformPoint((10, 21, 30)), (1, 0, 0))
    assert np.allclose(read.GetInverse().TransformPoint((1, 0, 0)), (10, 21, 30))


def test_a_text_transform_is_what_itk_writes(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    tilted = np.array([[1e-9, -0.7, 0, 10 - 1e-7], [1, 0, 1 / 3, 20], [0, 0.25, 1, 1e9], [0, 0, 0, 1]])
    write_transform(tmp_path / "a.tfm", tilted)
    mine = sitk.ReadTransform(str(tmp_path / "a.tfm"))
    sitk.WriteTransform(mine, str(tmp_path / "itk.tfm"))
    written, its = ((tmp_path / name).read_bytes().splitlines() for name in ("a.tfm", "itk.tfm"))
    assert b"\r" not in (tmp_path / "a.tfm").read_bytes()
    assert [line.split(b":")[0] for line in written] == [line.split(b":")[0] for line in its]
    assert [float(word) for word in written[3].split()[1:]] == [float(word) for word in its[3].split()[1:]]
    inverse = np.linalg.inv(tilted)
    assert list(mine.GetParameters()) == [*inverse[:3, :3].ravel(), *inverse[:3, 3]]


def test_sequences_are_ras_and_to_parent(tmp_path: Path) -> None:
    poses = np.stack([POSE, np.full((4, 4), np.nan), np.eye(4)])
    write_transform_sequence(tmp_path / "a.seq.mha", "ProbeToReference", poses, [0.0, 0.04, 0.08])
    fields, rest = fields_of(tmp_path / "a.seq.mha")
    assert (fields["DimSize"], rest) == ("0 0 2", b"")
    in_scene = matrix(fields["Seq_Frame0000_ProbeToReferenceTransform"])
    assert np.allclose(in_scene @ [-1, 0, 0, 1], [-10, -21, 30, 1])  # the same points, in RAS
    assert fields["Seq_Frame0001_Timestamp"] == "0.080"


def test_mirrored_transforms_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("SimpleITK")
    mirrored = np.diag([1.0, -1, 1, 1])
    with pytest.raises(DataError, match=r"a\.tfm: the transform is mirrored"):
        write_transform(tmp_path / "a.tfm", mirrored)
    with pytest.raises(DataError, match=r"frame 1 of a\.seq\.mha"):
        write_transform_sequence(tmp_path / "a.seq.mha", "A", np.stack([POSE, mirrored]), [0, 1])
    assert not list(tmp_path.iterdir())


def test_markups_state_their_coordinates(tmp_path: Path) -> None:
    write_markups(tmp_path / "a.mrk.json", {"größte": (1.0, 2.0, 3.0)})
    (found,) = json.loads((tmp_path / "a.mrk.json").read_text("utf-8"))["markups"]
    assert (found["type"], found["coordinateSystem"]) == ("Fiducial", "LPS")
    assert [(one["label"], one["position"]) for one in found["controlPoints"]] == [("größte", [1.0, 2.0, 3.0])]


def test_a_record_in_slicer_s_scene(ultrasound: Path, medcli: Callable[..., Ran], tmp_path: Path) -> None:
    """The points of bone come from the frames by the transforms as others read them, and lie on the mesh."""
    sitk = pytest.importorskip("SimpleITK")
    words = ("convert", "slicer-ultrabones", "--root", ultrasound, "--specimens", "2", "--mask", "Labels_full")
    ran = medcli(*words, "--points", "50", "--out", tmp_path)
    assert ran.code == 0, ran.err
    out = tmp_path / RECORD
    (markups,) = json.loads((out / "bone.mrk.json").read_text())["markups"]
    points = np.array([one["position"] for one in markups["controlPoints"]])
    assert len(points) == 50
    record = ultrasound / "specimen02/ultrasound_records/fibula/record01"
    stamps = sorted(int(path.stem) for path in (record / "UltrasoundImages").iterdir())
    to_probe = sitk.ReadTransform(str(out / "ImageToProbe.tfm")).GetInverse()
    import cv2

    label = cv2.imread(str(record / f"Labels_full/{stamps[0]}_label.png"), cv2.IMREAD_UNCHANGED)
    row, column = (int(value[0]) for value in np.nonzero(label == 255))
    pose = sitk.ReadTransform(str(out / f"transforms/ProbeToReference_{stamps[0]}.tfm")).GetInverse()
    first = pose.TransformPoint(to_probe.TransformPoint((float(column), float(row), 0.0)))
    assert np.allclose(first, points[0], atol=1e-6)
    fields, _ = fields_of(out / "ProbeToReference.seq.mha")
    flip = np.diag([-1, -1, 1, 1])
    in_scene = matrix(fields["Seq_Frame0000_ProbeToReferenceTransform"])
    at_probe = np.array([*to_probe.TransformPoint((float(column), float(row), 0.0)), 1])
    assert np.allclose(flip @ in_scene @ flip @ at_probe, [*points[0], 1], atol=1e-6)
    corners = np.fromfile(
        out / "fibula.stl", np.dtype([("n", "<f4", 3), ("c", "<f4", (3, 3)), ("a", "<u2")]), offset=84
    )
    gaps = np.linalg.norm(points[:, None] - corners["c"].reshape(-1, 3)[None], axis=2).min(axis=1)
    assert np.median(gaps) < 3  # to the nearest corner of a triangle
    assert medcli(*words, "--out", tmp_path).code == 2
    (tmp_path / "converted.json").write_text('{"made_by": "medcli convert coco"}', "utf-8")
    other = medcli(*words, "--out", tmp_path, "--overwrite")
    assert (other.code, "was made by medcli convert coco, so medcli convert slicer-" in other.err) == (2, True)


def test_implants_in_slicer_s_scene(
    implants: Path, trial: ImplantTrial, medcli: Callable[..., Ran], tmp_path: Path
) -> None:
    """Sequence and single transforms are one pose, which puts the mesh where the cameras see it."""
    sitk = pytest.importorskip("SimpleITK")
    words = ("convert", "slicer-veriserum", "--root", implants, "--trials", "1", "--frame-rate", "10")
    ran = medcli(*words, "--format", "h5", "--out", tmp_path)
    assert ran.code == 0, ran.err
    out = tmp_path / "trial_000001"
    fields, _ = fields_of(out / "TibiaToWorld.seq.mha")
    point = np.array([3.0, -4.0, 5.0])
    for frame, number in enumerate(trial.ids):
        world = trial.poses["tibia"][frame] @ [*point, 1]
        single = sitk.ReadTransform(str(out / f"transforms/TibiaToWorld_{number:06d}.h5")).GetInverse()
        assert np.allclose(single.TransformPoint(point.tolist()), world[:3], atol=1e-9)
        in_scene = matrix(fields[f"Seq_Frame000{frame}_TibiaToWorldTransform"])
        assert np.allclose(in_scene @ [-3, 4, 5, 1], [-world[0], -world[1], world[2], 1], atol=1e-9)
        assert float(fields[f"Seq_Frame000{frame}_Timestamp"]) == pytest.approx(0.1 * frame)
    (markups,) = json.loads((out / "planes.mrk.json").read_text())["markups"]
    places = {one["label"]: one["position"] for one in markups["controlPoints"]}
    assert np.allclose(places["source fs"], trial.cameras.fs.source_mm)
    assert np.allclose(places["bs top left"], [-180, 180, 0])
    assert (out / "femur.stl").stat().st_size > 1000


def test_masks_that_are_not_there_are_named(ultrasound: Path, medcli: Callable[..., Ran], tmp_path: Path) -> None:
    pytest.importorskip("SimpleITK")
    words = ("convert", "slicer-ultrabones", "--root", ultrasound, "--specimens", "2", "--out", tmp_path / "out")
    ran = medcli(*words, "--mask", "Labels_pred")
    assert (ran.code, "no masks in Labels_pred; there are Labels, Labels_full" in ran.err) == (3, True)
    assert not (tmp_path / "out").exists()
