"""``medcli import plus``: files written here byte for byte, read by SimpleITK as well, and made records of."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medcli.cli.shared.verbs import Verb
from medcli.core.errors import MedcliError
from medcli.core.image_io import read_grey
from medcli.core.rigid_transforms import ULTRABONES_EULER, rigid_transform
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.dataset.probe import PROBE_FILE, ULTRABONES100K, read_probe
from medcli.ultrabones.dataset.tracking_table import POSE_COLUMNS, read_tracking
from medcli.ultrabones.geometry.image_to_ct import corner_to_probe, probe_to_ct
from medcli.ultrabones.plus.import_plus import import_plus
from medcli.ultrabones.plus.meta_image import read_meta_image
from tests.conftest import Ran
from tests.support.plus_files import frame_fields, numbers, write_sequence

PLACE = Path("specimen01/ultrasound_records/fibula/record01")
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (4, 100, 150), np.uint8)
POSES = rigid_transform(RNG.uniform(-200, 200, (4, 3)), RNG.uniform(-170, 170, (4, 3)), ULTRABONES_EULER)
FIELDS = [frame_fields(pose, 12.0 + 0.05 * number) for number, pose in enumerate(POSES)]


@dataclass(frozen=True)
class Recording:
    root: Path
    file: Path
    probe: Path


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """A synthetic sweep with true labels, and the same as PLUS would have recorded it."""
    folder = tmp_path_factory.mktemp("plus")
    settings = SweepSettings(frames=3, scale=0.25, optimized_columns=False, pose_error_mm=0, pose_error_deg=0)
    root = make_ultrabones(folder / "made", (1,), settings=settings)
    table = read_tracking(root / PLACE)
    images = np.stack([read_grey(root / PLACE / f"UltrasoundImages/{stamp}.png") for stamp in table["timestamp"]])
    poses = probe_to_ct(table[list(POSE_COLUMNS)].to_numpy())
    fields = [frame_fields(pose, stamp / 1000) for pose, stamp in zip(poses, table["timestamp"], strict=True)]
    file = write_sequence(folder / "sweep.igs.mha", images, fields, compressed=True)
    values = ULTRABONES100K.as_json() | {"spacing_mm": settings.spacing_mm, "source": "test"}
    values |= dict(zip(("rows", "columns"), settings.size, strict=True))
    (folder / "own.json").write_text(json.dumps(values))
    return Recording(root, file, folder / "own.json")


def test_a_recorded_sweep_is_labelled_as_the_original(
    recorded: Recording, medcli: Callable[..., Ran], tmp_path: Path
) -> None:
    ran = medcli("import", "plus", recorded.file, "--out", tmp_path / PLACE, "--probe", recorded.probe)
    assert ran.code == 0, ran.err
    assert "3 of 3, 238 x 203 pixels" in ran.out
    meshes = recorded.root / "specimen01/CT_bone_segmentations"
    ran = medcli("label", "ultrabones", "--root", tmp_path, "--meshes", meshes, "--kind", "full")
    assert ran.code == 0, ran.err
    assert "probe: probe.json of the record" in ran.out
    paths = sorted((tmp_path / PLACE / "Labels_full").glob("*.png"))
    assert len(paths) == 3
    for path in paths:
        true = read_grey(recorded.root / PLACE / "Labels_full" / path.name)
        assert (true != read_grey(path)).mean() < 1e-4  # poses went through a matrix and back
        frame = f"UltrasoundImages/{path.name.split('_')[0]}.png"
        assert np.array_equal(read_grey(tmp_path / PLACE / frame), read_grey(recorded.root / PLACE / frame))
    out = tmp_path / "out"
    arguments = ("--root", tmp_path, "--meshes", meshes, "--mask", "Labels_full", "--out", out)
    assert medcli("reconstruct", "ultrabones", *arguments).code == 0


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("raw", ["LOCAL", "pixels.zraw"])
def test_simpleitk_reads_the_same(compressed: bool, raw: str, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    path = tmp_path / ("a.mha" if raw == "LOCAL" else "a.mhd")
    write_sequence(path, IMAGES, FIELDS, compressed, ElementDataFile=raw)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    theirs = sitk.GetArrayFromImage(reader.Execute())
    ours = read_meta_image(path)
    assert np.array_equal(theirs, np.stack(list(ours.read_frames())))
    for key in reader.GetMetaDataKeys():
        if key.startswith("Seq_Frame"):
            assert reader.GetMetaData(key).strip() == ours.fields[key]
    assert sum(key.startswith("Seq_Frame") for key in reader.GetMetaDataKeys()) == sum(map(len, FIELDS))


def test_the_verb_s_module_has_another_name() -> None:
    """``import.py`` could not be imported."""
    assert list(Verb("import", "Data", "", module="import_files").load().commands) == ["plus", "jtml", "autoscoper"]


def test_what_cannot_be_used_is_skipped_and_counted(tmp_path: Path) -> None:
    fields = [*FIELDS]
    fields[0] = FIELDS[0] | {"ProbeToReferenceTransformStatus": "INVALID"}
    fields[1] = FIELDS[1] | {"ProbeToReferenceTransform": numbers(POSES[1] * 1.1)}
    fields[2] = FIELDS[2] | {"Timestamp": "12.15"}  # as the next one
    file = write_sequence(tmp_path / "a.mha", IMAGES, fields)
    done = import_plus(file, tmp_path / PLACE)
    assert (done.frames, done.written, done.invalid, done.not_rigid, done.shifted) == (4, 2, 1, 1, 1)
    assert sorted(path.name for path in (tmp_path / PLACE / "UltrasoundImages").iterdir()) == ["12150.png", "12151.png"]
    table = pd.read_csv(tmp_path / PLACE / "tracking.csv")
    assert np.allclose(probe_to_ct(table[list(POSE_COLUMNS)].to_numpy()), POSES[2:], atol=1e-9)
    assert "space_factor" not in table.columns  # nothing said how large a pixel is
    with pytest.raises(MedcliError, match="imported without the calibration"):
        read_tracking(tmp_path / PLACE)
    fields = [values | {"ImageStatus": "INVALID"} for values in FIELDS]
    with pytest.raises(MedcliError, match="no frame with a valid ProbeToReference has a valid image"):
        import_plus(write_sequence(tmp_path / "a.mha", IMAGES, fields), tmp_path / PLACE, overwrite=True)
    assert (tmp_path / PLACE / "tracking.csv").is_file()  # what was there is kept


def test_transforms_are_combined_and_chosen(medcli: Callable[..., Ran], tmp_path: Path) -> None:
    reference = rigid_transform([10, 20, 30], [40, 50, 60], ULTRABONES_EULER)
    fields = [
        frame_fields(reference @ pose, number, name="ProbeToTracker")
        | {"ReferenceToTrackerTransform": numbers(reference), "ReferenceToTrackerTransformStatus": "OK"}
        for number, pose in enumerate(POSES)
    ]
    file = write_sequence(tmp_path / "a.mha", IMAGES, fields)
    for words, wanted in (((), POSES), (("--transform", "ProbeToTrackerTransform"), reference @ POSES)):
        ran = medcli("import", "plus", file, "--out", tmp_path / PLACE, *words, "--overwrite", "--json")
        assert ran.code == 0, ran.err
        assert json.loads(ran.out)["written"] == 4
        table = pd.read_csv(tmp_path / PLACE / "tracking.csv")
        assert np.allclose(probe_to_ct(table[list(POSE_COLUMNS)].to_numpy()), wanted, atol=1e-8)
    ran = medcli("import", "plus", file, "--out", tmp_path / PLACE, "--transform", "StylusToTracker", "--overwrite")
    assert ran.code == 2
    assert "has no transform StylusToTracker; there are ProbeToTracker, ReferenceToTracker" in ran.err


@pytest.mark.parametrize(
    ("code", "stored"),
    [
        ("MF", lambda image: image),
        ("UFA", lambda image: image[:, ::-1]),
        ("MN", lambda image: image[::-1]),
        ("UN", lambda image: image[::-1, ::-1]),
        ("FM", lambda image: image.T),
        ("NU", lambda image: image[::-1, ::-1].T),
    ],
)
def test_images_are_turned_upright(code: str, stored: Callable[[np.ndarray], np.ndarray], tmp_path: Path) -> None:
    images = np.stack([stored(image) for image in IMAGES])
    import_plus(write_sequence(tmp_path / "a.mha", images, FIELDS, orientation=code), tmp_path / PLACE)
    assert np.array_equal(read_grey(tmp_path / PLACE / "UltrasoundImages/12050.png"), IMAGES[1])


@pytest.mark.parametrize(
    ("code", "said"),
    [("XX", "is XX (unknown)"), ("xxx", "is XXX (unknown)"), ("", "is missing"), ("None", "is missing")],
)
def test_an_unknown_orientation_is_assumed_and_said(
    code: str, said: str, medcli: Callable[..., Ran], tmp_path: Path
) -> None:
    file = write_sequence(tmp_path / "a.mha", IMAGES, FIELDS, orientation=code)
    ran = medcli("import", "plus", file, "--out", tmp_path / PLACE, "--probe", "ultrabones100k")
    assert ran.code == 3  # frames of another size than that probe's: nothing was assumed yet
    ran = medcli("import", "plus", file, "--out", tmp_path / PLACE)
    assert ran.code == 0, ran.err
    line = f"UltrasoundImageOrientation {said}, assumed: MF"
    assert [row for row in ran.err.splitlines() if "Orientation" in row and row.count(str(file)) == 1 and line in row]
    assert "MF, assumed: the file does not say it" in ran.out
    assert json.loads((tmp_path / PLACE / "imported.json").read_text("utf-8"))["assumed"] == line
    assert np.array_equal(read_grey(tmp_path / PLACE / "UltrasoundImages/12050.png"), IMAGES[1])


def test_a_tracker_that_stood_still_is_said_with_the_count(medcli: Callable[..., Ran], tmp_path: Path) -> None:
    still = [values | {"ProbeToReferenceTransform": numbers(POSES[0])} for values in FIELDS]
    still[3] |= {"ProbeToReferenceTransformStatus": "INVALID", "ProbeToReferenceTransform": numbers(np.eye(4))}
    ran = medcli("import", "plus", write_sequence(tmp_path / "a.mha", IMAGES, still), "--out", tmp_path / PLACE)
    assert ran.code == 0, ran.err
    line = "all 3 frames have the same pose: the tracker stood still"
    assert line in " ".join(ran.err.split())
    file = write_sequence(tmp_path / "b.mha", IMAGES, [still[0], *FIELDS[1:]])
    assert "the same pose" not in medcli("import", "plus", file, "--out", tmp_path / PLACE, "--overwrite").err


@pytest.mark.parametrize("code", ["XF", "MX", "MM", "MFD", "M", "UNKNOWN"])
def test_an_orientation_that_is_none_is_an_error(code: str, tmp_path: Path) -> None:
    file = write_sequence(tmp_path / "a.mha", IMAGES, FIELDS, orientation=code)
    with pytest.raises(MedcliError, match=f"UltrasoundImageOrientation is {code}, expected two letters"):
        import_plus(file, tmp_path / PLACE)
    assert not (tmp_path / PLACE).exists()


def test_image_to_probe_of_the_file_is_taken(tmp_path: Path) -> None:
    """PLUS takes whole numbers at the centres of pixels to the marker; here pixel (0, 0) is centred at (½, ½)."""
    scale, rigid = np.diag([0.2, 0.2, 0.2, 1.0]), rigid_transform([5, 60, -7], [80, 3, 170], ULTRABONES_EULER)
    file = write_sequence(tmp_path / "a.mha", IMAGES, FIELDS, ImageToProbeTransform=numbers(rigid @ scale))
    assert import_plus(file, tmp_path / PLACE).probe == "ImageToProbe of a.mha"
    probe = read_probe(tmp_path / PLACE / PROBE_FILE)
    ours = corner_to_probe(probe) @ [0.2 * 30.5, 0.2 * 70.5, 0, 1]
    assert np.allclose(ours, rigid @ scale @ [30, 70, 0, 1], atol=1e-9)
    mirrored = numbers(rigid @ np.diag([0.2, 0.2, -0.2, 1.0]))
    file = write_sequence(tmp_path / "b.mha", IMAGES, FIELDS, ImageToProbeTransform=mirrored)
    with pytest.raises(MedcliError, match="mirror image"):
        import_plus(file, tmp_path / PLACE, overwrite=True)
    oblong = numbers(rigid @ np.diag([0.2, 0.21, 0.2, 1.0]))
    file = write_sequence(tmp_path / "b.mha", IMAGES, FIELDS, ImageToProbeTransform=oblong)
    with pytest.raises(MedcliError, match=r"pixels of 0.2 x 0.21 mm"):
        import_plus(file, tmp_path / PLACE, overwrite=True)


def broken(tmp_path: Path, kind: str) -> Path:
    path = write_sequence(tmp_path / "a.mha", IMAGES, FIELDS, compressed=kind in ("cut zlib", "bomb", "trailing"))
    content = path.read_bytes()
    data = content.index(b"LOCAL\n") + 6
    if kind == "cut":
        path.write_bytes(content[:-1])
    elif kind == "cut header":
        path.write_bytes(content[: data - 40])
    elif kind == "cut zlib":
        path.write_bytes(content[:-30].replace(b"CompressedDataSize", b"Comment"))
    elif kind == "bomb":
        path.write_bytes(content.replace(b"150 100 4", b"15000 4000 900000"))
    elif kind == "trailing":
        packed = zlib.compress(IMAGES.tobytes() + bytes(10**6))
        path.write_bytes(content[:data].replace(b"CompressedDataSize", b"Comment") + packed)
    elif kind == "noise":
        path.write_bytes(bytes(100))
    elif kind == "not zlib":
        write_sequence(path, IMAGES, FIELDS, CompressedData="True")
    elif kind == "zlib unsaid":
        path.write_bytes(content[:data] + zlib.compress(IMAGES.tobytes()))
    elif kind == "metres":
        moved = POSES.copy()
        moved[:, :3, 3] /= 1000
        write_sequence(path, IMAGES, [frame_fields(pose, number) for number, pose in enumerate(moved)])
    elif kind == "lost":
        write_sequence(path, IMAGES, [values | {"ProbeToReferenceTransformStatus": "MISSING"} for values in FIELDS])
    elif kind == "scaled":
        scaled = [pose @ np.diag([2, 2, 2, 1.0]) for pose in POSES]
        write_sequence(path, IMAGES, [frame_fields(pose, number) for number, pose in enumerate(scaled)])
    elif kind == "plain image":
        write_sequence(path, IMAGES, [])
    else:
        name, _, value = kind.partition("=")
        write_sequence(path, IMAGES, FIELDS, **{name: value})
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("cut", "is truncated: its header promises 4 frames of 150 x 100 pixels, 60,000 bytes, but 59,999 follow"),
        ("cut header", "its header ends after"),
        ("cut zlib", "its compressed pixels end too early"),
        ("bomb", "compressed bytes cannot hold"),
        ("trailing", "pixels follow after 4 frames"),
        ("noise", "is no MetaImage file"),
        ("not zlib", "not compressed by zlib as its header says"),
        ("zlib unsaid", "CompressedData = False may be wrong"),
        ("metres", "this looks like metres"),
        ("lost", "none of 4 frames has a valid ProbeToReference"),
        ("scaled", "4 are no rigid motions"),
        ("plain image", "no tracked sequence"),
        ("DimSize=150 100 -4", "DimSize is 150 100 -4"),
        ("DimSize=99999 99999 99999", "more than the limit"),
        ("ElementType=MET_USHORT", "ElementType is MET_USHORT, expected MET_UCHAR"),
        ("UltrasoundImageType=RF_REAL", "holds RF_REAL data"),
        ("UltrasoundImageOrientation=QF", "UltrasoundImageOrientation is QF"),
        ("ElementDataFile=../secret.raw", "without folders"),
        ("ElementDataFile=LIST", "cannot read"),
    ],
)
def test_bad_files_are_refused_and_leave_nothing(
    kind: str, words: str, medcli: Callable[..., Ran], tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    file = broken(tmp_path / "in", kind)
    if kind == "ElementDataFile=LIST":
        (tmp_path / "in/LIST").unlink()
    ran = medcli("import", "plus", file, "--out", tmp_path / PLACE)
    assert ran.code == 3, ran.err
    assert words in ran.err
    assert len(ran.err.splitlines()) <= 3
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.parent != tmp_path / "in"]


def test_what_is_there_is_replaced_only_when_asked(
    recorded: Recording, medcli: Callable[..., Ran], tmp_path: Path
) -> None:
    file = write_sequence(tmp_path / "a.mha", IMAGES, FIELDS)
    ran = medcli("import", "plus", file, "--out", tmp_path / "elsewhere")
    assert ran.code == 2
    assert "specimen01/ultrasound_records" in ran.err
    assert medcli("import", "plus", file, "--out", tmp_path / PLACE).code == 0
    assert medcli("import", "plus", file, "--out", tmp_path / PLACE).code == 2
    assert medcli("import", "plus", file, "--out", tmp_path / PLACE, "--overwrite").code == 0
    shutil.copytree(recorded.root / PLACE, tmp_path / PLACE.with_name("record02"))
    ran = medcli("import", "plus", file, "--out", tmp_path / PLACE.with_name("record02"), "--overwrite")
    assert ran.code == 2
    assert "was not made by medcli import" in ran.err
    ran = medcli("import", "plus", file, "--out", tmp_path / PLACE, "--overwrite", "--probe", "ultrabones-hip")
    assert ran.code == 3
    assert "150 x 100 pixels, those of the probe ultrabones-hip 638 x 829" in ran.err


def test_an_interrupted_import_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = write_sequence(tmp_path / "a.mha", IMAGES, FIELDS)
    left = (tmp_path / PLACE).with_name(".record01.importing-999999999")  # of a run that was killed
    left.mkdir(parents=True)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("medcli.ultrabones.plus.import_plus._tracking_text", interrupt)
        with pytest.raises(KeyboardInterrupt):
            import_plus(file, tmp_path / PLACE)
    assert list((tmp_path / PLACE).parent.iterdir()) == []
    assert import_plus(file, tmp_path / PLACE).written == 4


def test_colour_and_missing_times(tmp_path: Path) -> None:
    colour = np.repeat(IMAGES[..., None], 3, axis=3)
    fields = [{key: value for key, value in values.items() if key != "Timestamp"} for values in FIELDS]
    done = import_plus(
        write_sequence(tmp_path / "a.mha", colour, fields, UltrasoundImageType="RGB_COLOR"), tmp_path / PLACE
    )
    assert done.numbered
    assert np.array_equal(read_grey(tmp_path / PLACE / "UltrasoundImages/3.png"), IMAGES[3])


def test_times_that_run_back_are_sorted_and_odd_ones_cost_one_frame(tmp_path: Path, medcli: Callable[..., Ran]) -> None:
    fields = [values | {"Timestamp": stamp} for values, stamp in zip(FIELDS, ("0.5", "nan", "0.2", "-1"), strict=True)]
    file = write_sequence(tmp_path / "a.mha", IMAGES, fields)
    ran = medcli("import", "plus", file, "--out", tmp_path / PLACE)
    assert "1 with no timestamp" in ran.out
    assert (
        "run back 2 times: the record is in the order of time; some are negative: all are advanced by 1 s"
        in " ".join(ran.out.split())
    )
    table = pd.read_csv(tmp_path / PLACE / "tracking.csv")
    assert table["timestamp"].tolist() == [0, 1200, 1500]
    assert np.allclose(probe_to_ct(table[list(POSE_COLUMNS)].to_numpy()), POSES[[3, 2, 0]], atol=1e-9)
    assert np.array_equal(read_grey(tmp_path / PLACE / "UltrasoundImages/1200.png"), IMAGES[2])
