"""Runs are listed, found by a part of their name, set side by side, and repeated from what they have stored."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from medcli.core.errors import DataError, UsageError
from medcli.core.files import write_json
from medcli.core.run_provenance import command_line, note_run
from medcli.core.run_records.options import run_options, write_options
from medcli.ultrabones.dataset.publication import ABOUT
from medcli.ultrabones.segmentation.settings import SegmentationSettings
from medcli.veriserum.pose.settings import PoseSettings
from medcli.workspace.run_comparison import ComparedValue, compare_runs
from medcli.workspace.run_listing import get_run, list_runs
from medcli.workspace.run_repeat import compare_repeated, plan_repeat
from medcli.workspace.runs import Run
from tests.conftest import Ran
from tests.support.run_folders import write_evaluation, write_training

SEG = SegmentationSettings(epochs=3)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two trainings, of which one was interrupted, one pose training and one evaluation."""
    monkeypatch.chdir(tmp_path)
    root = Path("runs")
    Path("data").mkdir()
    for name, lr in (("one", 1e-5), ("two", 0.5)):
        settings = dataclasses.replace(SEG, lr=lr, epochs=3 if name == "one" else 9)
        folder = write_training(root / "seg" / name, settings, finished=name == "one")
        with command_line(f"medcli train seg --lr {lr} --out {folder} --overwrite"):
            note_run(folder, "train seg", ABOUT, Path("data"), settings)
    write_training(root / "pose/one", PoseSettings())
    write_evaluation(root / "evaluate/seg", "runs/seg/one/best.safetensors")
    return root


def test_runs_are_listed_newest_last_within_80_columns(runs: Path, medcli: Callable[..., Ran]) -> None:
    note = json.loads((runs / "seg/one/medcli-run.json").read_text())
    write_json(runs / "seg/one/medcli-run.json", {**note, "when": "2020-01-31T12:00:00+00:00"})
    found = list_runs(runs)
    assert found.runs[0].run.path == runs / "seg/one"
    assert found.runs[0].started.startswith("2020-01-31 ")
    assert found.runs[0].data == "data"
    ran = medcli("runs")
    assert max(map(len, ran.out.splitlines())) <= 80
    first, second = ran.out.splitlines()[:2]
    assert first.split()[2:] == ["train", "seg", "finished", str(runs / "seg/one")]
    assert second.split(";") == ["                  best validation Dice 0.750 (epoch 2 of 3)", " data"]
    assert ran.out.count("interrupted") == 1
    content = json.loads(medcli("runs", "--json").out)
    assert (content["schema"], len(content["runs"]), content["runs"][0]["kind"]) == ("medcli.runs.v1", 4, "train seg")
    assert medcli("runs", "--runs", "none").code == 3


def test_a_folder_without_runs_is_no_error(
    medcli: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        ran = medcli("runs")
        assert (ran.code, ran.err, ran.out.count("\n"), "the folder runs" in ran.out) == (0, "", 1, True)
        Path("runs").mkdir(exist_ok=True)
    ran = medcli("runs", "compare", "a", "b")
    assert (ran.code, ran.err.count("is not a run")) == (3, 2)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("medcli-run.json", "{", "medcli-run.json is cut, or not JSON"),
        ("settings.json", "", "settings.json is empty"),
        ("result.json", '{"schema": "medcli.tr', "result.json is cut, or not JSON"),
        ("metrics.csv", "epoch,val_loss,val_dice\n1,0.9,0.25\n2,0.", "metrics.csv is cut, or not a table"),
        ("settings.toml", "[train.seg", "settings.toml is cut, or not TOML"),
    ],
)
def test_a_damaged_file_is_named(runs: Path, medcli: Callable[..., Ran], name: str, content: str, said: str) -> None:
    (runs / "seg/one" / name).write_text(content)
    (first,) = [one for one in list_runs(runs).runs if one.run.path == runs / "seg/one"]
    assert (first.run.state, first.run.detail.startswith(said)) == ("damaged", True), first.run
    assert said in medcli("runs").out
    assert f"damaged: {runs / 'seg/one'}: {said}" in medcli("runs", "compare", "seg/one", "two").err


def test_a_run_is_found_by_the_end_of_its_path(runs: Path) -> None:
    assert get_run(Path("two"), runs).path == get_run(runs / "seg/two", runs).path == runs / "seg/two"
    with pytest.raises(UsageError, match="the end of 2 runs"):
        get_run(Path("one"), runs)
    with pytest.raises(DataError) as caught:
        get_run(Path("twoo"), runs)
    assert caught.value.hint == "did you mean two?"


def test_differing_settings_and_all_figures_side_by_side(runs: Path, medcli: Callable[..., Ran]) -> None:
    found = compare_runs([runs / "seg/one", Path("two")], runs)
    assert {one.name: one.values for one in found.settings} == {"lr": (1e-5, 0.5), "epochs": (3, 9)}
    figures = {one.name: one for one in found.figures}
    assert figures["validation Dice, best"].values == (0.75, 0.75)
    assert not figures["validation Dice, best"].differs
    ran = medcli("runs", "compare", "seg/one", "two", "--report", "page.html")
    assert ran.code == 0, ran.err
    assert max(map(len, ran.out.splitlines())) <= 80
    assert "  validation Dice, best" in ran.out
    page = Path("page.html").read_text("utf-8")
    assert ">1e-05<" in page
    assert page.count('class="line s1"') >= 3  # in each panel, and in the legend
    assert page.count('class="line s1"') == page.count('class="line s2"')
    write_evaluation(runs / "evaluate/other", "another.safetensors")
    ran = medcli("runs", "compare", "evaluate/seg", "other", "--json")
    settings = json.loads(ran.out)["settings"]
    assert [one["values"] for one in settings] == [["runs/seg/one/best.safetensors", "another.safetensors"]]
    assert medcli("runs", "compare", "evaluate/seg", "other", "--report", "b.html").code == 0
    long = "runs/seg/two-with-a-long-name/best.safetensors"
    write_evaluation(runs / "evaluate/third", long)
    lines = medcli("runs", "compare", "evaluate/seg", "other", "third").out.splitlines()
    at = lines.index("evaluated")
    assert lines[at + 1 : at + 4] == [
        "    A  runs/seg/one/best.safetensors",
        "    B  another.safetensors",
        f"    C  {long}",
    ]
    Path("mine.html").write_text("mine")
    for words in (["seg/one"], ["seg/one", "pose/one"], ["seg/one", "two", "--report", "mine.html"]):
        assert medcli("runs", "compare", *words).code == 2
    assert Path("mine.html").read_text() == "mine"


def test_a_repetition_has_the_stored_settings_and_says_what_changed(
    runs: Path, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = medcli("runs", "repeat", "two", "--dry-run")  # from its command line
    assert ran.out.strip() == f"medcli train seg --lr 0.5 --out {Path('runs/seg/two-repeat')}"
    with run_options("train.seg", {"lr": 0.25, "seed": 42, "no-cache": True, "out": "x", "resume": "auto"}):
        write_options(runs / "seg/two", "train seg")
    monkeypatch.setenv("MEDCLI_SEED", "3")
    ran = medcli("runs", "repeat", "two", "--dry-run", "--out", "new")  # from its options
    assert ran.out.strip() == "medcli train seg --lr 0.25 --seed 42 --no-cache --out new"
    path = runs / "seg/two/medcli-run.json"
    note = json.loads(path.read_text())
    write_json(path, {**note, "medcli": "0.0.1", "packages": {**note["packages"], "numpy": "0.1"}})
    Path("data/a.png").touch()
    os.utime("data/a.png", (4e9, 4e9))
    changes = "\n".join(plan_repeat(get_run(Path("two"), runs)).changes)
    assert "medcli was 0.0.1, is " in changes
    assert "numpy was 0.1, is " in changes
    assert "data was changed after the run: 1 file, such as data" in changes
    with pytest.raises(DataError, match="does not say how it was made"):
        plan_repeat(get_run(Path("pose/one"), runs))


def test_a_repetition_replaces_nothing(runs: Path, medcli: Callable[..., Ran], tmp_path: Path) -> None:
    """Neither the run itself, nor other files; the further outputs of a command are moved with its own."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.png").touch()
    for out in (runs / "seg/two", tmp_path / "full"):
        ran = medcli("runs", "repeat", "two", "--out", out)
        assert (ran.code, "a repetition replaces nothing" in ran.err) == (2, True), ran.err
    values = {"start": "start.csv", "out": "poses.csv", "overlays": "first/overlays"}
    table = runs / "poses.csv"
    table.write_text("id,tx,ty,tz,rz,rx,ry,similarity\n")
    with run_options("register.pose", values):
        write_options(table, "register pose")
    found = plan_repeat(Run(table, "register pose", "finished"), tmp_path / "again.csv")
    assert found.options is not None
    assert found.options["overlays"] == str(tmp_path / "again-overlays")


def test_an_interrupted_repetition_is_resumed_and_a_finished_one_is_not(runs: Path) -> None:
    def out() -> Path:
        return plan_repeat(get_run(Path("seg/two"), runs)).out

    def note(folder: Path, lr: float) -> None:
        with run_options("train.seg", {"lr": lr, "out": str(folder)}):
            write_options(folder, "train seg")

    again = write_training(runs / "seg/two-repeat", SEG, finished=False)
    note(runs / "seg/two", 0.5)
    note(again, 0.5)
    assert out() == again
    note(again, 0.25)
    assert out() == runs / "seg/two-repeat-2"  # of other settings
    note(again, 0.5)
    write_json(again / "result.json", json.loads((runs / "seg/one/result.json").read_text()))
    assert out() == runs / "seg/two-repeat-2"


def test_a_repetition_from_another_folder_names_that_of_the_run(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Path.cwd()
    monkeypatch.chdir(made.parent)
    (change,) = plan_repeat(get_run(made.name / runs / "seg/two", runs)).changes
    assert change == f"data is not here but in {made}, where the run was made: repeat it there"


def test_figures_of_the_repetition_that_differ_are_listed(runs: Path) -> None:
    run = get_run(Path("two"), runs)
    write_training(runs / "seg/two-repeat", dataclasses.replace(SEG, lr=0.5, epochs=9), finished=False)
    assert compare_repeated(run, runs / "seg/two-repeat")[0] == ()
    (runs / "seg/two-repeat/metrics.csv").write_text("epoch,val_loss,val_dice\n1,0.9,0.25\n2,0.5,0.76\n3,0.6,0.5\n")
    (differing,), count = compare_repeated(run, runs / "seg/two-repeat")
    assert (differing.name, differing.values) == ("validation Dice, best", (0.75, 0.76))
    assert count > 4


def test_tracked_trials_are_set_side_by_side(tmp_path: Path, medcli: Callable[..., Ran]) -> None:
    """Frames without a pose have empty cells."""
    from medcli.veriserum.registration.register_trial import COLUMNS

    for name, similarity in (("one", 0.8), ("two", 0.9)):
        numbers = {"tx": 1, "similarity_bs": similarity, "similarity_fs": 0.7, "se_mm": 0.05, "status": "good"}
        rows = [numbers, {"status": "failed"}]
        lines = [",".join(COLUMNS), *(",".join(str(row.get(column, "")) for column in COLUMNS) for row in rows)]
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n", "utf-8")
    ran = medcli("runs", "compare", tmp_path / "one.csv", tmp_path / "two.csv")
    assert ran.code == 0, ran.err
    lines = [line.removeprefix("*").split() for line in ran.out.splitlines()]
    assert ["similarity", "bs,", "mean", "0.8", "0.9"] in [line[:5] for line in lines], ran.out
    assert ["failed", "1", "1"] in [line[:3] for line in lines], ran.out


def test_values_that_look_alike_have_no_mark() -> None:
    from medcli.cli.runs import _show_values

    lines: list[str] = []
    rows = [ComparedValue("flexion", (6.07391, 6.07413), True), ComparedValue("rotation", (1.5, 2.5), True)]
    _show_values(SimpleNamespace(line=lines.append), "figure", ["A", "B"], rows, marked=True)
    assert [line[:10] for line in lines[1:]] == ["  flexion ", "* rotation"]
