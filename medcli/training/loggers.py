"""Loggers of a training: Lightning's own, opened before it starts, and none of them can end it.

Each records the figures of every epoch; ``metrics.csv`` is always written besides. ``wandb`` sends a run where its
login is known, and otherwise records it in the run's folder; ``mlflow`` records into the server of
``MLFLOW_TRACKING_URI``, and otherwise into a database in the run's folder. A run that is resumed stays one run there.
"""

from __future__ import annotations

import logging
import netrc
import os
import uuid
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from medcli.core.errors import MedcliError, UsageError, printable
from medcli.core.files import write_json
from medcli.core.json_text import read_object
from medcli.core.secrets import hide_values
from medcli.core.shell import install_extra
from medcli.training.devices import is_first_process
from medcli.training.run_folder import LOGGED
from medcli.training.settings import FitSettings, as_dict

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

LOGGERS = ("csv", "tensorboard", "wandb", "mlflow")
PROJECT = "medcli"
"""Project of wandb and experiment of mlflow, unless ``WANDB_PROJECT`` or ``MLFLOW_EXPERIMENT_NAME`` name another."""
_CONNECT_S = 30.0

logger = logging.getLogger(__name__)


def check_loggers(names: Sequence[str]) -> None:
    """Make sure that there are such loggers, and that what they need is installed.

    Raises:
        UsageError: one is unknown, or needs a package that is missing.
    """
    unknown = [name for name in names if name not in LOGGERS]
    if unknown:
        raise UsageError(f"--logger '{unknown[0]}' is not one of {', '.join(LOGGERS)}")
    missing = [name for name in names if name != "csv" and find_spec(name) is None]
    if missing:
        raise UsageError(
            f"--logger {' '.join(missing)} needs a package that is not installed",
            install_extra(*missing),
        )


def open_loggers(settings: FitSettings, folder: Path) -> list[Logger]:
    """The loggers of ``settings`` for the run in ``folder``; of several processes, the first records.

    Raises:
        UsageError: one is unknown or not installed.
        MedcliError: one cannot be opened: a server does not answer.
    """
    check_loggers(settings.loggers)
    opened: list[Logger] = []
    for name, open_one in _OPENERS.items():
        if name in settings.loggers:
            opened.append(open_one(settings, folder))
    return opened


def close_loggers(loggers: Sequence[Logger]) -> None:
    """End what records in the background, so that the next training of this process starts a run of its own."""
    for one in loggers:
        finish = getattr(getattr(one, "experiment", None), "finish", None)
        if finish is not None and is_first_process():
            finish()


def _tensorboard(settings: FitSettings, folder: Path) -> Logger:
    from lightning.pytorch.loggers import TensorBoardLogger

    return TensorBoardLogger(folder, name="tensorboard", version="")


def _wandb(settings: FitSettings, folder: Path) -> Any:
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb
    from lightning.pytorch.loggers import WandbLogger

    def make(offline: bool) -> Any:
        made = WandbLogger(
            name=_run_name(folder),
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            save_dir=folder,
            offline=offline,
            id=identity,
            resume="allow",
            settings=wandb.Settings(silent=True, console="off", init_timeout=_CONNECT_S),
        )
        # Lightning always passes this setting of wandb.init, of which wandb warns that it has no effect any more.
        getattr(made, "_wandb_init", {}).pop("anonymous", None)
        return made

    identity = _identities(folder).get("wandb") or uuid.uuid4().hex[:8]
    mode = os.environ.get("WANDB_MODE", "")
    offline = mode in ("offline", "dryrun") or (not mode and not _has_wandb_login())
    made = make(offline)
    if is_first_process():
        try:
            _open_run(made, settings)
        except Exception as error:  # wandb raises errors of several libraries
            logger.warning("wandb cannot be reached, the run is recorded offline: %s", _reason(error))
            offline, made = True, make(True)
            _open_run(made, settings)
        _note_identity(folder, "wandb", identity)
        if offline:
            runs = folder / "wandb" / "offline-run-*"
            logger.info("wandb records offline; to send the run: wandb sync %s", runs)
    return _unable_to_stop_training(made)


def _has_wandb_login() -> bool:
    """Whether a key is known, from ``WANDB_API_KEY`` or ``wandb login``; without one, wandb would ask for it."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        found = netrc.netrc(os.environ.get("NETRC")).authenticators(host)
    except (OSError, netrc.NetrcParseError):
        return False
    if found and found[2]:
        hide_values(found[2])
    return bool(found and found[2])


def _mlflow(settings: FitSettings, folder: Path) -> Any:
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    from lightning.pytorch.loggers import MLFlowLogger

    local = (folder / "mlflow").absolute()
    address = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not address and is_first_process():
        local.mkdir(parents=True, exist_ok=True)
    options = {
        "experiment_name": os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT),
        "run_name": _run_name(folder),
        "tracking_uri": address or f"sqlite:///{(local / 'mlflow.db').as_posix()}",
        "artifact_location": None if address else (local / "artifacts").as_uri(),
    }
    try:
        made = _mlflow_run(MLFlowLogger, options, _identities(folder).get("mlflow"), settings)
        if is_first_process():
            _note_identity(folder, "mlflow", str(made.run_id))
    except Exception as error:  # mlflow raises errors of several libraries
        where = address or f"{local / 'mlflow.db'}"
        raise MedcliError(
            f"--logger mlflow cannot record into {where}: {_reason(error)}",
            "start that server, or unset MLFLOW_TRACKING_URI to record into the run's folder" if address else None,
        ) from error
    return _unable_to_stop_training(made)


def _mlflow_run(kind: Callable[..., Any], options: dict[str, Any], run: str | None, settings: FitSettings) -> Any:
    """The logger of the run that is there, or of a new one where it is gone."""
    made = kind(**options, run_id=run)
    if is_first_process():
        try:
            _open_run(made, settings)
        except Exception:
            if run is None:
                raise
            made = kind(**options)
            _open_run(made, settings)
    return made


_OPENERS: dict[str, Callable[[FitSettings, Path], Any]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
}


def _open_run(made: Any, settings: FitSettings) -> None:
    _ = made.experiment  # connects; only then is it known whether there is anything to connect to
    try:
        made.log_hyperparams(as_dict(settings))
    except Exception as error:  # mlflow refuses another value of a resumed run: more epochs
        logger.debug("settings of the resumed run are not recorded again: %s", _reason(error))


def _unable_to_stop_training(made: Any) -> Any:
    """``made`` with a warning, once, where it would raise: hours of training do not depend on a server."""
    warned: list[str] = []

    def guarded(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:
            try:
                return call(*args, **options)
            except Exception as error:
                if not warned:
                    warned.append(name)
                    logger.warning("%s does not record any more: %s", type(made).__name__, _reason(error))
                return None

        return run

    for name in ("log_metrics", "save", "finalize"):
        setattr(made, name, guarded(name, getattr(made, name)))
    return made


def _identities(folder: Path) -> dict[str, str]:
    return {name: str(value) for name, value in read_object(folder / LOGGED).items() if value}


def _note_identity(folder: Path, name: str, identity: str) -> None:
    write_json(folder / LOGGED, {**_identities(folder), name: identity})


def _run_name(folder: Path) -> str:
    """``seg/fpn-resnet34`` for ``runs/seg/fpn-resnet34``."""
    return "/".join(folder.absolute().parts[-2:])


def _reason(error: BaseException) -> str:
    lines = printable(str(error)).strip().splitlines()
    return lines[0] if lines else type(error).__name__
