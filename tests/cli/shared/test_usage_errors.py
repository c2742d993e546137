"""Wrong usage is said in two lines: what is wrong, and what to do."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import Ran

CASES = {
    "trian": ("medcli has no command trian", "did you mean train?"),
    "quit": ("medcli has no command quit", "see medcli --help"),
    "train sge": ("medcli train has no command sge", "did you mean seg?"),
    "train seg --epoch 3": ("medcli train seg has no option --epoch", "did you mean --epochs?"),
    "train --epoch=3": ("medcli train seg has no option --epoch", "did you mean --epochs?"),
    "register pose --no-serch": (
        "medcli register pose has no option --no-serch",
        "did you mean --no-search?",
    ),
    "train seg --foo": ("medcli train seg has no option --foo", "see medcli train seg --help"),
    "train seg -x": ("medcli train seg has no option -x", "see medcli train seg --help"),
    "train seg --epochs x": ("--epochs: 'x' is not a whole number", "see medcli train seg --help"),
    "train seg --seed -1": ("--seed: '-1' is not 0 or more", "see medcli train seg --help"),
    "train seg --epochs 0": ("--epochs: '0' is not 1 or more", "see medcli train seg --help"),
    "train seg --labels all": ("--labels: 'all' is not one of partial, full", "see medcli train seg --help"),
    "train seg --loss mse": (
        "--loss: 'mse' is not one of published, dice-bce, dice-focal",
        "see medcli train seg --help",
    ),
    "evaluate --specimens seven": (
        "--specimens: 'seven' is not a whole number or a range like 2-5",
        "see medcli evaluate seg --help",
    ),
    "train seg --epochs": ("option '--epochs' requires an argument", "see medcli train seg --help"),
    "train seg --json=3": ("option '--json' does not take a value", "see medcli train seg --help"),
    "runs list here": (
        "got unexpected extra argument(s) (here)",
        "a folder is named by an option: --runs FOLDER",
    ),
    "info here": (
        "got unexpected extra argument(s) (here)",
        "a folder is named by an option: --ultrabones-root FOLDER, --veriserum-root FOLDER, --weights-root FOLDER, "
        "--ultrabones-hip-root FOLDER, --runs FOLDER",
    ),
    "report a b": ("got unexpected extra argument(s) (b)", "see medcli report --help"),
    "report": ("RUN is missing", "see medcli report --help"),
    "calibrate points a.csv": ("--out FILE is missing", "see medcli calibrate points --help"),
    "calibrate veriserum --mask": (
        "--mask needs --resample area: the published pixels have no outside",
        "see medcli calibrate veriserum --help",
    ),
}


@pytest.mark.parametrize("words", CASES)
def test_wrong_usage_is_an_error_and_a_hint(medcli: Callable[..., Ran], words: str) -> None:
    message, hint = CASES[words]
    assert medcli(*words.split()) == Ran(2, "", f"error: {message}\n       {hint}\n")


def test_without_a_command_the_help_is_shown(medcli: Callable[..., Ran]) -> None:
    for words in ((), ("download",), ("checkpoint",)):
        ran = medcli(*words)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err == medcli(*words, "--help").out
