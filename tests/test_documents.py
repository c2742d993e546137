"""Every command, Python example and error message of README and docs runs as printed, on small synthetic data.

The commands about downloads run against local servers in ``tests/workflows/test_download_documents.py``.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from medcli.core import image_io
from medcli.synthetic.fluoroscopy.dataset import make_veriserum
from medcli.synthetic.fluoroscopy.grid_phantom import grid_image
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from tests.conftest import REPOSITORY, Ran
from tests.support import knees
from tests.support.download_fixtures import example_server, set_github
from tests.support.own_recording import write_own_recording
from tests.support.servers import FakeHub
from tests.ultrabones.segmentation.test_predict import write_dicom

PAGES = ("README.md", *(f"docs/{path.name}" for path in sorted((REPOSITORY / "docs").glob("*.md"))))
GENERATED = "docs/reference.md"
SMALL = ["--epochs", "1", "--encoder-weights", "none", "--gpus", "0", "--limit-frames", "4", "--batch-size", "2"]
SMALL_POSE = ["--epochs", "1", "--backbone", "resnet18", "--backbone-weights", "none", "--size", "64", "--gpus", "0"]
NETWORK = "tu-mobilenetv3_small_050"
DOWNLOADS = {("README.md", "Get the data"), ("docs/download.md", "Download the data")}
AS_PRINTED = [
    ("README.md", "Two commands"),
    ("docs/download.md", "UltraBones100k: the data on disk"),
    ("docs/calibration.md", "Correct every image"),
    ("docs/download.md", "Check the data"),
    ("docs/pose.md", "Masks of implants"),
    ("docs/segmentation.md", "Evaluate"),
    ("docs/report.md", "Report"),  # of that evaluation
    ("docs/runs.md", "List, compare, repeat"),  # that one again
]
OWN_RECORDINGS = [
    ("docs/calibration.md", "Your own calibration"),
    ("docs/pose.md", "Refine poses in both planes"),
]


def text_of(page: str) -> str:
    return (REPOSITORY / page).read_text("utf-8")


def sections(page: str) -> dict[str, str]:
    """Text of each section of a page by its heading."""
    parts = [part.partition("\n") for part in re.split(r"^## ", text_of(page), flags=re.MULTILINE)[1:]]
    return {title.strip(): text for title, _, text in parts}


def printed_commands(page: str, title: str) -> Iterator[list[str]]:
    """The words of each ``$ medcli …`` line in the console blocks below a heading."""
    for block in re.findall(r"^```console\n(.*?)^```", sections(page)[title], re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("$ medcli"):
                yield shlex.split(line.partition(" #")[0])[2:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder as the README supposes it."""
    place = tmp_path_factory.mktemp("readme")
    make_veriserum(place / "data/veriserum", pairs=12, frames_per_trial=3, anatomies=(1,))
    pd.DataFrame({"x_px": [100.0, 831.5], "y_px": [200.0, 800.0]}).to_csv(place / "markers.csv", index=False)
    settings = SweepSettings(frames=2, scale=0.5, predictions=True)
    make_ultrabones(place / "data/ultrabones", tuple(range(1, 15)), settings=settings)
    return place


@pytest.fixture(scope="module")
def study(folder: Path) -> Path:
    """A user's recordings: images of the bead grid, two small studies, start poses that are a little off."""
    made = make_veriserum(folder / "study", pairs=2, frames_per_trial=1).study
    for plane in ("bs", "fs"):
        image = grid_image(made.calibrations[1].distortion(plane), np.random.default_rng(0), missing_share=0.05)
        image_io.write_image(folder / f"grid_{plane}.png", image)
    make_veriserum(folder / "my-study", pairs=1, seed=1)
    poses = pd.read_csv(folder / "study/csv_files/veriserum_pose_reloaded_refined_all.csv")
    poses[["tx", "ty", "tz", "rz", "rx", "ry"]] += 2.0
    poses[["id", "tx", "ty", "tz", "rz", "rx", "ry"]].to_csv(folder / "start.csv", index=False)
    shutil.copytree(folder / "data/veriserum/veriserum_collection_compressed", folder / "recordings")
    return folder


@pytest.fixture(scope="module")
def networks(folder: Path) -> Path:
    """Small untrained networks: a user's run, and a checkpoint as published ones are."""
    import segmentation_models_pytorch as smp
    import torch

    from medcli.ultrabones.segmentation.checkpoint import save_checkpoint
    from medcli.ultrabones.segmentation.checkpoint_metadata import Metadata
    from medcli.ultrabones.segmentation.network import build_model

    run = folder / "runs/seg/fpn-resnet34"
    run.mkdir(parents=True)
    save_checkpoint(run / "best.safetensors", build_model("fpn", NETWORK, None), Metadata("fpn", NETWORK))
    torch.save(smp.FPN("resnet18", encoder_weights=None, in_channels=1, classes=1), folder / "epoch_100.pth")
    return folder


@pytest.fixture
def scans(folder: Path) -> Path:
    """Images, a movie and a DICOM loop of a user; the records' masks of other origin are gone."""
    image = image_io.read_grey(next((folder / "data/ultrabones").rglob("UltrasoundImages/*.png")))
    (folder / "scans/more").mkdir(parents=True)
    for name in ("a.png", "b.jpg", "more/c.tif"):
        image_io.write_image(folder / "scans" / name, image)
    movie = cv2.VideoWriter(str(folder / "sweep.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, image.shape[::-1])
    movie.write(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR))
    movie.release()
    write_dicom(folder / "loop.dcm", np.stack([image] * 2), "MONOCHROME2")
    for masks in (folder / "data/ultrabones").rglob("Labels_pred"):
        shutil.rmtree(masks)
    return folder


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which somebody types the README from its beginning."""
    place = tmp_path_factory.mktemp("newcomer")
    settings = SweepSettings(frames=2, scale=0.5)
    make_ultrabones(place / "data/ultrabones", tuple(range(1, 15)), settings=settings)
    made = make_veriserum(place / "data/veriserum", pairs=12, frames_per_trial=3, anatomies=(1,)).study
    (place / "scans").mkdir()
    shutil.copy(next((place / "data/ultrabones").rglob("UltrasoundImages/*.png")), place / "scans/a.png")
    shutil.copytree(place / "data/veriserum/veriserum_collection_compressed", place / "recordings")
    for plane in ("bs", "fs"):
        image = grid_image(made.calibrations[1].distortion(plane), np.random.default_rng(0), missing_share=0.05)
        image_io.write_image(place / f"grid_{plane}.png", image)
    return place


def run_all(page: str, title: str, medcli: Callable[..., Ran]) -> None:
    commands = list(printed_commands(page, title))
    assert commands
    for words in commands:
        ran = medcli(*words)
        assert ran.code == 0, f"medcli {shlex.join(words)}: {ran.err}"
        assert ran.out


@pytest.mark.deep
@pytest.mark.parametrize(("page", "title"), AS_PRINTED)
def test_commands_run_as_printed(
    page: str, title: str, folder: Path, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    run_all(page, title, medcli)


@pytest.mark.deep
def test_labelling_commands_run_as_printed(
    folder: Path, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On three specimens: refining the poses of all fourteen takes long and shows no more."""
    for number in (2, 7, 8):
        name = f"data/ultrabones/specimen{number:02d}"
        shutil.copytree(folder / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    run_all("docs/label-and-reconstruct.md", "Label and reconstruct", medcli)


@pytest.mark.deep
def test_commands_for_an_own_probe_run_as_printed(
    medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_own_recording(tmp_path)
    monkeypatch.chdir(tmp_path)
    run_all("docs/own-probe.md", "Your own probe", medcli)


@pytest.mark.deep
def test_commands_on_ultraboneship_run_as_printed(
    hip_hub: FakeHub, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    run_all("docs/own-probe.md", "UltraBonesHip", medcli)


@pytest.mark.deep
def test_conversions_for_other_programs_run_as_printed(
    study: Path, networks: Path, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On all specimens, a trial with both components, and motion that was computed before."""
    shutil.copytree(networks / "data/ultrabones", tmp_path / "data/ultrabones")
    shutil.copytree(networks / "runs/seg", tmp_path / "runs/seg")
    options: dict[str, Any] = {"frames_per_trial": 3, "anatomies": (3,), "both_poses": True, "obsolete_every": 0}
    make_veriserum(tmp_path / "data/veriserum", 3, 4, calibrations=1, **options)
    names = ["flexion_deg", "adduction_deg", "internal_rotation_deg", "lateral_mm", "anterior_mm", "distal_mm"]
    motion = {"trial": 1, "side": "left", "status": "good", "time_s": [0.0, 0.04], **dict.fromkeys(names, 1.0)}
    (tmp_path / "runs/kinematics").mkdir(parents=True)
    for name in ("runs/kinematics/kinematics.csv", "corrected.csv"):
        pd.DataFrame(motion).to_csv(tmp_path / name, index=False)
    monkeypatch.chdir(tmp_path)
    for title in ("Labelled frames", "Tracked ultrasound", "Implants", "Knee motion", "Describe a data folder"):
        run_all("docs/convert.md", title, medcli)
    run_all("docs/convert.md", "Publish a checkpoint", medcli)


@pytest.mark.deep
def test_registration_commands_run_as_printed(
    medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On short sweeps of three specimens, from one start each."""
    settings = SweepSettings(frames=20, scale=0.25, predictions=True)
    make_ultrabones(tmp_path / "data/ultrabones", (2, 7, 8), settings=settings)
    monkeypatch.chdir(tmp_path)
    run_all("docs/registration.md", "Register a cloud", medcli)
    for words in printed_commands("docs/registration.md", "Evaluate with random starts"):
        ran = medcli(*words, "--starts", "1")
        assert ran.code == 0, ran.err


@pytest.mark.deep
def test_commands_on_cleaned_points_run_as_printed(
    folder: Path, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(folder / "data/ultrabones/specimen02", tmp_path / "data/ultrabones/specimen02")
    monkeypatch.chdir(tmp_path)
    run_all("docs/label-and-reconstruct.md", "Cleaned points and a surface", medcli)


@pytest.mark.deep
def test_commands_on_knee_motion_run_as_printed(
    medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = knees.pose_rows(knees.draw_knees(1, 3))
    knees.write_knees(tmp_path / "data/veriserum", rows)
    rows.to_csv(tmp_path / "poses_registered.csv", index=False)
    monkeypatch.chdir(tmp_path)
    run_all("docs/kinematics.md", "Motion of a study", medcli)


@pytest.mark.deep
@pytest.mark.parametrize(("page", "title"), OWN_RECORDINGS)
def test_commands_for_own_recordings_run_as_printed(
    page: str, title: str, study: Path, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(study)
    run_all(page, title, medcli)


@pytest.mark.deep
@pytest.mark.timeout(900)
@pytest.mark.parametrize("title", ["Bone in ultrasound", "Implants in X-ray images"])
def test_readme_can_be_typed_from_its_beginning(
    title: str,
    newcomer: Path,
    medcli: Callable[..., Ran],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """In the order printed, every command with what those before it left; only training is made small."""
    monkeypatch.chdir(newcomer)
    github = example_server()
    request.addfinalizer(github.stop)
    set_github(github, monkeypatch)
    small = {"seg": [*SMALL, "--encoder", NETWORK], "pose": SMALL_POSE}
    for words in printed_commands("README.md", title):
        ran = medcli(*words, *(small[words[1]] if words[0] == "train" else []))
        # A network of one epoch is no start for a registration: pairs that do not match are listed.
        assert ran.code == 0 or (words[0] == "register" and ran.code == 4), f"medcli {shlex.join(words)}: {ran.err}"


@pytest.mark.deep
@pytest.mark.timeout(900)
def test_pose_network_commands_run_but_for_their_size(
    study: Path, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As printed, but a small network learns for one epoch."""
    monkeypatch.chdir(study)
    for words in printed_commands("docs/pose.md", "Pose by a network"):
        ran = medcli(*words, *(SMALL_POSE if words[0] == "train" else []))
        assert ran.code == 0 or (words[0] == "register" and ran.code == 4), f"medcli {shlex.join(words)}: {ran.err}"


def test_demo_is_one_command() -> None:
    """``tests/workflows/test_demo.py`` runs it whole, and every command that it prints."""
    assert list(printed_commands("README.md", "Try it without data")) == [["demo"]]


@pytest.mark.deep
def test_prediction_and_checkpoint_commands_run_as_printed(
    scans: Path, networks: Path, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(networks)
    run_all("docs/segmentation.md", "Predict", medcli)
    run_all("docs/segmentation.md", "Checkpoints", medcli)


@pytest.mark.deep
def test_export_runs_as_printed(networks: Path, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(networks)
    run_all("docs/segmentation.md", "Export", medcli)
    assert (networks / "model.onnx").is_file()


@pytest.mark.deep
@pytest.mark.timeout(900)
def test_training_commands_run_but_for_their_size(
    networks: Path, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As printed, with one epoch of four frames, from random weights and on the CPU."""
    monkeypatch.chdir(networks)
    for number, words in enumerate(printed_commands("docs/segmentation.md", "Train")):
        if words[0] != "train":  # what is done with the network afterwards: tests/workflows/test_strong_recipe.py
            continue
        out = ["--out", str(tmp_path / str(number)), "--encoder", NETWORK]
        ran = medcli(*words, *SMALL, *out)
        assert ran.code == 0, f"medcli {shlex.join(words)}: {ran.err}"


def printed_errors() -> list[tuple[list[str], list[str]]]:
    """Each command of the page about errors with the lines printed below it; ``…`` stands for any."""
    found = []
    for block in re.findall(r"^```text\n(.*?)^```", text_of("docs/troubleshooting.md"), re.MULTILINE | re.DOTALL):
        for printed in block.split("$ medcli ")[1:]:
            command, *lines = printed.splitlines()
            found.append((shlex.split(command), lines))
    assert found
    return found


def test_errors_read_as_printed(medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder, empty = tmp_path / "data folder", tmp_path / "empty"
    make_veriserum(folder / "data/veriserum", pairs=1, frames_per_trial=1, anatomies=(1,), calibrations=1)
    settings = SweepSettings(frames=1, scale=0.2, predictions=True)
    make_ultrabones(folder / "data/ultrabones", tuple(range(1, 15)), settings=settings)
    empty.mkdir()
    for words, lines in printed_errors():
        missing = any("no folder" in line or "no checkpoint" in line for line in lines)
        monkeypatch.chdir(empty if missing else folder)
        ran = medcli(*words)
        if lines == ["…"]:
            assert ran.code == 0, ran.err
        else:
            assert ran.code in (1, 2, 3)
            errors = ran.err[ran.err.index("error: ") :].splitlines()
            assert errors == lines, f"medcli {shlex.join(words)}"


def test_every_section_with_commands_is_run() -> None:
    """A new section cannot be forgotten here."""
    tested = Path(__file__).read_text("utf-8")
    for page in PAGES:
        for title in sections(page):
            if any(True for _ in printed_commands(page, title)) and (page, title) not in DOWNLOADS:
                assert f'"{title}"' in tested, f"no test runs the commands of {title!r} in {page}"


@pytest.mark.deep
def test_python_examples_run_as_printed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each by itself; those that need names from elsewhere get them: a row of the calibration table, a pose, a mesh."""
    monkeypatch.chdir(folder)
    shutil.copy(folder / "data/veriserum/veriserum_anatomies/ana_000001.stl", folder)
    source = pd.read_csv(folder / "data/veriserum/csv_files/source_int_calibration_reloaded.csv").iloc[0]
    row = {name: float(source[name]) for name in source.index if name.startswith(("principalp", "sid"))}
    names = f"row = {json.dumps(row)}\ntx, ty, tz, rz, rx, ry = 0.0, 0.0, 500.0, 0.0, 0.0, 0.0\n"
    blocks = [
        (page, block)
        for page in PAGES
        if page != "docs/python.md"  # whose examples follow one another: tests/test_public_names.py
        for block in re.findall(r"^```python\n(.*?)^```", text_of(page), re.MULTILINE | re.DOTALL)
    ]
    assert blocks
    for page, block in blocks:
        exec(compile(names + block, f"an example of {page}", "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    """Images, pages and headings; addresses on the network are left alone."""
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if target.startswith("https://"):
            continue
        path, _, heading = target.partition("#")
        file = (REPOSITORY / page).parent / path if path else REPOSITORY / page
        assert file.exists(), f"{page}: {target}"
        if heading:
            titles = re.findall(r"^#+ (.*)$", file.read_text("utf-8"), re.MULTILINE)
            assert heading in {_anchor(title) for title in titles}, f"{page}: {target}"


def _anchor(title: str) -> str:
    """A heading's anchor on the usual web pages for Markdown."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES)
def test_every_named_file_is_there(page: str) -> None:
    for path in re.findall(r"`(?:python )?((?:tests|docs|medcli)/[\w/.]+\.py)", text_of(page)):
        assert (REPOSITORY / path).exists(), path


@pytest.mark.deep
def test_view_commands_run_as_printed(
    folder: Path, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("rerun", reason="rerun is not installed")
    shutil.copytree(folder / "data/ultrabones/specimen02", tmp_path / "data/ultrabones/specimen02")
    shutil.copytree(folder / "data/veriserum", tmp_path / "data/veriserum")
    monkeypatch.chdir(tmp_path)
    run_all("docs/view.md", "A file instead of a window", medcli)
    assert {path.name for path in tmp_path.glob("*.rrd")} == {"record.rrd", "trial.rrd", "pair.rrd"}


@pytest.mark.deep
@pytest.mark.timeout(900)
def test_trial_commands_run_as_printed(
    medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On one trial whose table has the poses of both components."""
    options: dict[str, Any] = {"frames_per_trial": 3, "anatomies": (3,), "both_poses": True, "obsolete_every": 0}
    make_veriserum(tmp_path / "data/veriserum", 3, 4, calibrations=1, **options)
    monkeypatch.chdir(tmp_path)
    for words in printed_commands("docs/pose.md", "Track a trial"):
        ran = medcli(*words)
        assert ran.code == 0, f"medcli {shlex.join(words)}: {ran.err}"
    table = pd.read_csv(tmp_path / "smoothed.csv")
    assert sorted(set(table["anatomy_id"])) == [1, 3]
    assert len(table) == 6
    assert (tmp_path / "looks/trial_000001.mp4").stat().st_size > 1000
