import numpy as np
import pytest

from conftest import STOPS, features_of_views
from heads.conftest import DENSE, three_classes
from skpneumo import PneumoniaClassifier
from skpneumo._images.augmentation import SHIFTED


def test_weights_of_the_best_epoch_are_restored(clf, paths, y, sides):
    clf.set_params(**STOPS, alpha=0.0).fit(paths, y)
    _, validation = sides[0]
    shifted = [clf.decision_function(view) for view in features_of_views(list(validation.X), 3, SHIFTED)]
    score = validation.repeat(3, 0.5).score(np.stack(shifted, axis=1).reshape(-1, 1))
    assert score == pytest.approx(max(clf.validation_scores_), rel=1e-4)
    predicted = np.stack(shifted, axis=1) > 0
    assert clf.validation_accuracy_curve_[clf.best_iter_ - 1] == np.mean(predicted == validation.codes[:, np.newaxis])
    assert clf.best_iter_ == 1 + np.argmax(clf.validation_scores_)
    assert len(clf.validation_scores_) == len(clf.loss_curve_) == clf.n_iter_ == clf.best_iter_ + 3 < 60
    assert len(clf.validation_accuracy_curve_) == clf.n_iter_


def test_fine_tuning_restores_the_best_weights(clf, paths, y, sides):
    tuning = {"n_layers": 4, "n_trainable_layers": 2, "tune_max_iter": 4, "tune_learning_rate": 3e-3}
    clf.set_params(**tuning, **STOPS | {"hidden_layer_sizes": ()}).fit(paths, y)
    _, validation = sides[0]
    features = clf._fitted_encoder().extract(validation.X, 3, SHIFTED, progress=clf._bar()).features
    score, accuracy = validation.repeat(3, 0.5).evaluate(clf._head().logits(features))
    assert score == pytest.approx(max(clf.validation_scores_), rel=2e-2)
    assert clf.best_iter_ == np.argmax(clf.validation_scores_)
    assert clf.validation_accuracy_curve_[clf.best_iter_] == pytest.approx(accuracy, abs=1 / 36)
    assert len(clf.validation_scores_) == clf.n_iter_ + 1 == len(clf.loss_curve_) + 1
    assert len(clf.validation_accuracy_curve_) == len(clf.validation_scores_)


def test_refit_with_another_head_resets_the_history(random):
    X, y, _ = three_classes(random)
    clf = PneumoniaClassifier(**DENSE).fit(X, y)
    clf.set_params(hidden_layer_sizes=()).fit(X, y)
    assert clf.loss_curve_ == clf.accuracy_curve_ == []
    assert len(clf.coefs_) == 1
