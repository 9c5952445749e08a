"""The readers of what operators write: archvsync's files, rsyncd.conf, authorized_keys, and our own TOML."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zlib import crc32

import tomlkit

from faults.readers.judged import Reader, require, text
from faults.readers.programs import scratch
from pushmirror.access import credentials
from pushmirror.access.site_files import _parsed
from pushmirror.archvsync_commands.ftpsync_config import asked
from pushmirror.archvsync_config.ftpsync import archive_name, read_ftpsync
from pushmirror.archvsync_config.places import NAME, ScriptPaths
from pushmirror.archvsync_config.runmirrors import read_runmirrors
from pushmirror.archvsync_config.values import Runmirrors, Variables
from pushmirror.archvsync_config.variables import decoded, mended
from pushmirror.checks.incoming_push import forced_commands
from pushmirror.config.loader import FILE_NAME, SITES, load
from pushmirror.config.model import Config
from pushmirror.errors import ConfigError, PushmirrorError
from pushmirror.importing.authorized_keys import read_pushers
from pushmirror.importing.merge import ImportedFiles, merge
from pushmirror.importing.output import files_of, render, render_site
from pushmirror.importing.rsyncd_conf import Secrets, read_rsyncd, read_secrets
from pushmirror.system.bash import read_answer

_HOME = Path("/nowhere/mirror")
_WHERE = ScriptPaths((_HOME / ".config/ftpsync",), _HOME / "log", _HOME / "locks", None, here=_HOME)
_KNOWN = {"HOME": str(_HOME), "LOGNAME": "mirror", "HOSTNAME": "mirror.example.org", "NAME": "ftpsync"}
_NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
_SECRET = "pass-of-upstream"  # noqa: S105  no password
_SITE = 'host = "site.example.org"\nuser = "mirror"\narchives = ["debian"]\n'
_MIRROR_LINE = "staged site site.example.org archvsync\n"


# --- archvsync's ------------------------------------------------------------------------------------------


def _variables(data: bytes) -> Variables:
    """A file's assignments without bash, which must not be given commands that nobody knows."""
    told = text(data).replace("\0", "")
    try:
        words = [word.partition("=") for word in shlex.split(told, comments=True)]
    except ValueError as exc:  # a quotation without an end
        raise ConfigError(str(exc)) from exc
    values = {name: mended(value) for name, equals, value in words if equals}
    return Variables(_HOME / "ftpsync.conf", values, _KNOWN)


def _bash(data: bytes) -> None:
    """What bash answers when it has evaluated a file, which can write to that answer, too."""
    file = scratch() / "ftpsync.conf"
    file.write_bytes(data)
    errors = data.decode("utf-8", "replace").replace("FILE", str(file))
    try:
        found = read_answer(file, data, errors, 1, {"RSYNC_PASSWORD": _SECRET})
    except ConfigError as exc:
        require(_SECRET not in str(exc), "a password that is shown")
        raise
    require(all(map(str.isidentifier, {*found.values, *found.exported})), "a name that no variable can have")
    require(not any("\0" in value for value in found.values.values()), "a value that bash could not have")


def _ftpsync(data: bytes) -> None:
    variables = _variables(data)
    name = archive_name("", "ftpsync", variables.get("TO", "/srv/debian"))
    found = read_ftpsync(
        variables, name="ftpsync", archive=name, places=_WHERE, password_file=scratch() / "upstream.secret"
    )
    asked((), None, {}).changed_by(variables.values)
    password = found.password or ""
    require(" " not in password or password not in repr(found), "a password that is shown")
    _import(data, ImportedFiles(ftpsyncs=(("ftpsync.conf", found),)))


def _runmirrors(data: bytes) -> None:
    """A runmirrors.conf, with one mirror."""
    found = read_runmirrors(
        _variables(data),
        name="runmirrors",
        archive_option="",
        places=_WHERE,
        mirror_text=_MIRROR_LINE,
        home=_HOME,
    )
    is_site = found.archive == "" or NAME.fullmatch(found.archive)
    require(not is_site or len(found.lines) == 1, "a mirror that is not woken")
    _import(data, _with_trees(found))


def _mirrors(data: bytes) -> None:
    """A runmirrors.mirror, without a runmirrors.conf."""
    found = read_runmirrors(
        Variables(None, {}, _KNOWN),
        name="runmirrors",
        archive_option="",
        places=_WHERE,
        mirror_text=decoded(data),
        home=_HOME,
    )
    names = [line.name for line in found.lines]
    require(len({*names}) == len(names), "two mirrors of one name")
    require(all(map(NAME.fullmatch, names)), "a name that cannot be a file's")
    require(len(found.sites("debian")) == len(names), "a mirror that is no site")
    _import(data, _with_trees(found))


def _with_trees(runmirrors: Runmirrors) -> ImportedFiles:
    """An owner's, who has said where the archives of the lines are."""
    told = {runmirrors.archive, *(line.archive for line in runmirrors.lines), "debian"}
    trees = {name: Path("/nowhere", name) for name in told if NAME.fullmatch(name)}
    return ImportedFiles(runmirrors=(("runmirrors.conf", "runmirrors.mirror", runmirrors),), trees=trees)


# --- The rsync daemon's, and sshd's -----------------------------------------------------------------------


def _rsyncd(data: bytes) -> None:
    file = scratch() / "rsyncd.conf"
    file.write_bytes(data)
    found = read_rsyncd(file)
    secrets = scratch() / "rsyncd.secrets"
    passwords = Secrets(secrets, {"site": "secret", "other": "with blanks "})
    named = {module.get("secretsfile") for module in found.modules} - {""}
    _import(data, ImportedFiles(rsyncd=found, secrets={Path(name): passwords for name in named}))


def _secrets(data: bytes) -> None:
    file = scratch() / "secrets"
    file.write_bytes(data)
    found = read_secrets(file)
    shown = repr(found)
    for user, password in found.passwords.items():
        require("\n" not in user + password, "a line break")
        require(
            "pass-" not in password or password in user or password not in shown, "a password that is shown"
        )


def _authorized_keys(data: bytes) -> None:
    file = scratch() / "authorized_keys"
    file.write_bytes(data)
    for pusher in read_pushers(file):
        line = pusher.line(("pushmirror",))
        require(line.startswith("restrict,") and "\n" not in line, "a key that may do more")
        commands = [forced.command for forced in forced_commands(line)]
        require(all(one.startswith("pushmirror receive") for one in commands), "another command")
        require(pusher.place.startswith(f"{file}:"), "no place")
    list(forced_commands(data.decode("utf-8", "replace")))


def _import(data: bytes, told: ImportedFiles) -> None:
    """What is imported is written as files that are read as the same again."""
    if crc32(data) % 4:
        return  # it takes ten times as long as all before it
    directory = _empty("imported")
    merged = merge(told)
    for file in files_of(merged, directory):
        file.path.touch(file.mode)
        file.path.write_bytes(file.data)
    try:
        again = load(directory)
    except ConfigError as exc:
        require(False, f"what was imported cannot be read: {exc}")
    _require_same(merged.config, again)
    for name, password in merged.logins.items():
        (login,) = credentials.read(directory / SITES / f"{name}{credentials.SUFFIX}", name)
        require(login.password == password, "another password")


def _require_same(one: Config, other: Config) -> None:
    for part in ("mirror", "archives", "push", "serve"):
        require(getattr(one, part) == getattr(other, part), f"another {part} when it is read again")
    require({**one.sites} == {**other.sites}, "other sites when they are read again")


# --- Our own ----------------------------------------------------------------------------------------------


def _toml(data: bytes) -> None:
    directory = _empty("main")
    (directory / FILE_NAME).write_bytes(data)
    (directory / SITES / "site.toml").write_text(_SITE)
    config = load(directory, on_broken_sites=lambda _: None)
    again = _empty("again")
    (again / FILE_NAME).write_text(render(config), "utf-8")
    _require_same(config.model_copy(update={"sites": {}}), load(again))


def _site(data: bytes) -> None:
    directory = _empty("site")
    (directory / FILE_NAME).write_text('[archives.debian]\npath = "/srv/debian"\n')
    (directory / SITES / "site.toml").write_bytes(data)
    config = load(directory)
    _pause(directory)
    (directory / SITES / "site.toml").write_text(render_site(config.sites["site"]), "utf-8")
    _require_same(config, load(directory))


def _pause(directory: Path) -> None:
    """As `site pause` does."""
    file = directory / SITES / "site.toml"
    try:
        document = _parsed(file)
    except ConfigError:
        return  # told by hand
    document["paused"] = True
    file.write_bytes(tomlkit.dumps(document).encode())
    try:
        require(load(directory).sites["site"].paused, "a site that cannot be paused")
    except ConfigError as exc:
        require(False, f"a paused site that cannot be read: {exc}")


def _logins(data: bytes) -> None:
    told = text(data)
    logins = credentials.parse(told, "site", Path("site.secret"))
    require(
        credentials.parse(credentials.render("site", logins), "site", Path("x")) == logins, "other logins"
    )
    rotated = credentials.rotated(logins, "site", "new", now=_NOW, grace=timedelta(days=1))
    written = credentials.render("site", rotated, told)
    require({*credentials.parse(written, "site", Path("x"))} == {*rotated}, "other logins after a rotation")


def _empty(name: str) -> Path:
    """A directory for a configuration, in which there is none."""
    directory = scratch() / name
    (directory / SITES).mkdir(parents=True, exist_ok=True)
    for file in (directory / SITES).iterdir():
        file.unlink()
    return directory


_OURS = (PushmirrorError,)

READERS: Mapping[str, Reader] = {
    "bash": Reader(_bash, _OURS),
    "ftpsync-conf": Reader(_ftpsync, _OURS),
    "runmirrors-conf": Reader(_runmirrors, _OURS),
    "runmirrors-mirror": Reader(_mirrors),
    "rsyncd-conf": Reader(_rsyncd, _OURS),
    "rsyncd-secrets": Reader(_secrets, ()),
    "authorized-keys": Reader(_authorized_keys, ()),
    "config": Reader(_toml, (ConfigError,)),
    "site": Reader(_site, (ConfigError,)),
    "site-secret": Reader(_logins, (ConfigError,)),
}
