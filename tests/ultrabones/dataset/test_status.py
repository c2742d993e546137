"""What ``medcli info`` says of an UltraBones100k folder."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from medcli.core.run_provenance import SYNTHETIC
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.dataset.frame_index import index_frames
from medcli.ultrabones.dataset.splits import SpecimenSplit, split_frames
from medcli.ultrabones.dataset.status import find_damaged, survey_ultrabones
from medcli.ultrabones.segmentation.settings import SegmentationSettings
from medcli.workspace.inventory import take_inventory

SMALL = SweepSettings(frames=2, scale=0.2)


def test_counts_and_next_commands(tmp_path: Path) -> None:
    make_ultrabones(tmp_path, (1, 2, 4, 7, 8), anatomies=("fibula", "tibia"), settings=SMALL)
    assert survey_ultrabones(tmp_path).problems == []  # made-up specimens lack none
    (tmp_path / SYNTHETIC).unlink()
    found = survey_ultrabones(tmp_path)
    assert found.found == {
        "specimens": "5: 1 2 4 7 8",
        "records": "10",
        "frames": "20 (10 fibula, 10 tibia)",
        "labels": "20 partial, 20 full",
        "tracked frames": "20",
        "legs of one donor": "1 and 4",
    }
    assert found.problems == ["specimens not here: 3 5 6 9 10 11 12 13 14"]
    assert found.usable == {"partial": [1, 2, 4, 7, 8], "full": [1, 2, 4, 7, 8]}
    assert [step.command for step in found.proposals] == [
        f"medcli train seg --root {tmp_path}",
        f"medcli reconstruct ultrabones --root {tmp_path}",
        f"medcli download ultrabones --dest {tmp_path} --specimens 3 5 6 9 10 11 12 13 14",
    ]


@pytest.mark.parametrize(
    ("specimens", "words"),
    [
        ((2, 7, 8), "--train-specimens 2 7 --val-specimens 8"),
        ((90, 91), "--train-specimens 90 --val-specimens 91"),
        ((3, 5, 7), ""),
        ((11, 13), "--train-specimens 11 --val-specimens 13"),  # one donor's legs: better than nothing
        ((10, 11, 13), "--train-specimens 10 --val-specimens 13"),
        ((90,), None),
    ],
)
def test_proposes_a_training_that_can_begin(tmp_path: Path, specimens: tuple[int, ...], words: str | None) -> None:
    make_ultrabones(tmp_path, specimens, settings=SMALL)
    found = survey_ultrabones(tmp_path)
    commands = [step.command for step in found.proposals if step.step == "train"]
    if words is None:
        assert commands == []
        assert any("training needs another one" in problem for problem in found.problems)
        return
    assert commands == [f"medcli train seg --root {tmp_path} {words}".rstrip()]
    given = {
        flag: tuple(map(int, numbers.split())) for flag, numbers in re.findall(r"--(\w+)-specimens ([\d ]+)", words)
    }
    settings = SegmentationSettings(root=tmp_path, **{f"{flag}_specimens": numbers for flag, numbers in given.items()})
    split = split_frames(settings.root, SpecimenSplit(settings.train_specimens, settings.val_specimens))
    assert len(split.train)
    assert len(split.val)


def test_proposes_to_label_what_has_no_labels(tmp_path: Path) -> None:
    make_ultrabones(tmp_path, (90,), settings=SMALL)
    for name in ("Labels", "Labels_full"):
        for folder in list(tmp_path.rglob(name)):
            shutil.rmtree(folder)
    assert [step.command for step in survey_ultrabones(tmp_path).proposals] == [
        f"medcli label ultrabones --root {tmp_path}"
    ]
    for mesh in tmp_path.rglob("*.stl"):
        mesh.unlink()
    assert survey_ultrabones(tmp_path).proposals == []


def test_damaged_files_are_counted_and_named(tmp_path: Path) -> None:
    make_ultrabones(tmp_path, (1,), settings=SMALL)
    frames = index_frames(tmp_path)
    cut = Path(frames.image[0])
    cut.write_bytes(cut.read_bytes()[:-30])
    Path(frames.label[1]).write_bytes(b"")
    columns = {name: frames[name] for name in ("image", "label", "label_full")}
    assert find_damaged(columns) == ([str(cut), frames.label[1]], 6)
    assert any("2 PNG files empty or truncated" in problem for problem in survey_ultrabones(tmp_path).problems)


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    (proposal,) = survey_ultrabones(tmp_path / "nowhere").proposals
    assert proposal.command == f"medcli download ultrabones --dest {tmp_path / 'nowhere'}"
    assert any("no frame" in problem for problem in survey_ultrabones(tmp_path).problems)


def test_info_shows_it(tmp_path: Path, medcli: Any) -> None:
    make_ultrabones(tmp_path, (90,), settings=SMALL)
    ran = medcli("info", "--ultrabones-root", tmp_path, "--veriserum-root", tmp_path / "none", "--json")
    assert ran.code == 0
    ours = json.loads(ran.out)["data"][0]
    assert ours["name"] == "UltraBones100k"
    assert ours["found"]["specimens"] == "1: 90"
    assert "UltraBones100k in" in medcli("info", "--ultrabones-root", tmp_path).out


def test_real_example(real_data: Path) -> None:
    found = survey_ultrabones(real_data / "ultrabones-example")
    assert found.problems == []
    assert found.found["frames"] == "88 (88 fibula)"
    words = f"--root {real_data / 'ultrabones-example'} --labels full --train-specimens 90 --val-specimens 91"
    assert [step.command for step in found.proposals] == [f"medcli train seg {words}"]


def test_ultraboneship_has_specimens_of_its_own(hip_data: Path, tmp_path: Path) -> None:
    root = hip_data / "hip"
    found = survey_ultrabones(root)
    assert (found.name, found.found["frames"]) == ("UltraBonesHip", "2 (2 left_femur_axial)")
    assert not any("specimens not here" in problem for problem in found.problems)
    assert [step.command for step in found.proposals] == [f"medcli label ultrabones --root {root}"]
    nowhere = tmp_path / "nowhere"
    both = take_inventory(nowhere, nowhere, nowhere, nowhere, root)
    assert [folder.name for folder in both.data] == ["UltraBones100k", "Veriserum", "UltraBonesHip"]
    assert f"medcli label ultrabones --root {root}" in [step.command for step in both.next]
    assert len(take_inventory(nowhere, nowhere, nowhere, nowhere, nowhere).data) == 2
