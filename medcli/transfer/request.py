"""What every part of a download needs: destination, dataset and options."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from medcli.core.progress import SILENT, Progress
from medcli.core.run_provenance import DatasetCitation
from medcli.transfer.http import Http
from medcli.transfer.protocol import RemoteFile
from medcli.transfer.retry_policy import RetryPolicy


@dataclass(frozen=True)
class TransferOptions:
    """How to transfer: threads and retry policy."""

    workers: int = 8
    retry_policy: RetryPolicy = field(default_factory=RetryPolicy)


@dataclass(frozen=True)
class DownloadRequest:
    """One download.

    Attributes:
        root: the folder to fill.
        about: whose data they are; written into the manifest.
        options: how to run.
        dry_run: only say what it would take; nothing is written.
        progress: reports what is in progress.
    """

    root: Path
    about: DatasetCitation
    options: TransferOptions = field(default_factory=TransferOptions)
    dry_run: bool = False
    progress: Progress = SILENT

    def client(self) -> Http:
        """The HTTP client for the sources of this download."""
        return Http(self.options.retry_policy, self.options.workers)

    def listing(self, entries: Iterable[RemoteFile]) -> Iterator[RemoteFile]:
        """The entries that a source lists, each reported to the progress."""
        with self.progress.task("listing", None, "files") as advance:
            for entry in entries:
                advance(1)
                yield entry
