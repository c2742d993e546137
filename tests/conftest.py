"""What every test shares: a way to run the command line in-process, data made once, and the place of the real data."""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest
from filelock import FileLock

if "PYTEST_XDIST_WORKER" in os.environ:  # one thread for each worker: more would only wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")

if not Path(
    "/dev/nvidiactl"
).exists():  # kernels for a GPU are tested by Triton's interpreter, chosen before its import
    os.environ.setdefault("TRITON_INTERPRET", "1")

# The same cases in every run: a run fails because of what was changed, not because of what was drawn.
hypothesis.settings.register_profile("same-cases", derandomize=True, deadline=None)
hypothesis.settings.load_profile("same-cases")

pytest_plugins = ["tests.support.download_fixtures", "tests.support.guessed_axes", "tests.support.hip_data"]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background by a shell
    signal.signal(signal.SIGINT, signal.default_int_handler)  # or no command that a test interrupts would notice

REPOSITORY = Path(__file__).parents[1]
REAL_DATA = Path(os.environ.get("MEDCLI_REAL_DATA", REPOSITORY.parent / "shared" / "data"))


LONGEST = (
    *("test_demo.py", "test_train.py", "test_documents.py", "test_label_dataset.py", "test_small_disks.py"),
    *("test_predict.py", "test_reconstruct.py"),
)
"""Files that take long, here or among the deep tests: begun first, lest a worker is left alone with one at the end."""


def pytest_configure() -> None:
    """What is made while all is imported stays: to look through it for garbage would cost seconds."""
    gc.disable()


def pytest_collection_finish() -> None:
    """From here on garbage is looked for among what the tests make, not in the libraries again each time."""
    gc.freeze()
    gc.set_threshold(20_000)
    gc.enable()


def pytest_unconfigure() -> None:
    """All is freed at the end, or libraries complain of leaks."""
    gc.unfreeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONGEST)
    for item in items:  # whole commands, on a machine that may be busy
        if item.get_closest_marker("deep") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(900))


@dataclass(frozen=True)
class Ran:
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def _own_surroundings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads the user's settings, touches the user's cache, or knows another one's credentials and verbosity."""
    logger = logging.getLogger("medcli")  # which every command sets up
    logger.setLevel(logging.NOTSET)
    logger.propagate = True
    monkeypatch.setattr("medcli.core.secrets._known", ())
    for name in [name for name in os.environ if name.startswith("MEDCLI_") and name != "MEDCLI_REAL_DATA"]:
        monkeypatch.delenv(name)
    cache = tmp_path_factory.getbasetemp() / "medcli-cache"
    monkeypatch.setenv("MEDCLI_CACHE_DIR", str(cache))


@pytest.fixture
def medcli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """``medcli("calibrate", "veriserum", "--json")`` runs the command in this process."""
    from medcli.cli.app import main

    def run(*words: str | Path) -> Ran:
        capsys.readouterr()
        try:
            main([str(word) for word in words])
            code = 0
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


MadeOnce = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """``made_once("name", make)`` is a folder that ``make(folder)`` filled, once for all workers. Not to be changed."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if worker else base) / "made-once"  # a new one in every session, as its parent is

    def folder_of(name: str, make: Callable[[Path], object]) -> Path:
        shared.mkdir(exist_ok=True)
        folder, done = shared / name, shared / f"{name}.done"
        with FileLock(shared / f"{name}.lock"):
            if not done.exists():
                make(folder)
                done.touch()
        return folder

    return folder_of


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real example data; the test is skipped where it is absent."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"needs the real example data in {REAL_DATA}")
    return REAL_DATA
