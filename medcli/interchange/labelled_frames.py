"""The labelled frames that are converted: their names, which donor's they are, and how they are split by donors.

Two legs of one donor are never on both sides of a split: the dataset names the donor of each specimen.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcli.core.errors import DataError, numbered, quantity
from medcli.core.image_io import read_content, read_grey, use_single_threaded_codecs, write_image
from medcli.core.progress import Progress
from medcli.core.run_provenance import DatasetCitation, is_synthetic, synthetic_like
from medcli.core.threads import map_in_threads
from medcli.interchange.notes import plain_name
from medcli.ultrabones.dataset.constants import donor_of
from medcli.ultrabones.dataset.frame_index import index_frames
from medcli.ultrabones.dataset.publication import about_records
from medcli.ultrabones.dataset.splits import choose_frames, donors_in, label_column
from medcli.ultrabones.segmentation.frame_io import read_mask

logger = logging.getLogger(__name__)
_MOST_FOLDS = 5
_PNG = b"\x89PNG\r\n\x1a\n"
Done = TypeVar("Done")


@dataclass(frozen=True)
class LabelledFrames:
    """Frames with labels.

    Attributes:
        table: rows of the index with the columns ``name``, unique, ``mask``, path of the label, and ``group``: the
            donor, or the specimen where no donor is known.
        unknown: specimens whose donor nobody knows.
    """

    table: pd.DataFrame
    unknown: tuple[int, ...]

    @property
    def specimens(self) -> tuple[int, ...]:
        return tuple(sorted(set(self.table["specimen"].tolist())))

    @property
    def about(self) -> DatasetCitation:
        """Whose data they are."""
        return about_converted([Path(folder) for folder in set(self.table["record_dir"].tolist())])

    def of(self, specimens: Iterable[int]) -> pd.DataFrame:
        """The rows of some specimens."""
        return pd.DataFrame(self.table[self.table["specimen"].isin(list(specimens))])


def about_converted(records: Sequence[Path]) -> DatasetCitation:
    """Whose data some records are: nobody's, and under no licence, where one was made by :mod:`medcli.synthetic`."""
    found = about_records(records)
    return synthetic_like(found.dataset) if any(map(is_synthetic, records)) else found


@dataclass(frozen=True)
class DonorSplit:
    """Specimens by side, with no donor on both.

    Attributes:
        left_out: specimens on neither side: the other legs of donors that are put aside.
    """

    train: tuple[int, ...]
    aside: tuple[int, ...]
    left_out: tuple[int, ...] = ()


def find_labelled(root: Path, specimens: Sequence[int] | None, labels: str) -> LabelledFrames:
    """The frames of a data folder with a label; to be trained on they need no pose.

    Raises:
        DataError: there is none, or two frames would have one name.
    """
    table = choose_frames(index_frames(root), specimens, labels, root, with_pose=False)
    names = [case_name(*row) for row in table[["specimen", "anatomy", "record", "timestamp"]].itertuples(index=False)]
    table = table.assign(name=names, mask=table[label_column(labels)])
    if (twice := table[table["name"].duplicated(keep=False)]).shape[0]:
        first, second = twice[twice["name"] == twice["name"].iloc[0]]["image"].tolist()[:2]
        raise DataError(f"{first} and {second} would both be named {twice['name'].iloc[0]}", "convert one of them")
    donors = donors_in(table)
    known = {number: donors.get(number) or donor_of(number) for number in set(table["specimen"].tolist())}
    unknown = tuple(sorted(number for number, donor in known.items() if not donor))
    if unknown:
        logger.warning(
            "nobody knows the donor of %s: each is split as a donor of its own", numbered("specimen", unknown)
        )
    groups = [known[number] or f"specimen {number}" for number in table["specimen"].tolist()]
    return LabelledFrames(table.assign(group=groups), unknown)


def case_name(specimen: int, anatomy: str, record: int, timestamp: int) -> str:
    """``specimen02_tibia_record01_184462``: specimen, bone and record stay readable in every list of cases."""
    parts = (f"specimen{specimen:02d}", plain_name(anatomy), f"record{record:02d}", str(timestamp))
    return "_".join(filter(None, parts))


def put_aside(frames: LabelledFrames, specimens: Sequence[int]) -> DonorSplit:
    """Specimens for a test or a validation; the other legs of their donors are left out of the training.

    Raises:
        DataError: one of them is not there, or nothing is left to train on.
    """
    absent = sorted(set(specimens) - set(frames.specimens))
    if absent:
        raise DataError(
            f"no labelled frame of {numbered('specimen', absent)}; there are those of "
            f"{numbered('specimen', frames.specimens)}"
        )
    donors = set(frames.of(specimens)["group"])
    others = frames.table[~frames.table["specimen"].isin(list(specimens))]
    related = others["group"].isin(donors)
    train = tuple(sorted(set(others[~related]["specimen"].tolist())))
    if not train:
        raise DataError(
            f"no specimen of another donor than those of {numbered('specimen', specimens)} is left to train on",
            "put fewer specimens aside",
        )
    left_out = tuple(sorted(set(others[related]["specimen"].tolist())))
    if left_out:
        logger.warning("%s left out: the other legs of donors that are put aside", numbered("specimen", left_out))
    return DonorSplit(train, tuple(sorted(set(specimens))), left_out)


def donor_folds(frames: LabelledFrames, specimens: Sequence[int]) -> list[tuple[int, ...]]:
    """Specimens in up to five folds of about as many frames, each donor in one; empty where there is one donor only."""
    table = frames.of(specimens)
    sizes = table["group"].value_counts()
    order = sorted(sizes.index.tolist(), key=lambda group: (-int(sizes[group]), group))
    count = min(_MOST_FOLDS, len(order))
    if count < 2:
        return []
    folds: list[list[str]] = [[] for _ in range(count)]
    frames_in = [0] * count
    for group in order:
        lightest = frames_in.index(min(frames_in))
        folds[lightest].append(group)
        frames_in[lightest] += int(sizes[group])
    return [tuple(sorted(set(table[table["group"].isin(fold)]["specimen"].tolist()))) for fold in folds]


def one_fold(frames: LabelledFrames, specimens: Sequence[int] | None) -> DonorSplit:
    """Those to train on and to validate on: ``specimens``, or one fold of :func:`donor_folds` where None.

    With one donor there is nothing to validate on, which is a warning.
    """
    if specimens:
        return put_aside(frames, specimens)
    folds = donor_folds(frames, frames.specimens)
    if not folds:
        logger.warning("all frames are of one donor: there are none to validate on")
        return DonorSplit(frames.specimens, ())
    return DonorSplit(tuple(sorted(set(frames.specimens) - set(folds[-1]))), folds[-1])


def copy_frame(image: str, target: Path) -> None:
    """Write a frame as an 8-bit grey PNG; one that is such a file already is copied byte for byte.

    Raises:
        DataError: it cannot be read.
    """
    head = read_content(image)[:26]
    if head[:8] == _PNG and head[24:26] == b"\x08\x00":
        shutil.copyfile(image, target)
    else:
        write_image(target, read_grey(image))


def read_label_of(row: Any) -> NDArray[np.bool_]:
    """The label of a frame (rows, columns), True where it is bone.

    Raises:
        DataError: the frame or its label cannot be read, or they differ in size.
    """
    return read_mask(row.mask, read_grey(row.image).shape)


def convert_each(
    table: pd.DataFrame, work: Callable[[Any], Done], label: str, workers: int, progress: Progress
) -> tuple[list[tuple[Any, Done]], list[str]]:
    """``work`` on each row, in threads: rows with what became of them, in order, and a line for each that failed.

    Raises:
        DataError: all failed; the first reason.
    """
    use_single_threaded_codecs()

    def guarded(row: Any) -> tuple[Any, Done | None, str]:
        try:
            return row, work(row), ""
        except DataError as error:
            return row, None, error.message

    done: list[tuple[Any, Done]] = []
    failures = []
    rows = list(table.itertuples(index=False))
    with progress.task(label, len(rows), "frames") as advance:
        for row, result, failure in map_in_threads(guarded, rows, workers):
            if result is None:
                failures.append(f"{row.name}: {failure}")
            else:
                done.append((row, result))
            advance(1)
    if not done:
        raise DataError(f"none of {quantity(len(rows), 'frame')} can be converted; {failures[0]}")
    return done, failures


def specimen_in(name: str) -> int:
    """The specimen of a case, see :func:`case_name`."""
    found = re.match(r"specimen(\d+)_", name)
    return int(found[1]) if found else -1
