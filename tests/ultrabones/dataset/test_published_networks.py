"""What is known of a checkpoint of the authors, and how it travels into what is made of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from medcli.ultrabones.dataset.constants import TRAIN_SPECIMENS
from medcli.ultrabones.dataset.published_networks import UNKNOWN_TRAINING, training_origin
from medcli.ultrabones.segmentation.network import build_model
from tests.conftest import Ran

Medcli = Callable[..., Ran]


@pytest.mark.parametrize(
    ("folder", "train"),
    [
        ("train_on_1_3_4_5_6_9_10_11_12_13_14", TRAIN_SPECIMENS),
        ("train_on_2_7", (2, 7)),
        ("train_on_2_70", None),  # no such specimen
        ("train_on_2_7_old", None),
        ("models", None),
    ],
)
def test_the_authors_folders_name_the_training_specimens(
    folder: str, train: tuple[int, ...] | None, tmp_path: Path
) -> None:
    origin = training_origin(tmp_path / folder / "epoch_100.pth")
    assert (origin.train if origin else None) == train


def test_a_converted_checkpoint_carries_them(medcli: Medcli, tmp_path: Path) -> None:
    network = build_model("fpn", "resnet18")
    known, unknown = tmp_path / "train_on_1_3/epoch_7.pth", tmp_path / "epoch_7.pth"
    known.parent.mkdir()
    torch.save(network, known)
    torch.save(network, unknown)
    ran = medcli("checkpoint", "convert", known, tmp_path / "known", "--json")
    made = json.loads(ran.out)["metadata"]
    assert made["splits"] == {"train": [1, 3]}
    assert "from the name of its folder, train_on_1_3" in made["source"]
    words = ("checkpoint", "convert", unknown, tmp_path / "unknown")
    assert UNKNOWN_TRAINING in " ".join(medcli(*words).out.split())
    stated = medcli(*words, "--overwrite", "--train-specimens", "3-5", "--json")
    made = json.loads(stated.out)["metadata"]
    assert made["splits"] == {"train": [3, 4, 5]}
    assert made["source"].endswith("as stated when it was converted")
    against = medcli("checkpoint", "convert", known, tmp_path / "other", "--train-specimens", 2)
    assert against.code == 2
    assert "was trained on specimens 1 3, not on 2" in against.err
