"""What the labels of a record were made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medcli.core.errors import DataError
from medcli.ultrabones.dataset.records import INITIAL, Poses
from medcli.ultrabones.labelling.label_origin import STAMP, pose_digest, read_stamps, write_stamps


def test_stamps_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / STAMP
    assert read_stamps(path) == {}
    write_stamps(path, {})
    assert not path.exists()
    write_stamps(path, {"Labels": {"poses": INITIAL, "fingerprint": "1"}})
    written = path.stat().st_mtime_ns
    write_stamps(path, read_stamps(path))
    assert path.stat().st_mtime_ns == written  # nothing to say anew
    assert read_stamps(path) == {"Labels": {"poses": INITIAL, "fingerprint": "1"}}


@pytest.mark.parametrize("content", ["{", "[]", '{"Labels": 3}'])
def test_a_damaged_file_says_what_to_do(tmp_path: Path, content: str) -> None:
    (tmp_path / STAMP).write_text(content, "utf-8")
    with pytest.raises(DataError, match="is damaged") as error:
        read_stamps(tmp_path / STAMP)
    assert "--overwrite" in str(error.value.hint)


def test_a_digest_changes_with_any_pose_or_spacing() -> None:
    pose, spacing = np.zeros((2, 6)), np.full(2, 0.05)
    moved = pose.copy()
    moved[1, 3] = 1e-9
    digests = {
        pose_digest(Poses(INITIAL, *parts)) for parts in ((pose, spacing), (moved, spacing), (pose, spacing * 2))
    }
    assert len(digests) == 3
