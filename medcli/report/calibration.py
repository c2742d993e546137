"""Report of ``medcli calibrate veriserum``: options, and images before and after."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError, quantity
from medcli.core.image_io import read_grey
from medcli.report.blocks import Block, Compare, KeyValues, Note, Section, Table, number
from medcli.report.embedded_images import embed_image, from_array
from medcli.report.run_files import ProvenanceRecord, RunReport, duration, failures_note, find, read_json
from medcli.workspace.runs import CALIBRATED

_PAIRS_SHOWN = 2
_ALONE_SHOWN = 2
_ASPECT = 1664 / 1600
"""Columns over rows of a native image; a calibrated image shows its middle square."""


def read_calibration(folder: Path, provenance: ProvenanceRecord) -> RunReport:
    """The report of calibrated images."""
    manifest, result = read_json(folder / CALIBRATED), provenance.result
    images = _calibrated(folder)
    options = manifest["options"]
    return RunReport(
        title="Calibration of X-ray images",
        lead="Distortion of the image intensifiers corrected in "
        f"{quantity(sum(map(len, images.values())), 'image')} of "
        f"{quantity(len(images), 'pair')}.",
        figures={
            "images in this folder": number(sum(map(len, images.values()))),
            "calibrations": number(len(manifest["calibrations"])),
            "written by the last run": number(result.get("done")),
            "time of the last run": duration(result.get("seconds")),
        },
        notes=failures_note(result, "images"),
        sections=[
            Section("Before and after", _sliders(folder, images, provenance)),
            Section(
                "Options and calibrations",
                [
                    KeyValues({name: str(value) for name, value in options.items()}),
                    _calibrations(manifest["calibrations"]),
                    Table(
                        ["medcli", "OpenCV"],
                        [[str(one.get("medcli", "–")), str(one.get("opencv", "–"))] for one in manifest["made_with"]],
                        "Versions that wrote these images",
                    ),
                ],
            ),
        ],
    )


def _calibrated(folder: Path) -> dict[int, dict[str, Path]]:
    """Calibrated images by id and plane."""
    from medcli.veriserum.dataset.folder_index import scan

    return {
        number_: {plane: Path(path) for plane, path in planes.items()}
        for number_, planes in scan(folder).calibrated.items()
    }


def _calibrations(calibrations: Mapping[str, Mapping[str, str]]) -> Table:
    rows = [
        [key, *(str(planes.get(plane, "–"))[:16] for plane in ("bs", "fs"))] for key, planes in calibrations.items()
    ]
    return Table(
        ["calibration", "plane bs", "plane fs"], rows, "Fingerprints of the distortion calibrations used", folded=True
    )


def _sliders(folder: Path, images: Mapping[int, Mapping[str, Path]], provenance: ProvenanceRecord) -> list[Block]:
    root = find(folder, provenance.root) or folder.parent
    originals = _originals(root, folder)
    both = [number_ for number_ in sorted(images) if number_ in originals]
    if not both:
        shown = [
            embed_image(
                path,
                f"Calibrated image of pair {number_}, plane {plane}.",
                f"Pair {number_}, plane {plane}, calibrated.",
            )
            for number_ in sorted(images)[:_ALONE_SHOWN]
            for plane, path in sorted(images[number_].items())
        ]
        return [
            Note(f"The recorded images are not below {root.name}, so only the calibrated ones are shown."),
            *shown,
        ]
    places = np.unique(np.linspace(0, len(both) - 1, _PAIRS_SHOWN).astype(int))
    return [
        _slider(originals[both[i]][plane], path, both[i], plane)
        for i in places
        for plane, path in sorted(images[both[i]].items())
        if plane in originals[both[i]]
    ]


def _originals(root: Path, calibrated: Path) -> dict[int, dict[str, str]]:
    from medcli.veriserum.dataset.folder_index import scan

    found = scan(root).images if root.is_dir() else {}
    inside = calibrated.absolute()
    return {
        number_: {plane: path for plane, path in planes.items() if inside not in Path(path).absolute().parents}
        for number_, planes in found.items()
    }


def _slider(before: Path | str, after: Path, number_: int, plane: str) -> Block:
    try:
        corrected, native = read_grey(after), read_grey(before)
    except DataError as error:
        return Note(error.message, "warning")
    recorded = as_recorded(native, len(corrected))
    what = f"Pair {number_}, plane {plane}"
    caption = f"{what}: as recorded on the left of the slider, calibrated on the right."
    shown = [
        from_array(image, f"{what}, {words}.", "")
        for image, words in (
            (recorded, "as recorded, with the distortion of the image intensifier"),
            (corrected, "calibrated"),
        )
    ]
    return Compare(shown[0], shown[1], caption, ("as recorded", "calibrated"))


def as_recorded(native: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The middle square of an image (H, W) at the calibrated size and brightness, so that only the geometry differs."""
    rows, columns = native.shape
    if abs(columns / rows - _ASPECT) < 0.01:
        left = (columns - rows) // 2
        native = np.ascontiguousarray(native[:, left : left + rows])
    small: Any = cv2.resize(native, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.convertScaleAbs(small, alpha=255 / max(int(native.max()), 1)), np.uint8)
