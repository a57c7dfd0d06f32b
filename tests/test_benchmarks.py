"""The table of the benchmarks, with made-up figures: turns, medians, targets, and what is printed."""

import operator

import pytest

from benchmarks.table import Figures, Row, compare, failure, head, line, number, verdict


def test_ours_and_the_peer_take_turns_and_each_pair_is_compared():
    turns = []

    def taking(name, figures):
        def measure():
            turns.append(name)
            return figures.pop(0)

        return measure

    figures = compare(taking("ours", [2.0, 30.0, 3.0]), taking("peer", [1.0, 10.0, 2.0]), 3, unit="ms", note="three")
    assert turns == ["ours", "peer"] * 3
    assert figures == Figures(3.0, 2.0, "ms", 2.0, 1.5, 3.0, "", "three")


def test_differences_have_the_unit_of_what_is_compared():
    figures = compare(lambda: 3.0, lambda: 1.0, 2, by=operator.sub)
    assert (figures.value, figures.low, figures.high, figures.value_unit) == (2.0, 2.0, 2.0, "s")


@pytest.mark.parametrize(
    ("target", "value", "expected"),
    [
        ("<= 1.10", 1.1, "met"),
        ("<= 1.10", 1.11, "MISSED"),
        (">= 1.8", 1.9, "met"),
        (">= 1.8", 1.7, "MISSED"),
        ("< 20 MB", 20, "MISSED"),
        ("about 1", 5, ""),
        ("report", 5, ""),
    ],
)
def test_a_target_in_words_is_neither_met_nor_missed(target, value, expected):
    assert verdict(target, value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(5_000.4, "5,000"), (12.34, "12.3"), (1.234, "1.23"), (0.0, "0.00"), (0.0123, "0.012"), (-0.5, "-0.50")],
)
def test_numbers_have_three_digits(value, expected):
    assert number(value) == expected


def test_a_row_names_ours_the_peers_their_ratio_its_range_the_target_and_the_sizes():
    row = Row("passes / walks", "<= 1.10", lambda: None)
    first, note = line(row, Figures(2.0, 1.0, "s", 2.0, 1.5, 3.0, note="40 images")).splitlines()
    assert first.split("  ")[0] == "passes / walks"
    for cell in ("2.00 s", "1.00 s", "2.00 (1.50 to 3.00)", "<= 1.10", "MISSED"):
        assert cell in first
        first = first[first.index(cell) + len(cell) :]
    assert note.strip() == "40 images"


def test_a_row_without_a_peer_and_without_a_range():
    text = line(Row("fits", "report", lambda: None), Figures(7.0, None, "MB", 7.0, 7.0, 7.0, "MB"))
    assert text.split() == ["fits", "7.00", "MB", "-", "7.00", "MB", "report"]


def test_columns_stand_below_their_names():
    names, rule = head().splitlines()
    text = line(Row("a", "<= 1", lambda: None), Figures(1.0, 1.0, "s", 1.0, 1.0, 1.0))
    assert text.index("<= 1") + len("<= 1") == names.index("target") + len("target")
    assert set(rule) == {"-"}


def test_a_row_that_fails_says_why_in_one_line():
    text = failure(Row("fits", "report", lambda: None), ValueError("no\nroom"))
    assert text.split() == ["fits", "FAILED:", "ValueError:", "no"]
