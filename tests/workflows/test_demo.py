"""The demonstration: one quick run inspected by all tests, and one full run in the deep tests."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medcli.cli.app import main
from medcli.cli.demo import _Lines
from medcli.cli.shared.output import Output
from medcli.core.image_io import read_rgb
from medcli.demo import DemoResult, Listener, Step, run_demo
from medcli.demo.plan import DemoTask
from medcli.synthetic.fluoroscopy.dataset import IMAGE_FOLDER
from tests.conftest import Ran

STEPS = [
    *("data", "label", "label-refined", "train-seg", "untrained", "evaluate-untrained", "evaluate-trained"),
    *("predict-seg", "reconstruct", "calibrate", "train-pose", "evaluate-pose", "register", "evaluate-registered"),
]

MOTION = ["calibrate-knee", "register-trial", "kinematics", "evaluate-kinematics"]
"""Further steps of the full demonstration."""


@dataclass(frozen=True)
class Made:
    """A demonstration made through the command line."""

    folder: Path
    ran: Ran
    result: dict[str, Any]

    def step(self, name: str) -> dict[str, Any]:
        return next(step for step in self.result["steps"] if step["name"] == name)

    def f1_at_1_mm(self, which: str) -> dict[str, float]:
        """By protocol, from the evaluation's own file."""
        found = json.loads((self.folder / f"runs/evaluate/seg-{which}/evaluation.json").read_text("utf-8"))
        return {protocol: found[protocol]["f1"]["all"][10] for protocol in ("paper", "strict")}


def make(place: Path, *words: str) -> Made:
    """Run ``medcli demo`` in ``place``."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("MEDCLI_CACHE_DIR", str(place / "cache"))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as exited:
            main(["demo", *words])
    folder = place / "demo"
    found = json.loads((folder / "demo.json").read_text("utf-8")) if (folder / "demo.json").is_file() else {}
    return Made(folder, Ran(int(exited.value.code or 0), out.getvalue(), err.getvalue()), found)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("quick"), "--quick")


@pytest.mark.deep
def test_every_step_runs_and_is_described(quick: Made) -> None:
    assert quick.ran.code == 0, quick.ran.err
    assert quick.result["schema"] == "medcli.demo.v3"
    assert quick.result["quick"] is True
    assert quick.result["failures"] == []
    assert [step["name"] for step in quick.result["steps"]] == STEPS
    for step in quick.result["steps"]:
        assert all(step[name] for name in ("title", "about", "numbers"))
        assert step["seconds"] >= 0
        assert step["command"].startswith("medcli ")
        assert step["folder"] is None or (quick.folder / step["folder"]).is_dir()
        for image in step["images"]:
            assert min(read_rgb(quick.folder / image["path"]).shape[:2]) > 100
            assert image["alt"]
            assert image["caption"]
        if step["before_after"]:
            pair = [read_rgb(quick.folder / step["before_after"][when]) for when in ("before", "after")]
            assert pair[0].shape == pair[1].shape
    assert [step["name"] for step in quick.result["steps"] if step["before_after"]] == ["calibrate"]


@pytest.mark.deep
def test_output_is_for_a_narrow_terminal(quick: Made) -> None:
    lines = quick.ran.out.splitlines()
    assert max(len(line) for line in lines if not line.startswith("  $ ")) <= 80
    assert "\x1b" not in quick.ran.out + quick.ran.err
    assert lines[0] == "[1/14] Make small synthetic versions of both datasets"
    assert any(line.startswith("report ") and line.endswith(str(Path("demo/report.html"))) for line in lines)
    copied = quick.ran.out.replace(" \\\n     ", "")
    for step in quick.result["steps"]:
        assert f"  $ {step['command']}\n" in copied
        for name, value in step["numbers"].items():
            assert re.search(rf"^    {re.escape(name)} +{re.escape(value)}$", quick.ran.out, re.MULTILINE)


@pytest.mark.deep
def test_network_is_trained(quick: Made) -> None:
    trained, untrained = quick.f1_at_1_mm("trained"), quick.f1_at_1_mm("untrained")
    for protocol in ("paper", "strict"):
        assert trained[protocol] > 0.6 > 0.3 > (untrained[protocol] or 0)
        shown = quick.step("evaluate-trained")["numbers"][f"F1 at 1 mm, trained, {protocol}"]
        assert shown == f"{trained[protocol]:.3f}"


@pytest.mark.deep
def test_calibration_and_registration_approach_the_ground_truth(quick: Made) -> None:
    after, before = numbers_in(quick.step("calibrate")["numbers"]["X-ray RMS error to ground truth"])
    assert after < 6  # noise alone is 3 to 5 grey levels
    assert before > 3 * after
    assert 1 < numbers_in(quick.step("calibrate")["numbers"]["distortion"])[0] < 15
    after_mm, before_mm = numbers_in(quick.step("evaluate-registered")["numbers"]["registered, in-plane error"])
    assert after_mm < 0.2 < 1 < before_mm
    last, first = numbers_in(quick.step("train-pose")["numbers"]["pose training loss"])
    assert last < first


def numbers_in(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)]


@pytest.mark.deep
def test_report_is_written(quick: Made) -> None:
    page = (quick.folder / "report.html").read_text("utf-8")
    for step in quick.result["steps"]:
        assert step["title"] in page
    assert "contains no run that this version can read" not in page


@pytest.mark.deep
def test_second_run_repeats_nothing(quick: Made) -> None:
    def state() -> dict[Path, int]:
        files = {path for path in quick.folder.rglob("*") if path.is_file()} - {
            quick.folder / "demo.json",
            quick.folder / "report.html",
        }
        return {path: path.stat().st_mtime_ns for path in files}

    before = state()
    again = make(quick.folder.parent, "--quick", "--workers", "1")
    assert again.ran.code == 0
    assert again.ran.out.count(", done by an earlier run") == len(STEPS)
    assert state() == before
    assert again.result["seconds"] == quick.result["seconds"]


@pytest.mark.deep
def test_data_alone_are_there_already(quick: Made) -> None:
    before = (quick.folder / "demo.json").read_bytes()
    ran = make(quick.folder.parent, "--quick", "--data-only", "--json").ran
    assert ran.code == 0
    assert [step["name"] for step in json.loads(ran.out)["steps"]] == ["data"]
    assert (quick.folder / "demo.json").read_bytes() == before


@pytest.mark.deep
@pytest.mark.parametrize(
    ("words", "differing"),
    [([], "--quick was on, is off"), (["--quick", "--seed", "1"], "seed was 0, is 1")],
)
def test_other_settings_in_the_same_folder_are_rejected(quick: Made, words: list[str], differing: str) -> None:
    ran = make(quick.folder.parent, *words).ran
    assert ran.code == 2
    assert f"demo was made with other options: {differing}" in ran.err


def test_does_not_touch_other_files(medcli: Callable[..., Ran], tmp_path: Path) -> None:
    folder = tmp_path / "veriserum" / IMAGE_FOLDER
    folder.mkdir(parents=True)
    (folder / "bs_000001.jpg").write_bytes(b"real")
    ran = medcli("demo", "--out", tmp_path)
    assert ran.code == 1
    assert "not synthetic" in ran.err
    assert (folder / "bs_000001.jpg").read_bytes() == b"real"
    assert [path.name for path in tmp_path.iterdir()] == ["veriserum"]


def test_needs_no_torch_before_it_runs() -> None:
    code = "import medcli.demo, sys; assert not {'torch', 'lightning', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ, timeout=60)


def test_printed_commands_can_be_copied(capsys: pytest.CaptureFixture[str]) -> None:
    """One line, however long: no shell but its own understands a continuation."""
    command = f"medcli {' '.join(f'--option-{i} {i}' for i in range(20))} --out 'my demo/x'"
    _Lines(Output()).begins(SimpleNamespace(title="A step", command=command), 1, 2)  # type: ignore[arg-type]
    assert capsys.readouterr().out.splitlines() == ["[1/2] A step", f"  $ {command}"]


class TestRunner:
    """The order of the steps, with steps that each write one word."""

    @pytest.fixture
    def ran(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Names of the steps in the order in which they ran; ``self.broken`` fail."""
        from medcli.demo import run as module
        from medcli.demo.plan import DemoPlan, StepOutcome

        names: list[str] = []

        def task(plan: DemoPlan, name: str, needs: tuple[str, ...] = (), reads: tuple[str, ...] = ()) -> DemoTask:
            def work() -> None:
                names.append(name)
                if name in self.broken:
                    raise self.broken[name]
                (plan.out / name).write_text(name)

            def outcome(result: None) -> StepOutcome:
                return StepOutcome({"word": name})

            words = ("info", plan.out)
            return DemoTask(name, f"Title of {name}", "About.", words, outcome, reads, (name,), needs, work=work)

        def tasks(plan: DemoPlan) -> list[DemoTask]:
            return [task(plan, "a"), task(plan, "b", ("a",), ("a",)), task(plan, "c", ("b",), ("b",)), task(plan, "d")]

        self.broken: dict[str, BaseException] = {}
        monkeypatch.setattr(module, "_tasks", tasks)
        return names

    def test_failed_step_is_recorded_and_others_run(
        self, ran: list[str], medcli: Callable[..., Ran], tmp_path: Path
    ) -> None:
        self.broken["b"] = ValueError("no such luck")
        ran_once = medcli("demo", "--out", tmp_path / "x")
        assert ran_once.code == 4
        assert ran == ["a", "b", "d"]
        assert "failed: b: ValueError: no such luck" in ran_once.err
        assert "failed: c: not run: it needs step b" in ran_once.err
        found = json.loads((tmp_path / "x/demo.json").read_text("utf-8"))
        assert [step["name"] for step in found["steps"]] == ["a", "d"]
        assert len(found["failures"]) == 2
        assert (tmp_path / "x/report.html").is_file()
        self.broken.clear()
        assert medcli("demo", "--out", tmp_path / "x").code == 0
        assert ran == ["a", "b", "d", "b", "c"]

    def test_resumes_after_an_interruption(self, ran: list[str], medcli: Callable[..., Ran], tmp_path: Path) -> None:
        self.broken["c"] = KeyboardInterrupt()
        assert medcli("demo", "--out", tmp_path / "x").code == 130
        self.broken.clear()
        assert medcli("demo", "--out", tmp_path / "x").code == 0
        assert ran == ["a", "b", "c", "c", "d"]

    def test_changed_steps_are_repeated(self, ran: list[str], tmp_path: Path) -> None:
        seen = Seen()
        run_demo(tmp_path / "x", no_command, listener=seen)
        (tmp_path / "x/b").write_text("changed")
        run_demo(tmp_path / "x", no_command, listener=seen)
        assert ran == ["a", "b", "c", "d", "b", "c"]
        assert seen.done == ["a", "d"]

    def test_result_is_the_same_when_all_was_done(self, ran: list[str], tmp_path: Path) -> None:
        first, second = (run_demo(tmp_path / "x", no_command) for _ in range(2))
        assert isinstance(first, DemoResult)
        assert first == second


def no_command(words: Any) -> None:
    raise AssertionError(f"medcli {words} was run")


class Seen(Listener):
    """Records which steps were done by an earlier run."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def ends(self, step: Step, was_done: bool) -> None:
        if was_done:
            self.done.append(step.name)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("full"))


@pytest.mark.deep
@pytest.mark.timeout(1200)
def test_full_demonstration_is_accurate(full: Made) -> None:
    """The promise of the demonstration: F1 at 1 mm of 0.8 and more on held-out specimens."""
    assert full.ran.code == 0, full.ran.err
    trained, untrained = full.f1_at_1_mm("trained"), full.f1_at_1_mm("untrained")
    assert min(trained.values()) >= 0.8
    assert max(untrained.values()) < 0.4


@pytest.mark.deep
@pytest.mark.timeout(1200)
def test_full_demonstration_ends_with_the_motion_of_a_knee(full: Made) -> None:
    after = STEPS.index("label-refined") + 1
    wanted = [*STEPS[:after], "refine-sweep", *STEPS[after:], *MOTION]
    assert [step["name"] for step in full.result["steps"]] == wanted
    errors = full.step("evaluate-kinematics")["numbers"]
    assert numbers_in(errors["flexion RMS error"])[0] < 0.5
    assert numbers_in(errors["anterior shift RMS error"])[0] < 0.5
    assert "missing 0" in full.step("kinematics")["numbers"]["frames"]


@pytest.mark.deep
@pytest.mark.timeout(1200)
def test_printed_commands_reproduce_the_demonstration(
    full: Made, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(full.folder.parent)
    monkeypatch.setenv("MEDCLI_CACHE_DIR", str(full.folder.parent / "cache"))
    before = contents(full.folder)
    for step in full.result["steps"]:
        ran = medcli(*shlex.split(step["command"])[1:])
        assert ran.code == 0, f"{step['command']}: {ran.err}"
        changed = {str(path) for path, digest in contents(full.folder).items() if before.get(path) != digest}
        assert not changed, step["command"]


def contents(folder: Path) -> dict[Path, str]:
    """A digest of every file, except provenance records (command and time) and the times of masks."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith("medcli-run.json")]
    return {path.relative_to(folder): digest(path) for path in files}


def digest(path: Path) -> str:
    content = path.read_bytes()
    if path.parent.name == "reconstruct" and path.suffix == ".json":
        content = re.sub(rb'"made_from": "\w+"', b"", content)
    return hashlib.sha256(content).hexdigest()


@pytest.mark.deep
def test_its_runs_store_their_settings_and_can_be_repeated(
    quick: Made, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An evaluation again, from the settings that it has stored: the same command, the same figures."""
    monkeypatch.chdir(quick.folder.parent)
    names = {path.relative_to(quick.folder).as_posix() for path in quick.folder.rglob("*settings.toml")}
    assert names >= {
        "runs/seg/small/settings.toml",
        "runs/pose/small/settings.toml",
        "runs/evaluate/seg-trained/settings.toml",
        "runs/evaluate/pose/settings.toml",
        "runs/reconstruct/settings.toml",
        "runs/register/poses.settings.toml",
        "ultrabones/label.settings.toml",
        "ultrabones/predict.settings.toml",
        "veriserum/calibrated/settings.toml",
    }
    ran = medcli("runs", "repeat", "seg-trained", "--runs", "demo/runs", "--out", tmp_path / "again", "--json")
    assert ran.code == 0, ran.err
    answer = json.loads(ran.out)
    assert answer["differences"] == []
    assert answer["figures"] > 50
    stored = [folder / "settings.toml" for folder in (quick.folder / "runs/evaluate/seg-trained", tmp_path / "again")]
    before, after = (
        [line for line in path.read_text("utf-8").splitlines() if not line.startswith("out")] for path in stored
    )
    assert before == after
    compared = json.loads(
        medcli("runs", "compare", "seg-trained", "seg-untrained", "--runs", "demo/runs", "--json").out
    )
    assert [one["name"] for one in compared["settings"]] == ["checkpoint"]
