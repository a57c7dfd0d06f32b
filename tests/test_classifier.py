import copy
import pickle
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score, cross_validate

from conftest import DENSE, QUICK, STOPS, TINY, features_of_views
from skpneumo import PneumoniaClassifier, VGG19Features
from skpneumo._images import decoding
from skpneumo._images.augmentation import Augmentation
from skpneumo._vgg19 import backbone
from skpneumo._vgg19.weights import load_layers
from skpneumo.datasets import make_chest_xrays
from skpneumo.exceptions import DomainShiftWarning, FeatureStoreWarning, ImageReadError, WeightsError
from skpneumo.model_selection import PatientGroupKFold


def test_classifier_separates_pneumonia_from_normal_in_new_patients(clf, tmp_path):
    xrays = make_chest_xrays(80, tmp_path, image_size=64, difficulty=0, random_state=0)
    clf.set_params(pool_grid=4)
    scores = cross_val_score(clf, xrays.data, xrays.target, cv=PatientGroupKFold(4), scoring="roc_auc")
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


def test_log_probabilities_are_finite_if_probabilities_are_zero(random):
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
def test_predict_keeps_the_type_of_labels(clf, paths, y, name):
    labels = LABELS[name](y)
    predicted = clf.fit(paths, labels).predict(paths)
    assert set(predicted) <= set(np.asarray(labels).tolist())
    np.testing.assert_array_equal(
        predicted == clf.classes_[1], PneumoniaClassifier(**QUICK).fit(paths, y).predict(paths)
    )


# Images and features


def test_fit_on_features_equals_fit_on_images(clf, paths, y, matrix):
    on_images, on_features = clone(clf).fit(paths, y), clone(clf).fit(matrix, y)
    np.testing.assert_array_equal(on_images.coefs_[0], on_features.coefs_[0])
    expected = on_images.predict_proba(paths)
    for model in (on_images, on_features):
        np.testing.assert_array_equal(model.predict_proba(matrix), expected)
        np.testing.assert_array_equal(model.predict_proba(paths), expected)
    assert (on_images.n_features_in_, on_features.n_features_in_) == (1, matrix.shape[1])


def test_predict_raises_on_wrong_number_of_features(clf, paths, y, matrix):
    with pytest.raises(ValueError, match="X has 7 features, but PneumoniaClassifier is expecting 256 features"):
        clf.fit(paths, y).predict(matrix[:, :7])
    with pytest.raises(ValueError, match="X gives 256 features, but PneumoniaClassifier is expecting 7 features"):
        clf.fit(matrix[:, :7], y).predict(paths)


def test_predict_raises_if_the_backbone_differs_from_fit(clf, paths, y, tmp_path):
    arrays = load_layers(None, 2)
    np.savez(tmp_path / "w.npz", **arrays)
    clf.set_params(weights=tmp_path / "w.npz").fit(paths, y)
    expected = clf.predict_proba(paths)
    np.testing.assert_array_equal(clf.set_params(precision="auto", memory=None).predict_proba(paths), expected)
    for changes in ({"aspect": "pad"}, {"image_size": 48}, {"contrast": "equalize"}):
        with pytest.raises(ValueError, match="differ from those of fit"):
            copy.deepcopy(clf).set_params(**changes).predict(paths)
    np.savez(tmp_path / "w.npz", **{name: array + 1 for name, array in arrays.items()})
    with pytest.raises(WeightsError, match="other weights"):
        clf.predict(paths)


def test_feature_names_are_stored_and_checked(clf, paths, y, matrix):
    frame = pd.DataFrame({"image": paths})
    assert list(clf.fit(frame, y).feature_names_in_) == ["image"]
    with pytest.raises(ValueError, match="feature names"):
        clf.predict(frame.rename(columns={"image": "path"}))
    names = [f"f{i}" for i in range(matrix.shape[1])]
    assert list(clf.fit(pd.DataFrame(matrix, columns=names), y).feature_names_in_) == names


def test_pandas_output_does_not_affect_the_classifier(clf, paths, y):
    with config_context(transform_output="pandas"):
        assert clf.fit(paths, y).predict_proba(paths).shape == (40, 2)


def test_classifier_and_extractor_share_backbone_parameters():
    ours, theirs = PneumoniaClassifier().get_params(), VGG19Features().get_params()
    assert theirs.items() <= ours.items()


# Invalid input


def test_predict_raises_on_unreadable_image(clf, paths, y):
    with pytest.raises(ImageReadError, match=r"X\[1\] 'none.png': no such file"):
        clf.fit(paths, y).predict([paths[0], "none.png"])


# Reproducibility


def predictions_of_a_process(paths, y, head):
    code = f"""
    import sys, numpy as np
    from skpneumo import PneumoniaClassifier
    paths = sys.argv[1:41]
    clf = PneumoniaClassifier(**{QUICK!r}, **{head!r}, memory=None, random_state=3).fit(paths, {y.tolist()!r})
    print(clf.decision_function(paths).tobytes().hex())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *paths], capture_output=True, text=True, check=True
    )
    return np.frombuffer(bytes.fromhex(done.stdout.strip()))


def fit_and_predict(paths, y, head, seed=3):
    clf = PneumoniaClassifier(**QUICK, **head, memory=None, random_state=seed)
    return clf.fit(paths, y).decision_function(paths)


@pytest.mark.parametrize("head", [{}, DENSE], ids=["probe", "dense"])
def test_random_state_gives_identical_results_in_processes_and_threads(paths, y, head):
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
def test_fit_does_not_change_global_random_states(clf, paths, y, head):
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


def test_random_state_instance_advances_with_each_fit(paths, y):
    random = np.random.RandomState(0)
    clf = PneumoniaClassifier(**QUICK, **DENSE, random_state=random)
    first = clf.fit(paths, y).decision_function(paths)
    assert not np.array_equal(clf.fit(paths, y).decision_function(paths), first)


# Views


@pytest.fixture
def decoded(monkeypatch):
    """Record the decoded images."""
    images, gray = [], decoding.Preprocessing.gray
    monkeypatch.setattr(decoding.Preprocessing, "gray", lambda self, data: (images.append(data), gray(self, data))[1])
    return images


@pytest.fixture
def passed(monkeypatch):
    """Record the sizes of the batches that pass through the network."""
    sizes, forward = [], backbone.Backbone.forward
    monkeypatch.setattr(
        backbone.Backbone, "forward", lambda self: lambda batch: (sizes.append(len(batch)), forward(self)(batch))[1]
    )
    return sizes


def test_each_file_is_decoded_once_for_all_views(clf, paths, y, tmp_path, decoded, passed):
    clf.set_params(memory=tmp_path, n_views=4).fit(paths, y)
    assert (len(decoded), sum(passed)) == (40, 160)
    for n_views in (4, 2, 1):
        clone(clf).set_params(n_views=n_views, alpha=1.0).fit(paths[5:35], y[5:35])
    assert (len(decoded), sum(passed)) == (40, 160)
    clone(clf).set_params(n_views=5).fit(paths, y)
    assert (len(decoded), sum(passed)) == (80, 200)
    clone(clf).set_params(n_views=2, augmentation={"flip": 1}).fit(paths, y)
    assert (len(decoded), sum(passed)) == (120, 240)


def test_views_share_the_weight_of_their_image(clf, paths, y):
    weight = np.linspace(1, 2, 40)
    clf.set_params(n_views=3, plain_weight=0.2, class_weight={0: 2, 1: 1}).fit(paths, y, sample_weight=weight)
    rows = np.stack(features_of_views(paths, 3), axis=1).reshape(120, -1)
    reference = PneumoniaClassifier(class_weight={0: 2, 1: 1})
    reference.fit(rows, np.repeat(y, 3), sample_weight=np.outer(weight, [0.2, 0.4, 0.4]).ravel())
    np.testing.assert_array_equal(clf.coefs_[0], reference.coefs_[0])
    np.testing.assert_array_equal(clf.feature_mean_, reference.feature_mean_)


def test_regularization_does_not_depend_on_the_number_of_views(clf, paths, y):
    """Identical views count as one image."""
    same = {"rotation": 0, "area": 1, "margin": 0, "aspect": 0, "gamma": 0, "contrast": 0}
    same |= {"brightness": 0, "blur": 0, "noise": 0}
    clf.set_params(aspect="stretch")
    plain = clone(clf).fit(paths, y).decision_function(paths)
    clf.set_params(n_views=3, augmentation=same).fit(paths, y)
    assert np.abs(clf.decision_function(paths) - plain).max() < 0.15 * np.abs(plain).max()
    stronger = clone(clf).set_params(n_views=1, alpha=clf.alpha * 3).fit(paths, y).decision_function(paths)
    assert np.abs(stronger - plain).max() > 0.15 * np.abs(plain).max()


def test_views_do_not_depend_on_the_other_images(clf, paths, tmp_path):
    whole = features_of_views(paths, 3)
    fold = features_of_views(paths[25:] + paths[10:15], 3)
    for some, all_ in zip(fold, whole, strict=True):
        np.testing.assert_allclose(some, np.concatenate([all_[25:], all_[10:15]]), rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(whole[0], VGG19Features(**TINY, memory=None).fit_transform(paths))


@pytest.mark.parametrize("memory", [None, "store"])
def test_copies_of_an_image_have_equal_views(clf, paths, y, tmp_path, memory, passed):
    copy_ = tmp_path / "copy.jpeg"
    copy_.write_bytes(Path(paths[0]).read_bytes())
    clf.set_params(n_views=3, memory=memory and tmp_path)
    twice = clone(clf).fit([*paths, str(copy_), paths[1]], [*y, y[0], y[1]])
    assert sum(passed) == 120
    weighted = clone(clf).fit(paths, y, sample_weight=np.r_[2, 2, np.ones(38)])
    np.testing.assert_allclose(twice.coefs_[0], weighted.coefs_[0], atol=1e-3)


def test_unreadable_image_is_listed_once_with_several_views(clf, paths, y, tmp_path):
    cut = tmp_path / "cut.jpeg"
    cut.write_bytes(Path(paths[7]).read_bytes()[:-300])
    images = [*paths[:7], str(cut), *paths[8:39], "none.jpeg"]
    with pytest.raises(ImageReadError) as caught:
        clf.set_params(n_views=3, memory=tmp_path).fit(images, y)
    assert [(position, path) for position, path, _ in caught.value.failures] == [(7, str(cut)), (39, "none.jpeg")]


def test_n_views_is_ignored_for_features(clf, matrix, y):
    plain, views = clone(clf).fit(matrix, y), clf.set_params(n_views=5, n_views_predict=3).fit(matrix, y)
    np.testing.assert_array_equal(plain.decision_function(matrix), views.decision_function(matrix))


@pytest.mark.parametrize("kinds", [2, 3])
def test_prediction_averages_the_logits_of_views(clf, paths, y, xrays, kinds):
    clf.fit(paths, y if kinds == 2 else xrays.etiology)
    by_view = [clf.decision_function(view) for view in features_of_views(paths, 3, Augmentation(flip=0.5))]
    clf.set_params(n_views_predict=3, augmentation={"flip": 0.5})
    np.testing.assert_allclose(clf.decision_function(paths), np.mean(by_view, axis=0), rtol=1e-4, atol=1e-4)
    assert clf.decision_function(paths[:1]).shape == ((1,) if kinds == 2 else (1, 3))


# Early stopping


def test_groups_are_routed_to_fit_by_metadata_routing(clf, paths, y, sides):
    groups = np.array([f"patient {i // 4 % 5} {label}" for i, label in enumerate(y)])
    clf.set_params(**STOPS)
    with config_context(enable_metadata_routing=True):
        clf.set_fit_request(groups=True)
        cross_validate(clf, paths, y, cv=StratifiedGroupKFold(2), params={"groups": groups})
    assert len(sides) == 2
    for train, held in sides:
        assert set(train.groups) | set(held.groups) < set(groups)
        assert not set(train.groups) & set(held.groups)


# Novelty


@pytest.fixture
def strange(tmp_path, random):
    """Make images that are not X-rays: noise, a blank image and a ramp of gray values."""
    images = [random.randint(0, 256, (48, 48)), np.zeros((48, 48)), np.indices((48, 48)).sum(axis=0) * 2]
    return save_all(tmp_path, images)


def save_all(folder, images):
    paths = [str(folder / f"strange{i}.png") for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(np.asarray(image, np.uint8)).save(path)
    return paths


def test_novelty_is_lower_for_other_images_than_for_xrays_of_new_patients(clf, paths, y, strange):
    train, test = next(PatientGroupKFold(2).split(paths, y))
    clf.fit([paths[i] for i in train], y[train])
    xrays, others = clf.novelty([paths[i] for i in test]), clf.novelty(strange)
    assert xrays.shape == (len(test),)
    assert xrays.dtype == np.float64
    assert others.max() <= 1 / (len(train) + 1) + 1e-12
    assert np.mean(xrays > others.max()) > 0.7


@pytest.mark.parametrize(
    "parameters",
    [
        {"n_views": 3, "n_views_predict": 2},
        {"hidden_layer_sizes": (4,), "max_iter": 2},
        {"n_trainable_layers": 1, "tune_max_iter": 1, "n_views": 2},
        {"n_trainable_layers": 2, "tune_max_iter": 1},
    ],
    ids=["views", "dense", "tuned", "all tuned"],
)
def test_novelty_works_with_every_kind_of_head(parameters, paths, y, strange):
    clf = PneumoniaClassifier(**QUICK | parameters, random_state=0).fit(paths, y)
    assert clf.novelty(strange).max() < np.median(clf.novelty(paths))
    again = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(again.novelty(paths), clf.novelty(paths))


def test_novelty_is_equal_for_images_and_features(clf, paths, y, matrix):
    np.testing.assert_array_equal(clf.fit(paths, y).novelty(paths), clf.novelty(matrix))


def test_novelty_after_partial_fit_refers_to_the_largest_call(clf, paths, y, strange):
    clf.partial_fit(paths[:30], y[:30], classes=[0, 1])
    before = clf.novelty(paths)
    clf.partial_fit(paths[30:], y[30:])
    np.testing.assert_array_equal(clf.novelty(paths), before)
    clf.partial_fit(paths, y)
    assert not np.array_equal(clf.novelty(paths), before)
    assert clf.novelty(strange).max() < np.median(before)


def test_predict_or_abstain_returns_none_for_novel_images(clf, paths, y, strange):
    labels = np.array(["normal", "pneumonia"])[y]
    clf.fit(paths, labels)
    predicted = clf.predict_or_abstain([*paths, *strange], level=0.04)
    assert predicted.dtype == object
    assert list(predicted[-3:]) == [None] * 3
    is_predicted = clf.novelty(paths) > 0.04
    assert is_predicted.mean() > 0.7
    assert list(predicted[:-3]) == [
        label if keep else None for label, keep in zip(clf.predict(paths), is_predicted, strict=True)
    ]


@pytest.mark.parametrize("wrong", [-0.1, 1.5])
def test_predict_or_abstain_raises_on_level_outside_0_and_1(clf, paths, y, wrong):
    with pytest.raises(ValueError, match="level"):
        clf.fit(paths, y).predict_or_abstain(paths, level=wrong)


def test_predict_or_abstain_raises_on_level_below_the_smallest_p_value(clf, paths, y):
    clf.fit(paths, y)
    with pytest.raises(ValueError, match=r"never below 0\.024"):
        clf.predict_or_abstain(paths)
    clf.fit(paths, y, groups=[7] * len(y))
    with pytest.raises(ValueError, match="never below 1"):
        clf.predict_or_abstain(paths, level=0.5)


def test_prediction_warns_at_the_line_of_the_user_of_images_that_differ_as_a_whole(random):
    X, y = random.standard_normal((200, 30)), np.arange(200) % 2
    X[:, 0] += 3 * y
    clf = PneumoniaClassifier().fit(X[:100], y[:100])
    for method in (clf.predict, clf.predict_proba, clf.decision_function, clf.predict_or_abstain):
        with pytest.warns(DomainShiftWarning, match=r"differ from the training images as a whole.*adapt") as record:
            method(X[100:] + 1)
        assert record[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf.predict(X[100:])
        clf.predict(X[100:119] + 1)
        clf.adapt(X[100:] + 1, y[100:]).predict(X[100:] + 1)


def test_fit_warns_once_if_the_store_fails(clf, paths, y, tmp_path):
    (tmp_path / "file").touch()
    with pytest.warns(FeatureStoreWarning) as warned:
        clf.set_params(memory=tmp_path / "file", **STOPS).fit(paths, y)  # extracts training and held-out images
    assert [each.category for each in warned].count(FeatureStoreWarning) == 1  # JAX issues others
