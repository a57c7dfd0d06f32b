import pytest
from joblib import Parallel, delayed

from skpneumo._keras import gpu_lock as _gpu


@pytest.fixture(autouse=True)
def a_lock_of_this_test(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", tmp_path.name)  # names the lock; workers inherit it
    yield
    _gpu.release()


def test_a_worker_is_refused_the_gpu_that_another_process_has():
    _gpu.hold()
    with pytest.raises(RuntimeError, match="n_jobs=1"):
        Parallel(n_jobs=2)(delayed(_gpu.hold)() for _ in range(2))


def test_a_process_may_take_the_gpu_again_and_again():
    _gpu.hold()
    _gpu.hold()


def test_the_gpu_is_free_again_once_its_process_has_ended():
    Parallel(n_jobs=2)(delayed(_gpu.hold)() for _ in range(1))
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown()
    _gpu.hold()
    assert _gpu._held


def test_workers_with_gpus_of_their_own_do_not_meet(monkeypatch, tmp_path):
    _gpu.hold()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"{tmp_path.name} other")
    Parallel(n_jobs=2)(delayed(_gpu.hold)() for _ in range(1))
