"""The sites of runmirrors.mirror as the push of an archive sees them now, and how they are to be woken.

Guaranteed: a change of the files counts from the next look on, also in a push that goes on from earlier;
while they have a mistake in them, what they said before counts. What the last call said of the kind of the
push (its course) counts for whoever pushes the archive, or a second call would have to wait for the first.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pushmirror.config.current import Stamp, facts_of
from pushmirror.config.legacy.values import MirrorLine, Runmirrors
from pushmirror.config.model import Config, PushKind, Site, State
from pushmirror.errors import ConfigError, StateError
from pushmirror.system import files

_log = logging.getLogger(__name__)
_MHOP, _STAGE2 = "mhop", "stage2"


@dataclass(frozen=True, slots=True)
class Course:
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

    def take(self, course: Course) -> None:
        """This is how the archive's sites are woken from now on, by whoever does it."""
        try:
            self._course_file.parent.mkdir(parents=True, exist_ok=True)
            files.write_atomically(self._course_file, json.dumps(asdict(course)).encode(), durable=False)
        except OSError as exc:
            raise StateError(
                f"{self._course_file} cannot be written: {exc.strerror}",
                hint=f"whoever runs runmirrors has to own all below {self.state.directory}",
            ) from exc

    @property
    def course(self) -> Course:
        """How the archive's sites are woken now."""
        try:
            return Course(**json.loads(self._course_file.read_bytes()))
        except (OSError, ValueError, TypeError):  # nobody has said, or somebody else's file
            return Course()

    def line(self, site: str) -> MirrorLine:
        """The line of a site."""
        return self._lines[site]

    def _read_again(self) -> None:
        try:
            self._found = self._read()
        except ConfigError as exc:
            _log.warning("the configuration has a mistake; the former one still counts: %s", exc)
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
