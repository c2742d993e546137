"""The options of a run as TOML: every kind of value survives, and only a command has some."""

from __future__ import annotations

from pathlib import Path

import pytest

from medcli.core.run_records.options import (
    changed_options,
    options_text,
    parse_toml,
    read_options,
    resolve_option,
    run_options,
    write_options,
)


def test_every_kind_of_value_is_read_back() -> None:
    values = {"text": 'a\\b "c"\n\x7f é', "numbers": [1, 2.5, 1e-05], "yes": True, "path": Path("x/y"), "none": None}
    text = options_text("train.seg", values)
    assert "# none: not given\n" in text
    kept = {name: value for name, value in values.items() if value is not None} | {"path": str(Path("x/y"))}
    assert parse_toml(text) == {"train": {"seg": kept}}
    with pytest.raises(ValueError, match="nested"):
        parse_toml("a = " + "[" * 100_000)


def test_a_run_stores_what_its_command_resolved(tmp_path: Path) -> None:
    write_options(tmp_path, "train seg")
    assert read_options(tmp_path, "train seg") == {}
    with run_options("train.seg", {"checkpoint": None, "cv": "loo", "seed": 1}):
        resolve_option("checkpoint", Path("a"))
        resolve_option("seed", 2)  # was given
        resolve_option("other", 3)  # is no option of this command
        with changed_options(cv=None):
            write_options(tmp_path / "fold.csv", "train seg")
        write_options(tmp_path, "train seg")
    assert read_options(tmp_path, "train seg --cv loo") == {"checkpoint": "a", "cv": "loo", "seed": 1}
    assert read_options(tmp_path / "fold.csv", "train seg") == {"checkpoint": "a", "seed": 1}
    (tmp_path / "settings.toml").write_text("[", "utf-8")
    assert read_options(tmp_path, "train seg") == {}
