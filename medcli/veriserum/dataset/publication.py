"""Where Veriserum is published, and its file names. Wang et al., MICCAI 2025."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import PurePosixPath

from medcli.core.run_provenance import DatasetCitation

BASE_URL = "https://www.research-collection.ethz.ch"
ITEM = "20.500.11850/701146,10.3929/ethz-b-000701146"
"""The handle, and the DOI in case the handle is not found."""
TABLES_REPOSITORY = "wjh19990923/veriserum"
TABLES_COMMIT = "2b35e34"
TABLES_FOLDER = "csv_files"
ABOUT = DatasetCitation(
    dataset="Veriserum",
    licence="In Copyright - Non-Commercial Use Permitted (https://rightsstatements.org/page/InC-NC/1.0/)",
    citation="Wang J, et al. Veriserum: a dual-plane fluoroscopic dataset with knee implant phantoms for deep learning "
    "in medical imaging. MICCAI 2025. Data: https://doi.org/10.3929/ethz-b-000701146",
)

_IMAGE = re.compile(r"[bf]s_(\d+)\.jpe?g", re.IGNORECASE)
_ANATOMY = re.compile(r".*\.stl", re.IGNORECASE)
_DATABASE = frozenset({".db", ".sqlite", ".sqlite3"})


class Part(str, Enum):
    """Parts of the dataset that ``--only`` selects."""

    IMAGES = "images"
    DATABASE = "database"
    CSV = "csv"
    ANATOMIES = "anatomies"


FOLDERS = {Part.IMAGES: "images/", Part.DATABASE: "", Part.CSV: "csv_files/", Part.ANATOMIES: "veriserum_anatomies/"}
"""Subfolder of each part in the destination."""


def part_of(name: str) -> Part | None:
    """The part that a file belongs to, from its name; None for other files (a read-me, a licence)."""
    base = name.rpartition("/")[2]
    if _IMAGE.fullmatch(base):
        return Part.IMAGES
    if _ANATOMY.fullmatch(base):
        return Part.ANATOMIES
    suffix = PurePosixPath(base).suffix.lower()
    if suffix in _DATABASE:
        return Part.DATABASE
    return Part.CSV if suffix == ".csv" else None


def id_of(name: str) -> int | None:
    """The id in an image's name."""
    match = _IMAGE.fullmatch(name.rpartition("/")[2])
    return int(match[1]) if match else None
