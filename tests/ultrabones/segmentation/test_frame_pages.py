"""Movies, TIFF and DICOM files with damage: the frame that is damaged is named, the others are read."""

from __future__ import annotations

import io
import random
import time
import warnings
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from medcli.core.errors import DataError
from medcli.ultrabones.segmentation.frame_pages import dicom_pages, movie_pages
from medcli.ultrabones.segmentation.frame_reader import FrameReader
from medcli.ultrabones.segmentation.prediction_inputs import InputSource
from tests.support.image_files import MUTATIONS, cut_scan, encoded, textured

FRAMES = [textured((128, 160), seed) for seed in range(4)]
DEFLATED, JPEG_BASELINE, RLE, JPEG_2000 = (
    *("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.50"),
    *("1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90"),
)


def read_all(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """What ``predict`` reads of a file: frames by name, and failures."""
    reader = FrameReader([InputSource(path, path.parent, path.stem)])
    frames, failures = {}, []
    for frame in reader:
        try:
            frames[frame.name] = frame.read()
        except DataError as error:
            failures.append(error.message)
    return frames, failures + reader.failures


@pytest.fixture
def motion_jpeg(tmp_path: Path) -> Path:
    path = tmp_path / "sweep.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (160, 128))
    if not writer.isOpened():
        pytest.skip("this OpenCV does not write MJPG")
    for frame in FRAMES:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR))
    writer.release()
    return path


def test_a_damaged_frame_of_motion_jpeg_is_named(motion_jpeg: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sound, failures = read_all(motion_jpeg)
    assert (len(sound), failures) == (4, [])
    content = bytearray(motion_jpeg.read_bytes())
    second = content.index(b"\xff\xd8\xff", content.index(b"\xff\xd8\xff") + 3)
    end = content.index(b"\xff\xd9", second)
    content[(second + end) // 2 : end] = bytes(end - (second + end) // 2)
    motion_jpeg.write_bytes(content)
    frames, failures = read_all(motion_jpeg)
    assert set(frames) == {f"sweep.avi {number}" for number in (0, 2, 3)}
    for name, frame in frames.items():
        np.testing.assert_array_equal(frame, sound[name])
    assert [f"{motion_jpeg}, frame 1, is damaged" in line for line in failures] == [True]
    assert capfd.readouterr().err == ""


def test_a_movie_that_is_cut_off_says_nothing_itself(motion_jpeg: Path, capfd: pytest.CaptureFixture[str]) -> None:
    content = motion_jpeg.read_bytes()
    for part in (0.02, 0.3, 0.6, 0.9):
        motion_jpeg.write_bytes(content[: int(part * len(content))])
        _, failures = read_all(motion_jpeg)
        assert failures
    assert capfd.readouterr().err == ""


def test_a_movie_of_huge_frames_is_not_decoded(motion_jpeg: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDCLI_MAX_PIXELS", "20000")
    with pytest.raises(DataError, match="160 x 128 pixels, more than the limit of 20000"):
        next(movie_pages(motion_jpeg))


def test_a_page_of_a_tiff_file_fails_alone(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    cv2.imwritemulti(str(path), FRAMES, [cv2.IMWRITE_TIFF_COMPRESSION, 8])
    content = bytearray(path.read_bytes())
    content[20] ^= 255
    path.write_bytes(content)
    frames, failures = read_all(path)
    assert set(frames) == {f"stack.tif {number}" for number in (1, 2, 3)}
    assert [f"{path}, page 0, is damaged" in line for line in failures] == [True]


def dicom(pixels: np.ndarray, syntax: str = "", packed: list[bytes] | None = None, **tags: Any) -> bytes:
    """A DICOM file of grey frames (N, H, W); ``packed`` are the frames as they lie in the file."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    content = Dataset()
    content.file_meta = FileMetaDataset()
    content.file_meta.TransferSyntaxUID = syntax or ExplicitVRLittleEndian
    content.file_meta.MediaStorageSOPClassUID = content.SOPClassUID = SecondaryCaptureImageStorage
    content.file_meta.MediaStorageSOPInstanceUID = content.SOPInstanceUID = generate_uid(entropy_srcs=["same"])
    content.SamplesPerPixel, content.PhotometricInterpretation = 1, "MONOCHROME2"
    content.NumberOfFrames, content.Rows, content.Columns = pixels.shape
    content.BitsAllocated = content.BitsStored = 8
    content.HighBit, content.PixelRepresentation = 7, 0
    content.PixelData = encapsulate(packed) if packed else pixels.tobytes()
    content["PixelData"].VR = "OB"
    for name, value in tags.items():
        if value is None:
            delattr(content, name)
        else:
            setattr(content, name, value)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pydicom.dcmwrite(file, content, enforce_file_format=True)
    return file.getvalue()


STACK = np.stack(FRAMES)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    pytest.importorskip("pydicom")
    return tmp_path / "loop.dcm"


def jpeg_frames() -> list[bytes]:
    return [encoded(".jpg", frame) for frame in FRAMES]


def j2k_frames() -> list[bytes]:
    images = pytest.importorskip("PIL.Image")
    frames = []
    for frame in FRAMES:
        content = io.BytesIO()
        images.fromarray(frame).save(content, "JPEG2000", no_jp2=True)
        frames.append(content.getvalue())
    return frames


def test_frames_are_those_that_pydicom_reads_at_once(path: Path) -> None:
    import pydicom

    kinds = {"": None, DEFLATED: None, JPEG_BASELINE: jpeg_frames(), JPEG_2000: j2k_frames()}
    for syntax, packed in kinds.items():
        path.write_bytes(dicom(STACK, syntax, packed))
        expected = pydicom.dcmread(path).pixel_array
        frames, failures = read_all(path)
        assert failures == []
        np.testing.assert_array_equal(np.stack(list(frames.values())), expected)
    assert np.abs(expected.astype(int) - STACK).max() == 0


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"Rows": 64}, "81,920 bytes of pixel data, expected 40960 for 4 frames of 160 x 64"),
        ({"Columns": 161}, "expected 82432 for 4 frames of 161 x 128"),
        ({"NumberOfFrames": 10**9}, "expected 20480000000000 for 1,000,000,000 frames"),
        ({"NumberOfFrames": 3}, "expected 61440"),
        ({"BitsAllocated": 16}, "expected 163840"),
        ({"SamplesPerPixel": 3}, "expected 245760"),
        ({"Rows": 60000, "Columns": 60000}, "60000 x 60000 pixels, more than the limit of 64000000"),
        ({"Rows": 0}, "its header says 160 x 0 pixels"),
        ({"Rows": None}, "its header says 160 x 0 pixels"),
        ({"BitsStored": 12}, "its header says 12 of 8 bits"),
        ({"PixelData": None}, "is DICOM without pixel data"),
        ({"PhotometricInterpretation": None}, "cannot be read as DICOM"),
    ],
)
def test_headers_that_do_not_fit_the_pixels(path: Path, tags: dict[str, Any], reason: str) -> None:
    path.write_bytes(dicom(STACK, **tags))
    started = time.perf_counter()
    frames, failures = read_all(path)
    assert frames == {}
    assert all(line.startswith(str(path)) and "\n" not in line for line in failures)
    assert reason in failures[0]
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("value", ["1e308", "0", "-2", "nan", "inf", "1\\2"])
def test_a_slope_that_means_nothing_is_refused(path: Path, value: str) -> None:
    content = dicom(textured((40, 50))[None], RescaleIntercept="0", RescaleSlope="1")
    path.write_bytes(content)
    assert len(read_all(path)[0]) == 1
    at = content.index(b"DS", content.index(b"\x28\0\x53\x10")) + 2
    text = value.encode() + b" " * (len(value) % 2)
    path.write_bytes(content[:at] + len(text).to_bytes(2, "little") + text + content[at + 4 :])
    frames, failures = read_all(path)
    assert not frames
    assert "RescaleSlope (0028,1053) is " in failures[0]


def test_dicom_files_that_are_cut_off(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for syntax, packed in (("", None), (DEFLATED, None), (JPEG_BASELINE, jpeg_frames())):
        content = dicom(STACK, syntax, packed)
        for percent in range(5, 100, 5):
            path.write_bytes(content[: len(content) * percent // 100])
            frames, failures = read_all(path)
            assert (len(frames) < 4, bool(failures)) == (True, True)
    assert capfd.readouterr().err == ""


def test_a_missing_transfer_syntax(path: Path) -> None:
    content = dicom(STACK)
    start = content.index(b"\x02\0\x10\0UI")
    length = 8 + int.from_bytes(content[start + 6 : start + 8], "little")
    shorter = bytearray(content[:start] + content[start + length :])
    group = int.from_bytes(shorter[140:144], "little") - length
    shorter[140:144] = group.to_bytes(4, "little")
    path.write_bytes(shorter)
    frames, failures = read_all(path)
    assert frames == {}
    assert "cannot be read as DICOM" in failures[0]


def test_a_deflated_file_that_unpacks_to_gigabytes(path: Path) -> None:
    content = dicom(STACK, DEFLATED)
    start = 144 + int.from_bytes(content[140:144], "little")
    packing = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = b"".join(packing.compress(bytes(1 << 24)) for _ in range(40)) + packing.flush()
    path.write_bytes(content[:start] + bomb)
    started = time.perf_counter()
    with pytest.raises(DataError, match=r"unpacks to more than 512,000,000 bytes, .*MEDCLI_MAX_PIXELS"):
        list(dicom_pages(path))
    assert time.perf_counter() - started < 10


def test_damaged_jpeg_frames_in_dicom_fail_alone(path: Path) -> None:
    """Pillow, which pydicom decodes with, fills what is missing with grey."""
    packed = jpeg_frames()
    packed[2] = cut_scan(packed[2], 50)
    packed[3] = encoded(".jpg", FRAMES[3][:, :150])
    path.write_bytes(dicom(STACK, JPEG_BASELINE, packed))
    frames, failures = read_all(path)
    assert list(frames) == ["loop.dcm 0", "loop.dcm 1"]
    assert f"{path}, frame 2, is damaged: " in failures[0]
    assert f"{path}, frame 3, is damaged: its JPEG data are not 160 x 128 pixels" in failures[1]
    path.write_bytes(dicom(STACK, JPEG_BASELINE, packed[:2]))
    assert "it has 2 frames, expected 4" in read_all(path)[1][0]


def test_damaged_jpeg_2000_frames_in_dicom(path: Path) -> None:
    packed = j2k_frames()
    packed[1] = packed[1][: len(packed[1]) // 2]
    path.write_bytes(dicom(STACK, JPEG_2000, packed))
    frames, failures = read_all(path)
    assert list(frames) == ["loop.dcm 0", "loop.dcm 2", "loop.dcm 3"]
    assert len(failures) == 1


@pytest.mark.deep
@pytest.mark.parametrize("syntax", ["", DEFLATED, JPEG_BASELINE, JPEG_2000])
def test_mutations_of_dicom_files(syntax: str, path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Frames or failures, whatever is in the file: no other exception, no words of a codec, no long wait."""
    rng = random.Random(syntax)
    packed = {JPEG_BASELINE: jpeg_frames, JPEG_2000: j2k_frames}.get(syntax)
    content = dicom(STACK, syntax, packed() if packed else None)
    for _ in range(60):
        for mutate in MUTATIONS:
            path.write_bytes(mutate(content, rng))
            started = time.perf_counter()
            read_all(path)
            assert time.perf_counter() - started < 20
    assert capfd.readouterr().err == ""
