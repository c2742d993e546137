"""Whether the published test split is complete, from the names of files in either layout."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from medcli.core.errors import DataError, UsageError
from medcli.ultrabones.dataset.constants import PUBLISHED_RECORDS, SPECIMENS, TEST_SPECIMENS
from medcli.ultrabones.evaluation.published_split import check_not_trained_on_test, check_published_split

FIRST, CURRENT, RENUMBERED = "first release", "current release", "current release, counted anew"


@pytest.fixture(params=[FIRST, CURRENT, RENUMBERED])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The test split with one empty frame a record."""
    for specimen in TEST_SPECIMENS:
        for anatomy, numbers in PUBLISHED_RECORDS[specimen].items():
            for place, number in enumerate(numbers, 1):
                name = f"record{place if request.param == RENUMBERED else number:02d}"
                folder = tmp_path / SPECIMENS[specimen].first_release_folder / name
                if request.param != FIRST:
                    folder = tmp_path / f"specimen{specimen:02d}/ultrasound_records/{anatomy}" / name
                for below in ("UltrasoundImages/7.png", "Labels/7_label.png"):
                    (folder / below).parent.mkdir(parents=True)
                    (folder / below).touch()
                (folder / "tracking.csv").write_text("timestamp,x\n7,1\n")
    return tmp_path


def told(root: Path) -> str:
    with pytest.raises(DataError, match="not complete") as error:
        check_published_split(root)
    assert error.value.hint == "get it with: medcli download ultrabones --specimens 2 7 8"
    return error.value.message


def test_what_is_missing_is_named(root: Path) -> None:
    check_published_split(root)
    records = sorted(path.parent for path in root.rglob("tracking.csv"))
    shutil.rmtree(records[-1])
    number = int(records[-1].name[-2:])
    anatomy = "" if records[-1].parent.parent == root else "tibia "
    assert f"specimen 8: no {anatomy}record {number}" in told(root)
    (records[0] / "UltrasoundImages/7.png").unlink()
    shutil.rmtree(records[1] / "Labels")
    shutil.rmtree(next(folder for folder in root.iterdir() if "07" in folder.name))
    text = told(root)
    assert "no specimen 7" in text
    assert "1 labels without image" in text
    assert f"no frame with a label and a tracked pose in {records[1]}" in text


def test_files_that_a_download_brought_must_be_there(root: Path) -> None:
    paths = [path.relative_to(root).as_posix() for path in sorted(root.rglob("*.png"))]
    there = next(path for path in paths if "UltrasoundImages" in path)
    gone = there.replace("/7.png", "/8.png")
    record = dict.fromkeys(("checksum", "verified", "announced", "source"), "x") | {"size": 0, "mtime_ns": 0}
    files = [{"path": path, **record} for path in [*paths, gone]]
    about = {"dataset": "UltraBones100k", "licence": "", "citation": ""}
    (root / "medcli-manifest.json").write_text(json.dumps({"about": about, "files": files}))
    assert f"1 downloaded files are gone, first {gone}" in told(root)
    shutil.copy(root / there, root / gone)
    check_published_split(root)


def test_synthetic_frames_are_not_the_published_ones(root: Path) -> None:
    (root / "synthetic.json").write_text("{}")
    with pytest.raises(DataError, match="holds synthetic frames"):
        check_published_split(root)


def test_a_network_that_was_trained_on_the_split_is_refused() -> None:
    check_not_trained_on_test((1, 3), "a.safetensors")
    check_not_trained_on_test(None, "a.safetensors")
    with pytest.raises(UsageError, match=r"a.safetensors was trained on specimen 2 8 of the published test split"):
        check_not_trained_on_test((1, 2, 8), "a.safetensors")
