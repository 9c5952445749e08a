"""The settings of archvsync's files as values: our model, and what it has no place for.

Guaranteed: no setting is dropped silently; one without a counterpart is in `warnings`, a sentence with the
variable or line. Passwords are in no warning and no repr.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pushmirror.config.model import Archive, Mirror, Push, PushKind, Site
from pushmirror.config.types import Wait

VERSION = "20180513+nmu1"  # of the files


@dataclass(frozen=True, slots=True)
class Variables:
    """The variables that a bash file sets, and the environment, whose variables are defaults."""

    file: Path | None  # None: there is none, only the environment
    values: Mapping[str, str] = field(repr=False)  # that the file set
    environment: Mapping[str, str] = field(repr=False)
    functions: tuple[str, ...] = ()  # that the file defines
    exported: frozenset[str] = frozenset()  # exported variables, which programs such as hooks inherit
    preset: Mapping[str, str] = field(default_factory=dict)  # preset by the script; `environment` has it

    def get(self, name: str, default: str = "") -> str:
        """The value as of `${NAME:-default}`: an empty variable counts as unset."""
        return self.values.get(name, self.environment.get(name, "")) or default

    @property
    def for_programs(self) -> dict[str, str]:
        """The variables that programs inherit; a password may be among them."""
        return {name: self.values[name] for name in self.exported}


@dataclass(frozen=True, slots=True)
class Mail:
    """The recipients of mail about a run."""

    to: tuple[str, ...]
    errors_only: bool = True
    full_logs: bool = False  # rsync's, too


@dataclass(frozen=True, slots=True)
class Logs:
    """Where a script logs."""

    directory: Path
    file: Path
    keep: int = 14  # old files to keep of each


@dataclass(frozen=True, slots=True)
class Ftpsync:
    """The settings of an ftpsync.conf."""

    name: str  # of configuration and logs: ftpsync, ftpsync-security
    archive: Archive
    mirror: Mirror
    mail: Mail
    logs: Logs
    is_hub: bool
    hooks: tuple[tuple[str, ...], ...]  # HOOK1 to HOOK5 as words; empty if not set
    password: str | None = field(repr=False)  # for upstream; to be written to archive.password_file
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MirrorLine:
    """A line of runmirrors.mirror that names a mirror."""

    kind: PushKind
    name: str
    host: str
    user: str | None  # None: an address without a user
    archive: str  # in the trigger; empty: the site's main one
    protocol: int | None  # of ssh, 1 or 2; None: the line has options in ssh's own form
    key: str  # path; the configuration's unless the line names one
    ssh_options: tuple[str, ...] = ()
    delay: tuple[Wait, ...] = ()  # of all DELAY lines before it


@dataclass(frozen=True, slots=True)
class Runmirrors:
    """The settings of a runmirrors.conf and its runmirrors.mirror."""

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
    ignored: tuple[str, ...] = ()  # of these, those of lines without a usable mirror
    kind: str = "mhop"  # PUSHKIND, for a call without a kind

    def sites(self, archive: str) -> tuple[Site, ...]:
        """The mirrors as sites of our archive of this name, in the order of their lines."""
        return tuple(site_of(line, archive, callback=self.callback) for line in self.lines)


def site_of(line: MirrorLine, archive: str, *, callback: bool) -> Site:
    """A line's mirror as a site of our archive of this name; ValueError says why it cannot be one."""
    names = {} if line.archive in {"", archive} else {archive: line.archive}
    user, _, host = line.host.rpartition("@")  # ssh prefers that user
    return Site(
        name=line.name,
        host=host,
        user=user or line.user or "archvsync",
        push=line.kind,
        archives=(archive,),
        main_archive=None if line.archive else archive,
        archive_names=names,
        key=Path(
            line.key if line.key.startswith("~") else Path.home() / line.key
        ),  # called in the home directory
        ssh_options=line.ssh_options,
        callback=callback,
        delay=line.delay,
    )
