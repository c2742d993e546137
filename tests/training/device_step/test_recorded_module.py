"""When a step is recorded, replayed and left alone; the recording itself is tested on a GPU (tests/gpu)."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from medcli.training.device_step import recorded_module
from medcli.training.device_step.recorded_module import RecordedModule, _Recording


class Line(RecordedModule):
    """y = w x."""

    def __init__(self, choice: str = "auto") -> None:
        super().__init__(choice)
        self.model = torch.nn.Linear(1, 1, bias=False)

    def step_loss(self, *inputs: Tensor) -> Tensor:
        loss: Tensor = self.network(inputs[0]).mean()
        return loss


class Replay:
    """Stands in for a CUDA graph: writes loss and gradient as a replay does."""

    def __init__(self, module: Line, inputs: tuple[Tensor, ...]) -> None:
        self.module = module
        module.model.weight.grad = torch.zeros_like(module.model.weight)

    def replay(self, inputs: tuple[Tensor, ...]) -> Tensor:
        self.module.model.weight.grad = torch.full_like(self.module.model.weight, inputs[0].mean().item())
        return self.module.model(inputs[0]).mean().detach()


def steps_of(module: Line, batches: list[Tensor]) -> list[Tensor]:
    """The steps of Lightning's automatic optimisation: loss, zeroed gradients, backward, step."""
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    found = []
    for number, batch in enumerate(batches):
        loss = module.step(batch)
        module.optimizer_zero_grad(0, number, optimizer)
        module.backward(loss)
        optimizer.step()
        found.append(module.model.weight.detach().clone())
    return found


@pytest.fixture
def batches() -> list[Tensor]:
    return [torch.full((4, 1), float(value)) for value in (1, 2, 3)] + [torch.full((2, 1), 5.0)] + [torch.ones((4, 1))]


def test_replayed_and_launched_steps_change_the_weights_alike(
    batches: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also around a smaller batch, which is not replayed, and whose gradient must not be added to the last one."""
    plain, replayed = Line("off"), Line()
    replayed.load_state_dict(plain.state_dict())
    expected = steps_of(plain, batches)
    monkeypatch.setattr(recorded_module, "_Recording", Replay)
    monkeypatch.setattr(replayed, "_may_record", lambda inputs: True)
    found = steps_of(replayed, batches)
    torch.testing.assert_close(found, expected)


def test_a_replay_brings_its_gradients_back() -> None:
    """Lightning sets all gradients to None before each validation."""
    module = Line()
    weight, gradient = module.model.weight, torch.zeros((1, 1))
    recording = object.__new__(_Recording)
    recording.inputs, recording.loss, recording.gradients = (torch.zeros((4, 1)),), torch.ones(()), [(weight, gradient)]
    recording.graph = SimpleNamespace(replay=lambda: gradient.fill_(7.0))  # type: ignore[assignment]
    for _ in range(2):
        module.zero_grad()
        assert recording.replay((torch.ones((4, 1)),)) == 1
        assert weight.grad is gradient
        assert gradient == 7


@pytest.mark.parametrize("choice", ["auto", "off"])
def test_a_cpu_and_several_processes_record_nothing(choice: str) -> None:
    module = Line(choice)
    module._trainer = SimpleNamespace(world_size=1)  # type: ignore[assignment]
    assert not module._may_record((torch.zeros(1),))
    on_gpu: Any = SimpleNamespace(device=torch.device("cuda"))
    assert module._may_record((on_gpu,)) == (choice == "auto")
    module._trainer.world_size = 2  # type: ignore[union-attr,misc]
    assert not module._may_record((on_gpu,))


def test_what_cannot_be_recorded_is_trained_all_the_same(
    batches: list[Tensor], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried = []

    def refused(module: Line, inputs: Any) -> None:
        tried.append(bool(module._compiled))
        raise RuntimeError("operation not permitted when stream is capturing\nhere\nmore")

    monkeypatch.setattr(recorded_module, "_Recording", refused)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    plain, module = Line("off"), Line("on")
    module.load_state_dict(plain.state_dict())
    monkeypatch.setattr(module, "_may_record", lambda inputs: module._recordable)
    monkeypatch.setattr(torch, "compile", lambda model: model)
    module.on_train_start()
    with caplog.at_level(logging.WARNING):
        torch.testing.assert_close(steps_of(module, batches), steps_of(plain, batches))
    assert tried == [True, False]  # compiled, then as it is, then never again
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "this network is trained without compiling",
        "this network is trained without a CUDA graph",
    ]
    assert "more" not in caplog.text


def test_full_memory_is_not_taken_for_such_an_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(module: Line, inputs: Any) -> None:
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(recorded_module, "_Recording", full)
    module = Line()
    monkeypatch.setattr(module, "_may_record", lambda inputs: True)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        module.step(torch.zeros((2, 1)))


def test_only_whole_batches_of_a_training_use_the_compiled_network(monkeypatch: pytest.MonkeyPatch) -> None:
    module, calls = Line("on"), []
    monkeypatch.setattr(torch, "compile", lambda model: lambda inputs: calls.append(len(inputs)) or model(inputs))
    module.on_train_start()
    for size in (4, 4, 2):
        module.step(torch.zeros((size, 1)))
    module.network(torch.zeros((4, 1)))  # as a validation does
    assert calls == [4, 4]
