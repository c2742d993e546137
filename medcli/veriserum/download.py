"""Download Veriserum, or any part of it: images, database and implants from the ETH Research Collection, tables from
its GitHub repository."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medcli.core.errors import DataError, UsageError
from medcli.core.progress import SILENT, Progress
from medcli.sources.dspace import DSpaceItem
from medcli.sources.github import GitHubFiles
from medcli.transfer.addresses import checked_address
from medcli.transfer.archives import UNREAD, Archives
from medcli.transfer.byte_counter import Counted
from medcli.transfer.destination import MANIFEST, check_destination, read_manifest
from medcli.transfer.download import carry_out
from medcli.transfer.plan import Wanted, merge_doubles
from medcli.transfer.protocol import RemoteFile, RemoteSource, unreachable
from medcli.transfer.request import DownloadRequest, Manner
from medcli.transfer.results import Downloaded, Planned
from medcli.transfer.zip_ranges import Member
from medcli.veriserum.dataset import publication
from medcli.veriserum.dataset.publication import FOLDERS, Part, id_of, part_of


@dataclass(frozen=True)
class VeriserumSelection:
    """Which part of the data set; an empty choice means all.

    Attributes:
        only: parts.
        ids: ranges of ids, both ends included; they choose among images.
    """

    only: Sequence[Part] = ()
    ids: Sequence[tuple[int, int]] = ()

    def wants(self, part: Part) -> bool:
        return not self.only or part in self.only

    def holds(self, part: Part, number: int | None) -> bool:
        """Whether a file of a part is chosen; ``number`` is the id of an image."""
        is_chosen = number is None or not self.ids or any(first <= number <= last for first, last in self.ids)
        return is_chosen and self.wants(part)


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
        there = f"{len(self.ids):,} ids, from {min(self.ids)} to {max(self.ids)}" if self.ids else "no images"
        raise DataError(f"no image of Veriserum has an id of {chosen}; there are {there}", "choose others with --ids")


@dataclass(frozen=True)
class VeriserumOrigin:
    """Where the repository is, and which of its items the data set."""

    base_url: str = publication.BASE_URL
    item: str = publication.ITEM


def is_licence_accepted(root: Path) -> bool:
    """Whether an earlier download into ``root`` recorded that the licence was accepted."""
    check_destination(root, may_write=False)
    return (root / MANIFEST).is_file() and read_manifest(root).about.licence_accepted


def download_veriserum(
    root: Path,
    selection: VeriserumSelection,
    origin: VeriserumOrigin,
    licence_accepted: bool,
    manner: Manner | None = None,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> Downloaded | Planned:
    """Make ``root`` hold the selected part of Veriserum; with ``dry_run``, only say what that would take.

    Raises:
        UsageError: the licence was not accepted, the address is none, or the selection asks for what there is not.
        DataError: a source cannot be reached or refuses access, or has no image of the chosen ids.
        MedcliError: the disk is too small, or another download writes to ``root``.
    """
    if not (dry_run or licence_accepted or is_licence_accepted(root)):
        raise UsageError(
            f"Veriserum's licence is not accepted yet: {publication.ABOUT.licence}", "accept it with --accept-license"
        )
    if selection.ids and not selection.wants(Part.IMAGES):
        raise UsageError("--ids chooses among images, which --only leaves out", "add images to --only, or drop --ids")
    checked_address(origin.base_url, "--base-url")
    check_destination(root, may_write=not dry_run)
    about = replace(publication.ABOUT, licence_accepted=True)
    request = DownloadRequest(root, about, manner or Manner(), dry_run, progress)
    with unreachable("check --base-url and --item"):
        found = list(_parts(selection, origin, request))
    if not any(wanted for _, wanted in found):
        raise UsageError("no file of Veriserum matches", "see --dry-run without a selection")
    return carry_out(found, request)


def _parts(
    selection: VeriserumSelection, origin: VeriserumOrigin, request: DownloadRequest
) -> Iterator[tuple[RemoteSource, list[Wanted]]]:
    """Each source with what is wanted of it."""
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
