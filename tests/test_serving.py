"""Dynamic batching: batches, errors, limits, threads and cleanup."""

import asyncio
import contextlib
import gc
import io
import os
import pickle
import queue
import subprocess
import sys
import threading
import weakref
from collections import deque
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from conftest import QUICK
from skpneumo import PneumoniaClassifier
from skpneumo.exceptions import ImageReadError
from skpneumo.serving import DynamicBatcher

LONG = 60  # timeout in seconds; no test takes this long unless it hangs


def lengths(images):
    return np.array([[len(image)] for image in images])


class Gate:
    """Function that records its batches and blocks until it is released."""

    def __init__(self, function=lengths):
        self.function = function
        self.batches = []
        self.started = threading.Semaphore(0)
        self.let_through = threading.Semaphore(0)

    def __call__(self, images):
        self.batches.append(images)
        self.started.release()
        assert self.let_through.acquire(timeout=LONG)
        return self.function(images)


def unreadable(images):
    """Fail for images that begin with "bad"."""
    failures = [(i, image, "is bad") for i, image in enumerate(images) if image.startswith("bad")]
    if failures:
        raise ImageReadError(failures)
    return lengths(images)


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def batcher(gate):
    """Return a batcher that computes one call, so that further calls wait."""
    with DynamicBatcher(gate, max_batch_size=4, max_delay=0, max_queue=6) as batcher:
        first = batcher.submit(["first"])
        assert gate.started.acquire(timeout=LONG)
        yield batcher
        gate.let_through.release(1_000)
        assert first.result(LONG).tolist() == [[5]]


def results(gate, futures):
    gate.let_through.release(1_000)
    return [future.result(LONG).tolist() for future in futures]


def test_calls_during_a_batch_form_the_next_batch(gate, batcher):
    futures = [batcher.submit(images) for images in (["a"], ["bb", "ccc"], ["dddd"])]
    assert results(gate, futures) == [[[1]], [[2], [3]], [[4]]]
    assert gate.batches == [["first"], ["a", "bb", "ccc", "dddd"]]


def test_batches_respect_max_batch_size_and_the_order_of_calls(gate, batcher):
    futures = [batcher.submit(images) for images in (["a"] * 3, ["b"] * 2, ["c"])]
    results(gate, futures)
    assert gate.batches[1:] == [["a"] * 3, ["b", "b", "c"]]


def test_call_above_max_batch_size_forms_its_own_batch():
    gate = Gate()
    gate.let_through.release()
    with DynamicBatcher(gate, max_batch_size=2) as batcher:
        assert batcher(["a", "bb", "ccc"]).tolist() == [[1], [2], [3]]
    assert gate.batches == [["a", "bb", "ccc"]]


def test_each_thread_gets_its_own_rows():
    n_threads, n_calls, wrong = 8, 25, []
    together = threading.Barrier(n_threads)

    def call(number):
        together.wait(LONG)
        for i in range(n_calls):
            images = [f"{number:03d} {j}" for j in range(1 + i % 3)]
            if batcher(images).tolist() != [[number, j] for j in range(len(images))]:
                wrong.append(images)

    with DynamicBatcher(lambda images: np.array([list(map(int, image.split())) for image in images])) as batcher:
        threads = [threading.Thread(target=call, args=[number]) for number in range(n_threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
    assert not wrong


def test_rows_are_copies(gate, batcher):
    futures = [batcher.submit(["a"]), batcher.submit(["b"])]
    results(gate, futures)
    assert [future.result().base for future in futures] == [None, None]


def test_idle_batcher_waits_for_as_many_calls_as_in_the_last_batch(gate):
    with DynamicBatcher(gate, max_delay=LONG) as batcher:
        first = batcher.submit(["first"])  # starts at once, or the test would take a minute
        assert gate.started.acquire(timeout=LONG)
        second = [batcher.submit(["a"]), batcher.submit(["b"])]
        gate.let_through.release(2)
        [future.result(LONG) for future in (first, *second)]
        third = [batcher.submit(["c"]), batcher.submit(["d"])]
        results(gate, third)
    assert gate.batches == [["first"], ["a", "b"], ["c", "d"]]


def test_idle_batcher_continues_after_max_delay(gate):
    with DynamicBatcher(gate, max_delay=1e-3) as batcher:
        first = batcher.submit(["first"])
        assert gate.started.acquire(timeout=LONG)
        results(gate, [first, batcher.submit(["a"]), batcher.submit(["b"])])
        assert batcher(["alone"]).tolist() == [[5]]


def test_unreadable_image_raises_only_in_its_own_call():
    gate = Gate(unreadable)
    with DynamicBatcher(gate, max_delay=0) as batcher:
        first = batcher.submit(["first"])
        assert gate.started.acquire(timeout=LONG)
        good, bad, also_good = batcher.submit(["a"]), batcher.submit(["b", "bad1", "bad2"]), batcher.submit(["cc"])
        assert results(gate, [first, good, also_good]) == [[[5]], [[1]], [[2]]]
        with pytest.raises(ImageReadError) as caught:
            bad.result(LONG)
    assert caught.value.failures == [(1, "bad1", "is bad"), (2, "bad2", "is bad")]
    assert gate.batches[1:] == [["a", "b", "bad1", "bad2", "cc"], ["a", "cc"]]


@pytest.mark.parametrize("error", [ValueError("mixed"), MemoryError(), SystemExit(1)])
def test_calls_of_a_failed_batch_are_repeated_alone(error):
    def alone(images):
        if len(images) > 1:
            raise error
        return lengths(images)

    gate = Gate(alone)
    with DynamicBatcher(gate, max_delay=0) as batcher:
        first = batcher.submit(["first"])
        assert gate.started.acquire(timeout=LONG)
        assert results(gate, [first, batcher.submit(["a"]), batcher.submit(["bb"])]) == [[[5]], [[1]], [[2]]]
    assert gate.batches[1:] == [["a", "bb"], ["a"], ["bb"]]


def test_other_errors_raise_only_in_their_own_call(gate, batcher):
    good, bad, also_bad = batcher.submit(["a"]), batcher.submit([None]), batcher.submit([1.5])
    assert results(gate, [good]) == [[[1]]]
    with pytest.raises(TypeError, match="NoneType"):
        bad.result(LONG)
    with pytest.raises(TypeError, match="float"):
        also_bad.result(LONG)


def test_nested_lists_and_paths_in_one_batch_are_both_computed(paths, y):
    clf = PneumoniaClassifier(**QUICK, memory=None).fit(paths, y)
    gate = Gate(clf.predict_proba)
    with DynamicBatcher(gate, max_delay=0) as batcher:
        first = batcher.submit(paths[:1])
        assert gate.started.acquire(timeout=LONG)
        futures = [batcher.submit(np.array(paths[:2], object).reshape(-1, 1).tolist()), batcher.submit(paths[2:4])]
        rows = results(gate, [first, *futures])
    np.testing.assert_allclose(np.concatenate(rows[1:]), clf.predict_proba(paths[:4]), atol=1e-4)


def test_call_in_the_thread_of_the_batcher_raises(gate):
    raised = queue.Queue()

    def call(_):
        try:
            batcher(["b"])
        except RuntimeError as error:
            raised.put(str(error))

    with DynamicBatcher(gate) as batcher:
        batcher.submit(["a"]).add_done_callback(call)
        gate.let_through.release(9)
        assert "own thread" in raised.get(timeout=LONG)
        assert batcher(["bb"]).tolist() == [[2]]


def test_unreadable_image_outside_the_batch_raises_in_all_calls():
    def broken(images):
        raise ImageReadError([(len(images), "elsewhere", "no such file")])

    with DynamicBatcher(broken) as batcher, pytest.raises(ImageReadError, match="elsewhere"):
        batcher(["a"])


@pytest.mark.parametrize("rows", [np.zeros((3, 1)), np.float64(1), []])
def test_batcher_raises_on_wrong_number_of_rows(rows):
    with DynamicBatcher(lambda images: rows) as batcher, pytest.raises(ValueError, match="one row per image: expected"):
        batcher(["a", "b"])


def test_batcher_works_after_an_error():
    with DynamicBatcher(unreadable) as batcher:
        for _ in range(2):
            with pytest.raises(ImageReadError):
                batcher(["bad"])
            assert batcher(["good"]).tolist() == [[4]]


def test_full_queue_raises_until_it_is_empty(gate, batcher):
    waiting = [batcher.submit(["a"] * 4), batcher.submit(["b"] * 2)]
    with pytest.raises(queue.Full, match="holds 6 images, and 1 more would exceed max_queue=6"):
        batcher.submit(["c"])
    results(gate, waiting)
    assert batcher(["c"]).tolist() == [[1]]


def test_empty_queue_accepts_any_call(gate, batcher):
    assert results(gate, [batcher.submit(["a"] * 7)]) == [[[1]] * 7]


def test_cancelled_call_is_skipped(gate, batcher):
    cancelled, kept = batcher.submit(["a"]), batcher.submit(["b"])
    assert cancelled.cancel()
    results(gate, [kept])
    assert gate.batches == [["first"], ["b"]]


def test_coroutines_share_a_batch(gate, batcher):
    async def predict(images):
        return await asyncio.wrap_future(batcher.submit(images))

    async def both():
        gathered = asyncio.gather(predict(["a"]), predict(["bb"]))
        await asyncio.sleep(0)  # both calls are submitted now
        gate.let_through.release(2)
        return await asyncio.wait_for(gathered, LONG)

    assert [rows.tolist() for rows in asyncio.run(both())] == [[[1]], [[2]]]
    assert gate.batches == [["first"], ["a", "bb"]]


def test_close_waits_for_pending_calls_and_rejects_new_ones(gate):
    batcher = DynamicBatcher(gate)
    futures = [batcher.submit(["a"])]
    assert gate.started.acquire(timeout=LONG)
    futures.append(batcher.submit(["b"]))
    closing = threading.Thread(target=batcher.close)
    closing.start()
    assert results(gate, futures) == [[[1]], [[1]]]
    closing.join(LONG)
    batcher.close()  # again
    with pytest.raises(RuntimeError, match="closed"):
        batcher(["c"])


def test_thread_starts_with_the_first_call_and_ends_with_close():
    before = set(threading.enumerate())
    with DynamicBatcher(lengths) as batcher:
        assert set(threading.enumerate()) == before
        batcher(["a"])
        assert len(set(threading.enumerate()) - before) == 1
    assert set(threading.enumerate()) == before


def test_deleted_batcher_ends_its_thread():
    before = set(threading.enumerate())
    batcher = DynamicBatcher(lengths)
    batcher(["a"])
    gone = weakref.ref(batcher)
    (thread,) = set(threading.enumerate()) - before
    del batcher
    gc.collect()
    thread.join(LONG)
    assert gone() is None
    assert not thread.is_alive()


def test_error_does_not_keep_images_in_memory():
    class ImageStr(str):
        __slots__ = ("__weakref__",)

    image = ImageStr("bad")
    gone = weakref.ref(image)
    gc.disable()
    try:
        with DynamicBatcher(unreadable) as batcher:
            with contextlib.suppress(ImageReadError):
                batcher([image])
            del image
        assert gone() is None
    finally:
        gc.enable()


def test_python_exits_after_pending_calls_without_close():
    code = """
from skpneumo.serving import DynamicBatcher
DynamicBatcher(lambda images: print("answered") or [0]).submit(["a"])
batcher = DynamicBatcher(lambda images: [0])
batcher(["a"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LONG, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("answered\n", "", 0)


def test_pickled_copy_has_its_own_thread():
    with DynamicBatcher(lengths, max_batch_size=3, max_delay=0.5, max_queue=7) as batcher:
        batcher(["a"])
        data = pickle.dumps(batcher)
    with pickle.loads(data) as twin:
        assert (twin.max_batch_size, twin.max_delay, twin.max_queue) == (3, 0.5, 7)
        assert twin(["bb"]).tolist() == [[2]]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_call_in_a_process_forked_after_the_first_call_raises():
    code = """
import os
from skpneumo.serving import DynamicBatcher
used, unused = DynamicBatcher(lambda images: [0]), DynamicBatcher(lambda images: [0])
used(["a"])
if os.fork() == 0:
    print(unused(["a"]))
    try:
        used(["a"])
    except RuntimeError as error:
        print(error, flush=True)
    os._exit(0)
os.wait()
print(used(["a"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LONG, check=False)
    assert done.stdout.splitlines() == [
        "[0]",
        "This batcher was used before the process was forked: create one in each process.",
        "[0]",
    ]


@pytest.mark.parametrize(
    "parameters",
    [
        {"function": None},
        {"function": "predict_proba"},
        {"max_batch_size": 0},
        {"max_batch_size": 2.5},
        {"max_batch_size": True},
        {"max_queue": 0},
        {"max_delay": -1},
        {"max_delay": float("nan")},
        {"max_delay": None},
        {"max_delay": "1"},
    ],
)
def test_batcher_raises_on_invalid_parameters(parameters):
    (name,) = parameters
    with pytest.raises(ValueError, match=f"^{name} must be"):
        DynamicBatcher(**{"function": lengths} | parameters)


@pytest.mark.parametrize("images", ["a.png", b"bytes", memoryview(b"bytes"), Path("a.png")])
def test_submit_raises_on_a_single_image(images):
    with DynamicBatcher(lengths) as batcher, pytest.raises(ValueError, match=r"pass \[image\]"):
        batcher(images)


@pytest.mark.parametrize(
    "images",
    [
        pd.DataFrame({"path": ["a.png"]}),
        io.BytesIO(b"one line\nanother"),
        Image.new("L", (8, 8)),
        np.zeros((8, 8), np.uint8),
        np.array("a.png"),
        {"a.png": 1},
        {"a.png"},
        None,
    ],
    ids=lambda images: type(images).__name__,
)
def test_submit_raises_on_anything_but_a_one_dimensional_sequence(images):
    with DynamicBatcher(lengths) as batcher, pytest.raises(ValueError, match="Pass a list of"):
        batcher(images)


@pytest.mark.parametrize("kind", [list, tuple, deque, np.array, pd.Series])
def test_submit_accepts_one_dimensional_sequences(kind):
    with DynamicBatcher(lengths) as batcher:
        assert batcher(kind(["a", "bb"])).tolist() == [[1], [2]]


@pytest.mark.parametrize("images", [[], np.array([])])
def test_submit_raises_on_empty_list(images):
    with DynamicBatcher(lengths) as batcher, pytest.raises(ValueError, match="at least one"):
        batcher(images)


def test_probabilities_equal_those_of_a_single_call(paths, y, tmp_path):
    clf = PneumoniaClassifier(**QUICK, memory=None).fit(paths, y)
    not_an_image = tmp_path / "not_an_image.png"
    not_an_image.write_bytes(b"<html>")
    with DynamicBatcher(clf.predict_proba) as batcher:
        futures = [batcher.submit([path]) for path in paths[:6]]
        wrong = batcher.submit([paths[0], not_an_image])
        rows = np.concatenate([future.result(LONG) for future in futures])
        with pytest.raises(ImageReadError, match=r"X\[1\] .*not_an_image.png"):
            wrong.result(LONG)
    np.testing.assert_allclose(rows, clf.predict_proba(paths[:6]), atol=1e-4)
