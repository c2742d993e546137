"""A Lightning module whose forward and backward pass are recorded once and replayed, on one GPU.

A step of the published network launches about 900 kernels, which the processor cannot prepare as fast as a GPU runs
them at a batch of 32. A CUDA graph launches all of them at once. The optimiser's step, the learning rate and the
augmentation stay outside, so that they may change from step to step; a batch of another size, the last of an epoch, is
computed kernel by kernel.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from medcli.core.errors import printable

_WARM_UP = 3
"""Steps before the recording, in which libraries choose their kernels and allocate their memory."""

logger = logging.getLogger(__name__)


class RecordedModule(pl.LightningModule):
    """Subclasses set ``model``, define :meth:`step_loss` and call :meth:`step` from their ``training_step``.

    Args:
        choice: ``auto``: record the steps on a GPU; ``on``: compile the network before; ``off``: launch kernel by
            kernel.
    """

    model: torch.nn.Module

    def __init__(self, choice: str = "auto") -> None:
        super().__init__()
        self.choice = choice
        self._recordable = choice != "off"
        self._recording: _Recording | None = None
        self._is_replayed = False
        self._shape: torch.Size | None = None
        self._is_whole = False
        # Not a child module, so that the names in the state dict stay plain.
        self._compiled: list[Any] = []

    @property
    def network(self) -> Callable[..., Any]:
        """The model; the compiled one in whole batches of a training, as each other shape would be compiled again."""
        return self._compiled[0] if self._compiled and self._is_whole else self.model

    def on_train_start(self) -> None:
        if self.choice == "on":
            self._compiled = [torch.compile(self.model)]

    def step_loss(self, *inputs: Tensor) -> Tensor:
        """The loss of a batch: fixed shapes, nothing that waits for the device, nothing drawn outside of torch."""
        raise NotImplementedError

    def plain_inputs(self, *batch: Tensor) -> tuple[Tensor, ...]:
        """What :meth:`step_loss` takes, of the two parts of a batch without augmentation."""
        return batch

    def step(self, *inputs: Tensor) -> Tensor:
        """:meth:`step_loss`, and on a GPU the gradients as well, which :meth:`backward` then leaves as they are."""
        self._shape = self._shape or inputs[0].shape
        self._is_whole = inputs[0].shape == self._shape
        try:
            if self._is_whole and self._recording is None and self._may_record(inputs):
                self._record(inputs)
            recording = self._recording if self._is_whole else None
            self._is_replayed = recording is not None
            return self.step_loss(*inputs) if recording is None else recording.replay(inputs)
        finally:
            self._is_whole = False

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        if not self._is_replayed:
            super().backward(loss, *args, **kwargs)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        if not self._is_replayed:  # Lightning calls this between loss and backward
            optimizer.zero_grad()  # a replay brings its own gradients

    def _may_record(self, inputs: tuple[Tensor, ...]) -> bool:
        return self._recordable and inputs[0].device.type == "cuda" and self.trainer.world_size == 1

    def _record(self, inputs: tuple[Tensor, ...]) -> None:
        try:
            self._recording = _Recording(self, inputs)
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError as error:  # an operation of this network that can be neither compiled nor recorded
            torch.cuda.synchronize()
            self.zero_grad(set_to_none=True)
            way = "compiling" if self._compiled else "a CUDA graph"
            reason = printable(" ".join(str(error).split("\n")[:2]))  # of a compiler, the first line names it alone
            logger.warning("this network is trained without %s: %s", way, reason)
            if not self._compiled:
                self._recordable = False
                return
            self._compiled = []
            self._record(inputs)


class _Recording:
    """The CUDA graph of one shape of inputs; its memory is its own."""

    def __init__(self, module: RecordedModule, inputs: tuple[Tensor, ...]) -> None:
        self.inputs = tuple(part.clone() for part in inputs)
        self.graph = torch.cuda.CUDAGraph()
        with (
            _unchanged(module),
            torch.autocast(
                "cuda",
                torch.get_autocast_dtype("cuda"),
                torch.is_autocast_enabled("cuda"),
                cache_enabled=False,  # weights that were converted outside of the recording are not in it
            ),
        ):
            beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):
                for _ in range(_WARM_UP):
                    module.zero_grad(set_to_none=True)
                    module.step_loss(*self.inputs).backward()  # type: ignore[no-untyped-call]
            torch.cuda.current_stream().wait_stream(beside)
            module.zero_grad(set_to_none=True)  # the recording allocates the gradients
            with torch.cuda.graph(self.graph):
                loss = module.step_loss(*self.inputs)
                loss.backward()  # type: ignore[no-untyped-call]
                self.loss = loss.detach()
        self.gradients = [(parameter, parameter.grad) for parameter in module.parameters()]

    def replay(self, inputs: tuple[Tensor, ...]) -> Tensor:
        for there, here in zip(self.inputs, inputs, strict=True):
            there.copy_(here)
        self.graph.replay()
        for (
            parameter,
            gradient,
        ) in self.gradients:  # steps kernel by kernel, and Lightning before validations, drop them
            parameter.grad = gradient
        return self.loss.clone()


@contextmanager
def _unchanged(module: torch.nn.Module) -> Iterator[None]:
    """Whatever runs inside, running statistics are afterwards as before, and the GPU draws as from the step's start."""
    before = [buffer.clone() for buffer in module.buffers()]
    seed = torch.cuda.initial_seed()  # set for every step, see :class:`medcli.training.callbacks.SeedEachStep`
    try:
        yield
    finally:
        torch.cuda.manual_seed(seed)
        with torch.no_grad():
            for buffer, values in zip(module.buffers(), before, strict=True):
                buffer.copy_(values)
