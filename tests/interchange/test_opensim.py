"""``medcli convert opensim``: header and degrees as OpenSim's documentation describes them, and as it reads them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import Ran


def read_mot(path: Path) -> tuple[dict[str, str], pd.DataFrame]:
    """Name; lines key=value; anything; endheader; then a table separated by tabs, beginning with time."""
    head, _, body = path.read_text().partition("\nendheader\n")
    keys = dict(line.split("=", 1) for line in head.splitlines()[1:] if line.count("=") == 1 and " " not in line)
    return keys, pd.read_csv(io.StringIO(body), sep="\t")


def test_a_corrected_table_becomes_motions(medcli: Callable[..., Ran], tmp_path: Path) -> None:
    from medcli.veriserum.kinematics.joint_coordinates import COORDINATES

    names = [one.name for one in COORDINATES]
    rows = [
        {"trial": trial, "side": side, "status": "good", "time_s": 0.04 * frame,
         **{name: 10.0 * place + frame for place, name in enumerate(names)}}
        for trial, side in (("7", "left"), ("Gehen ä", "right")) for frame in range(3)
    ]  # fmt: skip
    rows[1][names[0]] = np.nan  # and its status is good
    pd.DataFrame(rows).to_csv(tmp_path / "corrected.csv", index=False)
    ran = medcli("convert", "opensim", tmp_path / "corrected.csv", "--out", tmp_path / "out")
    assert ran.code == 0, ran.err
    keys, table = read_mot(tmp_path / "out/trial_000007.mot")
    assert keys | {"nRows": "2", "nColumns": "7", "inDegrees": "yes", "version": "1"} == keys
    assert (len(table), len(table.columns), table.columns[0]) == (2, 7, "time")
    assert all(name.endswith("_l") for name in table.columns[1:])
    assert table["time"].tolist() == [0.0, 0.08]
    for place, (one, name) in enumerate(zip(COORDINATES, table.columns[1:], strict=True)):
        scale = 1.0 if one.unit == "deg" else 0.001  # degrees, and metres
        assert np.allclose(table[name], [10.0 * place * scale, (10.0 * place + 2) * scale])
    assert len(list((tmp_path / "out").iterdir())) == 2
    assert medcli("convert", "opensim", tmp_path / "corrected.csv", "--out", tmp_path / "out").code == 2
    ran = medcli("convert", "opensim", tmp_path / "corrected.csv", "--trials", "8", "--out", tmp_path / "o")
    assert (ran.code, "has no trial 8" in ran.err) == (3, True)
    ran = medcli("convert", "opensim", tmp_path / "nothing")
    assert (ran.code, "medcli kinematics veriserum" in ran.err) == (3, True)


def test_order_of_time_and_cells_that_are_no_numbers(medcli: Callable[..., Ran], tmp_path: Path) -> None:
    from medcli.veriserum.kinematics.joint_coordinates import COORDINATES

    names = [one.name for one in COORDINATES]
    path, out = tmp_path / "a.csv", tmp_path / "out"

    def convert(rows: list[tuple[str, float]], **cells: object) -> Ran:
        values = {"side": "left", "status": "good", **dict.fromkeys(names, 1.0)}
        columns = ["trial", "time_s", *values]
        table = pd.DataFrame([{"trial": name, "time_s": at, **values} for name, at in rows], columns=columns)
        for name, cell in cells.items():
            table[name] = table[name].astype(object)
            table.loc[len(table) - 1, name] = cell
        table.to_csv(path, index=False)
        return medcli("convert", "opensim", path, "--out", out, "--overwrite")

    ran = convert([])
    assert (ran.code, "has no rows" in ran.err, out.exists()) == (3, True, False)
    ran = convert([("1", 0.0), ("1", 0.1)], **{names[0]: "12,5"})
    assert (ran.code, f"line 3, {names[0]}: '12,5' is no number" in ran.err, out.exists()) == (3, True, False)
    ran = convert([("1", 0.1), ("1", 0.1)])
    assert (ran.code, "two frames have the time 0.1 s" in ran.err) == (3, True)
    assert not out.exists()
    ran = convert([("a/b", 0.2), ("a/b", 0.0), ("a_b", 0.0), ("A_B", 0.0)])
    assert ran.code == 0, ran.err
    assert {path.stem for path in out.iterdir()} == {"trial_a_b", "trial_a_b_2", "trial_A_B_3"}
    assert read_mot(out / "trial_a_b.mot")[1]["time"].tolist() == [0.0, 0.2]


@pytest.mark.deep
def test_opensim_reads_the_file(medcli: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSim itself (``pip install opensim``): the motion moves a joint with coordinates of these names."""
    monkeypatch.chdir(tmp_path)  # where it writes a log
    opensim = pytest.importorskip("opensim", reason="OpenSim is not installed")
    from medcli.veriserum.kinematics.joint_coordinates import COORDINATES

    rows = [
        {"trial": "7", "side": "left", "status": "good", "time_s": 0.04 * frame,
         **{one.name: 10.0 * place + frame for place, one in enumerate(COORDINATES)}}
        for frame in range(5)
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "corrected.csv", index=False)
    assert medcli("convert", "opensim", tmp_path / "corrected.csv", "--out", tmp_path / "out").code == 0
    path = str(tmp_path / "out/trial_000007.mot")
    assert opensim.Storage(path).isInDegrees()
    table = opensim.TimeSeriesTable(path)
    assert table.getIndependentColumn() == pytest.approx([0.0, 0.04, 0.08, 0.12, 0.16])
    names = list(table.getColumnLabels())
    assert names == [f"{one.opensim}_l" for one in COORDINATES]

    model = opensim.Model()
    tibia = opensim.Body("tibia", 1.0, opensim.Vec3(0), opensim.Inertia(1))
    joint = opensim.FreeJoint("knee", model.getGround(), tibia)
    rotations_first = sorted(names, key=lambda name: COORDINATES[names.index(name)].unit != "deg")
    for place, name in enumerate(rotations_first):
        joint.upd_coordinates(place).setName(name)
    model.addBody(tibia)
    model.addJoint(joint)
    model.initSystem()
    model.getSimbodyEngine().convertDegreesToRadians(table)
    for place, one in enumerate(COORDINATES):
        scale = np.deg2rad(1) if one.unit == "deg" else 1e-3  # metres, as OpenSim has them
        expected = [(10.0 * place + frame) * scale for frame in range(5)]
        assert np.allclose(table.getDependentColumn(names[place]).to_numpy(), expected, atol=1e-9)
