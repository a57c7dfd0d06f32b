"""Tests of the benchmark of domain shift: changes, metrics, and a small run."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from sklearn.metrics import accuracy_score, recall_score, roc_auc_score

from benchmarks.shifts.changes import CHANGES, STRENGTHS
from benchmarks.shifts.metrics import draw_weights, interval, measure, specificity_loss, summarize
from skpneumo.datasets import make_chest_xrays


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    make_chest_xrays(24, folder, image_size=96, random_state=0)
    return folder


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
    for metrics, weight in zip(measure(y, logits, weights).T, weights, strict=True):
        expected = [
            roc_auc_score(y, logits, sample_weight=weight),
            accuracy_score(y, logits > 0, sample_weight=weight),
            recall_score(y, logits > 0, sample_weight=weight),
            recall_score(y, logits > 0, pos_label=0, sample_weight=weight),
        ]
        np.testing.assert_allclose(metrics, expected)


def test_images_of_a_patient_have_equal_and_reproducible_weights():
    patients = ["b", "a", "b", "c"]
    weights = draw_weights(patients, 200)
    assert (weights[0] == 1).all()
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    np.testing.assert_array_equal(weights[1:, [0, 1, 3]].sum(axis=1), 3)
    np.testing.assert_array_equal(weights, draw_weights(patients, 200))


def test_summary_separates_single_and_combined_changes():
    def of(value):
        return np.full((4, 3), value)

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


def shifts(*arguments):
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", "tests.benchmarks.shifts", *map(str, arguments)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_small_run_from_images_to_tables(folder, tmp_path):
    out, kept = tmp_path / "out.jsonl", tmp_path / "kept"
    small = ("--image-size", 32, "--n-layers", 2, "--weights", "None", "--cost", 8, "--folder", kept, "--out", out)
    chosen = ("--folds", 2, "--changes", "exposure up", "combined down", "--strengths", 1, 3)
    output = shifts("--source", folder, *small, *chosen, "--recipes", "probe", "dense")
    for text in ("probe, fold 2 of 2: fit", "AUC", "loss of specificity, combined", "  dense - probe"):
        assert text in output
    shifts("--source", folder, *small, *chosen, "--set", "alpha=1.0", "--name", "ad hoc")

    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [record["recipe"] for record in records] == ["probe", "dense", "ad hoc"]
    assert np.shape(records[0]["logits"]) == (5, 24)
    assert sorted(records[0]["images"]) == sorted(path.name for path in folder.rglob("*.jpeg"))
    for patient in set(records[0]["patients"]):
        indices = [i for i, other in enumerate(records[0]["patients"]) if other == patient]
        assert len({records[0]["folds"][i] for i in indices}) == 1
    assert len(list(kept.glob("changed-*/*/*.png"))) == 4 * 24

    shown = shifts("--show", out, "--verbose")
    for text in ("  dense - probe", "  ad hoc - probe", "  exposure up 3", "  combined down 1"):
        assert text in shown


def test_unavailable_recipe_is_reported_and_skipped(folder):
    output = shifts(
        *("--source", folder, "--image-size", 32, "--n-layers", 2, "--weights", "None", "--cost", 0, "--folds", 2),
        *("--changes", "blur", "--strengths", 2, "--images", 10, "--only-folds", 1, "--set", "no_such=1"),
    )
    assert "probe, no_such=1: not available: " in output
