"""Prediction from files to files, with a small untrained network: its masks must be those of the plain pipeline."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torchvision.transforms.v2.functional import resize

from medcli.core import image_io
from medcli.core.errors import DataError, MedcliError, UsageError
from medcli.core.run_provenance import NAME as RUN_NOTE
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.dataset.frame_index import index_frames, mask_path
from medcli.ultrabones.segmentation import checkpoint, predict
from medcli.ultrabones.segmentation.checkpoint_metadata import Metadata
from medcli.ultrabones.segmentation.inference import Segmenter
from medcli.ultrabones.segmentation.network import build_model
from medcli.ultrabones.segmentation.predict import PredictSettings, predict_seg
from medcli.ultrabones.segmentation.prediction_folders import MANIFEST

ENCODER = "tu-test_resnet.r160_in1k"  # quick
SINGLE = PredictSettings(device="cpu", precision="32")


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    """Untrained, but with a bias that makes about half of the pixels bone."""
    torch.manual_seed(4)
    model = build_model("fpn", ENCODER).eval()
    with torch.inference_mode():
        logits = model(torch.rand(1, 1, 256, 256))
        model.get_parameter("segmentation_head.0.bias").sub_(logits.median())
    return model


@pytest.fixture(scope="module")
def weights(network: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "best.safetensors"
    return checkpoint.save_checkpoint(path, network, Metadata(encoder=ENCODER))


def made_image(seed: int, shape: tuple[int, int] = (120, 150)) -> np.ndarray:
    noise = np.random.default_rng(seed).random(shape, dtype=np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 5)
    return np.uint8(255 * (smooth - smooth.min()) / np.ptp(smooth))


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for number, (suffix, shape) in enumerate([("png", (120, 150)), ("jpg", (300, 200)), ("tif", (64, 64))]):
        image_io.write_image(folder / f"scan{number}.{suffix}", made_image(number, shape))
    return folder


def expected_probability(network: torch.nn.Module, grey: np.ndarray) -> np.ndarray:
    """The published pipeline, one frame at a time, at the frame's own size."""
    small = resize(torch.from_numpy(grey[None]).double(), [256, 256], antialias=True)
    inputs = ((small + 0.5).floor() / 255 - 0.17475835978984833) / 0.16475939750671387
    with torch.inference_mode():
        probability = torch.sigmoid(network(inputs.float()[None]))
    return torch.nn.functional.interpolate(probability, grey.shape, mode="bilinear")[0, 0].numpy()


def assert_mask(path: Path, network: torch.nn.Module, grey: np.ndarray) -> None:
    mask = image_io.read_grey(path)
    probability = expected_probability(network, grey)
    clear = np.abs(probability - 0.5) > 2e-3
    assert mask.shape == grey.shape
    assert set(np.unique(mask)) <= {0, 255}
    assert clear.mean() > 0.8
    np.testing.assert_array_equal((mask == 255)[clear], (probability > 0.5)[clear])


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(RUN_NOTE)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_masks_are_those_of_the_plain_pipeline(scans: Path, weights: Path, network: torch.nn.Module) -> None:
    done = predict_seg([scans], weights, SINGLE)
    assert (done.frames, done.frames_skipped, done.failures) == (3, 0, [])
    assert done.folders == [scans / "predictions"]
    for file in scans.glob("scan*"):
        assert_mask(scans / "predictions" / f"{file.stem}_label_pred.png", network, image_io.read_grey(file))


@pytest.mark.deep
def test_batches_and_workers_change_nothing(scans: Path, weights: Path, tmp_path: Path) -> None:
    for number in (3, 4):
        image_io.write_image(scans / f"scan{number}.png", made_image(number))
    found = []
    for batch_size, workers in ((1, 1), (3, 2)):
        out = tmp_path / f"{batch_size}-{workers}"
        predict_seg([scans], weights, PredictSettings(out, False, "cpu", "32", batch_size, workers=workers))
        found.append({path.name: image_io.read_grey(path) for path in out.glob("*.png")})
    assert len(found[0]) == 5
    for other in found[1:]:
        assert other.keys() == found[0].keys()
        for name, mask in other.items():
            assert (mask != found[0][name]).mean() < 1e-4, name


def test_frames_of_few_bits_are_warned_of(weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    deep = made_image(1).astype(np.uint16) * 257
    for name, pixels in (("full", deep), ("few", deep >> 4), ("black", deep * 0)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), pixels)
    predict_seg([tmp_path], weights, SINGLE)
    assert caplog.messages == [
        "1 frame uses at most 12 of 16 bits, or 4 of 8: nearly black as read, so stretch such images to the full range"
    ]


def test_bfloat16_masks_agree_with_single_precision(scans: Path, weights: Path, tmp_path: Path) -> None:
    predict_seg([scans], weights, SINGLE)
    predict_seg([scans], weights, PredictSettings(out=tmp_path / "bf16", precision="bf16", device="cpu"))
    for path in (scans / "predictions").glob("*.png"):
        single, half = (image_io.read_grey(path) > 0, image_io.read_grey(tmp_path / "bf16" / path.name) > 0)
        assert (single == half).mean() > 0.97


def test_torch_threads_are_as_before(scans: Path, weights: Path) -> None:
    before = torch.get_num_threads()
    predict_seg([scans], weights, PredictSettings(device="cpu", workers=before + 3))
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("layout", ["current", "first"])
def test_records_and_specimens_of_both_layouts(
    layout: Any, weights: Path, network: torch.nn.Module, tmp_path: Path
) -> None:
    root = make_ultrabones(tmp_path / "data", (3, 4), layout=layout, settings=SweepSettings(frames=2, scale=0.2))
    done = predict_seg([], weights, SINGLE, root, [4])
    assert done.frames == 2
    frames = index_frames(root)
    paths = mask_path(frames, "Labels_pred")
    assert (paths != "").tolist() == (frames["specimen"] == 4).tolist()
    frame = frames[frames["specimen"] == 4].iloc[0]
    assert_mask(Path(mask_path(frame, "Labels_pred")), network, image_io.read_grey(frame.image))
    assert Path(mask_path(frame, "Labels_pred")).name == f"{frame.timestamp}_label_pred.png"
    whole = predict_seg([root], weights, PredictSettings(skip_existing=True))
    assert (whole.frames, whole.frames_skipped) == (2, 2)


def test_out_mirrors_the_dataset(weights: Path, tmp_path: Path) -> None:
    root = make_ultrabones(tmp_path / "data", (3,), settings=SweepSettings(frames=1, scale=0.2))
    record = root / "specimen03" / "ultrasound_records" / "fibula" / "record01"
    for given in (record, record / "UltrasoundImages", next((record / "UltrasoundImages").iterdir())):
        out = tmp_path / f"out-{given.name}"
        predict_seg([given], weights, PredictSettings(out=out))
        masks = list(out.glob("specimen03/ultrasound_records/fibula/record01/Labels_pred/*_label_pred.png"))
        assert len(masks) == 1
        assert (out / predict.CONTACT_SHEET).is_file()
    assert not (record / "Labels_pred").exists()


def test_specimens_that_are_not_there(weights: Path, tmp_path: Path) -> None:
    root = make_ultrabones(tmp_path / "data", (3,), settings=SweepSettings(frames=1, scale=0.2))
    with pytest.raises(DataError, match="no specimen 7, 8 in ") as raised:
        predict_seg([], weights, SINGLE, root, [3, 7, 8])
    assert raised.value.hint == "there: 3"


def test_skip_existing_makes_only_what_is_missing(scans: Path, weights: Path) -> None:
    predict_seg([scans], weights, SINGLE)
    before = contents(scans)
    kept = scans / "predictions" / "scan0_label_pred.png"
    os.utime(kept, (1, 1))
    (scans / "predictions" / "scan1_label_pred.png").unlink()
    done = predict_seg([scans], weights, PredictSettings(precision="32", device="cpu", skip_existing=True))
    assert (done.frames, done.frames_skipped) == (1, 2)
    assert kept.stat().st_mtime == 1
    after = contents(scans)
    sheet = f"predictions/{predict.CONTACT_SHEET}"
    assert {name: after[name] for name in after if name != sheet} == {
        name: before[name] for name in before if name != sheet
    }


def test_masks_of_another_network_are_not_mixed_in_silence(
    scans: Path, weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    predict_seg([scans], weights, SINGLE)
    other = checkpoint.save_checkpoint(tmp_path / "other", build_model("fpn", ENCODER), Metadata(encoder=ENCODER))
    predict_seg([scans], other, PredictSettings(skip_existing=True))
    assert "were made with another checkpoint" in caplog.text


def test_manifest_stays_true_to_the_masks_that_stay(
    scans: Path, weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = scans / "predictions" / MANIFEST
    predict_seg([scans], weights, PredictSettings(threshold=0.3))
    for threshold in (0.7, 0.7, 0.3):
        caplog.clear()
        predict_seg([scans], weights, PredictSettings(threshold=threshold, skip_existing=True))
        assert "were made with another threshold" in caplog.text
        manifest = json.loads(path.read_text())
        assert manifest["threshold"] == 0.3
        assert [one["threshold"] for one in manifest["also"]] == [0.7]
    with pytest.raises(UsageError, match=r"was made with other options: threshold was 0\.3, is 0\.7"):
        predict_seg([scans], weights, PredictSettings(threshold=0.7))
    predict_seg([scans], weights, PredictSettings(threshold=0.7, overwrite=True))
    assert "also" not in json.loads(path.read_text())


def test_a_second_run_computes_what_is_missing_or_changed(scans: Path, weights: Path) -> None:
    first = predict_seg([scans], weights, SINGLE)
    before = contents(scans)
    again = predict_seg([scans], weights, SINGLE)
    assert (again.frames, again.frames_skipped, again.contact_sheet) == (0, 3, first.contact_sheet)
    assert contents(scans) == before
    (scans / "predictions" / "scan1_label_pred.png").unlink()
    other = scans.parent / "older.png"
    image_io.write_image(other, made_image(8))
    os.utime(other, (1, 1))  # older than the mask of the file that it takes the place of
    other.replace(scans / "scan0.png")
    again = predict_seg([scans], weights, SINGLE)
    assert (again.frames, again.frames_skipped) == (2, 1)
    after, masks = contents(scans), [f"predictions/scan{n}_label_pred.png" for n in range(3)]
    assert [after[name] == before[name] for name in masks] == [False, True, True]
    drawn = predict_seg([scans], weights, PredictSettings(device="cpu", overlay=True))
    assert (drawn.frames, drawn.frames_skipped) == (3, 0)  # no overlay was there


def test_masks_of_another_network_are_not_replaced_unasked(
    scans: Path, weights: Path, medcli: Callable[..., Any], tmp_path: Path
) -> None:
    predict_seg([scans], weights, SINGLE)
    before = contents(scans)
    other = checkpoint.save_checkpoint(tmp_path / "other", build_model("fpn", ENCODER), Metadata(encoder=ENCODER))
    words = ("predict", "seg", scans, "--checkpoint", other, "--device", "cpu")
    ran = medcli(*words)
    assert (ran.code, "made with other options: --checkpoint was" in ran.err, "--overwrite" in ran.err) == (
        2,
        True,
        True,
    )
    assert contents(scans) == before
    assert medcli(*words, "--overwrite").code == 0
    assert medcli(*words).code == 0
    ran = medcli(*words, "--overwrite", "--skip-existing")
    assert (ran.code, "leave one of them out" in ran.err) == (2, True)


def test_an_interrupted_overwrite_leaves_no_old_mask_as_finished(
    scans: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict_seg([scans], weights, PredictSettings(threshold=0.3))

    def stop(path: Path, mask: np.ndarray, *options: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(predict, "write_image", stop)
        with pytest.raises(KeyboardInterrupt):
            predict_seg([scans], weights, PredictSettings(threshold=0.7, overwrite=True))
    done = predict_seg([scans], weights, PredictSettings(threshold=0.7))
    assert (done.frames, done.frames_skipped) == (3, 0)


def test_a_frame_that_fails_under_overwrite_keeps_no_old_mask(scans: Path, weights: Path) -> None:
    predict_seg([scans], weights, PredictSettings(threshold=0.3, overlay=True))
    (scans / "scan0.png").write_bytes(b"no image")
    (scans / "scan2.tif").write_bytes(b"no image")
    done = predict_seg([scans], weights, PredictSettings(threshold=0.7, overwrite=True, overlay=True))
    assert (done.frames, len(done.failures)) == (1, 2)
    left = {path.name for path in (scans / "predictions").rglob("scan*")}
    assert left == {"scan1_label_pred.png", "scan1_overlay.jpg"}


def test_published_masks_are_not_replaced_unasked(scans: Path, weights: Path) -> None:
    published = scans / "predictions" / "scan0_label_pred.png"
    published.parent.mkdir()
    image_io.write_image(published, np.zeros((120, 150), np.uint8))
    before = published.read_bytes()
    with pytest.raises(UsageError, match="1 folder holds masks that medcli did not write") as raised:
        predict_seg([scans], weights, SINGLE)
    assert "--overwrite" in str(raised.value.hint)
    predict_seg([scans], weights, PredictSettings(skip_existing=True))
    assert published.read_bytes() == before
    predict_seg([scans], weights, PredictSettings(overwrite=True))
    assert published.read_bytes() != before
    predict_seg([scans], weights, SINGLE)


def test_bad_files_are_listed_and_the_rest_continue(
    scans: Path, weights: Path, medcli: Callable[..., Any], tmp_path: Path
) -> None:
    (scans / "empty.png").touch()
    (scans / "text.jpg").write_text("no image")
    (scans / "cut.avi").write_bytes(b"RIFF1234AVI ")
    bad = {"empty.png", "text.jpg", "cut.avi", "bad.tiff"}
    if find_spec("pydicom"):  # without it, DICOM ends the whole command with the name of the extra
        (scans / "bad.dcm").write_bytes(b"DICM")
        bad.add("bad.dcm")
    (scans / "bad.tiff").write_bytes(b"II*\0")
    ran = medcli("predict", "seg", scans, "--checkpoint", weights, "--json")
    assert ran.code == 4
    result = json.loads(ran.out)
    assert result["schema"] == "medcli.predict.seg.v1"
    assert result["frames"] == 3
    failed = {Path(line.split(" ")[0]).name for line in result["failures"]}
    assert failed == bad
    assert all("\n" not in line for line in result["failures"])


@pytest.mark.parametrize(("suffix", "code"), [("avi", "MJPG"), ("mp4", "mp4v")])
def test_movies(suffix: str, code: str, weights: Path, network: torch.nn.Module, tmp_path: Path) -> None:
    path = tmp_path / f"sweep.{suffix}"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), 10.0, (160, 128))
    if not writer.isOpened():
        pytest.skip(f"this OpenCV does not write {code}")
    for number in range(5):
        writer.write(cv2.cvtColor(made_image(number, (128, 160)), cv2.COLOR_GRAY2BGR))
    writer.release()
    done = predict_seg([path], weights, PredictSettings(device="cpu", precision="32", overlay=True))
    assert (done.frames, done.failures) == (5, [])
    folder = tmp_path / "predictions" / "sweep"
    assert sorted(path.name for path in folder.glob("*.png")) == [f"sweep_{n:06d}_label_pred.png" for n in range(5)]
    assert len(list((folder / "overlays").glob("*_overlay.jpg"))) == 5
    movie = cv2.VideoCapture(str(path))
    for number in range(5):
        grey = cv2.cvtColor(movie.read()[1], cv2.COLOR_BGR2GRAY)
        assert_mask(folder / f"sweep_{number:06d}_label_pred.png", network, grey)
    again = predict_seg([path], weights, PredictSettings(skip_existing=True))
    assert (again.frames, again.frames_skipped) == (0, 5)


def test_pages_of_a_tiff_file(weights: Path, network: torch.nn.Module, tmp_path: Path) -> None:
    pages = [made_image(number) for number in range(3)]
    assert cv2.imwritemulti(str(tmp_path / "stack.tif"), pages)
    predict_seg([tmp_path / "stack.tif"], weights, SINGLE)
    for number, grey in enumerate(pages):
        assert_mask(tmp_path / "predictions" / "stack" / f"stack_{number:06d}_label_pred.png", network, grey)


def write_dicom(path: Path, pixels: np.ndarray, interpretation: str, bits: int = 8) -> None:
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    content = Dataset()
    content.file_meta = FileMetaDataset()
    content.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    content.file_meta.MediaStorageSOPClassUID = content.SOPClassUID = SecondaryCaptureImageStorage
    content.file_meta.MediaStorageSOPInstanceUID = content.SOPInstanceUID = generate_uid()
    colour = interpretation in ("RGB", "YBR_FULL")
    content.SamplesPerPixel = 3 if colour else 1
    if colour:
        content.PlanarConfiguration = 0
    content.PhotometricInterpretation = interpretation
    frames = pixels.shape[0] if pixels.ndim == (4 if colour else 3) else 1
    content.NumberOfFrames = frames
    content.Rows, content.Columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    content.BitsStored, content.HighBit, content.PixelRepresentation = bits, bits - 1, 0
    content.BitsAllocated = 8 * pixels.itemsize
    content.PixelData = pixels.tobytes()
    if interpretation == "PALETTE COLOR":  # number n stands for the grey value 255 - n
        for name in ("Red", "Green", "Blue"):
            setattr(content, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
            table = (np.arange(255, -1, -1) * 257).astype("<u2")
            setattr(content, f"{name}PaletteColorLookupTableData", table.tobytes())
    pydicom.dcmwrite(path, content, enforce_file_format=True)


def test_dicom_frames_of_all_kinds(weights: Path, network: torch.nn.Module, tmp_path: Path) -> None:
    grey = np.stack([made_image(number) for number in range(2)])
    write_dicom(tmp_path / "loop.dcm", grey, "MONOCHROME2")
    write_dicom(tmp_path / "inverted.dcm", 255 - grey[0], "MONOCHROME1")
    write_dicom(tmp_path / "deep.dcm", grey[0].astype(np.uint16) * 16 + 7, "MONOCHROME2", bits=12)
    write_dicom(tmp_path / "colour.dcm", np.repeat(grey[0][..., None], 3, axis=2), "RGB")
    neutral = np.full_like(grey[0], 128)
    write_dicom(tmp_path / "ybr.dcm", np.stack([grey[0], neutral, neutral], axis=2), "YBR_FULL")
    write_dicom(tmp_path / "palette.dcm", 255 - grey[0], "PALETTE COLOR")
    done = predict_seg([tmp_path], weights, SINGLE)
    assert (done.frames, done.failures) == (7, [])
    out = tmp_path / "predictions"
    for number in range(2):
        assert_mask(out / "loop" / f"loop_{number:06d}_label_pred.png", network, grey[number])
    for name in ("inverted", "deep", "colour", "ybr", "palette"):
        assert_mask(out / f"{name}_label_pred.png", network, grey[0])


def test_own_masks_are_never_inputs(scans: Path, weights: Path) -> None:
    for out in (None, scans):
        settings = PredictSettings(out, overlay=True)
        assert predict_seg([scans], weights, settings).frames == 3
        assert predict_seg([scans], weights, settings).frames_skipped == 3
        assert predict_seg([scans], weights, PredictSettings(out, overlay=True, overwrite=True)).frames == 3


def test_an_interrupted_run_is_finished_by_the_next(
    scans: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3, 9):
        image_io.write_image(scans / f"scan{number}.png", made_image(number))
    whole, broken = (PredictSettings(out=tmp_path / name, precision="32", device="cpu") for name in ("whole", "broken"))
    predict_seg([scans], weights, whole)
    written = []

    def write_some(path: Path, mask: np.ndarray, *options: int) -> None:
        if len(written) >= 4:
            raise KeyboardInterrupt
        written.append(path)
        image_io.write_image(path, mask, *options)

    with monkeypatch.context() as patched:
        patched.setattr(predict, "write_image", write_some)
        with pytest.raises(KeyboardInterrupt):
            predict_seg([scans], weights, broken)
    assert len(list((tmp_path / "broken").glob("*_label_pred.png"))) == 4
    done = predict_seg([scans], weights, broken)
    assert (done.frames, done.frames_skipped) == (5, 4)
    assert done.contact_sheet is not None
    sheets = (tmp_path / name / predict.CONTACT_SHEET for name in ("whole", "broken"))
    assert len({sheet.read_bytes() for sheet in sheets}) == 1
    masks = {name for name in contents(tmp_path / "whole") if name.endswith("_pred.png")}
    assert {name for name in contents(tmp_path / "broken") if name.endswith("_pred.png")} == masks
    for name in masks:
        one, other = (image_io.read_grey(tmp_path / folder / name) for folder in ("whole", "broken"))
        assert (one != other).mean() < 1e-4


def test_a_full_disk_stops_the_run(scans: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, mask: np.ndarray) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(predict, "write_image", fail)
    with pytest.raises(MedcliError, match=r"cannot write .*No space left"):
        predict_seg([scans], weights, SINGLE)


def test_command_takes_the_newest_checkpoint_and_says_which(
    scans: Path, weights: Path, medcli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = medcli("predict", "seg", scans)
    assert ran.code == 3
    assert "no checkpoint" in ran.err
    run = tmp_path / "runs" / "seg" / "first"
    run.mkdir(parents=True)
    (run / "best.safetensors").write_bytes(weights.read_bytes())
    ran = medcli("predict", "seg", "scans", "--overlay")
    assert ran.code == 0
    assert f"checkpoint: {Path('runs/seg/first/best.safetensors')} (the newest)" in ran.err
    assert "3 written" in ran.out
    sheet = image_io.read_rgb(scans / "predictions" / predict.CONTACT_SHEET)
    assert sheet.shape[1] == 3 * 326 + 6
    assert len(list((scans / "predictions" / "overlays").iterdir())) == 3


@pytest.mark.parametrize("value", ["0", "1", "-0.2", "nan"])
def test_thresholds_that_make_no_sense(value: str, scans: Path, weights: Path, medcli: Callable[..., Any]) -> None:
    ran = medcli("predict", "seg", scans, "--checkpoint", weights, f"--threshold={value}")
    assert ran.code == 2
    assert ("not a finite number" if value == "nan" else "threshold must lie between 0 and 1") in ran.err


def test_threshold_counts(scans: Path, weights: Path) -> None:
    file = scans / "predictions" / "scan0_label_pred.png"
    bone = []
    for threshold in (0.3, 0.5, 0.7):
        predict_seg([scans], weights, PredictSettings(threshold=threshold, overwrite=True))
        bone.append((image_io.read_grey(file) > 0).mean())
    assert bone[0] >= bone[1] >= bone[2]
    assert bone[0] > bone[2]


def test_checkpoint_commands(weights: Path, medcli: Callable[..., Any], tmp_path: Path) -> None:
    ran = medcli("checkpoint", "convert", weights, tmp_path / "copy.safetensors", "--json")
    assert ran.code == 0
    assert json.loads(ran.out)["metadata"]["encoder"] == ENCODER
    ran = medcli("checkpoint", "show", tmp_path / "copy.safetensors")
    assert f"fpn on {ENCODER}" in ran.out
    ran = medcli("checkpoint", "convert", weights, tmp_path / "copy.safetensors")
    assert ran.code == 2
    assert "--overwrite" in ran.err


def test_segmenter_on_real_frames_with_bfloat16s(real_data: Path, network: torch.nn.Module) -> None:
    from medcli.ultrabones.segmentation.preprocessing import resize_frame

    files = sorted((real_data / "ultrabones-images").glob("*.png"))[:2]
    frames = np.stack([resize_frame(image_io.read_grey(file)) for file in files])
    metadata = Metadata(encoder=ENCODER)
    single = Segmenter(build_model("fpn", ENCODER), metadata, "cpu", "32")
    single._model.load_state_dict(network.state_dict())
    half = Segmenter(build_model("fpn", ENCODER), metadata, "cpu", "32")
    half._model.load_state_dict(network.state_dict())
    half = Segmenter(half._model, metadata, "cpu", "bf16")
    assert np.abs(single.predict(frames) - half.predict(frames)).max() < 0.05
