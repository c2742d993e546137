"""Ultrasound frames and labels as a segmentation dataset of YOLO (``medcli convert yolo``).

Source: the page *Instance segmentation datasets* of the documentation of Ultralytics. ``labels/train/NAME.txt`` has a
line for each piece of bone: the class, then x y of a polygon's corners, as shares of width and height. The format has
no holes and no run lengths: a closed outline is written in pieces (:mod:`medcli.interchange.mask_polygons`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcli.core.files import usable_cores, write_text
from medcli.core.folders.whole_folder import replacing_folder
from medcli.core.progress import SILENT, Progress
from medcli.interchange.labelled_frames import convert_each, copy_frame, find_labelled, one_fold, read_label_of
from medcli.interchange.mask_polygons import mask_polygons
from medcli.interchange.notes import check_made_folder, write_made_note

_COMMAND = "medcli convert yolo"


@dataclass(frozen=True)
class YoloDataset:
    """A dataset that was written.

    Attributes:
        out: its folder, with ``data.yaml``, which a training names.
        train, val, left_out: specimens; those left out are other legs of donors to validate on.
        frames: how many; ``polygons``: lines of all of them.
        unknown_donors: specimens that are split as donors of their own, since nobody knows theirs.
        failures: frames that could not be converted, one line each.
    """

    root: Path
    out: Path
    labels: str
    train: tuple[int, ...]
    val: tuple[int, ...]
    left_out: tuple[int, ...]
    frames: int
    polygons: int
    unknown_donors: tuple[int, ...]
    failures: tuple[str, ...] = ()
    schema: str = "medcli.convert-yolo.v1"


def convert_to_yolo(
    root: Path,
    out: Path,
    specimens: Sequence[int] | None = None,
    val_specimens: Sequence[int] | None = None,
    labels: str = "partial",
    overwrite: bool = False,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> YoloDataset:
    """Write a dataset, whole or not at all; arguments and errors as :func:`medcli.interchange.coco.convert_to_coco`."""
    check_made_folder(out, overwrite, _COMMAND)
    frames = find_labelled(root, specimens, labels)
    split = one_fold(frames, val_specimens)
    failures: list[str] = []
    count = polygons = 0
    sides = {side: chosen for side, chosen in (("train", split.train), ("val", split.aside)) if chosen}
    with replacing_folder(out) as part:
        for side, chosen in sides.items():
            images, texts = part / "images" / side, part / "labels" / side
            images.mkdir(parents=True)
            texts.mkdir(parents=True)

            def write(row: Any, images: Path = images, texts: Path = texts) -> int:
                lines = yolo_lines(read_label_of(row))
                copy_frame(row.image, images / f"{row.name}.png")
                (texts / f"{row.name}.txt").write_bytes("".join(f"{line}\n" for line in lines).encode("ascii"))
                return len(lines)

            done, failed = convert_each(frames.of(chosen), write, f"YOLO {side}", workers or usable_cores(), progress)
            count, polygons = count + len(done), polygons + sum(lines for _, lines in done)
            failures += failed
        write_text(part / "data.yaml", _settings(sides.keys() & {"val"} != set(), frames.about.licence))
        result = YoloDataset(
            root=root,
            out=out,
            labels=labels,
            train=split.train,
            val=split.aside,
            left_out=split.left_out,
            frames=count,
            polygons=polygons,
            unknown_donors=frames.unknown,
            failures=tuple(failures),
        )
        write_made_note(part, result, _COMMAND)
    return result


def yolo_lines(mask: NDArray[np.bool_]) -> list[str]:
    """The lines of a frame's label file: class 0, then x y of each corner, 0 to 1."""
    shares = (polygon / mask.shape[::-1] for polygon in mask_polygons(mask))
    return [" ".join(["0", *(f"{value:.6f}" for value in polygon.ravel())]) for polygon in shares]


def _settings(has_val: bool, licence: str) -> str:
    lines = [
        f"# written by medcli convert yolo; licence of the data: {licence}",
        "# paths are below this file; no donor is in both train and val" if has_val else "# frames of one donor only",
        "train: images/train",
        f"val: images/{'val' if has_val else 'train'}",
        "names:",
        "  0: bone",
    ]
    return "\n".join(lines) + "\n"
