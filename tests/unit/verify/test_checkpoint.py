from datetime import UTC, datetime

import pytest

from pushmirror.verify.checkpoint import VerifyResult, VerifyStore, last_verified
from pushmirror.verify.reader import Finding, Problem

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MISSING = Finding("pool/\udcff\nx", Problem.MISSING, "expected a file")
WRONG, EXTRA = Finding("pool/y", Problem.WRONG), Finding("pool/z", Problem.EXTRA)


@pytest.fixture
def state(tmp_path):
    return VerifyStore(tmp_path / "verify")


def test_what_was_saved_is_where_the_next_one_goes_on(state):
    position = state.begin("g")
    state.add([MISSING])
    position.after, position.files = b"pool\0\xff", 7
    state.save(position)
    state.add([WRONG])  # and then it was killed
    again = VerifyStore(state.directory)
    resumed = again.resume("g")
    assert (resumed.after, resumed.files, resumed.started_at) == (position.after, 7, position.started_at)
    again.add([EXTRA])
    assert list(again.findings()) == [MISSING, EXTRA]


@pytest.mark.parametrize(
    "damage", ["unsure of another", "of a plain tree", "a plain tree", "not json", "no findings", "nothing"]
)
def test_without_a_record_that_fits_it_begins_anew(state, damage):
    position = state.begin("" if damage == "of a plain tree" else "g")
    position.knows_all = damage != "unsure of another"
    state.add([MISSING])
    if damage != "nothing":
        state.save(position)
    if damage == "not json":
        (state.directory / "progress").write_text("{")
    if damage == "no findings":
        (state.directory / "findings").unlink()
    generation = {"unsure of another": "h", "a plain tree": ""}.get(damage, "g")
    assert VerifyStore(state.directory).resume(generation) is None


@pytest.mark.parametrize(("generation", "knows_all"), [("h", True), ("g", True), ("g", False)])
def test_a_verify_goes_on_though_another_generation_is_served(state, generation, knows_all):
    position = state.begin("g")
    position.after, position.knows_all = b"pool\0b", knows_all
    state.add([MISSING])
    state.save(position)
    resumed = VerifyStore(state.directory).resume(generation)
    assert (resumed.after, resumed.generation, list(state.findings())) == (
        b"pool\0b",
        generation,
        [MISSING],
    )


def test_the_last_verify_is_remembered_with_what_it_found(state):
    position = state.begin("g")
    state.add([EXTRA, MISSING, WRONG])
    told = state.finish(VerifyResult("debian", "g", NOW, NOW, 10, 100, notes=("a note",)), position)
    assert (told.missing, told.wrong, told.extra, told.problems, told.whole) == (1, 1, 1, 2, False)
    assert told.findings == (MISSING, WRONG, EXTRA)
    assert last_verified(state.directory) == told


def test_only_a_verify_that_found_something_leaves_something_to_repair(state):
    position = state.begin("g")
    state.add([EXTRA])
    state.finish(VerifyResult("debian", "g", NOW, NOW, 10, 100), position)
    assert state.resume("g") is None
    position = state.begin("g")
    state.add([WRONG])
    state.finish(VerifyResult("debian", "g", NOW, NOW, 10, 100), position)
    assert state.resume("g").ended_at == NOW


def test_without_any_verify_there_is_no_last_one(tmp_path):
    assert last_verified(tmp_path) is None
