"""Saved models of earlier versions load and give the same predictions."""

import json
from pathlib import Path

import joblib
import numpy as np
import pytest

from skpneumo import load_model

FOLDER = Path(__file__).parent / "models"
FILES = sorted(FOLDER.glob("*/*.joblib"))

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.InconsistentVersionWarning")


@pytest.fixture(params=FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def file(request):
    return request.param


@pytest.fixture
def expected(file):
    return json.loads((file.parent / "expected.json").read_text())[file.stem]


@pytest.fixture
def images(file):
    return sorted((file.parent / "images").iterdir())


@pytest.mark.parametrize("read", [load_model, joblib.load])
def test_earlier_model_predicts_the_same_on_images(read, file, expected, images):
    clf = read(file)
    assert clf.classes_.tolist() == expected["classes"]
    np.testing.assert_allclose(clf.predict_proba(images), expected["of images"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(clf.decision_function(images), expected["logits of images"], rtol=0, atol=1e-4)


def test_earlier_model_predicts_the_same_on_features(file, expected):
    with np.load(file.parent / "features.npz") as archive:
        probabilities = load_model(file).predict_proba(archive["features"])
    np.testing.assert_allclose(probabilities, expected["of features"], rtol=0, atol=1e-5)


def test_earlier_model_gives_the_same_novelty(file, expected, images):
    np.testing.assert_allclose(load_model(file).novelty(images), expected["novelty of images"], rtol=0, atol=0.05)


def test_there_is_a_file_for_each_head():
    assert {"probe", "dense", "tuned"} <= {file.stem for file in FILES}


def test_files_of_earlier_versions_are_small():
    assert max(file.stat().st_size for file in FILES) < 150_000
