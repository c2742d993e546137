"""What is in a destination: wanted files that are here and whole, and whether all that a manifest lists still is."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

from medcli.core.errors import UsageError, quantity
from medcli.core.files import check_output_folder
from medcli.core.progress import SILENT, Progress
from medcli.transfer import checksum
from medcli.transfer import plan as planning
from medcli.transfer.destination import Folder, damage_of, is_unchanged, read_manifest
from medcli.transfer.plan import Action, Wanted
from medcli.transfer.results import FileFailure, Verified
from medcli.transfer.worker_pool import Job, Pool


def find_missing(
    folder: Folder, wanted: Sequence[Wanted], address: str, workers: int, progress: Progress = SILENT
) -> list[Wanted]:
    """The wanted files that are not here or not whole; files that may have been touched are read to know."""
    missing: list[Wanted] = []
    doubtful: list[Wanted] = []
    for item in wanted:
        action = _action(folder.root, item, folder)
        if action is not Action.KEEP:
            (missing if action is Action.FETCH else doubtful).append(item)
    lock, stop = threading.Lock(), threading.Event()

    def check(item: Wanted) -> Sequence[Job]:
        if not _confirm(folder, item, address):
            with lock:
                missing.append(item)
        advance(item.size)
        return ()

    if doubtful:
        with progress.task("checking", sum(item.size for item in doubtful), "B") as advance:
            Pool((partial(check, item) for item in doubtful), workers, stop).run()
        order = {id(item): index for index, item in enumerate(wanted)}
        missing.sort(key=lambda item: order[id(item)])
    return missing


def estimate_missing(root: Path, wanted: Sequence[Wanted]) -> list[Wanted]:
    """The wanted files that are surely not here, from sizes alone and without writing anything."""
    return [item for item in wanted if size_of(root / item.path) != item.size]


def refuse_foreign_files(root: Path, missing: Sequence[Wanted], recorded: Collection[str]) -> None:
    """Refuse to replace what no download brought: your own data under the names of published files.

    Args:
        missing: wanted files that are not here or not whole; an empty one is what a power cut leaves.
        recorded: paths of the files that earlier downloads brought.

    Raises:
        UsageError: some of the others are here, with another content; names the first.
    """
    foreign = [item.path for item in missing if item.path not in recorded and size_of(root / item.path)]
    if foreign:
        raise UsageError(
            f"{quantity(len(foreign), 'file')} in {root} would be replaced that no download brought there, "
            f"first {foreign[0]}",
            "choose another --dest, or remove them if they are damaged copies of the published ones",
        )


def verify_folder(root: Path, workers: int, progress: Progress = SILENT) -> Verified:
    """Check a downloaded folder against its manifest by reading every file, without any network.

    Raises:
        DataError: there is no manifest, or it is damaged.
    """
    check_output_folder(root, "--dest", may_write=False)
    manifest = read_manifest(root)
    records = list(manifest.records.values())
    failures: list[FileFailure] = []
    total = sum(record.size for record in records)
    with progress.task("verifying", total, "B") as advance:

        def check(index: int) -> Sequence[Job]:
            record = records[index]
            damage = damage_of(root, record.path, record.size, record.checksum)
            if damage:
                failures.append(FileFailure(record.path, damage))
            advance(record.size)
            return ()

        Pool((partial(check, index) for index in range(len(records))), workers, threading.Event()).run()
    size_only = sum(record.verified == "size only" for record in records)
    failures.sort(key=lambda failure: failure.path)
    return Verified(manifest.about.dataset, root, len(records), total, size_only, failures)


def _action(root: Path, item: Wanted, folder: Folder) -> Action:
    record = folder.manifest.records.get(item.path)
    unchanged = record is not None and is_unchanged(root, record)
    return planning.decide(item, record.size if record and unchanged else size_of(root / item.path), record, unchanged)


def _confirm(folder: Folder, item: Wanted, address: str) -> bool:
    """Read a file that is here; note it when it is good, forget it when not."""
    record = folder.manifest.records.get(item.path)
    known = record.checksum if record and record.announced == item.announced else None
    expected = item.checksum or known
    try:
        if expected is None:
            found = checksum.of_file(folder.root / item.path, "sha256")
        elif damage_of(folder.root, item.path, item.size, expected) or item.twin_problem(folder.root):
            folder.forget(item.path)
            return False
        else:
            found = expected
    except OSError:
        return False
    if item.member:
        found = checksum.of_file(folder.root / item.path, "sha256")
    verified = checksum.checksum_kind(item.checksum) if item.checksum else "size only"
    folder.record(item.path, found, verified, item.announced, address)
    return True


def size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
