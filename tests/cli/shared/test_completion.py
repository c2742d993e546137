"""What the shell offers, asked as the shell asks: by the variables of Typer's completion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from medcli.cli.shared.completion import VALUES
from medcli.ultrabones.segmentation.settings import ARCHITECTURES, ENCODERS
from medcli.veriserum.pose.settings import BACKBONES
from tests.cli.test_app import HEAVY, in_a_new_process
from tests.conftest import Ran
from tests.test_reference import COMMANDS

Complete = Callable[[str], list[str]]


@pytest.fixture
def complete(medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Complete:
    """``complete("train se")`` is what bash offers for the last word, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def ask(line: str) -> list[str]:
        words = ["medcli", *line.split(" ")]
        monkeypatch.setenv("_MEDCLI_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", " ".join(words))
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        ran = medcli()
        assert (ran.code, ran.err) == (0, "")
        return ran.out.split()

    return ask


def test_names_of_commands_and_options(complete: Complete) -> None:
    assert complete("tr") == ["train"]
    assert complete("train ") == ["seg", "pose"]
    assert complete("train seg --ep") == ["--epochs"]
    assert complete("train --ep") == ["--epochs"], "those of the subcommand that is meant"
    assert complete("--vers") == ["--version"]
    assert {"demo", "train"} <= set(complete(""))


@pytest.mark.parametrize(
    ("line", "offers"),
    [
        ("train seg --labels ", ["partial", "full"]),
        ("train --labels p", ["partial"]),
        ("train seg --labels=f", ["full"]),
        ("train seg --loss dice", ["dice-bce", "dice-focal"]),
        ("train seg --encoder resnet3", ["resnet34"]),
        ("train seg --resume ", ["auto"]),
        ("train pose --anatomy ", ["femur", "tibia"]),
        ("download ultrabones --only im", ["images"]),
        ("download ultrabones --anatomies tibia f", ["fibula", "foot"]),
        ("calibrate veriserum --format ", ["jpg", "png"]),
        ("evaluate --device c", ["cpu"]),
        ("evaluate --gpus a", ["auto"]),
        ("evaluate --specimens ", [str(number) for number in range(1, 15)]),
        ("evaluate --specimens 2 7 1", ["1", "10", "11", "12", "13", "14"]),
        ("evaluate --specimens 2 7 --js", ["--json"]),
        ("evaluate --specimens 3 2,1-3,7,1", ["2,1-3,7,10", "2,1-3,7,11", "2,1-3,7,12", "2,1-3,7,13", "2,1-3,7,14"]),
        ("download ultrabones --only images,l", ["images,labels"]),
        ("train seg --train-specimens 10 12 1", ["1", "11", "13", "14"]),
        ("predict seg scans --specimens 1 1", ["10", "11", "12", "13", "14"]),
        ("predict seg sca", []),
        ("train seg --out ", []),
        ("train seg --nonsense x --labels ", ["partial", "full"]),
    ],
)
def test_values(complete: Complete, monkeypatch: pytest.MonkeyPatch, line: str, offers: list[str]) -> None:
    monkeypatch.setattr("medcli.training.gpus.count_gpus", lambda: 0)
    assert complete(line) == offers


def test_what_is_on_this_machine(complete: Complete, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medcli.training.gpus.count_gpus", lambda: 2)
    for number in (3, 21):
        (tmp_path / f"bones/specimen{number:02d}/ultrasound_records/tibia/record02/UltrasoundImages").mkdir(
            parents=True
        )
    for name in ("runs/seg/a/best.safetensors", "runs/seg/b/last.ckpt", "runs/pose/c/best.safetensors"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    (tmp_path / "runs/seg/a/result.json").write_text('{"schema": "medcli.train_seg.v1"}')
    (tmp_path / "data/weights/epoch_30").mkdir(parents=True)
    (tmp_path / "data/weights/epoch_30/net.safetensors").touch()
    (tmp_path / "demo/ultrabones").mkdir(parents=True)
    assert complete("evaluate --root bones --specimens ") == ["3", "21"]
    assert complete("evaluate --root bones --specimens 3,") == ["3,21"]
    assert complete("label --root bones --records ") == ["2"]
    assert complete("evaluate --checkpoint ") == [
        "runs/seg/a/best.safetensors",
        "data/weights/epoch_30/net.safetensors",
    ]
    assert complete("predict pose --checkpoint ") == ["runs/pose/c/best.safetensors"]
    assert complete("train --resume ") == ["auto", "runs/seg/b/last.ckpt"]
    assert complete("evaluate --root ") == ["demo/ultrabones"]
    assert complete("evaluate --device cuda") == ["cuda", "cuda:0", "cuda:1"]
    assert {"runs/seg/a", "demo"} <= set(complete("report "))
    assert complete("runs compare ") == ["seg/a"]
    assert complete("runs compare a") == ["a"]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert complete("runs repeat --runs ../runs ") == ["seg/a"]
    assert complete("report ../runs/s") == ["../runs/seg/a"]
    assert complete(f"report {tmp_path.as_posix()}/runs/seg/") == [f"{tmp_path.as_posix()}/runs/seg/a"]


def test_the_names_of_networks_are_names_of_the_libraries() -> None:
    import segmentation_models_pytorch as smp
    import timm
    import torchvision

    names = set(smp.encoders.get_encoder_names()) | {f"tu-{name}" for name in timm.list_models()}
    assert set(ENCODERS) <= names
    assert set(ARCHITECTURES) == set(smp.MODEL_ARCHITECTURES_MAPPING)
    assert set(BACKBONES) <= set(torchvision.models.list_models(module=torchvision.models))
    given = {param.opts[0] for command in COMMANDS.values() for param in command.params}
    given |= {str(param.metavar) for command in COMMANDS.values() for param in command.params}
    assert VALUES.keys() <= given


def test_completion_loads_nothing_heavy(tmp_path: Path) -> None:
    lines = [
        f"{path.removeprefix('medcli ')} {flag} "
        for path in ("evaluate seg", "train seg", "predict pose")
        for flag in VALUES
    ]
    code = f"""
import contextlib, os, sys
os.chdir({str(tmp_path)!r})
from medcli.cli.app import main
for line in {lines!r} + ["report ", "checkpoint show ", "tr", "train --"]:
    words = ["medcli", *line.split(" ")]
    os.environ.update(_MEDCLI_COMPLETE="complete_bash", COMP_WORDS=" ".join(words), COMP_CWORD=str(len(words) - 1))
    with contextlib.suppress(SystemExit):
        main([])
print("loaded", [name for name in {(*HEAVY, "pydantic", "segmentation_models_pytorch")!r} if name in sys.modules])
"""
    assert in_a_new_process(code=code).stdout.splitlines()[-1] == "loaded []"
