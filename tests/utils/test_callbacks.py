import importlib.util
import pickle
import re

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from conftest import QUICK, TINY
from skpneumo import PneumoniaClassifier, VGG19Features
from skpneumo._heads.mlp import DenseLayers
from skpneumo._utils.callbacks import FitTasks
from skpneumo._utils.progress import progress_bar

HAS_CALLBACKS = importlib.util.find_spec("sklearn.callback") is not None
with_callbacks_only = pytest.mark.skipif(not HAS_CALLBACKS, reason="scikit-learn has callbacks from 1.9 on")
DENSE = {"hidden_layer_sizes": (8,), "max_iter": 5, "dropout": 0.2, "random_state": 0}
TUNING = {"n_layers": 4, "n_trainable_layers": 2, "tune_max_iter": 3, "tune_learning_rate": 1e-3}


class Recorder:
    """Record all hooks, without taking data."""

    def __init__(self):
        self.events = []

    def setup(self, estimator, context):
        self.note("setup", context)

    def teardown(self, estimator, context):
        self.note("teardown", context)

    def on_fit_task_begin(self, estimator, context):
        self.note("begin", context)

    def on_fit_task_end(self, estimator, context):
        self.note("end", context)

    def note(self, hook, context):
        self.events.append((hook, context.task_name, context.max_subtasks))

    def tasks(self):
        """Return the number of steps of each task below the fit."""
        return {name: steps for hook, name, steps in self.events if hook == "begin" and steps}

    def count(self, *event):
        return sum(each[:2] == event for each in self.events)


class EstimatorRecorder(Recorder):
    """Record the estimators and data of all tasks with a fitted estimator."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None):
        super().on_fit_task_end(estimator, context)
        if fitted_estimator is not None:
            self.seen.append((context.task_name, fitted_estimator, X, y, metadata))

    def epochs(self):
        return [estimator for name, estimator, *_ in self.seen if name == "epoch"]


class Stops(Recorder):
    """Request to stop at the end of the second step of a kind."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_fit_task_end(self, estimator, context):
        super().on_fit_task_end(estimator, context)
        return context.task_name == self.step and self.count("end", self.step) == 2


class Raises(Recorder):
    def __init__(self, hook, name):
        super().__init__()
        self.at = hook, name

    def note(self, hook, context):
        super().note(hook, context)
        if (hook, context.task_name) == self.at:
            raise LookupError(f"{hook} of {context.task_name}")


@pytest.fixture
def dense(tmp_path):
    return PneumoniaClassifier(**QUICK, **DENSE, memory=tmp_path / "store")


def test_estimators_have_callbacks_if_scikit_learn_has_them(dense, paths, y):
    for estimator in (dense, VGG19Features(**TINY)):
        assert hasattr(estimator, "set_callbacks") == HAS_CALLBACKS
        assert not [name for name in vars(estimator.fit(paths, y)) if "callback" in name]
    assert dense.n_iter_ == len(dense.loss_curve_) == 5


def test_task_without_callbacks_has_a_progress_bar_only(capsys):
    with FitTasks(object(), lambda *each: progress_bar(*each, verbose=0))(3, "reading", "image") as task:
        assert not any(task.update() for _ in range(3))
        assert task.bar.disable


# Tasks


@with_callbacks_only
def test_images_and_epochs_are_steps_of_tasks(dense, paths, y):
    callback = Recorder()
    dense.set_callbacks(callback).fit(paths, y)
    assert callback.tasks() == {"features": 40, "head": 5}
    assert [callback.events[0][:2], callback.events[-1][:2]] == [("setup", "fit"), ("teardown", "fit")]
    for name, number in {"fit": 1, "features": 1, "head": 1, "image": 40, "epoch": 5}.items():
        assert callback.count("begin", name) == callback.count("end", name) == number


@with_callbacks_only
@pytest.mark.usefixtures("settled")
def test_only_images_without_stored_features_are_steps(dense, paths, y):
    dense.fit(paths[:30], y[:30])
    callback = Recorder()
    dense.set_callbacks(callback).fit(paths, y)
    assert callback.tasks() == {"features": 10, "head": 5}
    callback = Recorder()
    dense.set_callbacks(callback).fit(paths, y)
    assert callback.tasks() == {"head": 5}


@with_callbacks_only
@pytest.mark.parametrize("at_once", [1, 7, 5000])
@pytest.mark.parametrize("total", [1, 99, 100, 101, 250, 5000])
def test_many_images_are_at_most_100_steps(clf, total, at_once):
    callback = Recorder()
    tasks = FitTasks(clf.set_callbacks(callback), lambda *each: progress_bar(*each, verbose=0))
    with tasks(total, "features", "image") as task:
        for start in range(0, total, at_once):
            task.update(min(at_once, total - start))
    steps = callback.tasks()["features"]
    assert min(total, 50) <= steps <= 100
    assert callback.count("begin", "image") == callback.count("end", "image") == steps


@with_callbacks_only
def test_task_that_ends_early_closes_its_step(clf):
    callback = Recorder()
    with FitTasks(clf.set_callbacks(callback), lambda *each: progress_bar(*each, verbose=0))(9, "a", "image") as task:
        task.update(2)
    assert callback.count("begin", "image") == callback.count("end", "image") == 3


@with_callbacks_only
def test_callbacks_are_torn_down_after_an_unreadable_image(dense, paths, y):
    callback = Recorder()
    with pytest.raises(ValueError, match=r"none\.png"):
        dense.set_callbacks(callback).fit([*paths[:3], "none.png"], y[-4:] + np.arange(4) % 2)
    assert callback.count("end", "fit") == 0
    assert callback.count("teardown", "fit") == 1


# Data of callbacks


@with_callbacks_only
def test_estimator_after_an_epoch_equals_a_fit_with_that_max_iter(dense, paths, y):
    callback = EstimatorRecorder()
    dense.set_callbacks(callback).fit(paths, y)
    assert len(callback.epochs()) == 5
    for number, fitted in enumerate(callback.epochs(), start=1):
        shorter = clone(dense).set_params(max_iter=number).set_callbacks().fit(paths, y)
        np.testing.assert_array_equal(fitted.predict_proba(paths), shorter.predict_proba(paths))
        assert (fitted.n_iter_, fitted.loss_curve_) == (number, shorter.loss_curve_)
        assert fitted.backbone_fingerprint_ == shorter.backbone_fingerprint_


@with_callbacks_only
def test_callbacks_get_the_features_of_the_images(dense, paths, y, matrix):
    callback = EstimatorRecorder()
    weight = np.linspace(1, 2, 40)
    dense.set_callbacks(callback).fit(paths, y, sample_weight=weight)
    assert [name for name, *_ in callback.seen] == ["epoch"] * 5 + ["fit"]
    for _, fitted, X, labels, metadata in callback.seen:
        np.testing.assert_array_equal(X, matrix)
        np.testing.assert_array_equal(labels, y)
        assert metadata["sample_weight"] is weight
        np.testing.assert_array_equal(fitted.decision_function(X), fitted.decision_function(paths))


@with_callbacks_only
def test_callbacks_get_the_original_dataframe(matrix, y):
    frame = pd.DataFrame(matrix, columns=[f"f{i}" for i in range(matrix.shape[1])])
    callback = EstimatorRecorder()
    PneumoniaClassifier(**DENSE).set_callbacks(callback).fit(frame, y)
    assert all(X is frame for _, _, X, *_ in callback.seen)
    assert callback.epochs()[0].predict(frame).shape == y.shape


@with_callbacks_only
@pytest.mark.parametrize(("callback", "times"), [(Recorder, 1), (EstimatorRecorder, 6)])
def test_weights_are_fetched_only_for_callbacks_that_take_an_estimator(dense, matrix, y, monkeypatch, callback, times):
    fetched, weights = [], DenseLayers.weights
    monkeypatch.setattr(DenseLayers, "weights", lambda network: fetched.append(1) or weights(network))
    dense.set_callbacks(callback()).fit(matrix, y)
    assert len(fetched) == times


@with_callbacks_only
def test_callback_can_stop_training_after_an_epoch(dense, paths, y):
    callback = Stops("epoch")
    dense.set_callbacks(callback).fit(paths, y)
    assert dense.n_iter_ == len(dense.loss_curve_) == len(dense.accuracy_curve_) == 2
    assert callback.count("begin", "epoch") == callback.count("end", "epoch") == 2
    shorter = clone(dense).set_params(max_iter=2).set_callbacks().fit(paths, y)
    np.testing.assert_array_equal(dense.predict_proba(paths), shorter.predict_proba(paths))


@with_callbacks_only
def test_callback_cannot_stop_feature_extraction(dense, paths, y):
    callback = Stops("image")
    dense.set_callbacks(callback).fit(paths, y)
    assert callback.count("begin", "image") == callback.count("end", "image") == 40


@with_callbacks_only
def test_maps_and_epochs_of_tuning_are_steps_of_tasks(dense, paths, y):
    callback = Recorder()
    dense.set_params(**TUNING, n_views=2).set_callbacks(callback).fit(paths, y)
    assert callback.tasks() == {"maps": 80, "head": 5, "tuning": 3}
    assert callback.count("begin", "epoch") == callback.count("end", "epoch") == 5 + 3


@with_callbacks_only
def test_estimator_after_an_epoch_of_tuning_predicts_on_images(dense, paths, y):
    callback = EstimatorRecorder()
    dense.set_params(**TUNING, hidden_layer_sizes=()).set_callbacks(callback).fit(paths, y)
    assert [fitted.n_iter_ for fitted in callback.epochs()] == [1, 2, 3]
    *_, second, last = (fitted.decision_function(paths) for fitted in callback.epochs())
    np.testing.assert_allclose(last, dense.decision_function(paths), atol=0.2)  # not yet rounded to float16
    assert not np.array_equal(second, last)
    assert callback.epochs()[-1].loss_curve_ == dense.loss_curve_
    assert all(X is paths for _, _, X, *_ in callback.seen)


@with_callbacks_only
def test_callback_can_stop_tuning_after_an_epoch(dense, paths, y):
    callback = Stops("epoch")
    dense.set_params(**TUNING, hidden_layer_sizes=()).set_callbacks(callback).fit(paths, y)
    assert dense.n_iter_ == len(dense.loss_curve_) == 2
    assert dense.predict(paths).shape == (40,)


@with_callbacks_only
@pytest.mark.parametrize("change", [{"n_views": 3}, {"early_stopping": True, "validation_fraction": 0.3}, TUNING])
def test_callbacks_get_one_row_per_image_with_views_or_early_stopping(dense, paths, y, change):
    from sklearn.callback import ScoringMonitor

    monitor, callback = ScoringMonitor(scoring="accuracy"), EstimatorRecorder()
    dense.set_params(**change).set_callbacks(monitor, callback).fit(paths, y)
    log = monitor.get_logs().data_as_pandas
    assert list(log[log.task_name == "fit"].accuracy) == [dense.score(paths, y)]
    for _, fitted, X, labels, _ in callback.seen:
        assert len(X) == len(labels) == 40
        assert fitted.decision_function(X).shape == (40,)


# Callbacks of scikit-learn


@with_callbacks_only
def test_scoring_monitor_logs_each_epoch_and_the_fit(dense, paths, y):
    from sklearn.callback import ScoringMonitor

    monitor = ScoringMonitor(scoring=["accuracy", "neg_log_loss"])
    dense.set_callbacks(monitor).fit(paths, y)
    log = monitor.get_logs().data_as_pandas
    epochs = log[log.task_name == "epoch"]
    assert list(epochs.task_id) == [0, 1, 2, 3, 4]
    assert epochs.neg_log_loss.is_monotonic_increasing
    last, whole = epochs.iloc[-1], log[log.task_name == "fit"].iloc[0]
    assert last.accuracy == whole.accuracy == dense.score(paths, y)
    assert last.neg_log_loss == whole.neg_log_loss


@with_callbacks_only
def test_scoring_monitor_logs_the_fit_of_a_probe(clf, paths, y):
    from sklearn.callback import ScoringMonitor

    monitor = ScoringMonitor(scoring="accuracy")
    clf.set_callbacks(monitor).fit(paths, y)
    (row,) = monitor.get_logs().data
    assert (row["task_name"], row["accuracy"]) == ("fit", clf.score(paths, y))


@with_callbacks_only
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_callbacks_of_a_search_and_of_its_estimator_get_every_fold(dense, paths, y, n_jobs, capsys, monkeypatch):
    from sklearn.callback import ProgressBar, ScoringMonitor

    pytest.importorskip("rich")
    monkeypatch.setenv("COLUMNS", "200")
    dense.fit(paths, y)  # fills the store
    monitor = ScoringMonitor(scoring="accuracy")
    search = GridSearchCV(dense.set_callbacks(monitor), {"alpha": [0.1, 1]}, cv=2, n_jobs=n_jobs)
    search.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(paths, y)
    log = monitor.get_logs().data_as_pandas
    assert log.task_name.value_counts().to_dict() == {"epoch": 5 * (4 + 1), "fit": 4 + 1}
    assert log[log.task_name == "epoch"].parent_task_id_path.nunique() == 5
    assert re.search(r"candidate-split-evaluation \| PneumoniaClassifier - fit #3", capsys.readouterr().out)
    assert search.best_estimator_._skl_callbacks == [monitor]


@with_callbacks_only
def test_a_progress_bar_shows_images_and_epochs(dense, paths, y, capsys, monkeypatch):
    from sklearn.callback import ProgressBar

    pytest.importorskip("rich")
    monkeypatch.setenv("COLUMNS", "200")
    dense.set_callbacks(ProgressBar()).fit(paths, y)
    shown = capsys.readouterr().out
    for name in ("fit", "features #0", "head #1"):
        assert re.search(f"PneumoniaClassifier - {name} .*100%", shown)


@with_callbacks_only
def test_callbacks_of_a_pipeline_see_the_images_pass(paths, y, matrix):
    callback = Recorder()
    callback.max_propagation_depth = None
    pipeline = make_pipeline(VGG19Features(**TINY, memory=None), LogisticRegression(C=1e-3))
    pipeline.set_callbacks(callback).fit(paths, y)
    assert {"features": 40}.items() <= callback.tasks().items()
    np.testing.assert_array_equal(pipeline[0].fit_transform(paths), matrix)
    assert "_skl_callbacks" not in vars(pipeline[0])


# What stays


@with_callbacks_only
def test_callbacks_change_no_bit_of_a_model_and_leave_nothing_on_it(dense, paths, y):
    plain = clone(dense).fit(paths, y)
    expected = plain.decision_function(paths)
    callback = EstimatorRecorder()
    dense.set_callbacks(callback).fit(paths, y)
    np.testing.assert_array_equal(dense.decision_function(paths), expected)
    assert set(vars(dense)) - set(vars(plain)) == {"_skl_callbacks"}
    assert repr(dense) == repr(plain)
    assert set(vars(dense.set_callbacks())) == set(vars(plain))


@with_callbacks_only
def test_model_with_callbacks_can_be_saved_and_cloned(dense, paths, y, tmp_path):
    from sklearn.callback import ScoringMonitor

    monitor = ScoringMonitor(scoring="accuracy")
    dense.set_callbacks(monitor).fit(paths, y)
    expected = dense.decision_function(paths)
    joblib.dump(dense, tmp_path / "model.joblib")
    for copy in (joblib.load(tmp_path / "model.joblib"), pickle.loads(pickle.dumps(dense))):
        np.testing.assert_array_equal(copy.decision_function(paths), expected)
    np.testing.assert_array_equal(clone(dense).fit(paths, y).decision_function(paths), expected)
    assert len(monitor.get_logs(select="all")) == 2  # a clone shares the callbacks of its estimator


@with_callbacks_only
@pytest.mark.parametrize(
    ("hook", "name"),
    [
        ("setup", "fit"),
        ("begin", "fit"),
        ("end", "image"),
        ("end", "features"),
        ("begin", "epoch"),
        ("end", "epoch"),
        ("end", "fit"),
        ("teardown", "fit"),
    ],
)
def test_error_in_a_callback_ends_the_fit_and_the_next_fit_succeeds(dense, paths, y, hook, name):
    callback = Raises(hook, name)
    with pytest.raises(LookupError, match=f"{hook} of {name}"):
        dense.set_callbacks(callback).fit(paths, y)
    assert callback.count("teardown", "fit") == 1
    assert [each for each in vars(dense) if "callback" in each] == ["_skl_callbacks"]
    expected = clone(dense).set_callbacks().fit(paths, y).decision_function(paths)
    np.testing.assert_array_equal(dense.set_callbacks().fit(paths, y).decision_function(paths), expected)
