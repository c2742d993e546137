"""Schedule and average of the recipe, and one step of a modern encoder with it."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from medcli.core.errors import UsageError
from medcli.training.settings import as_dict, differing
from medcli.ultrabones.segmentation.augmentation.filters import thicken_batch
from medcli.ultrabones.segmentation.lightning_module import SegmentationModule
from medcli.ultrabones.segmentation.network import build_model
from medcli.ultrabones.segmentation.recipes.strong import (
    DECAY,
    LOWEST,
    averaged_copy,
    decay_after,
    describe_recipe,
    rate_factor,
    update_average,
)
from medcli.ultrabones.segmentation.settings import SegmentationSettings, check_segmentation_settings

STRONG = SegmentationSettings(recipe="strong", augment="none")


def test_rate_rises_to_the_highest_and_falls_along_a_cosine() -> None:
    factors = [rate_factor(step, 200) for step in range(200)]
    assert factors[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert factors[10] == 1
    assert factors[105] == pytest.approx((1 + LOWEST) / 2)  # half of the way down
    assert sorted(factors[10:], reverse=True) == factors[10:]
    assert LOWEST < factors[-1] < 1.02 * LOWEST
    assert rate_factor(0, 1) == 1


def test_average_follows_the_weights_and_their_running_statistics() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2))
    average = averaged_copy(model)
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for step in (1, 2, 30_000):
        with torch.no_grad():
            for tensor in (*model.parameters(), model[1].running_mean):
                tensor.add_(torch.randn_like(tensor))
            model[1].num_batches_tracked += 1
        update_average(average, model, step)
        keep = min(0.999, (1 + step) / (10 + step))
        for name, tensor in model.state_dict().items():
            mixed = keep * expected[name] + (1 - keep) * tensor
            expected[name] = mixed if tensor.is_floating_point() else tensor.clone()
    assert decay_after(30_000) == DECAY
    for name, tensor in average.state_dict().items():
        torch.testing.assert_close(tensor, expected[name])
    assert not any(parameter.requires_grad for parameter in average.parameters())


def test_a_modern_encoder_is_built_and_trained_one_step() -> None:
    torch.manual_seed(0)
    module = SegmentationModule(build_model("fpn", "tu-convnext_tiny", "none"), STRONG)
    optimiser = module.configure_optimizers()
    held = {id(parameter) for group in optimiser.param_groups for parameter in group["params"]}
    assert held == {id(parameter) for parameter in module.model.parameters()}
    before = {name: tensor.clone() for name, tensor in module.model.named_parameters()}
    labels = torch.zeros(2, 64, 64, dtype=torch.uint8)
    labels[:, 30, 10:50] = 255
    loss = module.step_loss(*module.plain_inputs(torch.randint(0, 256, (2, 64, 64), dtype=torch.uint8), labels))
    loss.backward()
    optimiser.step()
    assert torch.isfinite(loss)
    moved = [not torch.equal(before[name], tensor) for name, tensor in module.model.named_parameters()]
    assert sum(moved) / len(moved) > 0.95


def test_validation_is_of_the_average() -> None:
    module = SegmentationModule(torch.nn.Conv2d(1, 1, 1), STRONG)
    inputs = torch.ones(1, 1, 4, 4)
    assert module.average is module.result
    with torch.no_grad():
        module.average.bias += 5
    apart = module.eval()(inputs) - module.train()(inputs)
    torch.testing.assert_close(apart, torch.full_like(apart, 5))
    published = SegmentationModule(torch.nn.Conv2d(1, 1, 1), SegmentationSettings())
    assert published.result is published.model


@pytest.mark.parametrize(("size", "label", "skeleton"), [(256, 3, 1), (384, 5, 2), (512, 6, 2)])
def test_labels_are_as_thick_at_every_size(
    size: int, label: int, skeleton: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = SegmentationModule(torch.nn.Conv2d(1, 1, 1), SegmentationSettings(size=size))
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(module, "loss", lambda _, *thick: seen.extend(thick[:2]))
    bones = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    bones[..., 16, 16] = True
    module.step_loss(torch.zeros(1, 1, 32, 32), bones)
    for found, radius in zip(seen, (label, skeleton), strict=True):
        assert torch.equal(found, thicken_batch(bones, radius))


def test_settings_are_described_checked_and_bound_to_their_number_of_epochs() -> None:
    assert describe_recipe(SegmentationSettings()) == ""
    assert "256 x 256" in describe_recipe(STRONG)
    assert "up to 0.0003" in describe_recipe(STRONG)
    assert describe_recipe(SegmentationSettings(size=512)) == "recipe published: input 512 x 512"
    with pytest.raises(UsageError, match="--size '300' is not one of 256, 384, 512"):
        check_segmentation_settings(SegmentationSettings(size=300))
    with pytest.raises(UsageError, match="--recipe 'weak' is not one of published, strong"):
        check_segmentation_settings(SegmentationSettings(recipe="weak"))
    for settings, changed in ((SegmentationSettings(), []), (STRONG, ["epochs was 100, is 200"])):
        longer = dataclasses.replace(settings, epochs=200)
        assert differing(as_dict(settings), longer, "") == changed
