"""What every part of a download is told: where to, whose data, and how."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from medcli.core.progress import SILENT, Progress
from medcli.core.run_provenance import DatasetCitation
from medcli.transfer.http import Http
from medcli.transfer.protocol import RemoteFile
from medcli.transfer.retry_policy import Patience


@dataclass(frozen=True)
class Manner:
    """How to run: threads, patience."""

    workers: int = 8
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True)
class DownloadRequest:
    """One download.

    Attributes:
        root: the folder to fill.
        about: whose data they are; written into the manifest.
        manner: how to run.
        dry_run: only say what it would take; nothing is written.
        progress: told what is under way.
    """

    root: Path
    about: DatasetCitation
    manner: Manner = field(default_factory=Manner)
    dry_run: bool = False
    progress: Progress = SILENT

    def client(self) -> Http:
        """The HTTP client for the sources of this download."""
        return Http(self.manner.patience, self.manner.workers)

    def listing(self, entries: Iterable[RemoteFile]) -> Iterator[RemoteFile]:
        """The entries that a source lists, each told to the progress."""
        with self.progress.task("listing", None, "files") as advance:
            for entry in entries:
                advance(1)
                yield entry
