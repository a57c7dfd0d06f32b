import threading

import joblib
import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from skpneumo import PneumoniaClassifier
from skpneumo._utils.blas import single_blas_thread


def blas_threads():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


@pytest.fixture
def many():
    """More than one BLAS thread, whatever the machine."""
    before = blas_threads()
    with threadpool_limits(3, user_api="blas"):
        yield blas_threads()
    assert blas_threads() == before


def test_blas_has_one_thread_inside_and_what_it_had_afterwards(many):
    with single_blas_thread():
        assert set(blas_threads()) == {1}
    assert blas_threads() == many


def test_the_last_to_leave_restores_whoever_came_first(many):
    first_in, second_in, first_out = threading.Event(), threading.Event(), threading.Event()
    seen = []

    def first():
        with single_blas_thread():
            first_in.set()
            second_in.wait(60)
        first_out.set()

    def second():
        first_in.wait(60)
        with single_blas_thread():
            second_in.set()
            first_out.wait(60)
            seen.append(set(blas_threads()))

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [{1}]
    assert blas_threads() == many


def fit_probe(n_classes):
    random = np.random.RandomState(0)
    X, y = random.randn(600, 2048).astype(np.float32), np.arange(600) % n_classes
    return PneumoniaClassifier().fit(X, y).decision_function(X)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_probe_has_the_same_bits_in_the_main_thread_in_others_and_in_processes(many, n_classes):
    here = fit_probe(n_classes)
    for backend in ("threading", "loky"):
        fits = joblib.Parallel(n_jobs=2, backend=backend)(joblib.delayed(fit_probe)(n_classes) for _ in range(2))
        for there in fits:
            np.testing.assert_array_equal(there, here)
