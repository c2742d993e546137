"""Splits by specimen, and whose legs stand on both sides."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from medcli.core.errors import DataError, UsageError
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.dataset.constants import PUBLISHED_SPECIMENS
from medcli.ultrabones.dataset.frame_index import index_frames
from medcli.ultrabones.dataset.splits import (
    PUBLISHED_SPLIT,
    DonorOverlap,
    SpecimenSplit,
    choose_frames,
    donor_overlap,
    donors_in,
    leave_one_out,
    split_frames,
    split_to_begin_with,
)


def test_published_split_has_donors_on_both_sides() -> None:
    split = PUBLISHED_SPLIT
    assert split.val == (2, 7, 8)
    assert sorted((*split.train, *split.val)) == list(range(1, 15))
    assert donor_overlap(split.train, split.val) == [
        DonorOverlap("S231989", (9,), (8,)),
        DonorOverlap("S232132", (5,), (7,)),
    ]
    assert str(donor_overlap((5,), (7,))[0]) == "donor S232132: specimen 5 in training, 7 in test"


def test_leave_one_out() -> None:
    splits = leave_one_out([3, 1, 2, 3])
    assert splits == [SpecimenSplit((1, 2), (3,)), SpecimenSplit((3, 2), (1,)), SpecimenSplit((3, 1), (2,))]
    assert len(leave_one_out(PUBLISHED_SPECIMENS)) == 14
    with pytest.raises(UsageError, match="two specimens or more"):
        leave_one_out([4])
    with pytest.raises(UsageError, match="specimen 2 is in both training and validation"):
        SpecimenSplit((1, 2), (2, 3))


def test_folders_name_donors_that_the_registry_does_not_know() -> None:
    donors = {90: "P1", 91: "P1", 92: ""}
    assert donor_overlap([90, 92], [91], donors) == [DonorOverlap("P1", (90,), (91,))]
    assert donor_overlap([92], [92], donors) == []


def test_choosing_frames(tmp_path: Path) -> None:
    make_ultrabones(tmp_path, (1, 2), settings=SweepSettings(frames=3, scale=0.1))
    frames = index_frames(tmp_path)
    assert donors_in(frames) == {1: "F231091", 2: "F231218"}
    assert len(choose_frames(frames, None)) == 6
    assert set(choose_frames(frames, [2]).specimen) == {2}
    with pytest.raises(DataError, match="no frames of specimen 5 9; there are those of 1 2") as error:
        choose_frames(frames, [2, 9, 5])
    assert "medcli download ultrabones --specimens 5 9" in str(error.value.hint)
    frames.loc[0, "label"] = ""
    frames.loc[1, "tracking"] = -1
    assert len(choose_frames(frames, [1])) == 1
    frames["label"] = ""
    with pytest.raises(DataError, match="none of 6 frames has a partial label") as error:
        choose_frames(frames, None)
    assert error.value.hint == "6 have a full label: try --labels full"
    frames["label_full"] = ""
    with pytest.raises(DataError, match="none of 6 frames has a partial label") as error:
        choose_frames(frames, None, root=tmp_path)
    assert error.value.hint == f"make them with: medcli label ultrabones --root {tmp_path}"
    frames["label_full"] = "x"
    frames["tracking"] = -1
    with pytest.raises(DataError, match="none is in its record's tracking table"):
        choose_frames(frames, None, "full")


def test_frames_of_a_training(tmp_path: Path) -> None:
    make_ultrabones(tmp_path, (1, 2, 4), settings=SweepSettings(frames=4, scale=0.1))
    found = split_frames(tmp_path, SpecimenSplit((1, 3), (2, 4)), limit=3)
    specimens = found.index["specimen"].to_numpy()
    assert specimens[found.train].tolist() == [1, 1, 1]
    assert specimens[found.val].tolist() == [2, 2, 4]  # evenly over both
    assert (found.train_specimens, found.val_specimens) == ((1,), (2, 4))
    assert found.donor_overlap == ("F231091",)
    legs, absent, published = found.warnings
    assert legs.startswith("specimens 1 and 4 are two legs of donor F231091 on both sides")
    assert absent == "no usable frame of specimen 3: left out"
    assert "the published test split" in published
    assert found.as_dict()["val_frames"] == 3
    with pytest.raises(DataError, match=r"no frame with full label for validation \(specimens 9\)") as error:
        split_frames(tmp_path, SpecimenSplit((1,), (9,)), "full")
    assert "specimens with such labels there: 1 2 4; choose with --val-specimens" in str(error.value.hint)
    for folder in list(tmp_path.rglob("Labels_full")):
        shutil.rmtree(folder)
    with pytest.raises(DataError) as error:
        split_frames(tmp_path, SpecimenSplit((1,), (2,)), "full")
    assert f"make them with: medcli label ultrabones --root {tmp_path}" in str(error.value.hint)


def test_a_first_split() -> None:
    assert split_to_begin_with([1, 2, 7]) == PUBLISHED_SPLIT
    assert split_to_begin_with([10, 11, 13]) == SpecimenSplit((10,), (13,))  # 11 is of the donor of 13
    assert split_to_begin_with([11, 13]) == SpecimenSplit((11,), (13,))
    assert split_to_begin_with([90]) is None
