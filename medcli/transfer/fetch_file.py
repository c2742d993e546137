"""One file from a source to its final name: part, verify, rename."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

from medcli.core.errors import quantity
from medcli.core.progress import Advance
from medcli.core.system.open_files import put_in_place, remove_file
from medcli.transfer import checksum
from medcli.transfer.protocol import Broken, Changed, Corrupt, Fault, RemoteFile, RemoteSource, ResponseBody, Stopped
from medcli.transfer.retry_policy import RetryPolicy

READ_SIZE = 1 << 18
DURABLE_FROM = 8 << 20
"""Files from this size on are flushed to the disk before they get their name. Smaller ones are not, since 200,000
flushes take an hour; what a power cut takes of them is found by the next run and fetched again."""
HASHED_BEHIND_FROM = 32 << 20
_PART_SUFFIX = ".download"
_MOST_CORRUPT = 2


@dataclass(frozen=True)
class Arrived:
    """What is known of a file that has its final name.

    Attributes:
        checksum: of the content, ``kind:hex``.
        verified: the kind of checksum of the source that it was compared with, or ``size only``.
    """

    checksum: str
    verified: str


@dataclass
class Effort:
    """What one run shares between its transfers.

    Attributes:
        retry_policy: when to give up.
        stop: set to end all transfers between two reads.
        advance: called with the number of bytes written, and of bytes discarded (negative).
    """

    retry_policy: RetryPolicy = field(default_factory=RetryPolicy)
    stop: threading.Event = field(default_factory=threading.Event)
    advance: Advance = lambda amount: None

    def check(self) -> None:
        if self.stop.is_set():
            raise Stopped


def part_for(target: Path, entry: RemoteFile) -> Path:
    """The part of ``entry`` beside ``target``.

    Its name carries what makes this version of the file: a part of another version is never continued.
    """
    version = f"{entry.size} {entry.checksum or ''} {entry.tag or ''}"
    mark = hashlib.sha256(version.encode()).hexdigest()[:10]
    return target.with_name(f".{target.name[:100]}.{mark}{_PART_SUFFIX}")


def is_part(path: Path) -> bool:
    """Whether ``path`` is named like a part."""
    return path.name.startswith(".") and path.name.endswith(_PART_SUFFIX)


def fetch_file(source: RemoteSource, entry: RemoteFile, target: Path, effort: Effort) -> Arrived:
    """Bring ``entry`` to ``target``, continuing a part that an earlier run left.

    Raises:
        Fault: the retry policy gave up; a part stays for the next run unless its bytes were wrong.
        OSError: the disk refused (full, no permission).
    """
    meter = Meter(effort.advance)
    tag = entry.tag
    failures = corrupt = best = 0
    while True:
        effort.check()
        attempt = _Attempt(source, entry, target, effort, meter)
        try:
            attempt.run(tag)
            return attempt.finish()
        except Fault as fault:
            tag = tag or attempt.tag  # a listing may have none: then the first answer says which version it is
            corrupt += isinstance(fault, Corrupt)
            # A try that came further than any before it restarts the count; one that only repeats does not, nor one
            # that brings a byte at a time, which would never end.
            progressed = attempt.present >= best + effort.retry_policy.least_bytes_per_minute
            failures = 1 if progressed else failures + 1
            best = max(best, attempt.present)
            if isinstance(fault, (Changed, Corrupt)):
                attempt.discard()
            try:
                if corrupt >= _MOST_CORRUPT:
                    raise
                effort.retry_policy.wait(failures, fault, effort.stop)
            except Fault:
                meter.set(0)
                raise
            if isinstance(fault, Changed):
                entry = source.refresh(entry)
                tag = entry.tag


class Meter:
    """Tells the progress how much of a file is in place, whatever way it came there."""

    def __init__(self, advance: Advance) -> None:
        self.advance = advance
        self.shown = 0

    def set(self, present: int) -> None:
        if present != self.shown:
            self.advance(present - self.shown)
            self.shown = present


class _Attempt:
    """One connection's worth of a file."""

    def __init__(self, source: RemoteSource, entry: RemoteFile, target: Path, effort: Effort, meter: Meter) -> None:
        self.source, self.entry, self.target, self.effort, self.meter = source, entry, target, effort, meter
        self.part = part_for(target, entry)
        self.tag: str | None = None
        self.kind = checksum.checksum_kind(entry.checksum)
        self.hasher = checksum.start(self.kind, entry.size)
        self.present = self._take_up()

    def run(self, tag: str | None) -> None:
        """Receive what is missing of the version that ``tag`` marks."""
        if self.present == self.entry.size:
            if self.entry.size == 0:
                self.part.write_bytes(b"")
            return
        with self.source.open(self.entry, self.present) as body:
            self._check(body, tag)
            self.tag = body.tag
            if body.start < self.present:
                self._start_over()
            self._receive(body.read)

    def finish(self) -> Arrived:
        """Verify the part and give it its name."""
        found = f"{self.kind}:{self.hasher.hexdigest()}"
        if self.entry.checksum not in (None, found):
            raise Corrupt(
                f"the content of {self.entry.name} has {_in_short(found)}, "
                f"announced was {_in_short(self.entry.checksum or '')}"
            )
        if self.entry.size >= DURABLE_FROM:
            with self.part.open("r+b") as file:
                os.fsync(file.fileno())
        put_in_place(self.part, self.target)
        return Arrived(found, self.kind if self.entry.checksum else "size only")

    def discard(self) -> None:
        """Throw the part away: its bytes are not those of the file."""
        remove_file(self.part)
        self.present = 0
        self.meter.set(0)

    def _take_up(self) -> int:
        """Bytes of the current part, already hashed and counted."""
        size = self.part.stat().st_size if self.part.exists() else 0
        if size > self.entry.size:
            remove_file(self.part)
            size = 0
        if size:
            checksum.feed(self.hasher, self.part)
            self.meter.set(size)
        return size

    def _start_over(self) -> None:
        self.present = 0
        self.meter.set(0)
        self.hasher = checksum.start(self.kind, self.entry.size)
        with suppress(FileNotFoundError):
            os.truncate(self.part, 0)

    def _check(self, body: ResponseBody, tag: str | None) -> None:
        if body.total is not None and body.total != self.entry.size:
            raise Changed(
                f"{self.entry.name} has {quantity(body.total, 'byte')} on the server, listed were {self.entry.size}"
            )
        if body.tag and tag and body.tag != tag:
            raise Changed(f"{self.entry.name} has changed on the server since it was listed")
        if body.start not in (0, self.present):
            raise Changed(f"the server sent {self.entry.name} from byte {body.start}, asked was {self.present}")

    def _receive(self, read: Callable[[int], bytes]) -> None:
        large = self.entry.size - self.present >= HASHED_BEHIND_FROM
        with (
            self.part.open("ab", buffering=0) as file,
            checksum.behind(self.hasher) if large else nullcontext(self.hasher.update) as update,
        ):
            while content := read(min(READ_SIZE, self.entry.size - self.present + 1)):
                if self.present + len(content) > self.entry.size:
                    raise Corrupt(f"more bytes came for {self.entry.name} than the {self.entry.size} announced")
                _write_all(file.write, content)
                update(content)
                self.present += len(content)
                self.meter.set(self.present)
                self.effort.check()
        if self.present < self.entry.size:
            raise Broken(f"{self.entry.name} ended after {self.present} of {quantity(self.entry.size, 'byte')}")


def _in_short(found: str) -> str:
    """Enough of a checksum to distinguish it from another: ``sha256:1a2b3c4d5e6f…``."""
    kind, _, digits = found.partition(":")
    return f"{kind}:{digits[:12]}" + ("…" if len(digits) > 12 else "")


def _write_all(write: Callable[[memoryview], int | None], content: bytes) -> None:
    """An unbuffered write may take a part only (a disk about to be full); the next one then says why."""
    rest = memoryview(content)
    while rest:
        rest = rest[write(rest) or 0 :]
