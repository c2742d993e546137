"""A record as a sequence file of the PLUS toolkit, ``.igs.mha`` (``medcli convert plus``).

Source: the pages *Sequence file* and *Ultrasound image orientation* of the PLUS toolkit's user manual, and the MetaIO
format. Each frame has ``ProbeToReference``, the pose of the probe's marker (Reference is CT, for UltraBones100k), and
``ImageToProbe``, from the index of a pixel, whose centre is a whole number, to millimetres at the marker. Written frame
by frame, so that a record of any length takes the memory of one frame.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError, quantity
from medcli.core.files import check_replaceable, make_output_folder, replacing
from medcli.core.image_io import read_grey, read_size
from medcli.core.progress import SILENT, Progress
from medcli.interchange.tracked_poses import TrackedRecord, find_tracked, record_name

SUFFIX = ".igs.mha"
_IDENTITY = np.eye(4)
_SIZE_WIDTH = 20  # digits that are kept free for the size of the compressed pixels, which is known at the end


@dataclass(frozen=True)
class PlusSequence:
    """A file that was written.

    Attributes:
        frames: in it; of these ``untracked`` have no pose and are marked as INVALID.
        poses: ``initial`` or ``optimized``.
        bytes: of the file.
    """

    record: str
    path: Path
    frames: int
    untracked: int
    rows: int
    columns: int
    poses: str
    bytes: int


@dataclass(frozen=True)
class PlusResult:
    """The answer of ``medcli convert plus``; ``failures``: records that could not be converted, one line each."""

    root: Path
    out: Path
    sequences: tuple[PlusSequence, ...]
    failures: tuple[str, ...] = ()
    schema: str = "medcli.convert-plus.v1"


def convert_to_plus(
    root: Path,
    out: Path,
    specimens: Sequence[int] | None = None,
    records: Sequence[int] | None = None,
    poses: str | None = None,
    probe: str | None = None,
    compress: bool = False,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> PlusResult:
    """Write a file for each record, ``specimen90_fibula_record01.igs.mha``; each is complete or absent.

    Args:
        poses: ``initial`` or ``optimized``; None: optimised ones where the tracking table has them.
        probe: a ``probe.json`` or preset; None: each record's own.
        compress: the pixels, by zlib, as PLUS does on request.

    Raises:
        DataError: there is no record, or none can be converted; the first reason.
        UsageError: a file exists and may not be replaced.
    """
    found = find_tracked(root, specimens, records, poses, probe)
    targets = {record_name(sweep): out / f"{record_name(sweep)}{SUFFIX}" for sweep in found.sweeps}
    for target in targets.values():
        check_replaceable(target, overwrite)
    done, failures = [], []
    for sweep in found.sweeps:
        try:
            record = found.read(sweep)
            _common_size(record)
            make_output_folder(out)
            done.append(write_plus_sequence(record, targets[record_name(sweep)], compress, progress))
        except DataError as error:
            failures.append(error)
    if failures and not done:
        raise failures[0]
    return PlusResult(root, out, tuple(done), tuple(error.message for error in failures))


def write_plus_sequence(
    record: TrackedRecord, target: Path, compress: bool = False, progress: Progress = SILENT
) -> PlusSequence:
    """Write one record, whole or not at all.

    Raises:
        DataError: its frames differ in size, or one cannot be read.
    """
    rows, columns = _common_size(record)
    header, place = _header(record, rows, columns, compress)
    with (
        replacing(target) as part,
        part.open("wb") as file,
        progress.task(f"write {target.name}", len(record.images), "frames") as advance,
    ):
        file.write(header)
        pixels = _pixels(record, (rows, columns))
        size = 0
        for chunk in _compressed(pixels) if compress else pixels:
            size += file.write(chunk)
            advance(0 if compress else 1)
        if compress:
            file.seek(place)
            file.write(str(size).ljust(_SIZE_WIDTH).encode("ascii"))
        _check_end(file, len(header) + size)
    untracked = int((~record.tracked).sum())
    size = target.stat().st_size
    return PlusSequence(record.name, target, len(record.images), untracked, rows, columns, record.poses_kind, size)


def image_to_probe_of(record: TrackedRecord) -> NDArray[np.float64]:
    """(4, 4): index of a pixel (column, row, 0) to millimetres at the marker; the third axis has a pixel's length."""
    to_centre = np.eye(4)
    to_centre[:2, 3] = 0.5
    return np.asarray(record.corner_to_probe @ np.diag([*[record.spacing_mm] * 3, 1.0]) @ to_centre)


def _common_size(record: TrackedRecord) -> tuple[int, int]:
    sizes: dict[tuple[int, int], str] = {}
    for image in record.images:
        sizes.setdefault(read_size(image), image)
    if len(sizes) > 1:
        (first, one), (second, other) = list(sizes.items())[:2]
        raise DataError(
            f"frames of {record.name} differ in size: {one} is {first[1]} x {first[0]}, {other} {second[1]} x "
            f"{second[0]} pixels; a sequence file has one size"
        )
    return next(iter(sizes))


def _header(record: TrackedRecord, rows: int, columns: int, compress: bool) -> tuple[bytes, int]:
    """The header, and where in it the size of the compressed pixels belongs."""
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        f"CompressedData = {compress}",
        *([f"CompressedDataSize = {'':{_SIZE_WIDTH}}"] if compress else []),
        "TransformMatrix = 1 0 0 0 1 0 0 0 1",
        "Offset = 0 0 0",
        "CenterOfRotation = 0 0 0",
        "AnatomicalOrientation = RAI",
        "ElementSpacing = 1 1 1",
        f"DimSize = {columns} {rows} {len(record.images)}",
        "ElementType = MET_UCHAR",
        "UltrasoundImageOrientation = MF",
        "UltrasoundImageType = BRIGHTNESS",
    ]
    image_to_probe = _numbers(image_to_probe_of(record))
    for number, (stamp, tracked) in enumerate(zip(record.timestamps, record.tracked.tolist(), strict=True)):
        pose = record.probe_to_reference[number] if tracked else _IDENTITY
        fields = {
            "ProbeToReferenceTransform": _numbers(pose),
            "ProbeToReferenceTransformStatus": "OK" if tracked else "INVALID",
            "ImageToProbeTransform": image_to_probe,
            "ImageToProbeTransformStatus": "OK",
            "Timestamp": f"{stamp / 1000:.3f}",
            "UnfilteredTimestamp": f"{stamp / 1000:.3f}",
            "FrameNumber": str(number),
            "ImageStatus": "OK",
        }
        lines += [f"Seq_Frame{number:04d}_{name} = {value}" for name, value in fields.items()]
    text = "\n".join([*lines, "ElementDataFile = LOCAL", ""])
    key = "CompressedDataSize = "
    return text.encode("ascii"), text.index(key) + len(key) if compress else 0


def _numbers(matrix: NDArray[np.float64]) -> str:
    return " ".join(repr(float(value)) for value in matrix.ravel())


def _pixels(record: TrackedRecord, shape: tuple[int, int]) -> Iterator[bytes]:
    for image in record.images:
        grey = read_grey(image)
        if grey.shape != shape:
            raise DataError(f"{image} has other pixels than its header says")
        yield grey.tobytes()


def _compressed(pixels: Iterator[bytes]) -> Iterator[bytes]:
    pack = zlib.compressobj(6)
    for chunk in pixels:
        yield pack.compress(chunk)
    yield pack.flush()


def _check_end(file: BinaryIO, expected: int) -> None:
    file.seek(0, 2)
    if file.tell() != expected:
        raise DataError(f"{quantity(file.tell(), 'byte')} were written, expected {expected:,}")
