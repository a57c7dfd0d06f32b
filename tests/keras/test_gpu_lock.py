import multiprocessing
import os
import threading
import time

import pytest
from joblib import Parallel, delayed

from skpneumo._keras import gpu_lock


@pytest.fixture(autouse=True)
def separate_lock(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", str(tmp_path))  # determines the name of the lock; workers inherit it
    yield
    gpu_lock.release()


def test_worker_raises_if_another_process_uses_the_gpu():
    gpu_lock.acquire()
    with pytest.raises(RuntimeError, match="n_jobs=1"):
        Parallel(n_jobs=2)(delayed(gpu_lock.acquire)() for _ in range(2))


def test_process_may_acquire_the_gpu_repeatedly():
    gpu_lock.acquire()
    gpu_lock.acquire()


def test_lock_is_released_when_its_process_ends():
    Parallel(n_jobs=2)(delayed(gpu_lock.acquire)() for _ in range(1))
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown()
    gpu_lock.acquire()
    assert gpu_lock._locks


def test_workers_with_separate_gpus_do_not_conflict(monkeypatch, tmp_path):
    gpu_lock.acquire()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"{tmp_path} other")
    Parallel(n_jobs=2)(delayed(gpu_lock.acquire)() for _ in range(1))


def test_lock_outlives_the_thread_that_acquired_it():
    thread = threading.Thread(target=gpu_lock.acquire)
    thread.start()
    thread.join()
    with pytest.raises(RuntimeError, match="n_jobs=1"):
        Parallel(n_jobs=2)(delayed(gpu_lock.acquire)() for _ in range(1))


def acquire_and_wait(is_locked):
    gpu_lock.acquire()
    is_locked.set()
    time.sleep(600)


def test_lock_is_released_when_its_process_is_killed():
    context = multiprocessing.get_context("spawn")
    is_locked = context.Event()
    process = context.Process(target=acquire_and_wait, args=(is_locked,), daemon=True)
    process.start()
    assert is_locked.wait(60)
    process.kill()
    process.join()
    gpu_lock.acquire()
    assert gpu_lock._locks


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_end_of_a_forked_child_does_not_release_the_lock_of_its_parent():
    gpu_lock.acquire()
    context = multiprocessing.get_context("fork")
    child = context.Process(target=gpu_lock.acquire)
    child.start()
    child.join()
    with pytest.raises(RuntimeError, match="n_jobs=1"):
        Parallel(n_jobs=2)(delayed(gpu_lock.acquire)() for _ in range(1))
