"""Whether the frames that a command needs are there, from names and tracking tables alone: before anything is loaded.

Each check raises the error that the command would raise later, and stops at the first frame that it can use.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

from medcli.core.errors import DataError, quantity, spaced
from medcli.core.shell import spell
from medcli.ultrabones.dataset.folder_layout import (
    FULL_LABEL_FOLDERS,
    LABEL_COLUMNS,
    PARTIAL_LABEL_FOLDERS,
    RecordFolder,
    has_frames,
    list_timestamps,
)
from medcli.ultrabones.dataset.mesh_files import find_meshes
from medcli.ultrabones.dataset.record_frames import no_frame, scan_records, sorted_records
from medcli.ultrabones.dataset.tracking_table import check_pose_columns


def check_labelled_frames(root: Path, specimens: Sequence[int], labels: str) -> None:
    """Make sure that specimens have frames with labels and a tracked pose, to evaluate on.

    Raises:
        DataError: no folder, no frame, a specimen is not there, or no frame can be used.
    """
    mine = _of_specimens(_with_frames(root), specimens)
    if any(frames.usable(labels) for frames in scan_records(mine)):
        return
    total = labelled = other = 0
    for frames in scan_records(mine):
        total += len(frames.images)
        labelled += sum(map(bool, frames.labels_of(labels)))
        other += sum(map(bool, frames.labels_of("full" if labels == "partial" else "partial")))
    raise no_usable_frame(labels, total, labelled, other, root)


def check_predicted_masks(root: Path, specimens: Sequence[int], folder: str) -> None:
    """Make sure that a record of the specimens has masks in ``folder``.

    Raises:
        DataError: see :func:`check_labelled_frames`; or none has; names the mask folders that are there.
    """
    _check_masks(_of_specimens(_with_frames(root), specimens), folder)


def check_training_frames(root: Path, labels: str, specimens: Sequence[int], side: str, option: str) -> None:
    """Make sure that one side of a training has frames with labels and a tracked pose.

    Args:
        side: its name, ``training`` or ``validation``.
        option: names its specimens.

    Raises:
        DataError: no folder, no frame, or no frame of these specimens can be used.
    """
    records = _with_frames(root)
    if not any(frames.usable(labels) for frames in scan_records(r for r in records if r.specimen in specimens)):
        there = {frames.record.specimen for frames in scan_records(records) if frames.usable(labels)}
        raise no_training_frame(root, labels, specimens, side, option, there)


def check_records(
    root: Path,
    specimens: Sequence[int] | None,
    records: Sequence[int] | None,
    meshes: Path | None = None,
    merged: bool = False,
) -> None:
    """Make sure that the records asked for are there, one of them with a tracking table and with bone meshes.

    Raises:
        DataError: no folder, no frame, a specimen or record is not there, or what all of the records lack.
    """
    found = _chosen(root, specimens, records)
    _any_of(found, lambda record: find_meshes(record.path, record.specimen, meshes, merged))
    _any_of(found, lambda record: check_pose_columns(record.path))


def check_frames_present(root: Path, specimens: Sequence[int] | None = None) -> None:
    """Make sure that there are frames, and of each of these specimens.

    Raises:
        DataError: no folder, no frame, or a specimen is not there.
    """
    refuse_absent("specimen", specimens or (), [record.specimen for record in _with_frames(root)], root)


def check_record_masks(root: Path, specimens: Sequence[int] | None, records: Sequence[int] | None, folder: str) -> None:
    """Make sure that one of the records asked for has masks in ``folder``.

    Raises:
        DataError: see :func:`check_records`; or none has; names the mask folders that are there.
    """
    _check_masks(_chosen(root, specimens, records), folder)


def refuse_absent(column: str, wanted: Iterable[int], present: Iterable[int], root: Path | str) -> None:
    """Raise a :class:`DataError` for numbers of a ``column`` that are asked for and not present."""
    there = sorted(set(present))
    if missing := sorted(set(wanted) - set(there)):
        raise DataError(
            f"no {column} {', '.join(map(str, missing))} in {root}; there are {', '.join(map(str, there)) or 'none'}",
            f"choose from these with --{column}s, or name another folder with --root",
        )


def refuse_absent_specimens(specimens: Iterable[int], present: Iterable[int]) -> None:
    """Raise a :class:`DataError` for specimens without frames; says how to get them."""
    there = sorted(set(present))
    if absent := sorted(set(specimens) - set(there)):
        raise DataError(
            f"no frames of specimen {spaced(absent)}; there are those of {spaced(there)}",
            f"get them with: medcli download ultrabones --specimens {spaced(absent)}",
        )


def no_usable_frame(labels: str, frames: int, labelled: int, other_labelled: int, root: Path | None) -> DataError:
    """The error for frames that have no such label, or none with a tracked pose; counts say which."""
    name = f"{labels} label" if labels in LABEL_COLUMNS else f"label in {labels}"
    if labelled:
        return DataError(
            f"{quantity(labelled, 'frame has', 'frames have')} a {name}, but none is in its record's tracking table"
        )
    other = "full" if labels == "partial" else "partial"
    known = other_labelled if labels in LABEL_COLUMNS else 0
    make = _how_to_label(root) if labels in LABEL_COLUMNS else None
    hint = f"{known:,} have a {other} label: try --labels {other}" if known else make
    return DataError(f"none of {quantity(frames, 'frame')} has a {name}", hint)


def no_training_frame(
    root: Path, labels: str, specimens: Iterable[int], side: str, option: str, present: Iterable[int]
) -> DataError:
    """The error for a side of a training without frames; ``present``: specimens that have some."""
    there = spaced(sorted(set(present)))
    return DataError(
        f"no frame with {labels} label for {side} (specimens {spaced(specimens)}) under {root}",
        f"specimens with such labels there: {there}; choose with {option}, or --labels"
        if there
        else f"no specimen there has such labels; {_how_to_label(root)}, or choose others with --labels",
    )


def no_masks(folder: str, records: int, there: Collection[str]) -> DataError:
    """The error for records without a mask in ``folder``; ``there``: mask folders that they have."""
    make = (
        "medcli label ultrabones" if folder in (*PARTIAL_LABEL_FOLDERS, *FULL_LABEL_FOLDERS) else "medcli predict seg"
    )
    hint = f"make them with: {make}" + (f"; mask folders there: {', '.join(sorted(there))}" if there else "")
    return DataError(f"no mask in folder {folder} of {quantity(records, 'record')}", hint)


def unmarked_masks(masks: int, folder: str) -> str:
    """What to say of masks that hold no bone for their values alone: of 0 and 1, say, or smoothed."""
    which = quantity(masks, f"mask in {folder} has", f"masks in {folder} have")
    return f"{which} pixels but none of value 255, the only one that counts as bone"


def _how_to_label(root: Path | None) -> str:
    return f"make them with: {spell('medcli', 'label', 'ultrabones', *(['--root', root] if root else []))}"


def _with_frames(root: Path) -> list[RecordFolder]:
    found = [record for record in sorted_records(root) if has_frames(record)]
    if not found:
        raise no_frame(root)
    return found


def _of_specimens(records: list[RecordFolder], specimens: Sequence[int]) -> list[RecordFolder]:
    refuse_absent_specimens(specimens, [record.specimen for record in records])
    return [record for record in records if record.specimen in specimens]


def _chosen(root: Path, specimens: Sequence[int] | None, records: Sequence[int] | None) -> list[RecordFolder]:
    found = _with_frames(root)
    for column, wanted in (("specimen", specimens), ("record", records)):
        if wanted:
            refuse_absent(column, wanted, [getattr(record, column) for record in found], root)
            found = [record for record in found if getattr(record, column) in wanted]
    return found


def _check_masks(records: list[RecordFolder], folder: str) -> None:
    if not any(list_timestamps(record.path + os.sep + folder)[0] for record in records):
        there = {name for record in records for name in record.folders if name.lower().startswith("label")}
        raise no_masks(folder, len(records), there)


def _any_of(records: list[RecordFolder], check: Callable[[RecordFolder], object]) -> None:
    """Check records until one passes; where none does, the first error."""
    errors = []
    for record in records:
        try:
            check(record)
        except DataError as error:
            errors.append(error)
        else:
            return
    if errors:
        raise errors[0]
