"""Which frames train, validate and test: by specimen, with a label and a tracked pose; leave-one-out; whose legs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcli.core.errors import DataError, UsageError, numbered, spaced
from medcli.ultrabones.dataset.constants import TEST_SPECIMENS, TRAIN_SPECIMENS, donor_of
from medcli.ultrabones.dataset.folder_layout import LABEL_COLUMNS
from medcli.ultrabones.dataset.presence import no_training_frame, no_usable_frame, refuse_absent_specimens

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


@dataclass(frozen=True)
class SpecimenSplit:
    """Specimens to train on and to validate on.

    Raises:
        UsageError: a specimen is in both.
    """

    train: tuple[int, ...]
    val: tuple[int, ...]

    def __post_init__(self) -> None:
        both = sorted(set(self.train) & set(self.val))
        if both:
            raise UsageError(
                f"specimen {', '.join(map(str, both))} is in both training and validation", "change --val-specimens"
            )


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
        return f"donor {self.donor}: specimen {spaced(self.train)} in training, {spaced(self.test)} in test"


PUBLISHED_SPLIT = SpecimenSplit(TRAIN_SPECIMENS, TEST_SPECIMENS)
"""Wu et al. 2025; validated on the test specimens."""


def leave_one_out(specimens: Sequence[int]) -> list[SpecimenSplit]:
    """One split for each specimen, in the order given: it alone validates, all the others train.

    Raises:
        UsageError: there is one specimen only.
    """
    numbers = list(dict.fromkeys(specimens))
    if len(numbers) < 2:
        raise UsageError(
            f"leave-one-out needs two specimens or more, got {spaced(numbers)}", "name them with --train-specimens"
        )
    return [SpecimenSplit(tuple(n for n in numbers if n != left), (left,)) for left in numbers]


def split_to_begin_with(specimens: Sequence[int]) -> SpecimenSplit | None:
    """A split of these specimens for a first training; None where there are too few.

    The published one where both of its sides have frames; otherwise the last specimen validates, and the other leg of
    its donor takes no part unless nothing else is left.
    """
    if set(specimens) & set(TRAIN_SPECIMENS) and set(specimens) & set(TEST_SPECIMENS):
        return PUBLISHED_SPLIT
    if len(specimens) < 2:
        return None
    *others, val = specimens
    unrelated = [number for number in others if not donor_of(val) or donor_of(number) != donor_of(val)]
    return SpecimenSplit(tuple(unrelated or others), (val,))


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


def choose_frames(
    frames: pd.DataFrame,
    specimens: Sequence[int] | None,
    labels: str = "partial",
    root: Path | None = None,
    with_pose: bool = True,
) -> pd.DataFrame:
    """The frames of ``specimens`` (None: all) that belong to the data set: those with a label and a tracked pose.

    Args:
        frames: rows of :func:`medcli.ultrabones.dataset.frame_index.index_frames`.
        specimens: their numbers.
        labels: ``partial``, ``full``, or the name of a mask folder such as ``LabelsManual``, whose paths then stand in
            the column ``label`` (see :func:`label_column`).
        root: their data folder, for the command that the error names.
        with_pose: False takes labelled frames without a pose, too.

    Raises:
        DataError: a specimen is not there, or no frame is left; says what there is instead.
    """
    refuse_absent_specimens(specimens or (), frames["specimen"].tolist())
    mine = frames[frames["specimen"].isin(specimens)] if specimens is not None else frames
    if labels not in LABEL_COLUMNS:
        from medcli.ultrabones.dataset.frame_index import mask_path

        mine = mine.assign(label=mask_path(mine, labels))
    chosen = mine[is_usable(mine, labels) if with_pose else mine[label_column(labels)] != ""]
    if len(chosen) == 0:
        raise _why_none(mine, labels, root)
    return chosen.reset_index(drop=True)


@dataclass(frozen=True)
class TrainingFrames:
    """The frames of a training.

    Attributes:
        index: every frame of the data folder, see :func:`medcli.ultrabones.dataset.frame_index.index_frames`.
        train, val: (n,) rows of ``index``, in its order.
        donor_overlap: donors with a leg on either side.
        warnings: what to keep in mind when quoting metrics of this split.
    """

    index: pd.DataFrame
    train: NDArray[np.int64]
    val: NDArray[np.int64]
    donor_overlap: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def train_specimens(self) -> tuple[int, ...]:
        return _specimens(self.index, self.train)

    @property
    def val_specimens(self) -> tuple[int, ...]:
        return _specimens(self.index, self.val)

    def as_dict(self) -> dict[str, Any]:
        """For the checkpoint's description."""
        return {
            "train": list(self.train_specimens),
            "val": list(self.val_specimens),
            "train_frames": len(self.train),
            "val_frames": len(self.val),
            "donor_overlap": list(self.donor_overlap),
            "warnings": list(self.warnings),
        }


def split_frames(root: Path, split: SpecimenSplit, labels: str = "partial", limit: int | None = None) -> TrainingFrames:
    """The frames to train and to validate on.

    Args:
        root: the data folder.
        split: specimens of both sides; those without a usable frame are warned of.
        labels: ``partial`` or ``full``.
        limit: at most so many frames of each side, evenly over all of them; None: all.

    Raises:
        DataError: there is no such frame in one of the splits; lists the specimens found.
    """
    from medcli.training.batches import spread
    from medcli.ultrabones.dataset.frame_index import index_frames

    index = index_frames(root)
    sides = ((split.train, "training", "--train-specimens"), (split.val, "validation", "--val-specimens"))
    train, val = (spread(_rows_of(index, root, labels, *side), limit) for side in sides)
    overlap = donor_overlap(_specimens(index, train), _specimens(index, val), donors_in(index))
    warnings = [
        f"specimens {' and '.join(map(str, sorted((*one.train, *one.test))))} are two legs of donor {one.donor} on "
        "both sides of the split: validation is not independent of training"
        for one in overlap
    ]
    missing = sorted({*split.train, *split.val} - {*_specimens(index, train), *_specimens(index, val)})
    if missing:
        warnings.append(f"no usable frame of {numbered('specimen', missing)}: left out")
    if set(split.val) & set(TEST_SPECIMENS):
        warnings.append(
            "validation uses specimens of the published test split: best is chosen on them, so quote last, or "
            "validate on others with --val-specimens or --cv loo"
        )
    return TrainingFrames(index, train, val, tuple(one.donor for one in overlap), tuple(warnings))


def is_usable(frames: pd.DataFrame, labels: str) -> pd.Series[bool]:
    """Whether each frame belongs to the data set: it has a label of this kind and a tracked pose."""
    return (frames[label_column(labels)] != "") & (frames["tracking"] >= 0)


def label_column(labels: str) -> str:
    """Column of the chosen frames that holds the paths of these labels."""
    return LABEL_COLUMNS.get(labels, "label")


def _why_none(frames: pd.DataFrame, labels: str, root: Path | None) -> DataError:
    counts = {column: int((frames[column] != "").sum()) for column in LABEL_COLUMNS.values()}
    other = LABEL_COLUMNS["full" if labels == "partial" else "partial"]
    return no_usable_frame(labels, len(frames), counts[label_column(labels)], counts[other], root)


def _rows_of(
    index: pd.DataFrame, root: Path, labels: str, specimens: tuple[int, ...], side: str, option: str
) -> NDArray[np.int64]:
    import numpy as np

    usable = is_usable(index, labels)
    rows = np.flatnonzero(usable & index["specimen"].isin(specimens)).astype(np.int64)
    if not len(rows):
        raise no_training_frame(root, labels, specimens, side, option, index["specimen"][usable].tolist())
    return rows


def _specimens(index: pd.DataFrame, rows: NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(sorted(set(index["specimen"].to_numpy()[rows].tolist())))
