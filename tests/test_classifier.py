import copy
import subprocess
import sys
import textwrap

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

from conftest import TINY
from skpneumo import PneumoniaClassifier, VGG19Features
from skpneumo._backbone import load_layers
from skpneumo.datasets import make_chest_xrays
from skpneumo.exceptions import ImageReadError
from skpneumo.model_selection import PatientGroupKFold

DENSE = {"hidden_layer_sizes": (8,), "max_iter": 4, "dropout": 0.2}


def test_pneumonia_is_told_from_normal_in_patients_never_seen(clf, tmp_path):
    films = make_chest_xrays(80, tmp_path, image_size=64, difficulty=0, random_state=0)
    clf.set_params(pool_grid=4)
    scores = cross_val_score(clf, films.data, films.target, cv=PatientGroupKFold(4), scoring="roc_auc")
    assert scores.mean() > 0.85


def test_three_classes_give_three_columns(clf, paths, xrays):
    kinds = xrays.etiology
    clf.fit(paths, kinds)
    assert list(clf.classes_) == ["bacteria", "normal", "virus"]
    assert clf.decision_function(paths).shape == clf.predict_proba(paths).shape == (40, 3)
    assert set(clf.predict(paths)) <= set(kinds)
    np.testing.assert_array_equal(clf.classes_[clf.decision_function(paths).argmax(axis=1)], clf.predict(paths))


def test_two_classes_give_the_log_odds_of_the_second(clf, paths, y):
    logits, probabilities = clf.fit(paths, y).decision_function(paths), clf.predict_proba(paths)
    assert logits.shape == (40,)
    np.testing.assert_allclose(np.log(probabilities[:, 1] / probabilities[:, 0]), logits, rtol=1e-6)
    np.testing.assert_allclose(clf.predict_log_proba(paths), np.log(probabilities), rtol=1e-6)
    np.testing.assert_array_equal(clf.predict(paths), (logits > 0).astype(int))


def test_log_probabilities_stay_finite_where_probabilities_vanish(random):
    X = random.randn(20, 1)
    clf = PneumoniaClassifier(alpha=1e-9).fit(X, X[:, 0] > 0)
    assert np.isfinite(clf.predict_log_proba([[1e4], [-1e4]])).all()


LABELS = {
    "bool": lambda y: y.astype(bool),
    "str": lambda y: np.array(["normal", "pneumonia"])[y],
    "object": lambda y: np.array(["normal", "pneumonia"], dtype=object)[y],
    "int list": lambda y: y.tolist(),
    "float": lambda y: y.astype(float),
    "negative": lambda y: 2 * y - 1,
    "Series": lambda y: pd.Series(y, index=np.arange(40)[::-1]),
    "category": lambda y: pd.Series(np.array(["normal", "pneumonia"])[y], dtype="category"),
    "str Series": lambda y: pd.Series(np.array(["normal", "pneumonia"])[y]),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_of_every_type_come_back_as_they_were(clf, paths, y, name):
    labels = LABELS[name](y)
    predicted = clf.fit(paths, labels).predict(paths)
    assert set(predicted) <= set(np.asarray(labels).tolist())
    np.testing.assert_array_equal(
        predicted == clf.classes_[1], PneumoniaClassifier(**TINY).fit(paths, y).predict(paths)
    )


# Images or features


def test_features_already_extracted_give_the_same_model_as_their_images(clf, paths, y, matrix):
    on_images, on_features = clone(clf).fit(paths, y), clone(clf).fit(matrix, y)
    np.testing.assert_array_equal(on_images.coefs_[0], on_features.coefs_[0])
    expected = on_images.predict_proba(paths)
    for model in (on_images, on_features):
        np.testing.assert_array_equal(model.predict_proba(matrix), expected)
        np.testing.assert_array_equal(model.predict_proba(paths), expected)
    assert (on_images.n_features_in_, on_features.n_features_in_) == (1, matrix.shape[1])


def test_features_of_another_width_are_refused(clf, paths, y, matrix):
    with pytest.raises(ValueError, match="X has 7 features, but PneumoniaClassifier is expecting 256 features"):
        clf.fit(paths, y).predict(matrix[:, :7])
    with pytest.raises(ValueError, match="X gives 256 features, but PneumoniaClassifier is expecting 7 features"):
        clf.fit(matrix[:, :7], y).predict(paths)


def test_a_backbone_that_is_not_that_of_fit_is_refused(clf, paths, y, tmp_path):
    arrays = load_layers(None, 2)
    np.savez(tmp_path / "w.npz", **arrays)
    clf.set_params(weights=tmp_path / "w.npz").fit(paths, y)
    expected = clf.predict_proba(paths)
    np.testing.assert_array_equal(clf.set_params(precision="auto", memory=None).predict_proba(paths), expected)
    for changes in ({"aspect": "pad"}, {"image_size": 48}, {"contrast": "equalize"}):
        with pytest.raises(ValueError, match="others than in fit"):
            copy.deepcopy(clf).set_params(**changes).predict(paths)
    np.savez(tmp_path / "w.npz", **{name: array + 1 for name, array in arrays.items()})
    with pytest.raises(ValueError, match="others than in fit"):
        clf.predict(paths)


def test_names_of_columns_are_noted_and_compared(clf, paths, y, matrix):
    frame = pd.DataFrame({"film": paths})
    assert list(clf.fit(frame, y).feature_names_in_) == ["film"]
    with pytest.raises(ValueError, match="feature names"):
        clf.predict(frame.rename(columns={"film": "path"}))
    names = [f"f{i}" for i in range(matrix.shape[1])]
    assert list(clf.fit(pd.DataFrame(matrix, columns=names), y).feature_names_in_) == names


def test_a_global_output_of_data_frames_changes_nothing(clf, paths, y):
    from sklearn import config_context

    with config_context(transform_output="pandas"):
        assert clf.fit(paths, y).predict_proba(paths).shape == (40, 2)


def test_parameters_of_the_backbone_are_those_of_the_extractor():
    ours, theirs = PneumoniaClassifier().get_params(), VGG19Features().get_params()
    assert theirs.items() <= ours.items()


# Wrong input


def test_labels_are_checked_before_any_image_is_read(clf):
    for labels, message in [
        ([0, 1], "inconsistent numbers of samples"),
        ([0, 0, 0], "only one class"),
        (None, "requires y"),
        ([0.1, 0.2, 0.5], "continuous"),
        ([0, 1, float("nan")], "NaN"),
    ]:
        with pytest.raises(ValueError, match=message):
            clf.fit(["none1.png", "none2.png", "none3.png"], labels)


def test_weights_of_images_are_checked(clf, paths, y):
    for weight, message in [(np.zeros(40), "non-zero"), (-np.ones(40), "[Nn]egative"), (np.ones(3), "shape")]:
        with pytest.raises(ValueError, match=message):
            clf.fit(paths, y, sample_weight=weight)


def test_images_that_cannot_be_read_are_named_in_prediction_too(clf, paths, y):
    with pytest.raises(ImageReadError, match=r"X\[1\] 'none.png': no such file"):
        clf.fit(paths, y).predict([paths[0], "none.png"])


# One seed, one result


def predictions_of_a_process(paths, y, head):
    code = f"""
    import sys, numpy as np
    from skpneumo import PneumoniaClassifier
    paths = sys.argv[1:41]
    clf = PneumoniaClassifier(**{TINY!r}, **{head!r}, memory=None, random_state=3).fit(paths, {y.tolist()!r})
    print(clf.decision_function(paths).tobytes().hex())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *paths], capture_output=True, text=True, check=True
    )
    return np.frombuffer(bytes.fromhex(done.stdout.strip()))


def fit_and_predict(paths, y, head, seed=3):
    clf = PneumoniaClassifier(**TINY, **head, memory=None, random_state=seed)
    return clf.fit(paths, y).decision_function(paths)


@pytest.mark.parametrize("head", [{}, DENSE], ids=["probe", "dense"])
def test_one_random_state_gives_equal_bits_in_one_process_two_and_threads(paths, y, head):
    here = fit_and_predict(paths, y, head)
    np.testing.assert_array_equal(fit_and_predict(paths, y, head), here)
    np.testing.assert_array_equal(predictions_of_a_process(paths, y, head), here)
    seeds = [3, 4, 3, 5, 3, 3]
    in_threads = joblib.Parallel(n_jobs=4, backend="threading")(
        joblib.delayed(fit_and_predict)(paths, y, head, seed) for seed in seeds
    )
    for seed, there in zip(seeds, in_threads, strict=True):
        if seed == 3:
            np.testing.assert_array_equal(there, here)
        elif head:
            assert not np.array_equal(there, here)


@pytest.mark.parametrize("head", [{}, DENSE], ids=["probe", "dense"])
def test_the_random_states_of_the_host_are_left_as_they_were(clf, paths, y, head):
    import random as python_random

    import tensorflow as tf

    def draw():
        return np.random.rand(), python_random.random(), float(tf.random.uniform(()))

    def seed():
        np.random.seed(5), python_random.seed(5), tf.random.set_seed(5)

    seed()
    expected = draw(), draw()
    seed()
    first = draw()
    clf.set_params(**head, random_state=0).fit(paths, y).predict(paths)
    assert (first, draw()) == expected


def test_a_random_state_instance_is_drawn_from(paths, y):
    random = np.random.RandomState(0)
    clf = PneumoniaClassifier(**TINY, **DENSE, random_state=random)
    first = clf.fit(paths, y).decision_function(paths)
    assert not np.array_equal(clf.fit(paths, y).decision_function(paths), first)
