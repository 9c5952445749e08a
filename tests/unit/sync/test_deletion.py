"""What is deleted, kept and withheld, as a table."""

import pytest

from pushmirror.config.model import Delete
from pushmirror.sync.deletion import candidates, decide


def names(number: int) -> list[str]:
    return [f"pool/{n}" for n in range(number)]


@pytest.mark.parametrize(
    ("doomed", "here", "limits", "withheld"),
    [
        (0, 0, Delete(), 0),
        (10, 1000, Delete(), 0),
        (100, 100, Delete(), 0),
        (101, 404, Delete(), 0),
        (101, 403, Delete(), 101),
        (101, 101, Delete(max_share=1.0), 0),
        (11, 1000, Delete(max_files=10), 11),
        (10, 1000, Delete(max_files=10), 0),
        (1, 1000, Delete(max_files=0), 1),
        (101, 1_000_000, Delete(max_share=0.0), 101),
    ],
)
def test_all_or_nothing_is_deleted(doomed: int, here: int, limits: Delete, withheld: int) -> None:
    decided = decide(names(doomed), (), files_here=here, limits=limits)
    assert decided.withheld == withheld
    assert len(decided.paths) == (0 if withheld else doomed)
    assert bool(decided.reason) is bool(withheld)


def test_files_that_an_index_refers_to_are_neither_deleted_nor_counted() -> None:
    decided = decide(names(12), {"pool/0", "pool/1"}, files_here=100, limits=Delete(max_files=10))
    assert len(decided.paths) == 10 and decided.kept == 2 and not decided.reason


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("/local/", ["README", "pool/local/x"]),
        ("local/", ["README"]),
        ("*.html", ["README", "local/x", "pool/local/x"]),
        ("/README", ["local/x", "local/a.html", "pool/local/x"]),
    ],
)
def test_protected_names_are_no_candidates(pattern: str, left: list[str]) -> None:
    extras = ["README", "local/x", "local/a.html", "pool/local/x"]
    assert candidates(extras, [pattern]) == left


def test_without_protection_every_extra_is_a_candidate() -> None:
    assert candidates(["a", "b/c"], []) == ["a", "b/c"]


def test_copies_in_by_hash_are_neither_judged_nor_counted() -> None:
    decided = decide([*names(200), "dists/by-hash/SHA256/0"], (), files_here=300, limits=Delete())
    assert decided.withheld == 200 and decided.reason.startswith("200 of 300 files")
