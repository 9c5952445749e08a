"""How a push ends before its time: by a signal, by a store that cannot be written; what is left behind."""

import asyncio
import os
import signal
import sqlite3
from contextlib import closing

import pytest

from acceptance.processes import descendants
from downstream import SitesSshd
from pushing_hub import ARCHIVE, ONE, PushingHub, ended
from pushmirror.config.model import Site
from pushmirror.errors import Exit, StateError
from pushmirror.lab.services import wait_until
from pushmirror.push.engine import PushLoop, SilentObserver
from pushmirror.push.trigger_sender import Answer


@pytest.mark.parametrize("turns", range(8))
def test_a_push_that_is_stopped_in_the_moment_of_an_answer_ends_all_the_same(
    hub: PushingHub, turns: int
) -> None:
    hub.site("one")
    hub.publish()
    assert asyncio.run(_stopped_at_an_answer(hub, turns)) is True


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, Exit.TERMINATED), (signal.SIGINT, Exit.INTERRUPTED)]
)
def test_a_signal_ends_a_push_and_keeps_what_was_confirmed(
    hub: PushingHub, number: signal.Signals, code: Exit
) -> None:
    hanging, good = hub.site("hanging", push="staged"), hub.site("good", push="staged")
    hub.publish()
    with hub.running("push") as push, hanging.held("stage1"):
        hanging.wait_for("stage1")
        assert wait_until(lambda: ("good", "stage1", ONE) in hub.confirmed())
        os.kill(push.pid, number)
        assert ended(push) == code
    assert hub.confirmed() == {("good", "stage1", ONE)}
    site_state = hub.site_state(hanging)
    assert (site_state.sent_stage, site_state.attempts, site_state.failing_since) == (None, 0, None)
    assert hub.push()
    assert good.sent == ["stage1", "stage2"]


def test_a_signal_ends_a_push_that_waits_for_an_ssh_server_without_a_word(
    hub: PushingHub, own_sshd: SitesSshd
) -> None:
    stuck = hub.downstream.add("stuck", sshd=own_sshd)
    hub.publish()
    assert own_sshd.pid
    os.kill(own_sshd.pid, signal.SIGSTOP)
    try:
        with hub.running("push") as push:
            assert wait_until(lambda: "stuck" in hub.store.site_states(ARCHIVE))
            os.kill(push.pid, signal.SIGTERM)
            assert ended(push) == Exit.TERMINATED
    finally:
        os.kill(own_sshd.pid, signal.SIGCONT)
    assert hub.site_state(stuck).sent_stage is None


def test_a_push_leaves_no_process_and_no_connection(hub: PushingHub, own_sshd: SitesSshd) -> None:
    for name, push in (("one", "all"), ("two", "staged"), ("three", "mhop")):
        hub.downstream.add(name, sshd=own_sshd, push=push)
    hub.publish()
    assert hub.run("push").exit_code == 0
    assert hub.processes() == []
    assert own_sshd.pid and wait_until(lambda: descendants(own_sshd.pid or 0) == [])


def test_a_store_that_cannot_be_written_ends_the_push_with_a_word_and_nothing_is_sent(
    hub: PushingHub,
) -> None:
    site = hub.site("one")
    hub.publish()
    _refuse_writes(hub)
    push = hub.run("push")
    assert (push.exit_code, site.sent) == (1, [])
    assert "the disk is full" in push.errors and "internal error" not in push.errors


def test_a_store_that_fails_in_the_middle_ends_the_push_and_the_next_one_finishes_it(hub: PushingHub) -> None:
    site, other = hub.site("one"), hub.site("other")
    hub.publish()
    with pytest.raises(StateError), hub.pushing(holding=site.held("all")):  # noqa: PT012  it is the push's end
        site.wait_for("all")
        assert wait_until(lambda: hub.site_state(other).stage2 == ONE)
        _refuse_writes(hub)
    _allow_writes(hub)
    assert hub.push()
    assert hub.site_state(site).stage2 == ONE
    assert other.sent == ["all"]


def _refuse_writes(hub: PushingHub) -> None:
    """What a full disk does."""
    refuse = "BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END"
    with closing(sqlite3.connect(hub.database)) as db:
        for what in ("INSERT", "UPDATE"):
            db.execute(f"CREATE TRIGGER full_{what} BEFORE {what} ON standings {refuse}")


def _allow_writes(hub: PushingHub) -> None:
    with closing(sqlite3.connect(hub.database)) as db:
        for what in ("INSERT", "UPDATE"):
            db.execute(f"DROP TRIGGER full_{what}")


async def _stopped_at_an_answer(hub: PushingHub, turns: int) -> bool:
    """Whether a push is over when it was cancelled so many turns of the event loop after an answer."""
    loop = asyncio.get_running_loop()

    class Stopping:
        async def trigger(self, site: Site, words: str) -> Answer:  # noqa: ARG002 - its
            await asyncio.sleep(0.05)  # until the push waits for it
            _after(turns, push.cancel)
            return Answer(1, "no")

        async def release(self, site: Site) -> None: ...

        async def close(self) -> None: ...

    def _after(turns: int, job) -> None:  # type: ignore[no-untyped-def]
        loop.call_soon(*((_after, turns - 1, job) if turns else (job,)))

    pusher = PushLoop(ARCHIVE, hub.config, hub.store, Stopping(), SilentObserver())
    push = asyncio.ensure_future(pusher.run(lambda _: False))
    _, running = await asyncio.wait({push}, timeout=2)
    for task in running:
        task.cancel()
    return not running and push.cancelled()
