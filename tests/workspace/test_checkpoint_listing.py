"""Checkpoints are identified without torch; damaged files are reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from medcli.core.errors import DataError
from medcli.veriserum.pose.checkpoint import save_pose_checkpoint
from medcli.veriserum.pose.checkpoint_metadata import PoseMetadata
from medcli.veriserum.pose.network import build_pose_network
from medcli.workspace.checkpoint_listing import (
    DAMAGED,
    OTHER,
    POSE,
    SEGMENTATION,
    find_checkpoints,
    inspect_checkpoint,
    read_header,
)
from tests.conftest import Ran
from tests.support.run_folders import write_checkpoint


def test_kinds_are_detected_from_the_header(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2, 3), "b": torch.zeros(())}, tmp_path / "c.safetensors")
    write_checkpoint(tmp_path / "a.safetensors")
    own = write_checkpoint(tmp_path / "best.safetensors", is_pose=True)
    found = find_checkpoints(tmp_path, [])
    assert [(one.path.name, one.kind, one.what) for one in found] == [
        ("a.safetensors", SEGMENTATION, "fpn on resnet34"),
        ("best.safetensors", POSE, "resnet18, anatomy 1"),
        ("c.safetensors", OTHER, "weights of another program"),
    ]
    assert read_header(tmp_path / "c.safetensors").parameters == 7
    assert found[0].splits == {"train": [1], "val": [2, 7, 8]}
    assert [one.path for one in find_checkpoints(tmp_path / "absent", [own])] == [own]


@pytest.mark.parametrize("length", [0, 7, 60, -1])
def test_a_truncated_checkpoint_is_reported(tmp_path: Path, length: int) -> None:
    path = write_checkpoint(tmp_path / "a.safetensors")
    path.write_bytes(path.read_bytes()[:length])
    assert inspect_checkpoint(path).kind == DAMAGED
    with pytest.raises(DataError, match=r"truncated") as raised:
        read_header(path)
    assert str(path) in raised.value.message


@pytest.mark.parametrize("content", [b"not at all a network", b"\x02" + bytes(7) + b"[]", b"\x04" + bytes(7) + b"null"])
def test_other_files_are_not_taken_for_checkpoints(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    assert inspect_checkpoint(path).kind == DAMAGED
    assert inspect_checkpoint(tmp_path / "absent.safetensors").kind == DAMAGED


def test_show_knows_pose_networks(medcli: Callable[..., Ran], tmp_path: Path) -> None:
    network = build_pose_network("resnet18")
    metadata = PoseMetadata(
        "resnet18", 64, (1, 2), (1.0, 2.0, 300.0, 0.0, 0.0, 90.0), splits={"warnings": ["mind this"]}
    )
    path = save_pose_checkpoint(tmp_path / "pose.safetensors", network, metadata)
    shown = medcli("checkpoint", "show", path)
    assert shown.code == 0
    assert "implant pose, resnet18, 11," in shown.out
    assert "tx ty tz 1.0 2.0 300.0 mm, rz rx ry 0.0 0.0 90.0 degrees" in shown.out
    assert "mind this" in shown.out
    found = json.loads(medcli("checkpoint", "show", path, "--json").out)
    assert (found["schema"], found["metadata"]["anatomies"]) == ("medcli.pose_checkpoint.v1", [1, 2])
    assert "Non-Commercial" in shown.out
    note = {"data": {"dataset": "Veriserum", "synthetic": True}}
    (tmp_path / "medcli-run.json").write_text(json.dumps(note))  # of a training by 0.1.0
    shown = medcli("checkpoint", "show", path)
    assert "none: synthetic data made by medcli" in shown.out
    assert not any(word in shown.out for word in ("Non-Commercial", "citation"))
    refused = medcli("checkpoint", "convert", path, tmp_path / "other.safetensors")
    assert refused.code == 3
    assert "another kind of network" in refused.err


def test_show_of_other_files(medcli: Callable[..., Ran], tmp_path: Path) -> None:
    cut = write_checkpoint(tmp_path / "cut.safetensors", is_pose=True)
    cut.write_bytes(cut.read_bytes()[:-4])
    other = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(2)}, other)
    for path, words in (
        (cut, "is truncated"),
        (other, "no description of a network"),
        (tmp_path / "x", "no checkpoint"),
    ):
        ran = medcli("checkpoint", "show", path)
        assert (ran.code, ran.out) == (3, "")
        assert words in ran.err
