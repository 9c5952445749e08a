"""Check that sshd accepts pushes: modes of authorized_keys as for StrictModes, and the forced command.

Guaranteed: there is no login, and nothing is changed. Not the business of this module: whether anybody pushes
(`checks/freshness.py`). Source of the rules: sshd(8), sshd_config(5), OpenSSH's
misc.c, and Debian's user-group-modes.patch, by which a group of only this user may write.
"""

from __future__ import annotations

import fnmatch
import grp
import os
import pwd
import re
import shlex
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pushmirror.checks.finding import Finding, error, ok, warning
from pushmirror.config.model import Config
from pushmirror.errors import PushmirrorError
from pushmirror.system import process

_SUBJECT = "way in for pushes"
_FILES = (".ssh/authorized_keys", ".ssh/authorized_keys2")  # sshd's default
_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/games"  # sshd's, for a command without a directory
_OPTION = re.compile(r'(?P<name>[A-Za-z0-9-]+)(?:="(?P<value>(?:[^"\\]|\\.)*)")?')
_KEY = re.compile(r"(ssh-|ecdsa-|sk-)[a-z0-9@.-]+\s+\S+")
_NO_SHELL = re.compile(r"/(nologin|false)$")
_SSHD_S = 15.0


@dataclass(frozen=True, slots=True)
class Account:
    """The user that receives pushes."""

    name: str
    uid: int
    groups: frozenset[int]
    home: Path
    login_shell: str


@dataclass(frozen=True, slots=True)
class Forced:
    """A line that restricts a key to starting syncs."""

    number: int
    command: str


def of_mirror(config: Config) -> Iterator[Finding]:
    """The findings about incoming pushes; none without an upstream that could push."""
    if not any(archive.upstream for archive in config.archives.values()):
        return
    account = account_of(config)
    yield from judge(account, sshd_says(account))


def account_of(config: Config) -> Account:
    """The user that runs the mirror: the state directory is that user's."""
    directory = config.state.directory
    found = pwd.getpwuid(directory.stat().st_uid if directory.exists() else os.geteuid())
    groups = frozenset({found.pw_gid, *(one.gr_gid for one in grp.getgrall() if found.pw_name in one.gr_mem)})
    return Account(found.pw_name, found.pw_uid, groups, Path(found.pw_dir), found.pw_shell)


def sshd_says(account: Account) -> Mapping[str, str]:
    """sshd's configuration for that user, by lower-case name; empty without the permission to ask."""
    program = shutil.which("sshd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if program is None:
        return {}
    argv = [program, "-T", "-C", f"user={account.name},host=localhost,addr=127.0.0.1"]
    try:
        output = process.run(argv, timeout_s=_SSHD_S).check().output.decode("utf-8", "replace")
    except PushmirrorError:
        return {}
    lines = (line.partition(" ") for line in output.splitlines())
    found: dict[str, str] = {}
    for name, _, value in lines:  # some names come once for each value
        found[name] = f"{found[name]} {value}" if name in found else value
    return found


def judge(account: Account, sshd: Mapping[str, str]) -> Iterator[Finding]:
    """Whether a push is accepted; a finding for each problem."""
    yield from _of_sshd(account, sshd)
    files = [file for file in _files(account, sshd) if _is_there(file)]
    strict = sshd.get("strictmodes", "yes") == "yes"
    forced = 0
    for file in files:
        if kept_out := _unreadable(file, account) or (_unsafe(file, account) if strict else None):
            yield kept_out
            forced += 1  # report this, not that there is no line
            continue
        try:
            text = file.read_text("utf-8", "replace")
        except OSError as exc:  # the user may read it, but we are another
            yield warning(_SUBJECT, f"cannot read {file}: {exc.strerror}", f"run this as {account.name}")
            forced += 1
            continue
        for one in forced_commands(text):
            forced += 1
            yield _of_command(file, one, account)
    if not forced:
        yield ok(_SUBJECT, _none(files, account))
    elif _NO_SHELL.search(account.login_shell):
        todo = f"chsh -s /bin/sh {account.name}"
        yield error(
            _SUBJECT, f"sshd runs forced commands with {account.name}'s shell, {account.login_shell}", todo
        )


def _none(files: Sequence[Path], account: Account) -> str:
    where = ", ".join(map(str, files)) or f"{account.home}/{_FILES[0]}, which does not exist"
    return f"no key in {where} starts a sync: no hub can push to this machine"


def _files(account: Account, sshd: Mapping[str, str]) -> list[Path]:
    """The files that sshd reads."""
    named = sshd.get("authorizedkeysfile", " ".join(_FILES)).split()
    output = [
        one.replace("%h", str(account.home)).replace("%u", account.name) for one in named if one != "none"
    ]
    return [account.home / one.replace("%%", "%") for one in output]


def _is_there(file: Path) -> bool:
    try:
        file.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # in a directory that we may not look into
    return True


def _of_sshd(account: Account, sshd: Mapping[str, str]) -> Iterator[Finding]:
    if sshd.get("pubkeyauthentication") == "no":
        yield error(
            _SUBJECT, "sshd does not accept keys: PubkeyAuthentication no", "set it to yes in sshd_config"
        )
    denied, allowed = _is_among(account, sshd.get("denyusers", "")), sshd.get("allowusers", "")
    if denied or (allowed and not _is_among(account, allowed)):
        name = "DenyUsers" if denied else "AllowUsers"
        yield error(_SUBJECT, f"{name} of sshd excludes {account.name}", "allow that user in sshd_config")
    if account.uid == 0 and sshd.get("permitrootlogin") == "no":
        todo = "run the mirror as a separate user"
        yield error(_SUBJECT, "sshd does not accept root: PermitRootLogin no", todo)


def _is_among(account: Account, patterns: str) -> bool:
    """Whether one of sshd_config's patterns, with or without a host, matches an account."""
    return any(fnmatch.fnmatchcase(account.name, one.partition("@")[0]) for one in patterns.split())


def _unreadable(file: Path, account: Account) -> Finding | None:
    """sshd reads the file as the user itself, whoever owns it."""
    below_home = [one for one in file.parents if one.is_relative_to(account.home)]
    for directory in reversed(below_home or file.parents):
        if not may(directory, account, stat.S_IXOTH):
            todo = f"chown {account.name} {directory}, or chmod a+x {directory}"
            return error(_SUBJECT, f"{account.name} cannot enter {directory}, so sshd finds no keys", todo)
    if not may(file, account, stat.S_IROTH):
        found = f"sshd reads {file} as {account.name}, who has no permission"
        todo = f"chown {account.name} {shlex.quote(str(file))} && chmod 600 {shlex.quote(str(file))}"
        return error(_SUBJECT, found, todo)
    return None


def _unsafe(file: Path, account: Account) -> Finding | None:
    """What StrictModes refuses: a file, or a directory up to the home, that others may write."""
    resolved, home = file.resolve(), account.home.resolve()
    for part in (resolved, *resolved.parents):
        try:
            found = part.stat()
        except OSError:
            return None
        quoted = shlex.quote(str(part))
        if found.st_uid not in {0, account.uid}:
            what = f"{part} belongs to neither {account.name} nor root, so sshd ignores the keys"
            return error(_SUBJECT, what, f"chown {account.name} {quoted}")
        by_group = found.st_mode & stat.S_IWGRP and not _is_only(found.st_gid, account)
        if by_group or found.st_mode & stat.S_IWOTH:
            mode = f"{stat.S_IMODE(found.st_mode):04o}"
            what = f"{part} can be written by others (mode {mode}), so sshd ignores the keys"
            return error(_SUBJECT, what, f"chmod go-w {quoted}")
        if part == home:
            return None
    return None


def _is_only(group: int, account: Account) -> bool:
    """Whether nobody but the user and root is in a group."""
    try:
        members = set(grp.getgrgid(group).gr_mem)
    except KeyError:
        return False
    members |= {one.pw_name for one in pwd.getpwall() if one.pw_gid == group}
    return members <= {account.name, "root"}


def may(path: Path, account: Account, need: int) -> bool:
    """Whether a user has the permission of this bit (as for `others`) on a file or directory."""
    if account.uid == os.geteuid():
        return os.access(path, os.X_OK if need == stat.S_IXOTH else os.R_OK)
    try:
        found = path.stat()
    except OSError:
        return True  # unknown
    if account.uid == 0:
        return True
    shift = 6 if found.st_uid == account.uid else 3 if found.st_gid in account.groups else 0
    return bool(found.st_mode >> shift & need)


def forced_commands(text: str) -> Iterator[Forced]:
    """The lines of an authorized_keys whose command starts a sync, pushmirror's or ftpsync's."""
    for number, line in enumerate(text.split("\n"), 1):
        rest, options = line.strip(), dict[str, str]()
        if not rest or rest.startswith("#") or _KEY.match(rest):
            continue
        while found := _OPTION.match(rest):
            options[found["name"].casefold()] = (found["value"] or "").replace('\\"', '"')
            rest = rest[found.end() :]
            if not rest.startswith(","):
                break
            rest = rest[1:]
        command = options.get("command", "")
        if _KEY.match(rest.strip()) and any(map(_starts_a_sync, _words(command))):
            yield Forced(number, command)


def _starts_a_sync(word: str) -> bool:
    return re.fullmatch(r"pushmirror|ftpsync(-[\w.-]+)?", Path(word).name) is not None


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:  # a quote without an end
        return command.split()


def _of_command(file: Path, one: Forced, account: Account) -> Finding:
    where = f"{file}, line {one.number}"
    program = _words(one.command)[0]
    path = program.replace("~", str(account.home), 1) if program.startswith("~/") else program
    found = path if "/" in path else shutil.which(path, path=_PATH)
    if found is None or not (place := account.home / found).exists():
        todo = "install the program, or correct the line"
        return error(_SUBJECT, f"{where}: its forced command {program} was not found", todo)
    if not place.is_file() or not may(place, account, stat.S_IXOTH) or not place.stat().st_mode & 0o111:
        todo = f"chmod a+x {shlex.quote(str(place))}"
        return error(_SUBJECT, f"{where}: {account.name} cannot run its forced command {program}", todo)
    return ok(_SUBJECT, f"{where}: a key starts {one.command}")
