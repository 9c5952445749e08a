from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from pushmirror.errors import StateError
from pushmirror.state.records import Preparation, SiteState, Stage, Trigger
from pushmirror.state.store import Store, open_store
from pushmirror.system import process

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)
SENT = SiteState("debian", "a", sent_stage=Stage.STAGE1, sent_generation="g1", sent_at=NOW)
CONFIRMED = SiteState("debian", "a", stage1="g1", stage1_at=NOW, exit_code=0, last_words="ok")


def opened(directory: Path) -> Store:
    """A store whose clock is a minute later at each look."""
    minutes = count()
    at = lambda: NOW + timedelta(minutes=next(minutes))  # noqa: E731
    return open_store(f"sqlite:///{directory}/state.sqlite", directory, now=at)


@pytest.fixture
def store(tmp_path):
    store: Store = opened(tmp_path)
    yield store
    store.close()


def sent_to(*sites: str, archive: str = "debian") -> list[SiteState]:
    return [replace(SENT, archive=archive, site=site) for site in sites]


def becomes(after: SiteState) -> Callable[[SiteState], SiteState]:
    return lambda _: after


def ids(triggers: list[Trigger]) -> list[int]:
    return [trigger.id for trigger in triggers]


def statements_of(store: Store) -> list[str]:
    """The statements that the store executes from now on, with their values."""
    statements: list[str] = []
    with store._database._connected() as connection:
        connection.set_trace_callback(statements.append)
    return statements


def test_what_was_prepared_comes_back(store):
    assert store.preparation("debian") is None
    prepared = store.prepare("debian", "g1")
    assert prepared == Preparation("debian", "g1", NOW) == store.preparation("debian")
    assert store.preparation("security") is None


def test_preparing_the_same_generation_again_changes_nothing(store):
    first = store.prepare("debian", "g1")
    assert store.prepare("debian", "g1") == first == store.preparation("debian")


def test_a_new_preparation_replaces_the_archives_earlier_one(store):
    other = store.prepare("security", "g1")
    store.prepare("debian", "g1")
    new = store.prepare("debian", "g2")
    assert new.generation == "g2" and store.preparation("debian") == new
    assert store.preparation("security") == other


def test_a_site_state_comes_back_as_it_was_put(store):
    whole = SiteState(
        archive="debian",
        site="a",
        stage1="g2",
        stage1_at=NOW,
        stage2="g1",
        stage2_at=NOW - timedelta(hours=6),
        sent_stage=Stage.STAGE2,
        sent_generation="g2",
        sent_at=NOW,
        tried="g0",
        attempts=3,
        failing_since=NOW - timedelta(days=1),
        next_try_at=NOW + timedelta(hours=1),
        exit_code=255,
        last_words="Connection refused",
        reported=True,
    )
    bare = SiteState("debian", "b")
    store.put_site_states([whole, bare])
    assert store.site_states("debian") == {"a": whole, "b": bare}


def test_a_site_state_replaces_the_earlier_one_of_its_site_and_archive_only(store):
    elsewhere, other = replace(SENT, archive="security"), replace(SENT, site="b")
    store.put_site_states([SENT, elsewhere, other])
    store.put_site_states([CONFIRMED])
    assert store.site_states("debian") == {"a": CONFIRMED, "b": other}
    assert store.site_states("security") == {"a": elsewhere}


def test_triggers_come_back_in_the_order_in_which_they_were_asked_for(store):
    sites = [f"site{number * 37 % 100}" for number in range(100)]
    triggers = store.add_triggers(sent_to(*sites))
    assert [trigger.site for trigger in triggers] == sites
    assert triggers[0] == Trigger(triggers[0].id, "debian", "site0", Stage.STAGE1, "g1", NOW)


def test_one_site_may_be_sent_triggers_for_two_archives_at_once(store):
    triggers = store.add_triggers([*sent_to("a", archive="security"), *sent_to("a")])
    assert [trigger.archive for trigger in triggers] == ["security", "debian"]


def test_sending_is_remembered_in_the_site_state_too(store):
    store.put_site_states([CONFIRMED])
    store.add_triggers([SENT])
    assert store.site_states("debian") == {"a": SENT}


def test_sending_happens_whole_or_not_at_all(store):
    with pytest.raises(StateError, match="NOT NULL"):
        store.add_triggers([*sent_to("a"), SiteState("debian", "b")])
    assert (store.site_states("debian"), store.triggers()) == ({}, [])


def test_nothing_to_send_or_to_put_is_no_row(store):
    assert store.add_triggers([]) == []
    store.put_site_states([])
    assert (store.site_states("debian"), store.triggers()) == ({}, [])


def test_sending_to_five_hundred_sites_is_one_transaction(store):
    statements = statements_of(store)
    store.add_triggers(sent_to(*(f"site{number}" for number in range(500))))
    assert statements[0] == "BEGIN IMMEDIATE" and statements.index("COMMIT") == len(statements) - 1 == 1001


def test_an_answer_ends_its_trigger_and_moves_its_site(store):
    first, second = store.add_triggers(sent_to("a", "b"))
    store.record_answer(first, becomes(CONFIRMED), exit_code=0, output="done\n")
    assert store.triggers(site="a") == [replace(first, ended_at=NOW, exit_code=0, output="done\n")]
    assert store.triggers(site="b") == [second]
    assert store.site_states("debian") == {"a": CONFIRMED, "b": replace(SENT, site="b")}


def test_no_answer_is_remembered_as_one_without_an_exit_code(store):
    (trigger,) = store.add_triggers([SENT])
    store.record_answer(trigger, becomes(replace(SENT, sent_stage=None)), exit_code=None, output="timed out")
    (found,) = store.triggers()
    assert (found.exit_code, found.output, found.ended_at) == (None, "timed out", NOW)


def test_an_answer_that_no_database_would_take_is_kept_without_what_hinders(store):
    (trigger,) = store.add_triggers([SENT])
    said = "nul \0, half a pair \udcff, ü"
    store.record_answer(trigger, becomes(replace(CONFIRMED, last_words=said)), exit_code=0, output=said)
    assert store.triggers()[0].output == "nul \ufffd, half a pair ?, ü"
    assert store.site_states("debian")["a"].last_words == store.triggers()[0].output


def test_triggers_are_listed_newest_first_by_archive_and_site(store):
    debian = store.add_triggers(sent_to("a", "b"))
    security = store.add_triggers(sent_to("a", archive="security"))
    assert ids(store.triggers()) == ids([*security, *debian[::-1]])
    assert ids(store.triggers(archive="debian")) == ids(debian[::-1])
    assert ids(store.triggers(site="a")) == ids([*security, debian[0]])
    assert ids(store.triggers(archive="debian", site="b", limit=5)) == [debian[1].id]
    assert ids(store.triggers(limit=1)) == ids(security)


def test_a_forgotten_site_leaves_nothing_behind(store):
    store.add_triggers([*sent_to("a", "b"), *sent_to("a", archive="security")])
    store.forget_site("a")
    assert [*store.site_states("debian"), *store.site_states("security")] == ["b"]
    assert [trigger.site for trigger in store.triggers()] == ["b"]


def test_a_late_answer_of_a_forgotten_site_does_not_bring_it_back(store):
    (trigger,) = store.add_triggers([SENT])
    store.forget_site("a")
    store.record_answer(trigger, becomes(CONFIRMED), exit_code=0, output="done")
    assert (store.site_states("debian"), store.triggers()) == ({}, [])


def test_an_answer_to_a_pruned_trigger_still_moves_its_site(store):
    (trigger,) = store.add_triggers([SENT])
    store.prune_triggers("debian", keep=0)
    store.record_answer(trigger, becomes(CONFIRMED), exit_code=0, output="done")
    assert (store.site_states("debian"), store.triggers()) == ({"a": CONFIRMED}, [])


def test_pruning_keeps_the_newest_triggers_and_leaves_other_archives_alone(store):
    store.add_triggers(sent_to("a", "b", archive="security"))
    newest = [store.add_triggers([SENT])[0] for _ in range(5)][:2:-1]
    assert store.prune_triggers("debian", keep=2) == 3
    assert ids(store.triggers(archive="debian")) == ids(newest)
    assert len(store.triggers(archive="security")) == 2


def test_pruning_fewer_triggers_than_are_kept_forgets_none(store):
    store.add_triggers(sent_to("a", "b"))
    assert store.prune_triggers("debian", keep=2) == 0
    assert len(store.triggers()) == 2


def test_the_number_of_a_pruned_trigger_is_not_given_again(store):
    (pruned,) = store.add_triggers([SENT])
    store.prune_triggers("debian", keep=0)
    assert store.add_triggers([SENT])[0].id > pruned.id


PUSH = """
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from pushmirror.state.records import Stage, SiteState
from pushmirror.state.store import open_store
store = open_store(f"sqlite:///{sys.argv[1]}/state.sqlite", Path(sys.argv[1]))
at = datetime.now(UTC)
for number in range(25):
    site = f"{sys.argv[2]}-{number % 5}"
    sent = SiteState("debian", site, sent_stage=Stage.ALL, sent_generation="g", sent_at=at)
    store.prepare("debian", f"g{number}")
    (trigger,) = store.add_triggers([sent])
    after = lambda one: replace(one, sent_stage=None, attempts=number)
    store.record_answer(trigger, after, exit_code=number, output="")
"""


def test_processes_that_push_at_once_lose_nothing_of_each_others_sites(tmp_path):
    argv = [sys.executable, "-c", PUSH, str(tmp_path / "new")]
    with ThreadPoolExecutor(3) as at_once:
        results = list(at_once.map(lambda who: process.run([*argv, who], timeout_s=60), "abc"))
    assert [result.errors for result in results] == [""] * 3
    store = opened(tmp_path / "new")
    site_states = store.site_states("debian")
    assert {site: found.attempts for site, found in site_states.items()} == {
        f"{who}-{last}": 20 + last for who in "abc" for last in range(5)
    }
    assert sorted(found.exit_code for found in store.triggers(limit=100)) == sorted([*range(25)] * 3)
    store.close()


#: What a hub with many sites and years behind it asks again and again.
FREQUENT = {
    "preparation": lambda store: store.preparation("debian"),
    "site_states": lambda store: store.site_states("debian"),
    "record_answer": lambda store: store.record_answer(
        *store.triggers(site="a"), becomes(SENT), exit_code=0, output=""
    ),
    "triggers_of_archive": lambda store: store.triggers(archive="debian"),
    "triggers_of_site": lambda store: store.triggers(site="a"),
    "triggers_of_both": lambda store: store.triggers(archive="debian", site="a"),
    "prune_triggers": lambda store: store.prune_triggers("debian", 1000, keep_output=10),
    "publish_generation": lambda store: store.publish_generation("debian", "g1", None, NOW),
    "pending": lambda store: store.pending("debian"),
    "latest_generation": lambda store: store.latest_generation("debian"),
    "runs": lambda store: store.runs("debian"),
    "recover": lambda store: store.recover("debian"),
}


@pytest.mark.parametrize("name", FREQUENT)
def test_no_statement_reads_or_sorts_a_whole_table(store, name):
    store.add_triggers([SENT])
    statements = statements_of(store)
    FREQUENT[name](store)
    steps = []
    with store._database._connected() as connection:
        connection.set_trace_callback(None)
        for sql in map(str.strip, statements):
            if sql.split()[0] in {"SELECT", "INSERT", "UPDATE", "DELETE"}:
                steps += [row["detail"] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}")]
    assert steps and not [step for step in steps if "SCAN" in step or "TEMP B-TREE" in step]


def confirmed(store: Store, stage1: str | None, stage2: str | None) -> None:
    store.put_site_states([SiteState("debian", "a", stage1=stage1, stage2=stage2)])


def confirmations(store: Store) -> tuple[str | None, str | None]:
    one = store.site_states("debian")["a"]
    return one.stage1, one.stage2


def test_what_was_confirmed_of_a_generation_counts_no_more_when_it_comes_back(store):
    for digest in ("g1", "g2"):
        store.publish_generation("debian", digest, None, NOW)
    confirmed(store, "g1", "g1")
    store.publish_generation("debian", "g1", None, NOW)
    assert confirmations(store) == (None, None)


def test_an_answer_is_judged_by_what_others_have_written_meanwhile(store):
    store.publish_generation("debian", "g1", None, NOW)
    (trigger,) = store.add_triggers([SENT])
    for digest in ("g2", "g1"):
        store.publish_generation("debian", digest, None, NOW)
    seen: list[SiteState] = []
    store.record_answer(trigger, lambda one: seen.append(one) or one, exit_code=0, output="")
    assert (seen[0].sent_stage, seen[0].sent_generation) == (Stage.STAGE1, None)


def test_the_stage1_of_a_prepared_generation_counts_when_it_is_published(store):
    store.publish_generation("debian", "g1", None, NOW)
    store.prepare("debian", "g2")
    confirmed(store, "g2", "g1")
    store.publish_generation("debian", "g2", None, NOW)
    assert confirmations(store) == ("g2", "g1") and store.preparation("debian") is None


def test_a_preparation_that_something_else_overtook_is_forgotten(store):
    store.prepare("debian", "g2")
    confirmed(store, "g2", None)
    store.publish_generation("debian", "g3", None, NOW)
    store.prepare("debian", "g2")
    assert confirmations(store) == (None, None)


def test_preparing_what_is_served_already_takes_nothing_back(store):
    store.publish_generation("debian", "g1", None, NOW)
    confirmed(store, "g1", "g1")
    store.prepare("debian", "g1")
    assert confirmations(store) == ("g1", "g1")


def test_site_states_change_by_what_the_store_has_and_only_where_there_is_one(store):
    store.put_site_states([replace(CONFIRMED, site=name) for name in "abc"])
    moved = store.change_site_states("debian", lambda one: replace(one, stage2="g1"), only={"a", "b", "new"})
    assert [one.site for one in moved] == ["a", "b"]
    assert {name: one.stage2 for name, one in store.site_states("debian").items()} == {
        "a": "g1",
        "b": "g1",
        "c": None,
    }


def test_a_change_that_changes_nothing_writes_nothing(store):
    store.put_site_states([CONFIRMED])
    statements = statements_of(store)
    assert store.change_site_states("debian", lambda one: one) == []
    assert statements and not [sql for sql in statements if sql.startswith(("INSERT", "UPDATE"))]


def test_what_old_triggers_were_answered_is_forgotten_before_they_are(store):
    sent = [store.add_triggers([SENT])[0] for _ in range(4)]
    for trigger in sent:
        store.record_answer(trigger, becomes(CONFIRMED), exit_code=0, output="said")
    assert store.prune_triggers("debian", keep=3, keep_output=1) == 1
    assert [trigger.output for trigger in store.triggers()] == ["said", "", ""]


def test_what_was_prepared_without_knowing_its_generation_becomes_it_when_it_is_published(store):
    store.publish_generation("debian", "g1", None, NOW)
    store.prepare("debian", "run 7")
    store.put_site_states(
        [SiteState("debian", "a", stage1="run 7"), replace(SENT, site="b", sent_generation="run 7")]
    )
    store.publish_generation("debian", "g2", None, NOW, was_prepared=True)
    found = store.site_states("debian")
    assert (found["a"].stage1, found["b"].sent_generation) == ("g2", "g2")


def test_a_preparation_of_something_else_confirms_nothing_of_what_is_published(store):
    store.prepare("debian", "run 7")
    confirmed(store, "run 7", None)
    store.publish_generation("debian", "g2", None, NOW)
    assert confirmations(store) == ("run 7", None) and store.preparation("debian") is None


def test_what_was_prepared_is_forgotten_on_demand_and_with_a_run_that_died(store):
    store.prepare("debian", "run 1")
    store.unprepare("debian")
    assert store.preparation("debian") is None
    store.prepare("debian", "run 1")
    store.recover("debian")
    assert store.preparation("debian") is not None
    store.begin_run("debian", Stage.STAGE1, strategy="full", trigger="ssh")
    store.recover("debian")
    assert store.preparation("debian") is None
