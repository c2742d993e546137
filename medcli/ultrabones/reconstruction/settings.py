"""What a reconstruction is made of, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medcli.ultrabones.dataset.probe import ULTRABONES100K, Probe
from medcli.ultrabones.pose_refinement.echo_distance import SurfaceCheck
from medcli.ultrabones.reconstruction.bone_shell import ShellFit
from medcli.ultrabones.reconstruction.cleaning_options import Cleaning
from medcli.ultrabones.reconstruction.point_cloud import DistanceSummary


@dataclass(frozen=True)
class ReconstructSettings:
    """What to rebuild.

    Attributes:
        mask: folder of masks in each record: ``Labels``, ``Labels_full``, ``Labels_pred`` or another.
        poses: ``initial`` or ``optimized``; None takes those the masks were made from, see
            :func:`medcli.ultrabones.labelling.label_origin.poses_of_masks`.
        voxel_mm, outlier_sd, radius_mm: what is left out of the files, see
            :class:`medcli.ultrabones.reconstruction.cleaning.Cleaning`. Figures and distances are of all points.
        normals: write the normals into the PLY file.
        layout: ``authors`` writes the ``.xyz`` file where the authors' other tools look for it.
        surface: ``open`` or ``watertight``: also make a surface, an STL file.
        meshes: folder of meshes, None for the specimen's own.
        merged: use the merged mesh of all bones.
        seed: of the random points on the mesh in the published metric.
        overwrite: rebuild what is there.
        dry_run: only say what would be done.
        probe: the calibration of the probe, None for each record's own.
    """

    mask: str = "Labels"
    poses: str | None = None
    voxel_mm: float = 0.0
    meshes: Path | None = None
    merged: bool = False
    seed: int = 0
    overwrite: bool = False
    dry_run: bool = False
    outlier_sd: float = 0.0
    radius_mm: float = 0.0
    normals: bool = False
    layout: str | None = None
    surface: str | None = None
    probe: Probe | None = None

    @property
    def cleaning(self) -> Cleaning:
        """What is left out of the files."""
        return Cleaning(self.voxel_mm, self.outlier_sd, self.radius_mm)


@dataclass(frozen=True)
class Reconstruction:
    """One record in 3D.

    Attributes:
        name: specimen, anatomy and record.
        mask: folder of its masks.
        poses: ``initial`` or ``optimized``.
        frames: masks used; ``empty`` of them had no pixel.
        points: label pixels in space.
        points_written: of them in the files.
        distance_mm: exact distances of the points to the nearest triangle of the meshes; None without points.
        published_mm: the published metric: mean distance to the nearest of a million random mesh points.
        seen: bone -> share of its area that has a point within 1 mm.
        files: what was written.
        cleaned_mm: the same distances of the points that cleaning leaves; None without cleaning.
        surface: the surface through them, if one was asked for and made.
        probe: whose calibration was used: the name of a preset, or a file.
        echoes: distances of the images' echoes to the meshes, which need no label: at the tracked poses, and at those
            used if they are others.
        doubt: the question whether the meshes are of another leg; empty where they fit the images.
        caution: why the distances say nothing, or less, about accuracy: the masks are labels cut from the same mesh, or
            the poses were fitted to it; empty otherwise.
    """

    name: str
    mask: str
    poses: str
    frames: int
    empty: int
    points: int
    points_written: int
    distance_mm: DistanceSummary | None
    published_mm: float | None
    seen: dict[str, float]
    files: tuple[str, ...]
    cleaned_mm: DistanceSummary | None = None
    surface: ShellFit | None = None
    probe: str = ULTRABONES100K.name
    echoes: SurfaceCheck | None = None
    doubt: str = ""
    caution: str = ""


@dataclass(frozen=True)
class ReconstructResult:
    """The answer of ``medcli reconstruct ultrabones``."""

    root: Path
    out: Path
    dry_run: bool
    records: tuple[Reconstruction, ...]
    failures: tuple[str, ...] = ()
    schema: str = "medcli.reconstruct.v1"
