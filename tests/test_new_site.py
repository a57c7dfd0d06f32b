"""The benchmark of a new site: how films are drawn, what is made of a model, what is printed, and a small run of it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from skpneumo import PneumoniaClassifier
from skpneumo.datasets import make_chest_xrays
from tests.benchmarks.new_site import halves, measured, of_share, relabelled, table
from tests.benchmarks.shifts.figures import draw_weights
from tests.benchmarks.shifts.films import Films


@pytest.fixture
def held():
    """90 films of 45 patients, two of three ill."""
    places = np.arange(90)
    return Films(places.astype(object), (places // 2 % 3 > 0).astype(int), (places // 2).astype(object))


class Shifted:
    """A model that ranks films as they should be, with all its log odds moved up."""

    def __init__(self, by):
        self.by = by

    def predict(self, X):
        return (X[:, 0] + self.by > 0).astype(int)

    def predict_proba(self, X):
        ill = 1 / (1 + np.exp(-X[:, 0] - self.by))
        return np.column_stack([1 - ill, ill])


def test_a_patient_is_local_or_tested_and_no_film_is_lost(held):
    for seed in range(5):
        local, test = halves(held, np.random.default_rng(seed))
        assert not set(held.patients[local]) & set(held.patients[test])
        assert sorted([*local, *test]) == list(range(90))
        assert len(set(held.patients[local])) == 22


def test_other_draws_give_other_patients_and_the_same_draw_the_same(held):
    first, again, other = (halves(held, np.random.default_rng(seed))[0].tolist() for seed in (0, 0, 1))
    assert first == again != other


def test_the_first_local_films_hold_both_classes():
    y = np.r_[np.zeros(6, int), np.ones(84, int)]
    rare = Films(np.arange(90).astype(object), y, np.arange(90).astype(object))
    for seed in range(5):
        local, _ = halves(rare, np.random.default_rng(seed))
        assert np.bincount(y[local[:20]], minlength=2)[0] >= 2


def test_a_sample_has_the_share_of_the_ill_that_is_asked_for():
    y = np.tile([0, 1], 40)
    few = of_share(y, 0.25, 40)
    assert len(few) == 40
    assert y[few].mean() == 0.25
    assert len(of_share(y, 0.25, 80)) == 60  # there are 40 healthy ones only


def test_labels_bring_a_moved_model_back_and_leave_its_ranks(random):
    y = np.tile([0, 1, 1], 40)
    X = random.normal(0, 1, (120, 3)) + 3 * y[:, None]
    clf = PneumoniaClassifier().fit(X, y)
    clf.intercepts_ = [clf.intercepts_[0] + 8]
    assert (clf.predict(X) == 1).mean() > 0.8
    for name, model in relabelled("40 labelled", clf, X[:40], y[:40]):
        right = model.predict(X[40:]) == y[40:]
        assert min(right[y[40:] == label].mean() for label in (0, 1)) > 0.85, name
        order = np.argsort(model.predict_proba(X[40:])[:, 1])
        np.testing.assert_array_equal(order, np.argsort(clf.decision_function(X[40:])))


def test_figures_of_a_draw_are_those_of_its_test_patients(held, monkeypatch):
    monkeypatch.setattr("tests.benchmarks.new_site.models", lambda clf, X, y: [("as it is", clf)])
    X = np.where(held.y == 1, 1.0, -1.0)[:, None]
    weights = draw_weights(held.patients, 20)
    for by, accuracy in ((0, 1.0), (2, 0.5)):
        found = measured(Shifted(by), X, held, weights, np.random.default_rng(0))["as it is"]
        np.testing.assert_allclose(found[0], accuracy)
        np.testing.assert_allclose(found[1], 1.0)
    assert found[2][0] > 0.1


def test_a_row_that_repeats_another_is_left_out():
    rows = {name: [np.full(21, value)] * 3 for name, value in {"first": 0.5, "second": 0.75, "third": 0.5}.items()}
    said = table({0: [rows, rows], 2: [rows]})
    assert said.count("  first") == said.count("  second") == 3
    assert "  third" not in said
    assert said.count("0.500 [0.500, 0.500]") == 6


def test_a_row_that_some_draws_had_too_few_films_for_is_left_out():
    few = {"as it is": [np.full(21, 0.5)] * 3}
    said = table({0: [{**few, "adapted on 100": [np.full(21, 0.75)] * 3}, few]})
    assert "  as it is" in said
    assert "adapted" not in said


def test_a_small_run_prints_a_table_for_each_recipe(tmp_path):
    make_chest_xrays(120, tmp_path / "films", image_size=64, random_state=0)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.benchmarks.new_site", "--source", str(tmp_path / "films")),
            *("--image-size", "32", "--n-layers", "2", "--weights", "None", "--folds", "2", "--draws", "1"),
            *("--severities", "0", "2", "--recipes", "probe", "--folder", str(tmp_path / "kept")),
        ],
        cwd=Path(__file__).resolve().parents[1],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    for text in ("120 films held out in 2 folds", "severity 2", "  as it is", "  adapted on 20", "Brier score"):
        assert text in done.stdout
    assert "on 100" not in done.stdout  # there are not so many
