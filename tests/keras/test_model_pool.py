import threading

import pytest

from skpneumo._keras.model_pool import Pool


class Network:
    def __init__(self, shape):
        self.shape = shape


@pytest.fixture
def pool():
    return Pool(Network, max_idle=2)


def use(pool, shape):
    with pool.borrow(shape) as network:
        return network


def test_returned_network_is_reused_for_the_same_shape_only(pool):
    first = use(pool, "a")
    assert first.shape == "a"
    assert use(pool, "a") is first
    assert use(pool, "b") is not first
    assert use(pool, "a") is first


def test_borrowed_networks_are_exclusive(pool):
    with pool.borrow("a") as one, pool.borrow("a") as two:
        assert one is not two
    assert {use(pool, "a")} <= {one, two}


def test_threads_never_borrow_the_same_network(pool):
    borrowed, shared, barrier = set(), [], threading.Barrier(4)

    def work():
        barrier.wait()
        for _ in range(200):
            with pool.borrow("a") as network:
                if network in borrowed:
                    shared.append(network)
                borrowed.add(network)
                borrowed.discard(network)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not shared


def test_network_is_not_reused_after_an_error(pool):
    failed = []

    def fail():
        with pool.borrow("a") as network:
            failed.append(network)
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert use(pool, "a") not in failed


def test_most_recently_used_shapes_are_kept(pool):
    a, b = use(pool, "a"), use(pool, "b")
    assert use(pool, "a") is a
    use(pool, "c")  # replaces b, the least recently used one
    assert use(pool, "a") is a
    assert use(pool, "b") is not b


def test_borrowed_or_lost_networks_do_not_count_as_idle(pool):
    for shape in "abc":
        with pytest.raises(LookupError), pool.borrow(shape):
            raise LookupError
    use(pool, "a")
    with pool.borrow("a"):
        kept = [use(pool, shape) for shape in "bcd"]
    assert use(pool, "d") is kept[2]


def test_at_most_max_idle_networks_are_kept(pool):
    with pool.borrow("a") as a, pool.borrow("a") as b, pool.borrow("a") as c:
        pass
    with pool.borrow("a") as one, pool.borrow("a") as two, pool.borrow("a") as new:
        assert {one, two} < {a, b, c}
        assert new not in {a, b, c}
