import pytest

from skpneumo._heads.early_stopping import EarlyStopping


def run(scores, **settings):
    stopping = EarlyStopping(**{"n_iter_no_change": 2, "tol": 0.1} | settings)
    return stopping, [stopping.add(score, f"epoch {number}") for number, score in enumerate(scores)]


def test_it_is_over_after_so_many_epochs_without_a_rise_and_not_before():
    _, over = run([0, 1, 1, 1, 1], n_iter_no_change=3)
    assert over == [False, False, False, False, True]


def test_a_rise_starts_the_wait_anew():
    _, over = run([0, 0, 1, 0, 0])
    assert over == [False, False, False, False, True]


def test_a_rise_below_tol_is_kept_but_does_not_prolong_the_wait():
    stopping, over = run([0.0, 0.05, 0.06])
    assert over == [False, False, True]
    assert (stopping.best, stopping.best_iter) == ("epoch 2", 2)


def test_a_rise_of_tol_exactly_prolongs_it():
    _, over = run([0.0, 0.5, 1.0, 1.5], tol=0.5, n_iter_no_change=1)
    assert not any(over)


def test_of_equal_scores_the_first_is_the_best():
    stopping, _ = run([1, 1, 1], tol=0)
    assert stopping.best == "epoch 0"


def test_slow_rises_below_tol_add_up_to_nothing():
    """As in scikit-learn's networks, each score is compared with the best one before it."""
    stopping, over = run([0.00, 0.06, 0.12, 0.18])
    assert over == [False, False, True, True]
    assert stopping.best_iter == 3


@pytest.mark.parametrize("first", [[], [-2.0]])
def test_a_score_that_is_no_number_is_never_the_best(first):
    nan = float("nan")
    stopping, over = run([*first, nan, nan])
    assert over[-1]
    assert stopping.best == ("epoch 0" if first else None)
    assert stopping.best_iter == len(first) - 1


def test_all_scores_are_noted_in_order():
    scores = [0.3, 0.1, 0.2]
    assert run(scores)[0].scores == scores


def test_accuracies_are_noted_beside_scores_and_decide_nothing():
    stopping = EarlyStopping(n_iter_no_change=1, tol=0.1)
    over = [stopping.add(score, None, accuracy) for score, accuracy in [(0.0, 0.9), (1.0, 0.5)]]
    assert not any(over)
    assert stopping.accuracies == [0.9, 0.5]
