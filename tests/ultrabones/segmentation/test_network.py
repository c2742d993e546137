from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from medcli.core.errors import DataError, UsageError
from medcli.ultrabones.segmentation.network import build_empty_model, build_model, read_tensors
from tests.conftest import Ran


@pytest.fixture(scope="module")
def three_channel_state() -> dict[str, torch.Tensor]:
    """Encoder weights as torchvision publishes them, with a classifier."""
    torch.manual_seed(0)
    return torchvision.models.resnet18().state_dict()


def test_published_model_has_one_grey_channel_and_one_logit() -> None:
    model = build_model().eval()
    assert sum(parameter.numel() for parameter in model.parameters()) == 23_149_121
    assert model(torch.zeros(2, 1, 64, 96)).shape == (2, 1, 64, 96)


@pytest.mark.parametrize("arch", ["fpn", "linknet"])
def test_an_empty_model_takes_the_weights_of_one_that_was_drawn(arch: str) -> None:
    drawn = build_model(arch, "resnet18")
    empty = build_empty_model(arch, "resnet18")
    empty.load_state_dict(drawn.state_dict())
    images = torch.randn(2, 1, 64, 64)
    assert all(parameter.requires_grad and not parameter.is_meta for parameter in empty.parameters())
    torch.testing.assert_close(empty.eval()(images), drawn.eval()(images), rtol=0, atol=0)


@pytest.mark.parametrize("weights", [None, "none", "None"])
def test_none_means_random_weights(weights: str | None) -> None:
    assert build_model("unet", "resnet18", weights) is not None


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_local_encoder_of_three_channels_is_summed(
    kind: str, tmp_path: Path, three_channel_state: dict[str, torch.Tensor]
) -> None:
    path = tmp_path / f"encoder.{kind}"
    (save_file if kind == "safetensors" else torch.save)(three_channel_state, path)
    encoder = build_model("fpn", "resnet18", path).encoder
    torch.testing.assert_close(encoder.conv1.weight, three_channel_state["conv1.weight"].sum(1, keepdim=True))
    torch.testing.assert_close(encoder.layer4[1].conv2.weight, three_channel_state["layer4.1.conv2.weight"])


def test_summed_weights_answer_to_grey_as_three_channels_do(
    tmp_path: Path, three_channel_state: dict[str, torch.Tensor]
) -> None:
    torch.save(three_channel_state, tmp_path / "encoder.pth")
    encoder = build_model("fpn", "resnet18", tmp_path / "encoder.pth").encoder
    grey = torch.rand(1, 1, 32, 32)
    colour = torch.nn.functional.conv2d(
        grey.expand(1, 3, 32, 32), three_channel_state["conv1.weight"], stride=2, padding=3
    )
    torch.testing.assert_close(encoder.conv1(grey), colour, rtol=1e-4, atol=1e-5)


def test_encoder_of_a_whole_one_channel_model(tmp_path: Path) -> None:
    model = build_model("unet", "resnet18")
    torch.save({"state_dict": model.state_dict()}, tmp_path / "model.ckpt")
    loaded = build_model("fpn", "resnet18", tmp_path / "model.ckpt").encoder
    torch.testing.assert_close(loaded.conv1.weight, model.encoder.conv1.weight)


def test_weights_of_another_encoder_are_refused(tmp_path: Path, three_channel_state: dict[str, torch.Tensor]) -> None:
    torch.save(three_channel_state, tmp_path / "encoder.pth")
    with pytest.raises(DataError, match=r"does not hold weights of resnet34: \d+ missing"):
        build_model("fpn", "resnet34", tmp_path / "encoder.pth")


def test_without_internet_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DataError, match="cannot get the imagenet weights of resnet34") as raised:
        build_model("fpn", "resnet34", "imagenet")
    assert "\n" not in raised.value.message
    assert "--encoder-weights none" in str(raised.value.hint)


def test_neither_a_name_nor_a_file() -> None:
    with pytest.raises(DataError, match="'imagenett' are neither"):
        build_model("fpn", "resnet34", "imagenett")


def test_a_pickle_that_is_no_state_dict_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(1, 1), tmp_path / "module.pth")
    with pytest.raises(DataError, match="is not a torch state dict"):
        read_tensors(tmp_path / "module.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(DataError, match="holds no state dict"):
        read_tensors(tmp_path / "list.pth")


def test_wrong_names_are_listed_with_what_else_is_missing(medcli: Callable[..., Ran]) -> None:
    words = ("--root", "none", "--gpus", "0", "--encoder-weights", "none")
    ran = medcli("train", "seg", "--arch", "unt", "--encoder", "tu-resnet43", *words)
    expected = ("no architecture 'unt'; did you mean unet", "no encoder 'tu-resnet43'; did you mean", "no folder none")
    assert [text for text in expected if text not in ran.err] == []
    assert (
        medcli("train", "seg", "--arch", "DPT", "--encoder", "tu-vit_base_patch16_224", *words).err.count("error") == 1
    )
    ran = medcli("train", "pose", "--backbone", "resnet43", *words[:4])
    assert "no backbone 'resnet43'; did you mean" in ran.err
    assert "no folder none" in ran.err


def test_unknown_names_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="no architecture 'fnp'"):
        build_model("fnp")
    with pytest.raises(UsageError, match=r"no encoder 'resnet35'; did you mean resnet"):
        build_model("fpn", "resnet35")
