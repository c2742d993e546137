"""Small, realistic UltraBones100k folders: tracked sweeps over bone-like meshes, labelled by the dataset's own rule.

Geometry as published (Wu et al. 2025): a pixel (column c, row r) lies at T · C · (s (c + ½), s (r + ½), 0, 1) in CT,
with C the probe calibration and T the pose of the probe marker from the tracking table.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medcli.core.files import make_output_folder, usable_cores, write_json, write_text
from medcli.core.image_io import use_single_threaded_codecs, write_image
from medcli.core.mesh import Mesh, merge_meshes, write_stl
from medcli.core.rigid_transforms import ULTRABONES_EULER, invert_rigid, rigid_transform
from medcli.core.run_provenance import SYNTHETIC
from medcli.synthetic.ultrasound.bmode import Scene, render_bmode
from medcli.synthetic.ultrasound.bones import SHAPES, Bone, make_bone
from medcli.synthetic.ultrasound.label_rules import analytic_full_label, analytic_partial_label
from medcli.ultrabones.dataset.constants import (
    FRAME_HEIGHT,
    FRAME_WIDTH,
    PIXEL_SPACING_MM,
    SPECIMENS,
)
from medcli.ultrabones.dataset.folder_layout import mask_name
from medcli.ultrabones.geometry.image_to_ct import PROBE_FROM_IMAGE

Layout = Literal["current", "first"]
MILLISECONDS_A_FRAME = 50
_MESH_NAME = {"current": "CT_bone_segmentations", "first": "."}


@dataclass(frozen=True)
class SweepSettings:
    """How a sweep is taken and written down.

    Attributes:
        frames: number of frames.
        scale: size of a frame relative to 950 x 811; pixels grow accordingly, so that the view stays the same.
        optimized_columns: write the true poses as ``…_optimized``, as refined tables have them.
        pose_error_mm: each component of an initial position is wrong by up to this.
        pose_error_deg: each component of an initial rotation is wrong by up to this.
        drift_mm: and each component of a position by up to this, smoothly over seconds, as a tracker drifts.
        drift_deg: likewise of a rotation.
        predictions: also write ``Labels_pred``: the partial label, shifted a little and with parts missing.
        labels: write ``Labels``, and ``Labels_full`` in the current layout; without, it is a sweep to be labelled.
    """

    frames: int = 8
    scale: float = 1.0
    optimized_columns: bool = True
    pose_error_mm: float = 0.4
    pose_error_deg: float = 0.3
    drift_mm: float = 0.0
    drift_deg: float = 0.0
    predictions: bool = False
    labels: bool = True

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of a frame."""
        return round(FRAME_HEIGHT * self.scale), round(FRAME_WIDTH * self.scale)

    @property
    def spacing_mm(self) -> float:
        return PIXEL_SPACING_MM / self.scale


@dataclass(frozen=True)
class SyntheticSweep:
    """One record: true poses of the probe marker in CT (frames, 4, 4), timestamps in ms, and travel in mm."""

    poses: NDArray[np.float64]
    timestamps: NDArray[np.int64]
    travel_mm: NDArray[np.float64]


def make_ultrabones(
    root: Path | str,
    specimens: tuple[int, ...] = (1, 2),
    frames_per_record: int = 8,
    layout: Layout = "current",
    seed: int = 0,
    anatomies: tuple[str, ...] = ("fibula",),
    records: int = 1,
    settings: SweepSettings | None = None,
) -> Path:
    """Write a synthetic data folder that every command reads like the real one; returns ``root``.

    Args:
        root: becomes the data folder; existing files are replaced.
        specimens: their numbers, also ones that the dataset does not know.
        frames_per_record: frames in each sweep (``settings.frames`` when settings are given).
        layout: ``current`` (specimen01/ultrasound_records/fibula/record01, meshes, full and partial labels) or
            ``first`` (cadaver01_F231091/record01, partial labels; records are numbered through all anatomies).
        seed: same seed and arguments, same files.
        anatomies: of ``fibula``, ``foot``, ``tibia``.
        records: sweeps of each anatomy.
        settings: everything else.
    """
    settings = settings or SweepSettings(frames=frames_per_record)
    use_single_threaded_codecs()
    root = make_output_folder(Path(root))
    write_json(root / SYNTHETIC, settings)
    with ThreadPoolExecutor(usable_cores()) as pool:
        for specimen in specimens:
            number = 0
            leg = Leg.make(specimen, seed)
            folder = root / _specimen_folder(specimen, layout)
            leg.write_meshes(folder / _MESH_NAME[layout], layout)
            for anatomy in anatomies:
                for record in range(1, records + 1):
                    number += 1
                    place = f"ultrasound_records/{anatomy}/record{record:02d}"
                    path = folder / (place if layout == "current" else f"record{number:02d}")
                    _write_record(path, leg, anatomy, (seed, specimen, number), settings, layout, pool)
    return root


@dataclass(frozen=True)
class Leg:
    """The bones of one specimen and the position of the leg in CT."""

    bones: dict[str, Bone]
    to_ct: NDArray[np.float64]

    @staticmethod
    def make(specimen: int, seed: int) -> Leg:
        """The leg of this number: the same for the same seed."""
        generator = np.random.default_rng([seed, specimen])
        bones = {name: make_bone(shape, generator) for name, shape in SHAPES.items()}
        place = rigid_transform(
            generator.uniform((20, 240, 1100), (60, 300, 1200)), generator.uniform(-25, 25, 3), ULTRABONES_EULER
        )
        return Leg(bones, place)

    def meshes_in_ct(self) -> dict[str, Mesh]:
        """Surface of each bone in CT, millimetres, by anatomy."""
        return {name: bone.mesh.transformed(self.to_ct) for name, bone in self.bones.items()}

    def write_meshes(self, folder: Path, layout: Layout) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        meshes = self.meshes_in_ct()
        if layout == "current":
            for name, mesh in meshes.items():
                write_stl(mesh, folder / f"{name}.stl")
        merged = "CT_bone_model_merged.stl" if layout == "current" else "CT_bone_model.stl"
        write_stl(merge_meshes(list(meshes.values())), folder / merged)


def plan_sweep(leg: Leg, anatomy: str, frames: int, generator: np.random.Generator) -> SyntheticSweep:
    """A free-hand sweep along a bone: the probe faces its axis, sways and tilts by a few degrees."""
    bone = leg.bones[anatomy]
    shape = bone.shape
    start, end = sorted(generator.uniform((0.10, 0.80), (0.22, 0.92)))
    along = np.linspace(start, end, frames) if frames > 1 else np.array([(start + end) / 2])
    if generator.random() < 0.5:
        along = along[::-1]
    phase = generator.uniform(0, 2 * np.pi, 5)
    sway = np.sin(2 * np.pi * along[:, None] * np.array([1.3, 1.7, 2.1, 1.1, 1.9]) + phase)
    cover_mm = shape.cover_mm * (1 + 0.15 * sway[:, 0]) + bone.radius_at(along)
    width_mm = FRAME_WIDTH * PIXEL_SPACING_MM
    turn = np.stack([4 * sway[:, 1], 4 * sway[:, 2], shape.probe_deg + 90 + 10 * sway[:, 3]], axis=1)
    # The image's x axis lies across the leg, y points into it, z along the bone; tilts turn about the probe's middle.
    to_leg = rigid_transform(bone.axis_at(along), turn, ULTRABONES_EULER)
    middle_mm = np.stack([-width_mm / 2 + 4.0 * sway[:, 4], -cover_mm, np.zeros(len(along))], axis=1)
    in_image = rigid_transform(middle_mm, np.zeros_like(middle_mm), ULTRABONES_EULER)
    gaps = generator.choice([1, 1, 1, 2, 4], len(along)) * MILLISECONDS_A_FRAME
    timestamps = (160_000 + np.cumsum(gaps)).astype(np.int64)
    poses = leg.to_ct @ to_leg @ in_image @ invert_rigid(PROBE_FROM_IMAGE)
    return SyntheticSweep(poses, timestamps, shape.length_mm * along)


def _write_record(
    folder: Path,
    leg: Leg,
    anatomy: str,
    key: tuple[int, int, int],
    settings: SweepSettings,
    layout: Layout,
    pool: ThreadPoolExecutor,
) -> None:
    generator = np.random.default_rng(key)
    sweep = plan_sweep(leg, anatomy, settings.frames, generator)
    scene = Scene.draw(generator)
    kinds = ["UltrasoundImages", *(["Labels"] if settings.labels else [])]
    kinds += ["Labels_full"] if settings.labels and layout == "current" else []
    kinds += ["Labels_pred"] if settings.predictions else []
    for kind in kinds:
        (folder / kind).mkdir(parents=True, exist_ok=True)
    write_text(folder / "tracking.csv", tracking_table(sweep, settings, generator))
    surface = merge_meshes(list(leg.meshes_in_ct().values()))

    def write_frame(i: int) -> None:
        own = np.random.default_rng([*key, i])
        to_image = invert_rigid(sweep.poses[i] @ PROBE_FROM_IMAGE)
        full = analytic_full_label(surface.transformed(to_image).triangles, settings.spacing_mm, settings.size)
        partial = analytic_partial_label(full)
        made = {"Labels": partial, "Labels_full": full}
        made["UltrasoundImages"] = render_bmode(
            first_surface(partial), scene, sweep.travel_mm[i], settings.spacing_mm, settings.size[0], own
        )
        if settings.predictions:
            made["Labels_pred"] = _imperfect(partial, own)
        for kind in kinds:
            stamp = int(sweep.timestamps[i])
            name = f"{stamp}.png" if kind == "UltrasoundImages" else mask_name(stamp, kind)
            write_image(folder / kind / name, made[kind])

    list(pool.map(write_frame, range(settings.frames)))


def first_surface(partial: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Middle row of the label run under each column (columns,), NaN where there is none."""
    on = partial > 0
    count = on.sum(axis=0)
    total = (on * np.arange(on.shape[0])[:, None]).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def tracking_table(sweep: SyntheticSweep, settings: SweepSettings, generator: np.random.Generator) -> str:
    """The record's ``tracking.csv``: initial poses with their error, and the true ones as ``…_optimized`` if wanted."""
    from scipy.spatial.transform import Rotation

    angles_deg = Rotation.from_matrix(sweep.poses[:, :3, :3]).as_euler("xyz", degrees=True)
    true = np.concatenate([sweep.poses[:, :3, 3], angles_deg], axis=1)
    bound = np.repeat([settings.pose_error_mm, settings.pose_error_deg], 3)
    initial = true + generator.uniform(-1, 1, true.shape) * bound
    if settings.drift_mm or settings.drift_deg:
        limit = np.repeat([settings.drift_mm, settings.drift_deg], 3)
        initial += smooth_drift(sweep.timestamps / 1000.0, generator) * limit
    names = ["x", "y", "z", "euler_x", "euler_y", "euler_z"]
    header = ["timestamp", "space_factor", *names]
    columns = [initial]
    if settings.optimized_columns:
        header += [f"{name}_optimized" for name in names]
        columns.append(true)
    lines = [",".join(header)]
    for stamp, row in zip(sweep.timestamps, np.concatenate(columns, axis=1), strict=True):
        lines.append(",".join([str(stamp), repr(settings.spacing_mm), *(repr(float(value)) for value in row)]))
    return "\n".join(lines) + "\n"


def smooth_drift(times_s: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    """Six smooth curves of time within -1 to 1, (frames, 6): a constant part and waves of 4 to 20 seconds."""
    phase = generator.uniform(0, 2 * np.pi, (3, 6))
    period_s = generator.uniform([[4.0], [7.0], [12.0]], [[7.0], [12.0], [20.0]], (3, 6))
    waves = np.sin(2 * np.pi * times_s[:, None, None] / period_s + phase).mean(axis=1)
    return np.asarray(0.75 * waves + 0.25 * generator.uniform(-1, 1, 6))


def _imperfect(label: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
    """A prediction as a fair model makes it: a little off, parts missing, now and then a false line."""
    moved = np.roll(label, tuple(generator.integers(-4, 5, 2)), axis=(0, 1))
    width = label.shape[1]
    start = int(generator.integers(0, width))
    moved[:, start : start + width // 6] = 0
    if generator.random() < 0.3:
        row, column = (int(generator.integers(0, max(n - 60, 1))) for n in label.shape)
        moved[row : row + 4, column : column + 60] = 255
    return moved


def _specimen_folder(specimen: int, layout: Layout) -> str:
    if layout == "current":
        return f"specimen{specimen:02d}"
    known = SPECIMENS.get(specimen)
    return known.first_release_folder if known else f"cadaver{specimen:02d}_X{specimen:06d}"
