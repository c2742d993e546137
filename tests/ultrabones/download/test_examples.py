"""``medcli download examples``: the authors' files come to their places and every step runs on them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from medcli.ultrabones.dataset.frame_index import index_frames
from medcli.ultrabones.dataset.mesh_files import find_meshes
from tests.conftest import Ran
from tests.support.download_fixtures import (
    EXAMPLE_FOLDER,
    EXAMPLE_IMAGES,
    EXAMPLE_RECORD,
    example_server,
    files_in,
    set_github,
)
from tests.support.servers import FakeGitHub, Trouble

Medcli = Callable[..., Ran]
PARTS = ("specimen90", "specimen91")
PLACE = "{}_example/ultrasound_records/fibula/record01/{}"


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGitHub]:
    server = example_server()
    set_github(server, monkeypatch)
    yield server
    server.stop()


def test_the_files_come_to_their_places_once_and_resume(github: FakeGitHub, medcli: Medcli, tmp_path: Path) -> None:
    top = len(EXAMPLE_FOLDER) + 1
    sweep = {name[top:]: content for name, content in github.content[EXAMPLE_RECORD].items()}
    github.trouble(
        github.path_of(f"{EXAMPLE_FOLDER}/UltrasoundImages/162005.png"), Trouble(cut_after=1000), Trouble(flip=50)
    )
    planned = medcli("download", "examples", "--dest", tmp_path, "--dry-run", "--json")
    assert files_in(tmp_path) == {}
    assert json.loads(planned.out)["missing_files"] == 12
    assert medcli("download", "examples", "--dest", tmp_path, "--only", "record").code == 0
    ran = medcli("download", "examples", "--dest", tmp_path, "--json")
    assert ran.code == 0, ran.err
    done = json.loads(ran.out)
    assert (done["fetched_files"], done["reused_files"], done["failures"]) == (2, 10, [])
    image = sweep["UltrasoundImages/162005.png"]
    assert files_in(tmp_path) == {
        "images/14_12_ultrasound.png": image,
        "images/1_2_ultrasound.png": image,
        **{f"{part}_example/CT_bone_segmentations/fibula.stl": sweep["CT_models/Fibula.stl"] for part in PARTS},
        **{PLACE.format(part, "tracking.csv"): sweep["sweep_initial.csv"] for part in PARTS},
        PLACE.format("specimen90", "UltrasoundImages/162005.png"): image,
        PLACE.format("specimen90", "UltrasoundImages/199999.png"): sweep["UltrasoundImages/199999.png"],
        PLACE.format("specimen91", "UltrasoundImages/200000.png"): sweep["UltrasoundImages/200000.png"],
        PLACE.format("specimen91", "UltrasoundImages/253864.png"): sweep["UltrasoundImages/253864.png"],
        PLACE.format("specimen90", "optimization_results/162005_res.png"): sweep["optimization_results/162005_res.png"],
        PLACE.format("specimen91", "optimization_results/200000_res.png"): sweep["optimization_results/200000_res.png"],
    }
    manifest = json.loads((tmp_path / "medcli-manifest.json").read_text("utf-8"))
    assert manifest["about"]["licence"] == "CC BY 4.0"
    assert "Wu L" in manifest["about"]["citation"]
    assert {file["source"] for file in manifest["files"]} == {
        f"https://github.com/{repository}@{github.COMMIT}" for repository in (EXAMPLE_RECORD, EXAMPLE_IMAGES)
    }
    assert medcli("download", "examples", "--dest", tmp_path, "--verify").code == 0
    frames = index_frames(tmp_path)
    assert frames["specimen"].tolist() == [90, 90, 91, 91]
    assert set(frames["donor"]) == {"example"}
    assert (frames["tracking"] >= 0).all()
    assert [path.name for path in find_meshes(frames["record_dir"][0], 90)] == ["fibula.stl"]


@pytest.mark.deep
def test_each_step_runs_on_them(github: FakeGitHub, medcli: Medcli, tmp_path: Path) -> None:
    root, masks = tmp_path / "examples", ("--labels", "full", "--predictions", "Labels")
    assert medcli("download", "examples", "--dest", root).code == 0
    assert medcli("label", "ultrabones", "--root", root).code == 0
    rebuilt = medcli("reconstruct", "ultrabones", "--root", root, "--out", tmp_path / "bone")
    assert rebuilt.code == 0, rebuilt.err
    ran = medcli(
        *("evaluate", "seg", "--root", root, "--specimens", 91, *masks, "--train-specimens", 90),
        *("--out", tmp_path / "evaluation", "--json"),
    )
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["donor_overlap"] == [{"donor": "example", "train": [90], "test": [91]}]
    small = ("--encoder", "tu-mobilenetv3_small_050", "--encoder-weights", "none", "--epochs", 1, "--gpus", 0)
    split = ("--train-specimens", 90, "--val-specimens", 91, "--labels", "full", "--batch-size", 2)
    trained = medcli("train", "seg", "--root", root, *split, *small, "--out", tmp_path / "run")
    assert trained.code == 0, trained.err
    assert "donor example" in trained.err


def test_a_repository_without_the_record_is_one_error(github: FakeGitHub, medcli: Medcli, tmp_path: Path) -> None:
    del github.content[EXAMPLE_RECORD][f"{EXAMPLE_FOLDER}/sweep_initial.csv"]
    ran = medcli("download", "examples", "--dest", tmp_path)
    assert ran.code == 3
    assert f"github.com/{EXAMPLE_RECORD}@{github.COMMIT} has none of these files of the examples: tracking" in ran.err
    github.content = {}
    ran = medcli("download", "examples", "--dest", tmp_path)
    assert ran.code == 3
    assert "not found" in ran.err
    assert "moved" in ran.err
