"""Lines of ``medcli check``: states, samples."""

from __future__ import annotations

from medcli.core.checking.check_lines import Checklist, draw_sample, some_of


def test_the_worst_finding_decides() -> None:
    checks = Checklist()
    checks.add("a", "1 of 2", ["x is bad"], ["y is odd"], "mend it")
    checks.add("b", "0 of 2", [], ["y is odd"], "know it")
    checks.add("c", "0 of 2", advice="nothing")
    assert [(line.state, line.advice, line.examples) for line in checks.lines] == [
        ("wrong", "mend it", ("x is bad",)),
        ("warning", "know it", ("y is odd",)),
        ("ok", "", ()),
    ]
    assert checks.failures() == ("a: x is bad",)


def test_what_is_not_shown_is_counted_and_kept() -> None:
    checks = Checklist()
    checks.add("a", "7 of 9", [f"x{number}" for number in range(7)])
    assert checks.failures()[-2:] == ("a: x4", "a: and 2 more; --json lists all")
    assert len(checks.lines[0].places) == 7


def test_shares_in_words() -> None:
    assert [some_of(0, 7), some_of(7, 7), some_of(2, 7)] == ["none of 7", "all of 7", "2 of 7"]
    assert [some_of(1, "1,000 rows"), some_of(1000, "1,000 rows")] == ["1 of 1,000 rows", "all of 1,000 rows"]


def test_a_sample_is_reproducible_and_all_is_all() -> None:
    assert draw_sample(1000, 20, 1) == draw_sample(1000, 20, 1) != draw_sample(1000, 20, 2)
    assert len(set(draw_sample(1000, 20, 1))) == 20
    assert draw_sample(5, 20, 1) == draw_sample(5, None, 1) == [0, 1, 2, 3, 4]
