from pathlib import Path

import joblib
import pytest

from conftest import on_tensorflow
from skpneumo import _keras
from skpneumo._keras.device import _cpu_has_bfloat16, _may_have_gpu, framework


@pytest.mark.skipif(_may_have_gpu(), reason="there may be a GPU here")
def test_without_a_gpu_auto_is_cpu_and_gpu_raises():
    assert _keras.resolve_device("auto") == _keras.resolve_device("cpu") == "cpu"
    with pytest.raises(ValueError, match="finds no GPU: set device='auto' or 'cpu'"):
        _keras.resolve_device("gpu")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx512f avx512_bf16 sse2", "bfloat16"),
        ("fpu amx_bf16", "bfloat16"),
        ("fpu avx2 avx512f", "float32"),
        ("", "float32"),
    ],
)
def test_auto_precision_is_bfloat16_if_the_cpu_supports_it(flags, expected, monkeypatch):
    monkeypatch.setattr(Path, "read_text", lambda _: f"model name\t: any\nflags\t\t: {flags}\nbugs\t:\n")
    monkeypatch.setattr("skpneumo._keras.device._cpu_has_bfloat16", _cpu_has_bfloat16.__wrapped__)
    assert _keras.resolve_precision("auto", "cpu") == expected


def test_explicit_precision_is_used():
    assert _keras.resolve_precision("float32", "cpu") == "float32"
    assert _keras.resolve_precision("bfloat16", "cpu") == "bfloat16"


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((9, 0), "bfloat16"), ((8, 0), "bfloat16"), ((7, 5), "float16"), ((6, 1), "float32"), ((0, 0), "float32")],
)
def test_auto_precision_depends_on_the_compute_capability_of_the_gpu(capability, expected, monkeypatch):
    monkeypatch.setattr(framework(), "gpu_capability", lambda: capability)
    assert _keras.resolve_precision("auto", "gpu") == expected


def test_batch_size_decreases_with_the_area_of_an_image():
    sizes = [_keras.batch_size(side, "cpu") for side in (32, 224, 448, 4000)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] <= 512
    assert sizes[-1] == 1
    assert _keras.batch_size(224, "gpu") > _keras.batch_size(224, "cpu")


# Threads


def threads_of_tensorflow():
    _keras.keras()
    import tensorflow as tf

    return _keras.n_cores(), tf.config.threading.get_intra_op_parallelism_threads()


@on_tensorflow
@pytest.mark.skipif(joblib.cpu_count() < 2, reason="there is only one core")
def test_tensorflow_uses_the_cores_assigned_to_a_joblib_worker():
    n_cores = joblib.cpu_count() // 2
    with joblib.Parallel(n_jobs=2, backend="loky") as parallel:
        assert parallel(joblib.delayed(threads_of_tensorflow)() for _ in range(2)) == [(n_cores, n_cores)] * 2


@pytest.mark.parametrize(("limit", "expected"), [("1", 1), ("1,2", 1), ("", None), ("0", None), ("many", None)])
def test_n_cores_is_all_cores_or_the_limit_of_the_environment(limit, expected, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", limit)
    assert _keras.n_cores() == (expected or joblib.cpu_count())
