"""Tests of the benchmark of domain shift: changes, metrics, and a small run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    brier_score_loss,
    recall_score,
    roc_auc_score,
)

from benchmarks.shifts.changes import CHANGES, STRENGTHS
from benchmarks.shifts.metrics import METRICS, draw_weights, interval, measure, specificity_loss, summarize
from skpneumo.datasets import make_chest_xrays
from skpneumo.metrics import diagnostic_report


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory):
    """Return a folder like ``SKPNEUMO_SHARED`` with synthetic images."""
    folder = tmp_path_factory.mktemp("shared")
    make_chest_xrays(24, folder / "xrays" / "kermany", image_size=96, random_state=0)
    make_chest_xrays(16, folder / "xrays" / "second_site", image_size=96, random_state=1)
    rng = np.random.default_rng(0)
    parts = {f"{part}_images": rng.integers(0, 255, (16, 28, 28), np.uint8) for part in ("train", "val")}
    labels = {f"{part}_labels": np.tile([0, 1], 8)[:, None] for part in ("train", "val")}
    np.savez(folder / "xrays" / "pneumoniamnist_28_train_val.npz", **parts, **labels)
    return folder


@pytest.fixture(scope="module")
def folder(shared_folder):
    return shared_folder / "xrays" / "kermany"


@pytest.fixture(scope="module")
def images(folder):
    return [Image.open(path).convert("L") for path in sorted(folder.rglob("*.jpeg"))[::6]]


def center_crop(image):
    """Return the center crop that a model uses."""
    return np.asarray(ImageOps.fit(image, (96, 96)), float)


@pytest.mark.parametrize("name", CHANGES)
def test_change_returns_a_different_gray_image_reproducibly(images, name):
    for image in images:
        for strength in STRENGTHS:
            changed = CHANGES[name](image, strength)
            assert changed.mode == "L"
            assert (changed.size, changed.tobytes()) != (image.size, image.tobytes())
            again = CHANGES[name](image.copy(), strength)
            assert (changed.size, changed.tobytes()) == (again.size, again.tobytes())


@pytest.mark.parametrize("name", CHANGES)
def test_stronger_change_has_a_larger_effect(images, name):
    change = CHANGES[name]
    effect = [
        np.mean([abs(center_crop(image) - center_crop(change(image, s))).mean() for image in images]) for s in STRENGTHS
    ]
    assert 0 < effect[0] < effect[1] < effect[2] < 128


@pytest.mark.parametrize("name", ["exposure", "gamma"])
def test_up_is_brighter_and_down_is_darker(images, name):
    for image in images:
        up, down = (center_crop(CHANGES[f"{name} {way}"](image, 2)).mean() for way in ("up", "down"))
        assert down < center_crop(image).mean() < up


def test_images_of_a_site_vary():
    ramp = Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (64, 1)))
    other = ramp.copy()
    other.putpixel((0, 0), 9)
    first, second = (np.asarray(CHANGES["exposure up"](image, 2), float)[1:] for image in (ramp, other))
    assert 0 < abs(first - second).mean() < 15  # one style with small variation


def test_metrics_match_scikit_learn_with_sample_weight():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 60)
    logits = np.round(y + rng.normal(0, 1.5, 60), 1)  # with ties
    weights = draw_weights([f"patient {i // 3}" for i in range(60)], 5)
    log_odds = logits + 0.7
    for metrics, weight in zip(measure(y, logits, log_odds, weights).T, weights, strict=True):
        regression = LogisticRegression(C=np.inf, tol=1e-9).fit(log_odds[:, None], y, sample_weight=weight)
        expected = {
            "AUC": roc_auc_score(y, logits, sample_weight=weight),
            "accuracy": accuracy_score(y, logits > 0, sample_weight=weight),
            "balanced accuracy": balanced_accuracy_score(y, logits > 0, sample_weight=weight),
            "sensitivity": recall_score(y, logits > 0, sample_weight=weight),
            "specificity": recall_score(y, logits > 0, pos_label=0, sample_weight=weight),
            "Brier score": brier_score_loss(y, expit(log_odds), sample_weight=weight),
            "calibration slope": regression.coef_[0, 0],
            "accuracy at probability 0.5": accuracy_score(y, log_odds > 0, sample_weight=weight),
        }
        found = dict(zip(METRICS, metrics, strict=True))
        intercept = found.pop("calibration intercept")
        assert found == pytest.approx(expected, rel=1e-4)
        assert np.average(expit(log_odds + intercept), weights=weight) == pytest.approx(np.average(y, weights=weight))


def test_calibration_is_that_of_the_diagnostic_report():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 80)
    log_odds = 2 * (y + rng.normal(0, 1, 80))
    report = diagnostic_report(y, expit(log_odds), threshold=0.5)
    found = dict(zip(METRICS, measure(y, log_odds, log_odds, np.ones((1, 80)))[:, 0], strict=True))
    for name in ("calibration slope", "calibration intercept"):
        assert found[name] == pytest.approx(report[name.replace(" ", "_")].estimate)


def test_calibration_slope_of_separated_classes_is_nan():
    y = np.tile([0, 1], 10)
    metrics = measure(y, 2.0 * y - 1, 2.0 * y - 1, np.ones((2, 20)))
    assert np.isnan(metrics[METRICS.index("calibration slope")]).all()
    assert interval(metrics[METRICS.index("AUC")]) == (1, 1, 1)


def test_images_of_a_patient_have_equal_and_reproducible_weights():
    patients = ["b", "a", "b", "c"]
    weights = draw_weights(patients, 200)
    assert (weights[0] == 1).all()
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    np.testing.assert_array_equal(weights[1:, [0, 1, 3]].sum(axis=1), 3)
    np.testing.assert_array_equal(weights, draw_weights(patients, 200))


def test_summary_separates_single_and_combined_changes():
    def of(value):
        return np.full((len(METRICS), 3), value)

    sites = {("plain", 0): of(1.0), ("blur", 1): of(0.8), ("noise", 1): of(0.5)}
    sites |= {("combined up", 1): of(0.6), ("combined down", 1): of(0.2)}
    summary = summarize(sites)
    assert {name: round(metrics[0, 0], 3) for name, metrics in summary.items()} == {
        "plain": 1.0,
        "mean": 0.65,
        "worst": 0.5,
        "combined": 0.4,
    }
    assert interval(specificity_loss(summary)) == pytest.approx((0.6, 0.6, 0.6))


def shifts(*arguments, shared_folder=None):
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", "tests.benchmarks.shifts", *map(str, arguments)]
    environ = {**os.environ, "SKPNEUMO_SHARED": str(shared_folder or "")}
    done = subprocess.run(command, cwd=root, env=environ, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_small_run_from_images_to_tables(folder, shared_folder, tmp_path):
    out, kept = tmp_path / "out.jsonl", tmp_path / "kept"
    small = ("--image-size", 32, "--n-layers", 2, "--weights", "None", "--cost", 8, "--folder", kept, "--out", out)
    chosen = ("--folds", 2, "--changes", "exposure up", "combined down", "--strengths", 1, 3)
    output = shifts(*small, *chosen, "--recipes", "default", "no views", shared_folder=shared_folder)
    for text in (
        "default, kermany, fold 2 of 2: fit",
        "AUC",
        "kermany combined",
        "mnist changed",
        "no views - default",
    ):
        assert text in output
    shifts(*small, *chosen, "--set", "alpha=1.0", "--name", "ad hoc", shared_folder=shared_folder)

    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [record["recipe"] for record in records] == ["default", "no views", "ad hoc"]
    shapes = {source: np.shape(part["logits"]) for source, part in records[0]["sources"].items()}
    assert shapes == {"kermany": (5, 24), "second_site": (1, 16), "mnist": (3, 16)}
    home = records[0]["sources"]["kermany"]
    assert len(home["shifts"]) == 2
    assert sorted(home["images"]) == sorted(path.name for path in folder.rglob("*.jpeg"))
    for patient in set(home["patients"]):
        indices = [i for i, other in enumerate(home["patients"]) if other == patient]
        assert len({home["folds"][i] for i in indices}) == 1
    assert len(list(kept.glob("changed-*/*/*.png"))) == 4 * 24 + 2 * 16

    shown = shifts("--show", out, "--verbose")
    for text in ("  no views - default", "  ad hoc - default", "  kermany exposure up 3", "  kermany combined down 1"):
        assert text in shown


def test_three_classes_at_home_and_at_the_second_site(shared_folder):
    output = shifts(
        *("--three-classes", "--image-size", 32, "--n-layers", 2, "--weights", "None", "--folds", 2),
        shared_folder=shared_folder,
    )
    for text in ("kermany: 24 held-out images", "second_site: 16 held-out images", "AUC, one vs. rest", "virus"):
        assert text in output


def test_second_site_requires_stretched_images(shared_folder):
    with pytest.raises(AssertionError, match="second_site requires --aspect stretch"):
        shifts("--aspect", "crop", shared_folder=shared_folder)


def test_unavailable_recipe_is_reported_and_skipped(folder):
    output = shifts(
        *("--sources", folder, "--image-size", 32, "--n-layers", 2, "--weights", "None", "--cost", 0, "--folds", 2),
        *("--changes", "blur", "--strengths", 2, "--images", 10, "--only-folds", 1, "--set", "no_such=1"),
    )
    assert "default, no_such=1: not available: " in output
