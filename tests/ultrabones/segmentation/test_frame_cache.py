"""The frame cache: right pixels, built once, resumed, and rebuilt where files changed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medcli.core.errors import MedcliError
from medcli.core.image_io import write_image
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.dataset.frame_index import index_frames
from medcli.ultrabones.segmentation import frame_cache as module
from medcli.ultrabones.segmentation.frame_cache import FrameCache
from medcli.ultrabones.segmentation.frame_io import read_image, read_label


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = SweepSettings(frames=5, scale=0.3)
    return make_ultrabones(tmp_path_factory.mktemp("data"), (1, 2, 3), settings=settings)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the frames decoded while building."""
    seen: list[str] = []

    def read(path: str, size: int) -> np.ndarray:
        seen.append(path)
        return read_image(path, size)

    monkeypatch.setattr(module, "read_image", read)
    return seen


def check(cache: FrameCache, column: str = "label") -> None:
    assert cache.images.shape == cache.labels.shape == (len(cache.rows), 256, 256)
    for i, row in enumerate(cache.rows.itertuples()):
        np.testing.assert_array_equal(cache.images[i], read_image(row.image))
        np.testing.assert_array_equal(cache.labels[i], read_label(getattr(row, column)))
    assert set(np.unique(cache.labels[:])) <= {0, 255}


def test_second_start_decodes_nothing(data: Path, tmp_path: Path, counted: list[str]) -> None:
    frames = index_frames(data)
    first = FrameCache.open_or_build(frames, tmp_path, workers=2)
    check(first)
    assert isinstance(first.images, np.memmap)
    assert len(counted) == len(frames) == len(first)
    counted.clear()
    check(FrameCache.open_or_build(frames, tmp_path))
    assert counted == []


def test_any_selection_in_any_order(data: Path, tmp_path: Path, counted: list[str]) -> None:
    frames = index_frames(data)
    FrameCache.open_or_build(frames, tmp_path)
    counted.clear()
    for rows in (frames.query("specimen == 2"), frames.sample(frac=1, random_state=1), frames.iloc[::3]):
        cache = FrameCache.open_or_build(rows, tmp_path)
        check(cache)
        assert list(cache.rows.image) == list(rows.image)
        chosen = np.array([3, 0])
        np.testing.assert_array_equal(cache.images[chosen], np.stack([cache.images[3], cache.images[0]]))
        np.testing.assert_array_equal(cache.images[1:3, :5], cache.images[:][1:3, :5])
    assert counted == []


def test_full_labels_and_frames_without_label(data: Path, tmp_path: Path) -> None:
    frames = index_frames(data)
    frames.loc[0, "label_full"] = ""
    cache = FrameCache.open_or_build(frames, tmp_path, labels="full")
    check(cache, "label_full")
    assert not cache.labels[0].any()
    assert cache.labels[1].any()


def test_without_files_is_the_same_object(data: Path, tmp_path: Path) -> None:
    frames = index_frames(data).iloc[::-1]
    cached = FrameCache.open_or_build(frames, tmp_path)
    direct = FrameCache.without_files(frames)
    pd.testing.assert_frame_equal(cached.rows, direct.rows)
    for key in (3, slice(1, 4), np.array([2, 0]), (slice(0, 2), slice(5, 9))):
        np.testing.assert_array_equal(direct.images[key], cached.images[key])
        np.testing.assert_array_equal(direct.labels[key], cached.labels[key])
    assert direct.images.shape == (15, 256, 256)
    assert len(direct.images[:0]) == 0


def test_new_and_changed_files_are_noticed(tmp_path: Path, counted: list[str]) -> None:
    settings = SweepSettings(frames=4, scale=0.2)
    make_ultrabones(tmp_path / "data", (1,), settings=settings)
    FrameCache.open_or_build(index_frames(tmp_path / "data"), tmp_path / "cache")
    make_ultrabones(tmp_path / "data", (5,), settings=settings)
    counted.clear()
    frames = index_frames(tmp_path / "data")
    check(FrameCache.open_or_build(frames, tmp_path / "cache"))
    assert sorted(counted) == sorted(frames.query("specimen == 5").image)

    counted.clear()
    label = Path(frames.label[1])
    write_image(label, np.full((162, 190), 255, np.uint8))
    os.utime(label, ns=(1, 1))
    cache = FrameCache.open_or_build(frames, tmp_path / "cache")
    check(cache)
    assert counted == [frames.image[1]]
    assert (cache.labels[1] == 255).all()


def test_unreadable_frames_are_left_out_and_named(tmp_path: Path, counted: list[str]) -> None:
    make_ultrabones(tmp_path / "data", (1,), settings=SweepSettings(frames=4, scale=0.2))
    frames = index_frames(tmp_path / "data")
    Path(frames.image[0]).write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    Path(frames.label[2]).write_bytes(b"")
    for _ in range(2):
        cache = FrameCache.open_or_build(frames, tmp_path / "cache")
        assert list(cache.rows.image) == [frames.image[1], frames.image[3]]
        check(cache)
        assert [failure.split(": ")[0] for failure in cache.failures] == [frames.image[0], frames.image[2]]
        assert "is damaged" in cache.failures[0]
        assert cache.failures[1].endswith(f"{frames.label[2]} is empty")
    assert len(counted) == 4  # a frame that cannot be read is not tried again until it changes


def test_build_killed_at_any_moment_resumes(data: Path, tmp_path: Path, counted: list[str]) -> None:
    code = (
        "import sys, time\n"
        "from medcli.training import decoded_store\n"
        "from medcli.ultrabones.dataset import frame_index as index\n"
        "from medcli.ultrabones.segmentation import frame_cache as cache\n"
        "decoded_store._CHUNK = 2\n"
        "read = cache.read_image\n"
        "def slow(*path):\n    time.sleep(0.05)\n    print('one', flush=True)\n    return read(*path)\n"
        "cache.read_image = slow\n"
        "cache.FrameCache.open_or_build(index.index_frames(sys.argv[1]), cache.Path(sys.argv[2]), workers=1)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(data), str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for _ in range(6):
        assert child.stdout.readline() == "one\n"
    child.send_signal(signal.SIGKILL if os.name != "nt" else signal.SIGTERM)
    child.wait()
    child.stdout.close()
    check(FrameCache.open_or_build(index_frames(data), tmp_path))
    assert 0 < len(counted) < 15


def test_damaged_cache_is_built_again(data: Path, tmp_path: Path) -> None:
    frames = index_frames(data)
    FrameCache.open_or_build(frames, tmp_path)
    with (tmp_path / "images.u8").open("r+b") as file:
        file.truncate(100_000)
    check(FrameCache.open_or_build(frames, tmp_path))
    (tmp_path / "frames.tsv").write_text("of another version\n")
    check(FrameCache.open_or_build(frames, tmp_path))


def test_no_room_is_reported(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(os, "posix_fallocate"):
        pytest.skip("room is taken another way here")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(MedcliError, match="No space left") as error:
        FrameCache.open_or_build(index_frames(data), tmp_path)
    assert "--no-cache" in str(error.value.hint)


def test_empty_selection(data: Path, tmp_path: Path) -> None:
    cache = FrameCache.open_or_build(index_frames(data).iloc[:0], tmp_path)
    assert len(cache) == 0
    assert cache.images[:].shape == (0, 256, 256)


def test_default_folder_depends_on_the_data_and_the_labels(data: Path) -> None:
    frames = index_frames(data)
    assert module.default_folder(frames, "partial") != module.default_folder(frames, "full")
    check(FrameCache.open_or_build(frames))
    assert (module.default_folder(frames, "partial") / "images.u8").is_file()


def test_real_frames(real_data: Path, tmp_path: Path) -> None:
    frames = index_frames(real_data / "ultrabones-example/specimen91")
    check(FrameCache.open_or_build(frames, tmp_path, labels="full"), "label_full")
