"""Settings of a segmentation training."""

from __future__ import annotations

import dataclasses

from medcli.training.settings import as_dict
from medcli.ultrabones.segmentation.settings import SegmentationSettings


def test_the_defaults_are_the_published_ones() -> None:
    settings = as_dict(SegmentationSettings())
    expected = {"arch": "fpn", "encoder": "resnet34", "epochs": 100, "batch_size": 32, "lr": 1e-5}
    expected |= {"loss": "published", "loss_weights": [1.0, 1.0, 0.1], "val_specimens": [2, 7, 8]}
    assert expected.items() <= settings.items()


def test_weights_follow_the_loss_unless_they_are_given() -> None:
    assert SegmentationSettings(loss="dice-bce").loss_weights == (1.0, 1.0)
    assert SegmentationSettings(loss="dice-bce", loss_weights=(2.0, 1.0)).loss_weights == (2.0, 1.0)
    assert SegmentationSettings(loss="unknown").loss_weights == ()


def test_the_learning_rate_follows_the_recipe_unless_it_is_given() -> None:
    strong = SegmentationSettings(recipe="strong")
    assert (strong.lr, SegmentationSettings(recipe="strong", lr=1e-5).lr) == (3e-4, 1e-5)
    assert SegmentationSettings(recipe="unknown").lr == 1e-5
    assert dataclasses.replace(strong, epochs=3).lr == 3e-4
    assert as_dict(strong)["lr"] == 3e-4  # as settings.json has it
