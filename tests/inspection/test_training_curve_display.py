import sys

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB

from conftest import TINY
from pictures import assert_looks_like
from skpneumo import PneumoniaClassifier
from skpneumo.inspection import TrainingCurveDisplay

LOSS, ACCURACY = [0.8, 0.6, 0.5, 0.4], [0.6, 0.7, 0.8, 0.9]
SCORES, HELD_OUT = [-0.95, -0.9, -0.7, -0.65, -0.8], [0.5, 0.55, 0.6, 0.7, 0.65]

pytestmark = pytest.mark.usefixtures("pyplot")


@pytest.fixture
def tuned():
    """A tuning of 4 epochs, with what was held out before the first of them and after each."""
    held_out = {"validation_scores": SCORES, "validation_accuracy": HELD_OUT, "best_iter": 3}
    return TrainingCurveDisplay(LOSS, ACCURACY, **held_out).plot()


@pytest.fixture
def dense(matrix, y):
    clf = PneumoniaClassifier(hidden_layer_sizes=4, max_iter=5, early_stopping=True, validation_fraction=0.3)
    return clf.set_params(random_state=0).fit(matrix, y)


def points(line):
    return [*line.get_xdata()], [*line.get_ydata()]


def test_dense_layers_are_drawn_from_epoch_1(dense):
    display = TrainingCurveDisplay.from_estimator(dense)
    epochs = list(range(1, dense.n_iter_ + 1))
    assert points(display.lines_["loss"]) == (epochs, dense.loss_curve_)
    assert points(display.lines_["accuracy"]) == (epochs, dense.accuracy_curve_)
    assert points(display.lines_["validation_loss"]) == (epochs, [-score for score in dense.validation_scores_])
    assert points(display.lines_["validation_accuracy"]) == (epochs, dense.validation_accuracy_curve_)
    assert [set(line.get_xdata()) for line in display.best_lines_] == [{dense.best_iter_}] * 2


def test_what_was_held_out_from_a_tuning_is_drawn_from_epoch_0(tuned):
    assert points(tuned.lines_["loss"]) == ([1, 2, 3, 4], LOSS)
    assert points(tuned.lines_["validation_loss"]) == ([0, 1, 2, 3, 4], [0.95, 0.9, 0.7, 0.65, 0.8])
    assert points(tuned.lines_["validation_accuracy"]) == ([0, 1, 2, 3, 4], HELD_OUT)


def test_a_tuned_classifier_is_drawn(paths, y):
    clf = PneumoniaClassifier(**TINY, n_trainable_layers=1, tune_max_iter=2, random_state=0).fit(paths, y)
    display = TrainingCurveDisplay.from_estimator(clf)
    assert points(display.lines_["loss"]) == ([1, 2], clf.loss_curve_)


def test_without_anybody_held_out_only_the_training_is_drawn():
    display = TrainingCurveDisplay(LOSS, ACCURACY).plot()
    assert set(display.lines_) == {"loss", "accuracy"}
    assert display.best_lines_ == []
    assert [len(ax.lines) for ax in display.axes_] == [1, 1]


def test_a_model_of_an_earlier_version_has_no_accuracy_of_held_out_patients(dense):
    dense.validation_accuracy_curve_ = None
    assert set(TrainingCurveDisplay.from_estimator(dense).lines_) == {"loss", "accuracy", "validation_loss"}


@pytest.mark.parametrize(("best", "words"), [(0, "kept: epoch 0, no gain by tuning"), (3, "kept: epoch 3")])
def test_the_epoch_that_was_kept_is_named(best, words):
    display = TrainingCurveDisplay(LOSS, ACCURACY, validation_scores=SCORES, best_iter=best).plot()
    for ax in display.axes_:
        assert ax.get_legend().get_texts()[-1].get_text() == words


def test_words_say_what_is_drawn(tuned):
    assert [ax.get_ylabel() for ax in tuned.axes_] == ["Log loss", "Share of the images called rightly"]
    assert {ax.get_xlabel() for ax in tuned.axes_} == {"Epoch"}
    words = [text.get_text() for text in tuned.axes_[0].get_legend().get_texts()]
    assert words == ["training, with penalty", "held-out patients,\nand changed copies", "kept: epoch 3"]


def test_epochs_are_whole_numbers(tuned):
    assert all(tick == int(tick) for ax in tuned.axes_ for tick in ax.get_xticks())


@pytest.mark.parametrize(("loss", "scale"), [(LOSS, "linear"), ([50.0, 30.0], "log"), ([np.nan, np.nan], "linear")])
def test_a_penalty_that_outweighs_the_loss_does_not_flatten_it(loss, scale):
    display = TrainingCurveDisplay(loss, loss, validation_scores=[-0.5] * len(loss)).plot()
    assert display.axes_[0].get_yscale() == scale


def test_a_linear_probe_is_one_clear_error(matrix, y):
    with pytest.raises(ValueError, match=r"linear probe is solved at once.* hidden_layer_sizes.* n_trainable_layers"):
        TrainingCurveDisplay.from_estimator(PneumoniaClassifier().fit(matrix, y))


def test_a_classifier_is_found_in_a_search(matrix, y):
    clf = PneumoniaClassifier(hidden_layer_sizes=4, random_state=0)
    search = GridSearchCV(clf, {"max_iter": [3]}, cv=2).fit(matrix, y)
    assert len(TrainingCurveDisplay.from_estimator(search).loss) == 3


def test_other_classifiers_and_unfitted_ones_are_refused(matrix, y):
    with pytest.raises(TypeError, match="PneumoniaClassifier was expected"):
        TrainingCurveDisplay.from_estimator(GaussianNB().fit(matrix, y))
    with pytest.raises(NotFittedError):
        TrainingCurveDisplay.from_estimator(PneumoniaClassifier())


def test_given_axes_are_divided(pyplot, dense):
    figure, (left, right) = pyplot.subplots(1, 2)
    display = TrainingCurveDisplay.from_estimator(dense, ax=right)
    assert display.bounding_ax_ is right
    assert not right.axison
    assert left.axison
    assert display.figure_ is figure
    assert len(figure.axes) == 4
    assert all(ax.get_position().x0 >= right.get_position().x0 for ax in display.axes_)
    assert len(pyplot.get_fignums()) == 1


def test_two_given_axes_are_drawn_on(pyplot, tuned):
    figure, axes = pyplot.subplots(2)
    assert tuned.plot(ax=axes).axes_.tolist() == axes.tolist()
    assert tuned.figure_ is figure


def test_another_number_of_axes_is_refused(pyplot, tuned):
    _, axes = pyplot.subplots(3)
    with pytest.raises(ValueError, match="needs 2 axes here, or one that it divides; got 3"):
        tuned.plot(ax=axes)


def test_axes_outside_of_a_grid_are_refused(pyplot, tuned):
    with pytest.raises(ValueError, match=r"as plt\.subplots makes them"):
        tuned.plot(ax=pyplot.figure().add_axes((0, 0, 1, 1)))


def test_without_matplotlib_one_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"TrainingCurveDisplay\.plot requires matplotlib"):
        TrainingCurveDisplay(LOSS, ACCURACY).plot()


def test_the_picture(tuned):
    assert_looks_like(tuned.figure_, "training_curve_display")


@pytest.mark.parametrize("line", ["loss", "accuracy", "validation_loss", "validation_accuracy"])
def test_a_picture_with_a_line_missing_fails(tuned, line, monkeypatch):
    monkeypatch.delenv("SKPNEUMO_WRITE_PICTURES", raising=False)
    tuned.lines_[line].remove()
    with pytest.raises(AssertionError, match="pixels differ"):
        assert_looks_like(tuned.figure_, "training_curve_display")
