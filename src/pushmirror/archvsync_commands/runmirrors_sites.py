"""The sites of runmirrors.mirror for a push, its mode, and its goal.

Sites are pushed whatever they have confirmed before: a call of runmirrors does not name a generation. If the
store knows what is served, that is the goal, again; if not, as for an archive that pushmirror never synced,
a placeholder is. So is the preparation of a stage 1 that comes before its publication. Answers to an earlier
stage 2 do not count for this one.

Guaranteed: an archive has the same name as for the ftpsync beside it; changed files count from the next
reading on, also in a push in progress; while they have an error, their last valid content counts. The mode
of the last call counts for every process that pushes the archive, else a second call would have to wait for
the first.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pushmirror.archvsync_commands import entrypoint
from pushmirror.archvsync_commands.runmirrors_args import RunmirrorsArgs
from pushmirror.archvsync_config.ftpsync import TO, archive_name
from pushmirror.archvsync_config.places import (
    PUSH_KIND,
    ScriptPaths,
    find,
    preset_of_ftpsync,
    preset_of_runmirrors,
)
from pushmirror.archvsync_config.runmirrors import read_runmirrors
from pushmirror.archvsync_config.values import MirrorLine, Runmirrors, Variables
from pushmirror.archvsync_config.variables import read_variables
from pushmirror.config.model import Config, PushKind, Site, State
from pushmirror.config.reload import Stamp, facts_of
from pushmirror.errors import ConfigError
from pushmirror.push.site_state import reset, retry_now
from pushmirror.state.records import SiteState
from pushmirror.system import files
from pushmirror.system.owned_directory import state_errors

if TYPE_CHECKING:
    from pushmirror.state.store import Store


def read(call: RunmirrorsArgs, environment: Mapping[str, str]) -> Read:
    """Read a call's configuration; ConfigError if there is none."""
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
    """Our name of the archive: that of the ftpsync beside the runmirrors."""
    script = call.name.replace("runmirrors", "ftpsync", 1)
    where = ScriptPaths.of(environment, call.argv0)
    file = find(where, f"{script}.conf")
    tree = ""
    if file is not None:
        preset = preset_of_ftpsync(script, where, {"ARCHIVE": call.archive_option})
        try:
            tree = read_variables(file, environment=environment, preset=preset).get("TO", TO)
        except ConfigError as exc:  # an unusable ftpsync.conf does not prevent a push
            entrypoint.complain(f"warning: cannot determine the archive: {exc}")
    return archive_name(call.archive_option, script, tree)


def _mirrors(variables: Variables, call: RunmirrorsArgs, where: ScriptPaths, home: Path) -> Path | None:
    named = variables.get("MIRRORS")
    return home / named if named else find(where, f"{call.name}.mirror")


def _text(file: Path | None) -> str:
    """The text of a file; empty if it is missing: the script then pushes nobody."""
    try:
        return file.read_text("utf-8", "replace") if file else ""
    except OSError:
        return ""


_MADE_UP = " by runmirrors"


def aim(store: Store, archive: str, sites: Iterable[Site], course: PushMode, now: datetime) -> None:
    """Make the caller's push the goal of these sites, whatever they have confirmed."""
    if course.is_ahead:
        _prepare(store, archive, now)
    elif course.is_stage2:
        _publish_for_stage2(store, archive, sites, now)
    elif _is_unknown(store, archive):
        store.publish_generation(archive, _new(now), None, now)
    else:
        store.change_site_states(archive, _forgotten)


def stage1_was_had(store: Store, archive: str, sites: Iterable[Site]) -> None:
    """Before stage 2: if no site was pushed for stage 1 of what is served, assume that all have it."""
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
    """A site that failed at stage 1 gets it first; without a call for stage 1 all have it."""
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
        known[site.name] = replace(retry_now(one), stage1=stage1, stage2=None, sent_generation=sent)
    store.put_site_states(known.values())


def _is_unknown(store: Store, archive: str) -> bool:
    """Whether the goal in the store is a placeholder of ours."""
    served = store.latest_generation(archive)
    return served is None or _is_made_up(served.digest)


def _was_woken(one: SiteState, generation: str) -> bool:
    return generation in (one.stage1, one.tried, one.sent_generation)


def _forgotten(one: SiteState) -> SiteState:
    """The site's state without confirmations, also of triggers in flight: this call came later."""
    return replace(reset(one), sent_generation=None)


def _new(now: datetime) -> str:
    return f"{now:%y%m%d-%H%M%S.%f}{_MADE_UP}"


def _is_made_up(generation: str) -> bool:
    return generation.endswith(_MADE_UP)


_log = logging.getLogger(__name__)
_MHOP, _STAGE2 = "mhop", "stage2"


@dataclass(frozen=True, slots=True)
class PushMode:
    """The mode of a push: runmirrors' options -k and -f."""

    kind: str = _MHOP  # all, stage2, mhop; anything else counts as all
    from_ftpsync: bool = False

    @property
    def is_ahead(self) -> bool:
        """Whether only staged sites are pushed, and only stage 1."""
        return self.kind == _MHOP and self.from_ftpsync

    @property
    def is_stage2(self) -> bool:
        """Whether it is the stage 2 of staged sites."""
        return self.kind == _STAGE2

    def of(self, site: Site) -> Site | None:
        """A site in this mode; None: it is not pushed."""
        if self.is_ahead and not site.push.is_staged:
            return None
        if self.kind != _MHOP and site.push is PushKind.MHOP:
            return site.model_copy(update={"push": PushKind.STAGED})  # the trigger has no sync:mhop
        return site


@dataclass(frozen=True, slots=True)
class Read:
    """A configuration as it was read."""

    runmirrors: Runmirrors
    files: tuple[Path, ...]  # it was read from
    for_programs: Mapping[str, str] = field(default_factory=dict)  # exported variables


class CurrentSites:
    """Calling it returns a configuration with the sites of the current mode."""

    def __init__(self, read: Callable[[], Read], archive: str, state: State) -> None:
        """Raises ConfigError if there is no valid configuration at first."""
        self.archive = archive
        self.state = state
        self._read = read
        self._course_file = state.directory / "push" / archive / "course"
        self._lines: dict[str, MirrorLine] = {}  # also of removed sites: their triggers may be in flight
        self._found = read()
        self._seen: Stamp = ()  # before reading, so that a change meanwhile is seen
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
        """The settings of the files."""
        return self._found.runmirrors

    @property
    def for_programs(self) -> Mapping[str, str]:
        """The variables that programs inherit."""
        return self._found.for_programs

    def take(self, course: PushMode) -> None:
        """Store the mode of the archive's pushes."""
        with state_errors(self.state.directory, self._course_file):
            self._course_file.parent.mkdir(parents=True, exist_ok=True)
            files.write_atomically(self._course_file, json.dumps(asdict(course)).encode(), durable=False)

    @property
    def course(self) -> PushMode:
        """The mode of the archive's pushes."""
        try:
            return PushMode(**json.loads(self._course_file.read_bytes()))
        except (OSError, ValueError, TypeError):  # not stored, or another program's file
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
        pushed = (course.of(site) for site in self.runmirrors.sites(self.archive))
        sites = {site.name: site for site in pushed if site}
        return Config(push=self.runmirrors.push, state=self.state, sites=sites)

    def _stamp(self) -> Stamp:
        """Changes when one of the files does."""
        return tuple(facts_of(file) for file in (*self._found.files, self._course_file))
