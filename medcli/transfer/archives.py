"""The members of a source's archives, from their directories alone where the server sends parts of files."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path

from medcli.core import files
from medcli.transfer import plan as planning
from medcli.transfer.destination import HIDDEN, STAGING, hold
from medcli.transfer.fetch_file import Effort, fetch_file, part_for
from medcli.transfer.plan import Wanted, staged_name
from medcli.transfer.protocol import RemoteFile, RemoteSource
from medcli.transfer.request import DownloadRequest
from medcli.transfer.worker_pool import Job, Pool
from medcli.transfer.zip_extraction import NoRanges, read_range
from medcli.transfer.zip_ranges import Member, read_directory

log = logging.getLogger(__name__)
Choose = Callable[[RemoteFile, "Member | None"], Iterable[Wanted]]
"""The files wanted of an entry or, of an archive, of one of its members: one or none."""
UNREAD = "archive"
"""Kind of what a dry run wants of an archive that it could not look into: the whole of it."""


class Archives:
    """Reads directories of archives.

    An archive is brought whole when its server sends no parts; its directory is then kept in the destination, so that a
    later run need not fetch it again to know what is in it. A dry run only says that it would.

    Args:
        source: a :class:`~medcli.transfer.byte_counter.Counted` also knows afterwards what was read here.
    """

    def __init__(self, source: RemoteSource, request: DownloadRequest) -> None:
        self.source, self.request, self.root = source, request, request.root
        self.effort = Effort(request.options.retry_policy, threading.Event())

    def wanted(self, entries: Iterable[RemoteFile], choose: Choose) -> list[Wanted]:
        """The files that ``choose`` takes of ``entries``, those that are ZIP archives looked into."""
        plain: list[Wanted] = []
        archives: list[RemoteFile] = []
        for entry in self.request.listing(entries):
            if entry.name.lower().endswith(".zip"):
                archives.append(entry)
            else:
                plain += choose(entry, None)
        return plain + self._inside(archives, choose)

    def _inside(self, entries: Sequence[RemoteFile], choose: Choose) -> list[Wanted]:
        """The files that ``choose`` takes from all archives, in the archives' order."""
        found: list[list[Wanted]] = [[] for _ in entries]
        without_parts: list[int] = []
        with self.request.progress.task("listing", len(entries), "archives") as advance:

            def look(index: int) -> Sequence[Job]:
                try:
                    members = self.members(entries[index])
                    found[index] = [item for member in members for item in choose(entries[index], member)]
                except NoRanges:
                    without_parts.append(index)
                advance(1)
                return ()

            jobs = (partial(look, index) for index in range(len(entries)))
            Pool(jobs, self.request.options.workers, self.effort.stop).run()
        if without_parts and not self.request.dry_run:
            whole = [entries[index] for index in without_parts]  # all wait beside each other to be unpacked
            planning.check_space(planning.archives_need(whole, self.root / HIDDEN / STAGING), self.root)
        for index in without_parts:
            found[index] = self._of_whole(entries[index], choose)
        return [item for some in found for item in some]

    def members(self, entry: RemoteFile) -> list[Member]:
        """Members of one archive by range requests. Raises :class:`NoRanges` when the server ignores ranges."""
        kept = self._kept(entry)
        if kept.is_file():
            try:
                return [Member(*values) for values in json.loads(kept.read_text(encoding="utf-8"))]
            except (ValueError, TypeError):
                kept.unlink()
        return read_directory(
            lambda start, end: read_range(self.source, entry, start, end, self.effort), entry.size, entry.name
        )

    def _of_whole(self, entry: RemoteFile, choose: Choose) -> list[Wanted]:
        log.info("%s: the server sends no parts of it, so it is fetched whole", entry.name)
        if self.request.dry_run:
            return [Wanted(entry.name, entry, None, entry.name, UNREAD)]
        with hold(self.root, self.request.about) as folder:
            target = folder.staging / staged_name(entry)
            target.parent.mkdir(parents=True, exist_ok=True)
            fetch_file(self.source, entry, target, self.effort)
            members = read_directory(partial(_read_local, target), entry.size, entry.name)
            kept = self._kept(entry)
            kept.parent.mkdir(exist_ok=True)
            files.write_text(kept, json.dumps([astuple(member) for member in members], ensure_ascii=False))
        return [item for member in members for item in choose(entry, member)]

    def _kept(self, entry: RemoteFile) -> Path:
        mark = part_for(Path(staged_name(entry)), entry).name.split(".")[-2]
        return self.root / HIDDEN / "directories" / f"{staged_name(entry)}.{mark}.json"


@dataclass
class FileBody:
    """The bytes of an open file; see :class:`medcli.transfer.protocol.ResponseBody`."""

    read: Callable[[int], bytes]
    start: int
    total: int | None
    tag: str | None = None


class LocalFile:
    """A file on this disk as a source: archives are unpacked by the code that also reads them over the network."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def open(self, entry: RemoteFile, offset: int, length: int | None = None) -> Iterator[FileBody]:
        """The bytes from ``offset`` on, whatever entry is asked for."""
        with self.path.open("rb") as file:
            file.seek(offset)
            yield FileBody(file.read, offset, entry.size)


def _read_local(path: Path, start: int, end: int) -> bytes:
    with LocalFile(path).open(RemoteFile(path.name, 0), start) as body:
        return body.read(end - start)
