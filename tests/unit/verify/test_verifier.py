from concurrent.futures import Future
from multiprocessing import Value

import pytest

from pushmirror.verify.reader import Piece, Seen
from pushmirror.verify.verifier import _ProgressRelay


class Listener:
    """A progress."""

    def __init__(self):
        self.files = self.size = 0

    def step(self, name, *, files=None, size=None):
        pass

    def advance(self, *, files=0, size=0):
        self.files += files
        self.size += size


def _done(seen):
    future = Future()
    future.set_result(seen)
    return future


@pytest.fixture
def listener():
    return Listener()


def test_a_progress_hears_of_bytes_in_the_middle_of_a_file(listener):
    read = Value("q", 0)
    heard = _ProgressRelay(listener, read)
    read.value = 40
    heard.tell()
    heard.tell()
    assert (listener.files, listener.size) == (0, 40)
    read.value = 100
    heard.done(Piece(0, 1, 1, 100, b""), _done(Seen(files=1, size=100)))
    heard.tell()
    assert (listener.files, listener.size) == (1, 100)


def test_what_is_missing_in_a_piece_counts_as_done(listener):
    read = Value("q", 30)
    heard = _ProgressRelay(listener, read)
    heard.done(Piece(0, 1, 2, 100, b""), _done(Seen(files=1, size=30)))
    heard.tell()
    assert (listener.files, listener.size) == (2, 100)


@pytest.mark.parametrize("end", ["stopped", "failed", "cancelled"])
def test_a_piece_that_was_not_read_to_its_end_is_not_done(listener, end):
    future = _done(None) if end == "stopped" else Future()
    if end == "failed":
        future.set_exception(OSError())
    if end == "cancelled":
        future.cancel()
    heard = _ProgressRelay(listener, Value("q", 0))
    heard.done(Piece(0, 1, 2, 100, b""), future)
    heard.tell()
    assert (listener.files, listener.size) == (0, 0)
