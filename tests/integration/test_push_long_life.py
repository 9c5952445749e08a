"""A push that is never over, as that of `serve`: what it hears of, gives up, forgets and says."""

import asyncio
import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from pushmirror.config.loader import load
from pushmirror.config.model import Site
from pushmirror.config.reload import CurrentConfig
from pushmirror.push import engine
from pushmirror.push.decide import Decision
from pushmirror.push.engine import PushLoop, SilentObserver
from pushmirror.push.pushes import PushCoordinator
from pushmirror.push.trigger_sender import Answer
from pushmirror.state.records import Phase, SiteState
from pushmirror.state.store import Store, open_store
from pushmirror.system import clock

_LIMIT_S = 30


class Recorded:
    """A wire whose sites answer 0 at once, but those on a host called hanging, which never do."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []  # host, words

    async def trigger(self, site: Site, words: str) -> Answer:
        self.sent.append((site.host, words.rsplit(maxsplit=1)[-1]))
        if site.host == "hanging":
            await asyncio.Event().wait()
        return Answer(0, "")

    async def release(self, site: Site) -> None:
        pass

    async def close(self) -> None:
        pass


class Hub:
    """A hub with one archive, whose sites are written by hand."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in ("tree", "sites.d"):
            (directory / name).mkdir()
        self.configure()
        self.store: Store = open_store(f"sqlite:///{directory}/state.sqlite", directory)
        self.transport = Recorded()

    def configure(self, **hooks: list[str]) -> None:
        """Write the configuration."""
        lines = "".join(f"{name} = {json.dumps(argv)}\n" for name, argv in hooks.items())
        (self.directory / "pushmirror.toml").write_text(
            f'[archives.debian]\npath = "{self.directory}/tree"\n[archives.debian.hooks]\n{lines}'
        )

    def site(self, host: str, name: str = "a", more: str = "") -> None:
        """Put a site on this host."""
        text = f'host = "{host}"\nuser = "u"\npush = "all"\narchives = ["debian"]\n{more}'
        beside = self.directory / "sites.d" / f"{name}.new"
        beside.write_text(text)
        beside.rename(beside.with_suffix(".toml"))

    def publish(self, digest: str) -> None:
        self.store.publish_generation("debian", digest, None, clock.now())

    def push(self, over: Callable[[Decision], bool]) -> None:
        """Push until `over`, which is asked again and again and may act."""

        async def within() -> None:
            config = CurrentConfig(load(self.directory))
            async with asyncio.timeout(_LIMIT_S):
                await PushLoop("debian", config, self.store, self.transport, SilentObserver()).run(over)

        asyncio.run(within())


@pytest.fixture
def hub(tmp_path):
    made = Hub(tmp_path)
    yield made
    made.store.close()


def after(looks: int) -> Callable[[Decision], bool]:
    """Over at that look."""
    seen: list[Decision] = []
    return lambda decision: seen.append(decision) or len(seen) >= looks


def test_as_long_as_nothing_is_published_nothing_is_said(hub, caplog):
    caplog.set_level("INFO", logger="pushmirror")
    hub.site("a")
    hub.push(after(looks=4))
    assert caplog.messages == []


def test_the_trigger_of_a_site_that_has_moved_is_given_up_and_its_new_place_is_woken(hub):
    hub.site("hanging")
    hub.publish("g1")

    def over(decision: Decision) -> bool:
        if hub.transport.sent == [("hanging", "sync:all")]:
            hub.site("elsewhere")
        return decision.phases == {"a": Phase.CURRENT}

    hub.push(over)
    assert hub.transport.sent == [("hanging", "sync:all"), ("elsewhere", "sync:all")]


def test_old_triggers_are_forgotten_while_it_goes_on(hub, monkeypatch):
    monkeypatch.setattr(engine, "_PRUNE_S", 0.0)
    monkeypatch.setattr(engine, "_KEPT_TRIGGERS", 2)
    hub.site("a")
    generations = iter(["g1", "g2", "g3", "g4"])

    def over(decision: Decision) -> bool:
        if decision.phases in ({}, {"a": Phase.CURRENT}) and (new := next(generations, None)):
            hub.publish(new)
            return False
        return len(hub.transport.sent) == 4 and len(hub.store.triggers()) == 2

    hub.push(over)
    assert [trigger.generation for trigger in hub.store.triggers()] == ["g4", "g3"]


def test_a_slow_hook_after_a_push_does_not_hold_up_the_next_generation(hub, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    hub.configure(after_push=["/bin/sh", "-c", f"echo $PUSHMIRROR_GENERATION >{fifo}"])  # until it is read
    hub.site("a")
    hub.publish("g1")
    read: list[str] = []

    def over(decision: Decision) -> bool:
        if decision.phases == {"a": Phase.CURRENT}:
            if len(hub.transport.sent) == 1:
                hub.publish("g2")
                return False
            read.append(fifo.read_text())
            hub.configure()  # the second one has nothing to do
        return bool(read)

    hub.push(over)
    assert len(hub.transport.sent) == 2 and read == ["g1\n"]


@pytest.fixture
def pushes(hub):
    """Of a hub whose canary `a` has failed for a while, with another site `b`."""
    hub.site("h", more="canary = true\n")
    hub.site("other", name="b")
    hub.publish("g1")
    later = clock.now() + timedelta(minutes=5)
    hub.store.put_site_states(
        [SiteState("debian", "a", tried="g1", attempts=3, failing_since=clock.now(), next_try_at=later)]
    )
    return PushCoordinator(CurrentConfig(load(hub.directory)), hub.store, SilentObserver())


def test_a_site_that_is_pushed_by_name_waits_for_the_canaries_and_that_is_no_reason_to_wait_for_it(pushes):
    decision = pushes.view("debian", frozenset("b")).decision
    assert (
        decision.phases == {"b": Phase.WAITING_FOR_CANARY}
        and decision.sends == ()
        and engine.is_quiet(decision)
    )


def test_who_looks_on_while_another_process_pushes_sees_what_that_one_does(pushes):
    async def follow() -> None:
        async with asyncio.timeout(_LIMIT_S):
            await pushes.follow("debian", only=frozenset("b"))

    with pushes.turn("debian").taken() as held:
        assert held
        asyncio.run(follow())


def test_news_do_not_put_a_delay_off_again_and_again(hub):
    hub.site("one", more='delay = "1h"\n')
    hub.publish("g1")
    ends: list[object] = []

    def over(decision: Decision) -> bool:
        ends.append(decision.wake_at)
        hub.publish(f"g{len(ends) + 1}")
        return len(ends) == 3

    hub.push(over)
    assert ends[0] is not None and ends == [ends[0]] * 3
