import multiprocessing

import pytest

from pushmirror.errors import Stopped
from pushmirror.verify.throttle import BURST_S, Throttle, reserve


@pytest.mark.parametrize(
    ("paid_until", "size", "expected"),
    [
        (0.0, 100, (100 - BURST_S + 1, 0.0)),  # idle for long: the bucket is full, and no fuller
        (100.0, 100, (101.0, 0.0)),  # just empty: what comes next pays
        (103.0, 50, (103.5, 3.0)),  # others have taken what flows in for three seconds
        (100.0, 0, (100.0, 0.0)),
    ],
)
def test_a_bucket_tells_when_its_bytes_have_flown_in(paid_until, size, expected):
    assert reserve(paid_until, 100.0, size=size, rate=100) == pytest.approx(expected)


def test_many_small_takes_cost_what_one_large_one_does():
    paid_until = 100.0
    for _ in range(1000):
        paid_until, wait_s = reserve(paid_until, 100.0, size=10, rate=100)
    assert (paid_until, wait_s) == (pytest.approx(200.0), pytest.approx(99.9))


def test_readers_share_one_bucket():
    paid_until, stop = multiprocessing.Value("d", 50.0), multiprocessing.Value("b", 0)
    read = multiprocessing.Value("q", 0)
    one, other = (Throttle(paid_until, stop, read, 1000, clock=lambda: 100.0) for _ in range(2))
    one.wait_for(200)
    other.wait_for(200)
    assert paid_until.value == pytest.approx(100.0 - BURST_S + 0.4)
    assert read.value == 400


@pytest.mark.parametrize("rate", [0, 1])
def test_a_reader_that_is_to_stop_does_so_also_while_it_waits(rate):
    paid_until, stop = multiprocessing.Value("d", 1e9), multiprocessing.Value("b", 1)
    with pytest.raises(Stopped):
        Throttle(paid_until, stop, multiprocessing.Value("q", 0), rate).wait_for(10)
