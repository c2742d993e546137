"""Small data sets on local servers, for the tests of the download commands."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from tests.support.azurite import Azurite, start
from tests.support.servers import FakeDSpace, FakeGitHub, FakeHub

_random = np.random.default_rng(100)
TIMES = (1000, 1033, 1066)


def specimen_files(number: int) -> dict[str, bytes]:
    """One specimen in the current release's layout: half a megabyte of frames, 2 anatomies, 2 records each."""
    top = f"specimen{number:02d}"
    files = {
        f"{top}/CT_bone_segmentations/{name}.stl": _random.bytes(900)
        for name in ("fibula", "tibia", "CT_bone_model_merged")
    }
    files[f"{top}/pretrained_model/epoch_30.pth"] = _random.bytes(5000)
    for anatomy in ("fibula", "tibia"):
        for record in (1, 2):
            folder = f"{top}/ultrasound_records/{anatomy}/record{record:02d}"
            files[f"{folder}/tracking.csv"] = b"timestamp,x\n" * 40
            for time in TIMES:
                files[f"{folder}/UltrasoundImages/{time}.png"] = _random.bytes(40_000)
                files[f"{folder}/Labels/{time}_label.png"] = _random.bytes(300)
                files[f"{folder}/Labels_pred/{time}_label_pred.png"] = _random.bytes(200)
    return files


def zipped(files: dict[str, bytes], top: str = "") -> bytes:
    """A ZIP with the members ordered as a walk over the folders gives them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files.items()):
            archive.writestr(top + name, content)
    return buffer.getvalue()


CURRENT = {number: specimen_files(number) for number in (1, 2, 7)}
FIRST = {
    f"{folder}/record{record:02d}/{name}": _random.bytes(size)
    for folder in ("cadaver01_F231091", "cadaver02_F231218")
    for record in (1, 2)
    for time in TIMES
    for name, size in ((f"UltrasoundImages/{time}.png", 3000), (f"Labels/{time}_label.png", 300))
} | {
    f"{f}/record{r:02d}/tracking.csv": b"timestamp,x\n"
    for f in ("cadaver01_F231091", "cadaver02_F231218")
    for r in (1, 2)
}
CONTAINER = "ultrasound"
VERISERUM = {
    **{f"{plane}_{number:06d}.jpg": _random.bytes(1500) for number in range(1, 6) for plane in ("bs", "fs")},
    "veriserum.db": _random.bytes(8000),
    "ana_000001.stl": _random.bytes(700),
    "README.txt": b"read me",
}
ZIPPED_IMAGES = {f"{plane}_{number:06d}.jpg": _random.bytes(1500) for number in range(6, 9) for plane in ("bs", "fs")}
TABLES = {
    "csv_files/veriserum_pose_reloaded_refined_all.csv": b"id,tx\n1,2\n" * 50,
    "csv_files/distortion_calibration_reloaded.csv": b"id\n1\n",
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeHub]:
    """A Hub with three specimens; huggingface_hub's own settings are left behind."""
    hub = FakeHub("luohwu/UltraBones100k")
    for number, files in CURRENT.items():
        hub.add(f"specimen{number:02d}.zip", zipped(files))
    hub.add("README.md", b"# UltraBones100k")
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf")))
    yield hub
    hub.stop()


@pytest.fixture
def veriserum_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDSpace]:
    """A DSpace with Veriserum's files, some of the images in a ZIP, and a GitHub with its tables."""
    dspace, github = FakeDSpace(), FakeGitHub("wjh19990923/veriserum")
    for name, content in VERISERUM.items():
        dspace.add(name, content)
    dspace.add("images_2.zip", zipped(ZIPPED_IMAGES, "images_2/"))
    for name, content in TABLES.items():
        github.add(name, content)
    monkeypatch.setenv("MEDCLI_VERISERUM_URL", dspace.url)
    set_github(github, monkeypatch)
    yield dspace
    dspace.stop()
    github.stop()


@pytest.fixture(scope="session")
def running_azurite() -> Iterator[Azurite]:
    """The emulator with the first release's layout in one container; started once."""
    process, azurite = start()
    service = azurite.service()
    service.create_container("something-else")
    container = service.create_container(CONTAINER)
    for name, content in FIRST.items():
        container.upload_blob(f"AI_Ultrasound_dataset/{name}", content)
    container.upload_blob("AI_Ultrasound_dataset/readme.txt", b"read me")
    yield azurite
    azurite.proxy.shutdown()
    process.terminate()
    process.wait(10)


@pytest.fixture
def azurite(running_azurite: Azurite) -> Azurite:
    """The emulator, its proxy without any trouble left."""
    proxy = running_azurite.proxy
    proxy.troubles, proxy.requests, proxy.sent = {}, [], 0
    return running_azurite


EXAMPLE_RECORD, EXAMPLE_IMAGES = "luohwu/a7v9x0qp4zmnz", "luohwu/a7v9x0qp4zmnzx78q"
EXAMPLE_FOLDER = "CT-US bone alignment optimization/record_folder"
EXAMPLE_TIMES = (162005, 199999, 200000, 253864)


def example_files() -> dict[str, bytes]:
    """A tracked sweep with its mesh, named and arranged as the authors' example record."""
    with tempfile.TemporaryDirectory() as folder:
        specimen = make_ultrabones(Path(folder), (1,), settings=SweepSettings(4, scale=0.4)) / "specimen01"
        record = specimen / "ultrasound_records/fibula/record01"
        table = pd.read_csv(record / "tracking.csv").drop(columns="timestamp")
        images = [path.read_bytes() for path in sorted((record / "UltrasoundImages").iterdir())]
        mesh = (specimen / "CT_bone_segmentations/fibula.stl").read_bytes()
    table = table[[name for name in table if not name.endswith("_optimized")]]
    table.insert(0, "timestamp", EXAMPLE_TIMES)
    files = {f"UltrasoundImages/{time}.png": image for time, image in zip(EXAMPLE_TIMES, images, strict=True)}
    return files | {
        "CT_models/Fibula.stl": mesh,
        "sweep_initial.csv": table.to_csv(index=False).encode(),
        "sweepProcessedAndOptimized.csv": b"timestamp,x,x_optimized\n",
        "optimization_results/162005_res.png": images[0] + b"1",
        "optimization_results/200000_res.png": images[0] + b"2",
    }


def example_server() -> FakeGitHub:
    """A GitHub with the repositories of the example record and of the example images."""
    server = FakeGitHub(EXAMPLE_RECORD)
    files = example_files()
    for name, content in files.items():
        server.add(f"{EXAMPLE_FOLDER}/{name}", content)
    server.add("CT-US bone alignment optimization/optimization_main.py", b"print()\n")
    for name in ("1_2_ultrasound.png", "14_12_ultrasound.png"):
        image = files["UltrasoundImages/162005.png"]
        server.add(f"AI_ultrasound_segmentation/example_ultrasound_images/{name}", image, EXAMPLE_IMAGES)
    server.add("README.md", b"# Early access\n", EXAMPLE_IMAGES)
    return server


def set_github(server: FakeGitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands take ``server`` for GitHub."""
    monkeypatch.setenv("MEDCLI_GITHUB_API_URL", f"{server.url}/api")
    monkeypatch.setenv("MEDCLI_GITHUB_RAW_URL", f"{server.url}/raw")


def files_in(root: Path) -> dict[str, bytes]:
    """All data files below ``root`` by their path; what the toolkit keeps for itself is left out."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".medcli-download" not in path.parts and path.name != "medcli-manifest.json"
    }
