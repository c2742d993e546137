"""Masks of implants in X-ray images from poses and meshes (``medcli label veriserum``)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError, UsageError, quantity
from medcli.core.files import make_output_folder, read_whole, usable_cores, write_json
from medcli.core.image_io import use_single_threaded_codecs, write_image
from medcli.core.json_text import read_object
from medcli.core.made_with import differences, fingerprint, reject_other_options
from medcli.core.mesh import Mesh
from medcli.core.progress import SILENT, Progress
from medcli.core.run_provenance import note_run
from medcli.core.threads import map_in_threads
from medcli.veriserum.dataset import folder_index
from medcli.veriserum.dataset.anatomies import KINDS
from medcli.veriserum.dataset.detector import PLANES
from medcli.veriserum.dataset.folder_index import POSES, SOURCES
from medcli.veriserum.dataset.publication import ABOUT
from medcli.veriserum.geometry.biplane import Camera, ImageGrid
from medcli.veriserum.labelling.components import PlacedImplant, implants_of_pairs
from medcli.veriserum.labelling.mask_sheet import draw_mask_sheet
from medcli.veriserum.registration.start_poses import Sources, StartPoses

FOLDER = "implant_masks"
RECORD = "implant_masks.json"
VALUES = {"femur": 1, "tibia": 2}
"""Bits of a component in a single file: a pixel that both project onto is 3."""
_RIM = 2
_DECISIVE = (*folder_index.POSE_COLUMNS, "anatomy_id", "measurement_id", "source_int_calibration_id", "obsolete")
"""Columns of the pose table that masks depend on."""


@dataclass(frozen=True)
class ImplantMaskSettings:
    """What to write.

    Attributes:
        size: pixels along each side, on the grid of calibrated images of that size.
        single_file: one file an image, with the values 1 femur, 2 tibia, 3 both; else a file for each component,
            of 0 and 255. X-rays pass through both: in either form each keeps its whole silhouette.
    """

    size: int = 512
    single_file: bool = False

    def __post_init__(self) -> None:
        if self.size < 1:
            raise UsageError(f"--size must be 1 or more, got {self.size}")


@dataclass(frozen=True)
class ImplantMaskResult:
    """The answer of ``medcli label veriserum``.

    Attributes:
        pairs: pairs with a pose.
        both: of these, with both components.
        done: files written (in a dry run: that would be).
        skipped: files that were there.
        empty: files without a pixel of an implant, as it lies outside the image.
        pixels: component -> pixels in the files written.
        seconds, files_per_second: of the rendering.
        figure: the contact sheet, None without.
    """

    root: Path
    out: Path
    pairs: int
    both: int
    done: int
    skipped: int
    empty: int
    pixels: dict[str, int]
    seconds: float
    files_per_second: float
    dry_run: bool
    settings: ImplantMaskSettings
    frame: str
    figure: Path | None = None
    failures: tuple[str, ...] = ()
    schema: str = "medcli.label-veriserum.v1"


@dataclass
class _Done:
    written: int = 0
    skipped: int = 0
    empty: int = 0
    pixels: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    failures: list[str] = field(default_factory=list)

    def add(self, other: _Done) -> None:
        self.written, self.skipped = self.written + other.written, self.skipped + other.skipped
        self.empty += other.empty
        self.pixels = {kind: count + other.pixels[kind] for kind, count in self.pixels.items()}
        self.failures += other.failures


def label_implants(
    sources: Sources,
    out: Path | None = None,
    settings: ImplantMaskSettings = ImplantMaskSettings(),
    ids: Sequence[tuple[int, int]] | None = None,
    figure: Path | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> ImplantMaskResult:
    """Write the projected silhouettes of the implants, one PNG for each image and component.

    Files are ``femur_bs_000001.png``, ``tibia_fs_000001.png``, or ``implants_bs_000001.png`` with ``single_file``.
    Files that are there are left alone, so an interrupted run resumes.

    Args:
        sources: the data folder, tables and the frame of the poses.
        out: folder; None: ``implant_masks`` in the data folder.
        ids: (first, last) ranges, both included; None: every id with images, or all where there are no images.
        figure: PNG or JPEG file with masks over images.
        overwrite: replace files, also those made with other options.

    Raises:
        DataError: no poses, no camera calibrations, no implants.
        UsageError: the folder holds masks made with other options or poses.
    """
    use_single_threaded_codecs()
    out = out or sources.root / FOLDER
    starts = StartPoses(sources)
    implants = _implants(starts, ids)
    made = _made_with(starts, sources, settings)
    masks = _Masks(starts, out, settings, overwrite, dry_run)
    _agree(masks, made, sorted(implants))
    started = time.perf_counter()
    total = _Done()
    with progress.task("label implants", len(implants), "pairs") as advance:
        for one in map_in_threads(lambda item: masks.write(*item), implants.items(), workers or usable_cores()):
            total.add(one)
            advance(1)
    seconds = time.perf_counter() - started
    shown = figure if figure and not dry_run and draw_mask_sheet(figure, starts, masks.of_pair, implants) else None
    result = ImplantMaskResult(
        root=sources.root,
        out=out,
        pairs=len(implants),
        both=sum(len(found) == len(KINDS) for found in implants.values()),
        done=total.written,
        skipped=total.skipped,
        empty=total.empty,
        pixels=total.pixels,
        seconds=round(seconds, 3),
        files_per_second=round(total.written / seconds, 1) if total.written and not dry_run else 0.0,
        dry_run=dry_run,
        settings=settings,
        frame=sources.frame.value,
        figure=shown,
        failures=tuple(total.failures),
    )
    if total.written and not dry_run:
        note_run(out, "label veriserum", ABOUT, sources.root, settings, result, "cpu")
    return result


def _implants(starts: StartPoses, ids: Sequence[tuple[int, int]] | None) -> dict[int, tuple[PlacedImplant, ...]]:
    """The implants of the chosen pairs; pairs without one are left out."""
    study = starts.study
    rows = folder_index.read_every_row(study.table_file(POSES), POSES)
    rows = rows[~folder_index.is_obsolete(rows)]
    images = study.contents.images.keys() | study.calibrated_images.keys()
    chosen = folder_index.select_ids(sorted(set(rows.index.tolist())), ids)
    if images and ids is None:
        chosen = [number for number in chosen if number in images]
    found = {number: placed for number, placed in implants_of_pairs(rows, chosen).items() if placed}
    if not found:
        raise DataError(
            f"no pose of a known implant among {quantity(len(chosen), 'id')} of {study.table_file(POSES)}",
            "check --root, --ids and the columns anatomy_id and obsolete",
        )
    return found


class _Masks:
    """Renders and writes the masks of pairs; shared by threads."""

    def __init__(
        self, starts: StartPoses, out: Path, settings: ImplantMaskSettings, overwrite: bool, dry_run: bool
    ) -> None:
        self.starts, self.out, self.settings = starts, out, settings
        self.overwrite, self.dry_run = overwrite, dry_run

    def files(self, number: int, plane: str, placed: Sequence[PlacedImplant]) -> dict[str, Path]:
        """Name in the file's own (component, or ``implants``) -> path."""
        kinds = ["implants"] if self.settings.single_file else [one.kind for one in placed]
        return {kind: self.out / f"{kind}_{folder_index.expected_name(number, plane)}.png" for kind in kinds}

    def write(self, number: int, placed: Sequence[PlacedImplant]) -> _Done:
        """Write the masks of one pair that are not there."""
        done = _Done()
        for plane in PLANES:
            files = self.files(number, plane, placed)
            todo = {kind: path for kind, path in files.items() if self.overwrite or not path.exists()}
            done.skipped += len(files) - len(todo)
            try:
                if todo and not self.dry_run:
                    self._write_plane(number, plane, placed, todo, done)
                done.written += len(todo)
            except DataError as error:
                done.failures.append(f"id {number}, {plane}: {error.message}")
        return done

    def _write_plane(
        self, number: int, plane: str, placed: Sequence[PlacedImplant], todo: dict[str, Path], done: _Done
    ) -> None:
        masks = self.of_pair(number, plane, placed, self.settings.size)
        if self.settings.single_file:
            values = np.zeros((self.settings.size,) * 2, np.uint8)
            for kind, mask in masks.items():
                values |= mask.astype(np.uint8) * np.uint8(VALUES[kind])
            images = {"implants": values}
        else:
            images = {kind: mask.astype(np.uint8) * np.uint8(255) for kind, mask in masks.items()}
        for kind, path in todo.items():
            write_image(path, images[kind])
            done.empty += not images[kind].any()
        for kind, mask in masks.items():
            done.pixels[kind] += int(np.count_nonzero(mask))

    def of_pair(
        self, number: int, plane: str, placed: Sequence[PlacedImplant], size: int
    ) -> dict[str, NDArray[np.bool_]]:
        """Component -> (size, size) pixels whose ray hits it.

        Raises:
            DataError: a pose, camera or implant cannot be used.
        """
        cameras = self.starts.geometry.cameras(number)
        to_world = cameras.frame_to_world(self.starts.geometry.frame)
        masks = {}
        for one in placed:
            if one.problem:
                raise DataError(f"the pose of the {one.kind} cannot be right: {one.problem}")
            mesh = self.starts.study.surfaces.implant(one.anatomy).mesh
            try:
                masks[one.kind] = projected_mask(cameras.camera(plane), mesh, to_world @ one.pose, size)
            except ValueError as error:
                raise DataError(f"{one.kind}: {error}") from error
        return masks


def projected_mask(camera: Camera, mesh: Mesh, pose: NDArray[np.float64], size: int) -> NDArray[np.bool_]:
    """Pixels of a calibrated image (size, size) whose ray hits a mesh; only around its projection is rendered.

    Args:
        camera: of the plane.
        mesh: the implant, millimetres.
        pose: (4, 4) implant to world.

    Raises:
        ValueError: the mesh extends to the source.
    """
    grid = ImageGrid.calibrated(size)
    mask = np.zeros((size, size), np.bool_)
    matrix = camera.pixel_matrix(grid) @ pose
    corners = mesh.vertices @ matrix[:, :3].T + matrix[:, 3]
    if corners[:, 2].min() <= 0:
        raise ValueError("the mesh extends to the X-ray source; is its pose in millimetres and in this frame?")
    pixels = corners[:, :2] / corners[:, 2:]
    first = np.clip(np.floor(pixels.min(axis=0)) - _RIM, 0, size).astype(int)
    last = np.clip(np.ceil(pixels.max(axis=0)) + _RIM, 0, size).astype(int)
    columns, rows = (last - first).tolist()
    if columns > 0 and rows > 0:
        part = grid.cropped(int(first[0]), int(first[1]), columns, rows)
        mask[first[1] : last[1], first[0] : last[0]] = camera.silhouette(mesh, pose, part)
    return mask


def _made_with(starts: StartPoses, sources: Sources, settings: ImplantMaskSettings) -> dict[str, object]:
    """What decides the pixels, for the record beside them."""
    study, planes = starts.study, starts.geometry.planes
    rows = folder_index.read_every_row(study.table_file(POSES), POSES).sort_index()
    columns = [name for name in _DECISIVE if name in rows.columns]
    geometry = [value for plane in (planes.bs, planes.fs) for value in (plane.centre_mm, plane.normal, plane.vertical)]
    return {
        "size": settings.size,
        "single_file": settings.single_file,
        "pose_frame": sources.frame.value,
        "planes": fingerprint(*(value.astype("<f8").tobytes() for value in geometry)),
        "poses": fingerprint(rows[columns].to_csv(lineterminator="\n")),
        "cameras": fingerprint(study.table(SOURCES).sort_index().to_csv(lineterminator="\n")),
        "implants": fingerprint(*(read_whole(path) for _, path in sorted(study.surfaces.files.items()))),
    }


def _agree(masks: _Masks, made: dict[str, object], ids: Sequence[int]) -> None:
    """Write the record, once the masks that stay are made with the same."""
    record = masks.out / RECORD
    present = {path.name for path in masks.out.glob("*.png")} if masks.out.is_dir() else set()
    changed = differences(read_object(record), made) if present else []
    if changed and masks.overwrite:
        chosen = {int(number) for number in ids}
        staying = [name for name in present if _id_of(name) not in chosen]
        if staying or masks.settings.single_file != read_object(record).get("single_file"):
            reject_other_options(masks.out, changed, "masks outside the selection would remain: choose another --out")
    elif changed:
        reject_other_options(masks.out, changed, "use --overwrite to make all of them again, or another --out")
    if masks.dry_run:
        return
    make_output_folder(masks.out)
    if changed:
        for name in present:  # an interruption must leave none of them under the new record
            (masks.out / name).unlink()
    write_json(record, made)


def _id_of(name: str) -> int:
    stem = Path(name).stem.rpartition("_")[2]
    return int(stem) if stem.isdecimal() else -1
