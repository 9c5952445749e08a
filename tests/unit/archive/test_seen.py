"""Very many paths, each of which is new once."""

from pushmirror.archive.pathset import GrowingPathSet


def test_each_path_is_new_once() -> None:
    seen = GrowingPathSet()
    paths = [f"pool/{number}" for number in range(5000)]
    assert all(seen.add(path) for path in paths)
    assert not any(seen.add(path) for path in paths)
    assert len(seen) == 5000


def test_any_fingerprint_is_new_once() -> None:
    seen = GrowingPathSet()
    assert seen.add_number(0) and not seen.add_number(0)
    assert seen.add_number(2**64 - 1) and not seen.add_number(2**64 - 1)
