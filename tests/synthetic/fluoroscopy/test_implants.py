"""The synthetic components: closed, faces outward, realistic sizes, and different from each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medcli.core.mesh import read_stl, write_stl
from medcli.synthetic.fluoroscopy.implants import FEMORAL_SHAPES, TIBIAL_SHAPES, SyntheticImplant, make_implants
from medcli.synthetic.fluoroscopy.solids import blocks, slab

IMPLANTS = make_implants()


@pytest.mark.parametrize("implant", IMPLANTS, ids=lambda implant: f"{implant.kind}-{implant.anatomy_id}")
def test_closed_outward_and_of_real_size(implant: SyntheticImplant) -> None:
    mesh = implant.mesh
    assert mesh.is_watertight()
    assert 12_000 < mesh.volume < 60_000  # a component of CoCr weighs about 100 to 450 g
    width, height, depth = mesh.bounds[1] - mesh.bounds[0]
    assert 60 <= width <= 76
    assert 40 <= depth <= 70
    assert 25 <= height <= 65
    assert 5_000 <= len(mesh.faces) <= 20_000
    assert np.all(mesh.bounds[0] < 0)
    assert np.all(mesh.bounds[1] > 0)


def test_two_femora_five_tibiae_all_different() -> None:
    assert [implant.kind for implant in IMPLANTS] == ["femur"] * 2 + ["tibia"] * 5
    assert [implant.anatomy_id for implant in IMPLANTS] == list(range(1, 8))
    assert len({round(implant.mesh.volume) for implant in IMPLANTS}) == 7


def test_sizes_follow_the_shapes() -> None:
    for implant, shape in zip(IMPLANTS, FEMORAL_SHAPES + TIBIAL_SHAPES, strict=True):
        assert np.ptp(implant.mesh.vertices[:, 0]) == pytest.approx(shape.width, abs=1.0)


@pytest.mark.parametrize("implant", IMPLANTS, ids=lambda implant: f"{implant.kind}-{implant.anatomy_id}")
def test_stays_closed_in_a_file(implant: SyntheticImplant, tmp_path: Path) -> None:
    write_stl(implant.mesh, tmp_path / "ana.stl")
    again = read_stl(tmp_path / "ana.stl")
    assert again.is_watertight()
    assert again.volume == pytest.approx(implant.mesh.volume, rel=1e-5)


def test_slab_has_the_volume_of_its_cells() -> None:
    rows, columns = np.meshgrid(np.arange(5.0), np.arange(7.0), indexing="ij")
    cells = np.ones((4, 6), dtype=bool)
    cells[2:, 2:4] = False
    outer = np.stack([rows, columns, np.full_like(rows, 2.0)], axis=-1)
    inner = np.stack([rows, columns, np.full_like(rows, 0.5)], axis=-1)
    for body in (slab(outer, inner, cells), slab(inner, outer, cells)):
        assert body.is_watertight()
        assert body.volume == pytest.approx(20 * 1.5)


def test_blocks_have_the_volume_of_their_cells() -> None:
    filled = np.ones((3, 2, 2), dtype=bool)
    filled[1, 0, 0] = False
    body = blocks(np.array([0.0, 1, 4, 6]), np.array([0.0, 2, 3]), np.array([0.0, 5, 6]), filled)
    assert body.is_watertight()
    assert body.volume == pytest.approx(6 * 3 * 6 - 3 * 2 * 5)
