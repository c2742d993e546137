"""What a download reports: what it did, what it would do, what a check found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from medcli.core.errors import DataError
from medcli.core.progress import SILENT, Progress
from medcli.transfer import plan as planning
from medcli.transfer.byte_counter import counted
from medcli.transfer.destination import HIDDEN, STAGING, About, check_destination, read_manifest
from medcli.transfer.download import DownloadOutcome, Manner, download
from medcli.transfer.plan import Wanted
from medcli.transfer.protocol import Fault, Missing, RemoteSource, Unexpected
from medcli.transfer.verification import FileFailure, estimate_missing
from medcli.transfer.verification import verify as verify_files


@dataclass(frozen=True)
class Downloaded:
    """What a download did; see :class:`medcli.transfer.download.DownloadOutcome` for the counts.

    Attributes:
        sources: where the files came from, with their versions.
    """

    dataset: str
    dest: Path
    sources: list[str]
    files: int
    bytes: int
    reused_files: int
    reused_bytes: int
    fetched_files: int
    moved_bytes: int
    size_only_files: int
    licence: str
    citation: str
    failures: list[FileFailure] = field(default_factory=list)
    schema: str = "medcli.download.v1"


@dataclass(frozen=True)
class PlannedRow:
    """Files of one group (a specimen) and kind; those missing are judged by their sizes."""

    group: str
    kind: str
    files: int
    bytes: int
    missing_files: int
    missing_bytes: int


@dataclass(frozen=True)
class Planned:
    """What a download would do.

    Attributes:
        network_bytes: bytes that would come over the network, directories of archives included.
        disk_bytes: bytes that the disk must still have, archives that wait to be unpacked included.
        reserve_bytes: bytes that are left free besides, when anything comes.
        free_bytes: bytes that it has.
    """

    dataset: str
    dest: Path
    sources: list[str]
    rows: list[PlannedRow]
    files: int
    bytes: int
    missing_files: int
    network_bytes: int
    disk_bytes: int
    free_bytes: int
    licence: str
    citation: str
    reserve_bytes: int = planning.RESERVE
    schema: str = "medcli.download-plan.v1"


@dataclass(frozen=True)
class Verified:
    """What reading every file of a manifest found."""

    dataset: str
    dest: Path
    files: int
    bytes: int
    size_only_files: int
    failures: list[FileFailure] = field(default_factory=list)
    schema: str = "medcli.download-verify.v1"


def carry_out(
    source: RemoteSource,
    wanted: Sequence[Wanted],
    root: Path,
    about: About,
    manner: Manner,
    progress: Progress = SILENT,
) -> Downloaded:
    """Download and report."""
    with unreachable():
        outcome = download(source, wanted, root, about, manner, progress)
    return _downloaded(outcome, [source.address], root, about)


def plan_only(source: RemoteSource, wanted: Sequence[Wanted], root: Path, about: About, manner: Manner) -> Planned:
    """Count what a download would do; writes nothing."""
    planning.check_paths(wanted)
    missing = estimate_missing(root, wanted)
    staging = root / HIDDEN / STAGING
    work = planning.divide(missing, staging)
    return Planned(
        about.dataset,
        root,
        [source.address],
        count_rows(wanted, missing),
        len(wanted),
        sum(item.size for item in wanted),
        len(missing),
        planning.network_need(work, root, staging) + counted(source).moved,  # the run reads the directories again
        planning.disk_need(work, root, staging, manner.workers),
        planning.free_bytes(root),
        about.licence,
        about.citation,
    )


def count_rows(wanted: Sequence[Wanted], missing: Sequence[Wanted]) -> list[PlannedRow]:
    """Files and bytes of each group and kind, sorted."""
    counts: dict[tuple[str, str], list[int]] = {}
    for items, first in ((wanted, 0), (missing, 2)):
        for item in items:
            row = counts.setdefault((item.group, item.kind), [0, 0, 0, 0])
            row[first] += 1
            row[first + 1] += item.size
    return [PlannedRow(group, kind, *row) for (group, kind), row in sorted(counts.items())]


def join_downloaded(parts: Sequence[Downloaded]) -> Downloaded:
    """One report of several downloads into the same folder."""
    first = parts[0]
    counts = ("files", "bytes", "reused_files", "reused_bytes", "fetched_files", "moved_bytes", "size_only_files")
    return Downloaded(
        dataset=first.dataset,
        dest=first.dest,
        sources=[address for part in parts for address in part.sources],
        licence=first.licence,
        citation=first.citation,
        failures=[failure for part in parts for failure in part.failures],
        **{name: sum(getattr(part, name) for part in parts) for name in counts},
    )


def join_planned(parts: Sequence[Planned]) -> Planned:
    """One plan of several downloads into the same folder."""
    first = parts[0]
    counts = ("files", "bytes", "missing_files", "network_bytes", "disk_bytes")
    return Planned(
        dataset=first.dataset,
        dest=first.dest,
        sources=[address for part in parts for address in part.sources],
        rows=[row for part in parts for row in part.rows],
        free_bytes=first.free_bytes,
        licence=first.licence,
        citation=first.citation,
        **{name: sum(getattr(part, name) for part in parts) for name in counts},
    )


def verify_folder(root: Path, workers: int, progress: Progress = SILENT) -> Verified:
    """Check a downloaded folder against its manifest, without any network.

    Raises:
        DataError: there is no manifest, or it is damaged.
    """
    check_destination(root, may_write=False)
    manifest = read_manifest(root)
    count, size, failures = verify_files(root, workers, progress)
    size_only = sum(record.verified == "size only" for record in manifest.records.values())
    return Verified(manifest.about.dataset, root, count, size, size_only, failures)


@contextmanager
def unreachable(if_missing: str = "check the address") -> Iterator[None]:
    """Turn what a source says into an error for the user; ``if_missing`` is the hint when there is no such thing."""
    try:
        yield
    except Fault as fault:
        if fault.retry:
            hint = "check the network (and HTTPS_PROXY), then run the same command again to go on"
            raise DataError(f"the source cannot be reached: {fault}", hint) from None
        if isinstance(fault, Missing):
            raise DataError(f"not found: {fault}", if_missing) from None
        if isinstance(fault, Unexpected):
            raise DataError(str(fault), "check the address; if it is right, the server is out of order") from None
        raise DataError(f"access refused: {fault}", "check the address, the connection string or the token") from None


def _downloaded(outcome: DownloadOutcome, addresses: list[str], root: Path, about: About) -> Downloaded:
    return Downloaded(
        about.dataset,
        root,
        addresses,
        outcome.files,
        outcome.bytes,
        outcome.reused_files,
        outcome.reused_bytes,
        outcome.fetched_files,
        outcome.moved_bytes,
        outcome.size_only_files,
        about.licence,
        about.citation,
        outcome.failures,
    )
