"""What the word after ``medcli view`` names. Reads names and headers only, and loads nothing heavy."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from medcli.core.errors import DataError, UsageError
from medcli.core.json_text import read_object, recorded_path
from medcli.core.run_provenance import NAME as PROVENANCE
from medcli.core.shell import spell
from medcli.ultrabones.dataset.folder_layout import IMAGE_FOLDER, RecordFolder, find_records, has_frames
from medcli.ultrabones.dataset.tracking_table import check_pose_columns
from medcli.veriserum.dataset.folder_index import POSES, SOURCES, TableKind
from medcli.viewing.settings import ViewTarget
from medcli.viewing.viewer import SUFFIX
from medcli.workspace import runs
from medcli.workspace.pose_table_header import columns_of_poses, missing_pose_columns

_TRIAL = re.compile(r"^trial[ :_-]*(?P<name>.+)$", re.IGNORECASE)
_OF_BONES = (runs.RECONSTRUCT, runs.REGISTER_BONE)
_WITHOUT_SPACE = "has nothing that lies in space"
_MOST_NAMED = 8
_LEVELS = 6
"""How many folders above a run its data folder is looked for, where it was named relative to the working folder."""


def find_target(word: str | Path, root: Path | None = None, default_root: Path = Path("data/veriserum")) -> ViewTarget:
    """What ``word`` names: a file or folder, else the id of a pair, else ``trial:NAME``.

    Args:
        word: as typed after ``medcli view``.
        root: the data folder of Veriserum, for pairs, trials and tables of poses; None: the one that a run names, or
            ``default_root``.

    Raises:
        UsageError: it names several things; says which.
        DataError: it names nothing, or nothing that can be shown in space.
    """
    path, word = Path(word), str(word)
    if path.is_file():
        return _file(path, root, default_root)
    if path.is_dir():
        return _folder(path, root, default_root)
    if word.casefold().rstrip(" :_-") == "trial":
        raise UsageError(f"{word} names no trial", "name it: trial:5")
    where = root or default_root
    if word.isdecimal():
        return _checked(ViewTarget("pair", where, str(int(word)), root=where))
    if (match := _TRIAL.match(word)) and not {"/", os.sep} & set(word):
        name = match["name"].lstrip("0") if match["name"].isdecimal() else match["name"]
        return _checked(ViewTarget("trial", where, name or "0", root=where))
    raise DataError(
        f"there is no file or folder {word}",
        "name a record's folder, the id of a pair (17), a trial (trial:5), or a run's folder or table",
    )


def _checked(target: ViewTarget) -> ViewTarget:
    """A target of X-ray images, once its data folder has the tables that it needs."""
    from medcli.veriserum.dataset.contents_check import check_table

    assert target.root is not None
    kinds: Sequence[TableKind] = (SOURCES,) if target.kind == "poses" else (POSES, SOURCES)
    for kind in kinds:
        check_table(target.root, kind)
    return target


def _file(path: Path, root: Path | None, default_root: Path) -> ViewTarget:
    if path.suffix.lower() == SUFFIX:
        return ViewTarget("file", path)
    if columns_of_poses(path):
        return _checked(ViewTarget("poses", path, root=root or _root_of(path) or default_root))
    if path.suffix.lower() == ".csv":
        lacking = ", ".join(missing_pose_columns(path))
        raise DataError(
            f"{path} is no table of poses: it has no column {lacking}", "id, tx ty tz in mm, rz rx ry in degrees"
        )
    described = path.with_suffix(".json")
    content = read_object(described) if described.is_file() else {}
    if isinstance(content.get("reconstruction") or content.get("registration"), dict):
        return ViewTarget("bones", described, root=_root_of(path))
    raise DataError(
        f"{path} is no table of poses, no result of medcli reconstruct or register bone, and no {SUFFIX} file",
        "name a folder of a record or a run, or such a file",
    )


def _folder(path: Path, root: Path | None, default_root: Path) -> ViewTarget:
    if (record := _record_at(path)) is not None:
        return record
    commands = list(runs.commands_of(path))
    if runs.KINEMATICS in commands:
        return _checked(ViewTarget("motion", path, root=root or _root_of(path) or default_root))
    if any(command in _OF_BONES for command in commands):
        return _bones(path)
    if commands:
        shown = spell("medcli", "report", path)
        raise DataError(f"{path}, a run of medcli {commands[0]}, {_WITHOUT_SPACE}", f"its report shows it: {shown}")
    records = [record for record in islice(find_records(path), 1000) if has_frames(record)]
    if len(records) == 1:
        return _record(records[0])
    if records:
        raise _several(path, "records", [Path(record.path) for record in records])
    below = list(_runs_below(path))
    if len(below) == 1:
        return (_folder if below[0].is_dir() else _file)(below[0], root, default_root)
    if below:
        raise _several(path, "runs", below)
    hint = "name a record's folder, the id of a pair (17), a trial (trial:5), or a run's folder or table"
    raise DataError(f"{path} holds no record of ultrasound (…/{IMAGE_FOLDER}/<timestamp>.png) and no run", hint)


def _record_at(path: Path) -> ViewTarget | None:
    """The record in a folder, or the one whose folder of masks it is."""
    mask = ""
    if not (path / IMAGE_FOLDER).is_dir() and (path.absolute().parent / IMAGE_FOLDER).is_dir():
        path, mask = path.absolute().parent, path.absolute().name
    if not (path / IMAGE_FOLDER).is_dir():
        return None
    found = next(find_records(path))
    return _record(found, "" if mask == IMAGE_FOLDER else mask)


def _record(record: RecordFolder, mask: str = "") -> ViewTarget:
    if record.specimen < 0:
        raise DataError(
            f"{record.path} lies in no folder of a specimen",
            "put it into a folder such as specimen01/ultrasound_records/fibula/record01",
        )
    if not has_frames(record):
        raise DataError(f"{record.path} has no frame: expected {IMAGE_FOLDER}/<timestamp>.png")
    check_pose_columns(record.path)
    return ViewTarget("record", Path(record.path), mask=mask)


def _bones(path: Path) -> ViewTarget:
    files = []
    for file in sorted(path.glob("*.json")):
        content = read_object(file)
        if isinstance(content.get("reconstruction") or content.get("registration"), dict):
            files.append(file)
    if len(files) > 1:
        raise _several(path, "results", files)
    return ViewTarget("bones", files[0], root=_root_of(files[0]))


def _runs_below(path: Path) -> Iterator[Path]:
    wanted = (runs.PREDICT_POSE, runs.REGISTER, runs.REGISTER_TRIAL, *_OF_BONES, runs.KINEMATICS)
    for place in runs.find_run_folders(path):
        if any(command in wanted for command in runs.commands_of(place)):
            yield place
    yield from (table for table in sorted(path.glob("*.csv")) if any(runs.commands_of(table)))


def _several(path: Path, what: str, places: Sequence[Path]) -> UsageError:
    commands = "; ".join(spell("medcli", "view", place) for place in places[:_MOST_NAMED])
    more = "; …" if len(places) > _MOST_NAMED else ""
    return UsageError(f"{path} holds {len(places)} {what}: name one of them", f"{commands}{more}")


def note_of(path: Path) -> dict[str, object]:
    """The provenance of a run's folder or file; empty where there is none."""
    names = [path / PROVENANCE] if path.is_dir() else [path.with_name(f"{path.stem}.{PROVENANCE}")]
    return next((read_object(name) for name in [*names, path.parent / PROVENANCE] if name.is_file()), {})


def settings_in_note(target: ViewTarget) -> dict[str, object]:
    """The settings that the run of a target notes; empty where it is none, or notes none."""
    found = note_of(target.path).get("settings") if target.kind in ("poses", "motion") else {}
    return found if isinstance(found, dict) else {}


def pose_frame_of(target: ViewTarget, stated: str | None) -> str:
    """The coordinate frame of a target's poses: the one that its run notes, else ``stated``, else ``world``.

    Raises:
        UsageError: the run notes another one than ``stated``.
    """
    noted = settings_in_note(target).get("frame")
    if noted and stated and noted != stated:
        raise UsageError(
            f"--pose-frame is {stated}, the poses of {target.path} were computed in the frame {noted}",
            "leave --pose-frame out",
        )
    return str(noted or stated or "world")


def named_in_note(path: Path, named: object) -> Path | None:
    """A file or folder that the note of a run names, there or relative to a folder above the run."""
    if not named:
        return None
    folders = [Path(), *path.absolute().parents][: _LEVELS + 1]
    return next((place for folder in folders if (place := folder / recorded_path(named)).exists()), None)


def _root_of(path: Path) -> Path | None:
    data = note_of(path).get("data")
    return named_in_note(path, data.get("root")) if isinstance(data, dict) else None
