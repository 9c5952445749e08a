"""Reads what `pushmirror import` was given: files of archvsync and rsync, or the environment alone.

Guaranteed: nothing is changed; the environment of who calls it does not become part of what the files say,
unless it is to be read itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pushmirror.config.legacy.authorized_keys import Pusher, read_pushers
from pushmirror.config.legacy.ftpsync import TO, archive_name, read_ftpsync
from pushmirror.config.legacy.merging import Told
from pushmirror.config.legacy.places import Places
from pushmirror.config.legacy.reading import read_variables
from pushmirror.config.legacy.rsyncd import Rsyncd, key, read_rsyncd
from pushmirror.config.legacy.runmirrors import read_runmirrors
from pushmirror.config.legacy.secrets_file import Secrets, read_secrets
from pushmirror.config.legacy.sorting import Sorted
from pushmirror.config.legacy.values import VERSION, Ftpsync, Runmirrors, Variables
from pushmirror.errors import ConfigError

ENVIRONMENT = "the environment"
_CALLERS = ("HOME", "LOGNAME", "USER", "PATH", "LANG")  # that a script has from whoever starts it
_NAMES_UPSTREAM = ("RSYNC_HOST", "RSYNC_SOURCE")


@dataclass(frozen=True, slots=True)
class Sources:
    """Everything that was read."""

    told: Told
    pushers: tuple[Pusher, ...] = ()
    read: tuple[str, ...] = ()  # places, in words
    warnings: tuple[str, ...] = ()
    owners: tuple[int, ...] = field(default=())  # user numbers of the files of archvsync


def read_files(found: Sorted, directory: Path, environment: Mapping[str, str]) -> Sources:
    """Read files; passwords for upstream will be in `directory`. Raises ConfigError."""
    reader = _Reader(directory, {name: environment[name] for name in _CALLERS if name in environment})
    if len(found.rsyncd) > 1:
        raise ConfigError(
            f"{found.rsyncd[1]}: {found.rsyncd[0]} is named, too, and pushmirror has one daemon"
        )
    ftpsyncs = tuple((str(file), reader.ftpsync(file)) for file in found.ftpsync)
    runmirrors = tuple(reader.all_runmirrors(found))
    rsyncd = read_rsyncd(found.rsyncd[0]) if found.rsyncd else None
    pushers = tuple(pusher for file in found.keys for pusher in read_pushers(file))
    told = Told(ftpsyncs, runmirrors, rsyncd, dict(_secrets(rsyncd)) if rsyncd else {})
    over = (
        f"{file} was passed over: {first} has its name and is read first" for file, first in found.passed_over
    )
    return Sources(
        told,
        pushers,
        (*map(str, found.files), *(str(file) for file in told.secrets)),
        (*over, *(warning for pusher in pushers for warning in pusher.warnings)),
        tuple(file.stat().st_uid for file in (*found.ftpsync, *found.runmirrors)),
    )


def read_environment(directory: Path, environment: Mapping[str, str]) -> Sources:
    """Read variables only, as a container is set up by. Raises ConfigError."""
    if not any(environment.get(name) for name in _NAMES_UPSTREAM):
        raise ConfigError(
            "the environment names no upstream, expected RSYNC_HOST in it",
            hint="call this in the container, or where its variables are set",
        )
    reader = _Reader(directory, environment)
    ftpsync = reader.ftpsync(None)
    runmirrors = []
    if environment.get("MIRRORS"):
        made = reader.runmirrors("runmirrors", None, None)
        runmirrors.append((ENVIRONMENT, environment["MIRRORS"], made))
    return Sources(Told(((ENVIRONMENT, ftpsync),), tuple(runmirrors)), (), (ENVIRONMENT,))


@dataclass
class _Reader:
    directory: Path  # of passwords for upstream
    environment: Mapping[str, str]

    def ftpsync(self, file: Path | None) -> Ftpsync:
        name = file.stem if file else "ftpsync"
        where = self._places(file)
        variables = self._variables(file, name, where)
        archive = archive_name("", name, variables.get("TO", TO))
        secret = self.directory / f"{archive}.secret"
        return read_ftpsync(variables, name=name, archive=archive, places=where, password_file=secret)

    def all_runmirrors(self, found: Sorted) -> Iterator[tuple[str, str, Runmirrors]]:
        """Those with a runmirrors.conf, and those of which there is only the .mirror."""
        mirrors = {file.stem: file for file in found.mirror}
        confs = {file.stem: file for file in found.runmirrors}
        for name in sorted({*mirrors, *confs}, key=lambda one: ("-" in one, one)):
            conf, mirror = confs.get(name), mirrors.get(name)
            yield str(conf or mirror), str(mirror or conf), self.runmirrors(name, conf, mirror)

    def runmirrors(self, name: str, conf: Path | None, mirror: Path | None) -> Runmirrors:
        where = self._places(conf or mirror)
        variables = self._variables(conf, name, where)
        file = Path(variables.get("MIRRORS")) if variables.get("MIRRORS") else mirror
        return read_runmirrors(
            variables,
            name=name,
            archive_option=name.partition("-")[2],
            places=where,
            mirror_text=_text(file),
            home=Path(self.environment.get("HOME") or "/"),
        )

    def _variables(self, file: Path | None, name: str, where: Places) -> Variables:
        preset = {"NAME": name, "LOGDIR": str(where.logs), "LOCKDIR": str(where.locks), "VERSION": VERSION}
        if where.base:
            preset["BASEDIR"] = str(where.base)
        return read_variables(file, environment=self.environment, preset=preset)

    def _places(self, file: Path | None) -> Places:
        """Those of the command whose file it is: a tarball's are beside its `etc`."""
        directory = file.absolute().parent if file else Path("/nowhere")
        base = directory.parent if directory.name == "etc" else Path("/nowhere")
        return Places.of(self.environment, str(base / "bin/ftpsync"))


def _text(file: Path | None) -> str:
    if file is None:  # it pushes nobody, which `merge` tells
        return ""
    try:
        return file.read_text("utf-8", "surrogateescape")
    except OSError as exc:
        raise ConfigError(f"{file}: cannot be read: {exc.strerror}") from exc


def _secrets(rsyncd: Rsyncd) -> Iterator[tuple[Path, Secrets]]:
    """The secrets files of all modules that ask for a password."""
    told = {module.get(key("secrets file")) for module in rsyncd.modules if module.get(key("auth users"))}
    for name in sorted(told - {""}):
        file = Path(name)
        if not file.is_absolute():
            raise ConfigError(f"{rsyncd.file}: secrets file: expected an absolute path, found {name}")
        yield file, read_secrets(file)


def with_trees(sources: Sources, trees: Mapping[str, Path]) -> Sources:
    """The same, with trees that the operator names."""
    return replace(sources, told=replace(sources.told, trees=trees))


def nothing_found(searched: Sequence[Path]) -> ConfigError:
    """The error for who has none of these files."""
    return ConfigError(
        f"there is nothing to import in {', '.join(map(str, searched))}",
        hint="name files or directories, such as: pushmirror import /etc/ftpsync /etc/rsyncd.conf; or begin "
        "with `pushmirror init`",
    )


def caller() -> Mapping[str, str]:
    """The environment that we were called in."""
    return dict(os.environ)
