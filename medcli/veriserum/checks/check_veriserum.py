"""Whether a Veriserum folder is sound (``medcli check veriserum``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medcli.core.checking.check_lines import SAMPLE, Checklist, DataCheck, draw_sample, some_of
from medcli.core.checking.duplicate_files import duplicate_files
from medcli.core.contact_sheet import Tile, write_tile_sheet
from medcli.core.errors import DataError
from medcli.core.files import usable_cores
from medcli.core.image_io import use_single_threaded_codecs
from medcli.core.progress import SILENT, Progress
from medcli.core.threads import map_in_threads
from medcli.veriserum.checks.check_pairs import PairFindings, check_pair_images_of, check_pose_frame, inspect_pair
from medcli.veriserum.checks.check_pose_table import (
    check_calibrations,
    check_image_ids,
    check_implants,
    check_poses,
    check_tables,
)
from medcli.veriserum.dataset import folder_index
from medcli.veriserum.dataset.contents_check import no_native_image
from medcli.veriserum.dataset.detector import PLANES
from medcli.veriserum.dataset.folder_index import DISTORTIONS, POSES, SOURCES, Images, locate
from medcli.veriserum.dataset.study import VeriserumStudy
from medcli.veriserum.labelling.components import PlacedImplant, implants_of_pairs
from medcli.veriserum.registration.start_poses import Sources, StartPoses

ON_SHEET = 8
"""Pairs on the contact sheet."""


def check_veriserum(
    sources: Sources,
    sample: int | None = SAMPLE,
    seed: int = 0,
    figure: Path | None = None,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> DataCheck:
    """Check the tables, calibrations, implants and names of a study, and the images and poses of a sample of pairs.

    Args:
        sources: the data folder, tables and the frame of the poses.
        sample: pairs to look into, drawn with ``seed``; None: every one.
        figure: PNG or JPEG file of a contact sheet: both planes with the implant's outline.
        workers: threads; None: one a core.

    Raises:
        DataError: no such folder, or neither an image nor a table in it.
    """
    use_single_threaded_codecs()
    workers = workers or usable_cores()
    files = {POSES: sources.poses, DISTORTIONS: sources.distortion, SOURCES: sources.source_calibration}
    study, checks = VeriserumStudy(sources.root, sources.calibrated, sources.implants, files), Checklist()
    images = study.contents.images or study.calibrated_images
    if not images and not any(file or locate(study.contents, kind) for kind, file in files.items()):
        raise no_native_image(sources.root)
    poses = check_tables(checks, study)
    if poses is not None:
        check_poses(checks, study, poses)
    check_calibrations(checks, study)
    check_implants(checks, study)
    if not images:
        checks.unknown("images", "there are none: only tables were checked", "get them: medcli download veriserum")
        return _result(sources, checks, seed)
    check_image_ids(checks, study, poses)
    _check_duplicates(checks, images, workers, progress)
    ids = sorted(images)
    chosen = [ids[i] for i in draw_sample(len(ids), sample, seed)]
    pairs = _look_into(chosen, images, sources, figure is not None, workers, progress)
    check_pair_images_of(checks, pairs)
    check_pose_frame(checks, pairs, sources.frame.value)
    if figure:
        sides = ((pair.id, plane, image) for pair in pairs for plane, image in zip(PLANES, pair.sheet, strict=False))
        write_tile_sheet(figure, [Tile.of(image, f"{plane} {number:06d}") for number, plane, image in sides])
    return _result(sources, checks, seed, len(images), len(pairs), figure)


def _result(
    sources: Sources, checks: Checklist, seed: int, items: int = 0, looked_into: int = 0, figure: Path | None = None
) -> DataCheck:
    lines = tuple(checks.lines)
    return DataCheck("Veriserum", sources.root, items, looked_into, seed, lines, figure, checks.failures())


def _look_into(
    chosen: Sequence[int], images: Images, sources: Sources, draw: bool, workers: int, progress: Progress
) -> list[PairFindings]:
    try:
        starts: StartPoses | None = StartPoses(sources)
    except DataError:
        starts = None  # the lines on the tables say why
    drawn: dict[int, tuple[PlacedImplant, ...]] = {}
    if draw and starts is not None:
        rows, sheet = starts.study.every_pose, [chosen[i] for i in draw_sample(len(chosen), ON_SHEET, 0)]
        drawn = implants_of_pairs(rows[~folder_index.is_obsolete(rows)], sheet)
    found = []
    with progress.task("look into pairs", len(chosen), "pairs") as advance:
        for one in map_in_threads(
            lambda number: inspect_pair(number, images[number], starts, drawn.get(number)), chosen, workers
        ):
            found.append(one)
            advance(1)
    return found


def _check_duplicates(checks: Checklist, images: Images, workers: int, progress: Progress) -> None:
    paths = [path for _, planes in sorted(images.items()) for path in planes.values()]
    groups = duplicate_files(paths, workers, progress)
    checks.add(
        "equal images",
        some_of(sum(len(group) - 1 for group in groups), len(paths)),
        warn=[" = ".join(group) for group in groups],
        advice="one image under two ids or planes: which pose is its own?",
    )
