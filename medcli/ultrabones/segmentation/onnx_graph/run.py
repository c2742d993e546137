"""A graph of ``medcli export seg``, computed by ONNX Runtime on the CPU: starts in half a second, without torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError, UsageError, printable
from medcli.core.files import usable_cores
from medcli.training.checkpoint_files.checkpoint_file import check_checkpoint_file
from medcli.ultrabones.segmentation.checkpoint_metadata import Metadata, check_graph_runtime
from medcli.ultrabones.segmentation.frame_segmenter import BATCH_SIZE_CPU, FrameSegmenter

if TYPE_CHECKING:
    import onnxruntime

_SILENT = 4
_EXPECTED = "expected a graph that medcli export seg wrote"


class GraphSegmenter(FrameSegmenter):
    """A graph with its pre- and post-processing, given frames of the network's own size.

    Its probabilities are within 1e-4 of torch's (checked when it is exported); its threshold is the one that it was
    exported with.
    """

    engine = "onnx"

    def __init__(
        self,
        path: Path,
        device: str = "auto",
        precision: str = "32",
        batch_size: int | None = None,
        threads: int | None = None,
    ) -> None:
        """Open the graph.

        Args:
            device: ``auto`` or ``cpu``.
            precision: ``32``.
            threads: of one forward pass; None: as many as there are cores.

        Raises:
            DataError: the file is missing, damaged, or not a graph that :func:`export_seg` wrote.
            UsageError: another device or precision is asked for.
            MedcliError: ONNX Runtime is not installed.
        """
        check_graph_device(path, device, precision)
        check_graph_runtime(path)
        check_checkpoint_file(path)
        self.device, self.precision = "cpu", "32"
        self.batch_size = batch_size or BATCH_SIZE_CPU
        self._path = path
        try:
            self._graph = path.read_bytes()
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror or error}") from error
        self._threads = threads or usable_cores()
        self._session = self._open(self._threads)
        self.metadata = self._described()

    @contextmanager
    def on_workers(self, workers: int, cores: int) -> Iterator[None]:
        threads = max(1, cores // workers)
        if threads == self._threads:  # opening takes 50 ms
            yield
            return
        before, self._session = self._session, self._open(threads)
        try:
            yield
        finally:
            self._session = before

    def _forward(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            (found,) = self._session.run(["probability"], {"frames": images})
        except Exception as error:  # a graph of another program, edited, or too large for the memory
            raise self._refused("fails on a frame", error) from error
        probability = np.asarray(found)
        if probability.shape != images.shape or not np.isfinite(probability).all():
            raise DataError(f"{self._path} does not give a probability of each pixel", _EXPECTED)
        return probability.astype(np.float32, copy=False)

    def _open(self, threads: int) -> onnxruntime.InferenceSession:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = _SILENT
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting threads leave the core
        try:
            return onnxruntime.InferenceSession(self._graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its classes have no common one of their own
            raise self._refused("cannot be opened", error) from error

    def _described(self) -> Metadata:
        session: Any = self._session
        described = session.get_modelmeta().custom_metadata_map
        inputs = [(entry.name, entry.type, len(entry.shape)) for entry in session.get_inputs()]
        outputs = {entry.name: entry.type for entry in session.get_outputs()}
        if inputs != [("frames", "tensor(uint8)", 3)] or outputs.get("probability") != "tensor(float)":
            raise DataError(f"{self._path} does not take frames and give a probability", _EXPECTED)
        if "medcli" not in described:
            raise DataError(f"{self._path} does not describe its network", _EXPECTED)
        metadata = Metadata.from_json(described["medcli"], self._path)
        try:
            threshold = float(described.get("threshold", metadata.threshold))
        except ValueError:
            threshold = np.nan
        if not 0 < threshold < 1:
            raise DataError(f"{self._path}: its threshold is not a number between 0 and 1", _EXPECTED)
        return replace(metadata, threshold=threshold)

    def _refused(self, what: str, error: Exception) -> DataError:
        reason = printable(str(error)).splitlines()[0][:200] if str(error) else type(error).__name__
        return DataError(f"{self._path} {what} by ONNX Runtime: {reason}", _EXPECTED)


def check_graph_device(path: Path, device: str, precision: str = "32") -> None:
    """Make sure that a graph is asked for what it can: single precision on the CPU.

    Raises:
        UsageError: says what came.
    """
    asked = f"--device {device}" if device not in ("auto", "cpu") else f"--precision {precision}"
    if device not in ("auto", "cpu") or precision != "32":
        raise UsageError(
            f"{path} is computed on the CPU in single precision, not with {asked}",
            "name the checkpoint that it was exported from",
        )
