from pathlib import Path

import joblib
import pytest

from conftest import on_tensorflow
from skpneumo import _keras
from skpneumo._keras.device import _cpu_has_bfloat16, _may_have_gpu, framework


@pytest.mark.skipif(_may_have_gpu(), reason="there may be a GPU here")
def test_without_a_gpu_the_processor_is_used_and_a_gpu_refused():
    assert _keras.resolve_device("auto") == _keras.resolve_device("cpu") == "cpu"
    with pytest.raises(ValueError, match="finds no GPU: pass device='auto' or 'cpu'"):
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
def test_auto_is_bfloat16_where_the_processor_has_it(flags, expected, monkeypatch):
    monkeypatch.setattr(Path, "read_text", lambda _: f"model name\t: any\nflags\t\t: {flags}\nbugs\t:\n")
    monkeypatch.setattr("skpneumo._keras.device._cpu_has_bfloat16", _cpu_has_bfloat16.__wrapped__)
    assert _keras.resolve_precision("auto", "cpu") == expected


def test_a_precision_asked_for_is_taken():
    assert _keras.resolve_precision("float32", "cpu") == "float32"
    assert _keras.resolve_precision("bfloat16", "cpu") == "bfloat16"


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((9, 0), "bfloat16"), ((8, 0), "bfloat16"), ((7, 5), "float16"), ((6, 1), "float32"), ((0, 0), "float32")],
)
def test_auto_is_what_the_gpu_has_cores_for(capability, expected, monkeypatch):
    monkeypatch.setattr(framework(), "gpu_capability", lambda: capability)
    assert _keras.resolve_precision("auto", "gpu") == expected


def test_batches_shrink_with_the_area_of_an_image():
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
@pytest.mark.skipif(joblib.cpu_count() < 2, reason="there is one core only")
def test_workers_of_joblib_keep_tensorflow_to_their_share_of_the_cores():
    share = joblib.cpu_count() // 2
    with joblib.Parallel(n_jobs=2, backend="loky") as parallel:
        assert parallel(joblib.delayed(threads_of_tensorflow)() for _ in range(2)) == [(share, share)] * 2


@pytest.mark.parametrize(("granted", "expected"), [("1", 1), ("1,2", 1), ("", None), ("0", None), ("many", None)])
def test_cores_are_all_or_what_is_granted(granted, expected, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", granted)
    assert _keras.n_cores() == (expected or joblib.cpu_count())
