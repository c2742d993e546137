"""What the images in a calibrated folder were made with: ``medcli_calibration.json`` beside them.

It is written before the first image and depends on the inputs and options only, so an interrupted run that is run again
leaves the same bytes as one whole run. It also keeps a folder from holding images made in different ways.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2

from medcli import __version__
from medcli.errors import DataError, UsageError
from medcli.files import write_text

NAME = "medcli_calibration.json"
_SCHEMA = "medcli.calibration-manifest.v1"
_WAY_OUT = "use --overwrite to make all of them again, or another --out"
LICENCE = "Veriserum: In Copyright - Non-Commercial Use Permitted (doi:10.3929/ethz-b-000701146)"


def update(
    out: Path, options: Mapping[str, Any], calibrations: Mapping[str, Mapping[str, str]], start_afresh: bool
) -> None:
    """Write the manifest, joined with the one that is there.

    Args:
        out: the folder of calibrated images.
        options: what decides the pixels: size, format, quality, resampling.
        calibrations: calibration id -> plane -> fingerprint of the calibration, for every image of this run.
        start_afresh: every image in the folder is made again, so an older manifest does not bind.

    Raises:
        UsageError: the folder holds images made with other options or other calibrations.
        DataError: the manifest that is there cannot be read.
    """
    path = out / NAME
    present = _read(path) if path.exists() and not start_afresh else {"options": dict(options), "calibrations": {}}
    _check_options(out, present["options"], options)
    joined: dict[str, dict[str, str]] = {key: dict(planes) for key, planes in present["calibrations"].items()}
    for key, planes in calibrations.items():
        for plane, fingerprint in planes.items():
            if joined.setdefault(key, {}).setdefault(plane, fingerprint) != fingerprint:
                raise UsageError(
                    f"calibration {key}, plane {plane}, is not the one that images in {out} were made with",
                    _WAY_OUT,
                )
    content = {
        "schema": _SCHEMA,
        "medcli": __version__,
        "opencv": cv2.__version__,
        "options": dict(options),
        "calibrations": {key: dict(sorted(joined[key].items())) for key in sorted(joined, key=_by_number)},
        "derived_from": LICENCE,
    }
    text = json.dumps(content, indent=2) + "\n"
    if not path.exists() or path.read_text("utf-8") != text:
        write_text(path, text)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
        return {"options": dict(content["options"]), "calibrations": dict(content["calibrations"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read: {error}", "use --overwrite to make the images again") from error


def _check_options(out: Path, present: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for name, value in wanted.items():
        if present.get(name) != value:
            raise UsageError(
                f"{out} holds images made with {name} {present.get(name)}, not {value}",
                _WAY_OUT,
            )


def _by_number(key: str) -> tuple[int, str]:
    return (int(key) if key.lstrip("-").isdecimal() else 0, key)
