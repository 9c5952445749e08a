"""Find and read the files that `pushmirror import` translates, or the environment alone.

Files are recognised by their names, in the given directories and their usual subdirectories: a directory may
be a home, the base of a tarball, or /etc. Guaranteed: nothing is changed; of two files of one name the first
counts, as for the scripts; the caller's environment does not affect what the files mean, unless it is what is
read; bash started by root reads no file that another user could have written.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from pushmirror.archvsync_config.ftpsync import TO, archive_name, read_ftpsync
from pushmirror.archvsync_config.places import ScriptPaths, preset_of_file
from pushmirror.archvsync_config.runmirrors import read_runmirrors
from pushmirror.archvsync_config.values import Ftpsync, Runmirrors, Variables
from pushmirror.archvsync_config.variables import is_utf8, mended, read_text, read_variables
from pushmirror.errors import ConfigError, UsageError
from pushmirror.importing.authorized_keys import Pusher, read_pushers
from pushmirror.importing.merge import ImportedFiles
from pushmirror.importing.rsyncd_conf import Rsyncd, Secrets, key, read_rsyncd, read_secrets
from pushmirror.system.users import only_root_changes

_KINDS = {
    "ftpsync": ("ftpsync.conf", "ftpsync-*.conf"),
    "runmirrors": ("runmirrors.conf", "runmirrors-*.conf"),
    "mirror": ("runmirrors.mirror", "runmirrors-*.mirror"),
    "rsyncd": ("rsyncd.conf",),
    "keys": ("authorized_keys", "authorized_keys2"),
}
_ONLY_NAMED = {"rsyncd": ("rsyncd*.conf",)}  # such a file may be included by another
_BELOW = (".config/ftpsync", "ftpsync", "etc", ".ssh")
_MOST = 1000  # files of a directory


@dataclass(frozen=True, slots=True)
class Sorted:
    """The files of each kind; the main archive's come first."""

    ftpsync: tuple[Path, ...] = ()
    runmirrors: tuple[Path, ...] = ()
    mirror: tuple[Path, ...] = ()
    rsyncd: tuple[Path, ...] = ()
    keys: tuple[Path, ...] = ()
    passed_over: tuple[tuple[Path, Path], ...] = ()  # and the file of that name that counts

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that count."""
        return (*self.ftpsync, *self.runmirrors, *self.mirror, *self.rsyncd, *self.keys)


def usual_places(home: Path) -> tuple[Path, ...]:
    """The usual directories of such files."""
    etc = Path("/etc")
    return (
        *(home / ".config/ftpsync", etc / "ftpsync", home / "etc", etc / "rsyncd.conf"),
        home / ".ssh/authorized_keys",
    )


def sort_files(paths: Iterable[Path]) -> Sorted:
    """The files at these paths; UsageError for a missing one, or one of an unknown name."""
    found: dict[str, dict[str, Path]] = {kind: {} for kind in _KINDS}
    passed_over: list[tuple[Path, Path]] = []
    for path in paths:
        for kind, file in _at(path):
            first = found[kind].setdefault(_key(kind, file), file)
            if first.absolute() != file.absolute():
                passed_over.append((file, first))
    ordered = {kind: tuple(sorted(files.values(), key=_main_first)) for kind, files in found.items()}
    return Sorted(**ordered, passed_over=tuple(passed_over))


def _key(kind: str, file: Path) -> str:
    """What must differ between two files: authorized_keys may be those of several accounts."""
    return str(file.absolute()) if kind == "keys" else file.name


def _main_first(file: Path) -> tuple[bool, str]:
    return "-" in file.stem, file.name


def _at(path: Path) -> Iterator[tuple[str, Path]]:
    if os.path.isdir(path):  # noqa: PTH112  pathlib raises on EACCES
        yield from _in(path)
        for below in _BELOW:
            yield from _in(path / below)
        return
    kind = _kind(path.name, {kind: (*_KINDS[kind], *_ONLY_NAMED.get(kind, ())) for kind in _KINDS})
    if not os.path.isfile(path):  # noqa: PTH113  the same
        raise UsageError(f"{path}: there is no such file or directory")
    if kind is None:
        raise UsageError(
            f"{path}: unknown file type; expected a directory, or a file named "
            f"{', '.join(name for names in _KINDS.values() for name in names)}",
            hint="copy it to a directory under its usual name for archvsync or rsync, and give that path",
        )
    yield kind, path


def _in(directory: Path) -> Iterator[tuple[str, Path]]:
    try:
        names = sorted(os.listdir(directory))[:_MOST]  # noqa: PTH208  only the names are wanted
    except OSError:
        return
    for name in names:
        kind = _kind(name, _KINDS)
        if kind and (directory / name).is_file():
            yield kind, directory / name


def _kind(name: str, kinds: dict[str, Sequence[str]] | dict[str, tuple[str, ...]]) -> str | None:
    return next(
        (kind for kind, patterns in kinds.items() if any(fnmatchcase(name, one) for one in patterns)), None
    )


ENVIRONMENT = "the environment"
_CALLERS = ("HOME", "LOGNAME", "USER", "PATH", "LANG")  # that a script gets from its caller
_ASKED_FOR = ("MAILTO", "SSH_OPTS")
_PASSWORD = "RSYNC_PASSWORD"  # noqa: S105  a variable's name
_NAMES_UPSTREAM = ("RSYNC_HOST", "RSYNC_SOURCE")


@dataclass(frozen=True, slots=True)
class Sources:
    """Everything that was read."""

    imported: ImportedFiles
    pushers: tuple[Pusher, ...] = ()
    read: tuple[str, ...] = ()  # places, in words
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Daemon:
    """An rsyncd.conf and its secrets, as far as they could be read."""

    rsyncd: Rsyncd | None = None
    secrets: Mapping[Path, Secrets] = field(default_factory=dict)


def read_daemon(
    found: Sorted, known: Daemon | None = None, *, may_read: Callable[[Path], bool] = lambda _: True
) -> Daemon:
    """Read the rsyncd.conf and its secrets, as far as they are not known yet. Raises ConfigError."""
    if len(found.rsyncd) > 1:
        raise ConfigError(
            f"{found.rsyncd[1]}: {found.rsyncd[0]} is given, too, but pushmirror has only one daemon"
        )
    known = known or Daemon()
    rsyncd = known.rsyncd
    if rsyncd is None and found.rsyncd and may_read(found.rsyncd[0]):
        rsyncd = read_rsyncd(found.rsyncd[0])
    if rsyncd is None or not all(map(may_read, rsyncd.files)):  # an include may name any file
        return known
    secrets = dict(known.secrets)
    for file in _secrets_files(rsyncd):
        if file not in secrets and may_read(file):
            secrets[file] = read_secrets(file)
    return Daemon(rsyncd, secrets)


def read_files(
    found: Sorted, directory: Path, environment: Mapping[str, str], known: Daemon | None = None
) -> Sources:
    """Read the files; passwords for upstream will be written to `directory`. Raises ConfigError.

    `known` was read before, as another user.
    """
    reader = _Reader(directory, {name: environment[name] for name in _CALLERS if name in environment})
    daemon = read_daemon(found, known)
    ftpsyncs = tuple((str(file), reader.ftpsync(file)) for file in found.ftpsync)
    runmirrors = tuple(reader.all_runmirrors(found))
    pushers = tuple(pusher for file in found.keys for pusher in read_pushers(file))
    imported = ImportedFiles(ftpsyncs, runmirrors, daemon.rsyncd, daemon.secrets, variables=reader.set)
    over = (
        f"{file} was ignored: {first} has the same name and precedes it" for file, first in found.passed_over
    )
    return Sources(
        imported,
        pushers,
        (*map(str, found.files), *(str(file) for file in imported.secrets)),
        (*reader.warnings, *over, *(warning for pusher in pushers for warning in pusher.warnings)),
    )


def read_environment(directory: Path, environment: Mapping[str, str]) -> Sources:
    """Read the environment only, as for a container. Raises ConfigError."""
    if not any(environment.get(name) for name in _NAMES_UPSTREAM):
        raise ConfigError(
            "RSYNC_HOST is not set in the environment",
            hint="run this in the container, or where its variables are set",
        )
    reader = _Reader(directory, environment)
    ftpsync = reader.ftpsync(None)
    runmirrors = []
    if environment.get("MIRRORS"):
        made = reader.runmirrors("runmirrors", None, None)
        runmirrors.append((ENVIRONMENT, environment["MIRRORS"], made))
    imported = ImportedFiles(((ENVIRONMENT, ftpsync),), tuple(runmirrors), variables=reader.set)
    return Sources(imported, (), (ENVIRONMENT,), tuple(reader.warnings))


@dataclass
class _Reader:
    directory: Path  # of passwords for upstream
    environment: Mapping[str, str]
    warnings: list[str] = field(default_factory=list)
    set: dict[str, set[str]] = field(default_factory=dict)  # of those that merging asks for, by place

    def ftpsync(self, file: Path | None) -> Ftpsync:
        name = file.stem if file else "ftpsync"
        where = self._places(file)
        variables = self._variables(file, name, where)
        archive = archive_name("", name, variables.get("TO", TO))
        secret = self.directory / f"{archive}.secret"
        return read_ftpsync(variables, name=name, archive=archive, places=where, password_file=secret)

    def all_runmirrors(self, found: Sorted) -> Iterator[tuple[str, str, Runmirrors]]:
        """Those with a runmirrors.conf, and those with a .mirror file only."""
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
            mirror_text=read_text(file, self.warnings)
            if file
            else "",  # `merge` warns of an archive without sites
            home=Path(self.environment.get("HOME") or "/"),
        )

    def _variables(self, file: Path | None, name: str, where: ScriptPaths) -> Variables:
        preset = preset_of_file(name, where)
        if file is not None:
            _require_safe_for_bash(file)
        found = _mended(read_variables(file, environment=self.environment, preset=preset), self.warnings)
        self.set[str(file or ENVIRONMENT)] = {one for one in _ASKED_FOR if found.get(one)}
        return found

    def _places(self, file: Path | None) -> ScriptPaths:
        """The paths of the command that the file belongs to; those of a tarball are beside its `etc`."""
        directory = file.absolute().parent if file else Path("/nowhere")
        base = directory.parent if directory.name == "etc" else Path("/nowhere")
        return ScriptPaths.of(self.environment, str(base / "bin/ftpsync"))


def _require_safe_for_bash(file: Path) -> None:
    """ConfigError if bash would run as root on a file that another user can write."""
    if os.geteuid() == 0 and not only_root_changes(file):
        raise ConfigError(
            f"{file}: bash evaluates this file, but not only root can change it or a directory above it",
            hint="import for the user who runs the mirror: --user NAME",
        )


def _mended(variables: Variables, warnings: list[str]) -> Variables:
    """The variables as UTF-8. A password in another encoding is left out: it would change."""
    place = variables.file or ENVIRONMENT
    values, environment = dict(variables.values), dict(variables.environment)
    if not _is_utf8(variables.get(_PASSWORD)):
        warnings.append(
            f"{place}: {_PASSWORD} is not UTF-8 and is left out: ask upstream for another password, and "
            "set password_file"
        )
        values[_PASSWORD] = environment[_PASSWORD] = ""
    if broken := [name for name, value in values.items() if not _is_utf8(value)]:
        warnings.append(f"{place}: {', '.join(broken)}: not UTF-8; read as ISO 8859-1")
    values, environment = (
        {name: mended(value) for name, value in one.items()} for one in (values, environment)
    )
    return replace(variables, values=values, environment=environment)


def _is_utf8(text: str) -> bool:
    return is_utf8(text.encode("utf-8", "surrogateescape"))


def _secrets_files(rsyncd: Rsyncd) -> Iterator[Path]:
    """The secrets files of all modules that ask for a password."""
    imported = {module.get(key("secrets file")) for module in rsyncd.modules if module.get(key("auth users"))}
    for name in sorted(imported - {""}):
        if not Path(name).is_absolute():
            raise ConfigError(f"{rsyncd.file}: secrets file: expected an absolute path, found {name}")
        yield Path(name)


def with_trees(sources: Sources, trees: Mapping[str, Path]) -> Sources:
    """The same, with the trees that the operator names."""
    return replace(sources, imported=replace(sources.imported, trees=trees))


def nothing_found(searched: Sequence[Path]) -> ConfigError:
    """The error if there are no such files."""
    return ConfigError(
        f"there is nothing to import in {', '.join(map(str, searched))}",
        hint="give files or directories, such as: pushmirror import /etc/ftpsync /etc/rsyncd.conf; or start "
        "with `pushmirror init`",
    )


def caller_environment() -> Mapping[str, str]:
    """The caller's environment."""
    return dict(os.environ)
