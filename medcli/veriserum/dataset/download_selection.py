"""Which part of Veriserum is downloaded, from where, and whether the licence allows it: known before any network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medcli.core.errors import UsageError
from medcli.core.files import check_output_folder
from medcli.core.refusals import refusals
from medcli.transfer.addresses import checked_address
from medcli.transfer.destination import check_licence
from medcli.veriserum.dataset import publication
from medcli.veriserum.dataset.publication import Part


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


@dataclass(frozen=True)
class VeriserumOrigin:
    """Where the repository is, and which of its items the data set."""

    base_url: str = publication.BASE_URL
    item: str = publication.ITEM


def check_veriserum_download(
    root: Path, selection: VeriserumSelection, origin: VeriserumOrigin, licence_accepted: bool, dry_run: bool
) -> None:
    """What can be checked without the network.

    Raises:
        UsageError: the licence was not accepted, the address is none, or the selection contradicts itself.
        MedcliError: ``root`` cannot be the destination.
    """
    with refusals() as check:
        if not (dry_run or licence_accepted):
            check(check_licence, root, publication.ABOUT)
        check(_check_selection, selection)
        check(checked_address, origin.base_url, "--base-url", warn=False)
        check(check_output_folder, root, "--dest", may_write=not dry_run)


def _check_selection(selection: VeriserumSelection) -> None:
    if selection.ids and not selection.wants(Part.IMAGES):
        raise UsageError("--ids chooses among images, which --only leaves out", "add images to --only, or drop --ids")
