"""What ``predict`` is given, as frames to read: files, folders, patterns, records, specimens, movies, DICOM."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medcli.core import image_io
from medcli.core.errors import DataError, MedcliError, UsageError
from medcli.ultrabones.dataset.folder_layout import IMAGE_FOLDER, find_records, specimen_folder

Grey = NDArray[np.uint8]
MOVIE_SUFFIXES = frozenset({".avi", ".mp4", ".mov", ".mkv", ".m4v"})
DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})
SUFFIXES = image_io.SUFFIXES | MOVIE_SUFFIXES | DICOM_SUFFIXES
PREDICTED_FOLDER = "Labels_pred"
PLAIN_FOLDER = "predictions"
MASK_ENDING = "_label_pred.png"
_IMAGE_FOLDERS = frozenset({PLAIN_FOLDER, "overlays"})


@dataclass(frozen=True)
class InputSource:
    """One file to predict on.

    Attributes:
        path: the file.
        folder: where its masks go.
        stem: what the masks' names begin with.
        of_dataset: the file is a frame of a record of the dataset.
    """

    path: Path
    folder: Path
    stem: str
    of_dataset: bool = False

    @property
    def kind(self) -> str:
        """``still``, ``movie`` or ``dicom``."""
        suffix = self.path.suffix.lower()
        return "movie" if suffix in MOVIE_SUFFIXES else "still" if suffix in image_io.SUFFIXES else "dicom"

    def mask_of(self, number: int | None) -> Path:
        """The mask's path: of a still image, or of frame ``number`` of a file with several frames."""
        if number is None:
            return self.folder / f"{self.stem}{MASK_ENDING}"
        return self.folder / self.stem / f"{self.stem}_{number:06d}{MASK_ENDING}"


@dataclass(frozen=True)
class InputFrame:
    """One frame to predict on: how to read it, (H, W) uint8, where its mask goes, and what to call it."""

    read: Callable[[], Grey]
    mask: Path
    name: str


@dataclass
class FrameReader:
    """Goes through the frames of sources, one after the other; a file that cannot be opened is noted, not fatal.

    Still images are only read when the frame is; movies are decoded while going through them.

    Attributes:
        skip_existing: leave out frames whose mask is already there.
        failures: what went wrong, one line each.
        skipped: number of frames left out.
    """

    sources: Sequence[InputSource]
    skip_existing: bool = False
    failures: list[str] = field(default_factory=list)
    skipped: int = 0

    def __iter__(self) -> Iterator[InputFrame]:
        for source in self.sources:
            try:
                yield from self._frames(source)
            except DataError as error:
                self.failures.append(error.message)

    def _frames(self, source: InputSource) -> Iterator[InputFrame]:
        if source.kind == "still" and source.path.suffix.lower() not in (".tif", ".tiff"):
            mask = source.mask_of(None)
            if not self._has(mask):
                yield InputFrame(partial(image_io.read_grey, source.path), mask, source.path.name)
            return
        pages = _PAGES[source.kind](source.path)
        for number, (read, alone) in enumerate(pages):
            mask = source.mask_of(None if alone else number)
            if not self._has(mask):
                name = source.path.name if alone else f"{source.path.name} {number}"
                yield InputFrame(partial(_same, read()), mask, name)

    def _has(self, mask: Path) -> bool:
        if not self.skip_existing or not mask.is_file():
            return False
        self.skipped += 1
        return True


Page = tuple[Callable[[], Grey], bool]
"""How to read one frame of a file, and whether it is the only one."""


def find_sources(inputs: Sequence[Path | str], out: Path | None = None) -> list[InputSource]:
    """The files that ``inputs`` mean, in the order given and sorted within each, every file once.

    Args:
        inputs: files; folders of files; patterns (``scans/*.png``, ``**`` goes into folders); records, specimens or
            whole data folders in any published layout.
        out: the folder of all masks (a record's masks keep their place below the specimen); None puts them beside
            the input: into ``Labels_pred`` of a record, else into ``predictions``.

    Raises:
        UsageError: an input means no file.
        MedcliError: a file is DICOM and pydicom is not installed.
    """
    found: dict[Path, InputSource] = {}
    for text in inputs:
        sources = list(_expand(Path(text), out))
        if not sources:
            kinds = ", ".join(sorted(SUFFIXES))
            raise UsageError(f"nothing to predict on in {text}", f"expected a record, a specimen or files of {kinds}")
        for source in sources:
            found.setdefault(Path(os.path.abspath(source.path)), source)  # noqa: PTH100 (keeps links)
    dicom = next((source for source in found.values() if source.kind == "dicom"), None)
    if dicom and find_spec("pydicom") is None:
        raise MedcliError(f"{dicom.path} is DICOM, which needs pydicom", "pip install 'medcli[dicom]'")
    return _with_own_names(list(found.values()))


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


def _expand(path: Path, out: Path | None) -> Iterator[InputSource]:
    if path.is_dir():
        yield from _folder(path, out)
    elif path.is_file():
        if path.parent.name == IMAGE_FOLDER:
            yield _dataset_source(path, path.parent.parent, out)
        else:
            yield InputSource(path, out or path.parent / PLAIN_FOLDER, path.stem)
    elif glob.has_magic(str(path)):
        for match in sorted(glob.glob(str(path), recursive=True)):  # noqa: PTH207 (absolute patterns too)
            if Path(match).is_dir() or _is_wanted(Path(match)):
                yield from _expand(Path(match), out)
    else:
        raise UsageError(f"no such file or folder: {path}")


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
    for file in sorted(path.rglob("*")):
        within = file.relative_to(path)
        if _is_wanted(file) and not _IMAGE_FOLDERS.intersection(within.parts[:-1]):
            yield InputSource(file, (out or path / PLAIN_FOLDER) / within.parent, file.stem)


def _dataset_source(file: Path, record: Path, out: Path | None) -> InputSource:
    if out is None:
        return InputSource(file, record / PREDICTED_FOLDER, file.stem, of_dataset=True)
    specimen = specimen_folder(record)
    within = record.relative_to(specimen.parent) if specimen else Path(record.name)
    return InputSource(file, out / within / PREDICTED_FOLDER, file.stem, of_dataset=True)


def _is_wanted(file: Path) -> bool:
    return (
        file.suffix.lower() in SUFFIXES
        and not file.name.startswith(".")
        and not file.name.endswith(MASK_ENDING)
        and file.is_file()
    )


def _with_own_names(sources: list[InputSource]) -> list[InputSource]:
    """Two files that differ in their endings only would share a mask: then the ending is part of the name."""
    uses = Counter((source.folder, source.stem) for source in sources)
    named = [
        source
        if uses[source.folder, source.stem] == 1
        else replace(source, stem=f"{source.stem}_{source.path.suffix[1:]}")
        for source in sources
    ]
    doubles = [target for target, count in Counter((s.folder, s.stem) for s in named).items() if count > 1]
    if doubles:
        folder, stem = doubles[0]
        raise UsageError(f"several inputs would write {folder / (stem + MASK_ENDING)}", "predict on them one by one")
    return named


def _movie_pages(path: Path) -> Iterator[Page]:
    movie = cv2.VideoCapture(str(path))
    try:
        if not movie.isOpened():
            raise DataError(f"{path} is not a movie that can be decoded, or is damaged")
        number = 0
        while movie.grab():
            yield partial(_retrieve, movie, path), False
            number += 1
        expected = int(movie.get(cv2.CAP_PROP_FRAME_COUNT))
        if number == 0 or number < 0.9 * expected:  # the count in a header is only an estimate
            raise DataError(f"{path} ends after {number} of {expected} frames: damaged or cut off")
    finally:
        movie.release()


def _retrieve(movie: Any, path: Path) -> Grey:
    found, image = movie.retrieve()
    if not found:
        raise DataError(f"{path} has a frame that cannot be decoded")
    return _as_grey(image, reverse=True)


def _tiff_pages(path: Path) -> Iterator[Page]:
    content = np.frombuffer(image_io.read_content(path), np.uint8)
    read, pages = cv2.imdecodemulti(content, cv2.IMREAD_GRAYSCALE) if content.size else (False, ())
    if not read or not pages:
        raise DataError(f"{path} is not an image or is damaged: {content.size} bytes")
    for page in pages:
        yield partial(_same, np.asarray(page, np.uint8)), len(pages) == 1


def _dicom_pages(path: Path) -> Iterator[Page]:
    import pydicom

    try:
        content = pydicom.dcmread(path)
        pixels = np.asarray(content.pixel_array)
    except Exception as error:  # pydicom raises what its codecs raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if isinstance(error, pydicom.errors.InvalidDicomError):
            raise DataError(f"{path} is no image, movie or DICOM file, or it is damaged") from error
        raise DataError(f"{path} cannot be read as DICOM: {reason}") from error
    colour = int(content.get("SamplesPerPixel", 1)) > 1
    frames = pixels if pixels.ndim == (4 if colour else 3) else pixels[None]
    inverted = content.get("PhotometricInterpretation") == "MONOCHROME1"
    for frame in frames:
        yield partial(_dicom_grey, frame, content, inverted), len(frames) == 1


def _same(grey: Grey) -> Grey:
    return grey


def _dicom_grey(frame: Any, content: Any, inverted: bool) -> Grey:
    """8 bits of a DICOM frame; deeper ones by their stored bits, as the modality writes ultrasound."""
    if content.get("PhotometricInterpretation") == "PALETTE COLOR":
        frame = _through_palette(frame, content)
    if frame.ndim == 3:  # pydicom has made RGB of every colour space
        return _as_grey(frame if frame.dtype == np.uint8 else frame >> 8)
    bits = int(content.get("BitsStored", 8))
    grey = frame.astype(np.int64) + (1 << (bits - 1) if content.get("PixelRepresentation") else 0)
    grey = np.clip(grey >> (bits - 8) if bits > 8 else grey, 0, 255).astype(np.uint8)
    return np.asarray(255 - grey if inverted else grey, np.uint8)


def _through_palette(frame: Any, content: Any) -> Any:
    """(H, W, 3) colours that the numbers of a frame stand for, 8 or 16 bits each."""
    from pydicom.pixels import apply_color_lut

    try:
        return apply_color_lut(frame, content)[..., :3]
    except Exception as error:  # pydicom raises what its codecs raise
        raise DataError(f"{content.filename} has a colour palette that cannot be read: {error}") from error


def _as_grey(image: Any, reverse: bool = False) -> Grey:
    """Grey of (H, W), (H, W, 1) or (H, W, 3) uint8 in RGB, or BGR with ``reverse``."""
    if image.ndim == 3 and image.shape[2] == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY if reverse else cv2.COLOR_RGB2GRAY)
    return np.ascontiguousarray(image.reshape(image.shape[:2]), np.uint8)


_PAGES: dict[str, Callable[[Path], Iterator[Page]]] = {
    "still": _tiff_pages,
    "movie": _movie_pages,
    "dicom": _dicom_pages,
}
