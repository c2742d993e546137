"""Download UltraBones100k, or any part of it, from the Hugging Face Hub or from Azure Blob Storage."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from medcli.errors import DataError, UsageError
from medcli.progress import SILENT, Progress
from medcli.sources.azure import AzureBlobs
from medcli.sources.connection import Connection, parse_connection
from medcli.sources.hub import HubRepository
from medcli.transfer.archives import Archives
from medcli.transfer.counted import Counted
from medcli.transfer.download import Manner
from medcli.transfer.http import Http
from medcli.transfer.plan import Wanted
from medcli.transfer.report import Downloaded, Planned, carry_out, plan_only, unreachable
from medcli.transfer.source import Entry, Fault, Source
from medcli.transfer.zips import Member
from medcli.ultrabones import sources
from medcli.ultrabones.sources import Anatomy, Kind, Place, read_name

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Selection:
    """Which part of the data set; an empty choice means all.

    Files that a choice does not speak of are kept: a specimen's merged bone mesh and model belong to no anatomy and to
    no record, and come unless ``only`` leaves them out.
    """

    specimens: Sequence[int] = ()
    anatomies: Sequence[Anatomy] = ()
    records: Sequence[int] = ()
    only: Sequence[Kind] = ()

    def holds(self, named: sources.Named) -> bool:
        return (
            self.holds_specimen(named.specimen)
            and (
                not self.anatomies or named.anatomy is None or named.anatomy in {item.value for item in self.anatomies}
            )
            and (not self.records or named.record is None or named.record in self.records)
            and (not self.only or named.kind in {item.value for item in self.only})
        )

    def holds_specimen(self, number: int) -> bool:
        return not self.specimens or number in self.specimens


@dataclass(frozen=True)
class Origin:
    """Where from, and with which right. ``connection_file`` and the environment variable hold the connection string."""

    place: Place = Place.AUTO
    connection_file: Path | None = None
    container: str | None = None
    revision: str = "main"


def download_ultrabones(
    root: Path,
    selection: Selection,
    origin: Origin,
    manner: Manner | None = None,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> Downloaded | Planned:
    """Make ``root`` hold the selected part of UltraBones100k; with ``dry_run``, only say what that would take.

    Raises:
        DataError: the source cannot be reached or refuses access.
        UsageError: the selection asks for what the source does not have.
        MedcliError: the disk is too small, or another download writes to ``root``.
    """
    manner = manner or Manner()
    with unreachable():
        http = Http(manner.patience, manner.workers)
        connection = find_connection(origin)
        if connection:
            source, wanted = _of_azure(connection, origin, selection, http, progress)
        else:
            source, wanted = _of_hub(origin, selection, root, http, manner, dry_run, progress)
    _check_found(wanted, selection, source)
    if dry_run:
        return plan_only(source, wanted, root, sources.ABOUT, manner)
    return carry_out(source, wanted, root, sources.ABOUT, manner, progress)


def find_connection(origin: Origin) -> Connection | None:
    """The connection string to use, or None for the Hub.

    Raises:
        DataError: it cannot be read, is incomplete, expired, or does not allow reading and listing.
        UsageError: Azure was asked for, and no connection string is configured.
    """
    if origin.place is Place.HUB:
        return None
    text = os.environ.get(sources.CONNECTION_VARIABLE, "")
    if origin.connection_file:
        try:
            text = origin.connection_file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"cannot read the connection string in {origin.connection_file}: {type(error).__name__}"
            ) from None
    if not text.strip():
        if origin.place is Place.AZURE or origin.connection_file:
            raise UsageError(
                "downloading from Azure needs the connection string that the dataset's page publishes",
                f"put it into a file and name that with --connection-string-file, or set {sources.CONNECTION_VARIABLE}",
            )
        return None
    connection = parse_connection(text)
    connection.check_usable()
    surplus = connection.surplus_rights()
    if surplus:
        log.warning(
            "the connection string allows more than reading (%s); medcli only reads, but keep it to yourself",
            ", ".join(surplus),
        )
    return connection


def _of_azure(
    connection: Connection, origin: Origin, selection: Selection, http: Http, progress: Progress
) -> tuple[Source, list[Wanted]]:
    if selection.anatomies:
        raise UsageError(
            "the release on Azure does not sort its records by anatomy, so --anatomies cannot choose there",
            "leave --anatomies out, or take the current release with --source hub",
        )
    container = origin.container or _find_container(connection, http)
    source = AzureBlobs(connection, container, http)
    folders = [
        folder
        for folder in source.folders(sources.AZURE_FOLDER)
        if (number := sources.specimen_of(folder[len(sources.AZURE_FOLDER) :])) is not None
        and selection.holds_specimen(number)
    ]
    source.prefixes = folders
    wanted: list[Wanted] = []
    with progress.task("list", None, "files") as advance:
        for entry in source.list():
            advance(1)
            wanted += _wanted(entry, selection)
    return source, wanted


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
        if AzureBlobs(connection, name, http).folders(sources.AZURE_FOLDER):
            return name
    raise DataError(
        f"none of the {len(names)} containers of the account holds {sources.AZURE_FOLDER}",
        "name the container with --container",
    )


def _of_hub(
    origin: Origin, selection: Selection, root: Path, http: Http, manner: Manner, dry_run: bool, progress: Progress
) -> tuple[Source, list[Wanted]]:
    source = Counted(HubRepository(sources.HUB_DATASET, "dataset", origin.revision, http))
    archives: list[Entry] = []
    wanted: list[Wanted] = []
    for entry in source.list():
        number = sources.specimen_of(entry.name)
        if number is None or not selection.holds_specimen(number):
            continue
        if entry.name.lower().endswith(".zip"):
            archives.append(entry)
        else:
            wanted += _wanted(entry, selection)
    inside = Archives(source, root, sources.ABOUT, manner.patience, may_write=not dry_run)
    wanted += inside.wanted(archives, partial(_of_member, selection), manner.workers, progress)
    return source, wanted


def _of_member(selection: Selection, archive: Entry, member: Member) -> Iterator[Wanted]:
    named = read_name(member.name, archive.name)
    if named and selection.holds(named):
        yield Wanted(named.path, archive, member, f"specimen {named.specimen:02d}", named.kind)


def _wanted(entry: Entry, selection: Selection) -> Iterator[Wanted]:
    named = read_name(entry.name)
    if named and selection.holds(named):
        yield Wanted(named.path, entry, None, f"specimen {named.specimen:02d}", named.kind)


def _check_found(wanted: Sequence[Wanted], selection: Selection, source: Source) -> None:
    """Say which part of the selection the source does not have."""
    here = {sources.specimen_of(item.group) for item in wanted}
    absent = sorted(set(selection.specimens) - here)
    if absent:
        numbers = ", ".join(map(str, absent))
        raise UsageError(
            f"{source.address} has nothing of specimen {numbers} that matches", "see --dry-run without --specimens"
        )
    if not wanted:
        raise UsageError(f"{source.address} has no file that matches", "see --dry-run without a selection")
