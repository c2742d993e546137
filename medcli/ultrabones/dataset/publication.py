"""Where UltraBones100k is published, and what its file names say. Wu et al. 2025, CC BY 4.0."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePosixPath

from medcli.core.run_provenance import DatasetCitation
from medcli.ultrabones.dataset.folder_layout import HIP_SWEEPS, HIP_TRACKING, IMPORT_NOTE

HUB_DATASET = "luohwu/UltraBones100k"
AZURE_FOLDER = "AI_Ultrasound_dataset/"
CONNECTION_VARIABLE = "MEDCLI_ULTRABONES_CONNECTION_STRING"
ABOUT = DatasetCitation(
    dataset="UltraBones100k",
    licence="CC BY 4.0",
    citation="Wu L, Cavalcanti N A, Seibold M, et al. UltraBones100k: a reliable automated labeling method and "
    "large-scale dataset for ultrasound-based bone surface extraction. Computers in Biology and Medicine 194 (2025) "
    "110435",
)
HUB_HIP_DATASET = "luohwu/UltraBonesHip"
ABOUT_HIP = DatasetCitation(
    dataset="UltraBonesHip",
    licence="CC BY-NC 4.0 (non-commercial use)",
    citation="Wu L, Seibold M, Cavalcanti N A, et al. NeuralBoneReg: a novel self-supervised method for robust and "
    "accurate multi-modal bone surface registration. arXiv:2511.14286 (2025)",
)
OWN_RECORDINGS = DatasetCitation("own recordings", "", "")
ABOUT_WEIGHTS = DatasetCitation("UltraBones100k segmentation weights", ABOUT.licence, ABOUT.citation)

_SPECIMEN = re.compile(r"(?:specimen|cadaver)[ _-]?(\d+)(?!\d)", re.IGNORECASE)
_RECORD = re.compile(r"record[_-]?(\d+)", re.IGNORECASE)


class Place(str, Enum):
    """Where to download from."""

    AUTO = "auto"
    HUB = "hub"
    AZURE = "azure"


class FileKind(str, Enum):
    """Kinds of files that ``--only`` chooses from."""

    IMAGES = "images"
    LABELS = "labels"
    TRACKING = "tracking"
    MESHES = "meshes"
    PREDICTIONS = "predictions"
    MODELS = "models"


class ExamplePart(str, Enum):
    """Parts of the examples that ``--only`` chooses from."""

    RECORD = "record"
    IMAGES = "images"


class Anatomy(str, Enum):
    """Bones that the current release sorts its records by."""

    FIBULA = "fibula"
    FOOT = "foot"
    TIBIA = "tibia"


OTHER = "other"


def about_records(folders: Iterable[Path]) -> DatasetCitation:
    """Whose data some records are: those of UltraBonesHip where one is, else own recordings where one was imported."""
    records = list(folders)
    if any(folder.parent.name.endswith(HIP_SWEEPS) and (folder / HIP_TRACKING).exists() for folder in records):
        return ABOUT_HIP
    return OWN_RECORDINGS if any((folder / IMPORT_NOTE).exists() for folder in records) else ABOUT


@dataclass(frozen=True, slots=True)
class Named:
    """What a path in either release says.

    Attributes:
        path: from the specimen's folder on; the same whatever folders stand above it.
        specimen: its number.
        anatomy, record: where the path says them.
        kind: a :class:`FileKind`, or :data:`OTHER`.
    """

    path: str
    specimen: int
    anatomy: str | None
    record: int | None
    kind: str


def specimen_of(name: str) -> int | None:
    """Specimen number in a folder or archive name; None when there is none."""
    match = _SPECIMEN.search(name)
    return int(match[1]) if match else None


def read_name(name: str, archive: str = "") -> Named | None:
    """What a path says; None when it belongs to no specimen.

    Args:
        name: path in the source or in an archive, with ``/``.
        archive: name of the archive, whose specimen counts where the path names none.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    top = next((index for index, part in enumerate(parts[:-1]) if _SPECIMEN.match(part)), None)
    if top is None:
        number = specimen_of(archive)
        if number is None:
            return None
        parts, top = [f"specimen{number:02d}", *parts], 0
    else:
        number = specimen_of(parts[top])
        assert number is not None
    below = parts[top + 1 :]
    words = {part.lower() for part in below} | {PurePosixPath(below[-1]).stem.lower()}
    anatomy = next((item.value for item in Anatomy if item.value in words), None)
    record = next((int(match[1]) for part in below[:-1] if (match := _RECORD.match(part))), None)
    return Named("/".join(parts[top:]), number, anatomy, record, file_kind(below))


def file_kind(parts: list[str]) -> str:
    """Kind of a file from its path below the specimen's folder."""
    folder = parts[-2].lower() if len(parts) > 1 else ""
    suffix = PurePosixPath(parts[-1]).suffix.lower()
    if suffix in (".png", ".jpg", ".tif", ".tiff"):
        if folder.startswith("ultrasoundimage"):
            return FileKind.IMAGES.value
        if folder.startswith("label"):
            return FileKind.PREDICTIONS.value if "pred" in folder else FileKind.LABELS.value
        return OTHER
    by_suffix = {".csv": FileKind.TRACKING, ".stl": FileKind.MESHES, ".pth": FileKind.MODELS, ".pt": FileKind.MODELS}
    return by_suffix[suffix].value if suffix in by_suffix else OTHER
