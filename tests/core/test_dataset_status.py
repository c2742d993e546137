"""What a data folder says of itself, in lines and as commands to type."""

from __future__ import annotations

import shlex
from pathlib import Path

from medcli.core.dataset_status import DataFolder


def test_lines_and_proposals() -> None:
    folder = DataFolder("Veriserum", Path("data"), {"images": 12}, ["no pose table"])
    assert list(folder.as_lines()) == ["Veriserum in data", "  images: 12", "  problem: no pose table"]
    folder.propose("calibrate", "undistort the images", "veriserum", "--root", "my data")
    (proposal,) = folder.proposals
    assert (proposal.step, proposal.why) == ("calibrate", "undistort the images")
    assert shlex.split(proposal.command)[-1] == "my data"
