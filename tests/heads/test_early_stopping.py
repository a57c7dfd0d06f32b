import pytest

from skpneumo._heads.early_stopping import EarlyStopping


def run(scores, **settings):
    stopping = EarlyStopping(**{"n_iter_no_change": 2, "tol": 0.1} | settings)
    return stopping, [stopping.add(score, f"epoch {number}") for number, score in enumerate(scores)]


def test_stops_after_n_iter_no_change_epochs_without_improvement():
    _, stops = run([0, 1, 1, 1, 1], n_iter_no_change=3)
    assert stops == [False, False, False, False, True]


def test_improvement_resets_the_count():
    _, stops = run([0, 0, 1, 0, 0])
    assert stops == [False, False, False, False, True]


def test_improvement_below_tol_is_kept_but_does_not_reset_the_count():
    stopping, stops = run([0.0, 0.05, 0.06])
    assert stops == [False, False, True]
    assert (stopping.best, stopping.best_iter) == ("epoch 2", 2)


def test_improvement_of_exactly_tol_resets_the_count():
    _, stops = run([0.0, 0.5, 1.0, 1.5], tol=0.5, n_iter_no_change=1)
    assert not any(stops)


def test_first_of_equal_scores_is_the_best():
    stopping, _ = run([1, 1, 1], tol=0)
    assert stopping.best == "epoch 0"


def test_several_improvements_below_tol_do_not_reset_the_count():
    """As in scikit-learn's networks, each score is compared with the best previous one."""
    stopping, stops = run([0.00, 0.06, 0.12, 0.18])
    assert stops == [False, False, True, True]
    assert stopping.best_iter == 3


@pytest.mark.parametrize("first", [[], [-2.0]])
def test_nan_is_never_the_best_score(first):
    nan = float("nan")
    stopping, stops = run([*first, nan, nan])
    assert stops[-1]
    assert stopping.best == ("epoch 0" if first else None)
    assert stopping.best_iter == len(first) - 1


def test_scores_are_recorded_in_order():
    scores = [0.3, 0.1, 0.2]
    assert run(scores)[0].scores == scores


def test_accuracies_are_recorded_but_do_not_stop():
    stopping = EarlyStopping(n_iter_no_change=1, tol=0.1)
    stops = [stopping.add(score, None, accuracy) for score, accuracy in [(0.0, 0.9), (1.0, 0.5)]]
    assert not any(stops)
    assert stopping.accuracies == [0.9, 0.5]
