"""The options of the running command, every value resolved, as the file that ``--config`` reads: ``settings.toml``.

The command line enters them (:func:`run_options`); what a command finds out itself, such as the newest checkpoint, is
added (:func:`resolve_option`); :func:`medcli.core.run_provenance.note_run` writes them beside its note.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from medcli.core.files import write_text
from medcli.core.json_text import to_plain

NAME = "medcli-run.json"
OPTIONS_FILE = "settings.toml"
_BESIDE_DATA = ("label ultrabones", "predict seg")  # into one folder, so each has a note of its own
_running: ContextVar[tuple[str, dict[str, Any]] | None] = ContextVar("medcli_run_options", default=None)


@contextmanager
def run_options(table: str, values: Mapping[str, Any]) -> Iterator[None]:
    """Runs in the block were made by the command ``table`` (``train.seg``) with these options; None: not given."""
    token = _running.set((table, dict(values)))
    try:
        yield
    finally:
        _running.reset(token)


@contextmanager
def changed_options(**changes: Any) -> Iterator[None]:
    """Runs in the block have these options instead, as one fold of a cross-validation has; names with ``_``."""
    running = _running.get()
    if running is None:
        yield
        return
    table, values = running
    with run_options(table, values | {name.replace("_", "-"): value for name, value in changes.items()}):
        yield


def resolve_option(name: str, value: Any) -> None:
    """Enter what the running command uses for an option that was not given."""
    running = _running.get()
    if running is not None and name in running[1] and running[1][name] is None:
        running[1][name] = value


def options_path(target: Path, verb: str) -> Path:
    """Where the options of a run of ``verb`` are that leaves ``target``: beside its note."""
    note = note_path(target, verb)
    return note.with_name(note.name.removesuffix(NAME) + OPTIONS_FILE)


def write_options(target: Path, verb: str) -> None:
    """Write ``settings.toml`` of the running command; nothing where a script calls the library."""
    running = _running.get()
    if running is not None:
        write_text(options_path(target, verb), options_text(*running))


def note_path(target: Path, verb: str) -> Path:
    """Where the note of a run of ``verb`` is that leaves ``target``, see :mod:`medcli.core.run_provenance`."""
    if target.suffix and not target.is_dir():
        return target.with_name(f"{target.stem}.{NAME}")
    return target / (f"{verb.partition(' ')[0]}.{NAME}" if verb in _BESIDE_DATA else NAME)


def read_options(target: Path, verb: str) -> dict[str, Any]:
    """The options of the run of ``verb`` that left ``target``; empty where none are stored, or they cannot be read."""
    path = options_path(target, verb)
    try:
        found: Any = parse_toml(path.read_text("utf-8")) if path.is_file() else {}
    except (OSError, ValueError):
        return {}
    for name in verb.partition(" --")[0].split():
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def parse_toml(text: str) -> dict[str, Any]:
    """What TOML says.

    Raises:
        ValueError: it is not TOML, or nested too deeply.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def options_text(table: str, values: Mapping[str, Any]) -> str:
    """Options as TOML; those without a value are listed as comments."""
    plain = {name: to_plain(value) for name, value in values.items()}
    command = f"medcli {table.replace('.', ' ')}"
    lines = [f"# All options of a run of {command}; run it again with: {command} --config FILE", f"[{table}]"]
    lines += [f"{name} = {_toml(value)}" for name, value in plain.items() if value is not None]
    lines += [f"# {name}: not given" for name, value in plain.items() if value is None]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """A value as TOML; its strings are those of JSON, but for the character that TOML does not take as it is."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return str(value).lower() if isinstance(value, bool) else repr(value)
