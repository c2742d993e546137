"""A whole download: keep what is here, fetch what is missing, verify, and write down what there is."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from medcli.core import files
from medcli.core.errors import DataError
from medcli.core.progress import SILENT, Advance
from medcli.core.system.open_files import remove_file
from medcli.transfer import plan as planning
from medcli.transfer.archives import LocalFile
from medcli.transfer.byte_counter import counted
from medcli.transfer.destination import HIDDEN, STAGING, Folder, damage_of, hold, read_manifest
from medcli.transfer.fetch_file import Arrived, Effort, fetch_file
from medcli.transfer.plan import Wanted, Work
from medcli.transfer.protocol import (
    Broken,
    Busy,
    ByteRanges,
    Corrupt,
    Fault,
    Refused,
    RemoteFile,
    RemoteSource,
    Unexpected,
    unreachable,
)
from medcli.transfer.request import DownloadRequest
from medcli.transfer.results import Downloaded, FileFailure, Planned, count_rows, joined
from medcli.transfer.verification import estimate_missing, find_missing, refuse_foreign_files
from medcli.transfer.worker_pool import Job, Pool
from medcli.transfer.zip_extraction import fetch_run
from medcli.transfer.zip_ranges import ByteRun, Member, plan_runs

log = logging.getLogger(__name__)
_SHOWN_ALONE_FROM = 32 << 20
"""Files from this size on have a progress of their own."""
_FAILURES_IN_A_ROW = 8
"""Transfers given up one after the other, without any that succeeded between, that show that the source is gone."""


def carry_out(found: Sequence[tuple[RemoteSource, Sequence[Wanted]]], request: DownloadRequest) -> Downloaded | Planned:
    """Make the folder hold what is requested of each source, in turn; in a dry run, say what that would take.

    Raises:
        DataError, UsageError, MedcliError: see :func:`download`.
    """
    if request.dry_run:
        return joined([plan_download(source, wanted, request) for source, wanted in found])
    with unreachable():
        return joined([download(source, wanted, request) for source, wanted in found])


def plan_download(source: RemoteSource, wanted: Sequence[Wanted], request: DownloadRequest) -> Planned:
    """Count what a download would do; writes nothing."""
    planning.check_paths(wanted, request.root)
    root, staging = request.root, request.root / HIDDEN / STAGING
    missing = estimate_missing(root, wanted)
    refuse_foreign_files(root, missing, read_manifest(root, request.about).records)
    work = planning.divide(missing, staging)
    return Planned(
        **_said_of_both(source, request),
        rows=count_rows(wanted, missing),
        files=len(wanted),
        bytes=sum(item.size for item in wanted),
        missing_files=len(missing),
        # The run reads the directories again.
        network_bytes=planning.network_need(work, root, staging) + counted(source).moved,
        disk_bytes=planning.disk_need(work, root, staging, request.options.workers),
        free_bytes=planning.free_bytes(root),
    )


def download(source: RemoteSource, wanted: Sequence[Wanted], request: DownloadRequest) -> Downloaded:
    """Make the folder hold the wanted files.

    Raises:
        DataError: the source refuses access or cannot be reached.
        UsageError: it holds other files of the same names, which no download brought.
        MedcliError: another process writes to the folder, the disk is too small or full.
    """
    planning.check_paths(wanted, request.root)
    root, workers = request.root, request.options.workers
    with hold(root, request.about) as folder:
        _clean(folder, wanted)
        recorded = set(folder.manifest.records)
        missing = find_missing(folder, wanted, source.address, workers, request.progress)
        refuse_foreign_files(root, missing, recorded)
        work = planning.divide(missing, folder.staging)
        planning.check_space(planning.disk_need(work, root, folder.staging, workers), root)
        run = _Run(source, folder, request)
        run.do(work)
        if not run.failed:
            _remove_staging(folder)
        return _report(wanted, missing, run, request)


class _Run:
    """The jobs of one download and what became of them."""

    def __init__(self, source: RemoteSource, folder: Folder, request: DownloadRequest) -> None:
        self.source = counted(source)
        self.folder, self.options, self.progress = folder, request.options, request.progress
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.failed: list[tuple[Wanted, str]] = []
        self.fetched = 0
        self.in_a_row = 0

    def do(self, work: Work) -> None:
        total = work.network_bytes()
        if not work.files:
            return
        with self.progress.task("downloading", total, "B") as advance, self._unpacking(work) as unpacked:
            self.effort = Effort(self.options.retry_policy, self.stop, advance)
            self.unpacking = Effort(self.options.retry_policy, self.stop, unpacked)
            Pool(self._jobs(work), self.options.workers, self.stop).run()

    def _unpacking(self, work: Work) -> AbstractContextManager[Advance]:
        """Archives that come whole are unpacked afterwards, without the network: that has a progress of its own."""
        if not work.whole:
            return SILENT.task("unpacking", None)
        return self.progress.task("unpacking", work.unpacking_bytes(), "B")

    def _jobs(self, work: Work) -> Iterator[Job]:
        """Archives first: they take longest."""
        for entry, some in work.whole.items():
            yield partial(self._whole, entry, some)
        for entry, some in work.ranges.items():
            places = {item.member: item for item in some if item.member}
            for run in plan_runs(places):
                yield partial(self._members, self.source, entry, run, places, self.effort)
        for item in work.plain:
            yield partial(self._plain, item)

    def _plain(self, item: Wanted) -> Sequence[Job]:
        target = self.folder.root / item.path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._shown(item.entry) as effort:
                self._placed(item, fetch_file(self.source, item.entry, target, effort))
        except Fault as fault:
            self._failed([item], fault)
        return ()

    def _whole(self, entry: RemoteFile, some: list[Wanted]) -> Sequence[Job]:
        """Fetch a whole archive; its members are then taken out by the jobs returned."""
        target = self.folder.staging / planning.staged_name(entry)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            if damage_of(target.parent, target.name, entry.size, entry.checksum):
                with self._shown(entry) as effort:
                    fetch_file(self.source, entry, target, effort)
            else:
                self.effort.advance(entry.size)
        except Fault as fault:
            self._failed(some, fault)
            return ()
        places = {item.member: item for item in some if item.member}
        left = _Countdown(runs := plan_runs(places), target)
        return [partial(self._unpack, entry, run, places, left) for run in runs]

    def _unpack(self, entry: RemoteFile, run: ByteRun, places: dict[Member, Wanted], left: _Countdown) -> Sequence[Job]:
        self._members(LocalFile(left.path), entry, run, places, self.unpacking)
        left.done()
        return ()

    def _members(
        self, source: ByteRanges, entry: RemoteFile, run: ByteRun, places: dict[Member, Wanted], effort: Effort
    ) -> Sequence[Job]:
        """Bring the members of one run."""

        def place(member: Member) -> Path:
            return self.folder.root / places[member].path

        def placed(member: Member, arrived: Arrived) -> None:
            self._placed(places[member], arrived)

        by_fault: dict[int, tuple[Fault, list[Wanted]]] = {}
        for member, fault in fetch_run(source, entry, run, place, effort, placed):
            by_fault.setdefault(id(fault), (fault, []))[1].append(places[member])
        for fault, items in by_fault.values():
            self._failed(items, fault)
        return ()

    @contextmanager
    def _shown(self, entry: RemoteFile) -> Iterator[Effort]:
        """The effort for one file; a large one also has a progress of its own."""
        if entry.size < _SHOWN_ALONE_FROM:
            yield self.effort
            return
        with self.progress.task(entry.name.rpartition("/")[2], entry.size, "B") as own:

            def both(amount: float) -> None:
                own(amount)
                self.effort.advance(amount)

            yield dataclasses.replace(self.effort, advance=both)

    def _placed(self, item: Wanted, arrived: Arrived) -> None:
        problem = item.twin_problem(self.folder.root)
        if problem:
            (self.folder.root / item.path).unlink()
            self._failed([item], Corrupt(problem))
            return
        self.folder.record(item.path, arrived.checksum, arrived.verified, item.announced, self.source.address)
        with self.lock:
            self.fetched += 1
            self.in_a_row = 0

    def _failed(self, items: Sequence[Wanted], fault: Fault) -> None:
        """Note files that did not come; gives the whole run up when no other can come either."""
        with self.lock:
            self.failed += [(item, str(fault)) for item in items]
            self.in_a_row += isinstance(fault, (Broken, Busy, Unexpected))
            hopeless = self.in_a_row >= max(_FAILURES_IN_A_ROW, self.options.workers)
        if isinstance(fault, Refused) and self.source.one_credential:
            raise DataError(
                f"access refused: {fault}",
                "what has arrived is kept: with a connection string or token that is valid, the same command resumes",
            )
        if hopeless:
            raise DataError(f"the source cannot be reached: {fault}", "run the same command again to resume")


class _Countdown:
    """Removes an archive when the last of its runs is unpacked."""

    def __init__(self, runs: Sequence[ByteRun], path: Path) -> None:
        self.left, self.path, self.lock = len(runs), path, threading.Lock()

    def done(self) -> None:
        with self.lock:
            self.left -= 1
            if not self.left:
                remove_file(self.path)


def _clean(folder: Folder, wanted: Sequence[Wanted]) -> None:
    """Remove what killed runs left that no run can go on from."""
    for parent in {(folder.root / item.path).parent for item in wanted if item.member}:
        if parent.is_dir():
            files.remove_leftovers(parent)
    planning.remove_stale_parts(folder.root, wanted)


def _remove_staging(folder: Folder) -> None:
    with suppress(OSError):
        for path in folder.staging.iterdir():
            path.unlink()
        folder.staging.rmdir()


def _report(wanted: Sequence[Wanted], missing: Sequence[Wanted], run: _Run, request: DownloadRequest) -> Downloaded:
    records = (run.folder.manifest.records.get(item.path) for item in wanted)
    total = sum(item.size for item in wanted)
    return Downloaded(
        **_said_of_both(run.source, request),
        files=len(wanted),
        bytes=total,
        reused_files=len(wanted) - len(missing),
        reused_bytes=total - sum(item.size for item in missing),
        fetched_files=run.fetched,
        moved_bytes=run.source.moved,
        size_only_files=sum(record is not None and record.verified == "size only" for record in records),
        failures=_failures(run.failed),
    )


def _said_of_both(source: RemoteSource, request: DownloadRequest) -> dict[str, Any]:
    """What a plan and a report have in common."""
    about = request.about
    cited = {"dataset": about.dataset, "licence": about.licence, "citation": about.citation}
    return {**cited, "dest": request.root, "sources": [source.address]}


def _failures(failed: Sequence[tuple[Wanted, str]]) -> list[FileFailure]:
    """One for each file, and one for all files of an archive: a damaged one would otherwise fill the screen."""
    by_origin: dict[str, list[tuple[Wanted, str]]] = {}
    for item, reason in failed:
        by_origin.setdefault(item.entry.name if item.member else item.path, []).append((item, reason))
    failures = []
    for origin, some in by_origin.items():
        item, reason = min(some, key=lambda one: one[0].path)
        failures.append(FileFailure(item.path, reason) if len(some) == 1 else FileFailure(origin, reason, len(some)))
    return sorted(failures, key=lambda failure: failure.path)
