"""A real SLURM on this machine, for tests: munge, the controller and one node, with a folder of their own."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "scontrol")
ENDED = ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL", "OUT_OF_MEMORY")
_NODE_CPUS = 16
"""More than there are, so that the batch files of a cluster fit."""
_CREDENTIAL_S = 15
"""How long a credential of a job is valid; a job that is put back into the queue waits for it."""

_CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire={credential_s}
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=10
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} Gres=gpu:4 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True)
class Slurm:
    """The commands of a running SLURM."""

    folder: Path
    environment: Mapping[str, str]

    def run(self, *words: str | Path, **more: str) -> str:
        """Standard output of one of its commands."""
        command = list(map(str, words))
        done = subprocess.run(
            command, env={**self.environment, **more}, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def submit(self, script: Path, *options: str, folder: Path, **variables: str) -> str:
        """The number of a new job, in the working folder ``folder``."""
        return self.run("sbatch", "--parsable", f"--chdir={folder}", *options, script, **variables).strip()

    def states(self, job: str) -> list[dict[str, str]]:
        """What SLURM says of a job, or of each task of an array."""
        lines = self.run("scontrol", "show", "job", job, "--oneliner").splitlines()
        return [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]

    def wait(self, job: str, timeout_s: float) -> list[dict[str, str]]:
        """Wait until a job, or every task of an array, has ended."""
        end = time.monotonic() + timeout_s
        while True:
            states = self.states(job)
            if all(one["JobState"] in ENDED for one in states):
                return states
            assert time.monotonic() < end, f"job {job} has not ended: {states}"
            time.sleep(0.5)


def missing_programs() -> list[str]:
    """Programs of SLURM and munge that are not installed; all of them where this user may not run a node."""
    if not hasattr(os, "getuid") or os.getuid() != 0:
        return ["the rights of root, which slurmd needs"]
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


@contextmanager
def running_slurm(folder: Path) -> Iterator[Slurm]:
    """SLURM with one node for as long as the block takes; every process is stopped after it."""
    user = pwd.getpwuid(os.getuid()).pw_name
    host = socket.gethostname().partition(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o600)
    config = folder / "slurm.conf"
    ports = {"controller_port": _free_port(), "node_port": _free_port()}
    settings = {"host": host, "user": user, "folder": folder, "cpus": _NODE_CPUS}
    config.write_text(_CONFIG.format(**settings, **ports, credential_s=_CREDENTIAL_S))
    for number in range(4):  # in name only: batch files that ask for GPUs are accepted
        (folder / f"gpu{number}").touch()
    (folder / "gres.conf").write_text(f"NodeName={host} Name=gpu File={folder}/gpu[0-3]\n")
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    environment = {**os.environ, "SLURM_CONF": str(config), "PATH": path}
    munge = ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket"]
    munge += [f"--{name}-file={folder}/munged.{name}" for name in ("pid", "log", "seed")]
    started: list[subprocess.Popen[bytes]] = []
    slurm = Slurm(folder, environment)
    ready: dict[str, Callable[[], bool]] = {
        "munged": (folder / "munge.socket").exists,
        "slurmctld": lambda: "is UP" in _said(slurm, "scontrol", "ping"),
        "slurmd": lambda: _said(slurm, "sinfo", "--noheader", "--format=%T") == "idle",
    }
    try:
        for command in (munge, ["slurmctld", "-D", "-i"], ["slurmd", "-D"]):
            with (folder / f"{command[0]}.out").open("wb") as output:
                started.append(subprocess.Popen(command, env=environment, stdout=output, stderr=output))
            _wait_for(ready[command[0]], command[0])
        yield slurm
        slurm.run("scancel", f"--user={user}")
        _wait_for(lambda: not slurm.run("squeue", "--noheader").strip(), "the end of all jobs")
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _said(slurm: Slurm, *command: str) -> str:
    found = subprocess.run(command, env=slurm.environment, capture_output=True, text=True, timeout=30, check=False)
    return found.stdout.strip()


def _wait_for(is_there: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 60
    while not is_there():
        assert time.monotonic() < end, f"waited too long for {what}"
        time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
