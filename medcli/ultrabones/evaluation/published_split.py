"""Whether the published test split is there, and a network may be measured on it: from names of files alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from medcli.core.errors import DataError, UsageError
from medcli.core.run_provenance import is_synthetic
from medcli.transfer.destination import MANIFEST, read_manifest
from medcli.ultrabones.dataset.constants import TEST_SPECIMENS
from medcli.ultrabones.dataset.publication import FileKind, read_name
from medcli.ultrabones.dataset.published_records import missing_records
from medcli.ultrabones.dataset.record_frames import DOWNLOAD_HINT, Findings, RecordFrames, scan_records, sorted_records

_SPECIMENS = " ".join(map(str, TEST_SPECIMENS))
_MOST_LISTED = 6


def check_not_trained_on_test(train: Sequence[int] | None, name: Path | str) -> None:
    """Refuse a network that was trained on a specimen of the published test split.

    Raises:
        UsageError: it was; names the specimens.
    """
    if seen := sorted(set(train or ()) & set(TEST_SPECIMENS)):
        raise UsageError(
            f"{name} was trained on specimen {' '.join(map(str, seen))} of the published test split ({_SPECIMENS})",
            "take a network that was not: medcli download weights --name epoch_100",
        )


def check_published_split(root: Path) -> None:
    """Make sure that the published test split is there: every record, every frame that has a label.

    How many frames it has is not published, so a copy that lacks frames together with their labels is not noticed;
    except where ``medcli download`` left its manifest, whose files must all be there.

    Raises:
        DataError: something is missing; says what. Or the data are synthetic.
    """
    if is_synthetic(root):
        raise DataError(f"{root} holds synthetic frames; the published result is of real ones", DOWNLOAD_HINT)
    findings = Findings()
    frames = list(scan_records([r for r in sorted_records(root) if r.specimen in TEST_SPECIMENS], findings))
    missing = [
        *missing_records([part.record for part in frames], TEST_SPECIMENS),
        *_unusable_records(frames),
        *_missing_images(findings),
        *_not_here(root),
    ]
    if missing:
        more = f"; {len(missing) - _MOST_LISTED} more" if len(missing) > _MOST_LISTED else ""
        raise DataError(
            f"the published test split is not complete in {root}: {'; '.join(missing[:_MOST_LISTED])}{more}",
            f"get it with: medcli download ultrabones --specimens {_SPECIMENS}",
        )


def _unusable_records(frames: Sequence[RecordFrames]) -> Iterator[str]:
    for part in frames:
        if not part.usable("partial"):
            yield f"no frame with a label and a tracked pose in {part.record.path}"


def _missing_images(findings: Findings) -> Iterator[str]:
    what = "labels without image"
    if count := findings.counts[what]:
        yield f"{count:,} {what}, first {findings.examples[what][0]}"


def _not_here(root: Path) -> Iterator[str]:
    """Files that a download brought and that are gone."""
    if not (root / MANIFEST).is_file():
        return
    needed = {FileKind.IMAGES.value, FileKind.LABELS.value, FileKind.TRACKING.value}
    named = ((path, read_name(path)) for path in read_manifest(root).records)
    mine = [path for path, said in named if said and said.specimen in TEST_SPECIMENS and said.kind in needed]
    gone = [path for path in mine if not (root / path).is_file()]
    if gone:
        yield f"{len(gone):,} downloaded files are gone, first {gone[0]}"
