"""The size of the demonstration, its folders, and the definition of one step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medcli.core.progress import SILENT, Progress
from medcli.core.shell import spell
from medcli.demo.result import BeforeAfter, ResultImage
from medcli.training.run_folder import read_history

TRAIN_SPECIMENS = (1, 3, 6, 10, 12, 14)
VAL_SPECIMENS = (11,)
TEST_SPECIMENS = (2, 7, 8)
"""The published test split; unlike in the published training split, no donor of these has a leg in training."""
ENCODER = "tu-mobilenetv3_small_050"
ARCH = "pan"
"""Of the networks tried, the most accurate after a minute of training on a CPU: 0.3 million weights."""


@dataclass(frozen=True)
class Size:
    """How much data is made, and how long is trained.

    Attributes:
        train_specimens: ultrasound specimens of the training.
        train_frames, test_frames: frames of each sweep; every specimen has a fibula and a tibia.
        frame_scale: size of a frame relative to the published 950 x 811; the view is the same.
        seg_epochs, pose_epochs: epochs of the trainings.
        pairs: X-ray pairs; three to a trial.
        registered: pairs that are registered.
        rebuilt: specimens that are reconstructed in 3D.
        motion_frames: X-ray pairs of the trial whose motion is computed; 0: these steps are left out.
    """

    train_specimens: tuple[int, ...] = TRAIN_SPECIMENS
    train_frames: int = 16
    test_frames: int = 6
    frame_scale: float = 0.4
    seg_epochs: int = 8
    pairs: int = 96
    pose_epochs: int = 15
    registered: int = 4
    rebuilt: tuple[int, ...] = TEST_SPECIMENS
    motion_frames: int = 16


FULL = Size()
QUICK = Size(
    train_specimens=TRAIN_SPECIMENS[:3],
    train_frames=8,
    test_frames=2,
    pairs=24,
    pose_epochs=7,
    registered=2,
    rebuilt=TEST_SPECIMENS[:1],
    motion_frames=0,
)


@dataclass(frozen=True)
class DemoPlan:
    """One demonstration: its folder as the user gave it, and its settings."""

    out: Path
    quick: bool = False
    seed: int = 0
    workers: int | None = None
    progress: Progress = SILENT

    @property
    def size(self) -> Size:
        return QUICK if self.quick else FULL

    @property
    def ultrabones(self) -> Path:
        return self.out / "ultrabones"

    @property
    def veriserum(self) -> Path:
        return self.out / "veriserum"

    @property
    def knee(self) -> Path:
        """X-ray pairs of one trial with the poses of both components."""
        return self.out / "knee"

    @property
    def drifting(self) -> Path:
        """A sweep whose tracking drifts."""
        return self.out / "drifting"

    @property
    def runs(self) -> Path:
        return self.out / "runs"

    @property
    def images(self) -> Path:
        """Images for the report that no command writes."""
        return self.out / "images"

    @property
    def start_poses(self) -> Path:
        return self.out / "start_poses.csv"

    @property
    def trained(self) -> Path:
        """Weights of the segmentation network's best epoch."""
        return self.runs / "seg" / "small" / "best.safetensors"

    @property
    def untrained(self) -> Path:
        """The same network before its first step."""
        return self.runs / "untrained.safetensors"

    @property
    def trained_pose(self) -> Path:
        return self.runs / "pose" / "small" / "best.safetensors"

    @property
    def parallel(self) -> tuple[str, ...]:
        """The ``--workers`` option, if any."""
        return ("--workers", str(self.workers)) if self.workers else ()

    def save_image(self, name: str, pixels: Any, alt: str = "", caption: str = "") -> ResultImage:
        """Write an image (H, W) or (H, W, 3) RGB, as JPEG, for the report."""
        from medcli.core.image_io import write_image

        write_image(self.images / name, pixels, 88)
        return ResultImage(self.relative(self.images / name), alt, caption)

    def relative(self, path: Path) -> str:
        """``path`` relative to the demonstration's folder, with forward slashes."""
        return path.absolute().relative_to(self.out.absolute()).as_posix()


@dataclass(frozen=True)
class StepOutcome:
    """The result of a step; see :class:`medcli.demo.result.Step`."""

    numbers: Mapping[str, str]
    folder: Path | None = None
    images: tuple[ResultImage, ...] = ()
    before_after: BeforeAfter | None = None


RunCommand = Callable[[Sequence[str | Path]], Any]
"""Runs a medcli command, given as the words after ``medcli``, and returns its result dataclass."""


@dataclass(frozen=True)
class DemoTask:
    """A step before it runs.

    Attributes:
        name, title, about: see :class:`medcli.demo.result.Step`.
        words: the command's words after ``medcli``, both run and shown to the user.
        outcome: summarises the command's result.
        reads, writes: glob patterns of files below the demonstration's folder. The step counts as done as long as
            these files are unchanged since it ended.
        needs: names of the steps that it depends on.
        free: further options, which do not affect the result.
        work: does the step in place of the command, which gives the same result when run in this folder.
        one_core: limit PyTorch to one core, see :func:`_one_thread`.
    """

    name: str
    title: str
    about: str
    words: tuple[str | Path, ...]
    outcome: Callable[[Any], StepOutcome]
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    free: tuple[str, ...] = ()
    work: Callable[[], Any] | None = None
    one_core: bool = False

    @property
    def command(self) -> str:
        """The command line, quoted for a shell."""
        return spell("medcli", *self.words, *self.free)

    def run(self, run_command: RunCommand) -> tuple[StepOutcome, tuple[str, ...]]:
        """The outcome, and the items that failed."""
        with _one_thread() if self.one_core else nullcontext():
            result = self.work() if self.work else run_command((*self.words, *self.free))
        return self.outcome(result), tuple(map(str, getattr(result, "failures", ())))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limit PyTorch to one core within the block.

    Batches of a few small frames gain little from a second core. Where other programs use it, PyTorch's threads mostly
    wait for each other: on a busy machine with two cores the training takes eight times as long.
    """
    import torch

    from medcli.training.processes.thread_trial import threads_restored

    with threads_restored():
        torch.set_num_threads(1)
        yield


def first_and_last_loss(run: Path) -> str:
    """The training loss in the last and in the first epoch of a run, as text."""
    losses = [row["train_loss"] for row in read_history(run)]
    return f"{losses[-1]:.2f} in the last epoch; {losses[0]:.2f} in the first"


def command_words(*parts: str | Path) -> tuple[str | Path, ...]:
    """The words of a command: texts are split at spaces, paths are not."""
    return tuple(word for part in parts for word in ([part] if isinstance(part, Path) else part.split()))


def listed(numbers: Iterable[int]) -> str:
    """The values of an option: ``2 7 8``."""
    return " ".join(map(str, numbers))
