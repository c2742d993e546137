"""Contents of a Veriserum folder (for ``medcli info``)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from medcli.core.dataset_status import DataFolder
from medcli.core.errors import DataError, quantity
from medcli.veriserum.dataset import folder_index
from medcli.veriserum.dataset.anatomies import KINDS
from medcli.veriserum.dataset.detector import PLANES
from medcli.veriserum.dataset.study import VeriserumStudy

if TYPE_CHECKING:
    import pandas as pd

_WHY = "download the X-ray pairs (asks for the licence; --only csv for the tables)"
_LEAST_TRIALS = 3
"""A split by trial needs at least one for each of its three parts."""


def survey_veriserum(root: Path) -> DataFolder:
    """Count the contents of ``root`` and list what is missing; bad data are reported as problems, not raised."""
    folder = DataFolder("Veriserum", root)
    if not root.is_dir():
        folder.problems.append("the folder does not exist")
        folder.propose("download", _WHY, "veriserum", "--dest", root)
        return folder
    study = VeriserumStudy(root)
    contents = study.contents
    planes = {plane: sum(plane in files for files in contents.images.values()) for plane in PLANES}
    folder.found["images"] = f"{planes['bs']:,} bs and {planes['fs']:,} fs of {quantity(len(contents.images), 'id')}"
    for plane, count in planes.items():
        if missing := len(contents.images) - count:
            folder.problems.append(f"{quantity(missing, 'id has', 'ids have')} no {plane} image")
    tables = {
        kind.title: _describe(study, kind, folder)
        for kind in (folder_index.POSES, folder_index.DISTORTIONS, folder_index.SOURCES)
    }
    poses = tables[folder_index.POSES.title]
    if poses is not None and contents.images:
        without = len(set(contents.images) - set(poses.index))
        if without:
            folder.problems.append(f"{quantity(without, 'id has', 'ids have')} images but no row in the pose table")
    if not contents.images or any(table is None for table in tables.values()):
        folder.propose("download", _WHY, "veriserum", "--dest", root)
    _propose(folder, study, tables)
    return folder


def _describe(study: VeriserumStudy, kind: folder_index.TableKind, folder: DataFolder) -> pd.DataFrame | None:
    try:
        table = study.table(kind)
    except DataError as error:
        folder.problems.append(error.message)
        return None
    note = f"{quantity(len(table), 'row')} in {study.table_file(kind).relative_to(study.root)}"
    if kind is folder_index.POSES and (obsolete := int(folder_index.is_obsolete(table).sum())):
        note += f", {obsolete:,} of them obsolete"
    folder.found[kind.title] = note
    return table


def _propose(folder: DataFolder, study: VeriserumStudy, tables: Mapping[str, pd.DataFrame | None]) -> None:
    root, contents = study.root, study.contents
    poses, distortions = tables[folder_index.POSES.title], tables[folder_index.DISTORTIONS.title]
    if not contents.images or poses is None or distortions is None:
        return
    made = sum(map(len, study.calibrated_images.values()))
    folder.found["calibrated images"] = f"{made:,}"
    if made < sum(map(len, contents.images.values())):
        folder.propose("calibrate", "correct the distortion of the images", "veriserum", "--root", root)
    anatomy = _trainable(poses, contents)
    if anatomy is None:
        folder.problems.append(
            f"pairs from fewer than {quantity(_LEAST_TRIALS, 'trial')} for every implant: too few to train on"
        )
        return
    words = () if anatomy == "1" else ("--anatomy", anatomy)
    folder.propose("train", "train the pose of implants", "pose", "--root", root, *words)


def _trainable(poses: pd.DataFrame, contents: folder_index.Contents) -> str | None:
    """An implant with enough trials: 1 as published, otherwise the one with the most pairs, otherwise a group."""
    import numpy as np
    import pandas as pd

    from medcli.veriserum.dataset.trial_splits import find_trials

    if not {"anatomy_id", *folder_index.POSE_COLUMNS} <= set(poses.columns):
        return None
    whole = [number for number, planes in contents.images.items() if len(planes) == 2]
    columns = [*folder_index.POSE_COLUMNS, "anatomy_id", "distortion_calibration_id"]
    numbers = poses[columns].apply(pd.to_numeric, errors="coerce").replace([np.inf, -np.inf], np.nan)
    known = numbers.notna().all(axis=1)
    anatomies = numbers["anatomy_id"][known & numbers.index.isin(whole) & ~folder_index.is_obsolete(poses)].astype(int)
    if anatomies.empty:
        return None
    trials = find_trials(poses[known], contents).of
    single = {str(number): (number,) for number in (1, *anatomies.value_counts().index.tolist())}
    for name, chosen in {**single, **KINDS}.items():
        if trials.loc[anatomies.index[anatomies.isin(chosen)]].nunique() >= _LEAST_TRIALS:
            return name
    return None
