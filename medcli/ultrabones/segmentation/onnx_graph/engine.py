"""Which program computes a network: torch, or ONNX Runtime by a graph that is exported once and cached.

A graph starts in half a second, torch and what builds the network in several. It is kept under the digest of its
checkpoint, and beside it how far it is from torch (see ``export.export_seg``), as JSON.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from medcli.core.errors import DataError, MedcliError, UsageError
from medcli.core.files import cache_folder, write_json
from medcli.core.json_text import read_object
from medcli.core.locks import locked
from medcli.core.progress import activity
from medcli.core.shell import install_extra
from medcli.training.checkpoint_files.checkpoint_file import check_checkpoint_file
from medcli.training.devices import check_device, plain_device
from medcli.training.gpus import count_gpus, has_mps
from medcli.training.weights import SUFFIX
from medcli.transfer.checksum import of_file
from medcli.ultrabones.segmentation.checkpoint_metadata import GRAPH_SUFFIX, pickled_metadata

if TYPE_CHECKING:
    from medcli.ultrabones.segmentation.frame_segmenter import FrameSegmenter

logger = logging.getLogger(__name__)

ENGINES = ("auto", "torch", "onnx")
_MADE_BY = ("torch", "onnx", "onnxscript", "onnxruntime")
_VERSION = "2"
"""Raised when graphs are exported in another way, so that they are made anew."""
_REASON = "unusable"
_KEPT = 8
"""Graphs in the cache, of 93 MB each for the published network; those used longest ago are removed."""


def load_segmenter(
    path: Path,
    device: str = "auto",
    precision: str = "32",
    batch_size: int | None = None,
    engine: str = "auto",
    threads: int | None = None,
) -> FrameSegmenter:
    """A network ready to predict, by the program that ``engine`` names.

    Args:
        path: any checkpoint that ``checkpoint.load_model`` reads; or a graph that ``medcli export seg`` wrote.
        device, precision, batch_size: see :meth:`medcli.ultrabones.segmentation.inference.Segmenter.load`.
        engine: ``torch``; ``onnx``, on a CPU in single precision; ``auto``: ``onnx`` where that is possible and either
            the graph is there or torch is not loaded, else ``torch``.
        threads: of one forward pass in ONNX Runtime; None: as many as there are cores.

    Raises:
        DataError: the checkpoint cannot be used.
        UsageError: the engine does not go with checkpoint, device and precision.
        MedcliError: ``onnx`` was asked for, and the network cannot be exported.
    """
    path = Path(path)
    check_engine(path, device, precision, engine)
    if path.suffix == GRAPH_SUFFIX:
        return _by_graph(path, batch_size, threads, device, precision)
    if engine == "onnx" or (engine == "auto" and precision == "32" and _means_cpu(device)):
        graph = find_graph(path, engine)
        found = graph and _by_cached_graph(path, graph, batch_size, threads)
        if found:
            return found
    from medcli.ultrabones.segmentation.inference import Segmenter

    return Segmenter.load(path, device, precision, batch_size)


def check_engine(path: Path | None, device: str, precision: str, engine: str) -> None:
    """What :func:`load_segmenter` finds wrong and can be known without torch.

    Raises:
        UsageError: see there.
    """
    if engine not in ENGINES:
        raise UsageError(f"no engine '{engine}'", f"one of {', '.join(ENGINES)}")
    check_device(device)
    if engine == "onnx" and (precision != "32" or plain_device(device) not in ("auto", "cpu")):
        asked = f"--precision {precision}" if precision != "32" else f"--device {device}"
        raise UsageError(
            f"--engine onnx computes on the CPU in single precision, not with {asked}", "use --engine torch"
        )
    if engine == "torch" and path is not None and path.suffix == GRAPH_SUFFIX:
        raise UsageError(
            f"{path} is a graph, which torch does not compute", "name the checkpoint, or leave --engine out"
        )


def find_graph(checkpoint: Path, engine: str) -> Path | None:
    """The graph of a checkpoint in the user's cache, exported first where it is not there; None: torch has to do.

    Args:
        engine: ``auto`` or ``onnx``; ``auto`` exports only where torch is not loaded yet, and says nothing of failures.

    Raises:
        DataError: the checkpoint cannot be used.
        MedcliError: ``onnx``, and the network cannot be exported.
    """
    if find_spec("onnxruntime") is None:
        _say_missing("onnxruntime", engine)
        return None
    check_checkpoint_file(checkpoint, "train one: medcli train seg")
    digest = of_file(checkpoint, "sha256").removeprefix("sha256:")
    try:
        graph = cache_folder("graphs") / f"{digest[:32]}-{_VERSION}{GRAPH_SUFFIX}"
    except OSError:  # no place for caches
        return None
    if not _is_ready(graph):
        missing = [name for name in _MADE_BY if find_spec(name) is None]
        if missing:
            _say_missing(", ".join(missing), engine)
            return None
        if engine == "auto" and ("torch" in sys.modules or _reason(graph)):
            return None  # who waited for torch already gains nothing by an export
        try:
            with locked(graph.with_suffix(".lock")):
                if not _is_ready(graph):
                    _make(checkpoint, graph)
        except OSError as error:
            logger.warning("the graph cannot be kept in %s: %s; torch computes", graph.parent, error.strerror or error)
            return None
    reason = _reason(graph)
    if reason and engine == "onnx":
        raise MedcliError(f"{checkpoint} cannot be computed by ONNX Runtime: {reason}", "use --engine torch")
    return None if reason else graph


def _by_graph(
    path: Path, batch_size: int | None, threads: int | None, device: str = "cpu", precision: str = "32"
) -> FrameSegmenter:
    from medcli.ultrabones.segmentation.onnx_graph.run import GraphSegmenter

    return GraphSegmenter(path, device, precision, batch_size, threads)


def _by_cached_graph(
    checkpoint: Path, graph: Path, batch_size: int | None, threads: int | None
) -> FrameSegmenter | None:
    try:
        segmenter = _by_graph(graph, batch_size, threads)
        if checkpoint.suffix != SUFFIX:  # the same bytes may lie in a folder that says more of them
            known = segmenter.metadata
            segmenter.metadata = pickled_metadata(checkpoint, known.arch, known.encoder)
        os.utime(_note(graph))  # it was used
    except (DataError, OSError) as error:  # the cache is damaged, or another process removed it
        logger.warning("%s: the graph is removed from the cache, torch computes this time", error)
        _remove(graph)
        return None
    return segmenter


def _means_cpu(device: str) -> bool:
    word = plain_device(device)
    return word == "cpu" or (word == "auto" and count_gpus() == 0 and not has_mps())


def _note(graph: Path) -> Path:
    return graph.with_suffix(".json")


def _reason(graph: Path) -> str:
    return str(read_object(_note(graph)).get(_REASON, ""))


def _is_ready(graph: Path) -> bool:
    return graph.is_file() and _note(graph).is_file()


def _say_missing(missing: str, engine: str) -> None:
    if engine == "onnx":
        logger.warning("--engine onnx needs %s: torch computes instead; %s", missing, install_extra("onnx"))


def _make(checkpoint: Path, graph: Path) -> None:
    """Export and compare; a network that does not export well is noted, so that it is not tried each time."""
    from medcli.ultrabones.segmentation.onnx_graph.export import export_seg

    logger.info("exporting %s for ONNX Runtime, once (--engine torch does without)", checkpoint)
    try:
        with activity("exporting the network"):
            done = export_seg(checkpoint, graph, overwrite=True)
    except (DataError, OSError):
        raise
    except Exception as error:  # the exporter raises what its passes raise
        logger.debug("the network is not exported", exc_info=True)
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        write_json(_note(graph), {"checkpoint": checkpoint, _REASON: reason})
        return
    write_json(_note(graph), done)
    _remove_oldest(graph.parent)


def _remove_oldest(folder: Path) -> None:
    """Keep the graphs used last; the notes of networks that are not exported are small and stay."""
    notes = [_note(graph) for graph in folder.glob(f"*{GRAPH_SUFFIX}") if _note(graph).is_file()]
    for note in sorted(notes, key=lambda path: path.stat().st_mtime)[:-_KEPT]:
        _remove(note.with_suffix(GRAPH_SUFFIX))


def _remove(graph: Path) -> None:
    """The graph first: what another process reads stays on Windows, with its note, until a later run."""
    with suppress(OSError):
        graph.unlink(missing_ok=True)
        _note(graph).unlink(missing_ok=True)
