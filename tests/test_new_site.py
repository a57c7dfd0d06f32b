"""Tests of the benchmark of site adaptation: splits, models, table, and a small run."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from skpneumo import PneumoniaClassifier
from skpneumo.datasets import make_chest_xrays
from tests.benchmarks.new_site import calibrated, halves, measured, table, with_prevalence
from tests.benchmarks.shifts.data import Dataset
from tests.benchmarks.shifts.metrics import draw_weights


@pytest.fixture
def held():
    """Return 90 images of 45 patients, two thirds of them with pneumonia."""
    indices = np.arange(90)
    return Dataset(indices.astype(object), (indices // 2 % 3 > 0).astype(int), (indices // 2).astype(object))


class Shifted:
    """Model with perfect ranking whose log-odds are shifted."""

    def __init__(self, by):
        self.by = by

    def predict(self, X):
        return (X[:, 0] + self.by > 0).astype(int)

    def predict_proba(self, X):
        positive = 1 / (1 + np.exp(-X[:, 0] - self.by))
        return np.column_stack([1 - positive, positive])


def test_halves_separate_patients_and_contain_all_images(held):
    for seed in range(5):
        local, test = halves(held, np.random.default_rng(seed))
        assert not set(held.patients[local]) & set(held.patients[test])
        assert sorted([*local, *test]) == list(range(90))
        assert len(set(held.patients[local])) == 22


def test_halves_depend_on_the_seed_only(held):
    first, again, other = (halves(held, np.random.default_rng(seed))[0].tolist() for seed in (0, 0, 1))
    assert first == again != other


def test_first_local_images_contain_both_classes():
    y = np.r_[np.zeros(6, int), np.ones(84, int)]
    rare = Dataset(np.arange(90).astype(object), y, np.arange(90).astype(object))
    for seed in range(5):
        local, _ = halves(rare, np.random.default_rng(seed))
        assert np.bincount(y[local[:20]], minlength=2)[0] >= 2


def test_sample_has_the_given_prevalence():
    y = np.tile([0, 1], 40)
    sample = with_prevalence(y, 0.25, 40)
    assert len(sample) == 40
    assert y[sample].mean() == 0.25
    assert len(with_prevalence(y, 0.25, 80)) == 60  # there are only 40 negative images


def test_calibration_corrects_a_shifted_model_and_keeps_its_ranking(random):
    y = np.tile([0, 1, 1], 40)
    X = random.normal(0, 1, (120, 3)) + 3 * y[:, None]
    clf = PneumoniaClassifier().fit(X, y)
    clf.intercepts_ = [clf.intercepts_[0] + 12]
    assert (clf.predict(X) == 1).mean() > 0.8
    for name, model in calibrated("40 labeled", clf, X[:40], y[:40]):
        right = model.predict(X[40:]) == y[40:]
        assert min(right[y[40:] == label].mean() for label in (0, 1)) > 0.85, name
        order = np.argsort(model.predict_proba(X[40:])[:, 1])
        np.testing.assert_array_equal(order, np.argsort(clf.decision_function(X[40:])))


def test_metrics_of_a_split_are_those_of_its_test_patients(held, monkeypatch):
    monkeypatch.setattr("tests.benchmarks.new_site.models", lambda clf, X, y: [("not adapted", clf)])
    X = np.where(held.y == 1, 1.0, -1.0)[:, None]
    weights = draw_weights(held.patients, 20)
    for by, accuracy in ((0, 1.0), (2, 0.5)):
        found = measured(Shifted(by), X, held, weights, np.random.default_rng(0))["not adapted"]
        np.testing.assert_allclose(found[0], accuracy)
        np.testing.assert_allclose(found[1], 1.0)
    assert found[2][0] > 0.1


def test_repeated_row_is_omitted():
    rows = {name: [np.full(21, value)] * 3 for name, value in {"first": 0.5, "second": 0.75, "third": 0.5}.items()}
    text = table({0: [rows, rows], 2: [rows]})
    assert text.count("  first") == text.count("  second") == 3
    assert "  third" not in text
    assert text.count("0.500 [0.500, 0.500]") == 6


def test_row_that_is_missing_in_some_splits_is_omitted():
    few = {"not adapted": [np.full(21, 0.5)] * 3}
    text = table({0: [{**few, "adapted on 100": [np.full(21, 0.75)] * 3}, few]})
    assert "  not adapted" in text
    assert "adapted on" not in text


def test_small_run_prints_a_table_per_recipe(tmp_path):
    make_chest_xrays(120, tmp_path / "images", image_size=64, random_state=0)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.benchmarks.new_site", "--source", str(tmp_path / "images")),
            *("--image-size", "32", "--n-layers", "2", "--weights", "None", "--folds", "2", "--draws", "1"),
            *("--severities", "0", "2", "--recipes", "default", "--folder", str(tmp_path / "kept")),
        ],
        cwd=Path(__file__).resolve().parents[1],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    for text in ("120 held-out images in 2 folds", "severity 2", "  not adapted", "  adapted on 20", "Brier score"):
        assert text in done.stdout
    assert "on 100" not in done.stdout  # there are fewer local images
