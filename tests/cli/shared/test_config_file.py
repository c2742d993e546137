"""Settings from files: what they may hold, which value wins, and that a run's own file gives the same run again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from medcli.cli.app import app
from medcli.cli.shared.config_file import command_path, command_values, words_of
from medcli.cli.shared.multi_value_options import CONFIG
from medcli.core.run_records.options import options_text
from tests.conftest import Ran

COMMANDS = (
    "train seg --train-specimens 1 3-5 --val-specimens 2 --lr 1e-05 --loss-weights 1 0.5 0.1 --gpus 0 --no-cache "
    "--loss dice-bce --cv loo --logger csv --out x",
    "train pose --anatomy femur --epochs 2 --calibrated a\\b --precision 32",
    "evaluate seg --specimens 2 7-8 --protocol both --fail-under dice=0.5 f1.visible@0.5=0.25",
    "evaluate pose --ids 1-5 9 --reference manual",
    "calibrate veriserum --ids 1-5,9 --planes bs --format png --mask --resample area",
    "label ultrabones --kind full --refine --specimens 2",
    "predict seg scans b.png --threshold 0.25 --overlay --out masks",
    "predict pose --overlay",
)


def parsed(words: list[str]) -> tuple[Any, dict[str, Any]]:
    """The context of the innermost command, and the values of its parameters; nothing is run."""
    command, parent, name = typer.main.get_command(app), None, "medcli"
    while hasattr(command, "commands"):
        parent = command.make_context(name, list(words), parent=parent)
        name, command, words = words[0], command.commands[words[0]], words[1:]
    ctx = command.make_context(name, list(words), parent=parent)
    return ctx, {name: value for name, value in ctx.params.items() if name != "config"}


@pytest.mark.parametrize("typed", COMMANDS)
def test_the_stored_settings_give_the_same_run_again(
    typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By ``--config`` as a file, and by ``runs repeat`` as words; a variable of then is part of it, one of now not."""
    monkeypatch.setenv("MEDCLI_SEED", "7")
    ctx, first = parsed(typed.split())
    monkeypatch.delenv("MEDCLI_SEED")
    values = command_values(ctx.command.params, ctx.params)
    (tmp_path / "settings.toml").write_text(options_text(".".join(command_path(ctx)), values), "utf-8")
    _, again = parsed([*command_path(ctx), "--config", str(tmp_path / "settings.toml")])
    assert again == first
    monkeypatch.setenv("MEDCLI_SEED", "8")
    words = words_of(ctx.command, {name: value for name, value in values.items() if value}, {"MEDCLI_SEED": "8"})
    assert parsed([*command_path(ctx), *words])[1] == first


def test_the_nearest_source_of_a_value_wins(
    medcli: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Command line, environment, ``--config``, ``medcli.toml``, default."""
    monkeypatch.chdir(tmp_path)
    Path(CONFIG).write_text("[train.seg]\nseed = 1\nepochs = 1\nbatch_size = 1\nlr = 0.5\n")
    Path("a.toml").write_text("[train.seg]\nseed = 2\nepochs = 2\nbatch-size = 2\ngpus = 0\n")
    monkeypatch.setenv("MEDCLI_SEED", "3")
    _, values = parsed(["train", "seg", "--config", "a.toml", "--epochs", "4"])
    found = [values[name] for name in ("epochs", "seed", "batch_size", "lr", "device", "nodes")]
    assert found == [4, 3, 2, 0.5, "cpu", 1]
    ran = medcli("train", "seg")
    assert ran.err.startswith("settings from medcli.toml: epochs, batch-size, lr\n")
    ran = medcli("train", "seg", "--config", "a.toml", "--lr", "0.1")  # the file's own last, all are overridden
    assert "settings from" not in ran.err
    assert "settings from" not in medcli("train", "seg", "--quiet").err + medcli("evaluate").err


def test_everything_wrong_in_a_file_is_listed(medcli: Callable[..., Ran], tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    cases = {
        "[train.seg]\nepoch = 3\n[trian.seg]\nlr = 1\n": [
            "[train.seg] epoch is not an option of medcli train seg",
            "did you mean epochs?",
            "[trian] is not a known table",
            "did you mean [train.seg]?",
        ],
        "epochs = 3\n[train]\nlr = 1\n": [
            "epochs is not a known option: options are in the table of their command",
            "it is an option of [train.seg], [train.pose]",
            "[train] lr is not a known option",
        ],
        '[train.seg]\nepochs = "a"\nlr = true\nno-cache = 3\nroot = 3\nlabels = "x"\nnodes = [1]\nbatch-size = 0\n': [
            "[train.seg] epochs is text, expected a whole number",
            "[train.seg] lr is true or false, expected a number",
            "[train.seg] no-cache is a whole number, expected true or false",
            "[train.seg] root is a whole number, expected text in quotes",
            "[train.seg] labels: 'x' is not one of partial, full",
            "[train.seg] nodes is a list, expected one value",
            "[train.seg] batch-size: ",
        ],
        '[train.seg]\njson = true\n[download.ultrabones]\npassword = "Zq7Xv9Kp2Lm4"\n': [
            "[train.seg] json is not an option",
            "[download.ultrabones] password holds a credential (not shown)",
        ],
        "[evalute]\nprotocol = 'both'\n": ["[evalute] is not a known table", "did you mean [evaluate.seg]?"],
        "[train.seg\n": ["is not TOML", "a table for each command"],
        '[train.seg]\nroot = "C:\\data\\x"\n': ["is not TOML", "write paths with / or in single quotes"],
    }
    for text, expected in cases.items():
        file.write_text(text, "utf-8")
        ran = medcli("train", "seg", "--config", file)
        assert ran.code == 2
        assert [words for words in expected if words not in ran.err] == []
        assert ran.err.count("error: ") == ran.err.count("\n       "), "each with what to do next"
        assert "Zq7Xv9Kp2Lm4" not in ran.err
    assert medcli("train", "seg", "--config", tmp_path / "none.toml").code == 2
