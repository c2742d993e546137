"""Ultrasound frames and labels as a dataset in COCO's form (``medcli convert coco``).

Source: the *Data format* page of cocodataset.org, and pycocotools. Masks are run lengths (RLE), which keep every pixel;
polygons on request. One annotation a frame, of the category ``bone``; a frame without bone has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcli.core.files import usable_cores, write_json
from medcli.core.folders.whole_folder import replacing_folder
from medcli.core.progress import SILENT, Progress
from medcli.core.run_provenance import DatasetCitation
from medcli.interchange.labelled_frames import convert_each, copy_frame, find_labelled, one_fold, read_label_of
from medcli.interchange.mask_polygons import mask_polygons
from medcli.interchange.notes import check_coco_packages, check_made_folder, write_made_note

_BONE = 1
_COMMAND = "medcli convert coco"


@dataclass(frozen=True)
class CocoDataset:
    """A dataset that was written.

    Attributes:
        out: its folder: ``images`` and ``annotations/instances_train.json``, ``annotations/instances_val.json``.
        masks: ``rle`` or ``polygons``.
        train, val, left_out: specimens; those left out are other legs of donors to validate on.
        frames: how many; of these ``annotated`` show bone.
        unknown_donors: specimens that are split as donors of their own, since nobody knows theirs.
        failures: frames that could not be converted, one line each.
    """

    root: Path
    out: Path
    labels: str
    masks: str
    train: tuple[int, ...]
    val: tuple[int, ...]
    left_out: tuple[int, ...]
    frames: int
    annotated: int
    unknown_donors: tuple[int, ...]
    failures: tuple[str, ...] = ()
    schema: str = "medcli.convert-coco.v1"


def convert_to_coco(
    root: Path,
    out: Path,
    specimens: Sequence[int] | None = None,
    val_specimens: Sequence[int] | None = None,
    labels: str = "partial",
    polygons: bool = False,
    overwrite: bool = False,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> CocoDataset:
    """Write a dataset, whole or not at all.

    Args:
        specimens: only these; None: all.
        val_specimens: to validate on; other legs of their donors are left out. None: about a fifth, by donors.
        labels: ``partial``, ``full``, or the name of a mask folder.
        polygons: instead of run lengths.

    Raises:
        DataError: no frame can be used.
        UsageError: ``out`` exists and may not be replaced.
        MedcliError: pycocotools is not installed.
    """
    check_coco_packages()
    check_made_folder(out, overwrite, _COMMAND)
    frames = find_labelled(root, specimens, labels)
    split = one_fold(frames, val_specimens)
    failures: list[str] = []
    images = annotated = 0
    with replacing_folder(out) as part:
        (part / "images").mkdir()
        (part / "annotations").mkdir()

        def write(row: Any) -> dict[str, Any]:
            mask = read_label_of(row)
            copy_frame(row.image, part / "images" / f"{row.name}.png")
            return {"height": mask.shape[0], "width": mask.shape[1], "annotation": annotation_of(mask, polygons)}

        for side, chosen in (("train", split.train), ("val", split.aside)):
            if not chosen:
                continue
            done, failed = convert_each(frames.of(chosen), write, f"COCO {side}", workers or usable_cores(), progress)
            content = _content(done, frames.about)
            write_json(part / "annotations" / f"instances_{side}.json", content)
            images, annotated = images + len(content["images"]), annotated + len(content["annotations"])
            failures += failed
        result = CocoDataset(
            root=root,
            out=out,
            labels=labels,
            masks="polygons" if polygons else "rle",
            train=split.train,
            val=split.aside,
            left_out=split.left_out,
            frames=images,
            annotated=annotated,
            unknown_donors=frames.unknown,
            failures=tuple(failures),
        )
        write_made_note(part, result, _COMMAND)
    return result


def annotation_of(mask: NDArray[np.bool_], polygons: bool) -> dict[str, Any]:
    """Segmentation, area and box of a mask (rows, columns), without the numbers of image and annotation; empty where
    it has no pixel."""
    from pycocotools import mask as run_lengths

    if not mask.any():
        return {}
    encoded = run_lengths.encode(np.asfortranarray(mask.astype(np.uint8)))
    segmentation: Any = {"size": list(mask.shape), "counts": encoded["counts"].decode("ascii")}
    if polygons:
        segmentation = [polygon.round(3).ravel().tolist() for polygon in mask_polygons(mask)]
    return {
        "category_id": _BONE,
        "segmentation": segmentation,
        "area": float(run_lengths.area(encoded)),
        "bbox": run_lengths.toBbox(encoded).tolist(),
        "iscrowd": 0,
    }


def _content(done: Sequence[tuple[Any, dict[str, Any]]], about: DatasetCitation) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (row, found) in enumerate(done, start=1):
        images.append(
            {
                "id": number,
                "file_name": f"{row.name}.png",
                "width": found["width"],
                "height": found["height"],
                "license": 1,
                "specimen": row.specimen,
                "donor": row.donor,
                "anatomy": row.anatomy,
                "record": row.record,
                "timestamp_ms": row.timestamp,
            }
        )
        if found["annotation"]:
            annotations.append({"id": len(annotations) + 1, "image_id": number, **found["annotation"]})
    return {
        "info": {"description": about.dataset, "contributor": about.citation, "version": "medcli convert coco"},
        "licenses": [{"id": 1, "name": about.licence, "url": ""}],
        "categories": [{"id": _BONE, "name": "bone", "supercategory": "anatomy"}],
        "images": images,
        "annotations": annotations,
    }
