"""Become or act as another user, and check what only root can have written.

Guaranteed: what is done as a user is done by a process that cannot be root again, with that user's groups
and nothing else: by one of its own, which does not outlive the call, or by this one from then on. Not the
business of this module: what is done, and whose it is (ownership.py).
"""

from __future__ import annotations

import json
import os
import pwd
import signal
import stat
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pushmirror.errors import Exit, PushmirrorError
from pushmirror.system.process import die_with_parent

_started_as_root = os.geteuid() == 0
_MOST_LINKS = 40  # on the way to a file, as for the kernel
_CHUNK = 1024 * 1024


def only_root_changes(path: Path) -> bool:
    """Whether only root can have written what is at this path.

    Every directory and link on the way counts. For a missing path: whether only root could create it.
    """
    return _only_root_changes(path.absolute(), _MOST_LINKS)


def _only_root_changes(path: Path, links: int) -> bool:
    is_shared = False  # the directory that comes before: one such as /tmp
    for part in (*reversed(path.parents), path):
        try:
            found = part.lstat()
        except FileNotFoundError:
            return not is_shared
        except OSError:
            return False
        if found.st_uid != 0:
            return False
        if stat.S_ISLNK(found.st_mode):
            below = path.relative_to(part)
            return links > 0 and _only_root_changes(part.parent / part.readlink() / below, links - 1)
        is_shared = _others_write(found)
        if is_shared and not (stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX):
            return False  # in one with this bit others make files, but cannot exchange root's
    return True


def _others_write(found: os.stat_result) -> bool:
    by_group = found.st_mode & stat.S_IWGRP and found.st_gid != 0
    return bool(by_group or found.st_mode & stat.S_IWOTH)


def as_user(user: pwd.struct_passwd, act: Callable[[], str]) -> str:
    """What `act` returns when this user carries it out, at home; for root only.

    Errors of `act` are raised here: a PushmirrorError with its message, hint and exit code. Text is all that
    comes back: root takes no objects from somebody else's process.
    """
    reading, writing = os.pipe()
    child = _fork()
    if child == 0:
        _carry_out(user, act, writing)
    try:
        os.close(writing)
        told = _all_of(reading)
    finally:
        os.close(reading)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)  # it has told everything, or we are being stopped
        os.waitpid(child, 0)
    return _answer(told, user.pw_name)


def become(user: pwd.struct_passwd) -> None:
    """Become this user for good, with HOME set; for root only."""
    _give_up_root(user)
    os.environ.update(HOME=user.pw_dir, USER=user.pw_name, LOGNAME=user.pw_name)
    if not os.access(".", os.R_OK | os.X_OK):  # programs that we start would complain
        os.chdir("/")


def is_for_root() -> bool:
    """Whether root started this process."""
    return _started_as_root


def make_for(user: pwd.struct_passwd, directory: Path) -> None:
    """Create a directory that belongs to this user, and its parents, which belong to root.

    To be called by root, and only where nobody else can change what there is above it.
    """
    directory.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    try:
        directory.mkdir(mode=0o755)
    except FileExistsError:
        return
    os.chown(directory, user.pw_uid, user.pw_gid, follow_symlinks=False)


def _fork() -> int:
    with warnings.catch_warnings():  # Python's, of threads that a copy does not have; we have none
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _carry_out(user: pwd.struct_passwd, act: Callable[[], str], writing: int) -> None:
    """The child's whole life: nothing of the parent's is unwound or flushed twice."""
    code = 1
    try:
        told = _told(user, act)
        with os.fdopen(writing, "wb") as answer:
            answer.write(json.dumps(told).encode())
        code = 0
    finally:
        os._exit(code)


def _told(user: pwd.struct_passwd, act: Callable[[], str]) -> dict[str, object]:
    try:
        _become(user)
        return {"said": act()}
    except PushmirrorError as exc:
        return {"error": str(exc), "hint": exc.hint, "code": int(exc.exit_code)}
    except BaseException:  # noqa: BLE001  the parent raises it
        return {"mistake": traceback.format_exc()}


def _become(user: pwd.struct_passwd) -> None:
    """Be this user, at home, for as long as our parent lives."""
    _give_up_root(user)
    die_with_parent()  # the kernel forgets it where the user changes
    os.chdir("/")
    with suppress(OSError):  # a home need not be there yet
        os.chdir(user.pw_dir)


def _give_up_root(user: pwd.struct_passwd) -> None:
    """For good; groups first, for afterwards nobody may."""
    os.initgroups(user.pw_name, user.pw_gid)
    os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
    os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)


def _all_of(reading: int) -> bytes:
    told = bytearray()
    while data := os.read(reading, _CHUNK):
        told += data
    return bytes(told)


def _answer(told: bytes, user: str) -> str:
    try:
        answer = json.loads(told)
    except ValueError as exc:
        raise PushmirrorError(f"the process that acted as {user} was killed") from exc
    if "said" in answer:
        return str(answer["said"])
    if "mistake" in answer:
        raise RuntimeError(answer["mistake"])
    error = PushmirrorError(answer["error"], hint=answer["hint"])
    error.exit_code = Exit(answer["code"])
    raise error
