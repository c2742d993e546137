"""What ``medcli info`` says of an UltraBones100k folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from medcli.synthetic.ultrasound import SweepSettings, make_ultrabones
from medcli.ultrabones.index import index_frames
from medcli.ultrabones.survey import find_damaged, survey

SMALL = SweepSettings(frames=2, scale=0.2)


def test_counts_and_next_commands(tmp_path: Path) -> None:
    make_ultrabones(tmp_path, (1, 2, 4, 7, 8), anatomies=("fibula", "tibia"), settings=SMALL)
    found = survey(tmp_path)
    assert found.found == {
        "specimens": "5: 1 2 4 7 8",
        "records": "10",
        "frames": "20 (10 fibula, 10 tibia)",
        "labels": "20 partial, 20 full",
        "tracked frames": "20",
        "legs of one donor": "1 and 4",
    }
    assert found.problems == ["specimens not here: 3 5 6 9 10 11 12 13 14"]
    assert found.next_commands[-1] == f"medcli evaluate --root {tmp_path} --specimens 2 7 8"


def test_damaged_files_are_counted_and_named(tmp_path: Path) -> None:
    make_ultrabones(tmp_path, (1,), settings=SMALL)
    frames = index_frames(tmp_path)
    cut = Path(frames.image[0])
    cut.write_bytes(cut.read_bytes()[:-30])
    Path(frames.label[1]).write_bytes(b"")
    assert find_damaged(frames) == ([str(cut), frames.label[1]], 6)
    assert find_damaged(frames, most=1) == ([str(cut)], 3)
    assert any("2 PNG files empty or cut off" in problem for problem in survey(tmp_path).problems)


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    assert survey(tmp_path / "nowhere").next_commands == ["medcli download ultrabones"]
    assert any("no frame" in problem for problem in survey(tmp_path).problems)


def test_info_shows_it(tmp_path: Path, medcli: Any) -> None:
    make_ultrabones(tmp_path, (90,), settings=SMALL)
    ran = medcli("info", "--ultrabones-root", tmp_path, "--veriserum-root", tmp_path / "none", "--json")
    assert ran.code == 0
    ours = json.loads(ran.out)["data"][0]
    assert ours["name"] == "UltraBones100k"
    assert ours["found"]["specimens"] == "1: 90"
    assert "UltraBones100k in" in medcli("info", "--ultrabones-root", tmp_path).out


def test_real_example(real_data: Path) -> None:
    found = survey(real_data / "ultrabones-example")
    assert found.problems == []
    assert found.found["frames"] == "88 (88 fibula)"
    assert found.next_commands == [f"medcli train seg --root {real_data / 'ultrabones-example'} --labels full"]
