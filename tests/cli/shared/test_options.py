"""Shared options: their words become values, and choices are those that the library knows."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import pytest
import typer
from typer.testing import CliRunner

from medcli.cli.shared.multi_value_options import App
from medcli.cli.shared.options import IdRange, id_filter, settings_from, with_output
from medcli.cli.shared.output import Output
from medcli.training import devices
from medcli.training.loggers import LOGGERS
from medcli.ultrabones.evaluation import settings as seg_evaluation
from medcli.ultrabones.labelling.label_rules import LABEL_RULES
from medcli.ultrabones.reconstruction.settings import ReconstructSettings
from medcli.ultrabones.segmentation import inference
from medcli.ultrabones.segmentation.losses import LOSSES
from medcli.ultrabones.segmentation.settings import AUGMENTATIONS, LABELS, MONITORS, SegmentationSettings
from medcli.veriserum.calibration.map_points import COLUMNS
from medcli.veriserum.calibration.undistortion_map import RESAMPLINGS
from medcli.veriserum.dataset.detector import PLANES
from medcli.veriserum.dataset.trial_splits import SPLIT_RULES
from medcli.veriserum.geometry.biplane import PoseFrame
from medcli.veriserum.pose import evaluated_pairs
from medcli.veriserum.pose.losses import POSE_LOSSES
from medcli.veriserum.pose.settings import MONITORS as POSE_MONITORS
from tests.conftest import Ran
from tests.test_reference import parse


@pytest.mark.parametrize(
    ("command", "choices"),
    [
        ("calibrate veriserum --planes", PLANES),
        ("calibrate veriserum --resample", RESAMPLINGS),
        ("calibrate points x.csv --out y.csv --plane", PLANES),
        ("calibrate points x.csv --out y.csv --to", COLUMNS),
        ("label ultrabones --kind", [*LABEL_RULES, "both"]),
        ("train seg --labels", LABELS),
        ("train seg --augment", AUGMENTATIONS),
        ("train seg --loss", LOSSES),
        ("train seg --monitor", MONITORS),
        ("train pose --monitor", POSE_MONITORS),
        ("train seg --precision", ["auto", *devices.PRECISIONS]),
        ("train seg --logger", LOGGERS),
        ("train pose --precision", ["auto", *devices.PRECISIONS]),
        ("train pose --split", SPLIT_RULES),
        ("train pose --loss", POSE_LOSSES),
        ("evaluate seg --protocol", [*seg_evaluation.PROTOCOLS, "both"]),
        ("evaluate pose --split", evaluated_pairs.SIDES),
        ("evaluate pose --pose-frame", [frame.value for frame in PoseFrame]),
        ("register pose --pose-frame", [frame.value for frame in PoseFrame]),
        ("predict seg --precision", inference.PRECISIONS),
    ],
)
def test_choices_are_those_of_the_library(medcli: Callable[..., Ran], command: str, choices: list[str]) -> None:
    """Those of modules that are slow to import stand in the command line again: none may be forgotten."""
    verb, task, *_, flag = command.split()
    shown = re.search(rf"{flag} (?:[<\[](?:list\[)?([^\]>]*)|(\S+\|\S+))", medcli(verb, task, "--help").out)
    assert shown is not None
    assert set((shown[1] or shown[2]).split("|")) == set(choices)
    for choice in choices:
        parse([*command.split(), choice])
    with pytest.raises(Exception, match="is not one of"):
        parse([*command.split(), "another"])


def test_ids_are_ranges() -> None:
    assert id_filter([IdRange.parse("7"), IdRange.parse("1-1000")]) == [(7, 7), (1, 1000)]
    assert id_filter([]) is id_filter(None) is None
    for bad in ("x", "1-", "-2", "3-1"):
        with pytest.raises(ValueError, match="a "):
            IdRange.parse(bad)


def test_every_command_gets_the_options_that_decide_what_is_printed() -> None:
    seen: list[tuple[Output, int]] = []

    def command(output: Output, count: Annotated[int, typer.Option("--count")] = 1) -> None:
        """What it does."""
        seen.append((output, count))

    wrapped = with_output(command)
    assert list(inspect.signature(wrapped).parameters) == ["count", "config", "json", "quiet", "verbose"]
    assert (wrapped.__name__, wrapped.__doc__) == (command.__name__, command.__doc__)
    wrapped(json=True, quiet=False, verbose=True, count=3)
    ((output, count),) = seen
    assert (output.as_json, output.quiet, output.verbose, count) == (True, False, True, 3)
    assert with_output(test_ids_are_ranges) is test_ids_are_ranges, "a command that prints nothing needs none of them"


def test_an_option_that_is_on_or_off_has_one_flag() -> None:
    def command(
        output: Output,
        skip_obsolete: Annotated[bool, typer.Option(help="Leave them out.")] = False,
        every: Annotated[bool, typer.Option("--all")] = False,
        search: Annotated[bool, typer.Option("--search/--no-search")] = True,
    ) -> None:
        """What it does."""

    app = App()
    app.command("command")(command)
    params = typer.main.get_command(app).params
    flags = [[*param.opts, *param.secondary_opts] for param in params][:3]
    assert flags == [["--skip-obsolete"], ["--all"], ["--search", "--no-search"]]


def test_several_of_some_choices() -> None:
    seen: list[object] = []

    def command(output: Output, planes: Annotated[list[Literal["bs", "fs"]] | None, typer.Option()] = None) -> None:
        """What it does."""
        seen.append(planes)

    app = App()
    app.command("command")(command)
    assert CliRunner().invoke(app, ["--planes", "bs", "fs"]).exit_code == 0
    assert CliRunner().invoke(app, []).exit_code == 0
    assert seen == [["bs", "fs"], None]
    refused = CliRunner().invoke(app, ["--planes", "bs,xs"])
    assert refused.exit_code == 2
    assert "'xs' is not one of bs, fs" in refused.output


def test_settings_are_the_options_of_the_same_names() -> None:
    typed = {"mask": "Labels_pred", "poses": None, "voxel_mm": 0.5, "probe": "a word", "output": "not a field"}
    settings = settings_from(ReconstructSettings, typed, probe=None)
    assert settings == ReconstructSettings(mask="Labels_pred", voxel_mm=0.5)
    chosen = settings_from(SegmentationSettings, {"train_specimens": [1, 3], "val_specimens": None}, lr=1.0)
    assert chosen == SegmentationSettings(train_specimens=(1, 3), lr=1.0), "not given: the default of the settings"
    with pytest.raises(TypeError, match="unknown"):
        settings_from(ReconstructSettings, typed, unknown=1)


DEVICE_WORDS = {
    "cpu": ["--device", "cpu"],
    "0": ["--gpus", "0"],
    "cuda": ["--device=cuda"],
    "1": ["--gpus", "1"],
    "cuda:1": ["--gpus", "cuda:1"],
    "mps": ["--device", "mps"],
    "both": ["--device", "cuda", "--gpus", "1"],
}
PLAIN = {"0": "cpu", "1": "cuda", "both": "cuda"}


def test_device_and_gpus_are_two_spellings_of_one_option(
    medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("train seg", "train pose", "evaluate seg", "evaluate pose", "predict seg x", "predict pose"):
        meant = {word: parse([*command.split(), *words])["device"] for word, words in DEVICE_WORDS.items()}
        assert meant == {word: PLAIN.get(word, word) for word in DEVICE_WORDS}
        ran = medcli(*command.split(), "--gpus=1", "--device", "cpu")
        assert (ran.code, ran.err.splitlines()[0]) == (2, "error: --gpus 1 and --device cpu contradict each other")
    assert medcli("evaluate", "--gpus", "many").err.startswith(
        "error: no device 'many'\n       one of auto, cpu, mps, "
    )
    assert "2 GPUs requested, but this command uses one" in medcli("evaluate", "--gpus", "2").err
    monkeypatch.setenv("MEDCLI_DEVICE", "cuda:99")
    assert "cuda:99" in medcli("train", "seg").err
    assert "cuda:99" not in medcli("train", "seg", "--gpus", "0").err, "what is typed replaces the variable"
