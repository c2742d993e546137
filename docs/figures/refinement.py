"""Make the figure of the page on pose refinement: ``python docs/figures/refinement.py``.

``docs/images/refine-sweep.png`` shows corrections over time by both ways, with the truth: a synthetic fibula of 80
frames whose tracking drifts by up to 0.5 mm and 0.5 degrees and has noise of 0.1 mm and 0.05 degrees.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.dataset.mesh_files import find_meshes
from medcli.ultrabones.dataset.records import INITIAL, OPTIMIZED, find_sweeps, read_poses
from medcli.ultrabones.geometry.bone_meshes import load_surfaces
from medcli.ultrabones.pose_refinement.refine_frame import RefineSettings
from medcli.ultrabones.pose_refinement.refine_record import refine_sweep
from medcli.ultrabones.pose_refinement.refinement_report import FRAMES, SWEEP
from medcli.ultrabones.pose_refinement.refinement_summary import SUMMARY

IMAGE = Path(__file__).parents[1] / "images" / "refine-sweep.png"
DRIFTING = SweepSettings(80, 0.5, labels=False, pose_error_mm=0.1, pose_error_deg=0.05, drift_mm=0.5, drift_deg=0.5)
NAMES = ("x, mm", "y, mm", "z, mm", "euler_x, degrees", "euler_y, degrees", "euler_z, degrees")


def main() -> None:
    from matplotlib.figure import Figure

    with tempfile.TemporaryDirectory() as folder:
        sweep = find_sweeps(make_ultrabones(folder, (1,), seed=1, settings=DRIFTING))[0]
        surfaces = load_surfaces(find_meshes(sweep.folder, 1))
        tracked, true = read_poses(sweep, INITIAL).pose, read_poses(sweep, OPTIMIZED).pose
        for way in (FRAMES, SWEEP):
            refine_sweep(sweep, surfaces, RefineSettings(), 2, overwrite=True, way=way)
            if way == FRAMES:
                single = read_poses(sweep, OPTIMIZED).pose
        curve = json.loads((sweep.folder / SUMMARY).read_text("utf-8"))["curve"]
    times, delta = np.array(curve["times_s"]), np.array(curve["delta"])
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    for component, (axes, name) in enumerate(zip(figure.subplots(2, 3, sharex=True).flat, NAMES, strict=True)):
        axes.plot(times, (single - tracked)[:, component], ".", color="0.6", label="frame by frame")
        axes.plot(times, (true - tracked)[:, component], color="tab:green", lw=0.8, label="true")
        axes.plot(times, delta[:, component], color="tab:blue", lw=1.8, label="as one sweep")
        axes.set_title(name, fontsize=9, loc="left")
        axes.set_ylim(-1.05, 1.05)
        if component > 2:
            axes.set_xlabel("time, s")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(IMAGE, dpi=110)


if __name__ == "__main__":
    main()
