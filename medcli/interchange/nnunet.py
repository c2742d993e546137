"""Ultrasound frames and labels as a dataset of nnU-Net v2 (``medcli convert nnunet``).

Source: *dataset_format.md* and *manual_data_splits.md* of MIC-DKFZ/nnUNet. Below ``nnUNet_raw`` there is a folder
``Dataset100_Name`` with ``dataset.json``, ``imagesTr/CASE_0000.png``, ``labelsTr/CASE.png`` (0 background, 1 bone) and,
for a test, ``imagesTs`` and ``labelsTs``. ``splits_final.json``, a list of ``{"train": [...], "val": [...]}``, is read
from the folder of the same name below ``nnUNet_preprocessed``, once the dataset is planned: copy it there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medcli.core.files import usable_cores, write_json
from medcli.core.folders.whole_folder import replacing_folder
from medcli.core.image_io import write_image
from medcli.core.progress import SILENT, Progress
from medcli.core.run_provenance import DatasetCitation
from medcli.interchange.labelled_frames import (
    DonorSplit,
    convert_each,
    copy_frame,
    donor_folds,
    find_labelled,
    put_aside,
    read_label_of,
    specimen_in,
)
from medcli.interchange.notes import check_made_folder, write_made_note

SPLITS = "splits_final.json"
_SIDES = {"train": "Tr", "test": "Ts"}
_COMMAND = "medcli convert nnunet"


@dataclass(frozen=True)
class NnunetDataset:
    """A dataset that was written.

    Attributes:
        out: its folder, ``Dataset100_UltraBones``.
        train, test, left_out: specimens; those left out are other legs of donors in the test.
        train_frames, test_frames: how many frames.
        folds: specimens to validate on, of each fold of ``splits_final.json``.
        unknown_donors: specimens that are split as donors of their own, since nobody knows theirs.
        failures: frames that could not be converted, one line each.
    """

    root: Path
    out: Path
    labels: str
    train: tuple[int, ...]
    test: tuple[int, ...]
    left_out: tuple[int, ...]
    train_frames: int
    test_frames: int
    folds: tuple[tuple[int, ...], ...]
    unknown_donors: tuple[int, ...]
    failures: tuple[str, ...] = ()
    schema: str = "medcli.convert-nnunet.v1"


def convert_to_nnunet(
    root: Path,
    out: Path,
    specimens: Sequence[int] | None = None,
    test_specimens: Sequence[int] = (),
    labels: str = "partial",
    overwrite: bool = False,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> NnunetDataset:
    """Write a dataset, whole or not at all.

    Args:
        out: its folder, see :func:`nnunet_folder`.
        specimens: only these; None: all.
        test_specimens: these go to ``imagesTs``; other legs of their donors are left out.
        labels: ``partial``, ``full``, or the name of a mask folder.

    Raises:
        DataError: no frame can be used.
        UsageError: ``out`` exists and may not be replaced.
    """
    check_made_folder(out, overwrite, _COMMAND)
    frames = find_labelled(root, specimens, labels)
    split = put_aside(frames, test_specimens) if test_specimens else DonorSplit(frames.specimens, ())
    names: dict[str, list[str]] = {}
    failures: list[str] = []
    with replacing_folder(out) as part:
        for side, chosen in (("train", split.train), ("test", split.aside)):
            if not chosen:
                continue
            images, masks = part / f"images{_SIDES[side]}", part / f"labels{_SIDES[side]}"
            images.mkdir()
            masks.mkdir()

            def write(row: Any, images: Path = images, masks: Path = masks) -> bool:
                mask = read_label_of(row)
                copy_frame(row.image, images / f"{row.name}_0000.png")
                write_image(masks / f"{row.name}.png", mask.astype(np.uint8))
                return True

            done, failed = convert_each(
                frames.of(chosen), write, f"nnU-Net {side}", workers or usable_cores(), progress
            )
            names[side] = [row.name for row, _ in done]
            failures += failed
        folds = donor_folds(frames, split.train)
        write_json(part / "dataset.json", _description(len(names["train"]), frames.about, labels))
        if folds:
            write_json(part / SPLITS, [_fold(names["train"], fold) for fold in folds])
        result = NnunetDataset(
            root=root,
            out=out,
            labels=labels,
            train=split.train,
            test=split.aside,
            left_out=split.left_out,
            train_frames=len(names["train"]),
            test_frames=len(names.get("test", ())),
            folds=tuple(folds),
            unknown_donors=frames.unknown,
            failures=tuple(failures),
        )
        write_made_note(part, result, _COMMAND)
    return result


def _fold(names: Sequence[str], validated: Sequence[int]) -> dict[str, list[str]]:
    in_fold = [specimen_in(name) in validated for name in names]
    return {
        "train": [name for name, mine in zip(names, in_fold, strict=True) if not mine],
        "val": [name for name, mine in zip(names, in_fold, strict=True) if mine],
    }


def _description(training: int, about: DatasetCitation, labels: str) -> dict[str, Any]:
    return {
        "channel_names": {"0": "ultrasound"},
        "labels": {"background": 0, "bone": 1},
        "numTraining": training,
        "file_ending": ".png",
        "overwrite_image_reader_writer": "NaturalImage2DIO",
        "name": about.dataset,
        "description": f"bone surfaces in B-mode ultrasound, labels: {labels}",
        "reference": about.citation,
        "licence": about.licence,
        "converted_by": "medcli convert nnunet",
    }
