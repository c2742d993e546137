"""Random starts on the dataset: recall, RTE and RRE by specimen and bone (``medcli evaluate registration``)."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medcli.core.errors import DataError, UsageError
from medcli.core.files import make_output_folder, usable_cores, write_json, write_text
from medcli.core.image_io import use_single_threaded_codecs
from medcli.core.json_text import read_object, to_plain
from medcli.core.made_with import differences, fingerprint, reject_other_options
from medcli.core.progress import SILENT, Progress
from medcli.core.run_provenance import note_run
from medcli.ultrabones.dataset.mesh_files import find_meshes
from medcli.ultrabones.dataset.publication import ABOUT
from medcli.ultrabones.dataset.records import Sweep, find_sweeps
from medcli.ultrabones.geometry.bone_meshes import digest, load_surfaces
from medcli.ultrabones.registration.random_starts import (
    STARTS,
    SUCCESS_DEG,
    SUCCESS_MM,
    Recovery,
    StartOutcome,
    recovery_of,
    run_starts,
)
from medcli.ultrabones.registration.record_clouds import cloud_of
from medcli.ultrabones.registration.surface_samples import BoneTarget
from medcli.ultrabones.registration.verdict import LEAD

PUBLISHED_ANATOMIES = ("fibula", "tibia")
"""The bones of the published evaluation; the foot is left out there."""
DEFINITION = (
    "RTE: distance in mm between where the found and the true transform put the cloud's centre; RRE: angle between "
    "their rotations in degrees; recall: share of the starts within the limits (ours; the published one was not found)"
)
SCHEMA = "medcli.evaluate.registration.v1"
RESULT, TABLE, CASES = "evaluation.json", "starts.csv", "cases"


@dataclass(frozen=True)
class RegistrationSettings:
    """What is evaluated.

    Attributes:
        mask: folder of masks in each record: ``Labels``, ``Labels_pred`` …
        poses: ``initial`` or ``optimized``; None takes those the masks were made from.
        meshes: folder of meshes; None for the specimen's own.
        starts: random starts of each specimen and bone.
        success_mm, success_deg: limits of RTE and RRE for a start to count as recovered.
        seed: of the random motions.
    """

    mask: str = "Labels"
    poses: str | None = None
    meshes: Path | None = None
    starts: int = STARTS
    success_mm: float = SUCCESS_MM
    success_deg: float = SUCCESS_DEG
    seed: int = 0


@dataclass(frozen=True)
class RegisteredCase:
    """One bone of one specimen: what its cloud is made of, its starts together, what it does not determine, and its
    lead over the mirror image of the meshes in standard errors (-3 or less: they are of the other leg)."""

    specimen: int
    anatomy: str
    records: int
    frames: int
    points: int
    recovery: Recovery
    undetermined: tuple[str, ...]
    mirror_lead: float | None = None


@dataclass(frozen=True)
class RegistrationEvaluation:
    """The answer of ``medcli evaluate registration``.

    Attributes:
        cases: by specimen and bone.
        per_specimen, per_anatomy: the starts of each taken together.
        overall: all starts.
        definition: of RTE, RRE and recall.
        failures: frames and cases that could not be used, one line each.
    """

    root: Path
    out: Path
    settings: RegistrationSettings
    definition: str
    cases: tuple[RegisteredCase, ...]
    per_specimen: dict[int, Recovery]
    per_anatomy: dict[str, Recovery]
    overall: Recovery
    failures: tuple[str, ...] = ()
    schema: str = SCHEMA


def evaluate_registration(
    root: Path | str,
    out: Path | str,
    specimens: Sequence[int] | None = None,
    records: Sequence[int] | None = None,
    anatomies: Sequence[str] = PUBLISHED_ANATOMIES,
    settings: RegistrationSettings = RegistrationSettings(),
    workers: int | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> RegistrationEvaluation:
    """Evaluate registration from random starts; each specimen and bone is kept in ``out/cases``, and not repeated.

    Writes ``evaluation.json`` and ``starts.csv`` (one row for each start). Bones that a layout does not name (the first
    release) are registered to all meshes of the specimen.

    Raises:
        DataError: nothing can be evaluated; the first reason.
        UsageError: ``out`` holds an evaluation of something else, and ``overwrite`` is off.
    """
    out = make_output_folder(Path(out))
    if not overwrite:
        _refuse_others(out, settings)
    use_single_threaded_codecs()
    sweeps = find_sweeps(root, specimens, records)
    groups = _groups(sweeps, anatomies)
    if not groups:
        there = " ".join(sorted({sweep.anatomy for sweep in sweeps}))
        raise DataError(f"no record of {', '.join(anatomies)} in {root}", f"there are: --anatomies {there}")
    cases: list[RegisteredCase] = []
    outcomes: dict[tuple[int, str], list[StartOutcome]] = {}
    failures: list[str] = []
    errors: list[DataError] = []
    with progress.task("registering from random starts", len(groups), "bones") as advance:
        for (specimen, anatomy), sweeps in groups.items():
            try:
                case, starts, lost = _evaluate_case(sweeps, out, settings, workers or usable_cores(), overwrite)
                cases.append(case)
                outcomes[specimen, anatomy] = starts
                failures += lost
            except DataError as error:
                errors.append(error)
                failures.append(f"specimen{specimen:02d} {anatomy}: {error.message}")
            advance(1)
    if not cases:
        raise errors[0]
    result = RegistrationEvaluation(
        root=Path(root),
        out=out,
        settings=settings,
        definition=DEFINITION,
        cases=tuple(cases),
        per_specimen=_together(outcomes, 0, settings),
        per_anatomy=_together(outcomes, 1, settings),
        overall=_summary([one for starts in outcomes.values() for one in starts], settings),
        failures=tuple(failures),
    )
    write_text(out / TABLE, _table(outcomes, settings))
    write_json(out / RESULT, result)
    note_run(out, "evaluate registration", ABOUT, Path(root), settings)
    return result


def _refuse_others(out: Path, settings: RegistrationSettings) -> None:
    """Raise :class:`UsageError` where an evaluation of other masks, poses, meshes or motions is there."""
    before, remedy = read_object(out / RESULT), "--overwrite replaces it; or name another --out"
    if before and before.get("schema") != SCHEMA:
        raise UsageError(f"{out / RESULT} is of another command", remedy)
    if before:
        now = to_plain(settings)
        these = {name: now[name] for name in ("mask", "poses", "meshes", "seed")}
        reject_other_options(out, differences(before["settings"], these), remedy)


def _groups(sweeps: Sequence[Sweep], anatomies: Sequence[str]) -> dict[tuple[int, str], list[Sweep]]:
    """The records of each specimen and bone."""
    groups: dict[tuple[int, str], list[Sweep]] = {}
    for sweep in sweeps:
        if not sweep.anatomy or sweep.anatomy in anatomies:
            groups.setdefault((sweep.specimen, sweep.anatomy), []).append(sweep)
    return groups


def _evaluate_case(
    sweeps: list[Sweep], out: Path, settings: RegistrationSettings, workers: int, overwrite: bool
) -> tuple[RegisteredCase, list[StartOutcome], tuple[str, ...]]:
    first = sweeps[0]
    cloud = cloud_of(sweeps, settings.mask, settings.poses, workers=workers)
    paths = find_meshes(first.folder, first.specimen, settings.meshes)
    own = [path for path in paths if path.stem.lower() == first.anatomy]
    surfaces = load_surfaces(own or paths)
    chosen = repr((settings.seed, "close", "mirror", "cubes"))  # what a start's status rests on
    made_from = fingerprint(chosen, digest(surfaces), cloud.points.tobytes())
    kept = out / CASES / f"specimen{first.specimen:02d}_{first.anatomy or 'all'}_{settings.mask}.json"
    found = {} if overwrite else read_object(kept)
    if found.get("made_from") != made_from or len(found["starts"]) < settings.starts:
        target = BoneTarget.of(surfaces)
        starts, registered = run_starts(cloud.points, target, settings.starts, (settings.seed, first.specimen), workers)
        found = {"made_from": made_from, "undetermined": registered.undetermined, "starts": starts}
        found["mirror_lead"] = registered.mirror_lead
        kept.parent.mkdir(exist_ok=True)
        write_json(kept, found)
        found = to_plain(found)
    starts = [StartOutcome(**one) for one in found["starts"][: settings.starts]]
    case = RegisteredCase(
        specimen=first.specimen,
        anatomy=first.anatomy,
        records=len(sweeps),
        frames=cloud.frames,
        points=len(cloud.points),
        recovery=_summary(starts, settings),
        undetermined=tuple(found["undetermined"]),
        mirror_lead=found["mirror_lead"],
    )
    failures = cloud.failures
    if case.mirror_lead is not None and case.mirror_lead <= -LEAD:
        trails = f"by {-case.mirror_lead:.1f} standard errors"
        failures += (f"{first.name}: the mirror image fits better {trails}: these are the meshes of the other leg",)
    return case, starts, failures


def _summary(starts: Sequence[StartOutcome], settings: RegistrationSettings) -> Recovery:
    return recovery_of(starts, settings.success_mm, settings.success_deg)


def _together(
    outcomes: dict[tuple[int, str], list[StartOutcome]], place: int, settings: RegistrationSettings
) -> dict[Any, Recovery]:
    """The starts of each specimen (place 0) or bone (place 1)."""
    keys = dict.fromkeys(key[place] for key in outcomes)
    return {
        key: _summary([one for case, starts in outcomes.items() if case[place] == key for one in starts], settings)
        for key in keys
    }


def _table(outcomes: dict[tuple[int, str], list[StartOutcome]], settings: RegistrationSettings) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["specimen", "anatomy", "start", "rte_mm", "rre_deg", "recovered", "status"])
    for (specimen, anatomy), starts in outcomes.items():
        for one in starts:
            right = one.rte_mm <= settings.success_mm and one.rre_deg <= settings.success_deg
            writer.writerow([specimen, anatomy, one.start, one.rte_mm, one.rre_deg, int(right), one.status])
    return text.getvalue()
