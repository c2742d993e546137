"""Surfaces through a cloud of labels, candidates side by side: ``python bench_surface.py [data folder] [--frames N]``.

- ``open`` and ``watertight``: what ``medcli reconstruct --surface`` makes, by scikit-image (extra ``surface``);
- screened Poisson reconstruction of PyMeshLab and of Open3D, closed and cut at 1.5 mm from the points: where these are
  installed (``pip install pymeshlab open3d``; neither is needed by medcli).

The cloud is of the first record of the data folder (its partial labels, else the first runs of its full ones), else of
a synthetic sweep along a tibia whose labels lie on the mesh. The table is that of ``docs/label-and-reconstruct.md``:
millimetres from the surface to the CT mesh, and from the CT mesh, where it was seen, to the surface; seconds are
processor time of all cores. Exits with 1 if ``open`` is farther than 0.15 mm from CT in the mean there.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from medcli.core.mesh import Mesh
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.dataset.mesh_files import find_meshes
from medcli.ultrabones.dataset.records import find_sweeps
from medcli.ultrabones.geometry.bone_meshes import load_surfaces
from medcli.ultrabones.labelling.label_origin import poses_of_masks
from medcli.ultrabones.labelling.mesh_section import first_runs
from medcli.ultrabones.reconstruction.bone_shell import OPEN, STEP_MM, WATERTIGHT, make_shell, measure_shell
from medcli.ultrabones.reconstruction.cloud_normals import estimate_normals
from medcli.ultrabones.reconstruction.mask_points import masks_of, project_masks
from medcli.ultrabones.reconstruction.point_cloud import thin

MOST_MM, CUT_MM = 0.15, 1.5
Make = Callable[[np.ndarray, np.ndarray], Mesh]


def pymeshlab_poisson(depth: int) -> Make:
    def make(points: np.ndarray, normals: np.ndarray) -> Mesh:
        import pymeshlab

        meshes = pymeshlab.MeshSet()
        meshes.add_mesh(pymeshlab.Mesh(vertex_matrix=points, v_normals_matrix=normals))
        meshes.generate_surface_reconstruction_screened_poisson(depth=depth)
        found = meshes.current_mesh()
        return Mesh(found.vertex_matrix(), found.face_matrix().astype(np.int64))

    return make


def open3d_poisson(depth: int) -> Make:
    def make(points: np.ndarray, normals: np.ndarray) -> Mesh:
        import open3d

        cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points))
        cloud.normals = open3d.utility.Vector3dVector(normals)
        found, _ = open3d.geometry.TriangleMesh.create_from_point_cloud_poisson(cloud, depth=depth)
        return Mesh(np.asarray(found.vertices), np.asarray(found.triangles).astype(np.int64))

    return make


def cut(make: Make) -> Make:
    """The faces whose corners all lie within 1.5 mm of a point."""

    def made(points: np.ndarray, normals: np.ndarray) -> Mesh:
        from scipy.spatial import cKDTree

        mesh = make(points, normals)
        near = cKDTree(points).query(mesh.vertices)[0] <= CUT_MM
        return Mesh(mesh.vertices, mesh.faces[near[mesh.faces].all(axis=1)])

    return made


def candidates() -> dict[str, tuple[str, Make]]:
    """By name: the library, and what makes the surface."""
    ours: dict[str, Make] = {
        kind: lambda points, normals, kind=kind: make_shell(points, normals, kind) for kind in (OPEN, WATERTIGHT)
    }
    found: dict[str, tuple[str, Make]] = {name: ("skimage", make) for name, make in ours.items()}
    for library, poisson in (("pymeshlab", pymeshlab_poisson), ("open3d", open3d_poisson)):
        found[f"{library}, screened Poisson, depth 8"] = (library, poisson(8))
        found[f"{library}, screened Poisson, depth 9, cut at {CUT_MM:g} mm"] = (library, cut(poisson(9)))
    return found


def cloud_of_record(root: Path) -> tuple[np.ndarray, np.ndarray, list[Any], str]:
    """Points and normals, one a cube of 0.5 mm, the CT surfaces, and the record's name."""
    sweep = find_sweeps(root)[0]
    mask, change = ("Labels", None) if masks_of(sweep, "Labels") else ("Labels_full", first_runs)
    masks = masks_of(sweep, mask)
    clouds, towards, _ = project_masks(sweep, poses_of_masks(sweep, mask, None), masks, change=change)
    points = np.concatenate(clouds)
    normals = estimate_normals(points, np.repeat(towards, [len(one) for one in clouds], axis=0))
    sample, rows = thin(points, STEP_MM)
    name = f"{sweep.name}, {len(masks)} frames"
    return sample, normals[rows], load_surfaces(find_meshes(sweep.folder, sweep.specimen)), name


def is_closed(mesh: Mesh) -> bool:
    """Whether every edge is shared by two faces."""
    edges = np.sort(mesh.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    return bool((np.unique(edges, axis=0, return_counts=True)[1] == 2).all())


def compare(root: Path) -> dict[str, float]:
    """Print a row for each candidate; mean distance to CT by name."""
    points, normals, bones, name = cloud_of_record(root)
    print(f"{name}: {len(points):,} points, one a cube of {STEP_MM:g} mm\n")
    print("| | surface to CT, mean (95 %) | CT to surface where seen, mean (95 %) | watertight |")
    print("|---|---:|---:|---|")
    means, notes = {}, []
    for label, (library, make) in candidates().items():
        if importlib.util.find_spec(library) is None:
            notes.append(f"{label}: skipped, {library} is not installed")
            continue
        started = time.process_time()
        mesh = make(points, normals)
        seconds = time.process_time() - started
        fit = measure_shell(mesh, label, label, points, bones, 0)
        cells = [f"{one.mean:.3f} ({one.percentile_95:.3f})" if one else "-" for one in (fit.to_ct, fit.from_ct)]
        print(f"| {label} | {' | '.join(cells)} | {'yes' if is_closed(mesh) else 'no'} |", flush=True)
        notes.append(f"{label}: {fit.faces:,} triangles, {seconds:.1f} s")
        means[label] = fit.to_ct.mean
    print("\n" + "\n".join(notes))
    return means


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--frames", type=int, default=200)
    chosen = parser.parse_args()
    if chosen.data:
        compare(chosen.data)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        settings = SweepSettings(chosen.frames, 0.5, pose_error_mm=0.0, pose_error_deg=0.0)
        make_ultrabones(folder, (2,), anatomies=("tibia",), seed=4, settings=settings)
        means = compare(Path(folder))
    return int(OPEN not in means or means[OPEN] > MOST_MM)


if __name__ == "__main__":
    sys.exit(main())
