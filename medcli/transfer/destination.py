"""The destination: one run at a time, and a manifest of what is in it, where it came from and how it was verified.

The manifest is written when a run ends. Until then each file that arrives is a line in a journal beside it, so that a
run that was killed loses nothing; the next run reads both.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from medcli.core import files
from medcli.core.errors import DISK_FULL, DataError, MedcliError, UsageError, quantity
from medcli.core.locks import locked
from medcli.core.run_provenance import DatasetCitation
from medcli.core.secrets import redact
from medcli.transfer import checksum
from medcli.transfer.addresses import in_short

MANIFEST = "medcli-manifest.json"
SCHEMA = "medcli.download-manifest.v1"
HIDDEN = ".medcli-download"
"""Folder inside the destination for what is not data: lock, journal, archives being unpacked."""
STAGING = "archives"


@dataclass(frozen=True, slots=True)
class Record:
    """A file that arrived.

    Attributes:
        path: below the destination, with ``/``.
        size: bytes.
        checksum: of the content, ``kind:hex``.
        verified: kind of checksum of the source that it was compared with, or ``size only``.
        announced: what the source said of this version of it, see :attr:`medcli.transfer.plan.Wanted.announced`.
        source: where it came from: place and version.
        mtime_ns: modification time when it was last known to be good.
    """

    path: str
    size: int
    checksum: str
    verified: str
    announced: str
    source: str
    mtime_ns: int


@dataclass
class DownloadManifest:
    """The files of a destination by their path."""

    about: DatasetCitation
    records: dict[str, Record] = field(default_factory=dict)


class Folder:
    """A destination that this process holds; made by :func:`hold`."""

    def __init__(self, root: Path, manifest: DownloadManifest, journal: IO[str]) -> None:
        self.root, self.manifest, self._journal = root, manifest, journal
        self._lock = threading.Lock()

    @property
    def staging(self) -> Path:
        """Where archives wait to be unpacked."""
        return self.root / HIDDEN / STAGING

    def record(self, path: str, found: str, verified: str, announced: str, source: str) -> None:
        """Note a file that has its final name; safe from any thread."""
        status = (self.root / path).stat()
        record = Record(path, status.st_size, found, verified, announced, _place(source), status.st_mtime_ns)
        line = json.dumps(asdict(record), ensure_ascii=False)
        with self._lock:
            self.manifest.records[path] = record
            self._journal.write(line + "\n")
            self._journal.flush()

    def forget(self, path: str) -> None:
        """Drop a file that turned out to be missing or damaged."""
        with self._lock:
            self.manifest.records.pop(path, None)

    def save(self) -> None:
        """Write the manifest; the journal is then empty."""
        with self._lock:
            write_manifest(self.root, self.manifest)
            self._journal.seek(0)
            self._journal.truncate()


@contextmanager
def hold(root: Path, about: DatasetCitation) -> Iterator[Folder]:
    """Create ``root`` where needed and hold it for this process; the manifest is saved however the block ends.

    Raises:
        MedcliError: another process holds it, it cannot be written to, or the disk is full, inside the block as well.
    """
    try:
        files.make_output_folder(root)
    except MedcliError as error:
        raise MedcliError(error.message, "choose another folder with --dest") from error
    hidden = root / HIDDEN
    with _disk_errors(root):
        hidden.mkdir(exist_ok=True)
        with locked(hidden / "lock", lambda owner: _busy(root, owner)):
            manifest = read_manifest(root, about)
            with (hidden / "journal").open("a", encoding="utf-8") as journal:
                folder = Folder(root, manifest, journal)
                if journal.tell():
                    folder.save()  # or the line that a kill cut short would swallow the next one
                try:
                    yield folder
                except BaseException:
                    with suppress(OSError):  # what went wrong first is what counts; the journal knows what arrived
                        folder.save()
                    raise
                folder.save()


def read_manifest(root: Path, about: DatasetCitation | None = None) -> DownloadManifest:
    """The manifest of ``root`` with the journal of a run that was killed; empty where there is none and ``about`` is.

    Raises:
        DataError: it cannot be read, or there is none and ``about`` is not given.
    """
    path, journal = root / MANIFEST, root / HIDDEN / "journal"
    if about is None and not path.is_file() and not journal.is_file():
        raise DataError(f"no manifest in {root}: {MANIFEST} is missing", "medcli download writes it")
    manifest = DownloadManifest(about or DatasetCitation("", "", ""))
    if path.is_file():
        try:
            content = json.loads(path.read_text(encoding="utf-8"), object_hook=_as_record)
            known = DatasetCitation(**content["about"])
            records = {record.path: record for record in content["files"]}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
            raise DataError(
                f"the manifest {path} is damaged: {error}",
                "remove it and run the download again: what is there is checked and kept",
            ) from None
        manifest.about = known
        if about is not None:
            manifest.about = replace(about, licence_accepted=known.licence_accepted or about.licence_accepted)
        manifest.records = records
    for record in _journalled(journal):
        manifest.records[record.path] = record
    return manifest


def is_licence_accepted(root: Path) -> bool:
    """Whether an earlier download into ``root`` recorded that the licence was accepted."""
    files.check_output_folder(root, "--dest", may_write=False)
    return (root / MANIFEST).is_file() and read_manifest(root).about.licence_accepted


def check_licence(root: Path, about: DatasetCitation) -> None:
    """Make sure that an earlier download into ``root`` recorded that.

    Raises:
        UsageError: none did; says how to accept it.
    """
    if not is_licence_accepted(root):
        raise UsageError(
            f"{about.dataset}'s licence is not accepted yet: {about.licence}", "accept it with --accept-license"
        )


def write_manifest(root: Path, manifest: DownloadManifest) -> None:
    """Write the manifest with one file a line, whole or not at all; 250,000 files are never one string in memory."""
    with files.replacing(root / MANIFEST) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        head = {"schema": SCHEMA, "about": asdict(manifest.about)}
        file.write(json.dumps(head, indent=1, ensure_ascii=False)[:-2] + ',\n "files": [')
        for index, path in enumerate(sorted(manifest.records)):
            line = json.dumps(asdict(manifest.records[path]), ensure_ascii=False)
            file.write(("," if index else "") + "\n  " + line)
        file.write("\n ]\n}\n")


def is_unchanged(root: Path, record: Record) -> bool:
    """Whether size and modification time still are those of the record: no reason to read the file again."""
    try:
        status = (root / record.path).stat()
    except OSError:
        return False
    return status.st_size == record.size and status.st_mtime_ns == record.mtime_ns


def damage_of(root: Path, path: str, size: int, expected: str | None) -> str | None:
    """What is wrong with a file, by reading it whole where a checksum is expected; None when nothing is."""
    target = root / path
    try:
        found_size = target.stat().st_size
        if found_size != size:
            return f"{quantity(found_size, 'byte')} instead of {size}"
        kind = checksum.checksum_kind(expected)
        is_whole = expected is None or checksum.of_file(target, kind) == expected
        return None if is_whole else f"the content does not have {kind} as recorded"
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"


@lru_cache(maxsize=64)
def _place(source: str) -> str:
    """A source without a password that an address may hold, also one that an earlier version recorded."""
    return sys.intern(redact(sys.intern(source)))  # rejects what is not text


def _as_record(values: dict[str, Any]) -> Any:
    """Turn each file of the manifest into a record while it is parsed, so that no big dictionary is ever whole."""
    if "mtime_ns" not in values:
        return values
    fields = {name: values[name] for name in Record.__dataclass_fields__}
    fields["source"] = _place(fields["source"])
    texts = (fields["path"], fields["checksum"], fields["verified"], fields["announced"])
    if not all(type(text) is str for text in texts) or not type(fields["size"]) is type(fields["mtime_ns"]) is int:
        raise ValueError(f"no record of a file: {in_short(fields['path'])}")
    return Record(**fields)


def _journalled(path: Path) -> Iterator[Record]:
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                record = json.loads(line, object_hook=_as_record)
            except (ValueError, KeyError, TypeError, RecursionError):
                continue  # the line that was being written when the run was killed
            if isinstance(record, Record):
                yield record


@contextmanager
def _disk_errors(root: Path) -> Iterator[None]:
    """Turn what the disk refuses into an error for the user. Faults of the network are no ``OSError`` by then."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise MedcliError(
                f"the disk of {root} is full", "free some space, then run the same command again to resume"
            ) from error
        raise MedcliError(f"cannot write {error.filename or root}: {error.strerror or error}") from error


def _busy(root: Path, owner: str) -> MedcliError:
    return MedcliError(
        f"another download (process {owner}) is writing to {root}", "wait for it, or choose another --dest"
    )
