"""Entries that wait on the disk instead of in memory."""

import pytest

from pushmirror.archive.paths import Entry, Kind
from pushmirror.inventory import spool
from pushmirror.inventory.spool import EntrySpool

NAMES = ["pool/a", "pool/umlaut \u00fc", "pool/not utf-8 \udcff", "dists/x"]


def entry(path: str, size: int = 7) -> Entry:
    return Entry(path, Kind.FILE, size, 1000, "", "ab" * 32)


def spooled(count: int) -> EntrySpool:
    found = EntrySpool()
    for number in range(count):
        found.append(entry(f"pool/{number}"))
    return found


def test_what_was_appended_comes_back_as_it_was() -> None:
    spool = EntrySpool()
    for name in NAMES:
        spool.append(entry(name))
    assert list(spool) == list(spool) == [entry(name) for name in NAMES]


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 100])
def test_entries_keep_their_order_whatever_is_in_memory(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "_BLOCK", 4)
    monkeypatch.setattr(spool, "_IN_MEMORY", 10)
    found = spooled(count)
    assert [entry.path for entry in found] == [f"pool/{number}" for number in range(count)]
    assert (len(found), found.size) == (count, 7 * count)


def test_two_may_walk_through_it_by_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "_BLOCK", 4)
    found = spooled(10)
    assert all(one == other for one, other in zip(found, found, strict=True))
