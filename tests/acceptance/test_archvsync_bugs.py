"""What archvsync's receiver got wrong, and this one must not (the numbers of the protocol's bug list)."""

import os
import signal
from itertools import pairwise

import pytest

from acceptance.calls import Start
from acceptance.gate import Gate
from pushmirror.errors import Exit
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.site import LabSite
from pushmirror.system import locks
from support.published import generation_files


def is_current(archive: LabArchive, site: LabSite) -> bool:
    return all((site.tree / path).read_bytes() == text for path, text in generation_files(archive).items())


def runs_never_overlapped(site: LabSite) -> bool:
    runs = sorted(site.json("history"), key=lambda run: run["started_at"])
    return all(one["ended_at"] <= next_["started_at"] for one, next_ in pairwise(runs))


@pytest.mark.parametrize("kind", ["sync:stage2", "sync:all"])
def test_bug_14_a_push_of_another_kind_during_a_run_is_served(
    archive: LabArchive, site: LabSite, gate: Gate, push: Start, kind: str
) -> None:
    site.configure(hooks={"before_sync": gate.hook})
    with gate.closed():
        first = push("sync:stage1")
        gate.wait_for()
        second = push(kind)
    assert (first.exit_code(), second.exit_code()) == (Exit.OK, Exit.OK)
    assert is_current(archive, site)


@pytest.mark.parametrize("hook", ["after_stage1", "after_publish"])
def test_bug_15_a_push_late_in_a_run_is_served(
    archive: LabArchive, site: LabSite, gate: Gate, push: Start, hook: str
) -> None:
    site.configure(hooks={hook: gate.hook})
    with gate.closed():
        first = push("sync:all")
        gate.wait_for()
        archive.update()
        second = push("sync:all")
    assert (first.exit_code(), second.exit_code()) == (Exit.OK, Exit.OK)
    assert is_current(archive, site)


def test_bug_15_a_push_in_the_last_hook_learns_the_result_of_a_run_that_began_after_it(
    site: LabSite, gate: Gate, push: Start
) -> None:
    site.configure(hooks={"after_publish": gate.hook})
    with gate.closed():
        calls = [push("sync:all")]
        gate.wait_for()
        calls.append(push("sync:stage1"))
    assert [call.exit_code() for call in calls] == [Exit.OK, Exit.OK]
    assert [run["stage"] for run in site.json("history")] == ["stage1", "all"]


def test_bug_16_the_end_of_a_run_does_not_free_the_lock_of_the_next(
    site: LabSite, gate: Gate, push: Start
) -> None:
    site.configure(hooks={"before_sync": gate.hook})
    with gate.closed(2):
        with gate.closed(1):
            calls = [push("sync:all")]
            gate.wait_for(1)
            calls.append(push("sync:all"))
        gate.wait_for(2)
        calls.append(push("sync:all"))
        with locks.locked(site.tree, wait=False) as free:
            assert not free
    assert [call.exit_code() for call in calls] == [Exit.OK] * 3
    assert runs_never_overlapped(site)


def test_bug_17_a_flag_with_the_number_of_a_living_process_stops_nobody(
    archive: LabArchive, site: LabSite
) -> None:
    site.tree.mkdir()
    flag = site.tree / f"Archive-Update-in-Progress-{site.name}"
    flag.write_text(f"{os.getpid()}\n")
    site.sync().check()
    assert is_current(archive, site)
    assert not flag.exists()


def test_bug_17_a_lock_is_respected_whoever_holds_it(archive: LabArchive, site: LabSite, push: Start) -> None:
    site.tree.mkdir()
    with locks.locked(site.tree):
        call = push("sync:all")
        assert call.running and site.json("history") == []
    assert call.exit_code() == Exit.OK
    assert is_current(archive, site)


def test_bug_18_sigterm_ends_a_run_at_once_and_not_with_success(
    site: LabSite, gate: Gate, push: Start
) -> None:
    site.configure(hooks={"before_sync": gate.hook})
    with gate.closed():
        call = push("sync:all")
        gate.wait_for()
        os.kill(call.pid, signal.SIGTERM)
        assert call.exit_code() == Exit.TERMINATED
    run = site.json("history")[0]
    assert (run["outcome"], run["exit_code"]) == ("interrupted", Exit.TERMINATED)
