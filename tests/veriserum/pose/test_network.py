"""Pose networks by name, their head, and the sources of weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from medcli.core.errors import DataError, UsageError
from medcli.veriserum.pose.network import GREY_MEAN, GREY_STD, as_input, build_pose_network
from medcli.veriserum.pose.settings import backbone_names


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "squeezenet1_0", "regnet_y_400mf"])
def test_untrained_network_gives_the_pose_it_starts_from(name: str) -> None:
    if name == "squeezenet1_0":
        with pytest.raises(UsageError, match="does not end in a linear layer"):
            build_pose_network(name)
        return
    network = build_pose_network(name).eval()
    start = torch.tensor([10.0, -20, 400, 1, 0, 0, 0, 0, 1])
    network.start_from(start, torch.ones(9))
    found = network(as_input(torch.randint(0, 255, (2, 2, 64, 64), dtype=torch.uint8)))
    assert found.shape == (2, 9)
    assert torch.allclose(found, start.expand(2, 9))


def test_input_is_both_planes_and_zeros() -> None:
    planes = torch.zeros(1, 2, 4, 4, dtype=torch.uint8)
    planes[:, 1] = 255
    found = as_input(planes)
    assert torch.allclose(found[0, 0], torch.tensor(-GREY_MEAN / GREY_STD))
    assert torch.allclose(found[0, 1], torch.tensor((1 - GREY_MEAN) / GREY_STD))
    assert not found[0, 2].any()


def test_published_backbone_exists() -> None:
    assert {"resnext50_32x4d", "resnet18"} <= set(backbone_names())


def test_unknown_backbone_names_similar_ones() -> None:
    with pytest.raises(UsageError, match="no backbone 'resnet19'; did you mean resnet1"):
        build_pose_network("resnet19")


def test_weights_of_a_file(tmp_path: Path) -> None:
    import torchvision

    torch.manual_seed(5)
    source = torchvision.models.resnet18(weights=None)
    torch.save(source.state_dict(), tmp_path / "resnet18.pth")
    save_file(source.state_dict(), tmp_path / "resnet18.safetensors")
    for name in ("resnet18.pth", "resnet18.safetensors"):
        network = build_pose_network("resnet18", tmp_path / name)
        loaded = network.backbone.state_dict()
        assert all(torch.equal(loaded[key], value) for key, value in source.state_dict().items() if key[:3] != "fc.")
    save_file(network.state_dict(), tmp_path / "ours.safetensors")
    again = build_pose_network("resnet18", tmp_path / "ours.safetensors")
    assert torch.equal(again.state_dict()["backbone.conv1.weight"], source.state_dict()["conv1.weight"])


def test_weights_that_do_not_fit_or_are_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither imagenet, none nor a file"):
        build_pose_network("resnet18", tmp_path / "absent.pth")
    save_file({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "part.safetensors")
    with pytest.raises(DataError, match="does not contain weights of resnet18") as error:
        build_pose_network("resnet18", tmp_path / "part.safetensors")
    assert "--backbone-weights none" in str(error.value.hint)


def test_no_internet_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("<urlopen error [Errno -2] Name or service not known>\nmore")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(DataError, match="cannot get the imagenet weights of resnet18") as error:
        build_pose_network("resnet18", "imagenet")
    assert "\n" not in error.value.message
    assert "--backbone-weights FILE" in str(error.value.hint)
