"""Tests of the table of the benchmarks: alternating measurements, medians, targets and format."""

import operator

import pytest

from benchmarks.table import Measurement, Row, compare, failure, head, line, number, verdict


def test_measurements_alternate_and_pairs_are_compared():
    calls = []

    def recording(name, values):
        def measure():
            calls.append(name)
            return values.pop(0)

        return measure

    measurement = compare(
        recording("ours", [2.0, 30.0, 3.0]), recording("peer", [1.0, 10.0, 2.0]), 3, unit="ms", note="three"
    )
    assert calls == ["ours", "peer"] * 3
    assert measurement == Measurement(3.0, 2.0, "ms", 2.0, 1.5, 3.0, "", "three")


def test_differences_have_the_unit_of_the_measurements():
    measurement = compare(lambda: 3.0, lambda: 1.0, 2, by=operator.sub)
    assert (measurement.value, measurement.low, measurement.high, measurement.value_unit) == (2.0, 2.0, 2.0, "s")


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
def test_verdict_requires_a_bound(target, value, expected):
    assert verdict(target, value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(5_000.4, "5,000"), (12.34, "12.3"), (1.234, "1.23"), (0.0, "0.00"), (0.0123, "0.012"), (-0.5, "-0.50")],
)
def test_numbers_have_three_significant_digits(value, expected):
    assert number(value) == expected


def test_row_has_all_cells_and_a_note():
    row = Row("passes / walks", "<= 1.10", lambda: None)
    first, note = line(row, Measurement(2.0, 1.0, "s", 2.0, 1.5, 3.0, note="40 images")).splitlines()
    assert first.split("  ")[0] == "passes / walks"
    for cell in ("2.00 s", "1.00 s", "2.00 (1.50 to 3.00)", "<= 1.10", "MISSED"):
        assert cell in first
        first = first[first.index(cell) + len(cell) :]
    assert note.strip() == "40 images"


def test_row_without_peer_and_range():
    text = line(Row("fits", "report", lambda: None), Measurement(7.0, None, "MB", 7.0, 7.0, 7.0, "MB"))
    assert text.split() == ["fits", "7.00", "MB", "-", "7.00", "MB", "report"]


def test_columns_are_aligned_with_their_names():
    names, rule = head().splitlines()
    text = line(Row("a", "<= 1", lambda: None), Measurement(1.0, 1.0, "s", 1.0, 1.0, 1.0))
    assert text.index("<= 1") + len("<= 1") == names.index("target") + len("target")
    assert set(rule) == {"-"}


def test_failed_row_shows_the_error_in_one_line():
    text = failure(Row("fits", "report", lambda: None), ValueError("no\nroom"))
    assert text.split() == ["fits", "FAILED:", "ValueError:", "no"]
