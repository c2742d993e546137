"""What ``predict`` is given, as files to read: files, folders, patterns, records, specimens. By names alone."""

from __future__ import annotations

import glob
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from medcli.core.errors import DataError, MedcliError, UsageError, quantity
from medcli.core.files import IMAGE_SUFFIXES
from medcli.core.shell import install_extra
from medcli.ultrabones.dataset.folder_layout import IMAGE_FOLDER, find_records, specimen_folder

logger = logging.getLogger(__name__)

MOVIE_SUFFIXES = frozenset({".avi", ".mp4", ".mov", ".mkv", ".m4v"})
DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})
SUFFIXES = IMAGE_SUFFIXES | MOVIE_SUFFIXES | DICOM_SUFFIXES
PREDICTED_FOLDER = "Labels_pred"
PLAIN_FOLDER = "predictions"
MASK_ENDING = "_label_pred.png"
CONTACT_SHEET = "predictions_contact_sheet.jpg"
OVERLAY_FOLDER = "overlays"
_OTHER_IMAGES = frozenset({".gif", ".webp", ".jp2", ".heic", ".avif", ".mha", ".mhd", ".nii", ".nrrd"})
_IMAGE_FOLDERS = frozenset({PLAIN_FOLDER, OVERLAY_FOLDER})


@dataclass(frozen=True)
class InputSource:
    """One file to predict on.

    Attributes:
        path: the file.
        folder: where its masks go.
        stem: what the masks' names begin with.
    """

    path: Path
    folder: Path
    stem: str

    @property
    def kind(self) -> str:
        """``still``, ``movie`` or ``dicom``."""
        suffix = self.path.suffix.lower()
        return "movie" if suffix in MOVIE_SUFFIXES else "still" if suffix in IMAGE_SUFFIXES else "dicom"

    def mask_of(self, number: int | None) -> Path:
        """The mask's path: of a still image, or of frame ``number`` of a file with several frames."""
        if number is None:
            return self.folder / f"{self.stem}{MASK_ENDING}"
        return self.folder / self.stem / f"{self.stem}_{number:06d}{MASK_ENDING}"


def prediction_overlay_path(mask: Path) -> Path:
    """Where the overlay that belongs to a mask is written."""
    return mask.parent / OVERLAY_FOLDER / f"{mask.name.removesuffix(MASK_ENDING)}_overlay.jpg"


def find_sources(inputs: Sequence[Path | str], out: Path | None = None) -> list[InputSource]:
    """The files that ``inputs`` mean, in the order given and sorted within each, every file once.

    Args:
        inputs: files; folders of files; patterns (``scans/*.png``, ``**`` goes into folders); records, specimens or
            whole data folders in any published layout.
        out: the folder of all masks (a record's masks keep their place below the specimen); None puts them beside
            the input: into ``Labels_pred`` of a record, else into ``predictions``.

    Raises:
        UsageError: an input is not there.
        DataError: an input means no file.
        MedcliError: a file is DICOM and pydicom is not installed.
    """
    found: dict[Path, InputSource] = {}
    for text in inputs:
        sources = list(_expand(Path(text), out))
        if not sources:
            raise _nothing_in(text)
        for source in sources:
            found.setdefault(Path(os.path.abspath(source.path)), source)  # noqa: PTH100 (keeps links)
    dicom = next((source for source in found.values() if source.kind == "dicom"), None)
    if dicom and find_spec("pydicom") is None:
        known = dicom.path.suffix.lower() in DICOM_SUFFIXES
        what = "is DICOM" if known else f"is none of {', '.join(sorted(SUFFIXES))}, so it would be read as DICOM"
        raise MedcliError(f"{dicom.path} {what}, which needs pydicom", install_extra("dicom"))
    return _with_own_names(list(found.values()))


def check_input(given: Path | str) -> None:
    """Make sure that one input means a file, without listing all of them.

    Raises:
        UsageError: it is not there.
        DataError: it means none.
    """
    if next(_expand(Path(given), None), None) is None:
        raise _nothing_in(given)


def records_of(root: Path, specimens: Sequence[int]) -> list[Path]:
    """Record folders of these specimens below ``root``.

    Raises:
        DataError: a specimen is not there.
    """
    if not root.is_dir():
        raise DataError(
            f"there is no folder {root}",
            "name the data folder with --root, or get the data with: medcli download ultrabones",
        )
    records = list(find_records(root))
    missing = sorted(set(specimens) - {record.specimen for record in records})
    if missing:
        there = ", ".join(str(number) for number in sorted({record.specimen for record in records})) or "none"
        raise DataError(f"no specimen {', '.join(map(str, missing))} in {root}", f"there: {there}")
    return [Path(record.path) for record in records if record.specimen in specimens]


def refuse_skip_and_overwrite(skip_existing: bool, overwrite: bool) -> None:
    """Raise a :class:`UsageError` where masks are to be kept and replaced at once."""
    if skip_existing and overwrite:
        raise UsageError("--skip-existing keeps masks, --overwrite replaces them", "leave one of them out")


def _nothing_in(given: Path | str) -> DataError:
    kinds = ", ".join(sorted(SUFFIXES))
    return DataError(f"nothing to predict on in {given}", f"expected a record, a specimen or files of {kinds}")


def _expand(path: Path, out: Path | None) -> Iterator[InputSource]:
    if path.is_dir():
        yield from _folder(path, out)
    elif os.path.lexists(path) and not path.is_dir():
        if path.parent.name == IMAGE_FOLDER:
            yield _dataset_source(path, path.parent.parent, out)
        else:
            yield InputSource(path, out or path.parent / PLAIN_FOLDER, path.stem)
    elif glob.has_magic(str(path)):
        for match in sorted(glob.glob(str(path), recursive=True)):  # noqa: PTH207 (absolute patterns too)
            if Path(match).is_dir() or _is_wanted(Path(match)):
                yield from _expand(Path(match), out)
    else:
        raise UsageError(
            f"no such file or folder: {path}",
            "name images, movies, DICOM files, folders or patterns; paths start in the current folder",
        )


def _folder(path: Path, out: Path | None) -> Iterator[InputSource]:
    if path.name == IMAGE_FOLDER:
        path = path.parent
    records = sorted(Path(record.path) for record in find_records(path))
    for record in records:
        for file in sorted((record / IMAGE_FOLDER).glob("*")):
            if _is_wanted(file):
                yield _dataset_source(file, record, out)
    if records:
        return
    others: Counter[str] = Counter()
    for file in sorted(path.rglob("*")):
        within = file.relative_to(path)
        if _IMAGE_FOLDERS.intersection(within.parts[:-1]):
            continue
        if _is_wanted(file):
            yield InputSource(file, (out or path / PLAIN_FOLDER) / within.parent, file.stem)
        elif file.suffix.lower() in _OTHER_IMAGES:
            others[file.suffix.lower()] += 1
    if others:
        left_out = quantity(others.total(), "image of a kind that is", "images of kinds that are")
        logger.warning("%s: %s not read left out (%s)", path, left_out, ", ".join(sorted(others)))


def _dataset_source(file: Path, record: Path, out: Path | None) -> InputSource:
    if out is None:
        return InputSource(file, record / PREDICTED_FOLDER, file.stem)
    specimen = specimen_folder(record)
    within = record.relative_to(specimen.parent) if specimen else Path(record.name)
    return InputSource(file, out / within / PREDICTED_FOLDER, file.stem)


def _is_wanted(file: Path) -> bool:
    return (
        file.suffix.lower() in SUFFIXES
        and not file.name.startswith(".")
        and not file.name.endswith(MASK_ENDING)
        and file.name != CONTACT_SHEET
        and not file.is_dir()  # what is no file at all fails by its name
    )


def _with_own_names(sources: list[InputSource]) -> list[InputSource]:
    """Two files that differ in their endings only would share a mask: then the ending is part of the name.

    So it is also where the other file is in the folder but not among the inputs: their masks would be taken for each
    other's. On Windows, names that differ in case only are one file as well.
    """
    uses = Counter(map(_target, sources))
    beside = _stems_beside(sources)
    named = [
        replace(source, stem=f"{source.stem}_{source.path.suffix[1:]}")
        if uses[_target(source)] > 1 or beside[source.path.parent, os.path.normcase(source.stem)] > 1
        else source
        for source in sources
    ]
    counts = Counter(map(_target, named))
    if double := next((source for source in named if counts[_target(source)] > 1), None):
        mask = double.folder / (double.stem + MASK_ENDING)
        raise UsageError(f"several inputs would write {mask}", "predict on them one by one")
    return named


def _stems_beside(sources: Sequence[InputSource]) -> Counter[tuple[Path, str]]:
    """How many files to predict on have a source's stem, by folder; of records none, which hold one kind of images."""
    wanted = {(source.path.parent, os.path.normcase(source.stem)) for source in sources}
    found: Counter[tuple[Path, str]] = Counter()
    for folder in {folder for folder, _ in wanted if folder.name != IMAGE_FOLDER}:
        with suppress(OSError):  # a folder whose files may be read, but not listed
            there = ((folder, os.path.normcase(file.stem), file) for file in folder.iterdir())
            found.update((place, stem) for place, stem, file in there if (place, stem) in wanted and _is_wanted(file))
    return found


def _target(source: InputSource) -> tuple[Path, str]:
    return source.folder, os.path.normcase(source.stem)
