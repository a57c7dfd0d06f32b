import threading

import pytest

from skpneumo._keras.model_pool import Pool


class Network:
    def __init__(self, shape):
        self.shape = shape


@pytest.fixture
def pool():
    return Pool(Network, max_idle=2)


def lend(pool, shape):
    with pool.borrow(shape) as network:
        return network


def test_a_network_that_was_given_back_is_lent_again_for_the_same_shape_alone(pool):
    first = lend(pool, "a")
    assert first.shape == "a"
    assert lend(pool, "a") is first
    assert lend(pool, "b") is not first
    assert lend(pool, "a") is first


def test_nobody_shares_a_network_at_the_same_time(pool):
    with pool.borrow("a") as one, pool.borrow("a") as two:
        assert one is not two
    assert {lend(pool, "a")} <= {one, two}


def test_threads_never_hold_the_same_network(pool):
    held, doubly, barrier = set(), [], threading.Barrier(4)

    def work():
        barrier.wait()
        for _ in range(200):
            with pool.borrow("a") as network:
                if network in held:
                    doubly.append(network)
                held.add(network)
                held.discard(network)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not doubly


def test_after_an_error_a_network_is_not_lent_again(pool):
    lent = []

    def fail():
        with pool.borrow("a") as network:
            lent.append(network)
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert lend(pool, "a") not in lent


def test_the_shapes_that_were_used_last_are_kept(pool):
    a, b = lend(pool, "a"), lend(pool, "b")
    assert lend(pool, "a") is a
    lend(pool, "c")  # instead of b, which has waited longest
    assert lend(pool, "a") is a
    assert lend(pool, "b") is not b


def test_networks_that_are_lent_or_lost_are_in_nobodys_way(pool):
    for shape in "abc":
        with pytest.raises(LookupError), pool.borrow(shape):
            raise LookupError
    lend(pool, "a")
    with pool.borrow("a"):
        kept = [lend(pool, shape) for shape in "bcd"]
    assert lend(pool, "d") is kept[2]


def test_no_more_are_kept_than_asked_for(pool):
    with pool.borrow("a") as a, pool.borrow("a") as b, pool.borrow("a") as c:
        pass
    with pool.borrow("a") as one, pool.borrow("a") as two, pool.borrow("a") as new:
        assert {one, two} < {a, b, c}
        assert new not in {a, b, c}
