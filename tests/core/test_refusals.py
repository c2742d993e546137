"""Problems are gathered and raised together."""

from __future__ import annotations

from typing import Any

import pytest

from medcli.core.errors import DataError, SeveralProblems, UsageError
from medcli.core.refusals import refusals


def fail(error: Exception) -> None:
    raise error


def run(*errors: Exception | None) -> list[str]:
    """Checks that raise these errors, or none; the checks that ran."""
    ran: list[str] = []
    with refusals() as check:
        for error in errors:
            answer = check(fail, error) if error else check(str, "right")
            ran.append(answer or "wrong")
    return ran


def test_nothing_wrong() -> None:
    assert run(None, None) == ["right", "right"]


def test_one_problem_is_raised_as_it_is() -> None:
    error = DataError("gone", "get it")
    with pytest.raises(DataError) as raised:
        run(None, error, None)
    assert raised.value is error


def test_several_problems_are_raised_together_and_each_once() -> None:
    twice = SeveralProblems([DataError("no data"), DataError("no table", "get it")])
    with pytest.raises(SeveralProblems) as raised:
        run(UsageError("no GPU", "use the CPU"), DataError("no data"), None, twice)
    assert [problem.message for problem in raised.value.problems] == ["no GPU", "no data", "no table"]
    assert raised.value.exit_code == UsageError.exit_code
    assert raised.value.message == "no GPU; no data; no table"


def test_other_errors_are_bugs_and_pass_through() -> None:
    with pytest.raises(ZeroDivisionError):
        run(DataError("gone"), ZeroDivisionError())


def test_the_command_line_prints_each_with_its_hint(medcli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    problems = SeveralProblems([UsageError("no GPU", "use the CPU"), DataError("no data", "get them")])
    monkeypatch.setattr("medcli.workspace.inventory.take_inventory", lambda *_: fail(problems))
    ran = medcli("info")
    assert ran.err == "error: no GPU\n       use the CPU\nerror: no data\n       get them\n"
    assert ran.code == 2
