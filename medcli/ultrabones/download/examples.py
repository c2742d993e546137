"""Download the authors' public example frames, arranged as a data folder in the layout of the current release.

The example record is one sweep along one fibula, with its tracking table, CT mesh and twelve label images. It is split
by time into two parts, named specimens 90 and 91 (no published specimen has such a number), so that one can train and
the other validate; the folders' common code tells every command that both are of one donor. The single images are of
all 14 specimens, without labels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from medcli.core.errors import DataError
from medcli.core.files import check_output_folder
from medcli.core.progress import SILENT, Progress
from medcli.sources.github import GitHubFiles
from medcli.transfer.download import carry_out
from medcli.transfer.plan import Wanted, merge_doubles
from medcli.transfer.protocol import RemoteFile, RemoteSource, unreachable
from medcli.transfer.request import DownloadRequest, TransferOptions
from medcli.transfer.results import Downloaded, Planned
from medcli.ultrabones.dataset import publication
from medcli.ultrabones.dataset.folder_layout import IMAGE_FOLDER
from medcli.ultrabones.dataset.mesh_files import MESH_FOLDER
from medcli.ultrabones.dataset.publication import ExamplePart, FileKind

PARTS = ("specimen90_example", "specimen91_example")
SPLIT_MS = 200_000
"""Frames from this timestamp on belong to the second part."""
_RECORD = "ultrasound_records/fibula/record01"
_SECTION = re.compile(r"(?:^|/)record_folder/(?P<below>.+)$")
_SINGLE = re.compile(r"(?:^|/)example_ultrasound_images/(?P<name>\d+_\d+_ultrasound\.png)$")
_FRAME = re.compile(rf"{IMAGE_FOLDER}/(?P<time>\d+)\.png")
_SHOWN = re.compile(r"optimization_results/(?P<time>\d+)_res\.png")
_MESH = re.compile(r"CT_models/(?P<bone>[A-Za-z_]+)\.stl")
_TABLE = re.compile(r"sweep_?initial\.csv", re.IGNORECASE)
"""The table with the tracked poses; ``sweepProcessedAndOptimized.csv`` beside it has a header only."""


@dataclass(frozen=True)
class _Place:
    """Where a part is: the repository at one commit, and how its files are arranged."""

    repository: str
    commit: str
    arrange: Callable[[RemoteFile], Iterator[Wanted]]
    needs: tuple[str, ...]


def download_examples(
    root: Path,
    only: Sequence[ExamplePart] = (),
    options: TransferOptions | None = None,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> Downloaded | Planned:
    """Make ``root`` hold the example record and the example images, or one of them.

    Files are recognised by their names below ``record_folder/`` and ``example_ultrasound_images/``, wherever in the
    repositories these folders are.

    Raises:
        DataError: GitHub cannot be reached, or the repositories no longer have these files.
        MedcliError: the disk is too small, or another download writes to ``root``.
    """
    check_output_folder(root, "--dest", may_write=not dry_run)
    request = DownloadRequest(root, publication.ABOUT, options or TransferOptions(), dry_run, progress)
    parts = [part for part in ExamplePart if not only or part in only]
    with unreachable("the authors may have moved their examples; the data set itself has labelled frames as well"):
        found = [_find(_PLACES[part], request) for part in parts]
    return carry_out(found, request)


def _find(place: _Place, request: DownloadRequest) -> tuple[RemoteSource, list[Wanted]]:
    source = GitHubFiles(place.repository, place.commit, "", request.client())
    wanted = merge_doubles(item for entry in request.listing(source.list()) for item in place.arrange(entry))
    missing = [kind for kind in place.needs if not any(item.kind == kind for item in wanted)]
    if missing:
        raise DataError(f"{source.address} has none of these files of the examples: {', '.join(missing)}")
    return source, wanted


def _arrange_record(entry: RemoteFile) -> Iterator[Wanted]:
    """The places of a file of the record; the tracking table and the mesh have one in each part."""
    section = _SECTION.search(entry.name)
    if section is None:
        return
    below = section["below"]
    if frame := _FRAME.fullmatch(below):
        yield _in_record(entry, _part_of(frame), f"{IMAGE_FOLDER}/{frame['time']}.png", FileKind.IMAGES)
    elif shown := _SHOWN.fullmatch(below):
        yield _in_record(entry, _part_of(shown), below, FileKind.LABELS)
    elif _TABLE.fullmatch(below):
        yield from (_in_record(entry, part, "tracking.csv", FileKind.TRACKING) for part in PARTS)
    elif mesh := _MESH.fullmatch(below):
        for part in PARTS:
            path = f"{part}/{MESH_FOLDER}/{mesh['bone'].lower()}.stl"
            yield Wanted(path, entry, None, part.partition("_")[0], FileKind.MESHES.value)


def _in_record(entry: RemoteFile, part: str, name: str, kind: FileKind) -> Wanted:
    return Wanted(f"{part}/{_RECORD}/{name}", entry, None, part.partition("_")[0], kind.value)


def _part_of(match: re.Match[str]) -> str:
    return PARTS[int(match["time"]) >= SPLIT_MS]


def _arrange_image(entry: RemoteFile) -> Iterator[Wanted]:
    if single := _SINGLE.search(entry.name):
        yield Wanted(f"images/{single['name']}", entry, None, "single images", FileKind.IMAGES.value)


_PLACES = {
    ExamplePart.RECORD: _Place(
        "luohwu/a7v9x0qp4zmnz",
        "be4d7de9302bc8f12440117b20a1374a46fb731e",
        _arrange_record,
        (FileKind.IMAGES.value, FileKind.TRACKING.value, FileKind.MESHES.value),
    ),
    ExamplePart.IMAGES: _Place(
        "luohwu/a7v9x0qp4zmnzx78q",
        "50a5be225c9028671bc2bd82d213f9139c05d7bf",
        _arrange_image,
        (FileKind.IMAGES.value,),
    ),
}
"""Each at one commit, whose content is fixed, that has the files (as listed in a public index; not tried)."""
