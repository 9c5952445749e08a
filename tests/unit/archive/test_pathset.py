import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushmirror.archive.pathset import PathSet

PATHS = st.lists(st.text(min_size=1, max_size=9))


@given(PATHS, PATHS)
def test_it_has_what_was_put_in_and_nothing_else(inside: list[str], outside: list[str]) -> None:
    found = PathSet.of(inside)
    assert len(found) == len(set(inside))
    assert all(path in found for path in inside)
    assert not any(path in found for path in set(outside) - set(inside))


def test_it_can_be_kept_in_a_file_and_used_where_it_lies() -> None:
    kept = PathSet.of(["pool/a", "pool/b", "pool/\udcff"]).to_bytes()
    found = PathSet.from_bytes(memoryview(kept))
    assert ("pool/a" in found, "pool/\udcff" in found, "pool/c" in found) == (True, True, False)


def test_a_file_that_was_cut_off_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a multiple of 8 bytes, found 7"):
        PathSet.from_bytes(b"1234567")
