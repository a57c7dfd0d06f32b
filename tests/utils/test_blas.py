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
def several_threads():
    """Set more than one BLAS thread on any machine."""
    before = blas_threads()
    with threadpool_limits(3, user_api="blas"):
        yield blas_threads()
    assert blas_threads() == before


def test_blas_has_one_thread_inside_and_the_previous_number_afterwards(several_threads):
    with single_blas_thread():
        assert set(blas_threads()) == {1}
    assert blas_threads() == several_threads


def test_last_thread_to_exit_restores_the_number(several_threads):
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
    assert blas_threads() == several_threads


def fit_probe(n_classes):
    random = np.random.RandomState(0)
    X, y = random.randn(600, 2048).astype(np.float32), np.arange(600) % n_classes
    return PneumoniaClassifier().fit(X, y).decision_function(X)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_probe_is_identical_in_the_main_thread_other_threads_and_processes(several_threads, n_classes):
    expected = fit_probe(n_classes)
    for backend in ("threading", "loky"):
        fits = joblib.Parallel(n_jobs=2, backend=backend)(joblib.delayed(fit_probe)(n_classes) for _ in range(2))
        for fit in fits:
            np.testing.assert_array_equal(fit, expected)
