"""``axes.json``: what it says is read back, and every mistake in it is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medcli.core.errors import DataError
from medcli.core.files import write_json
from medcli.core.mesh import Mesh
from medcli.veriserum.kinematics.axes_guess import known_axes
from medcli.veriserum.kinematics.implant_axes import SCHEMA, ImplantAxes, MeshStamp, check_axes_mesh, read_axes
from tests.support import knees

GOOD = {"origin_mm": [0, 8, -6], "right": [-1, 0, 0], "anterior": [0, 0, 1], "proximal": [0, 2, 0], "side": "left"}


def written(path: Path, entry: Any, name: str = "1") -> Path:
    path.write_text(json.dumps({"schema": SCHEMA, "implants": {name: entry}}), "utf-8")
    return path


def test_axes_are_read_back_as_written(tmp_path: Path) -> None:
    tray = knees.implants()[4].mesh
    matrix = np.eye(4)[:, [1, 2, 0, 3]]
    matrix[:3, 3] = [1.5, -2, 3]
    axes = ImplantAxes.from_matrix("tibia", matrix, "by hand", side="right", mesh=MeshStamp.of(tray), remarks=("a",))
    write_json(tmp_path / "axes.json", {"schema": SCHEMA, "implants": {4: axes}})
    (found,) = read_axes(tmp_path / "axes.json").values()
    assert found == axes
    np.testing.assert_allclose(found.matrix(), matrix)
    check_axes_mesh(found, tray, 4, tmp_path / "axes.json")


def test_what_a_person_writes_may_be_short(tmp_path: Path) -> None:
    (found,) = read_axes(written(tmp_path / "axes.json", GOOD)).values()
    assert (found.kind, found.side, found.mesh, found.proximal) == ("femur", "left", None, (0, 1, 0))
    assert found.found_by == "not stated in the file"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"right": [1, 0, 0]}, "left-handed"),
        ({"anterior": [0, 1, 1]}, "anterior and proximal are not perpendicular"),
        ({"proximal": [0, 0, 0]}, "proximal has no length"),
        ({"proximal": [0, None, 1]}, "expected three numbers"),
        ({"origin_mm": [0, 1]}, "origin_mm is"),
        ({"side": "links"}, "expected right, left or null"),
        ({"kind": "patella"}, "expected femur or tibia"),
        ({"mesh": {"triangles": 4}}, "'low_mm' is missing"),
    ],
)
def test_a_mistake_is_named_with_its_implant(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        read_axes(written(tmp_path / "axes.json", GOOD | change))
    assert "axes.json: implant 1: " in caught.value.message


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"implants": {}}', '{"implants": {"one": {}}}', '{"implants": {"1": 3}}']
)
def test_a_broken_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "axes.json").write_text(text, "utf-8")
    with pytest.raises(DataError, match=r"axes\.json"):
        read_axes(tmp_path / "axes.json")
    with pytest.raises(DataError, match="cannot read axes"):
        read_axes(tmp_path / "absent.json")


def test_axes_of_another_mesh_are_refused_and_the_users_file_wins(tmp_path: Path) -> None:
    root = knees.write_knees(tmp_path / "knee", knees.pose_rows(knees.draw_knees(1, 1)))
    from medcli.veriserum.dataset.study import VeriserumStudy

    surfaces, tray = VeriserumStudy(root).surfaces, knees.implants()[3].mesh
    other = Mesh(tray.vertices + 0.5, tray.faces)
    entry = {**GOOD, "kind": "femur", "mesh": {"triangles": 9, "low_mm": [0, 0, 0], "high_mm": [1, 1, 1]}}
    with pytest.raises(DataError, match="anatomy 1 are for another mesh: it has 12,968 triangles, not 9"):
        known_axes(surfaces, [1], written(tmp_path / "axes.json", entry))
    with pytest.raises(DataError, match="their origin is 4"):
        known_axes(surfaces, [1], written(tmp_path / "axes.json", GOOD | {"origin_mm": [0, 500, 0]}))
    assert "box differs by 0.5 mm" in MeshStamp.of(tray).difference(MeshStamp.of(other))
    known = known_axes(surfaces, [1, 3], written(tmp_path / "axes.json", GOOD))
    assert known.axes[1].origin_mm == (0, 8, -6)
    assert known.source.startswith(f"{tmp_path / 'axes.json'} (anatomies 1); guessed from the meshes (anatomies 3)")
