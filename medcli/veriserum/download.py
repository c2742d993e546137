"""Download Veriserum, or any part of it: images, database and implants from the ETH Research Collection, tables from
its GitHub repository."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from medcli.core.errors import DataError, UsageError, quantity
from medcli.core.progress import SILENT, Progress
from medcli.sources.dspace import DSpaceItem
from medcli.sources.github import GitHubFiles
from medcli.transfer.addresses import checked_address
from medcli.transfer.archives import UNREAD, Archives
from medcli.transfer.byte_counter import Counted
from medcli.transfer.download import carry_out
from medcli.transfer.plan import Wanted, merge_doubles
from medcli.transfer.protocol import RemoteFile, RemoteSource, unreachable
from medcli.transfer.request import DownloadRequest, TransferOptions
from medcli.transfer.results import Downloaded, Planned
from medcli.transfer.zip_ranges import Member
from medcli.veriserum.dataset import publication
from medcli.veriserum.dataset.download_selection import VeriserumOrigin, VeriserumSelection, check_veriserum_download
from medcli.veriserum.dataset.publication import FOLDERS, Part, id_of, part_of


class _Finding:
    """Takes the files of a selection, and remembers the ids of all images that there are."""

    def __init__(self, selection: VeriserumSelection) -> None:
        self.selection = selection
        self.ids: set[int] = set()

    def take(self, entry: RemoteFile, member: Member | None) -> Iterator[Wanted]:
        """The file wanted of an entry or, of an archive, of its member: one or none."""
        name = member.name if member else entry.name
        number, part = id_of(name), part_of(name)
        if number is not None:
            self.ids.add(number)
        if part and self.selection.holds(part, number):
            yield Wanted(FOLDERS[part] + name.rpartition("/")[2], entry, member, "", part.value)

    def check_ids(self, wanted: Sequence[Wanted]) -> None:
        """Make sure that the chosen ids, if any, chose images.

        Raises:
            DataError: they did not; says which ids there are.
        """
        # An archive that a dry run could not look into may have any.
        if not self.selection.ids or any(item.kind in (Part.IMAGES.value, UNREAD) for item in wanted):
            return
        chosen = ", ".join(f"{first}-{last}" if first < last else str(first) for first, last in self.selection.ids)
        there = f"{quantity(len(self.ids), 'id')}, from {min(self.ids)} to {max(self.ids)}" if self.ids else "no images"
        raise DataError(f"no image of Veriserum has an id of {chosen}; there are {there}", "choose others with --ids")


def download_veriserum(
    root: Path,
    selection: VeriserumSelection,
    origin: VeriserumOrigin,
    licence_accepted: bool,
    options: TransferOptions | None = None,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> Downloaded | Planned:
    """Make ``root`` hold the selected part of Veriserum; with ``dry_run``, only say what that would take.

    Raises:
        UsageError: the licence was not accepted, the address is none, or the selection asks for what there is not.
        DataError: a source cannot be reached or refuses access, or has no image of the chosen ids.
        MedcliError: the disk is too small, or another download writes to ``root``.
    """
    check_veriserum_download(root, selection, origin, licence_accepted, dry_run)
    origin = replace(origin, base_url=checked_address(origin.base_url, "--base-url"))
    about = replace(publication.ABOUT, licence_accepted=True)
    request = DownloadRequest(root, about, options or TransferOptions(), dry_run, progress)
    with unreachable("check --base-url and --item"):
        found = list(_parts(selection, origin, request))
    if not any(wanted for _, wanted in found):
        raise UsageError("no file of Veriserum matches", "see --dry-run without a selection")
    return carry_out(found, request)


def _parts(
    selection: VeriserumSelection, origin: VeriserumOrigin, request: DownloadRequest
) -> Iterator[tuple[RemoteSource, list[Wanted]]]:
    """Each source with what is requested of it."""
    http = request.client()
    if selection.wants(Part.CSV):
        tables = GitHubFiles(publication.TABLES_REPOSITORY, publication.TABLES_COMMIT, publication.TABLES_FOLDER, http)
        yield tables, merge_doubles(item for entry in tables.list() for item in _Finding(selection).take(entry, None))
    elsewhere = VeriserumSelection(
        [part for part in Part if part is not Part.CSV and selection.wants(part)], selection.ids
    )
    if not elsewhere.only:
        return
    source = Counted(DSpaceItem(origin.base_url, origin.item, http))
    finding = _Finding(elsewhere)
    wanted = Archives(source, request).wanted(source.list(), finding.take)
    finding.check_ids(wanted)
    yield source, merge_doubles(wanted)
