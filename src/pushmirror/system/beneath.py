"""Change files below a directory by handles: no symbolic link on the path is followed, even a new one.

Guaranteed: a path is really below the root. If one of its directories is a link, or no directory,
NotADirectoryError names it; a link in the last component is itself renamed, replaced or removed. The root
may be reached through links, as the operator named it. A directory that is moved away while its handle is
open stays the one that is written to: it was below the root. Not the business of this module: which names
are changed, and when.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

_ROOT = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_AS_IT_IS = _ROOT | os.O_NOFOLLOW
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST = 256  # open directories: a process may have 1024 handles
_CHUNK = 128 * 1024
_RENAME_EXCHANGE = 2
_libc = ctypes.CDLL(None, use_errno=True)


class _Directory:
    """A handle of a directory, closed with the last reference."""

    __slots__ = ("_close", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self._close: Callable[[int], None] = os.close  # also when modules are gone

    def __del__(self) -> None:
        self._close(self.number)


_P = ParamSpec("_P")
_T = TypeVar("_T")


def _named(
    method: Callable[Concatenate[Beneath, str, _P], _T],
) -> Callable[Concatenate[Beneath, str, _P], _T]:
    """Decorates a method so that its errors have the whole path, not a name relative to a handle."""

    @wraps(method)
    def naming(self: Beneath, path: str, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return method(self, path, *args, **kwargs)
        except OSError as exc:
            if not str(exc.filename or "").startswith("/"):
                exc.filename, exc.filename2 = f"{self.root}/{path}", None
            raise

    return naming


class Beneath:
    """A directory in which paths are changed; each is relative to it, with slashes, without `.` and `..`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._top: _Directory | None = None  # opened when first needed: it may not exist yet
        self._known: dict[str, _Directory] = {}
        self._changing = threading.RLock()  # of the open handles: several threads fetch

    # -- what there is --------------------------------------------------------------------------------

    def lstat(self, path: str) -> os.stat_result | None:
        """The status of a path; None if there is nothing, or it is not really below the root."""
        above, name = _split(path)
        try:
            return os.lstat(name, dir_fd=self._at(above).number)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def is_directory(self, path: str) -> bool:
        """Whether a path is really a directory below the root, with no link on the way to it."""
        try:
            self._at(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def target_of(self, path: str) -> str | None:
        """The target of a link; None if it is none."""
        above, name = _split(path)
        try:
            return os.readlink(name, dir_fd=self._at(above).number)
        except OSError:
            return None

    def names(self, directory: str) -> list[str]:
        """The names in a directory."""
        handle = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._at(directory).number)
        try:
            with os.scandir(handle) as found:
                return [entry.name for entry in found]
        finally:
            os.close(handle)

    @_named
    def open(self, path: str, flags: int, mode: int = 0o644) -> int:
        """A handle of a file; OSError (ELOOP) where it is a link."""
        above, name = _split(path)
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=self._at(above).number)

    def identity(self, directory: str) -> tuple[int, int]:
        """Device and inode of a directory."""
        found = os.fstat(self._at(directory).number)
        return found.st_dev, found.st_ino

    # -- directories ----------------------------------------------------------------------------------

    @_named
    def make_directory(self, path: str, mode: int = 0o755) -> None:
        """Make a directory of this mode, whatever the umask says; FileExistsError if the name is taken."""
        above, name = _split(path)
        parent = self._at(above)
        os.mkdir(name, mode, dir_fd=parent.number)
        _change_mode(parent.number, name, mode)

    def make_directories(self, path: str, mode: int = 0o755) -> None:
        """Create a directory and its parents if missing; NotADirectoryError if something else is there."""
        if not path or self.is_directory(path):
            return
        self.make_directories(_split(path)[0], mode)
        with suppress(FileExistsError):
            self.make_directory(path, mode)
        self._at(path)

    @_named
    def remove_directory(self, path: str) -> None:
        """Remove an empty directory."""
        above, name = _split(path)
        os.rmdir(name, dir_fd=self._at(above).number)
        self.forget(path)

    def remove_tree(self, path: str) -> None:
        """Remove a path and everything below it, as far as possible."""
        with suppress(OSError):
            above, name = _split(path)
            parent = self._at(above)
            found = os.lstat(name, dir_fd=parent.number)
            self.forget(path)
            if stat.S_ISDIR(found.st_mode):
                shutil.rmtree(name, ignore_errors=True, dir_fd=parent.number)
            else:
                os.unlink(name, dir_fd=parent.number)

    def link_tree(self, source: str, target: str) -> None:
        """Make `target` a directory with the content of `source`, its files hard links to those there."""
        self.make_directory(target, stat.S_IMODE(os.fstat(self._at(source).number).st_mode))
        _link_all(self._at(source).number, self._at(target).number)

    # -- names ----------------------------------------------------------------------------------------

    @_named
    def rename(self, source: str, target: str) -> None:
        """Rename a file or link, over another file or link."""
        above, name = _split(source)
        before = self._at(above)
        above, new = _split(target)
        os.rename(name, new, src_dir_fd=before.number, dst_dir_fd=self._at(above).number)

    def move(self, source: str, target: str) -> None:
        """The same for anything, also a directory."""
        self.rename(source, target)
        self.forget(source)
        self.forget(target)

    def exchange(self, one: str, other: str) -> bool:
        """Exchange two names atomically (renameat2(2), RENAME_EXCHANGE); False if the file system cannot.

        The only way to change a whole directory of a served tree atomically.
        """
        above, name = _split(one)
        first = self._at(above)
        above, name2 = _split(other)
        second = self._at(above)
        names = os.fsencode(name), os.fsencode(name2)
        if _libc.renameat2(first.number, names[0], second.number, names[1], _RENAME_EXCHANGE) == 0:
            self.forget(one)
            self.forget(other)
            return True
        number = ctypes.get_errno()
        if number in {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}:
            return False
        raise OSError(number, os.strerror(number), f"{self.root}/{other}")

    @_named
    def unlink(self, path: str, *, missing_ok: bool = False) -> None:
        """Remove a file or link; with `missing_ok` it and its directory may be missing."""
        try:
            above, name = _split(path)
            os.unlink(name, dir_fd=self._at(above).number)
        except (FileNotFoundError, NotADirectoryError):
            if not missing_ok:
                raise

    @_named
    def symlink(self, target: str, path: str) -> None:
        """Create a symbolic link."""
        above, name = _split(path)
        os.symlink(target, name, dir_fd=self._at(above).number)

    # -- files ----------------------------------------------------------------------------------------

    def write(
        self, path: str, data: bytes, *, mode: int = 0o644, durable: bool = True, owner: int | None = None
    ) -> None:
        """Write a file atomically: beside it, flushed to disk, then renamed.

        With `owner` (a user ID; for root only) the file belongs to that user before it has its name.
        """
        beside = f"{path}.new"
        self.unlink(beside, missing_ok=True)
        handle = self.open(beside, _NEW, mode)
        try:
            with os.fdopen(handle, "wb") as file:
                os.fchmod(handle, mode)  # whatever the umask says
                if owner is not None and owner != os.geteuid():
                    os.fchown(handle, owner, -1)
                file.write(data)
                file.flush()
                if durable:
                    os.fsync(handle)
            self.rename(beside, path)
        except BaseException:
            self.unlink(beside, missing_ok=True)
            raise
        if durable:
            self.sync(_split(path)[0])

    def mark(self, path: str, data: bytes = b"") -> None:
        """Create a file with this content, in the place of anything but a file with one name; for flags."""
        found = self.lstat(path)
        if found is not None and not (stat.S_ISREG(found.st_mode) and found.st_nlink == 1):
            self.unlink(path, missing_ok=True)
        handle = self.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK)
        try:
            os.write(handle, data)
        finally:
            os.close(handle)

    def link_or_copy(self, source: Path, target: str, *, mtime: int) -> None:
        """Make `target` a file with the content of `source` and this time (seconds since the epoch).

        A hard link if the times agree and the file system can; an existing `target` is replaced, and a
        missing directory created. A symbolic link is copied as one.
        """
        above, name = _split(target)
        self.make_directories(above)
        self.unlink(target, missing_ok=True)
        found = source.lstat()
        if stat.S_ISLNK(found.st_mode):
            self.symlink(os.readlink(source), target)  # noqa: PTH115  text, as it is
            return
        if found.st_mtime_ns // 10**9 == mtime:
            with suppress(OSError):  # another file system, or one without hard links, or with no more of them
                os.link(source, name, dst_dir_fd=self._at(above).number, follow_symlinks=False)
                return
        reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            _require_file(reading, str(source))
            self._copy(reading, target, mtime)
        finally:
            os.close(reading)

    def _copy(self, reading: int, target: str, mtime: int) -> None:
        handle = self.open(target, _NEW)
        try:
            while data := os.read(reading, _CHUNK):
                while data:
                    data = data[os.write(handle, data) :]
            os.fchmod(handle, 0o644)
            os.utime(handle, (mtime, mtime))
        finally:
            os.close(handle)

    @_named
    def change_mode(self, path: str, mode: int) -> None:
        """Change the mode of a file or directory; OSError (ELOOP) where it is a link."""
        above, name = _split(path)
        _change_mode(self._at(above).number, name, mode)

    def sync(self, directory: str) -> None:
        """Make the names in a directory durable."""
        handle = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._at(directory).number)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    # -- handles --------------------------------------------------------------------------------------

    def forget(self, path: str) -> None:
        """Forget the handle of a path: another directory may have the name now."""
        with self._changing:
            for known in [one for one in self._known if one == path or one.startswith(f"{path}/")]:
                del self._known[known]

    def forget_all(self) -> None:
        """Forget all handles: other programs may have moved directories."""
        with self._changing:
            self._known.clear()

    def _at(self, directory: str) -> _Directory:
        """A directory's handle, open as long as the caller keeps the returned object."""
        found = self._known.get(directory)
        if found is not None:
            return found
        with self._changing:
            return self._opened(directory)

    def _opened(self, directory: str) -> _Directory:
        if not directory:
            self._top = self._top or _Directory(os.open(self.root, _ROOT))
            return self._top
        above, name = _split(directory)
        parent = self._at(above)
        try:
            opened = _Directory(os.open(name, _AS_IT_IS, dir_fd=parent.number))
        except NotADirectoryError as exc:
            why = "it is a link or a file, expected a directory"
            raise NotADirectoryError(errno.ENOTDIR, why, f"{self.root}/{directory}") from exc
        except OSError as exc:
            raise OSError(exc.errno, exc.strerror, f"{self.root}/{directory}") from exc
        if len(self._known) >= _MOST:
            del self._known[next(iter(self._known))]
        self._known[directory] = opened
        return opened


def _split(path: str) -> tuple[str, str]:
    """The directory of a path, and its name in it."""
    above, _, name = path.rpartition("/")
    if name in {"", ".", ".."}:
        raise ValueError(f"no path below a directory: {path!r}")
    return above, name


def _require_file(handle: int, path: str) -> os.stat_result:
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "is not a regular file", path)
    return found


def _change_mode(directory: int, name: str, mode: int) -> None:
    """chmod(2) that follows no link: by a handle, which need not be one that can be read."""
    handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        found = os.fstat(handle).st_mode
        if stat.S_ISLNK(found):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
        if stat.S_IMODE(found) != mode:
            Path(f"/proc/self/fd/{handle}").chmod(mode)
    finally:
        os.close(handle)


def _link_all(source: int, target: int) -> None:
    """Copy a directory's content to an empty one: files as hard links, everything else new."""
    reading = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=source)
    try:
        for entry in os.scandir(reading):
            if entry.is_dir(follow_symlinks=False):
                _link_directory(reading, target, entry.name)
            elif entry.is_symlink():
                found = entry.stat(follow_symlinks=False)
                os.symlink(os.readlink(entry.name, dir_fd=reading), entry.name, dir_fd=target)
                times = (found.st_atime_ns, found.st_mtime_ns)
                os.utime(entry.name, ns=times, dir_fd=target, follow_symlinks=False)
            else:
                os.link(entry.name, entry.name, src_dir_fd=reading, dst_dir_fd=target, follow_symlinks=False)
    finally:
        os.close(reading)


def _link_directory(source: int, target: int, name: str) -> None:
    before = os.open(name, _AS_IT_IS, dir_fd=source)
    try:
        mode = stat.S_IMODE(os.fstat(before).st_mode)
        os.mkdir(name, 0o700, dir_fd=target)
        after = os.open(name, _AS_IT_IS, dir_fd=target)
        try:
            _link_all(before, after)
            Path(f"/proc/self/fd/{after}").chmod(mode)
        finally:
            os.close(after)
    finally:
        os.close(before)
