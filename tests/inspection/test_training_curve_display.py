import sys

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB

from conftest import QUICK
from pictures import assert_looks_like
from skpneumo import PneumoniaClassifier
from skpneumo.inspection import TrainingCurveDisplay

LOSS, ACCURACY = [0.8, 0.6, 0.5, 0.4], [0.6, 0.7, 0.8, 0.9]
SCORES, VALIDATION_ACCURACY = [-0.95, -0.9, -0.7, -0.65, -0.8], [0.5, 0.55, 0.6, 0.7, 0.65]

pytestmark = pytest.mark.usefixtures("pyplot")


@pytest.fixture
def tuned():
    """Return the display of 4 epochs of fine-tuning, with validation scores from epoch 0 on."""
    validation = {"validation_scores": SCORES, "validation_accuracy": VALIDATION_ACCURACY, "best_iter": 3}
    return TrainingCurveDisplay(LOSS, ACCURACY, **validation).plot()


@pytest.fixture
def dense(matrix, y):
    clf = PneumoniaClassifier(hidden_layer_sizes=4, max_iter=5, early_stopping=True, validation_fraction=0.3)
    return clf.set_params(random_state=0).fit(matrix, y)


def points(line):
    return [*line.get_xdata()], [*line.get_ydata()]


def test_curves_of_dense_layers_start_at_epoch_1(dense):
    display = TrainingCurveDisplay.from_estimator(dense)
    epochs = list(range(1, dense.n_iter_ + 1))
    assert points(display.lines_["loss"]) == (epochs, dense.loss_curve_)
    assert points(display.lines_["accuracy"]) == (epochs, dense.accuracy_curve_)
    assert points(display.lines_["validation_loss"]) == (epochs, [-score for score in dense.validation_scores_])
    assert points(display.lines_["validation_accuracy"]) == (epochs, dense.validation_accuracy_curve_)
    assert [set(line.get_xdata()) for line in display.best_lines_] == [{dense.best_iter_}] * 2


def test_validation_curves_of_fine_tuning_start_at_epoch_0(tuned):
    assert points(tuned.lines_["loss"]) == ([1, 2, 3, 4], LOSS)
    assert points(tuned.lines_["validation_loss"]) == ([0, 1, 2, 3, 4], [0.95, 0.9, 0.7, 0.65, 0.8])
    assert points(tuned.lines_["validation_accuracy"]) == ([0, 1, 2, 3, 4], VALIDATION_ACCURACY)


def test_fine_tuned_classifier_is_plotted(paths, y):
    clf = PneumoniaClassifier(**QUICK, n_trainable_layers=1, tune_max_iter=2, random_state=0).fit(paths, y)
    display = TrainingCurveDisplay.from_estimator(clf)
    assert points(display.lines_["loss"]) == ([1, 2], clf.loss_curve_)


def test_only_training_curves_without_validation():
    display = TrainingCurveDisplay(LOSS, ACCURACY).plot()
    assert set(display.lines_) == {"loss", "accuracy"}
    assert display.best_lines_ == []
    assert [len(ax.lines) for ax in display.axes_] == [1, 1]


def test_model_of_an_earlier_version_has_no_validation_accuracy(dense):
    dense.validation_accuracy_curve_ = None
    assert set(TrainingCurveDisplay.from_estimator(dense).lines_) == {"loss", "accuracy", "validation_loss"}


@pytest.mark.parametrize(("best", "label"), [(0, "Best epoch: 0 (no gain from fine-tuning)"), (3, "Best epoch: 3")])
def test_legend_shows_the_best_epoch(best, label):
    display = TrainingCurveDisplay(LOSS, ACCURACY, validation_scores=SCORES, best_iter=best).plot()
    for ax in display.axes_:
        assert ax.get_legend().get_texts()[-1].get_text() == label


def test_axes_and_legends_are_labeled(tuned):
    assert [ax.get_ylabel() for ax in tuned.axes_] == ["Loss", "Accuracy"]
    assert {ax.get_xlabel() for ax in tuned.axes_} == {"Epoch"}
    loss, accuracy = ([text.get_text() for text in ax.get_legend().get_texts()] for ax in tuned.axes_)
    assert loss == ["Training loss (with penalty)", "Validation loss", "Best epoch: 3"]
    assert accuracy == ["Training accuracy", "Validation accuracy", "Best epoch: 3"]


def test_epoch_ticks_are_integers(tuned):
    assert all(tick == int(tick) for ax in tuned.axes_ for tick in ax.get_xticks())


@pytest.mark.parametrize(("loss", "scale"), [(LOSS, "linear"), ([50.0, 30.0], "log"), ([np.nan, np.nan], "linear")])
def test_loss_scale_is_logarithmic_with_a_large_penalty(loss, scale):
    display = TrainingCurveDisplay(loss, loss, validation_scores=[-0.5] * len(loss)).plot()
    assert display.axes_[0].get_yscale() == scale


def test_linear_probe_raises(matrix, y):
    with pytest.raises(ValueError, match=r"linear probe has no training curve.*hidden_layer_sizes.*n_trainable_layers"):
        TrainingCurveDisplay.from_estimator(PneumoniaClassifier().fit(matrix, y))


def test_classifier_is_found_in_a_search(matrix, y):
    clf = PneumoniaClassifier(hidden_layer_sizes=4, random_state=0)
    search = GridSearchCV(clf, {"max_iter": [3]}, cv=2).fit(matrix, y)
    assert len(TrainingCurveDisplay.from_estimator(search).loss) == 3


def test_other_or_unfitted_classifiers_raise(matrix, y):
    with pytest.raises(TypeError, match="Expected a fitted PneumoniaClassifier"):
        TrainingCurveDisplay.from_estimator(GaussianNB().fit(matrix, y))
    with pytest.raises(NotFittedError):
        TrainingCurveDisplay.from_estimator(PneumoniaClassifier())


def test_single_axes_are_divided(pyplot, dense):
    figure, (left, right) = pyplot.subplots(1, 2)
    display = TrainingCurveDisplay.from_estimator(dense, ax=right)
    assert display.bounding_ax_ is right
    assert not right.axison
    assert left.axison
    assert display.figure_ is figure
    assert len(figure.axes) == 4
    assert all(ax.get_position().x0 >= right.get_position().x0 for ax in display.axes_)
    assert len(pyplot.get_fignums()) == 1


def test_two_axes_are_used(pyplot, tuned):
    figure, axes = pyplot.subplots(2)
    assert tuned.plot(ax=axes).axes_.tolist() == axes.tolist()
    assert tuned.figure_ is figure


def test_wrong_number_of_axes_raises(pyplot, tuned):
    _, axes = pyplot.subplots(3)
    with pytest.raises(ValueError, match="requires 2 axes, or one to divide; got 3"):
        tuned.plot(ax=axes)


def test_axes_outside_a_grid_raise(pyplot, tuned):
    with pytest.raises(ValueError, match=r"Create them with plt\.subplots"):
        tuned.plot(ax=pyplot.figure().add_axes((0, 0, 1, 1)))


def test_missing_matplotlib_raises(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"TrainingCurveDisplay\.plot requires matplotlib"):
        TrainingCurveDisplay(LOSS, ACCURACY).plot()


def test_figure_matches_the_baseline(tuned):
    assert_looks_like(tuned.figure_, "training_curve_display")


@pytest.mark.parametrize("line", ["loss", "accuracy", "validation_loss", "validation_accuracy"])
def test_figure_without_a_line_fails(tuned, line, monkeypatch):
    monkeypatch.delenv("SKPNEUMO_WRITE_PICTURES", raising=False)
    tuned.lines_[line].remove()
    with pytest.raises(AssertionError, match="pixels differ"):
        assert_looks_like(tuned.figure_, "training_curve_display")
