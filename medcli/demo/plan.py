"""How large the demonstration is, where its things lie, and what one step of it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medcli.core.progress import SILENT, Progress
from medcli.core.shell import spell
from medcli.demo.result import BeforeAfter, ResultImage
from medcli.demo.training import one_thread

TRAIN_SPECIMENS = (1, 3, 6, 10, 12, 14)
VAL_SPECIMENS = (11,)
TEST_SPECIMENS = (2, 7, 8)
"""Numbers of the published test split; no donor of these has a leg in training, as some published ones have."""
ENCODER = "tu-mobilenetv3_small_050"
ARCH = "pan"
"""Of the networks that were tried, the one that learns most in a minute on a CPU: 0.3 million weights."""


@dataclass(frozen=True)
class Size:
    """How much is made and learned.

    Attributes:
        train_specimens: ultrasound specimens to learn from.
        train_frames, test_frames: frames of each sweep; every specimen has a fibula and a tibia.
        frame_scale: size of a frame relative to the published 950 x 811; the view is the same.
        seg_epochs, pose_epochs: passes of the trainings.
        pairs: X-ray pairs; three to a trial.
        registered: pairs that are registered.
        rebuilt: specimens that are rebuilt in 3D.
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


FULL = Size()
QUICK = Size(
    train_specimens=TRAIN_SPECIMENS[:3],
    train_frames=8,
    test_frames=2,
    pairs=24,
    pose_epochs=7,
    registered=2,
    rebuilt=TEST_SPECIMENS[:1],
)


@dataclass(frozen=True)
class DemoPlan:
    """One demonstration: its folder as the user named it, and its settings."""

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
    def runs(self) -> Path:
        return self.out / "runs"

    @property
    def pictures(self) -> Path:
        """Pictures that no command leaves."""
        return self.out / "pictures"

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
        """``--workers`` as it must be typed."""
        return ("--workers", str(self.workers)) if self.workers else ()

    def picture(self, name: str, pixels: Any, alt: str = "", caption: str = "") -> ResultImage:
        """Write an image (H, W) or (H, W, 3) RGB, as JPEG, for the report."""
        from medcli.core.image_io import write_image

        write_image(self.pictures / name, pixels, 88)
        return ResultImage(self.relative(self.pictures / name), alt, caption)

    def relative(self, path: Path) -> str:
        """``path`` relative to the demonstration's folder, with forward slashes."""
        return path.absolute().relative_to(self.out.absolute()).as_posix()


@dataclass(frozen=True)
class StepOutcome:
    """What a step found out; see :class:`medcli.demo.result.Step`."""

    numbers: Mapping[str, str]
    folder: Path | None = None
    pictures: tuple[ResultImage, ...] = ()
    before_after: BeforeAfter | None = None


RunCommand = Callable[[Sequence[str | Path]], Any]
"""Runs a command of medcli, given as the words after ``medcli``, and returns the dataclass that it answers."""


@dataclass(frozen=True)
class DemoTask:
    """A step before it runs.

    Attributes:
        name, title, about: see :class:`medcli.demo.result.Step`.
        words: the command's words after ``medcli``: they are run, and shown to be typed.
        outcome: what there is to say of the command's answer.
        reads, leaves: patterns of files below the demonstration's folder. The step is done as long as these are as
            they were when it ended.
        needs: names of steps without which it cannot run.
        free: further words, which do not change what comes out.
        work: does the step where the command, typed in this folder, does nothing more than that.
        one_core: PyTorch computes on one core, see :func:`medcli.demo.training.one_thread`.
    """

    name: str
    title: str
    about: str
    words: tuple[str | Path, ...]
    outcome: Callable[[Any], StepOutcome]
    reads: tuple[str, ...] = ()
    leaves: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    free: tuple[str, ...] = ()
    work: Callable[[], Any] | None = None
    one_core: bool = False

    @property
    def command(self) -> str:
        """As typed into a shell."""
        return spell("medcli", *self.words, *self.free)

    def run(self, run_command: RunCommand) -> tuple[StepOutcome, tuple[str, ...]]:
        """What came out, and the items that failed."""
        with one_thread() if self.one_core else nullcontext():
            answer = self.work() if self.work else run_command((*self.words, *self.free))
        return self.outcome(answer), tuple(map(str, getattr(answer, "failures", ())))


def typed(*parts: str | Path) -> tuple[str | Path, ...]:
    """The words of a command: texts are cut at their spaces, paths stay whole."""
    return tuple(word for part in parts for word in ([part] if isinstance(part, Path) else part.split()))


def listed(numbers: Iterable[int]) -> str:
    """Values of an option: ``2 7 8``."""
    return " ".join(map(str, numbers))
