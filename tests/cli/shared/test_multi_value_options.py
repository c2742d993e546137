"""Several values after one flag."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from medcli.cli.shared.multi_value_options import App, spread_values
from medcli.cli.shared.option_values import OptionKind
from medcli.cli.shared.options import IdRange
from tests.conftest import Ran


class Kind(str, Enum):
    images = "images"
    labels = "labels"


ELEMENTS = {"--specimens": int, "--only": Kind, "--weights": float, "--names": str, "--dirs": Path}
KINDS = {flag: OptionKind(element, several=True) for flag, element in ELEMENTS.items()}
KINDS["--ids"] = OptionKind(IdRange, several=True, parser=IdRange.parse)


def values(text: str, takes_arguments: bool = False) -> list[str]:
    return spread_values(text.split(), KINDS, takes_arguments)


@pytest.mark.parametrize(
    "text",
    [
        "--specimens 2 7 8",
        "--specimens 2,7,8",
        "--specimens=2,7,8",
        "--specimens 2 --specimens 7,8",
        "--specimens=2 7 8",
    ],
)
def test_all_ways_to_say_2_7_8(text: str) -> None:
    assert values(text) == ["--specimens", "2", "--specimens", "7", "--specimens", "8"]


def test_ranges_are_spread_for_whole_numbers() -> None:
    assert values("--specimens 2-5")[1::2] == ["2", "3", "4", "5"]
    assert values("--specimens 1 9-10,12")[1::2] == ["1", "9", "10", "12"]


def test_ranges_of_ids_stay_ranges() -> None:
    assert values("--ids 1-1000 7,9") == ["--ids", "1-1000", "--ids", "7", "--ids", "9"]


def test_options_follow() -> None:
    assert values("--specimens 2 7 --json --out x") == ["--specimens", "2", "--specimens", "7", "--json", "--out", "x"]


def test_an_argument_follows_where_the_command_takes_one() -> None:
    spread = ["--specimens", "2", "--specimens", "7", "photos/7", "8"]
    assert values("--specimens 2 7 photos/7 8", takes_arguments=True) == spread


def test_choices_numbers_and_text() -> None:
    assert values("--only images labels")[1::2] == ["images", "labels"]
    assert values("--only images folder", takes_arguments=True) == ["--only", "images", "folder"]
    assert values("--weights 1 1 0.1 -2")[1::2] == ["1", "1", "0.1", "-2"]
    assert values("--names a,b c")[1::2] == ["a,b", "c"], "commas belong to text"


def test_nothing_after_two_dashes_is_touched() -> None:
    assert values("--specimens 2 -- --specimens 7 8") == ["--specimens", "2", "--", "--specimens", "7", "8"]


@pytest.mark.parametrize("bad", ["x", "2-", "8-2", "-", "2..5", "1.5", "0-999999"])
def test_bad_words_are_quoted(bad: str) -> None:
    with pytest.raises(typer.BadParameter, match=f"'{bad}'") as caught:
        spread_values(["--specimens", "2", bad] if bad != "-" else ["--specimens=-"], KINDS, False)
    assert caught.value.exit_code == 2


def test_bad_choice_names_the_choices() -> None:
    with pytest.raises(typer.BadParameter, match="'pictures' is not one of images, labels"):
        values("--only pictures")


def test_a_command_gets_an_honest_list() -> None:
    app, seen = App(), []

    @app.command("take")
    def take(
        specimens: Annotated[list[int] | None, typer.Option("--specimens")] = None,
        only: Annotated[list[Kind] | None, typer.Option("--only")] = None,
        paths: Annotated[list[Path] | None, typer.Argument()] = None,
    ) -> None:
        seen.append((specimens, only, paths))

    @app.command("other")
    def other() -> None: ...

    runner = CliRunner()
    assert runner.invoke(app, ["take", "--specimens", "2", "7-8", "--only", "labels", "a", "b"]).exit_code == 0
    assert runner.invoke(app, ["take"]).exit_code == 0
    assert seen == [([2, 7, 8], [Kind.labels], [Path("a"), Path("b")]), (None, None, None)]
    refused = runner.invoke(app, ["take", "--specimens", "seven"])
    assert refused.exit_code == 2
    assert "'seven'" in refused.output


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        (("evaluate", "--visible-threshold", "nan"), "--visible-threshold"),
        (("reconstruct", "ultrabones", "--voxel-mm", "inf"), "--voxel-mm"),
        (("register", "pose", "--least-similarity", "nan"), "--least-similarity"),
        (("train", "seg", "--lr", "nan"), "--lr"),
        (("train", "seg", "--loss-weights", "1", "inf"), "--loss-weights"),
        (("download", "weights", "--timeout", "inf"), "--timeout"),
        (("predict", "seg", "x", "--threshold", "nan"), "--threshold"),
    ],
)
def test_numbers_that_are_not_finite_are_refused(medcli: Callable[..., Ran], words: tuple[str, ...], flag: str) -> None:
    ran = medcli(*words)
    assert (ran.code, flag in ran.err) == (2, True), ran
