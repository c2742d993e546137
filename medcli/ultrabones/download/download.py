"""Download UltraBones100k (from the Hugging Face Hub or Azure Blob Storage) or UltraBonesHip, or any part of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medcli.core.errors import DataError, UsageError, quantity
from medcli.core.progress import SILENT, Progress
from medcli.sources.azure import AzureBlobs
from medcli.sources.azure_connection import Connection
from medcli.sources.hub import HubRepository
from medcli.transfer.archives import UNREAD, Archives
from medcli.transfer.byte_counter import Counted
from medcli.transfer.download import carry_out
from medcli.transfer.http import Http
from medcli.transfer.plan import Wanted, merge_doubles
from medcli.transfer.protocol import Fault, Missing, RemoteFile, RemoteSource, unreachable
from medcli.transfer.request import DownloadRequest, TransferOptions
from medcli.transfer.results import Downloaded, Planned
from medcli.transfer.zip_ranges import Member
from medcli.ultrabones.dataset import publication
from medcli.ultrabones.dataset.publication import Anatomy, FileKind, read_name
from medcli.ultrabones.download.connection import UltrabonesOrigin, check_download, check_hip_download

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class UltrabonesSelection:
    """Which part of the data set; an empty choice means all.

    Files that a choice does not speak of are kept: a specimen's merged bone mesh and model belong to no anatomy and to
    no record, and come unless ``only`` leaves them out - but only of specimens that have a chosen anatomy and record.
    """

    specimens: Sequence[int] = ()
    anatomies: Sequence[Anatomy] = ()
    records: Sequence[int] = ()
    only: Sequence[FileKind] = ()

    def holds(self, named: publication.Named) -> bool:
        return (
            self.holds_specimen(named.specimen)
            and (not self.anatomies or named.anatomy is None or named.anatomy in self.anatomies)
            and (not self.records or named.record is None or named.record in self.records)
            and (not self.only or named.kind in self.only)
        )

    def names(self, anatomy: str | None, record: int | None) -> bool:
        """Whether a file speaks of, and is among, the anatomies and the records that are chosen."""
        return (not self.anatomies or anatomy in self.anatomies) and (not self.records or record in self.records)

    def holds_specimen(self, number: int) -> bool:
        return not self.specimens or number in self.specimens

    def holds_specimen_of(self, name: str) -> bool:
        """Whether a folder or archive is of a chosen specimen."""
        number = publication.specimen_of(name)
        return number is not None and self.holds_specimen(number)


class _Finding:
    """Takes the files of a selection, and remembers which specimens, anatomies and records there are."""

    def __init__(self, selection: UltrabonesSelection) -> None:
        self.selection = selection
        self.specimens: set[int] = set()
        self.seen: set[tuple[int, str | None, int | None]] = set()

    def take(self, entry: RemoteFile, member: Member | None) -> Iterator[Wanted]:
        """The file wanted of an entry or, of an archive, of its member: one or none."""
        named = read_name(member.name, entry.name) if member else read_name(entry.name)
        if named:
            self.specimens.add(named.specimen)
        if named and self.selection.holds_specimen(named.specimen):
            self.seen.add((named.specimen, named.anatomy, named.record))
            if self.selection.holds(named):
                yield Wanted(named.path, entry, member, f"specimen {named.specimen:02d}", named.kind)

    def of_matching(self, wanted: Sequence[Wanted], address: str) -> list[Wanted]:
        """Without the files of specimens that have nothing of the chosen anatomies and records.

        Raises:
            UsageError: no specimen has; says what there is.
        """
        matching = {number for number, anatomy, record in self.seen if self.selection.names(anatomy, record)}
        # An archive that a dry run could not look into may have anything.
        matching |= {number for item in wanted if item.kind == UNREAD and (number := _specimen(item)) is not None}
        if not matching and self.seen:
            raise UsageError(f"{address} has nothing of {self._choice()}", f"there is {self._there()}")
        return [item for item in wanted if _specimen(item) in matching]

    def _choice(self) -> str:
        anatomies = [item.value for item in self.selection.anatomies]
        numbers = [str(record) for record in self.selection.records]
        return " in ".join(
            ([f"record {', '.join(numbers)}"] if numbers else []) + ([", ".join(anatomies)] if anatomies else [])
        )

    def _there(self) -> str:
        anatomies = sorted({anatomy for _, anatomy, _ in self.seen if anatomy})
        if not anatomies:
            return f"record {_in_short({record for *_, record in self.seen if record is not None})}"
        records = {
            name: {record for _, anatomy, record in self.seen if anatomy == name and record is not None}
            for name in anatomies
        }
        return "; ".join(f"{name}, record {_in_short(some)}" if some else name for name, some in records.items())


def _specimen(item: Wanted) -> int | None:
    return publication.specimen_of(item.group)


def _in_short(numbers: set[int]) -> str:
    """``1-3, 7``, or ``none``."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts) or "none"


def download_ultrabones(
    root: Path,
    selection: UltrabonesSelection,
    origin: UltrabonesOrigin,
    options: TransferOptions | None = None,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> Downloaded | Planned:
    """Make ``root`` hold the selected part of UltraBones100k; with ``dry_run``, only say what that would take.

    Raises:
        DataError: the source cannot be reached or refuses access.
        UsageError: the selection asks for what the source does not have.
        MedcliError: the disk is too small, or another download writes to ``root``.
    """
    request = DownloadRequest(root, publication.ABOUT, options or TransferOptions(), dry_run, progress)
    finding = _Finding(selection)
    connection = check_download(root, origin, dry_run)
    if connection and (surplus := connection.surplus_rights()):
        log.warning(
            "the connection string allows more than reading (%s); medcli only reads, but keep it to yourself",
            ", ".join(surplus),
        )
    with unreachable("check --revision"):
        source, wanted = (
            _of_azure(connection, origin, finding, request) if connection else _of_hub(origin, finding, request)
        )
    wanted = merge_doubles(finding.of_matching(wanted, source.address))
    _check_found(wanted, selection, source)
    return carry_out([(source, wanted)], request)


def download_ultrabones_hip(
    root: Path,
    selection: UltrabonesSelection,
    licence_accepted: bool,
    revision: str = "main",
    options: TransferOptions | None = None,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> Downloaded | Planned:
    """Make ``root`` hold the selected part of UltraBonesHip, one archive; otherwise as :func:`download_ultrabones`.

    Raises:
        UsageError: the licence, CC BY-NC 4.0, was not accepted, or the selection asks for what there is not.
        DataError: the Hub cannot be reached or refuses access.
        MedcliError: the disk is too small, or another download writes to ``root``.
    """
    check_hip_download(root, licence_accepted, dry_run)
    about = replace(publication.ABOUT_HIP, licence_accepted=True)
    request = DownloadRequest(root, about, options or TransferOptions(), dry_run, progress)
    finding = _Finding(selection)
    with unreachable("check --revision"):
        source = Counted(HubRepository(publication.HUB_HIP_DATASET, "dataset", revision, request.client()))
        wanted = merge_doubles(Archives(source, request).wanted(source.list(), finding.take))
    absent = sorted(set(selection.specimens) - finding.specimens)
    if absent and finding.specimens:
        there = " ".join(map(str, sorted(finding.specimens)))
        raise UsageError(f"{source.address} has no specimen {', '.join(map(str, absent))}", f"there are {there}")
    _refuse_nothing(wanted, source)
    return carry_out([(source, wanted)], request)


def _of_azure(
    connection: Connection, origin: UltrabonesOrigin, finding: _Finding, request: DownloadRequest
) -> tuple[RemoteSource, list[Wanted]]:
    if finding.selection.anatomies:
        raise UsageError(
            "the release on Azure does not sort its records by anatomy, so --anatomies cannot choose there",
            "leave --anatomies out, or take the current release with --source hub",
        )
    http = request.client()
    container = origin.container or connection.container or _find_container(connection, http)
    source = AzureBlobs(connection, container, http)
    top = len(publication.AZURE_FOLDER)
    source.prefixes = [name for name in _folders(source) if finding.selection.holds_specimen_of(name[top:])]
    return source, [item for entry in request.listing(source.list()) for item in finding.take(entry, None)]


def _of_hub(origin: UltrabonesOrigin, finding: _Finding, request: DownloadRequest) -> tuple[RemoteSource, list[Wanted]]:
    source = Counted(HubRepository(publication.HUB_DATASET, "dataset", origin.revision, request.client()))
    entries = (entry for entry in source.list() if finding.selection.holds_specimen_of(entry.name))
    return source, Archives(source, request).wanted(entries, finding.take)


def _folders(source: AzureBlobs) -> Sequence[str]:
    try:
        return source.folders(publication.AZURE_FOLDER)
    except Missing as fault:
        raise DataError(
            f"the account has no container {source.container}: {fault}",
            "leave --container out, or name the one that holds the data",
        ) from None


def _find_container(connection: Connection, http: Http) -> str:
    """The container that holds the data set's folder."""
    probe = AzureBlobs(connection, "", http)
    try:
        names = probe.containers()
    except Fault as fault:
        if fault.retry:
            raise
        raise DataError(
            f"the connection string does not allow listing the account's containers: {fault}",
            "name the container with --container",
        ) from None
    for name in names:
        if AzureBlobs(connection, name, http).folders(publication.AZURE_FOLDER):
            return name
    raise DataError(
        f"none of the {quantity(len(names), 'container')} of the account holds {publication.AZURE_FOLDER}",
        "name the container with --container",
    )


def _check_found(wanted: Sequence[Wanted], selection: UltrabonesSelection, source: RemoteSource) -> None:
    """Say which part of the selection the source does not have."""
    here = {_specimen(item) for item in wanted}
    absent = sorted(set(selection.specimens) - here)
    if absent:
        numbers = ", ".join(map(str, absent))
        raise UsageError(
            f"{source.address} has nothing of specimen {numbers} that matches", "see --dry-run without --specimens"
        )
    _refuse_nothing(wanted, source)


def _refuse_nothing(wanted: Sequence[Wanted], source: RemoteSource) -> None:
    if not wanted:
        raise UsageError(f"{source.address} has no file that matches", "see --dry-run without a selection")
