"""The options and calibrations of the images in a calibrated folder: its ``medcli_calibration.json``.

It is written before the first image and depends on the inputs and options only, so an interrupted run that is run again
leaves the same bytes as an uninterrupted run. It also prevents images with different options in one folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2

from medcli import __version__
from medcli.core.errors import DataError
from medcli.core.files import read_whole, write_text
from medcli.core.json_text import parse_json
from medcli.core.made_with import differences

NAME = "medcli_calibration.json"
_SCHEMA = "medcli.calibration-manifest.v1"
LICENCE = "Veriserum: In Copyright - Non-Commercial Use Permitted (doi:10.3929/ethz-b-000701146)"
Calibrations = Mapping[str, Mapping[str, str]]
"""Calibration id -> plane -> fingerprint of the calibration."""


@dataclass(frozen=True)
class OutputManifest:
    """Options and calibrations of the images of a folder.

    Attributes:
        options: those that affect the pixels: size, format, quality, resampling.
        calibrations: of every image.
        made_with: versions of medcli and OpenCV that wrote the images.
    """

    options: dict[str, Any]
    calibrations: dict[str, dict[str, str]] = field(default_factory=dict)
    made_with: list[dict[str, str]] = field(default_factory=list)

    def joined(self, calibrations: Calibrations) -> OutputManifest:
        """This manifest with the calibrations of further images, written by this version."""
        every = {key: dict(planes) for key, planes in self.calibrations.items()}
        for key, planes in calibrations.items():
            every.setdefault(key, {}).update(planes)
        here = {"medcli": __version__, "opencv": cv2.__version__}
        versions = self.made_with if here in self.made_with else [*self.made_with, here]
        return OutputManifest(self.options, every, versions)

    def differing(self, options: Mapping[str, Any], calibrations: Calibrations) -> list[str]:
        """Reasons why new images must not be added to those of this manifest, one text each."""
        numbers = [
            f"calibration {key}, plane {plane}, had other numbers"
            for key, planes in calibrations.items()
            for plane, fingerprint in planes.items()
            if self.calibrations.get(key, {}).get(plane, fingerprint) != fingerprint
        ]
        return differences(self.options, {**dict.fromkeys(self.options), **options}) + numbers

    def to_text(self) -> str:
        """The file's content."""
        ordered = {key: dict(sorted(planes.items())) for key, planes in sorted(self.calibrations.items(), key=_by_id)}
        content = {
            "schema": _SCHEMA,
            "made_with": self.made_with,
            "options": self.options,
            "calibrations": ordered,
            "derived_from": LICENCE,
        }
        return json.dumps(content, indent=2) + "\n"


def read(out: Path) -> OutputManifest | None:
    """The manifest of a folder, None where there is none.

    Raises:
        DataError: it cannot be read.
    """
    path = out / NAME
    if not path.exists():
        return None
    try:
        content = parse_json(read_whole(path))
        calibrations = {str(key): dict(planes) for key, planes in content["calibrations"].items()}
        versions = [dict(version) for version in content["made_with"]]
        return OutputManifest(dict(content["options"]), calibrations, versions)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} cannot be read: {error!r}", "use --overwrite to make all images again") from error


def write(out: Path, manifest: OutputManifest) -> None:
    """Write the manifest unless it exists."""
    path, text = out / NAME, manifest.to_text()
    if not path.exists() or path.read_text("utf-8") != text:
        write_text(path, text)


def _by_id(item: tuple[str, Any]) -> tuple[int, str]:
    key = item[0]
    return (int(key) if key.isdecimal() else 0, key)
