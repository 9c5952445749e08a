"""What archvsync's files say, as values: our model where it has a place for it, and the rest beside it.

Guaranteed: nothing that was said is dropped in silence; what has no counterpart is in `warnings`, one
sentence each that names the variable or line. Passwords are in no warning and no repr.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pushmirror.config.model import Archive, Mirror, Push, PushKind, Site
from pushmirror.config.types import Wait

VERSION = "20180513+nmu1"  # of the archvsync that is meant


@dataclass(frozen=True, slots=True)
class Variables:
    """The variables that a bash file sets, and the environment, whose variables are defaults."""

    file: Path | None  # none: there is none, and the environment says everything
    values: Mapping[str, str] = field(repr=False)  # that the file set
    environment: Mapping[str, str] = field(repr=False)
    functions: tuple[str, ...] = ()  # that the file defines
    exported: frozenset[str] = frozenset()  # names among its values that programs, such as hooks, inherit
    preset: Mapping[str, str] = field(
        default_factory=dict
    )  # that the script set before; `environment` has it

    def get(self, name: str, default: str = "") -> str:
        """As `${NAME:-default}`: an empty variable counts as unset."""
        return self.values.get(name, self.environment.get(name, "")) or default

    @property
    def for_programs(self) -> dict[str, str]:
        """What the file has programs inherit, whoever starts them; a password may be in it."""
        return {name: self.values[name] for name in self.exported}


@dataclass(frozen=True, slots=True)
class Mail:
    """Who is told of a run."""

    to: tuple[str, ...]
    errors_only: bool = True
    full_logs: bool = False  # rsync's, too


@dataclass(frozen=True, slots=True)
class Logs:
    """Where a script logs."""

    directory: Path
    file: Path
    keep: int = 14  # old ones of each


@dataclass(frozen=True, slots=True)
class Ftpsync:
    """All that an ftpsync.conf says."""

    name: str  # of configuration and logs: ftpsync, ftpsync-security
    archive: Archive
    mirror: Mirror
    mail: Mail
    logs: Logs
    is_hub: bool
    hooks: tuple[tuple[str, ...], ...]  # HOOK1 to HOOK5 as words; those that are not set are empty
    password: str | None = field(repr=False)  # for upstream; archive.password_file is where it belongs
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MirrorLine:
    """A line of runmirrors.mirror that names a mirror."""

    kind: PushKind
    name: str
    host: str
    user: str | None  # none: an address without one
    archive: str  # that it is told; empty: its main one
    protocol: int | None  # of ssh, 1 or 2; none: the line has options of ssh's own
    key: str  # path; the configuration's unless the line names one
    ssh_options: tuple[str, ...] = ()
    delay: tuple[Wait, ...] = ()  # all DELAY lines before it


@dataclass(frozen=True, slots=True)
class Runmirrors:
    """All that a runmirrors.conf and its runmirrors.mirror say."""

    name: str  # runmirrors, runmirrors-security
    archive: str  # PUSHARCHIVE
    lines: tuple[MirrorLine, ...]
    key: Path
    ssh_options: tuple[str, ...]  # SSH_OPTS, for every mirror
    callback: bool  # PUSHCB
    push: Push
    mail: Mail
    logs: Logs
    hooks: tuple[tuple[str, ...], ...]  # HOOK1 to HOOK3 as words
    warnings: tuple[str, ...] = ()  # of runmirrors.conf
    mirror_warnings: tuple[str, ...] = ()  # of runmirrors.mirror
    ignored: tuple[str, ...] = ()  # of these, those of lines that wake nobody
    kind: str = "mhop"  # PUSHKIND, of a call that names none

    def sites(self, archive: str) -> tuple[Site, ...]:
        """The mirrors as sites of our archive of this name, in the order of their lines."""
        return tuple(site_of(line, archive, callback=self.callback) for line in self.lines)


def site_of(line: MirrorLine, archive: str, *, callback: bool) -> Site:
    """A line's mirror as a site of our archive of this name; ValueError says what keeps it from being one."""
    told = {} if line.archive in {"", archive} else {archive: line.archive}
    user, _, host = line.host.rpartition("@")  # ssh takes that user before any other
    return Site(
        name=line.name,
        host=host,
        user=user or line.user or "archvsync",
        push=line.kind,
        archives=(archive,),
        main_archive=None if line.archive else archive,
        archive_names=told,
        key=Path(line.key if line.key.startswith("~") else Path.home() / line.key),  # called at home
        ssh_options=line.ssh_options,
        callback=callback,
        delay=line.delay,
    )
