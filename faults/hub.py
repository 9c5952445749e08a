"""Five hundred sites below a hub that dies again and again, and whose clock jumps; then below two hubs.

Some of the sites hang, refuse, flood, die, or show another host key than before: a few times, or to the end.
Promised: nothing that a site confirmed is sent to it again, and nothing counts as confirmed that it did not;
stage 2 comes to nobody before stage 1; a site with another host key hears nothing; whoever answers has
everything soon after the hub is left alone, whatever the others do; when these are well again, all have; the
hub's memory is bounded, and nothing of it is left.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import asyncssh
import tomlkit

from downstream import naming
from faults import jumping
from faults.campaign import Trial
from faults.crowd import WILLING, Crowd, CrowdSite, Event, drawn
from faults.line import Heartbeat
from faults.triggers import peak_kib
from pushmirror.config.model import PushKind
from pushmirror.errors import Exit
from pushmirror.lab.services import wait_until
from pushmirror.lab.site import ARCHIVE
from pushmirror.push.trigger import parse_trigger
from pushmirror.state.records import Stage, Trigger
from pushmirror.state.store import Store, open_store
from pushmirror.system import clock, process

_SITES, _FEWEST = 500, 30
_GENERATIONS = 5
_KILLS = 4  # for each generation
_WHOLE = 0.5  # of a campaign: less of it has fewer sites, too
_KINDS = (PushKind.ALL, PushKind.STAGED, PushKind.STAGED, PushKind.MHOP)
_SHORT_TIMES = {"deadline": "8s", "timeout": "20s", "connect_timeout": "20s"}  # the sites share a process
_RETRIES = {"retry_after": "1s", "retry_at_most": "4s", "retry_for": "1h"}
_LIFE_S = 6.0  # at most, of a hub that is to be killed
_LONGEST_S = 120.0  # without another that has everything, of those who answer, while a hub is left alone
_JUMPS_S = (-400 * 86400, -86400, -3600, -9, 9, 3600, 86400, 400 * 86400)
_LARGEST_KIB = 400 * 1024  # of a hub; with no site at all it has 80,000
_GONE_S = 60.0
_CONFIRMING = {Exit.OK, Exit.HELD}


class _Hub:
    """One hub: its configuration, its store, its clock, and its pushes by the real command."""

    def __init__(self, directory: Path, sites: Sequence[CrowdSite], random: Random) -> None:
        self.directory = directory
        self.etc, self.state = directory / "etc", directory / "state"
        self.key = asyncssh.generate_private_key("ssh-ed25519")
        self.sites = sites
        self._clock = directory / "clock"
        self._kinds = {site.name: random.choice(_KINDS) for site in sites}
        (self.etc / "sites.d").mkdir(parents=True)
        (directory / "tree/project/trace").mkdir(parents=True)
        self.key.write_private_key(directory / "key")
        (directory / "key").chmod(0o600)
        self.jump(0)

    def configure(self) -> None:
        """Write the configuration; the sites listen."""
        document = {
            "mirror": {"name": "hub.example.org"},
            "state": {"directory": str(self.state)},
            "push": {"key": str(self.directory / "key"), **_SHORT_TIMES, **_RETRIES},
            "archives": {ARCHIVE: {"path": str(self.directory / "tree")}},
        }
        (self.etc / "pushmirror.toml").write_text(tomlkit.dumps(document))
        for site in self.sites:
            keys = {"host": site.host, "port": site.port, "user": "mirror", "archives": [ARCHIVE]}
            text = tomlkit.dumps({**keys, "push": self._kinds[site.name].value})
            (self.etc / "sites.d" / f"{site.name}.toml").write_text(text)
        self.store = open_store(f"sqlite:///{self.state / 'state.sqlite'}", self.state)

    def jump(self, seconds: float) -> None:
        """Its clock is wrong by so much from now on."""
        new = self._clock.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self._clock)

    @contextmanager
    def pushing(self, *hold: str) -> Iterator[process.Background]:
        """Push beside us; with `hold`, held at that moment of a push."""
        words = [*(["hold", *hold] if hold else []), "--config", str(self.etc), "push", "--background"]
        argv = [sys.executable, "-P", str(Path(jumping.__file__)), str(self._clock), *words]
        environment = {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        with process.background(argv, env=environment, log=self.directory / "output.log") as child:
            yield child

    def lacking(self, generation: str, among: Sequence[CrowdSite]) -> list[str]:
        """The names of those that do not have this generation."""
        site_states = self.store.site_states(ARCHIVE)
        return [
            site.name
            for site in among
            if site.name not in site_states or site_states[site.name].stage2 != generation
        ]


@dataclass(frozen=True, slots=True)
class _Left:
    """A hub that is left alone, until these sites have this generation."""

    hub: _Hub
    generation: str
    sites: Sequence[CrowdSite]

    @property
    def lacking(self) -> list[str]:
        return self.hub.lacking(self.generation, self.sites)


def run(trial: Trial) -> None:
    """Kill the hub at some moments of each generation, then leave it alone; in the end, all are well."""
    count = _SITES if trial.scale >= _WHOLE else max(_FEWEST, round(_SITES * trial.scale))
    sites = drawn(count, trial.random)
    hub = _Hub(trial.directory / "hub", sites, trial.random)
    other = _Hub(trial.directory / "other", sites[: max(10, count // 10)], trial.random)
    with ExitStack() as stack:
        beat = stack.enter_context(Heartbeat())
        crowd = stack.enter_context(Crowd(sites, [hub.key, other.key]))
        for one in (hub, other):
            one.configure()
            stack.callback(one.store.close)
        kills, generation = 0, ""
        for _ in trial.times(_GENERATIONS):
            generation = _published(hub.store, trial.random)
            for _ in range(_KILLS):
                kills += 1
                _live_and_die(trial, hub)
            willing = [site for site in sites if site.temper in WILLING]
            _left_alone(trial, [_Left(hub, generation, willing)], beat, "sites that answer")
        crowd.heal()
        hub.jump(trial.random.choice(_JUMPS_S))  # while many of them rest
        _left_alone(trial, [_Left(hub, generation, sites)], beat, "sites that are all well again")
        below = [_Left(one, _published(one.store, trial.random), one.sites) for one in (hub, other)]
        _left_alone(trial, below, beat, "sites below two hubs")
        for one in (hub, other):
            _judge(trial, one, crowd.events)
        for name in crowd.fooled:
            trial.wrong("leaks", f"{name} was sent something though it had another host key")
        trial.tally.faults += kills + sum(site.is_odd for site in sites)


def _published(store: Store, random: Random) -> str:
    generation = f"{random.getrandbits(256):064x}"
    store.publish_generation(ARCHIVE, generation, None, clock.now())
    return generation


def _live_and_die(trial: Trial, hub: _Hub) -> None:
    """The hub pushes, its clock jumps, and it is killed: at some time, or around a call of its store."""
    random = trial.random
    hub.jump(random.choice((0, *_JUMPS_S)))
    then_s, jump = random.random() * _LIFE_S, random.choice(_JUMPS_S)
    mark = hub.directory / "mark"
    mark.unlink(missing_ok=True)
    when, method = random.choice(("before", "after")), random.choice(("add_triggers", "record_answer"))
    stage, number = (
        random.choice(list(Stage)),
        random.randint(1, 1 if method == "add_triggers" else len(hub.sites) // 4),
    )
    hold = (when, method, stage.value, str(number), str(mark)) if random.random() < 0.5 else ()
    with hub.pushing(*hold) as child:
        wait_until(lambda: mark.exists() or child.poll() is not None, limit_s=then_s)
        hub.jump(jump)
        wait_until(lambda: mark.exists() or child.poll() is not None, limit_s=_LIFE_S if hold else then_s / 2)
        _look_at(trial, child.pid)
        if child.poll() is None:
            os.kill(child.pid, signal.SIGKILL)
        elif child.poll() != Exit.BEHIND:
            trial.wrong("internal", f"a hub ended by itself with exit code {child.poll()}")


def _left_alone(trial: Trial, left: Sequence[_Left], beat: Heartbeat, who: str) -> None:
    """Each pushes until its sites have what there is, and is then stopped."""
    began = time.monotonic()
    with ExitStack() as stack:
        children = [stack.enter_context(one.hub.pushing()) for one in left]
        if not wait_until(lambda: not any(one.lacking for one in left), limit_s=trial.random.random() * 3):
            left[0].hub.jump(trial.random.choice(_JUMPS_S))  # and stays so
        _watch_progress(left, beat)
        for one, child in zip(left, children, strict=True):
            if lacking := one.lacking:
                some = ", ".join(f"{name} ({_last_words(one.hub, name)})" for name in lacking[:3])
                trial.wrong(
                    "lost", f"{who}: after {time.monotonic() - began:.0f} s {len(lacking)} lack it: {some}"
                )
            _look_at(trial, child.pid)
            os.kill(child.pid, signal.SIGTERM)
        if not wait_until(lambda: all(child.poll() is not None for child in children), limit_s=_GONE_S):
            trial.wrong("hangs", f"{who}: a hub did not end by SIGTERM within {_GONE_S:.0f} s")
        for child in children:
            trial.ended(child.poll() or 0, "", f"{who}: a hub")


def _watch_progress(left: Sequence[_Left], beat: Heartbeat) -> None:
    """Until nobody lacks anything, or nothing has changed in that for too long."""
    lacking, since = sum(len(one.lacking) for one in left), time.monotonic()
    while lacking and time.monotonic() - since < _LONGEST_S + beat.late_s(since):
        wait_until(lambda: not any(one.lacking for one in left), limit_s=2)
        if (now := sum(len(one.lacking) for one in left)) < lacking:
            lacking, since = now, time.monotonic()


def _last_words(hub: _Hub, site: str) -> str:
    site_state = hub.store.site_states(ARCHIVE).get(site)
    return site_state.last_words if site_state else "never woken"


def _look_at(trial: Trial, pid: int) -> None:
    """Whether a hub is larger than it may become."""
    if (found := peak_kib(pid)) > _LARGEST_KIB:
        trial.wrong("leaks", f"a hub had {found} KiB")


def _judge(trial: Trial, hub: _Hub, events: Sequence[Event]) -> None:
    """Compare what the hub remembers with what its sites have seen."""
    triggers = sorted(hub.store.triggers(archive=ARCHIVE, limit=1_000_000), key=lambda one: one.id)
    generations = {one.generation for one in triggers}
    seen = [(key, event.code) for event in events if (key := _key(event)) and key[2] in generations]
    trial.tally.tries += sum(code is None for _, code in seen)
    for why in [*_doubled(triggers), *_invented(triggers, seen), *_out_of_order(seen)]:
        trial.wrong("lost", why)
    if not wait_until(lambda: not naming(hub.etc), limit_s=_GONE_S):
        trial.wrong("leaks", f"processes are left: {naming(hub.etc)}")
    said = (hub.directory / "output.log").read_text(errors="replace")
    if "Traceback" in said:
        trial.wrong("internal", said[said.index("Traceback") :][:1000])


_Key = tuple[str, Stage, str]  # site, stage, generation


def _key(event: Event) -> _Key | None:
    wanted = parse_trigger(event.words.split())
    return (event.site, wanted.stage, wanted.generation) if wanted.generation else None


def _doubled(triggers: Sequence[Trigger]) -> Iterator[str]:
    """What was sent again though it was confirmed."""
    confirmed: dict[_Key, Trigger] = {}
    for one in triggers:
        key = one.site, one.stage, one.generation
        if key in confirmed:
            yield f"{one.site} was sent {one.stage} again that it had confirmed"
        if one.exit_code in _CONFIRMING:
            confirmed[key] = one


def _invented(triggers: Sequence[Trigger], seen: Sequence[tuple[_Key, int | None]]) -> Iterator[str]:
    """What the hub remembers and no site has seen, or the other way round."""
    begun = Counter(key for key, code in seen if code is None)
    confirmed = Counter(key for key, code in seen if code in _CONFIRMING)
    sent = Counter((one.site, one.stage, one.generation) for one in triggers)
    heard = Counter((one.site, one.stage, one.generation) for one in triggers if one.exit_code in _CONFIRMING)
    yield from (f"{key[0]} was sent {key[1]} more often than is remembered" for key in begun - sent)
    yield from (f"{key[0]} counts as having confirmed {key[1]}, and has not" for key in heard - confirmed)


def _out_of_order(seen: Sequence[tuple[_Key, int | None]]) -> Iterator[str]:
    """Stage 2 at a site that had not confirmed stage 1."""
    staged: set[tuple[str, str]] = set()
    for (site, stage, generation), code in seen:
        if stage is Stage.STAGE1 and code in _CONFIRMING:
            staged.add((site, generation))
        elif stage is Stage.STAGE2 and code is None and (site, generation) not in staged:
            yield f"{site} was sent stage 2 without having stage 1"
