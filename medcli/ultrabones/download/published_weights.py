"""Download the published segmentation checkpoint and convert it to medcli's own, safe format."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from medcli.core.errors import DataError
from medcli.core.files import check_output_folder
from medcli.core.progress import SILENT, Progress
from medcli.sources.hub import HubRepository
from medcli.transfer.download import carry_out
from medcli.transfer.plan import Wanted
from medcli.transfer.protocol import unreachable
from medcli.transfer.request import DownloadRequest, TransferOptions
from medcli.transfer.results import Downloaded, FileFailure, Planned
from medcli.ultrabones.dataset import publication


@dataclass(frozen=True)
class Weights:
    """Where the checkpoint is.

    Attributes:
        published: the file as published: a pickle, which is never loaded as one.
        checkpoint: the same weights in medcli's format.
        download: how the file came.
    """

    published: Path
    checkpoint: Path
    download: Downloaded
    failures: list[FileFailure] = field(default_factory=list)
    schema: str = "medcli.download-weights.v1"


def download_weights(
    root: Path,
    revision: str = "main",
    options: TransferOptions | None = None,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> Weights | Planned:
    """Bring the published checkpoint to ``root``, verified, and convert it.

    Raises:
        DataError: the Hub cannot be reached, has no such file, or the file is not such a checkpoint.
    """
    request = DownloadRequest(root, publication.ABOUT_WEIGHTS, options or TransferOptions(), dry_run, progress)
    check_output_folder(root, "--dest", may_write=not dry_run)
    with unreachable("check --revision"):
        source = HubRepository(publication.HUB_WEIGHTS, "model", revision, request.client())
        wanted = [
            Wanted(entry.name, entry, None, "weights", "models")
            for entry in source.list()
            if entry.name == publication.WEIGHTS_FILE
        ]
    if not wanted:
        raise DataError(f"{source.address} has no {publication.WEIGHTS_FILE}", "name another --revision")
    done = carry_out([(source, wanted)], request)
    if isinstance(done, Planned):
        return done
    published = root / publication.WEIGHTS_FILE
    checkpoint = published.with_suffix(".safetensors")
    if not done.failures and (done.fetched_files or not checkpoint.is_file()):
        from medcli.ultrabones.segmentation.checkpoint import convert_checkpoint

        convert_checkpoint(published, checkpoint, overwrite=True)
    return Weights(published, checkpoint, done, done.failures)
