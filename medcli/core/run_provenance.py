"""Provenance of a run, next to its results: ``medcli-run.json``, read by ``medcli report``.

The results themselves are in the run's own files, which depend on inputs and options only; command line, versions,
device and time are in this note, so it is the one file that differs when the same run is made again. Only a run that
did something writes it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from medcli import __version__
from medcli.core.files import remove_leftovers, usable_cores, write_json
from medcli.core.json_text import read_object, to_plain
from medcli.core.run_records.options import NAME as NAME
from medcli.core.run_records.options import note_path as note_path
from medcli.core.run_records.options import write_options

SCHEMA = "medcli.run.v1"
SYNTHETIC = "synthetic.json"
"""The file at the top of a data folder that :mod:`medcli.synthetic` made, with the settings it was made from."""
_PACKAGES = ("torch", "torchvision", "lightning", "segmentation-models-pytorch", "numba", "numpy", "scipy", "pandas")
_CODECS = ("opencv-python-headless", "opencv-python", "simplejpeg")
_RECORD = re.compile(r"^(?P<name>[^-]+)-(?P<version>[^-]+?)(\.dist-info|(-py[\d.]+)?\.egg-info)$")
_LEVELS_TO_MARKER = 5  # a record of UltraBones100k is four folders below the data folder

_command: ContextVar[tuple[str, datetime | None]] = ContextVar("medcli_command", default=("", None))
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DatasetCitation:
    """Whose data a run uses, for downloads, notes of runs and reports: ``publication.ABOUT`` of each dataset.

    Attributes:
        dataset: its name.
        licence: its name, with an address where it is not a well-known one.
        citation: the publication to cite.
        licence_accepted: by the user, for a download.
    """

    dataset: str
    licence: str
    citation: str
    licence_accepted: bool = False


@contextmanager
def command_line(text: str) -> Iterator[None]:
    """Runs in the block note ``text`` as the command that made them: ``medcli train seg --gpus 1``."""
    token = _command.set((text, datetime.now(timezone.utc)))
    try:
        yield
    finally:
        _command.reset(token)


def note_run(
    target: Path,
    verb: str,
    about: DatasetCitation,
    root: Path | None,
    settings: Any,
    result: Any = None,
    device: str = "",
    goes_on: bool = False,
) -> Path:
    """Write the note of a run, and its options as ``settings.toml`` (:mod:`medcli.core.run_records.options`) beside it.

    Args:
        target: the run's folder (the note is ``medcli-run.json`` in it, or ``label.medcli-run.json`` where the verb
            writes beside the data), or the one file that it leaves (the note is ``<stem>.medcli-run.json`` beside it).
        verb: ``train seg``, ``calibrate`` …
        about: licence and citation of the data.
        root: the data folder; None where inputs are single files.
        settings: a dataclass or a mapping.
        result: the result's dataclass; None where it has a file of its own, or the run resumes. A note that says the
            same of a result is left alone.
        device: what computed, in words.
        goes_on: the run was interrupted and resumes, so the note keeps the time at which it began.

    A note that cannot be written is warned of: the results are there without it.
    """
    path, now = note_path(target, verb), datetime.now(timezone.utc)
    command, started = _command.get()
    when = (started or now).isoformat(timespec="seconds")
    content = to_plain(
        {
            "schema": SCHEMA,
            "verb": verb,
            "command": command,
            "when": read_object(path).get("when", when) if goes_on else when,
            "noted": now.isoformat(timespec="seconds"),
            "medcli": __version__,
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
            "cores": usable_cores(),
            "device": device,
            "packages": package_versions(),
            "data": {
                "dataset": about.dataset,
                "licence": about.licence,
                "citation": about.citation,
                "root": root,
                "synthetic": root is not None and is_synthetic(root),
            },
            "settings": settings,
            "result": result,
        }
    )
    if result is not None and _says_the_same(path, content):
        return path
    try:
        remove_leftovers(path.parent)
        write_options(target, verb)
        write_json(path, content)  # last: a run that was killed before it is noted again
    except OSError as error:
        logger.warning("cannot write %s: %s", path, error.strerror or error)
    return path


def is_synthetic(root: Path) -> bool:
    """Whether a data folder, or one that holds it, was made by :mod:`medcli.synthetic`."""
    folder = root.absolute()
    return any((place / SYNTHETIC).is_file() for place in [folder, *folder.parents][:_LEVELS_TO_MARKER])


def synthetic_like(dataset: str) -> DatasetCitation:
    """What to say of data that :mod:`medcli.synthetic` made in the layout of a dataset, whose licence is not theirs."""
    return DatasetCitation(f"synthetic data in the layout of {dataset}", "none: synthetic data made by medcli", "")


def synthetic_training(checkpoint: Path) -> DatasetCitation | None:
    """What to say of a network's data where the note beside it calls them synthetic, which checkpoints of 0.1.0 do not
    say themselves; None for others."""
    data = read_object(checkpoint.with_name(NAME)).get("data")
    if not isinstance(data, dict) or data.get("synthetic") is not True:
        return None
    return synthetic_like(str(data.get("dataset")))


def _says_the_same(path: Path, content: dict[str, Any]) -> bool:
    """Whether the note that is there differs in time and command line only: then the run did nothing new."""
    before = read_object(path)
    return all(before.get(name) == value for name, value in content.items() if name not in ("when", "noted", "command"))


def package_versions() -> dict[str, str]:
    """Versions of the packages that the numbers come from."""
    return installed_versions((*_PACKAGES, *_CODECS))


def installed_versions(names: Iterable[str]) -> dict[str, str]:
    """The version of each package of ``names`` that is installed, read from the names of the packages' folders.

    :mod:`importlib.metadata` would parse a file of each, and its import takes an eighth of the time of ``medcli info``.
    """
    found: dict[str, str] = {}
    for folder in sys.path:
        with contextlib.suppress(OSError):
            entries = sorted(entry.name for entry in os.scandir(folder or "."))
            for match in filter(None, map(_RECORD.match, entries)):
                found.setdefault(_normal(match["name"]), match["version"])
    return {name: found[_normal(name)] for name in names if _normal(name) in found}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
