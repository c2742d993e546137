"""Download UltraBonesHip, or a part of it, from the Hugging Face Hub (``medcli download ultrabones-hip``).

It is one archive, of which only the files that are selected are fetched. Its licence, CC BY-NC 4.0, is accepted once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from medcli.core.errors import UsageError
from medcli.core.progress import SILENT, Progress
from medcli.sources.hub import HubRepository
from medcli.transfer.archives import Archives
from medcli.transfer.byte_counter import Counted
from medcli.transfer.download import carry_out
from medcli.transfer.plan import Wanted, merge_doubles
from medcli.transfer.protocol import RemoteFile, unreachable
from medcli.transfer.request import DownloadRequest, TransferOptions
from medcli.transfer.results import Downloaded, Planned
from medcli.transfer.zip_ranges import Member
from medcli.ultrabones.dataset.publication import ABOUT_HIP, HUB_HIP_DATASET, read_name
from medcli.ultrabones.download.connection import check_hip_download
from medcli.ultrabones.download.download import UltrabonesSelection


def download_ultrabones_hip(
    root: Path,
    selection: UltrabonesSelection,
    licence_accepted: bool,
    revision: str = "main",
    options: TransferOptions | None = None,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> Downloaded | Planned:
    """Make ``root`` hold the selected part of UltraBonesHip; with ``dry_run``, only say what that would take.

    Raises:
        UsageError: the licence was not accepted, or the selection asks for what there is not.
        DataError: the Hub cannot be reached or refuses access.
        MedcliError: the disk is too small, or another download writes to ``root``.
    """
    check_hip_download(root, licence_accepted, dry_run)
    about = replace(ABOUT_HIP, licence_accepted=True)
    request = DownloadRequest(root, about, options or TransferOptions(), dry_run, progress)
    there: set[int] = set()

    def take(entry: RemoteFile, member: Member | None) -> Iterator[Wanted]:
        named = read_name(member.name, entry.name) if member else read_name(entry.name)
        if named:
            there.add(named.specimen)
            if selection.holds(named):
                yield Wanted(named.path, entry, member, f"specimen {named.specimen:02d}", named.kind)

    with unreachable("check --revision"):
        source = Counted(HubRepository(HUB_HIP_DATASET, "dataset", revision, request.client()))
        wanted = merge_doubles(Archives(source, request).wanted(source.list(), take))
    if absent := sorted(set(selection.specimens) - there) if there else []:
        raise UsageError(
            f"{source.address} has no specimen {', '.join(map(str, absent))}",
            f"there are {' '.join(map(str, sorted(there)))}",
        )
    if not wanted:
        raise UsageError(f"{source.address} has no file that matches", "see --dry-run without a selection")
    return carry_out([(source, wanted)], request)
