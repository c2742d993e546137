"""Every command that reads images, with one that is damaged: it is listed, the rest is done, the exit code is 4."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from medcli.core.image_io import read_rgb
from medcli.report.blocks import ImageBlock, Note
from medcli.report.embedded_images import embed_image
from medcli.synthetic.fluoroscopy.dataset import make_veriserum
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.dataset.frame_index import index_frames
from medcli.ultrabones.reconstruction import cloud_files, point_cloud
from medcli.veriserum.dataset.study import VeriserumStudy
from medcli.veriserum.pose.pairs import find_pairs
from tests.conftest import REPOSITORY, Ran
from tests.support.image_files import cut_scan, encoded, png_chunk, png_file, textured
from tests.support.small_figures import draw_nothing

Run = Callable[..., Ran]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@dataclass(frozen=True)
class Damage:
    """What was done to a file, and what is said of it."""

    path: Path
    reason: str


def damage_png(path: Path) -> Damage:
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 0x10
    path.write_bytes(content)
    return Damage(path, "a checksum is wrong")


def damage_jpeg(path: Path) -> Damage:
    """Half of the scan is gone, the end marker is there: until now this was decoded to grey."""
    path.write_bytes(cut_scan(path.read_bytes(), 50))
    return Damage(path, "is damaged: ")


def result_of(ran: Ran) -> dict[str, Any]:
    """What a command with ``--json`` printed; what it said instead is shown by a test that fails."""
    assert ran.out, f"exit code {ran.code}: {ran.err}"
    return dict(json.loads(ran.out))


def check(ran: Ran, damage: Damage, words: str, code: int = 4) -> None:
    assert ran.code == code, ran.err
    assert damage.path.name in words
    assert damage.reason in words


@pytest.fixture(scope="module")
def made_ultrabones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ultrabones(tmp_path_factory.mktemp("made"), (1, 2), settings=SweepSettings(frames=3, scale=0.25))


@pytest.fixture
def ultrabones(made_ultrabones: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made_ultrabones, tmp_path / "ultrabones"))


@pytest.fixture(scope="module")
def made_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made") / "study"
    make_veriserum(root, 12, seed=4, calibrations=1, frames_per_trial=2, anatomies=(1,), companion=False)
    return root


@pytest.fixture
def study(made_study: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made_study, tmp_path / "study"))


@pytest.fixture(scope="module")
def seg_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from medcli.ultrabones.segmentation import checkpoint
    from medcli.ultrabones.segmentation.network import build_model

    encoder = "tu-test_resnet.r160_in1k"
    path = tmp_path_factory.mktemp("runs") / "best.safetensors"
    return checkpoint.save_checkpoint(path, build_model("fpn", encoder), checkpoint.Metadata(encoder=encoder))


@pytest.fixture(scope="module")
def pose_weights(made_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from medcli.veriserum.pose.settings import PoseSettings
    from medcli.veriserum.pose.train import train_pose

    settings = PoseSettings(
        root=made_study,
        anatomy="femur",
        size=32,
        backbone="shufflenet_v2_x0_5",
        backbone_weights="none",
        epochs=1,
        batch_size=4,
        gpus="0",
    )
    return train_pose(settings, tmp_path_factory.mktemp("runs") / "pose").out / "best.safetensors"


def test_calibrate_veriserum(study: Path, medcli: Run, tmp_path: Path) -> None:
    native = find_pairs(VeriserumStudy(study)).files
    damage = damage_jpeg(Path(native[3].bs))
    ran = medcli("calibrate", "veriserum", "--root", study, "--out", tmp_path / "out", "--workers", 3, "--json")
    result = result_of(ran)
    check(ran, damage, result["failures"][0]["reason"])
    assert (result["done"], result["failed"]) == (2 * len(native) - 1, 1)
    assert not (tmp_path / "out/calibrated_bs_000003.jpg").exists()


def test_no_codec_writes_to_the_terminal(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also not from the threads, and not where the checksums of what makes no sense are right."""
    native = find_pairs(VeriserumStudy(study)).files
    damage_jpeg(Path(native[3].bs))
    for number, packed in ((4, b"no zlib data"), (5, zlib.compress(bytes(100)))):
        Path(native[number].bs).unlink()
        Path(native[number].bs).with_suffix(".png").write_bytes(png_file((1664, 1600, 8, 0, 0), packed))
    tiff = encoded(".tif", textured((1600, 1664)))
    Path(native[6].bs).unlink()
    Path(native[6].bs).with_suffix(".tif").write_bytes(tiff[:5000] + bytes(3000) + tiff[8000:])
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    command = [sys.executable, "-m", "medcli", "calibrate", "veriserum", "--root", study, "--out", tmp_path / "out"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 4
    lines = ran.stderr.replace("\n       ", " ").splitlines()
    assert sum("damaged" in line for line in lines) == 4
    assert [line for line in lines if not line.startswith("failed:") and "damaged" not in line] == []


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
def test_calibrate_with_a_device_and_a_circle_of_links_for_images(study: Path, medcli: Run, tmp_path: Path) -> None:
    native = find_pairs(VeriserumStudy(study)).files
    places = [Path(native[number].fs) for number in (3, 4)]
    for place, target in zip(places, (os.devnull, places[1].name), strict=True):
        place.unlink()
        place.symlink_to(target)
    ran = medcli("calibrate", "veriserum", "--root", study, "--out", tmp_path / "out", "--json")
    result = result_of(ran)
    assert (ran.code, result["done"], result["failed"]) == (4, 2 * len(native) - 2, 2)
    reasons = [one["reason"] for one in result["failures"]]
    for place, words, reason in zip(places, ("not a regular file", "symbolic links"), reasons, strict=True):
        assert place.name in reason
        assert words in reason


def test_calibrate_fit(tmp_path: Path, medcli: Run) -> None:
    for plane in ("bs", "fs"):
        (tmp_path / f"grid_{plane}.jpg").write_bytes(encoded(".jpg", textured((1600, 1664))))
    damage = damage_jpeg(tmp_path / "grid_bs.jpg")
    words = tmp_path / "grid_bs.jpg", tmp_path / "grid_fs.jpg", "--out", tmp_path / "table.csv"
    ran = medcli("calibrate", "fit", *words)
    check(ran, damage, ran.err.replace("\n       ", " "), code=3)
    assert not (tmp_path / "table.csv").exists()


def test_label_with_overlays(ultrabones: Path, medcli: Run) -> None:
    frames = index_frames(ultrabones)
    damage = damage_png(Path(frames.image[1]))
    ran = medcli("label", "ultrabones", "--root", ultrabones, "--overlay", "--overwrite", "--json")
    result = result_of(ran)
    check(ran, damage, str(result["failures"]))
    assert len(result["failures"]) == 1
    frames = index_frames(ultrabones)
    assert (frames.label != "").sum() == len(frames)  # the label does not depend on the image


def test_evaluate_seg_with_a_damaged_frame_and_a_damaged_mask(ultrabones: Path, medcli: Run, tmp_path: Path) -> None:
    frames = index_frames(ultrabones)
    masks = [
        Path(record, "Labels_pred", f"{timestamp}_label_pred.png")
        for record, timestamp in zip(frames.record_dir, frames.timestamp, strict=True)
    ]
    for label, mask in zip(frames.label, masks, strict=True):
        mask.parent.mkdir(exist_ok=True)
        shutil.copy(label, mask)
    damages = [damage_png(Path(frames.image[0])), damage_png(masks[2])]
    words = "--specimens", 1, 2, "--predictions", "Labels_pred", "--out", tmp_path / "out", "--json"
    ran = medcli("evaluate", "seg", "--root", ultrabones, *words)
    result = result_of(ran)
    assert len(result["failures"]) == 2
    for damage in damages:
        check(ran, damage, str(result["failures"]))
    assert result["frames"] + result["frames_skipped"] == len(frames) - 2


def test_predict_seg(ultrabones: Path, seg_weights: Path, medcli: Run, tmp_path: Path) -> None:
    frames = index_frames(ultrabones)
    damage = damage_png(Path(frames.image[4]))
    shutil.copy(frames.image[0], tmp_path / "still.png")
    (tmp_path / "still.jpg").write_bytes(cut_scan(encoded(".jpg", textured()), 30))
    words = "--checkpoint", seg_weights, "--out", tmp_path / "out", "--json"
    ran = medcli("predict", "seg", ultrabones, tmp_path / "still.png", tmp_path / "still.jpg", *words)
    result = result_of(ran)
    check(ran, damage, str(result["failures"]))
    check(ran, Damage(tmp_path / "still.jpg", "is damaged: "), str(result["failures"]))
    assert (result["frames"], len(result["failures"])) == (len(frames), 2)


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
def test_predict_seg_on_images_that_cannot_be(seg_weights: Path, medcli: Run, tmp_path: Path) -> None:
    """A side that no overlay can have, an image as narrow as a line, a device and a circle of links, and a good one."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name, (columns, rows) in {"wide": (66_000, 50), "line": (1, 60_000), "good": (60, 40)}.items():
        (folder / f"{name}.png").write_bytes(
            png_file((columns, rows, 8, 0, 0), zlib.compress(bytes((columns + 1) * rows)))
        )
    (folder / "device.png").symlink_to(os.devnull)
    (folder / "movie.avi").symlink_to(os.devnull)
    (folder / "circle.png").symlink_to("circle.png")
    words = "--checkpoint", seg_weights, "--out", tmp_path / "out", "--overlay", "--device", "cpu", "--json"
    ran = medcli("predict", "seg", folder, *words)
    result = result_of(ran)
    failures = "\n".join(result["failures"])
    assert (ran.code, result["frames"], len(result["failures"])) == (4, 2, 4), failures
    for name in ("wide.png", "device.png", "movie.avi", "circle.png"):
        assert name in failures
    assert "libpng" not in ran.err
    assert len(read_rgb(Path(result["contact_sheet"]))) < 2000


def test_reconstruct(ultrabones: Path, medcli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(point_cloud, "PUBLISHED_SAMPLES", 10_000)
    monkeypatch.setattr(cloud_files, "draw_cloud", draw_nothing)
    frames = index_frames(ultrabones)
    damage = damage_png(Path(frames.label[0]))
    words = "--mask", Path(frames.label[0]).parent.name, "--out", tmp_path / "out", "--json"
    ran = medcli("reconstruct", "ultrabones", "--root", ultrabones, *words)
    result = result_of(ran)
    check(ran, damage, str(result["failures"]))
    assert len(result["failures"]) == 1


def test_train_seg_leaves_a_damaged_frame_out(ultrabones: Path, medcli: Run, tmp_path: Path) -> None:
    frames = index_frames(ultrabones)
    damage = damage_png(Path(frames.image[0]))
    data = "--root", ultrabones, "--train-specimens", 1, "--val-specimens", 2, "--out", tmp_path / "run"
    network = "--arch", "fpn", "--encoder", "tu-mobilenetv3_small_050", "--encoder-weights", "none"
    ran = medcli("train", "seg", *data, *network, "--epochs", 1, "--batch-size", 2, "--gpus", 0, "--json")
    result = result_of(ran)
    check(ran, damage, str(result["failures"]))
    assert len(result["failures"]) == 1


def test_poses_are_trained_evaluated_and_predicted_without_a_damaged_pair(
    study: Path, pose_weights: Path, medcli: Run, tmp_path: Path
) -> None:
    native = find_pairs(VeriserumStudy(study), "femur").files
    number = min(native)
    damage = damage_jpeg(Path(native[number].fs))
    ids = "--ids", f"{number}-{max(native)}"
    runs = {
        "train": (
            *("--anatomy", "femur", "--size", 32, "--backbone", "shufflenet_v2_x0_5", "--backbone-weights", "none"),
            *("--epochs", 1, "--gpus", 0, "--out", tmp_path / "run"),
        ),
        "evaluate": (*ids, "--checkpoint", pose_weights),
        "predict": ("--checkpoint", pose_weights, "--out", tmp_path / "poses.csv"),
    }
    for verb, words in runs.items():
        ran = medcli(verb, "pose", "--root", study, *words, "--json")
        failures = result_of(ran)["failures"]
        if verb == "train" and not failures:
            continue  # the pair fell to the side that is only tested
        check(ran, damage, str(failures))
        assert len(failures) == 1


FROM_TABLE = ("--start", "table", "--no-search")  # not a search, which takes seconds and reads images as this does


def test_register_pose(study: Path, medcli: Run, tmp_path: Path) -> None:
    native = find_pairs(VeriserumStudy(study), "femur").files
    number = min(native)
    damage = damage_jpeg(Path(native[number].bs))
    ids = "--ids", f"{number}-{number + 1}"
    ran = medcli("register", "pose", *FROM_TABLE, "--root", study, *ids, "--out", tmp_path / "poses.csv", "--json")
    result = result_of(ran)
    check(ran, damage, str(result["failures"]))
    assert (result["done"], len(result["failures"])) == (1, 1)


def test_two_images_of_one_name_are_not_chosen_from(
    study: Path, pose_weights: Path, medcli: Run, tmp_path: Path
) -> None:
    """``bs_000001.png`` beside ``bs_000001.jpg``: the commands for poses name both, and do the others."""
    native = find_pairs(VeriserumStudy(study), "femur").files
    number = min(native)
    double = Path(native[number].bs).with_suffix(".png")
    double.write_bytes(encoded(".png", textured((1600, 1664))))
    ids = "--ids", f"{number}-{number + 1}"
    for words in (
        ("register", "pose", *FROM_TABLE, *ids, "--out", tmp_path / "registered.csv"),
        ("evaluate", "pose", *ids, "--checkpoint", pose_weights),
        ("predict", "pose", "--checkpoint", pose_weights, "--out", tmp_path / "poses.csv"),
    ):
        ran = medcli(*words[:2], "--root", study, *words[2:], "--json")
        assert ran.code == 4, ran.err
        (failure,) = result_of(ran)["failures"]
        assert double.name in str(failure)
        assert "two different images of one name" in str(failure)
    shutil.copy(native[number].bs, native[number].bs.replace("bs_", "BS_"))
    double.unlink()
    words = ("--root", study, *ids, "--out", tmp_path / "registered.csv")
    assert medcli("register", "pose", *FROM_TABLE, *words).code == 0


def test_reports_say_that_an_image_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "sheet.jpg"
    path.write_bytes(encoded(".jpg", textured()))
    assert isinstance(embed_image(path, "a sheet"), ImageBlock)
    damage_jpeg(path)
    remark = embed_image(path, "a sheet")
    assert isinstance(remark, Note)
    assert "is damaged" in str(remark)


def test_the_limit_of_pixels_is_that_of_a_single_image(ultrabones: Path, seg_weights: Path, medcli: Run) -> None:
    """``label`` asks for the size only, ``predict`` reads: both list the image and do the others."""
    frames = index_frames(ultrabones)
    path = Path(frames.image[0])
    content = path.read_bytes()
    header = content[16:29]
    large = (30000).to_bytes(4, "big") * 2 + header[8:]
    path.write_bytes(content[:8] + png_chunk(b"IHDR", large) + content[33:])
    for words in (
        ("label", "ultrabones", "--root", ultrabones, "--overwrite"),
        ("predict", "seg", path.parent, "--checkpoint", seg_weights, "--overwrite"),
    ):
        ran = medcli(*words, "--json")
        assert ran.code == 4, ran.err
        failures = result_of(ran)["failures"]
        assert len(failures) == 1
        assert "30000 x 30000 pixels, more than the limit of 64000000 (MEDCLI_MAX_PIXELS)" in str(failures[0])


def test_a_limit_that_is_no_number_is_a_matter_of_usage(
    study: Path, ultrabones: Path, seg_weights: Path, medcli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDCLI_MAX_PIXELS", "a lot")
    for words in (
        ("calibrate", "veriserum", "--root", study),
        ("predict", "seg", ultrabones, "--checkpoint", seg_weights),
    ):
        ran = medcli(*words)
        assert ran.code == 2
        assert "MEDCLI_MAX_PIXELS is 'a lot', expected a whole number of pixels" in ran.err
