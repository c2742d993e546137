"""``probe.json``: what is read, what is refused, and that labels and reconstructions follow it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medcli.core.errors import DataError
from medcli.core.image_io import read_grey, write_image
from medcli.core.rigid_transforms import ULTRABONES_EULER, invert_rigid, rigid_transform
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.dataset.probe import (
    PRESETS,
    PROBE_FILE,
    ULTRABONES100K,
    ULTRABONES_HIP,
    Probe,
    probe_of_record,
    probe_problems,
    read_probe,
)
from medcli.ultrabones.dataset.records import find_sweeps
from medcli.ultrabones.dataset.tracking_table import POSE_COLUMNS
from medcli.ultrabones.geometry.image_to_ct import PROBE_FROM_IMAGE, corner_to_probe, pixels_to_ct
from medcli.ultrabones.labelling.label_dataset import LabelSettings, label_ultrabones
from medcli.ultrabones.pose_refinement.refine_frame import RefineSettings
from tests.conftest import Ran

GOOD = ULTRABONES_HIP.as_json()
RECORD = Path("specimen01/ultrasound_records/fibula/record01")


def changed(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in {**GOOD, **values}.items() if value is not None}


def test_presets_are_the_published_calibrations(tmp_path: Path) -> None:
    assert np.allclose(np.array(ULTRABONES100K.image_to_probe), PROBE_FROM_IMAGE, rtol=0, atol=1e-12)
    assert corner_to_probe(ULTRABONES100K) is PROBE_FROM_IMAGE
    # as the authors' code has it: the centre of the image of 638 x 829 pixels lies 44.177 mm below the marker
    centre = transform_of(ULTRABONES_HIP, 318.5, 414.0)
    assert np.allclose(centre, [0, 44.17691472, 0], atol=1e-9)
    assert np.allclose(transform_of(ULTRABONES_HIP, 0, 0) - centre, [-318.5 * 0.080227, -414 * 0.080227, 0])
    for probe in PRESETS.values():
        (tmp_path / "p.json").write_text(json.dumps(probe.as_json()))
        assert read_probe(tmp_path / "p.json").digest == probe.digest


def transform_of(probe: Probe, column: float, row: float) -> np.ndarray:
    return pixels_to_ct(np.zeros(6), [column], [row], probe.spacing_mm, probe)[0]


def matrix_of(change: Callable[[np.ndarray], Any]) -> list[list[float]]:
    matrix = np.array(ULTRABONES100K.image_to_probe)
    change(matrix)
    return matrix.tolist()


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([], ["expected a JSON object"]),
        (changed(spacing_mm=None, source=None), ["spacing_mm, source is missing"]),
        (changed(units="m", spacing_mm=0.00008), ["units are m, expected mm", "spacing_mm is 8e-05 mm"]),
        (changed(spacing=1), ["spacing is unknown"]),
        (changed(rows=829.5, columns=True), ["rows is 829.5, expected a whole", "columns is True, expected a whole"]),
        (changed(rows=10**400, columns=1e400), ["rows is nan", "columns is inf"]),
        (changed(rows=10_000), ["rows x spacing_mm is 802.27 mm"]),
        (changed(origin="middle"), ["origin is middle"]),
        (changed(origin=[1, float("nan")]), ["origin is [1, nan]"]),
        (changed(image_to_probe=[[1, 0], [0, 1]]), ["not 4 rows of 4 numbers"]),
        (changed(image_to_probe=matrix_of(lambda m: np.put(m, 5, np.nan))), ["is no number"]),
        (changed(image_to_probe=np.array(GOOD["image_to_probe"]).T.tolist()), ["transposed?"]),
        (changed(image_to_probe=matrix_of(lambda m: m[:3, :2].__imul__(0.08))), ["not rigid", "divide its columns"]),
        (changed(image_to_probe=matrix_of(lambda m: m[:3, 1].__imul__(-1))), ["mirror image"]),
        (changed(image_to_probe=matrix_of(lambda m: m[:3, 3].__imul__(0.001))), ["metres?"]),
        (changed(image_to_probe="unit", units="cm", rows=3), ["units are cm", "rows is 3", "4 rows of 4"]),
    ],
)
def test_all_that_is_wrong_is_listed_at_once(found: Any, words: list[str], tmp_path: Path) -> None:
    text = "; ".join(probe_problems(found))
    assert all(word in text for word in words), text
    (tmp_path / PROBE_FILE).write_text(json.dumps(found))
    with pytest.raises(DataError, match="is no calibration of a probe"):
        read_probe(tmp_path / PROBE_FILE)
    assert probe_problems(GOOD) == []


@pytest.fixture(scope="session")
def made_sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("probe") / "made"
    return make_ultrabones(root, (1,), settings=SweepSettings(frames=3, scale=0.25, optimized_columns=False))


@pytest.fixture
def moved(made_sweep: Path, tmp_path: Path) -> Path:
    """The same sweep as seen by another probe: other marker, other origin, part of the image; the same bone."""
    root = Path(shutil.copytree(made_sweep, tmp_path / "moved"))
    record = root / RECORD
    shutil.rmtree(record / "Labels_full")
    shutil.rmtree(record / "Labels")
    matrix = rigid_transform([3.0, 40.0, -12.0], [10.0, -80.0, 33.0], ULTRABONES_EULER)
    spacing = ULTRABONES100K.spacing_mm * 4
    rows, columns = 150, 200  # from row 20 and column 10 on
    probe = {**GOOD, "spacing_mm": spacing, "rows": rows, "columns": columns, "origin": "centre"}
    probe |= {"image_to_probe": matrix.tolist(), "source": "made up"}
    (record / PROBE_FILE).write_text(json.dumps(probe))
    for path in (record / "UltrasoundImages").glob("*.png"):
        write_image(path, read_grey(path)[20 : 20 + rows, 10 : 10 + columns])
    centre = np.eye(4)
    centre[:2, 3] = (10 + columns / 2) * spacing, (20 + rows / 2) * spacing
    table = pd.read_csv(record / "tracking.csv").drop(columns="space_factor")
    old = rigid_transform(table[list(POSE_COLUMNS[:3])], table[list(POSE_COLUMNS[3:])], ULTRABONES_EULER)
    new = old @ PROBE_FROM_IMAGE @ centre @ invert_rigid(matrix)
    from scipy.spatial.transform import Rotation

    angles = Rotation.from_matrix(new[:, :3, :3]).as_euler("xyz", degrees=True)
    table[list(POSE_COLUMNS)] = np.concatenate([new[:, :3, 3], angles], axis=1)
    table.to_csv(record / "tracking.csv", index=False)
    return root


def test_labels_and_reconstruction_follow_the_record_s_own_probe(
    made_sweep: Path, moved: Path, medcli: Callable[..., Ran], tmp_path: Path
) -> None:
    shutil.rmtree(Path(shutil.copytree(made_sweep, tmp_path / "old")) / RECORD / "Labels_full")
    assert medcli("label", "ultrabones", "--root", tmp_path / "old", "--kind", "full").code == 0
    ran = medcli("label", "ultrabones", "--root", moved, "--kind", "full")
    assert ran.code == 0, ran.err
    assert "probe: probe.json of the record" in ran.out
    for path in (moved / RECORD / "Labels_full").glob("*.png"):
        old = read_grey(tmp_path / "old" / RECORD / "Labels_full" / path.name)[20:170, 10:210]
        assert (read_grey(path) > 0).sum() > 20
        assert np.array_equal(read_grey(path), old)
    rebuilt = medcli("reconstruct", "ultrabones", "--root", moved, "--mask", "Labels_full", "--out", moved / "out")
    assert rebuilt.code == 0, rebuilt.err
    assert "probe: probe.json of the record" in rebuilt.out
    found = json.loads(next((moved / "out").glob("specimen01*.json")).read_text())["reconstruction"]
    assert found["distance_mm"]["maximum"] < 0.1  # the label's band


@pytest.mark.deep
def test_refinement_does_not_depend_on_how_a_calibration_is_written(made_sweep: Path, tmp_path: Path) -> None:
    """The same calibration with its origin elsewhere in the image refines to the same poses."""
    spacing, origin = ULTRABONES100K.spacing_mm * 4, (120.0, 30.0)
    shift = np.eye(4)
    shift[:2, 3] = np.array(origin) * spacing
    values = {**ULTRABONES100K.as_json(), "spacing_mm": spacing, "rows": 203, "columns": 238, "origin": origin}
    values["image_to_probe"] = (PROBE_FROM_IMAGE @ shift).tolist()
    refined = []
    for name in ("published", "moved"):
        root = Path(shutil.copytree(made_sweep, tmp_path / name))
        if name == "moved":
            (root / RECORD / PROBE_FILE).write_text(json.dumps(values))
        settings = LabelSettings("full", refine=True, refine_settings=RefineSettings(generations=5), overwrite=True)
        assert label_ultrabones(root, settings=settings).failures == ()
        refined.append(pd.read_csv(root / RECORD / "refinement.csv"))
    assert (refined[0]["status"] == "refined").any()
    for column in ("j_before", "j_after", *POSE_COLUMNS):
        assert np.allclose(refined[0][column], refined[1][column], rtol=1e-6, equal_nan=True), column


def test_outputs_of_two_probes_are_not_mixed(moved: Path, medcli: Callable[..., Ran], tmp_path: Path) -> None:
    assert medcli("label", "ultrabones", "--root", moved, "--kind", "full").code == 0
    other = json.loads((moved / RECORD / PROBE_FILE).read_text())
    other["image_to_probe"][0][3] += 0.5
    (tmp_path / "other.json").write_text(json.dumps(other))
    chosen = ("ultrabones", "--root", moved, "--probe", tmp_path / "other.json")
    ran = medcli("label", *chosen, "--kind", "full")
    assert ran.code == 3
    assert "made with other options: probe was" in ran.err
    ran = medcli("reconstruct", *chosen, "--mask", "Labels_full", "--out", tmp_path / "out")
    assert ran.code == 3
    assert "another calibration of the probe" in ran.err
    ran = medcli("label", "ultrabones", "--root", moved, "--probe", "ultrabones-hip")
    assert ran.code == 3
    assert "200 x 150 pixels, expected 638 x 829" in ran.err or "meets" in ran.err, ran.err


def test_a_probe_that_is_none_is_refused_at_once(made_sweep: Path, medcli: Callable[..., Ran], tmp_path: Path) -> None:
    ran = medcli("label", "ultrabones", "--root", made_sweep, "--probe", "mine.json")
    assert ran.code == 2
    assert "there is no such file, and the presets are ultrabones100k, ultrabones-hip" in ran.err
    (tmp_path / "bad.json").write_text("{")
    ran = medcli("reconstruct", "ultrabones", "--root", made_sweep / "nowhere", "--probe", tmp_path / "bad.json")
    assert ran.code == 3
    assert "bad.json as the calibration of a probe" in ran.err
    assert "there is no folder" in ran.err  # both are said


def test_a_record_of_ultraboneship_is_known_by_its_layout(made_sweep: Path, tmp_path: Path) -> None:
    """Folders and names as the authors' code reads them; no real record was at hand."""
    record = tmp_path / "hip/specimen00/ultrasound_records/left_femur_axial/record01"
    shutil.copytree(made_sweep / RECORD, record)
    pd.read_csv(record / "tracking.csv").drop(columns="space_factor").to_csv(record / "poses.csv", index=False)
    (record / "tracking.csv").unlink()
    assert probe_of_record(record) == ULTRABONES_HIP
    (sweep,) = find_sweeps(tmp_path / "hip")
    assert (sweep.name, sweep.probe, sweep.tracked) == ("specimen00 left_femur_axial record01", ULTRABONES_HIP, 3)
    from medcli.ultrabones.dataset.frame_index import index_frames
    from medcli.ultrabones.dataset.mesh_files import find_meshes
    from medcli.ultrabones.dataset.records import read_poses

    assert set(index_frames(tmp_path / "hip")["donor"]) == {""}  # not that of UltraBones100k's specimen 0
    assert np.all(read_poses(sweep).spacing_mm == 0.080227)
    meshes = tmp_path / "hip/specimen00/CT_bone_segmentations"
    meshes.mkdir()
    for bone in ("pelvis", "left_femur", "left_femur_outer"):
        (meshes / f"{bone}.stl").touch()
    assert [path.stem for path in find_meshes(record, 0)] == ["left_femur", "pelvis"]
