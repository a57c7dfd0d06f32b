import multiprocessing
import os
import threading
import time

import pytest
from joblib import Parallel, delayed

from skpneumo._keras import gpu_lock


@pytest.fixture(autouse=True)
def a_lock_of_this_test(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", str(tmp_path))  # names the lock; workers inherit it
    yield
    gpu_lock.release()


def test_a_worker_is_refused_the_gpu_that_another_process_has():
    gpu_lock.hold()
    with pytest.raises(RuntimeError, match="n_jobs=1"):
        Parallel(n_jobs=2)(delayed(gpu_lock.hold)() for _ in range(2))


def test_a_process_may_take_the_gpu_again_and_again():
    gpu_lock.hold()
    gpu_lock.hold()


def test_the_gpu_is_free_again_once_its_process_has_ended():
    Parallel(n_jobs=2)(delayed(gpu_lock.hold)() for _ in range(1))
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown()
    gpu_lock.hold()
    assert gpu_lock._held


def test_workers_with_gpus_of_their_own_do_not_meet(monkeypatch, tmp_path):
    gpu_lock.hold()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"{tmp_path} other")
    Parallel(n_jobs=2)(delayed(gpu_lock.hold)() for _ in range(1))


def test_the_gpu_stays_taken_when_the_thread_that_took_it_has_ended():
    thread = threading.Thread(target=gpu_lock.hold)
    thread.start()
    thread.join()
    with pytest.raises(RuntimeError, match="n_jobs=1"):
        Parallel(n_jobs=2)(delayed(gpu_lock.hold)() for _ in range(1))


def hold_and_wait(is_held):
    gpu_lock.hold()
    is_held.set()
    time.sleep(600)


def test_a_killed_process_frees_the_gpu():
    context = multiprocessing.get_context("spawn")
    is_held = context.Event()
    process = context.Process(target=hold_and_wait, args=(is_held,), daemon=True)
    process.start()
    assert is_held.wait(60)
    process.kill()
    process.join()
    gpu_lock.hold()
    assert gpu_lock._held


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_end_of_a_forked_child_does_not_free_the_gpu_of_its_parent():
    gpu_lock.hold()
    context = multiprocessing.get_context("fork")
    child = context.Process(target=gpu_lock.hold)
    child.start()
    child.join()
    with pytest.raises(RuntimeError, match="n_jobs=1"):
        Parallel(n_jobs=2)(delayed(gpu_lock.hold)() for _ in range(1))
