"""Bone masks of frames: from files to files, with decoding, inference and encoding side by side.

Every worker carries one small batch of frames from file to file: decode, resize, network, enlarge, encode, write. All
heavy steps release the interpreter lock, so while one worker waits for the disk or decodes, the others compute; on a
CPU each runs the network on its share of the cores, on a GPU they take turns. No more frames are in memory than the
workers hold.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medcli.core.contact_sheet import MAX_TILE_HEIGHT, TILE_WIDTH, Tile, tile_sheet
from medcli.core.errors import DISK_FULL, MedcliError, UsageError, system_failure
from medcli.core.files import usable_cores
from medcli.core.image_io import read_grey, use_single_threaded_codecs, write_image
from medcli.core.overlays import overlay_masks
from medcli.core.progress import SILENT, Advance, Progress
from medcli.core.run_provenance import note_run
from medcli.ultrabones.dataset.publication import ABOUT
from medcli.ultrabones.segmentation.checkpoint_metadata import check_threshold, find_newest_best
from medcli.ultrabones.segmentation.frame_reader import DarkFrames, FrameReader, InputFrame
from medcli.ultrabones.segmentation.frame_segmenter import BATCH_SIZE_CPU, FrameSegmenter
from medcli.ultrabones.segmentation.onnx_graph.engine import load_segmenter
from medcli.ultrabones.segmentation.prediction_folders import KeptMasks, prediction_manifest, prepare_folders
from medcli.ultrabones.segmentation.prediction_inputs import (
    CONTACT_SHEET,
    InputSource,
    find_sources,
    prediction_overlay_path,
    records_of,
    refuse_skip_and_overwrite,
)
from medcli.ultrabones.segmentation.preprocessing import mask_at_size, resize_frame

logger = logging.getLogger(__name__)

_MOST_TILES = 24
_OVERLAY_QUALITY = 90
_BONE_COLOUR, _OPACITY = (255, 170, 0), 0.55
"""Orange is distinct from grey for any colour vision."""


@dataclass(frozen=True)
class PredictSettings:
    """How to predict.

    Attributes:
        out: folder of all masks; None puts them beside the inputs.
        overlay: also write each frame with its mask laid over it.
        device: ``auto``, ``cpu``, ``mps``, ``cuda`` or ``cuda:N``.
        engine: ``auto``, ``torch`` or ``onnx``; see
            :func:`medcli.ultrabones.segmentation.onnx_graph.engine.load_segmenter`.
        precision: ``32`` or ``bf16``; see :func:`medcli.ultrabones.segmentation.inference.Segmenter.load`.
        batch_size: frames in one forward pass; None chooses for the device.
        threshold: a pixel is bone where its probability is above it; None takes the checkpoint's.
        skip_existing: keep every mask that is there; without it, those that this network made of the same files in
            the same way are kept, and others refused.
        overwrite: make every mask again, also those that another program or network made; remove that of a frame
            that cannot be read.
        workers: batches under way at once; None: one for each usable core.
        tta: average the probabilities of each frame and of its mirror image; takes twice the time.
    """

    out: Path | None = None
    overlay: bool = False
    device: str = "auto"
    precision: str = "32"
    batch_size: int | None = None
    threshold: float | None = None
    skip_existing: bool = False
    overwrite: bool = False
    workers: int | None = None
    engine: str = "auto"
    tta: bool = False


@dataclass(frozen=True)
class SegPrediction:
    """What ``medcli predict seg`` did.

    Attributes:
        checkpoint: the network used.
        device, precision: where and in which type it ran.
        threshold: probability above which a pixel is bone.
        frames: number of masks written.
        frames_skipped: frames whose mask was there and stays.
        frames_without_bone: masks written that hold no bone.
        folders: where the masks are.
        contact_sheet: an image of some of them, None when there is none.
        seconds: for reading, predicting and writing, without loading the network.
        failures: what could not be predicted on, one line each.
        engine: what computed the network: ``torch`` or ``onnx``.
    """

    checkpoint: Path
    device: str
    precision: str
    threshold: float
    frames: int
    frames_skipped: int
    frames_without_bone: int
    folders: list[Path]
    contact_sheet: Path | None
    seconds: float
    failures: list[str]
    engine: str = "torch"
    schema: str = "medcli.predict.seg.v1"


def predict_seg(
    inputs: Sequence[Path | str],
    checkpoint: Path | None = None,
    settings: PredictSettings | None = None,
    root: Path | None = None,
    specimens: Sequence[int] = (),
    progress: Progress = SILENT,
) -> SegPrediction:
    """Write a mask (0 or 255) of each frame at the frame's own size, as ``<stem>_label_pred.png``.

    Args:
        inputs: files, folders, patterns, records, specimens; see ``prediction_inputs.find_sources``.
        checkpoint: any that :func:`medcli.ultrabones.segmentation.checkpoint.load_model` reads; None takes the newest
            ``runs/seg/*/best.safetensors``.
        settings: how; the defaults when None.
        root, specimens: also all records of these specimens of a data folder.
        progress: called for every frame.

    Raises:
        UsageError: an input is not there, or masks of another program, network or threshold would be replaced.
        DataError: an input means no file, or the checkpoint cannot be used.
        MedcliError: the output cannot be written.
    """
    settings = settings or PredictSettings()
    check_threshold(settings.threshold)
    refuse_skip_and_overwrite(settings.skip_existing, settings.overwrite)
    records = records_of(root, specimens) if root is not None and specimens else []
    sources = find_sources([*inputs, *records], settings.out)
    if not sources:
        raise UsageError("nothing to predict on", "name files, folders or --specimens")
    if checkpoint is None:
        checkpoint = find_newest_best()
        logger.info("checkpoint: %s (the newest)", checkpoint)
    threads = max(1, usable_cores() // _workers(sources, settings, settings.batch_size or BATCH_SIZE_CPU))
    how = (settings.device, settings.precision, settings.batch_size, settings.engine, threads)
    segmenter = load_segmenter(checkpoint, *how)
    segmenter.flips = settings.tta
    run = _Run(segmenter, settings, sources, progress)
    note = prediction_manifest(checkpoint, segmenter, run.threshold)
    folders = prepare_folders(sources, note, settings.skip_existing, settings.overwrite)
    result = run.result(checkpoint, folders)
    if result.frames:
        where = root or next((Path(given) for given in inputs if Path(given).exists()), None)
        note_run(settings.out or _common_folder(folders), "predict seg", ABOUT, where, settings, result, result.device)
    return result


@dataclass
class _Run:
    """The state that the workers of one run share."""

    segmenter: FrameSegmenter
    settings: PredictSettings
    sources: list[InputSource]
    progress: Progress
    written: int = 0
    empty: int = 0
    dark: DarkFrames = field(default_factory=DarkFrames)
    tiles: dict[str, Tile] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        settings, metadata = self.settings, self.segmenter.metadata
        self.threshold = metadata.threshold if settings.threshold is None else settings.threshold
        keeps = KeptMasks(settings.skip_existing, settings.overwrite, settings.overlay)
        self.reader = FrameReader(self.sources, keeps, settings.overwrite)
        self._frames = iter(self.reader)
        self._started = 0
        self._tile_every = max(1, math.ceil(len(self.sources) / _MOST_TILES))
        self._stop = threading.Event()
        self._turn = threading.Lock()
        self._count = threading.Lock()
        self._gpu: Any = nullcontext() if self.segmenter.device == "cpu" else threading.Lock()

    def result(self, checkpoint: Path, folders: list[Path]) -> SegPrediction:
        started = time.perf_counter()
        self._work()
        self.dark.warn()
        sheet = self._write_contact_sheet(folders)
        return SegPrediction(
            checkpoint=Path(checkpoint),
            device=self.segmenter.device,
            precision=self.segmenter.precision,
            threshold=self.threshold,
            frames=self.written,
            frames_skipped=self.reader.skipped,
            frames_without_bone=self.empty,
            folders=folders,
            contact_sheet=sheet,
            seconds=time.perf_counter() - started,
            failures=sorted(self.reader.failures + self.failures),
            engine=self.segmenter.engine,
        )

    def _work(self) -> None:
        use_single_threaded_codecs()
        cores, workers = usable_cores(), _workers(self.sources, self.settings, self.segmenter.batch_size)
        total = None if _holds_movies(self.sources) else len(self.sources)
        with (
            self.segmenter.on_workers(workers, cores),
            self.progress.task("predicting", total, "frames") as advance,
            ThreadPoolExecutor(workers) as pool,
            self._stopping(),
        ):
            for finished in [pool.submit(self._carry_batches, advance) for _ in range(workers)]:
                finished.result()

    @contextmanager
    def _stopping(self) -> Iterator[None]:
        """When the block raises (Ctrl-C, disk full), workers end after the current batch."""
        try:
            yield
        except BaseException:
            self._stop.set()
            raise

    def _carry_batches(self, advance: Advance) -> None:
        with self._stopping():
            while not self._stop.is_set():
                with self._turn:
                    batch = [(self._is_shown(), frame) for frame in islice(self._frames, self.segmenter.batch_size)]
                if not batch:
                    return
                self._predict(batch)
                advance(len(batch))

    def _is_shown(self) -> bool:
        """Of many frames, every so many is shown on the contact sheet."""
        self._started += 1
        return (self._started - 1) % self._tile_every == 0

    def _predict(self, batch: list[tuple[bool, InputFrame]]) -> None:
        frames: list[tuple[bool, InputFrame, NDArray[np.uint8]]] = []
        for shown, frame in batch:
            if frame.is_kept:
                self._show_kept(frame, shown)
                continue
            try:
                frames.append((shown, frame, frame.read()))
            except MedcliError as error:
                self._fail(error.message)
        if not frames:
            return
        inputs = np.stack([resize_frame(grey, self.segmenter.metadata.input_size) for _, _, grey in frames])
        with self._gpu:
            probabilities = self.segmenter.predict(inputs)
        for (shown, frame, grey), probability in zip(frames, probabilities, strict=True):
            mask = mask_at_size(probability, grey.shape[0], grey.shape[1], self.threshold)
            try:
                self._write(frame, grey, mask, shown)
            except MedcliError as error:
                self._fail(f"{frame.mask}: {error.message}")
            except OSError as error:
                if error.errno in DISK_FULL:
                    raise system_failure(error, frame.mask) or error from error
                self._fail(f"cannot write {frame.mask}: {error.strerror or error}")

    def _write(self, frame: InputFrame, grey: NDArray[np.uint8], mask: NDArray[np.uint8], shown: bool) -> None:
        frame.mask.parent.mkdir(exist_ok=True)  # frames of a movie have a folder of their own
        if self.settings.overlay:
            image = prediction_overlay_path(frame.mask)
            image.parent.mkdir(exist_ok=True)
            write_image(image, overlay_masks(grey, (mask > 0, _BONE_COLOUR), opacity=_OPACITY), _OVERLAY_QUALITY)
        write_image(frame.mask, mask)  # last: the mask says that the frame is done
        tile = _make_tile(grey, mask, frame.name) if shown else None
        with self._count:
            self.written += 1
            self.empty += not mask.any()
            self.dark.look_at(grey)
        self._show(frame, tile)

    def _show_kept(self, frame: InputFrame, shown: bool) -> None:
        """The contact sheet is that of one whole run, also where an earlier one was interrupted."""
        with suppress(MedcliError):
            if shown:
                self._show(frame, _make_tile(frame.read(), read_grey(frame.mask), frame.name))

    def _show(self, frame: InputFrame, tile: Tile | None) -> None:
        with self._count:
            if tile and len(self.tiles) < _MOST_TILES:
                self.tiles[str(frame.mask)] = tile

    def _fail(self, message: str) -> None:
        with self._count:
            self.failures.append(message)

    def _write_contact_sheet(self, folders: list[Path]) -> Path | None:
        path = (self.settings.out or _common_folder(folders)) / CONTACT_SHEET
        if self.tiles and (self.written or not path.is_file()):
            write_image(path, tile_sheet([self.tiles[name] for name in sorted(self.tiles)]))
        return path if path.is_file() else None


def _holds_movies(sources: Sequence[InputSource]) -> bool:
    """Whether the number of frames is not known in advance."""
    return any(source.kind != "still" for source in sources)


def _workers(sources: Sequence[InputSource], settings: PredictSettings, batch_size: int) -> int:
    """Batches under way at once: as many as there are cores, or batches."""
    if settings.workers:
        return settings.workers
    cores = usable_cores()
    return cores if _holds_movies(sources) else max(1, min(cores, math.ceil(len(sources) / batch_size)))


def _make_tile(grey: NDArray[np.uint8], mask: NDArray[np.uint8], caption: str) -> Tile:
    """A small copy of the overlay. The mask is resized by its maximum, so that thin lines stay visible."""
    height = round(grey.shape[0] * TILE_WIDTH / grey.shape[1])
    size = (TILE_WIDTH, min(max(1, height), MAX_TILE_HEIGHT))
    small = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)
    share = np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_AREA))
    return Tile(overlay_masks(small, (share > 40, _BONE_COLOUR), opacity=_OPACITY), caption)


def _common_folder(folders: list[Path]) -> Path:
    if len(folders) == 1:
        return folders[0]
    try:
        return Path(os.path.commonpath([folder.absolute() for folder in folders]))
    except ValueError:  # on several drives
        return folders[0]
