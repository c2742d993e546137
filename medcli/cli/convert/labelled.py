"""``medcli convert nnunet``, ``coco`` and ``yolo``: labelled ultrasound frames for other segmentation frameworks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medcli.cli.shared import options
from medcli.cli.shared.output import Output
from medcli.core.errors import quantity
from medcli.core.refusals import refusals
from medcli.interchange.notes import check_coco_packages, check_made_folder, nnunet_folder
from medcli.ultrabones.dataset.presence import check_frames_present

if TYPE_CHECKING:
    from medcli.interchange.coco import CocoDataset
    from medcli.interchange.nnunet import NnunetDataset
    from medcli.interchange.yolo import YoloDataset

Labels = Annotated[str, typer.Option(help="Labels to convert: partial, full, or the name of a mask folder.")]
ValSpecimens = Annotated[
    list[int] | None,
    typer.Option(
        metavar="N",
        help="Specimens to validate on; other legs of their donors are left out.  [default: about a fifth, by donors]",
    ),
]


def nnunet(
    output: Output,
    root: options.UltrabonesRoot = options.ULTRABONES_ROOT,
    specimens: options.Specimens = None,
    test_specimens: Annotated[
        list[int] | None,
        typer.Option(
            metavar="N", help="Specimens for imagesTs; other legs of their donors are left out.  [default: none]"
        ),
    ] = None,
    labels: Labels = "partial",
    dataset_id: Annotated[int, typer.Option(help="Number of the dataset, 1 to 999.")] = 100,
    name: Annotated[str, typer.Option(help="Name of the dataset.")] = "UltraBones",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of datasets as they are.  [default: that of the variable nnUNet_raw]"),
    ] = None,
    workers: options.Workers = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Write labelled frames as a dataset of nnU-Net v2.

    Grey PNG files, dataset.json, and splits_final.json by specimen: two legs of one donor are never on both sides.

    \b
    All labelled frames; then with the published test specimens put aside:
      medcli convert nnunet --out nnUNet_raw
      medcli convert nnunet --out nnUNet_raw --dataset-id 101 \\
        --test-specimens 2 7 8
    """
    with refusals() as check:
        check(check_frames_present, root, specimens)
        if target := check(nnunet_folder, out, dataset_id, name):
            check(check_made_folder, target, overwrite, "medcli convert nnunet")
    from medcli.interchange.nnunet import convert_to_nnunet

    assert target is not None
    result = convert_to_nnunet(
        root, target, specimens, test_specimens or (), labels, overwrite, workers, output.progress()
    )
    output.finish(result, lambda done: _show_nnunet(output, done))


def coco(
    output: Output,
    root: options.UltrabonesRoot = options.ULTRABONES_ROOT,
    specimens: options.Specimens = None,
    val_specimens: ValSpecimens = None,
    labels: Labels = "partial",
    polygons: Annotated[bool, typer.Option(help="Write polygons instead of run lengths (RLE).")] = False,
    out: Annotated[Path, typer.Option(help="Folder of the dataset.")] = Path("coco"),
    workers: options.Workers = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Write labelled frames in the form of the COCO dataset.

    Masks are run lengths, which keep every pixel of thin labels. Training and validation share no donor.

    \b
    Every labelled frame; then as polygons:
      medcli convert coco
      medcli convert coco --polygons --out coco-polygons
    """
    with refusals() as check:
        check(check_frames_present, root, specimens)
        check(check_coco_packages)
        check(check_made_folder, out, overwrite, "medcli convert coco")
    from medcli.interchange.coco import convert_to_coco

    result = convert_to_coco(
        root, out, specimens, val_specimens, labels, polygons, overwrite, workers, output.progress()
    )
    output.finish(result, lambda done: _show_coco(output, done))


def yolo(
    output: Output,
    root: options.UltrabonesRoot = options.ULTRABONES_ROOT,
    specimens: options.Specimens = None,
    val_specimens: ValSpecimens = None,
    labels: Labels = "partial",
    out: Annotated[Path, typer.Option(help="Folder of the dataset.")] = Path("yolo"),
    workers: options.Workers = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Write labelled frames as a segmentation dataset of YOLO.

    Polygons along the edges of the pixels, which a thin label survives. Training and validation share no donor.

    \b
    Every labelled frame; a training then names yolo/data.yaml:
      medcli convert yolo
    """
    with refusals() as check:
        check(check_frames_present, root, specimens)
        check(check_made_folder, out, overwrite, "medcli convert yolo")
    from medcli.interchange.yolo import convert_to_yolo

    result = convert_to_yolo(root, out, specimens, val_specimens, labels, overwrite, workers, output.progress())
    output.finish(result, lambda done: _show_yolo(output, done))


def _specimens(numbers: tuple[int, ...], frames: int | None = None) -> str:
    words = " ".join(map(str, numbers)) or "none"
    return words if frames is None or not numbers else f"{words}, {quantity(frames, 'frame')}"


def _sides(done: Any) -> dict[str, str]:
    return {"train": _specimens(done.train), "validate": _specimens(done.val)} | _left_out(done)


def _left_out(done: Any) -> dict[str, str]:
    words = f"{_specimens(done.left_out)}: other legs of the donors put aside"
    return {"left out": words} if done.left_out else {}


def _show_nnunet(output: Output, done: NnunetDataset) -> None:
    from medcli.interchange.nnunet import SPLITS

    folds = "; ".join(" ".join(map(str, fold)) for fold in done.folds)
    output.pairs(
        {
            "dataset": done.out,
            "train": _specimens(done.train, done.train_frames),
            "test": _specimens(done.test, done.test_frames),
            **_left_out(done),
            "folds": f"{len(done.folds)}, validated on specimens {folds}" if folds else "none: all of one donor",
            "labels": f"{done.labels}: 0 background, 1 bone",
        }
    )
    if done.folds:
        output.line()
        output.line(f"after planning, copy {SPLITS} to the dataset's folder in nnUNet_preprocessed")


def _show_coco(output: Output, done: CocoDataset) -> None:
    rows = {"dataset": done.out, **_sides(done)}
    rows["frames"] = f"{done.frames:,}, {done.annotated:,} with bone"
    output.pairs(rows | {"masks": {"rle": "run lengths (RLE)"}.get(done.masks, done.masks)})


def _show_yolo(output: Output, done: YoloDataset) -> None:
    rows = {"dataset": done.out, **_sides(done)}
    output.pairs(rows | {"frames": f"{done.frames:,}, {quantity(done.polygons, 'polygon')}"})
