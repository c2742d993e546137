"""The index of every published layout, its counts, and its problems."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medcli.core.errors import DataError
from medcli.ultrabones.dataset.folder_layout import mask_name
from medcli.ultrabones.dataset.frame_index import COLUMNS, index_frames, mask_path
from medcli.ultrabones.dataset.record_frames import Findings, FrameTally, Problem, scan_records, sorted_records
from medcli.ultrabones.dataset.tracking_table import read_tracking

HEADER = "timestamp,space_factor,x,y,z,euler_x,euler_y,euler_z"


def lay(record: Path, timestamps: list[int], labels: dict[str, str], tracking: str = "tracking.csv") -> Path:
    (record / "UltrasoundImages").mkdir(parents=True)
    for ts in timestamps:
        (record / "UltrasoundImages" / f"{ts}.png").touch()
        for folder, ending in labels.items():
            (record / folder).mkdir(exist_ok=True)
            (record / folder / f"{ts}{ending}").touch()
    rows = [f"{ts},0.05392,1,2,3,4,5,{ts}" for ts in timestamps]
    (record / tracking).write_text("\n".join([HEADER, *rows]) + "\n")
    return record


def surveyed(root: Path) -> tuple[FrameTally, tuple[Problem, ...]]:
    tally, findings = FrameTally(), Findings()
    for part in scan_records(sorted_records(root, findings), findings):
        tally.add(part)
    return tally, findings.problems()


def test_every_published_layout_gives_the_same_table(tmp_path: Path) -> None:
    first = tmp_path / "a/AI_Ultrasound_dataset"
    lay(first / "cadaver01_F231091/record01", [100, 20], {"Labels": "_label.png"})
    lay(first / "cadaver00-F230837/record02", [7], {"Labels": "_label.png"})
    probe = tmp_path / "b/AI_Ultrasound_dataset"
    older = {"Label_partial_gradient": "_label_partial_gradient.png", "LabelsManual": "-labels.png"}
    lay(probe / "cadaver05_S232132L/Linear18/record03", [5], older, "sweepProcessedAndOptimized.csv")
    current = tmp_path / "c/UltraBones100k"
    new = {"Labels": "_label.png", "Labels_full": "_label.png", "Labels_pred": "_label_pred.png"}
    lay(current / "specimen14/ultrasound_records/tibia/record11", [9, 8], new)
    lay(current / "specimen14/ultrasound_records/fibula/record12", [3], new)
    lay(current / "specimen90/ultrasound_records/foot/record01", [1], new)

    frames = index_frames(tmp_path)
    assert tuple(frames.columns) == COLUMNS
    keys = list(frames[["specimen", "donor", "anatomy", "record", "timestamp"]].itertuples(index=False, name=None))
    assert keys == [
        (0, "F230837", "", 2, 7),
        (1, "F231091", "", 1, 20),
        (1, "F231091", "", 1, 100),
        (5, "S232132", "", 3, 5),
        (14, "S240280", "fibula", 12, 3),
        (14, "S240280", "tibia", 11, 8),
        (14, "S240280", "tibia", 11, 9),
        (90, "", "foot", 1, 1),
    ]
    assert list(frames.tracking) == [0, 1, 0, 0, 0, 1, 0, 0]
    for column in ("image", "label", "record_dir"):
        assert all(Path(path).exists() for path in frames[column])
    assert list(frames.label_full != "") == [False] * 4 + [True] * 4
    assert frames.label[3].endswith("5_label_partial_gradient.png")
    for name in ("specimen", "record", "timestamp", "tracking"):
        assert frames[name].dtype == np.int64


@pytest.mark.parametrize("below", [".", "specimen03", "specimen03/ultrasound_records/tibia", "record"])
def test_any_folder_on_the_way_is_a_root(tmp_path: Path, below: str, monkeypatch: pytest.MonkeyPatch) -> None:
    record = lay(tmp_path / "specimen03/ultrasound_records/tibia/record04", [5], {"Labels": "_label.png"})
    monkeypatch.chdir(record if below == "record" else tmp_path / below)
    frames = index_frames(".")
    assert list(frames.iloc[0][["specimen", "anatomy", "record"]]) == [3, "tibia", 4]


def test_problems_are_counted_and_named_never_fatal(tmp_path: Path) -> None:
    record = lay(tmp_path / "specimen01/ultrasound_records/tibia/record01", [1, 2, 3], {"Labels": "_label.png"})
    (record / "Labels/2_label.png").unlink()
    (record / "Labels/77_label.png").touch()
    (record / "UltrasoundImages/notes.png").touch()
    (record / "UltrasoundImages/._1.png").touch()
    (record / "UltrasoundImages/003.png").touch()
    (record / "tracking.csv").write_text(f"{HEADER}\n1,0,0,0,0,0,0,0\nx,0\n1,0,0,0,0,0,0,0\n")
    lay(tmp_path / "specimen02/ultrasound_records/tibia/record01", [1], {})
    (tmp_path / "specimen02/ultrasound_records/tibia/record01/tracking.csv").write_text("time\n1\n")
    lay(tmp_path / "specimen02/ultrasound_records/tibia/record02", [1], {}, "other.csv")
    lay(tmp_path / "elsewhere/record01", [1], {})
    (tmp_path / "specimen05/ultrasound_records/tibia/record09/Labels").mkdir(parents=True)

    frames, (tally, problems) = index_frames(tmp_path), surveyed(tmp_path)
    found = {problem.what: problem for problem in problems}
    counts = {what: problem.count for what, problem in found.items()}
    assert counts == {
        "images without label": 3,
        "images not in the tracking table": 2,
        "PNG files not named by a timestamp of their own": 2,
        "labels without image": 1,
        "tracking tables with repeated or missing timestamps": 1,
        "tracking tables that cannot be read": 1,
        "records without tracking table": 2,
        "records outside a specimen folder (left out)": 1,
        "records without UltrasoundImages": 1,
    }
    assert "77_label.png" in str(found["labels without image"])
    assert tally.images == len(frames) == 5
    assert (tally.labelled, tally.tracked, tally.specimens) == (2, 1, {1, 2, 5})
    assert list(frames.query("specimen == 1").tracking) == [0, -1, -1]


def test_two_layouts_at_once_are_reported(tmp_path: Path) -> None:
    lay(tmp_path / "cadaver01_F231091/record01", [1], {"Labels": "_label.png"})
    lay(tmp_path / "specimen01/ultrasound_records/tibia/record01", [1], {"Labels": "_label.png"})
    _, problems = surveyed(tmp_path)
    assert [problem.what for problem in problems] == ["specimens in two layouts at once"]


def test_links_are_followed_once(tmp_path: Path) -> None:
    record = lay(tmp_path / "store/specimen01/ultrasound_records/tibia/record01", [1], {"Labels": "_label.png"})
    data = tmp_path / "data"
    data.mkdir()
    try:
        (data / "specimen01").symlink_to(record.parents[2], target_is_directory=True)
        (data / "again").symlink_to(data, target_is_directory=True)
    except OSError:
        pytest.skip("this system makes no links")
    frames = index_frames(data)
    assert len(frames) == 1
    assert frames.image[0].startswith(str(data))


def test_missing_and_empty_folders_are_reported_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder") as missing:
        index_frames(tmp_path / "nowhere")
    assert "medcli download ultrabones" in str(missing.value.hint)
    with pytest.raises(DataError, match="no frame in"):
        index_frames(tmp_path)


def test_mask_paths_of_tables_and_rows(tmp_path: Path) -> None:
    kinds = {"Labels": "_label.png", "Labels_pred": "_label_pred.png", "LabelsManual": "-labels.png"}
    record = lay(tmp_path / "specimen01/ultrasound_records/tibia/record01", [1, 2], kinds)
    (record / "Labels_pred/2_label_pred.png").unlink()
    frames = index_frames(tmp_path)
    assert list(mask_path(frames, "Labels_pred")) == [str(record / "Labels_pred/1_label_pred.png"), ""]
    assert mask_path(frames.iloc[1], "LabelsManual") == str(record / "LabelsManual/2-labels.png")
    assert list(mask_path(frames, "Absent")) == ["", ""]
    shuffled = frames.iloc[::-1]
    assert list(mask_path(shuffled, "Labels_pred").index) == [1, 0]
    assert len(mask_path(frames.iloc[:0], "Labels")) == 0
    assert mask_name(7, "Labels_pred") == "7_label_pred.png"
    assert mask_name(7, "Labels_full") == "7_label.png"


def test_real_example(real_data: Path) -> None:
    frames, (tally, problems) = (
        index_frames(real_data / "ultrabones-example"),
        surveyed(real_data / "ultrabones-example"),
    )
    assert (tally.images, tally.labelled_full, tally.tracked, problems) == (88, 88, 88, ())
    for record, rows in frames.groupby("record_dir"):
        table = read_tracking(str(record))
        pd.testing.assert_series_equal(
            table.timestamp.iloc[rows.tracking].reset_index(drop=True),
            rows.timestamp.reset_index(drop=True),
        )


def test_the_index_needs_neither_torch_nor_an_image_codec() -> None:
    code = (
        "import sys, medcli.ultrabones.dataset.frame_index;"
        "print([n for n in ('torch', 'cv2', 'numba', 'scipy', 'PIL', 'lightning') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
