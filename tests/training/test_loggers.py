"""Loggers: what is missing is refused first, a run stays one run, and no server's trouble ends a training."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from medcli.core.errors import MedcliError, UsageError
from medcli.core.shell import install_extra
from medcli.training import loggers
from medcli.training.settings import FitSettings


class Recorder:
    """Stands for Lightning's class of a logger; keeps what it was asked for."""

    made: list[Recorder]
    unreachable: tuple[str, ...] = ()

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.run_id = options.get("run_id") or f"run{len(self.made)}"
        self.logged: list[Any] = []
        self.made.append(self)

    @property
    def experiment(self) -> Any:
        if not self.options.get("offline") and str(self.options.get("tracking_uri", "online")) in self.unreachable:
            raise ConnectionError("no answer from https://user:secret1word@server.org\nat all")
        return SimpleNamespace(finish=lambda: self.logged.append("finished"))

    def log_hyperparams(self, values: dict[str, Any]) -> None:
        self.logged.append(values)

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        raise ConnectionError("the server has gone")

    save = finalize = log_hyperparams


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> type[Recorder]:
    """Both classes of Lightning, and wandb, are replaced where they are imported."""

    class Fresh(Recorder):
        made: list[Recorder] = []  # noqa: RUF012 - one list for each test

    wandb = ModuleType("wandb")
    wandb.Settings = lambda **values: values  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setattr(loggers, "find_spec", lambda name: object())
    monkeypatch.setattr("lightning.pytorch.loggers.WandbLogger", Fresh)
    monkeypatch.setattr("lightning.pytorch.loggers.MLFlowLogger", Fresh)
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", "/nowhere")
    return Fresh


def wanting(*names: str, **more: Any) -> FitSettings:
    return FitSettings(loggers=names, **more)


def test_missing_packages_are_named_with_their_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="--logger wandb mlflow needs a package") as raised:
        loggers.check_loggers(("csv", "wandb", "mlflow"))
    assert raised.value.hint == install_extra("wandb", "mlflow")


def test_without_a_login_wandb_records_in_the_run_and_resumes_there(
    recorder: type[Recorder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loggers.open_loggers(wanting("wandb"), tmp_path)
    (opened,) = loggers.open_loggers(wanting("wandb"), tmp_path)
    first, second = recorder.made
    assert first.options["offline"] is second.options["offline"] is True
    assert first.options["id"] == second.options["id"]
    assert (first.options["project"], first.options["save_dir"]) == ("medcli", tmp_path)
    assert first.logged[0]["loggers"] == ["wandb"]
    loggers.close_loggers([opened])
    assert second.logged[-1] == "finished"
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    loggers.open_loggers(wanting("wandb"), tmp_path)
    assert recorder.made[-1].options["offline"] is False


def test_unreachable_wandb_is_warned_of_and_recorded_offline(
    recorder: type[Recorder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr(recorder, "unreachable", ("online",))
    loggers.open_loggers(wanting("wandb"), tmp_path)
    assert [made.options["offline"] for made in recorder.made] == [False, True]


def test_mlflow_records_in_the_run_or_into_the_server_named(
    recorder: type[Recorder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (opened,) = loggers.open_loggers(wanting("mlflow"), tmp_path)
    assert recorder.made[0].options["tracking_uri"] == f"sqlite:///{(tmp_path / 'mlflow' / 'mlflow.db').as_posix()}"
    opened.log_metrics({"val_loss": 1.0}, 1)  # the server has gone: a warning, and the training continues
    loggers.open_loggers(wanting("mlflow"), tmp_path)
    assert recorder.made[1].options["run_id"] == recorder.made[0].run_id
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://server.org")
    monkeypatch.setattr(recorder, "unreachable", ("https://server.org",))
    with pytest.raises(MedcliError, match=r"cannot record into https://server\.org: no answer") as raised:
        loggers.open_loggers(wanting("mlflow"), tmp_path)
    assert "\n" not in raised.value.message
    assert "unset MLFLOW_TRACKING_URI" in str(raised.value.hint)


@pytest.mark.deep
@pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed")
def test_the_real_wandb_records_offline_without_a_word_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    opened = loggers.open_loggers(wanting("wandb"), tmp_path)
    opened[0].log_metrics({"val_loss": 1.0}, 1)
    loggers.close_loggers(opened)
    assert list((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))
    assert "wandb:" not in "".join(capfd.readouterr())


@pytest.mark.deep
@pytest.mark.skipif(find_spec("mlflow") is None or find_spec("sqlalchemy") is None, reason="mlflow is not installed")
def test_the_real_mlflow_records_into_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for epochs in (1, 2):  # the second resumes with another value of a setting
        opened = loggers.open_loggers(wanting("mlflow", epochs=epochs), tmp_path)
        opened[0].log_metrics({"val_loss": 1.0}, epochs)
        opened[0].finalize("success")
    client: Any = opened[0].experiment
    experiment = client.get_experiment_by_name(loggers.PROJECT)
    (run,) = client.search_runs([experiment.experiment_id])
    assert len(client.get_metric_history(run.info.run_id, "val_loss")) == 2
