"""Estimator checks of scikit-learn, the same checks on paths, and meta-estimators on paths."""

import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
from imblearn.over_sampling import SMOTE, RandomOverSampler
from imblearn.pipeline import make_pipeline as make_imblearn_pipeline
from imblearn.under_sampling import RandomUnderSampler
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV, CalibrationDisplay
from sklearn.compose import make_column_transformer
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import ConfusionMatrixDisplay, DetCurveDisplay, PrecisionRecallDisplay, RocCurveDisplay
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_validate,
    learning_curve,
    permutation_test_score,
    validation_curve,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from conftest import QUICK, TINY
from skpneumo import PneumoniaClassifier, VGG19Features
from skpneumo.model_selection import PatientGroupKFold

PROBE, DENSE = {}, {"hidden_layer_sizes": (4,), "max_iter": 3, "random_state": 0}
FOLDS = PatientGroupKFold(3)


@parametrize_with_checks([PneumoniaClassifier()])
def test_classifier_passes_scikit_learn_checks(estimator, check):
    check(estimator)


# scikit-learn skips estimators that take no numbers; these checks need no data.
CHECKS_WITHOUT_DATA = [
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
]


@pytest.mark.parametrize("check", CHECKS_WITHOUT_DATA)
def test_extractor_passes_scikit_learn_checks_without_data(check):
    getattr(estimator_checks, check)("VGG19Features", VGG19Features())


def test_classifier_tags_accept_strings_and_matrices():
    tags = PneumoniaClassifier().__sklearn_tags__().input_tags
    assert (tags.string, tags.two_d_array, tags.one_d_array) == (True, True, False)


# The same checks on paths


@pytest.fixture(params=[PROBE, DENSE], ids=["probe", "dense"])
def head(request):
    return request.param


@pytest.fixture
def model(head):
    return PneumoniaClassifier(**QUICK, **head)


def as_containers(paths):
    column = np.array(paths, dtype=object).reshape(-1, 1)
    index = np.arange(len(paths))[::-1]
    return {
        "list": paths,
        "tuple": tuple(paths),
        "str array": np.array(paths),
        "column": column,
        "Series": pd.Series(paths, index=index),
        "object Series": pd.Series(paths, index=index, dtype=object),
        "category Series": pd.Series(paths, index=index, dtype="category"),
        "DataFrame": pd.DataFrame({"path": paths}, index=index),
    }


def test_fit_does_not_depend_on_the_container_of_paths(model, paths, y):
    expected = clone(model).fit(paths, y).predict_proba(paths)
    for name, X in as_containers(paths).items():
        fitted = clone(model).fit(X, pd.Series(y))
        np.testing.assert_array_equal(fitted.predict_proba(X), expected, err_msg=name)
        assert fitted.n_features_in_ == 1
        np.testing.assert_array_equal(
            VGG19Features(**TINY).fit_transform(X), VGG19Features(**TINY).fit_transform(paths), err_msg=name
        )


def test_clone_copies_parameters_only(model, paths, y):
    copy = clone(model.fit(paths, y))
    assert copy.get_params() == model.get_params()
    assert not [name for name in vars(copy) if name.endswith("_")]


def test_fit_does_not_change_parameters(model, paths, y):
    before = joblib.hash(model.get_params())
    model.fit(paths, y)
    assert joblib.hash(model.get_params()) == before


def test_pickled_copy_predicts_the_same(model, paths, y):
    model.fit(paths, y)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict_proba(paths), model.predict_proba(paths))


def test_fit_is_repeatable_and_replaces_previous_state(model, paths, y):
    model.fit(paths, y)
    expected, names = model.predict_proba(paths), set(vars(model))
    model.fit(paths[:30], np.array(["a", "b", "c"])[np.arange(30) % 3])
    model.fit(paths, y)
    np.testing.assert_array_equal(model.predict_proba(paths), expected)
    assert set(vars(model)) == names


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba", "decision_function"])
def test_predictions_do_not_depend_on_order_or_other_images(model, paths, y, method):
    predict = getattr(model.fit(paths, y), method)
    whole, order = predict(paths), np.random.RandomState(0).permutation(len(paths))
    np.testing.assert_allclose(predict(np.array(paths)[order]), whole[order], atol=1e-9)
    one_by_one = np.concatenate([predict([path]) for path in paths])
    np.testing.assert_allclose(one_by_one, whole, atol=1e-9)


def test_fit_accepts_read_only_input_and_does_not_change_it(model, paths, y):
    X, labels, weight = np.array(paths, dtype=object), y.copy(), np.ones(40)
    for array in (X, labels, weight):
        array.setflags(write=False)
    model.fit(X, labels, sample_weight=weight).predict(X)
    assert X.tolist() == paths


def test_unfitted_model_raises_not_fitted_error(model, features, paths):
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        with pytest.raises(NotFittedError):
            getattr(model, method)(paths)
    for call in (lambda: features.transform(paths), features.get_feature_names_out):
        with pytest.raises(NotFittedError):
            call()


def test_fit_raises_on_a_single_class(model, paths):
    with pytest.raises(ValueError, match="only one class"):
        model.fit(paths, np.zeros(40))


def test_fit_raises_on_bare_string_and_empty_list(model, features, paths, y):
    for X, message in [(paths[0], "single str"), ([], "empty")]:
        for call in (lambda X=X: model.fit(X, []), lambda X=X: features.fit(X)):
            with pytest.raises(ValueError, match=message):
                call()


def test_sample_weight_equals_repetition(paths, y):
    weight = np.random.RandomState(0).randint(0, 3, 40)
    weighted = PneumoniaClassifier(**QUICK).fit(paths, y, sample_weight=weight)
    repeated = PneumoniaClassifier(**QUICK).fit(np.repeat(paths, weight), np.repeat(y, weight))
    np.testing.assert_allclose(weighted.predict_proba(paths), repeated.predict_proba(paths), atol=1e-3)


# Meta-estimators on paths, as listed in the user guide


def proba_of(estimator, X, y):
    return estimator.fit(X, y).predict_proba(X)


META_ESTIMATORS = {
    "Pipeline": lambda clf: make_pipeline("passthrough", clf),
    "Pipeline of features": lambda _: make_pipeline(VGG19Features(**TINY), LogisticRegression(max_iter=1000)),
    "GridSearchCV": lambda clf: GridSearchCV(clf, {"alpha": [0.01, 1], "pool_grid": [1, 2]}, cv=FOLDS),
    "GridSearchCV in processes": lambda clf: GridSearchCV(clf, {"alpha": [0.01, 1]}, cv=FOLDS, n_jobs=2),
    "RandomizedSearchCV": lambda clf: RandomizedSearchCV(
        clf, {"alpha": [0.01, 0.1, 1]}, n_iter=2, cv=FOLDS, random_state=0
    ),
    "HalvingGridSearchCV": lambda clf: HalvingGridSearchCV(
        clf, {"alpha": [0.01, 1]}, cv=FOLDS, min_resources=24, random_state=0
    ),
    "CalibratedClassifierCV": lambda clf: CalibratedClassifierCV(clf, cv=FOLDS),
    "TunedThresholdClassifierCV": lambda clf: TunedThresholdClassifierCV(clf, cv=FOLDS),
    "FixedThresholdClassifier": lambda clf: FixedThresholdClassifier(clf, threshold=0.3),
    "VotingClassifier": lambda clf: VotingClassifier(
        [("one", clf), ("two", clone(clf).set_params(pool_grid=1))], voting="soft"
    ),
    "StackingClassifier": lambda clf: StackingClassifier(
        [("one", clf), ("two", clone(clf).set_params(pool_grid=1))], cv=FOLDS
    ),
}


@pytest.mark.parametrize("name", META_ESTIMATORS)
@pytest.mark.parametrize("container", ["list", "Series", "DataFrame", "column"])
def test_meta_estimators_accept_paths(name, container, clf, paths, y):
    proba = proba_of(META_ESTIMATORS[name](clf), as_containers(paths)[container], y)
    assert proba.shape == (40, 2)
    np.testing.assert_allclose(proba.sum(axis=1), 1)


COLUMN_META_ESTIMATORS = {
    "OneVsRestClassifier": OneVsRestClassifier,
    "BaggingClassifier": lambda clf: BaggingClassifier(clf, n_estimators=2, random_state=0),
    "ColumnTransformer": lambda _: make_pipeline(
        make_column_transformer((VGG19Features(**TINY), [0])), LogisticRegression(max_iter=1000)
    ),
    "RandomOverSampler": lambda clf: make_imblearn_pipeline(RandomOverSampler(random_state=0), clf),
    "RandomUnderSampler": lambda clf: make_imblearn_pipeline(RandomUnderSampler(random_state=0), clf),
    "SMOTE on features": lambda _: make_imblearn_pipeline(
        VGG19Features(**TINY), SMOTE(k_neighbors=2, random_state=0), LogisticRegression(max_iter=1000)
    ),
}


@pytest.mark.parametrize("name", COLUMN_META_ESTIMATORS)
def test_meta_estimators_that_need_2d_input_accept_a_column(name, clf, xrays):
    keep = np.flatnonzero((xrays.target == 1) | (np.cumsum(xrays.target == 0) <= 8))
    proba = proba_of(COLUMN_META_ESTIMATORS[name](clf), xrays.data[keep], xrays.target[keep])
    assert proba.shape == (len(keep), 2)


def test_column_transformer_accepts_images_beside_other_columns(xrays):
    frame = pd.DataFrame({"image": xrays.data.ravel(), "age": np.arange(40.0)})
    both = make_column_transformer((VGG19Features(**TINY), ["image"]), ("passthrough", ["age"]))
    assert both.fit_transform(frame).shape == (40, 4 * 64 + 1)


def test_meta_estimators_accept_three_classes(clf, xrays):
    kinds = xrays.etiology
    for estimator in (OneVsRestClassifier(clf), CalibratedClassifierCV(clf, cv=2)):
        assert set(estimator.fit(xrays.data, kinds).predict(xrays.data)) <= set(kinds)


def test_cross_validation_tools_accept_paths(clf, paths, y):
    scores = cross_validate(clf, paths, y, cv=FOLDS, scoring=["roc_auc", "accuracy"], return_train_score=True)
    assert (scores["train_roc_auc"] >= scores["test_roc_auc"] - 0.2).all()
    assert cross_val_predict(clf, paths, y, cv=FOLDS, method="predict_proba").shape == (40, 2)
    _, train, _ = learning_curve(clf, paths, y, cv=FOLDS, train_sizes=[0.8, 1.0])
    assert np.isfinite(train).all()
    train, test = validation_curve(clf, paths, y, param_name="alpha", param_range=[0.01, 1], cv=FOLDS)
    assert train.shape == test.shape == (2, 3)
    score, _, _ = permutation_test_score(clf, paths, y, cv=FOLDS, n_permutations=2, random_state=0)
    assert 0 <= score <= 1


def test_cross_validation_gives_equal_predictions_in_threads_and_processes(clf, paths, y):
    expected = cross_val_predict(clf, paths, y, cv=FOLDS, method="decision_function")
    for backend in ("threading", "loky"):
        with joblib.parallel_config(backend, n_jobs=2):
            there = cross_val_predict(clf, paths, y, cv=FOLDS, method="decision_function")
        np.testing.assert_array_equal(there, expected)


def test_scikit_learn_displays_accept_a_fitted_model_and_paths(clf, paths, y):
    import matplotlib

    matplotlib.use("agg")
    clf.fit(paths, y)
    for display in (
        RocCurveDisplay,
        PrecisionRecallDisplay,
        DetCurveDisplay,
        CalibrationDisplay,
        ConfusionMatrixDisplay,
    ):
        assert display.from_estimator(clf, paths, y).figure_
    matplotlib.pyplot.close("all")


def test_sample_weight_is_routed(clf, paths, y):
    from sklearn import config_context

    weight = np.where(y == 1, 1.0, 1e-6)
    with config_context(enable_metadata_routing=True):
        search = GridSearchCV(
            clf.set_params(class_weight=None)
            .set_fit_request(sample_weight=True)
            .set_score_request(sample_weight=False),
            {},
            cv=FOLDS,
        )
        assert search.fit(paths, y, sample_weight=weight).predict(paths).all()


def test_repr_of_a_model_is_short(clf, paths, y):
    clf.fit(paths, y)
    assert len(repr(clf)) < 300
    assert "PneumoniaClassifier" in clf._repr_html_()
