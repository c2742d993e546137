"""Disks that are full or read-only, names that no disk takes, folders of others: every command says it in one line.

A real file system of a few megabytes is mounted where this machine allows it; a used up quota, which such a file
system does not have, is what writing raises.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from medcli.core import files
from medcli.core.errors import MedcliError, UnwrittenFileError, system_failure
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from tests.conftest import REPOSITORY, MadeOnce, Ran
from tests.support.grid_images import native
from tests.support.made_veriserum import write_test_image
from tests.support.report_folders import training
from tests.support.small_disk import small_disk

Run = Callable[..., Ran]
ENCODER = "tu-test_resnet.r160_in1k"
SMALL_SEG = ("--encoder", ENCODER, "--encoder-weights", "none", "--epochs", "1", "--batch-size", "2", "--gpus", "0")
SMALL_POSE = ("--backbone", "shufflenet_v2_x0_5", "--backbone-weights", "none", "--epochs", "1", "--size", "32")

COMMANDS: dict[str, tuple[str, ...]] = {
    "calibrate veriserum": ("--root", "{study}", "--out", "{disk}/out", "--size", "64"),
    "calibrate points": ("{made}/points.csv", "--root", "{study}", "--out", "{disk}/out.csv"),
    "calibrate fit": ("bs={made}/bs.png", "fs={made}/fs.png", "--out", "{disk}/out.csv"),
    "label ultrabones": ("--root", "{disk}/bones", "--overlay", "--overwrite"),
    "reconstruct ultrabones": ("--root", "{bones}", "--out", "{disk}/out"),
    "evaluate seg": ("--root", "{bones}", "--specimens", "2", "--predictions", "Labels", "--out", "{disk}/out"),
    "evaluate pose": ("--root", "{study}", "--predictions", "{poses}", "--split", "all", "--out", "{disk}/out"),
    "register pose": ("--root", "{study}", "--ids", "1", "--start", "table", "--out", "{disk}/out.csv"),
    "predict seg": ("{bones}/specimen02", "--checkpoint", "{made}/seg.safetensors", "--out", "{disk}/out"),
    "export seg": ("--checkpoint", "{made}/seg.safetensors", "--out", "{disk}/out.onnx"),
    "checkpoint convert": ("{made}/seg.safetensors", "{disk}/out.safetensors"),
    "train seg": (
        "--root",
        "{bones}",
        "--train-specimens",
        "1",
        "--val-specimens",
        "2",
        *SMALL_SEG,
        "--out",
        "{disk}/out",
    ),
    "train pose": ("--root", "{study}", *SMALL_POSE, "--gpus", "0", "--out", "{disk}/out"),
    "report": ("{made}/run", "--out", "{disk}/out.html"),
    "demo": ("--data-only", "--quick", "--out", "{disk}/out"),
}
SLOW = ("train seg", "train pose", "demo", "export seg")
QUICK = ("calibrate veriserum", "label ultrabones", "evaluate seg", "report")
EVERY = [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.deep]) for name in COMMANDS]
IN_A_PROCESS = [EVERY[0], *(pytest.param(name, marks=pytest.mark.deep) for name in list(COMMANDS)[1:])]


@pytest.fixture(scope="session")
def made(made_once: MadeOnce) -> Path:
    """Inputs of every command. Not to be changed."""

    def make(folder: Path) -> None:
        import torch

        from medcli.synthetic.fluoroscopy.dataset import make_veriserum
        from medcli.ultrabones.segmentation.checkpoint import save_checkpoint
        from medcli.ultrabones.segmentation.checkpoint_metadata import Metadata
        from medcli.ultrabones.segmentation.network import build_model

        make_ultrabones(folder / "bones", (1, 2), settings=SweepSettings(frames=2, scale=0.25))
        settings = {"frames_per_trial": 2, "anatomies": (1, 1, 1), "companion": False, "obsolete_every": 0}
        make_veriserum(folder / "study", 6, seed=4, calibrations=1, **settings)
        torch.manual_seed(4)
        save_checkpoint(folder / "seg.safetensors", build_model("fpn", ENCODER).eval(), Metadata(encoder=ENCODER))
        (folder / "points.csv").write_text("x_px,y_px,plane,id\n" + "1,2,bs,1\n" * 2000)
        for plane in ("bs", "fs"):
            write_test_image(folder / f"{plane}.png", native(plane))
        training(folder / "run")

    return made_once("small-disks", make)


def words_of(name: str, made: Path, disk: Path) -> list[str]:
    poses = next((made / "study/csv_files").glob("veriserum_pose*.csv"))
    places = {"made": made, "bones": made / "bones", "study": made / "study", "poses": poses, "disk": disk}
    return [*name.split(), *(word.format(**places) for word in COMMANDS[name])]


def must_be_one_error(ran: Ran, *said: str) -> None:
    assert "Traceback" not in ran.err
    if "demo" in ran.out and ran.code == 4:  # which goes on with steps that do not need the one that failed
        assert "cannot write" in ran.err
        return
    assert ran.code == 1, ran
    errors = [line for line in ran.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, ran.err
    assert all(words in ran.err for words in said), ran.err


@pytest.mark.parametrize("left", [8192, pytest.param(0, marks=pytest.mark.deep)])
@pytest.mark.parametrize("name", EVERY)
def test_a_full_disk_is_one_line_and_the_command_resumes(
    made: Path, medcli: Run, tmp_path: Path, name: str, left: int
) -> None:
    with small_disk(tmp_path / "disk", 200 if name in SLOW else 40) as disk:
        shutil.copytree(made / "bones", disk / "bones")
        words, ballast = words_of(name, made, disk), disk / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while file.write(bytes(1 << 16)):
                pass
        if left:
            os.truncate(ballast, ballast.stat().st_size - left)
        ran = medcli(*words)
        if left and ran.code == 0:
            return  # it fits
        must_be_one_error(ran, str(disk), "run the same command again", "free")
        assert list(disk.rglob("*.part")) == []
        ballast.unlink()
        again = medcli(*words)
        assert again.code == 0, again


@pytest.mark.parametrize("name", EVERY)
def test_a_read_only_disk_is_one_line(made: Path, medcli: Run, tmp_path: Path, name: str) -> None:
    with small_disk(tmp_path / "disk", 40) as disk:
        shutil.copytree(made / "bones", disk / "bones")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        ran = medcli(*words_of(name, made, disk))
        must_be_one_error(ran, "Read-only file system", str(disk))


LOADED_AS_ROOT = (
    "matplotlib.pyplot",
    "medcli.ultrabones.evaluation.evaluate",
    "medcli.ultrabones.segmentation.predict",
    "medcli.ultrabones.labelling.label_dataset",
    "medcli.veriserum.calibration.grid_fit.fit_calibration",
    "medcli.veriserum.pose.evaluate",
    "medcli.veriserum.registration.register",
)
"""Nobody may not be able to read the folder that Python lies in."""


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Without the rights of root, whom no folder refuses; its own rights where the test is somebody else's."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody without rights")
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="needs POSIX users")
@pytest.mark.parametrize("name", EVERY)
def test_a_folder_of_somebody_else_is_one_line(
    made: Path, medcli: Run, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "disk"
    shutil.copytree(made / "bones", disk / "bones")
    for folder in {path for end in (tmp_path, made) for path in (end, *end.parents) if "pytest-" in str(path)}:
        folder.chmod(folder.stat().st_mode | 0o055)
    for module in LOADED_AS_ROOT:
        importlib.import_module(module)
    monkeypatch.setenv("MEDCLI_CACHE_DIR", str(tmp_path / "nowhere"))
    with as_nobody():
        ran = medcli(*words_of(name, made, disk))
    must_be_one_error(ran, "ermission denied")


def test_a_used_up_quota_is_reported_like_a_full_disk(
    made: Path, medcli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``EDQUOT`` from every file that is written, as a share with quotas gives it."""
    shutil.copytree(made / "bones", tmp_path / "bones")

    def refuse(self: Path, content: bytes) -> int:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(Path, "write_bytes", lambda path, data: refuse(path, data) if data else path.touch())
    for name in ("label ultrabones", "calibrate points", "evaluate seg", "predict seg", "report"):
        ran = medcli(*words_of(name, made, tmp_path))
        must_be_one_error(ran, "the quota is used up", "bytes needed", str(tmp_path), "it resumes")


def test_errors_of_the_system_in_words(tmp_path: Path) -> None:
    full = system_failure(UnwrittenFileError(errno.ENOSPC, "No space left on device", str(tmp_path / "a.png"), 12345))
    assert isinstance(full, MedcliError)
    assert full.message.startswith(
        f"the disk is full: cannot write {tmp_path / 'a.png'}: No space left on device (12,345"
    )
    assert full.message.endswith(" free)")
    assert (full.exit_code, "it resumes" in (full.hint or "")) == (1, True)
    for number in (errno.EACCES, errno.EROFS, errno.ENAMETOOLONG, errno.EIO):
        found = system_failure(OSError(number, os.strerror(number), "a"))
        assert os.strerror(number) in str(found)
    for number in (errno.EPIPE, errno.EINVAL, errno.ENOENT):
        assert system_failure(OSError(number, os.strerror(number))) is None


def _write_as_torch_does(target: Path, size: int) -> None:
    with files.replacing(target) as part:
        with contextlib.suppress(OSError):
            part.write_bytes(bytes(size))
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")


def test_a_library_that_hides_a_full_disk_is_seen_through(tmp_path: Path) -> None:
    """torch and safetensors raise errors of their own."""
    with small_disk(tmp_path / "disk", 1) as disk:
        with pytest.raises(UnwrittenFileError) as caught:
            _write_as_torch_does(disk / "weights", 2 << 20)
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(disk / "weights"))
        assert list(disk.iterdir()) == []
        with pytest.raises(RuntimeError):  # another failure
            _write_as_torch_does(disk / "weights", 1)


NO_NAME_OF_ITS_OWN = ("label ultrabones", "demo", "calibrate fit")
LONG = {"a name of 300": "n" * 300, "a path of 5000": "/".join(["folder" * 20] * 42)}


@pytest.mark.parametrize("length", LONG)
@pytest.mark.parametrize("name", EVERY)
def test_names_that_no_disk_takes_are_reported_before_the_work(
    made: Path, medcli: Run, tmp_path: Path, name: str, length: str
) -> None:
    ran = medcli(*words_of(name, made, tmp_path / LONG[length]))
    assert ran.code in (1, 2, 3), ran
    assert "Traceback" not in ran.err
    assert "too long" in ran.err or "longer than the 255" in ran.err or "there is no folder" in ran.err, ran.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [param for param in EVERY if param.values[0] not in NO_NAME_OF_ITS_OWN])
def test_the_longest_name_that_a_disk_takes_works(made: Path, medcli: Run, tmp_path: Path, name: str) -> None:
    """The temporary names beside it are longer, and are cut."""
    ending = next((Path(word).suffix for word in COMMANDS[name] if word.startswith("{disk}/out")), "")
    words = [
        word.replace("{disk}/out" + ending, f"{tmp_path}/{'n' * (255 - len(ending))}{ending}")
        for word in COMMANDS[name]
    ]
    places = {"made": made, "bones": made / "bones", "study": made / "study"}
    poses = next((made / "study/csv_files").glob("veriserum_pose*.csv"))
    ran = medcli(*name.split(), *(word.format(**places, poses=poses) for word in words))
    assert ran.code == 0, ran


def test_a_name_that_another_is_made_from_is_checked_first(made: Path, medcli: Run, tmp_path: Path) -> None:
    """The figure of a fit is called as the table, with the id of the calibration."""
    ran = medcli("calibrate", "fit", f"bs={made}/bs.png", f"fs={made}/fs.png", "--out", tmp_path / f"{'n' * 251}.csv")
    assert (ran.code, "than the 255 that file systems allow" in ran.err) == (2, True), ran
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes on Linux only")
@pytest.mark.parametrize("name", IN_A_PROCESS)
def test_names_that_are_not_utf_8_are_written_and_printed(made: Path, tmp_path: Path, name: str) -> None:
    """In a process of its own, whose standard output is strict, in both forms of the answer."""
    disk = tmp_path / os.fsdecode(b"caf\xe9")
    disk.mkdir()
    shutil.copytree(made / "bones", disk / "bones")
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": "utf-8:strict"}
    words = words_of(name, made, disk)
    if name in ("report", "checkpoint convert", "export seg"):
        words.append("--overwrite")
    for more in ([], ["--json"]):
        command = [sys.executable, "-m", "medcli", *words, *more]
        ran = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=300)
        assert b"Traceback" not in ran.stderr, ran.stderr.decode()
        assert ran.returncode == 0, ran.stderr.decode()
        if more:
            json.loads(ran.stdout)
    for note in disk.rglob("*medcli-run.json"):
        json.loads(note.read_bytes())
