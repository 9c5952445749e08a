"""The sites of runmirrors.mirror as the push of an archive sees them now, and how they are to be woken.

Guaranteed: a change of the files counts from the next look on, also in a push that goes on from earlier;
while they have a mistake in them, what they said before counts. What the last call said of the kind of the
push (its course) counts for whoever pushes the archive, or a second call would have to wait for the first.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pushmirror.archvsync.ftpsync import TO, archive_name
from pushmirror.archvsync.places import PUSH_KIND, ScriptPaths, find, preset_of_ftpsync, preset_of_runmirrors
from pushmirror.archvsync.runmirrors import read_runmirrors
from pushmirror.archvsync.values import MirrorLine, Runmirrors, Variables
from pushmirror.archvsync.variables import read_variables
from pushmirror.compat import entrypoint
from pushmirror.compat.runmirrors_args import RunmirrorsArgs
from pushmirror.config.model import Config, PushKind, Site, State
from pushmirror.config.reload import Stamp, facts_of
from pushmirror.errors import ConfigError
from pushmirror.push.site_state import anew, at_once
from pushmirror.state.records import SiteState
from pushmirror.system import files
from pushmirror.system.owned_directory import state_errors

if TYPE_CHECKING:
    from pushmirror.state.store import Store


# The files of a call of runmirrors: its configuration, its mirrors, and the ftpsync.conf beside them.
#
# Guaranteed: an archive has the same name here as for that ftpsync, so that both mean the same site states.


def read(call: RunmirrorsArgs, environment: Mapping[str, str]) -> Read:
    """A call's configuration; ConfigError without one."""
    where = ScriptPaths.of(environment, call.argv0)
    file = find(where, f"{call.name}.conf")
    if file is None:
        directories = ", ".join(map(str, where.config))
        raise ConfigError(f"the configuration file {call.name}.conf is in none of {directories}")
    home = Path(environment["HOME"]) if environment.get("HOME") else Path.home()
    preset = preset_of_runmirrors(
        call.name,
        where,
        archive_option=call.archive_option,
        kind=call.kind or environment.get("PUSHKIND") or PUSH_KIND,
        from_ftpsync=call.from_ftpsync,
    )
    variables = read_variables(file, environment=environment, preset=preset)
    mirrors = _mirrors(variables, call, where, home)
    found = read_runmirrors(
        variables,
        name=call.name,
        archive_option=call.archive_option,
        places=where,
        mirror_text=_text(mirrors),
        home=home,
    )
    return Read(found, (file, *([mirrors] if mirrors else [])), variables.for_programs)


def archive_of(call: RunmirrorsArgs, environment: Mapping[str, str]) -> str:
    """Our name of what this call pushes: that of the ftpsync beside it."""
    script = call.name.replace("runmirrors", "ftpsync", 1)
    where = ScriptPaths.of(environment, call.argv0)
    file = find(where, f"{script}.conf")
    tree = ""
    if file is not None:
        preset = preset_of_ftpsync(script, where, {"ARCHIVE": call.archive_option})
        try:
            tree = read_variables(file, environment=environment, preset=preset).get("TO", TO)
        except ConfigError as exc:  # an ftpsync that cannot run keeps nobody from pushing
            entrypoint.complain(f"warning: cannot determine the archive: {exc}")
    return archive_name(call.archive_option, script, tree)


def _mirrors(variables: Variables, call: RunmirrorsArgs, where: ScriptPaths, home: Path) -> Path | None:
    told = variables.get("MIRRORS")
    return home / told if told else find(where, f"{call.name}.mirror")


def _text(file: Path | None) -> str:
    """The lines of a file; none where it is not there: the script pushes nobody then."""
    try:
        return file.read_text("utf-8", "replace") if file else ""
    except OSError:
        return ""


# What a call of runmirrors makes the goal of a push: sites are woken whatever they have confirmed before.
#
# Nobody who calls runmirrors says what there is to fetch. Where the store knows what is served, that is the
# goal, anew; where it does not, as with an archive that pushmirror never looked at, a generation is made up.
# A preparation is made up for the stage 1 that comes before its publication, too.


_MADE_UP = " by runmirrors"


def aim(store: Store, archive: str, sites: Iterable[Site], course: PushMode, now: datetime) -> None:
    """Have these sites woken as the caller says, whatever they have."""
    if course.is_ahead:
        _prepare(store, archive, now)
    elif course.is_stage2:
        _publish_for_stage2(store, archive, sites, now)
    elif _is_unknown(store, archive):
        store.publish_generation(archive, _new(now), None, now)
    else:
        store.change_site_states(archive, _forgotten)


def stage1_was_had(store: Store, archive: str, sites: Iterable[Site]) -> None:
    """Stage 2 is to follow: if nobody was woken for the stage 1 of what is served, all have had it."""
    served = store.latest_generation(archive)
    staged = {site.name for site in sites if site.push.is_staged}
    known = store.site_states(archive)
    if served is None or any(_was_woken(one, served.digest) for name, one in known.items() if name in staged):
        return
    site_states = [known.get(name, SiteState(archive, name)) for name in staged]
    store.put_site_states(
        replace(one, stage1=served.digest) for one in site_states if one.stage2 != served.digest
    )


def _prepare(store: Store, archive: str, now: datetime) -> None:
    prepared = store.preparation(archive)
    if prepared is None or _is_made_up(prepared.generation):
        store.prepare(archive, _new(now))
        return

    def again(one: SiteState) -> SiteState:
        return replace(_forgotten(one), stage2=one.stage2) if one.stage1 == prepared.generation else one

    store.change_site_states(archive, again)


def _publish_for_stage2(store: Store, archive: str, sites: Iterable[Site], now: datetime) -> None:
    """Whoever was woken for stage 1 and failed gets it first; without such a call all have had it."""
    prepared = store.preparation(archive)
    ahead = prepared.generation if prepared and _is_made_up(prepared.generation) else None
    had_it = {name for name, one in store.site_states(archive).items() if ahead and one.stage1 == ahead}
    if _is_unknown(store, archive):
        store.publish_generation(archive, ahead or _new(now), None, now)
    elif ahead:
        store.unprepare(archive)
    served = store.latest_generation(archive)
    assert served is not None
    known = store.site_states(archive)
    for site in sites:
        one = known.get(site.name, SiteState(archive, site.name))
        stage1 = served.digest if site.push.is_staged and (not ahead or site.name in had_it) else None
        # Answers that are on their way to an earlier stage 2 are not to this one.
        sent = one.sent_generation if one.sent_generation == ahead else None
        known[site.name] = replace(at_once(one), stage1=stage1, stage2=None, sent_generation=sent)
    store.put_site_states(known.values())


def _is_unknown(store: Store, archive: str) -> bool:
    """Whether nobody but us has ever said what is served."""
    served = store.latest_generation(archive)
    return served is None or _is_made_up(served.digest)


def _was_woken(one: SiteState, generation: str) -> bool:
    return generation in (one.stage1, one.tried, one.sent_generation)


def _forgotten(one: SiteState) -> SiteState:
    """It has confirmed nothing, nor does what it is about to confirm count: we were called after that."""
    return replace(anew(one), sent_generation=None)


def _new(now: datetime) -> str:
    return f"{now:%y%m%d-%H%M%S.%f}{_MADE_UP}"


def _is_made_up(generation: str) -> bool:
    return generation.endswith(_MADE_UP)


_log = logging.getLogger(__name__)
_MHOP, _STAGE2 = "mhop", "stage2"


@dataclass(frozen=True, slots=True)
class PushMode:
    """How sites are woken: what runmirrors was told by -k and -f."""

    kind: str = _MHOP  # all, stage2, mhop; anything else counts as all
    from_ftpsync: bool = False

    @property
    def is_ahead(self) -> bool:
        """Whether only staged sites are woken, and only for stage 1."""
        return self.kind == _MHOP and self.from_ftpsync

    @property
    def is_stage2(self) -> bool:
        """Whether staged sites have had their stage 1."""
        return self.kind == _STAGE2

    def of(self, site: Site) -> Site | None:
        """A site as it is woken; none: it is not."""
        if self.is_ahead and not site.push.is_staged:
            return None
        if self.kind != _MHOP and site.push is PushKind.MHOP:
            return site.model_copy(update={"push": PushKind.STAGED})  # not told that it is mhop
        return site


@dataclass(frozen=True, slots=True)
class Read:
    """The configuration as it was read."""

    runmirrors: Runmirrors
    files: tuple[Path, ...]  # that it came from
    for_programs: Mapping[str, str] = field(default_factory=dict)  # what it has them inherit


class CurrentSites:
    """Calling it gives a configuration with the sites, as they are to be woken now."""

    def __init__(self, read: Callable[[], Read], archive: str, state: State) -> None:
        """Raises ConfigError when there is nothing to begin with."""
        self.archive = archive
        self.state = state
        self._read = read
        self._course_file = state.directory / "push" / archive / "course"
        self._lines: dict[str, MirrorLine] = {}  # also of sites that are gone: they may be under way
        self._found = read()
        self._seen: Stamp = ()  # so that what changes while they are read is seen
        self._config = self._made()

    def __call__(self) -> Config:
        """The configuration."""
        stamp = self._stamp()
        if stamp != self._seen:
            self._seen = stamp
            self._read_again()
        return self._config

    @property
    def runmirrors(self) -> Runmirrors:
        """All that the files say."""
        return self._found.runmirrors

    @property
    def for_programs(self) -> Mapping[str, str]:
        """What the files have programs inherit."""
        return self._found.for_programs

    def take(self, course: PushMode) -> None:
        """This is how the archive's sites are woken from now on, by whoever does it."""
        with state_errors(self.state.directory, self._course_file):
            self._course_file.parent.mkdir(parents=True, exist_ok=True)
            files.write_atomically(self._course_file, json.dumps(asdict(course)).encode(), durable=False)

    @property
    def course(self) -> PushMode:
        """How the archive's sites are woken now."""
        try:
            return PushMode(**json.loads(self._course_file.read_bytes()))
        except (OSError, ValueError, TypeError):  # nobody has said, or somebody else's file
            return PushMode()

    def line(self, site: str) -> MirrorLine:
        """The line of a site."""
        return self._lines[site]

    def _read_again(self) -> None:
        try:
            self._found = self._read()
        except ConfigError as exc:
            _log.warning("invalid configuration; keeping the previous one: %s", exc)
        self._config = self._made()

    def _made(self) -> Config:
        self._lines |= {line.name: line for line in self.runmirrors.lines}
        course = self.course
        woken = (course.of(site) for site in self.runmirrors.sites(self.archive))
        sites = {site.name: site for site in woken if site}
        return Config(push=self.runmirrors.push, state=self.state, sites=sites)

    def _stamp(self) -> Stamp:
        """What tells one state of the files from another."""
        return tuple(facts_of(file) for file in (*self._found.files, self._course_file))
