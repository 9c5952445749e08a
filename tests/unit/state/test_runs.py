from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from pushmirror.errors import StateError
from pushmirror.state.records import OWNER_SCAN, Outcome, Stage, is_digest
from pushmirror.state.rows import insertion
from pushmirror.state.store import Store, open_store
from pushmirror.system import process

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)


def opened(directory: Path) -> Store:
    return open_store(f"sqlite:///{directory}/state.sqlite", directory, now=lambda: NOW)


@pytest.fixture
def store(tmp_path):
    store: Store = opened(tmp_path)
    yield store
    store.close()


def asked(store: Store, stage: Stage = Stage.ALL, archive: str = "debian") -> int:
    return store.add_request(archive, stage, trigger="ssh").id


def started(store: Store, *requests: int, archive: str = "debian") -> int:
    run = store.begin_run(archive, Stage.ALL, strategy="full", trigger="ssh", request_ids=requests)
    return run.id


def test_a_request_comes_back_as_it_was_made(store):
    made = store.add_request(
        "debian", Stage.STAGE1, mhop=True, trigger="ssh", client="::1", words="sync:mhop", generation="ab"
    )
    assert store.request(made.id) == made
    assert made.mhop and made.arrived_at == NOW and made.run_id is None


def test_requests_wait_oldest_first_and_only_for_their_archive(store):
    first, second = asked(store), asked(store, Stage.STAGE1)
    asked(store, archive="security")
    assert [request.id for request in store.pending("debian")] == [first, second]


def test_a_run_takes_its_requests_out_of_the_queue(store):
    served, waiting = asked(store), asked(store)
    run = started(store, served)
    assert [request.id for request in store.pending("debian")] == [waiting]
    assert store.request(served).run_id == run


def test_a_request_is_served_by_one_run_only(store):
    request = asked(store)
    started(store, request)
    with pytest.raises(StateError, match=f"no waiting request {request} for debian"):
        started(store, request)
    assert len(store.runs()) == 1, "the second run was undone with its transaction"


def test_the_end_of_a_run_answers_its_requests(store):
    request = asked(store)
    run = started(store, request)
    ended = store.end_run(
        run, outcome=Outcome.FAILED, exit_code=3, message="disk full", stats={"files": 2, "share": 0.5}
    )
    assert store.run(run) == ended and ended.ended_at == NOW
    assert ended.stats == {"files": 2, "share": 0.5}
    assert (store.request(request).exit_code, store.request(request).message) == (3, "disk full")


def test_a_request_that_needs_no_run_is_kept_with_its_answer_and_waits_for_none(store):
    made = store.add_request("debian", Stage.ALL, trigger="ssh", generation="a" * 64, answer="already there")
    assert store.request(made.id) == made and store.pending("debian") == []
    assert (made.run_id, made.exit_code, made.message) == (None, 0, "already there")


def test_the_latest_request_is_that_of_its_archive_answered_or_not(store):
    assert store.latest_request("debian") is None
    asked(store)
    last = store.add_request("debian", Stage.ALL, trigger="ssh", answer="already there")
    asked(store, archive="security")
    assert store.latest_request("debian") == last


def test_a_run_remembers_the_strategy_that_was_really_taken(store):
    ended, interrupted = started(store), started(store)
    taken = {"strategy": "manifest", "why": "3 steps"}
    store.end_run(ended, outcome=Outcome.SUCCEEDED, exit_code=0, **taken)
    store.end_run(interrupted, outcome=Outcome.INTERRUPTED, exit_code=130, **taken)
    assert [run.strategy_text for run in store.runs()] == ["by manifest: 3 steps"] * 2


def test_a_run_that_did_not_come_so_far_keeps_what_it_began_with(store):
    run = started(store)
    store.end_run(run, outcome=Outcome.FAILED, exit_code=3)
    assert (store.run(run).strategy, store.run(run).why) == ("full", "")


def test_a_run_ends_once(store):
    run = started(store)
    store.end_run(run, outcome=Outcome.SUCCEEDED, exit_code=0)
    with pytest.raises(StateError, match=f"no running run {run}"):
        store.end_run(run, outcome=Outcome.FAILED, exit_code=1)


def test_requests_of_a_run_that_died_wait_again(store):
    request, other = asked(store), asked(store, archive="security")
    run, elsewhere = started(store, request), started(store, other, archive="security")
    assert [(died.id, died.outcome) for died in store.recover("debian")] == [(run, Outcome.DIED)]
    assert [waiting.id for waiting in store.pending("debian")] == [request]
    assert store.run(elsewhere).outcome is Outcome.RUNNING


def test_requests_of_a_run_that_a_signal_ended_wait_again(store):
    request = asked(store)
    other = started(store)
    run = started(store, request)
    how = {"outcome": Outcome.INTERRUPTED, "exit_code": 130, "message": "stopped by SIGINT"}
    ended = store.end_run(run, **how, stats={"files": 2})
    assert (ended.outcome, ended.exit_code, ended.ended_at) == (Outcome.INTERRUPTED, 130, NOW)
    assert [waiting.id for waiting in store.pending("debian")] == [request]
    assert store.run(other).outcome is Outcome.RUNNING
    with pytest.raises(StateError, match=f"no running run {run}"):
        store.end_run(run, **how)


def test_a_new_generation_replaces_the_served_one(store):
    store.publish_generation("debian", "a", 1, NOW)
    store.publish_generation("debian", "b", 2, NOW + timedelta(hours=6))
    new, old = store.generations("debian")
    assert (new.digest, new.replaced_at) == ("b", None) and store.latest_generation("debian") == new
    assert (old.digest, old.replaced_at) == ("a", NOW + timedelta(hours=6))


def test_the_same_generation_again_changes_nothing(store):
    first = store.publish_generation("debian", "a", 1, NOW)
    assert store.publish_generation("debian", "a", 2, NOW + timedelta(hours=6)) == first
    assert store.generations("debian") == [first]


def test_an_archive_never_published_has_no_generation(store):
    store.publish_generation("security", "a", 1, NOW)
    assert store.latest_generation("debian") is None


def test_runs_are_paged_newest_first(store):
    ids = [started(store) for _ in range(5)]
    started(store, archive="security")
    page = store.runs("debian", limit=2)
    assert [run.id for run in page] == [ids[4], ids[3]]
    assert [run.id for run in store.runs("debian", limit=2, before_id=page[-1].id)] == [ids[2], ids[1]]
    assert len(store.runs()) == 6


def test_pruning_keeps_the_newest_and_whatever_still_runs(store):
    running = started(store)
    request = asked(store)
    old = started(store, request)
    new = started(store)
    for run in (old, new):
        store.end_run(run, outcome=Outcome.SUCCEEDED, exit_code=0)
    assert [run.id for run in store.prune("debian", keep=1)] == [old]
    assert [run.id for run in store.runs()] == [new, running]
    with pytest.raises(StateError, match=f"no request {request}"):
        store.request(request)


def test_pruning_keeps_as_many_requests_that_needed_no_run(store):
    def at_once(archive="debian"):
        return store.add_request(archive, Stage.ALL, trigger="ssh", answer="already there").id

    old, kept, waiting, elsewhere = at_once(), at_once(), asked(store), at_once("security")
    store.prune("debian", keep=1)
    assert [store.request(one).id for one in (kept, waiting, elsewhere)] == [kept, waiting, elsewhere]
    with pytest.raises(StateError, match=f"no request {old}"):
        store.request(old)


def test_the_number_of_a_pruned_run_is_not_given_again(store):
    run = started(store)
    store.end_run(run, outcome=Outcome.SUCCEEDED, exit_code=0)
    store.prune("debian", keep=0)
    assert started(store) > run


def test_pruning_keeps_the_newest_generations_and_leaves_other_archives_alone(store):
    for digest in "abcd":
        store.publish_generation("debian", digest, None, NOW)
        store.publish_generation("security", digest, None, NOW)
    store.prune("debian", keep=1, keep_generations=2)
    assert [kept.digest for kept in store.generations("debian")] == ["d", "c"]
    assert len(store.generations("security")) == 4


def test_pruning_never_forgets_the_generation_being_served(store):
    store.publish_generation("debian", "a", None, NOW)
    served = store.publish_generation("debian", "b", None, NOW)
    store.prune("debian", keep=1, keep_generations=0)
    assert store.generations("debian") == [served]


def test_pruning_leaves_other_archives_their_runs(store):
    for archive in ("debian", "security"):
        run = started(store, asked(store, archive=archive), archive=archive)
        store.end_run(run, outcome=Outcome.SUCCEEDED, exit_code=0)
    assert [run.archive for run in store.prune("debian", keep=0)] == ["debian"]
    assert [run.archive for run in store.runs()] == ["security"]


def test_a_time_of_another_zone_is_kept_as_the_same_moment(store):
    at = datetime(2026, 8, 1, 14, 30, tzinfo=timezone(timedelta(hours=2)))
    assert store.publish_generation("debian", "a", None, at).published_at == at


def test_the_sql_of_a_request_is_never_made_of_its_words(store):
    request = store.add_request("debian", Stage.ALL, trigger="ssh", words="'); DROP TABLE runs; -- :id")
    assert store.request(request.id).words == "'); DROP TABLE runs; -- :id"


ASK = """
import sys
from pathlib import Path
from pushmirror.state.records import Stage
from pushmirror.state.store import open_store
store = open_store(f"sqlite:///{sys.argv[1]}/state.sqlite", Path(sys.argv[1]))
for _ in range(25):
    store.add_request("debian", Stage.ALL, trigger="ssh")
"""


def test_processes_that_open_a_new_database_at_once_lose_no_request(tmp_path):
    argv = [sys.executable, "-c", ASK, str(tmp_path / "new")]
    with ThreadPoolExecutor(4) as at_once:
        results = list(at_once.map(lambda _: process.run(argv, timeout_s=60), range(4)))
    assert [result.errors for result in results] == [""] * 4
    assert len(opened(tmp_path / "new").pending("debian")) == 100


def test_writers_and_a_reader_work_at_the_same_time(tmp_path):
    writer, reader = opened(tmp_path), opened(tmp_path)
    with writer._database.writing() as db:
        values = {"archive": "debian", "digest": "a", "published_at": NOW}
        db.execute(insertion("generations", values), **values)
        assert reader.latest_generation("debian") is None


@pytest.mark.parametrize(
    ("strategy", "why", "words"),
    [
        ("", "", ""),
        (OWNER_SCAN, "", ""),
        ("full", "", "by full"),
        ("manifest", "3 steps", "by manifest: 3 steps"),
    ],
)
def test_a_run_says_how_it_learnt_what_had_changed(store, strategy, why, words):
    run = store.run(started(store))
    assert replace(run, strategy=strategy, why=why).strategy_text == words


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("0123456789abcdef" * 4, True),
        *((name, False) for name in (None, "", "run 7", "a" * 63, "a" * 65, "A" * 64, "a" * 64 + "\n")),
    ],
)
def test_only_a_digest_means_something_to_others(name, known):
    assert is_digest(name) is known
