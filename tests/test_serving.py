"""Concurrent calls in batches: who gets what, who waits for whom, and what is left behind."""

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

from conftest import TINY
from skpneumo import PneumoniaClassifier
from skpneumo.exceptions import ImageReadError
from skpneumo.serving import DynamicBatcher

LONG = 60  # seconds that no test lasts: what waits so long hangs


def lengths(images):
    return np.array([[len(image)] for image in images])


class Gate:
    """A function whose calls wait until they are let through, and which notes what they brought."""

    def __init__(self, function=lengths):
        self.function = function
        self.batches = []
        self.begun = threading.Semaphore(0)
        self.let = threading.Semaphore(0)

    def __call__(self, images):
        self.batches.append(images)
        self.begun.release()
        assert self.let.acquire(timeout=LONG)
        return self.function(images)


def unreadable(images):
    """Read all but what begins with "bad"."""
    failures = [(i, image, "is bad") for i, image in enumerate(images) if image.startswith("bad")]
    if failures:
        raise ImageReadError(failures)
    return lengths(images)


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def batcher(gate):
    """A batcher that is at work on one call; what is asked meanwhile waits."""
    with DynamicBatcher(gate, max_batch_size=4, max_delay=0, max_queue=6) as batcher:
        first = batcher.submit(["first"])
        assert gate.begun.acquire(timeout=LONG)
        yield batcher
        gate.let.release(1_000)
        assert first.result(LONG).tolist() == [[5]]


def results(gate, futures):
    gate.let.release(1_000)
    return [future.result(LONG).tolist() for future in futures]


def test_calls_that_come_while_a_batch_is_computed_make_the_next_one(gate, batcher):
    futures = [batcher.submit(images) for images in (["a"], ["bb", "ccc"], ["dddd"])]
    assert results(gate, futures) == [[[1]], [[2], [3]], [[4]]]
    assert gate.batches == [["first"], ["a", "bb", "ccc", "dddd"]]


def test_a_batch_holds_no_more_than_its_size_and_calls_keep_their_order(gate, batcher):
    futures = [batcher.submit(images) for images in (["a"] * 3, ["b"] * 2, ["c"])]
    results(gate, futures)
    assert gate.batches[1:] == [["a"] * 3, ["b", "b", "c"]]


def test_a_call_above_the_size_makes_a_batch_of_its_own():
    gate = Gate()
    gate.let.release()
    with DynamicBatcher(gate, max_batch_size=2) as batcher:
        assert batcher(["a", "bb", "ccc"]).tolist() == [[1], [2], [3]]
    assert gate.batches == [["a", "bb", "ccc"]]


def test_many_threads_get_their_own_rows():
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


def test_rows_do_not_keep_those_of_others_alive(gate, batcher):
    futures = [batcher.submit(["a"]), batcher.submit(["b"])]
    results(gate, futures)
    assert [future.result().base for future in futures] == [None, None]


def test_an_idle_batcher_waits_for_as_many_calls_as_the_last_batch_held(gate):
    with DynamicBatcher(gate, max_delay=LONG) as batcher:
        first = batcher.submit(["first"])  # starts at once, or the test would take a minute
        assert gate.begun.acquire(timeout=LONG)
        second = [batcher.submit(["a"]), batcher.submit(["b"])]
        gate.let.release(2)
        [future.result(LONG) for future in (first, *second)]
        third = [batcher.submit(["c"]), batcher.submit(["d"])]
        results(gate, third)
    assert gate.batches == [["first"], ["a", "b"], ["c", "d"]]


def test_an_idle_batcher_that_waits_in_vain_goes_on_after_the_delay(gate):
    with DynamicBatcher(gate, max_delay=1e-3) as batcher:
        first = batcher.submit(["first"])
        assert gate.begun.acquire(timeout=LONG)
        results(gate, [first, batcher.submit(["a"]), batcher.submit(["b"])])
        assert batcher(["alone"]).tolist() == [[5]]


def test_an_unreadable_image_is_told_to_its_caller_alone_by_its_position():
    gate = Gate(unreadable)
    with DynamicBatcher(gate, max_delay=0) as batcher:
        first = batcher.submit(["first"])
        assert gate.begun.acquire(timeout=LONG)
        good, bad, also_good = batcher.submit(["a"]), batcher.submit(["b", "bad1", "bad2"]), batcher.submit(["cc"])
        assert results(gate, [first, good, also_good]) == [[[5]], [[1]], [[2]]]
        with pytest.raises(ImageReadError) as caught:
            bad.result(LONG)
    assert caught.value.failures == [(1, "bad1", "is bad"), (2, "bad2", "is bad")]
    assert gate.batches[1:] == [["a", "b", "bad1", "bad2", "cc"], ["a", "cc"]]


@pytest.mark.parametrize("error", [ValueError("mixed"), MemoryError(), SystemExit(1)])
def test_calls_that_fail_together_alone_are_answered(error):
    def alone(images):
        if len(images) > 1:
            raise error
        return lengths(images)

    gate = Gate(alone)
    with DynamicBatcher(gate, max_delay=0) as batcher:
        first = batcher.submit(["first"])
        assert gate.begun.acquire(timeout=LONG)
        assert results(gate, [first, batcher.submit(["a"]), batcher.submit(["bb"])]) == [[[5]], [[1]], [[2]]]
    assert gate.batches[1:] == [["a", "bb"], ["a"], ["bb"]]


def test_any_other_error_too_reaches_its_own_caller_alone(gate, batcher):
    good, bad, also_bad = batcher.submit(["a"]), batcher.submit([None]), batcher.submit([1.5])
    assert results(gate, [good]) == [[[1]]]
    with pytest.raises(TypeError, match="NoneType"):
        bad.result(LONG)
    with pytest.raises(TypeError, match="float"):
        also_bad.result(LONG)


def test_an_array_of_two_axes_and_paths_of_others_are_both_answered(paths, y):
    clf = PneumoniaClassifier(**TINY, memory=None).fit(paths, y)
    gate = Gate(clf.predict_proba)
    with DynamicBatcher(gate, max_delay=0) as batcher:
        first = batcher.submit(paths[:1])
        assert gate.begun.acquire(timeout=LONG)
        futures = [batcher.submit(np.array(paths[:2], object).reshape(-1, 1).tolist()), batcher.submit(paths[2:4])]
        rows = results(gate, [first, *futures])
    np.testing.assert_allclose(np.concatenate(rows[1:]), clf.predict_proba(paths[:4]), atol=1e-4)


def test_a_call_in_the_thread_of_the_batcher_is_an_error_not_a_deadlock(gate):
    raised = queue.Queue()

    def call(_):
        try:
            batcher(["b"])
        except RuntimeError as error:
            raised.put(str(error))

    with DynamicBatcher(gate) as batcher:
        batcher.submit(["a"]).add_done_callback(call)
        gate.let.release(9)
        assert "own thread" in raised.get(timeout=LONG)
        assert batcher(["bb"]).tolist() == [[2]]


def test_unreadable_images_that_are_nobodys_are_an_error_of_all():
    def broken(images):
        raise ImageReadError([(len(images), "elsewhere", "no such file")])

    with DynamicBatcher(broken) as batcher, pytest.raises(ImageReadError, match="elsewhere"):
        batcher(["a"])


@pytest.mark.parametrize("rows", [np.zeros((3, 1)), np.float64(1), []])
def test_a_function_without_a_row_for_each_image_is_refused(rows):
    with DynamicBatcher(lambda images: rows) as batcher, pytest.raises(ValueError, match="a row an image: 2, but"):
        batcher(["a", "b"])


def test_the_batcher_goes_on_after_an_error():
    with DynamicBatcher(unreadable) as batcher:
        for _ in range(2):
            with pytest.raises(ImageReadError):
                batcher(["bad"])
            assert batcher(["good"]).tolist() == [[4]]


def test_a_full_queue_refuses_calls_and_takes_them_again_when_it_has_emptied(gate, batcher):
    waiting = [batcher.submit(["a"] * 4), batcher.submit(["b"] * 2)]
    with pytest.raises(queue.Full, match="6 images wait already, and 1 more would be above max_queue=6"):
        batcher.submit(["c"])
    results(gate, waiting)
    assert batcher(["c"]).tolist() == [[1]]


def test_an_empty_queue_takes_any_call(gate, batcher):
    assert results(gate, [batcher.submit(["a"] * 7)]) == [[[1]] * 7]


def test_a_call_that_is_cancelled_in_time_is_left_out(gate, batcher):
    cancelled, kept = batcher.submit(["a"]), batcher.submit(["b"])
    assert cancelled.cancel()
    results(gate, [kept])
    assert gate.batches == [["first"], ["b"]]


def test_coroutines_share_a_batch(gate, batcher):
    async def ask(images):
        return await asyncio.wrap_future(batcher.submit(images))

    async def both():
        asked = asyncio.gather(ask(["a"]), ask(["bb"]))
        await asyncio.sleep(0)  # both have asked now
        gate.let.release(2)
        return await asyncio.wait_for(asked, LONG)

    assert [rows.tolist() for rows in asyncio.run(both())] == [[[1]], [[2]]]
    assert gate.batches == [["first"], ["a", "bb"]]


def test_closing_waits_for_what_was_asked_and_refuses_the_rest(gate):
    batcher = DynamicBatcher(gate)
    futures = [batcher.submit(["a"])]
    assert gate.begun.acquire(timeout=LONG)
    futures.append(batcher.submit(["b"]))
    closing = threading.Thread(target=batcher.close)
    closing.start()
    assert results(gate, futures) == [[[1]], [[1]]]
    closing.join(LONG)
    batcher.close()  # again
    with pytest.raises(RuntimeError, match="closed"):
        batcher(["c"])


def test_no_thread_is_started_before_the_first_call_and_none_is_left_after_the_last():
    before = set(threading.enumerate())
    with DynamicBatcher(lengths) as batcher:
        assert set(threading.enumerate()) == before
        batcher(["a"])
        assert len(set(threading.enumerate()) - before) == 1
    assert set(threading.enumerate()) == before


def test_a_batcher_that_nobody_has_any_more_ends_its_thread():
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


def test_an_error_keeps_no_images_alive():
    class Film(str):
        __slots__ = ("__weakref__",)

    film = Film("bad")
    gone = weakref.ref(film)
    gc.disable()
    try:
        with DynamicBatcher(unreadable) as batcher:
            with contextlib.suppress(ImageReadError):
                batcher([film])
            del film
        assert gone() is None
    finally:
        gc.enable()


def test_python_ends_after_calls_were_answered_where_nobody_closes():
    code = """
from skpneumo.serving import DynamicBatcher
DynamicBatcher(lambda images: print("answered") or [0]).submit(["a"])
batcher = DynamicBatcher(lambda images: [0])
batcher(["a"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LONG, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("answered\n", "", 0)


def test_a_pickled_copy_starts_anew():
    with DynamicBatcher(lengths, max_batch_size=3, max_delay=0.5, max_queue=7) as batcher:
        batcher(["a"])
        data = pickle.dumps(batcher)
    with pickle.loads(data) as twin:
        assert (twin.max_batch_size, twin.max_delay, twin.max_queue) == (3, 0.5, 7)
        assert twin(["bb"]).tolist() == [[2]]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_that_is_forked_after_the_first_call_is_told():
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
        "This batcher was used before this process was forked: make one in each process.",
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
def test_impossible_parameters_are_named(parameters):
    (name,) = parameters
    with pytest.raises(ValueError, match=f"^{name} must be"):
        DynamicBatcher(**{"function": lengths} | parameters)


@pytest.mark.parametrize("images", ["a.png", b"bytes", memoryview(b"bytes"), Path("a.png")])
def test_one_image_that_is_in_no_list_is_refused(images):
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
def test_what_is_no_sequence_of_one_axis_is_refused(images):
    with DynamicBatcher(lengths) as batcher, pytest.raises(ValueError, match="pass a list of images"):
        batcher(images)


@pytest.mark.parametrize("kind", [list, tuple, deque, np.array, pd.Series])
def test_sequences_of_one_axis_are_taken(kind):
    with DynamicBatcher(lengths) as batcher:
        assert batcher(kind(["a", "bb"])).tolist() == [[1], [2]]


@pytest.mark.parametrize("images", [[], np.array([])])
def test_no_image_at_all_is_refused(images):
    with DynamicBatcher(lengths) as batcher, pytest.raises(ValueError, match="at least one"):
        batcher(images)


def test_probabilities_are_those_of_one_call(paths, y, tmp_path):
    clf = PneumoniaClassifier(**TINY, memory=None).fit(paths, y)
    no_film = tmp_path / "no_film.png"
    no_film.write_bytes(b"<html>")
    with DynamicBatcher(clf.predict_proba) as batcher:
        futures = [batcher.submit([path]) for path in paths[:6]]
        wrong = batcher.submit([paths[0], no_film])
        rows = np.concatenate([future.result(LONG) for future in futures])
        with pytest.raises(ImageReadError, match=r"X\[1\] .*no_film.png"):
            wrong.result(LONG)
    np.testing.assert_allclose(rows, clf.predict_proba(paths[:6]), atol=1e-4)
