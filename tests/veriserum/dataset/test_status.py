from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from medcli.core.shell import spell, spelled_words
from medcli.veriserum.dataset.status import survey_veriserum
from medcli.veriserum.dataset.study import VeriserumStudy
from medcli.veriserum.pose.pairs import choose_pairs, find_pairs
from tests.conftest import Ran
from tests.support.made_veriserum import write_study


def test_counts_problems_and_next_commands(veriserum: Path) -> None:
    (veriserum / "images/fs_000003.jpg").unlink()
    found = survey_veriserum(veriserum)
    assert found.found["images"] == "4 bs and 3 fs of 4 ids"
    assert found.found["pose table"].startswith("4 rows in csv_files")
    assert "1 id has no fs image" in found.problems
    assert any("no source-intensifier calibration table" in problem for problem in found.problems)
    assert found.proposals[0].command == spell("medcli", "download", "veriserum", "--dest", veriserum)


def test_proposes_to_calibrate_and_counts_calibrated_images(veriserum: Path, medcli: Callable[..., Ran]) -> None:
    columns = "id,principalp_h_fs,principalp_v_fs,principalp_h_bs,principalp_v_bs,sid_fs,sid_bs"
    (veriserum / "source_int_calibration.csv").write_text(f"{columns}\n1,0,0,0,0,1800,1800\n")
    (proposal,) = survey_veriserum(veriserum).proposals
    assert proposal.command == spell("medcli", "calibrate", "veriserum", "--root", veriserum)
    assert medcli(*spelled_words(proposal.command, os.name == "nt")[1:]).code == 0  # the folder's name has a blank
    done = survey_veriserum(veriserum)
    assert done.found["calibrated images"] == "8"
    assert done.proposals == []
    assert any("too few to train on" in problem for problem in done.problems)


def test_absent_folder(tmp_path: Path) -> None:
    (proposal,) = survey_veriserum(tmp_path / "none").proposals
    assert proposal.command == f"medcli download veriserum --dest {tmp_path / 'none'}"


@pytest.mark.parametrize(
    ("anatomies", "measurements", "words"),
    [
        ((1, 1, 1, 1, 1, 1, 1, 1, 1), (1, 1, 1, 2, 2, 2, 3, 3, 3), ""),
        ((4, 4, 4, 4, 4, 4, 4, 4, 4), (1, 1, 1, 2, 2, 2, 3, 3, 3), " --anatomy 4"),
        ((1, 1, 1, 2, 2, 2, 2, 2, 2), (1, 1, 1, 2, 2, 2, 3, 3, 3), " --anatomy femur"),
        ((1, 1, 1, 3, 3, 3, 3, 3, 3), (1, 1, 1, 2, 2, 2, 3, 3, 3), None),
    ],
)
def test_proposes_a_training_that_can_start(
    tmp_path: Path, anatomies: tuple[int, ...], measurements: tuple[int, ...], words: str | None
) -> None:
    """Enough trials for a split, of one implant or of a group; pairs without an image do not count."""
    write_study(tmp_path, anatomies, measurements)
    commands = [step.command for step in survey_veriserum(tmp_path).proposals if step.step == "train"]
    assert commands == ([] if words is None else [f"medcli train pose --root {tmp_path}{words}"])
    if words is not None:
        name = words.split()[-1] if words else "1"
        assert len(choose_pairs(find_pairs(VeriserumStudy(tmp_path), name)).test)
        (tmp_path / "bs_000001.jpg").unlink()
        assert survey_veriserum(tmp_path).proposals  # two of its trial are left
        for number in (2, 3):
            (tmp_path / f"bs_{number:06d}.jpg").unlink()
        assert not [step for step in survey_veriserum(tmp_path).proposals if step.step == "train"]
