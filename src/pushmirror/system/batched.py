"""`itertools.batched` of Python 3.12, for as long as 3.11 is the oldest that we run with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

_T = TypeVar("_T")


def batched(things: Iterable[_T], number: int) -> Iterator[tuple[_T, ...]]:
    """The things in tuples of at most so many."""
    waiting = iter(things)
    while batch := tuple(islice(waiting, number)):
        yield batch
