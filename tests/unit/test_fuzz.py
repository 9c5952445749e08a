"""Inputs that nobody would write, for all that reads what comes from outside (`./run faults fuzz`)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from faults.fuzz import CORPUS, Chunk, Failure, carried_out, tried
from faults.readers import READERS
from faults.readers.judged import Reader, require_inside, require_link_inside

from pushmirror.archive.paths import tree_path

EACH = 10_000 // len(READERS)
SEED = 12
KEPT = sorted(CORPUS.glob("*/*"))


@pytest.mark.parametrize("name", READERS)
def test_whatever_comes_gives_what_is_promised_or_an_error_of_ours(name: str) -> None:
    outcome = carried_out(Chunk(name, 0, EACH), SEED)
    assert not outcome.failures
    assert outcome.refused < EACH, "an input that is always refused tests nothing"


@pytest.mark.parametrize("file", KEPT, ids=lambda file: f"{file.parent.name}-{file.name}")
def test_a_kept_input_gives_what_is_promised_or_an_error_of_ours(file: Path) -> None:
    assert isinstance(tried(READERS[file.parent.name], file.read_bytes()), bool)


@pytest.mark.parametrize("name", READERS)
def test_a_reader_takes_one_of_its_kept_inputs(name: str) -> None:
    assert any(tried(READERS[name], file.read_bytes()) is True for file in (CORPUS / name).iterdir())


def endless(data: bytes) -> None:
    while data:
        pass


@pytest.mark.parametrize(
    ("read", "kind"),
    [
        (endless, "hangs"),
        (lambda data: require_inside([data.decode()]), "leaks"),
        (lambda data: require_link_inside("a/b", data.decode()), "leaks"),
        (lambda data: {}[data], "internal"),
    ],
)
def test_what_a_reader_must_not_do_is_seen(read, kind: str) -> None:
    result = tried(Reader(read), b"../../x", limit_s=0.1)
    assert isinstance(result, Failure) and result.kind == kind


def test_an_error_of_ours_is_no_failure() -> None:
    assert tried(Reader(lambda data: print(tree_path(data.decode(), where="x"))), b"../x") is False


def test_the_same_seed_draws_the_same_inputs() -> None:
    def drawn(number: int) -> list[bytes]:
        seen: list[bytes] = []
        carried_out(Chunk("release", number, 50), SEED, readers={"release": Reader(seen.append)})
        return seen

    assert drawn(0) == drawn(0) != drawn(1)


def test_an_input_that_fails_is_made_small() -> None:
    def read(data: bytes) -> None:
        os.fsencode("" if b"SHA256" not in data else chr(0xD800))

    outcome = carried_out(Chunk("release", 0, 5), SEED, readers={"release": Reader(read)})
    ((failure, data),) = outcome.failures.values()
    assert failure.kind == "internal" and data == b"SHA256"
