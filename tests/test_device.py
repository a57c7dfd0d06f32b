import joblib
import numpy as np
import pytest

from skpneumo import _device


@pytest.mark.skipif(_device._may_have_gpu(), reason="there may be a GPU here")
def test_without_a_gpu_the_processor_is_used_and_a_gpu_refused():
    assert _device.resolve_device("auto") == _device.resolve_device("cpu") == "cpu"
    with pytest.raises(ValueError, match="TensorFlow finds no GPU: pass device='auto' or 'cpu'"):
        _device.resolve_device("gpu")


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
    monkeypatch.setattr(_device.Path, "read_text", lambda _: f"model name\t: any\nflags\t\t: {flags}\nbugs\t:\n")
    monkeypatch.setattr(_device, "_cpu_has_bfloat16", _device._cpu_has_bfloat16.__wrapped__)
    assert _device.resolve_precision("auto", "cpu") == expected


def test_a_precision_asked_for_is_taken():
    assert _device.resolve_precision("float32", "cpu") == "float32"
    assert _device.resolve_precision("bfloat16", "cpu") == "bfloat16"


def test_batches_shrink_with_the_area_of_an_image():
    sizes = [_device.batch_size(side, "cpu") for side in (32, 224, 448, 4000)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] <= 512
    assert sizes[-1] == 1
    assert _device.batch_size(224, "gpu") > _device.batch_size(224, "cpu")


def test_one_trace_serves_every_number_of_images():
    traces = []

    def function(squares):
        traces.append(squares.shape)
        return _device.keras().ops.cast(squares, "float32") * 2

    forward = _device.compile_forward(function, 4, "cpu")
    for n_images in (3, 1, 5):
        squares = np.full((n_images, 4, 4), 7, np.uint8)
        np.testing.assert_array_equal(forward(squares), np.full((n_images, 4, 4), 14, np.float32))
    assert len(traces) == 1


def threads_of_tensorflow():
    _device.keras()
    import tensorflow as tf

    return _device.n_cores(), tf.config.threading.get_intra_op_parallelism_threads()


@pytest.mark.skipif(joblib.cpu_count() < 2, reason="there is one core only")
def test_workers_of_joblib_keep_tensorflow_to_their_share_of_the_cores():
    share = joblib.cpu_count() // 2
    with joblib.Parallel(n_jobs=2, backend="loky") as parallel:
        assert parallel(joblib.delayed(threads_of_tensorflow)() for _ in range(2)) == [(share, share)] * 2


@pytest.mark.parametrize(("granted", "expected"), [("1", 1), ("1,2", 1), ("", None), ("0", None), ("many", None)])
def test_cores_are_all_or_what_is_granted(granted, expected, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", granted)
    assert _device.n_cores() == (expected or joblib.cpu_count())
