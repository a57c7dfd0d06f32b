import numpy as np
import pytest

from conftest import BACKEND, on_tensorflow
from skpneumo import _keras
from skpneumo._keras.device import framework

# Forward passes


@on_tensorflow
def test_function_is_traced_once_for_all_batch_sizes():
    assert traced_shapes([3, 1, 5]) == [(None, 4, 4)]


@pytest.mark.skipif(BACKEND != "jax", reason="specific to JAX")
def test_jax_traces_few_batch_sizes():
    shapes = traced_shapes([6, 3, 1, 2, 4, 5, 6, 7, 9, 10, 16])
    assert [length for length, *_ in shapes] == [6, 4, 1, 2, 8, 16]


def traced_shapes(numbers):
    shapes = []

    def function(images):
        shapes.append(tuple(images.shape))
        return _keras.keras().ops.cast(images, "float32") * 2

    forward = _keras.compile_forward(function, [], [((None, 4, 4), "uint8")], "cpu", full_batch=6)
    for n_images in numbers:
        images = np.full((n_images, 4, 4), 7, np.uint8)
        np.testing.assert_array_equal(forward(images), np.full((n_images, 4, 4), 14, np.float32))
    return shapes


def variable(values):
    with _keras.place("cpu"):
        return _keras.keras().Variable(np.asarray(values, np.float32), dtype="float32")


def test_forward_uses_the_current_values_of_its_variables():
    factor = variable(2)
    forward = _keras.compile_forward(lambda numbers: numbers * factor, [factor], [((None,), "float32")], "cpu")
    np.testing.assert_array_equal(forward(np.ones(3)), [2, 2, 2])
    factor.assign(5)
    np.testing.assert_array_equal(forward(np.ones(3)), [5, 5, 5])


def test_forward_accepts_read_only_arrays():
    forward = _keras.compile_forward(lambda numbers: numbers + 1, [], [((None,), "float32")], "cpu")
    numbers = np.ones(3, np.float32)
    numbers.flags.writeable = False
    np.testing.assert_array_equal(forward(numbers), [2, 2, 2])


# Training steps


def least_squares(**settings):
    """Return a step that minimizes the mean squared distance of two variables, the first weighted 10, from points."""
    first, second = variable([1.0, -2.0]), variable([[3.0]])
    ops = _keras.keras().ops

    def objective(points):
        loss = ops.mean((points[:, :2] - first) ** 2) * 10 + ops.mean((points[:, 2:] - second) ** 2)
        return loss, [loss, ops.sum(first)]

    with _keras.place("cpu"):
        step = _keras.compile_step(objective, [first, second], [], [((None, 3), "float32")], "cpu", **settings)
    return step, first, second


def test_step_returns_the_scalars_before_the_step():
    step, first, _ = least_squares()
    with _keras.place("cpu"):
        np.testing.assert_allclose(step(np.zeros((4, 3)), learning_rate=0.1), [10 * 2.5 + 9, -1])
    np.testing.assert_allclose(first.numpy(), [0.9, -1.9], atol=1e-5)


def test_steps_resumed_from_a_state_equal_uninterrupted_steps(random):
    points = random.randn(6, 5, 3)
    step, *variables = least_squares()
    with _keras.place("cpu"):
        for batch in points[:3]:
            step(batch, learning_rate=0.1)
        state, values = step.state(), [array.numpy() for array in variables]
        for batch in points[3:]:
            step(batch, learning_rate=0.1)
        expected = [array.numpy() for array in variables]
        assert state[0] == 3
        step, *variables = least_squares()
        step.restore(state)
        for array, value in zip(variables, values, strict=True):
            array.assign(value)
        for batch in points[3:]:
            step(batch, learning_rate=0.1)
        for array, value in zip(variables, expected, strict=True):
            np.testing.assert_array_equal(array.numpy(), value)
        step.restore(None)
        assert not any(array.any() for array in step.state())


def test_gradients_are_clipped_to_a_global_norm():
    steps = {clip: least_squares(clip_norm=clip)[0] for clip in (None, 1e6, 0.5)}
    norms = {}
    with _keras.place("cpu"):
        for clip, step in steps.items():
            step(np.zeros((4, 3)), learning_rate=0.1)
            _, *moments = step.state()
            norms[clip] = np.sqrt(sum((array**2).sum() for array in moments[::2])) / 0.1  # 0.1 * gradient
    assert norms[1e6] == norms[None] == pytest.approx(np.sqrt(10**2 + 20**2 + 6**2), rel=1e-5)
    assert norms[0.5] == pytest.approx(0.5, rel=1e-5)


def test_is_out_of_memory_is_false_for_other_errors():
    assert _keras.is_out_of_memory(MemoryError())
    assert not _keras.is_out_of_memory(ValueError("RESOURCE_EXHAUSTED"))
    assert not _keras.is_out_of_memory(RuntimeError("something else"))


@pytest.mark.skipif(BACKEND == "tensorflow", reason="TensorFlow retries for ten seconds")
def test_is_out_of_memory_recognizes_the_error_of_the_backend():
    def four_terabytes(numbers):
        return _keras.keras().ops.tile(numbers[:, None], (2**20, 2**20))

    forward = _keras.compile_forward(four_terabytes, [], [((None,), "float32")], "cpu")
    with pytest.raises(Exception) as caught:  # noqa: PT011 - each backend has its own error
        forward(np.ones(1))
    assert _keras.is_out_of_memory(caught.value)


@on_tensorflow
def test_is_out_of_memory_recognizes_the_error_of_tensorflow():
    import tensorflow as tf

    assert _keras.is_out_of_memory(tf.errors.ResourceExhaustedError(None, None, "failed to allocate memory"))


# Batches that do not fit in memory


class SmallDevice:
    """Double numbers of at most `n_rows` rows; record the batch sizes."""

    def __init__(self, n_rows, error=None):
        self.n_rows, self.error, self.sizes = n_rows, error or out_of_memory(), []

    def __call__(self, numbers, others):
        self.sizes.append(len(numbers))
        assert len(others) == len(numbers)
        if len(numbers) > self.n_rows:
            raise self.error
        return 2 * numbers


def out_of_memory():
    """Return an out-of-memory error of the backend."""
    if BACKEND != "tensorflow":
        return MemoryError("no memory")
    import tensorflow as tf

    return tf.errors.ResourceExhaustedError(None, None, "failed to allocate memory")


def pass_through(in_memory, device, n_rows):
    numbers = np.arange(n_rows)
    parts = list(in_memory(device, numbers, numbers))
    assert [n for n, _ in parts] == [len(rows) for _, rows in parts]
    np.testing.assert_array_equal(np.concatenate([rows for _, rows in parts]), 2 * numbers)


def test_batch_that_fits_is_not_split():
    device = SmallDevice(8)
    pass_through(_keras.InMemory(), device, 8)
    assert device.sizes == [8]


def test_batch_is_halved_until_it_fits_with_one_warning():
    device, in_memory = SmallDevice(5), _keras.InMemory()
    with pytest.warns(RuntimeWarning, match="enough memory for a batch of 33 images") as warned:
        pass_through(in_memory, device, 33)
    assert len(warned) == 1
    assert device.sizes == [33, 16, 8, *[4] * 8, 1]
    device.sizes.clear()
    pass_through(in_memory, device, 10)
    assert device.sizes == [4, 4, 2]


def test_batch_is_halved_again_without_a_second_warning():
    device, in_memory = SmallDevice(8), _keras.InMemory()
    with pytest.warns(RuntimeWarning, match="enough memory"):
        pass_through(in_memory, device, 16)
    device.n_rows = 3
    pass_through(in_memory, device, 16)
    assert device.sizes[-8:] == [2] * 8


def test_single_row_that_does_not_fit_raises():
    device = SmallDevice(0)
    with pytest.warns(RuntimeWarning, match="enough memory"), pytest.raises(type(device.error)) as caught:
        pass_through(_keras.InMemory(), device, 5)
    assert caught.value is device.error
    assert device.sizes == [5, 2, 1]


def test_other_errors_are_raised_immediately():
    device = SmallDevice(2, ValueError("failed to allocate memory"))
    with pytest.raises(ValueError, match="failed to allocate"):
        pass_through(_keras.InMemory(), device, 8)
    assert device.sizes == [8]


def test_compiled_forward_splits_batches_that_do_not_fit(monkeypatch):
    """The forward pass of the backend is limited to two rows."""
    backend = framework()
    compile_forward, sizes = backend.compile_forward, []

    def compile_small(*arguments):
        run = compile_forward(*arguments)

        def small(numbers):
            sizes.append(len(numbers))
            if len(numbers) > 2:
                raise out_of_memory()
            return run(numbers)

        return small

    monkeypatch.setattr(backend, "compile_forward", compile_small)
    forward = _keras.compile_forward(lambda numbers: numbers + 1, [], [((None,), "float32")], "cpu")
    with pytest.warns(RuntimeWarning, match="a batch of 5 images"):
        np.testing.assert_array_equal(forward(np.arange(5, dtype=np.float32)), np.arange(1, 6))
    np.testing.assert_array_equal(forward(np.arange(3, dtype=np.float32)), np.arange(1, 4))
    assert sizes == [5, 2, 2, 1, 2, 1]
