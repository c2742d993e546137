"""Which specimens train and which test: the published splits, leave-one-out, any list, and whose legs they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medcli.core.errors import DataError, UsageError
from medcli.ultrabones.dataset.constants import PUBLISHED_SPECIMENS, TEST_SPECIMENS, TRAIN_SPECIMENS, donor_of
from medcli.ultrabones.dataset.folder_layout import LABEL_COLUMNS

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class SpecimenSplit:
    """Specimens to train on and to evaluate on."""

    train: tuple[int, ...]
    test: tuple[int, ...]

    def __post_init__(self) -> None:
        both = sorted(set(self.train) & set(self.test))
        if both:
            raise UsageError(f"specimens {_words(both)} are in the training and in the test split")


@dataclass(frozen=True)
class DonorOverlap:
    """One donor with legs on both sides of a split.

    Attributes:
        donor: code, such as ``S232132``.
        train: specimens of this donor to train on.
        test: specimens of this donor to evaluate on.
    """

    donor: str
    train: tuple[int, ...]
    test: tuple[int, ...]

    def __str__(self) -> str:
        return f"donor {self.donor}: specimen {_words(self.train)} in training, {_words(self.test)} in test"


def published_split() -> SpecimenSplit:
    """Train 1 3 4 5 6 9 10 11 12 13 14, test 2 7 8 (Wu et al. 2025)."""
    return SpecimenSplit(TRAIN_SPECIMENS, TEST_SPECIMENS)


def leave_one_out(specimens: Sequence[int] = PUBLISHED_SPECIMENS) -> list[SpecimenSplit]:
    """One split for each specimen: it alone tests, all the others train."""
    numbers = sorted(set(specimens))
    if len(numbers) < 2:
        raise UsageError(f"leave-one-out needs at least two specimens, got {_words(numbers)}")
    return [SpecimenSplit(tuple(n for n in numbers if n != left), (left,)) for left in numbers]


def donor_overlap(
    train: Iterable[int], test: Iterable[int], donors: Mapping[int, str] | None = None
) -> list[DonorOverlap]:
    """Donors who gave legs to both sides; ``donors`` (specimen to code) comes before the registry."""

    def by_donor(specimens: Iterable[int]) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for specimen in sorted(set(specimens)):
            donor = (donors or {}).get(specimen) or donor_of(specimen)
            if donor:
                found.setdefault(donor, []).append(specimen)
        return found

    ours, theirs = by_donor(train), by_donor(test)
    return [DonorOverlap(donor, tuple(ours[donor]), tuple(theirs[donor])) for donor in sorted(set(ours) & set(theirs))]


def donors_in(frames: pd.DataFrame) -> dict[int, str]:
    """Donor of each specimen in an index, as its folders say."""
    firsts = frames.groupby("specimen")["donor"].first()
    return {int(specimen): str(donor) for specimen, donor in firsts.items()}  # type: ignore[call-overload]


def choose_frames(frames: pd.DataFrame, specimens: Sequence[int] | None, labels: str = "partial") -> pd.DataFrame:
    """The frames of ``specimens`` (None: all) that belong to the data set: those with a label and a tracked pose.

    Args:
        frames: rows of :func:`medcli.ultrabones.dataset.frame_index.index_frames`.
        specimens: their numbers.
        labels: ``partial``, ``full``, or the name of a mask folder such as ``LabelsManual``, whose paths then stand in
            the column ``label`` (see :func:`label_column`).

    Raises:
        DataError: a specimen is not there, or no frame is left; says what there is instead.
    """
    there = sorted(set(frames["specimen"].tolist()))
    absent = sorted(set(specimens or ()) - set(there))
    if absent:
        raise DataError(
            f"no frames of specimen {_words(absent)}; there are those of {_words(there)}",
            f"get them with: medcli download ultrabones --specimens {_words(absent)}",
        )
    mine = frames[frames["specimen"].isin(specimens)] if specimens is not None else frames
    if labels not in LABEL_COLUMNS:
        from medcli.ultrabones.dataset.frame_index import mask_path

        mine = mine.assign(label=mask_path(mine, labels))
    chosen = mine[(mine[label_column(labels)] != "") & (mine["tracking"] >= 0)]
    if len(chosen) == 0:
        raise DataError(*_why_none(mine, labels))
    return chosen.reset_index(drop=True)


def label_column(labels: str) -> str:
    """Column of the chosen frames that holds the paths of these labels."""
    return LABEL_COLUMNS.get(labels, "label")


def _why_none(frames: pd.DataFrame, labels: str) -> tuple[str, str | None]:
    name = f"{labels} label" if labels in LABEL_COLUMNS else f"label in {labels}"
    if there := int((frames[label_column(labels)] != "").sum()):
        return f"{there:,} frames have a {name}, but none is in its record's tracking table", None
    other = "full" if labels == "partial" else "partial"
    count = int((frames[LABEL_COLUMNS[other]] != "").sum()) if labels in LABEL_COLUMNS else 0
    hint = f"{count:,} have a {other} label: try --labels {other}" if count else None
    return f"none of {len(frames):,} frames has a {name}", hint


def _words(numbers: Iterable[int]) -> str:
    return " ".join(str(number) for number in numbers)
