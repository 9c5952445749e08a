"""Files: atomic writing, private files, hashes, times, mount points.

Guaranteed: a reader never sees half a file. Not the business of this module: changes below a directory that
others may change, too (beneath.py).
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pushmirror.errors import MalformedFile, StateError
from pushmirror.system.beneath import Beneath

_CHUNK = 128 * 1024
_ALGORITHMS: dict[int, Callable[[bytes], hashlib._Hash]] = {  # by the number of hexadecimal digits
    32: lambda data: hashlib.md5(data, usedforsecurity=False),
    40: lambda data: hashlib.sha1(data, usedforsecurity=False),
    64: hashlib.sha256,
    128: hashlib.sha512,
}
_AS_IT_IS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN = 0o755  # readable by everybody
_libc = ctypes.CDLL(None, use_errno=True)


def write_atomically(
    path: Path, data: bytes, *, mode: int = 0o644, durable: bool = True, owner: int | None = None
) -> None:
    """Write a file atomically: beside it, flushed to disk, then renamed.

    With `owner` (a user ID; for root only) the file belongs to that user before it has its name.
    """
    Beneath(path.parent).write(path.name, data, mode=mode, durable=durable, owner=owner)


def read_at_most(path: Path, at_most: int, *, where: str = "") -> bytes:
    """The content of a file; MalformedFile, which names `where`, if it has more than `most` bytes."""
    with path.open("rb") as file:
        data = file.read(at_most + 1)
    if len(data) > at_most:
        raise MalformedFile(f"{where or path}: expected at most {at_most} bytes, found more")
    return data


def create_private(path: Path, data: bytes) -> None:
    """Create a file with mode 0600; FileExistsError if it exists."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(handle)


def make_open_directories(above: Path, *names: str, owner: int | None = None) -> None:
    """Have `above`/NAME, in it the next one, and so on, that everybody can read, whatever the umask says.

    `above` is there, and is trusted to be what it is; its rights are not touched. With `owner` (a user's
    number) the directories are that user's; that takes root, who changes nothing but what this user owns.
    StateError where something else has the place of one: a link would let its maker choose whose rights are
    changed.
    """
    wanted = os.geteuid() if owner is None else owner
    place, handle = above, os.open(above, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in names:
            place = place / name
            below = _open_directory(place, handle, wanted, _OPEN)
            os.close(handle)
            handle = below
            if stat.S_IMODE(os.fstat(handle).st_mode) != _OPEN:
                os.fchmod(handle, _OPEN)
    finally:
        os.close(handle)


@contextmanager
def opened_directory(place: Path, *, owner: int, mode: int) -> Iterator[Path]:
    """Have a directory of this user's (a number), and a name for it that leads to it until the `with` ends.

    What is done by that name is done there, whoever puts a link in its place meanwhile. One that is new has
    this mode. Its parent is trusted, and StateError is raised, as by `make_open_directories`.
    """
    parent = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        handle = _open_directory(place, parent, owner, mode)
    finally:
        os.close(parent)
    try:
        yield Path(f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)


def _open_directory(place: Path, parent: int, owner: int, mode: int) -> int:
    """A handle of one that is the owner's; all is asked and changed by handles: nothing is followed."""
    is_new = False
    with suppress(FileExistsError):
        os.mkdir(place.name, mode, dir_fd=parent)
        is_new = True
    try:
        handle = os.open(place.name, _AS_IT_IS, dir_fd=parent)
    except NotADirectoryError as exc:
        raise StateError(
            f"{place} is a link or a file, expected a directory",
            hint="move it away; to have it on another disk, mount that there",
        ) from exc
    try:
        if is_new and os.fstat(handle).st_uid == os.geteuid() != owner:
            os.fchown(handle, owner, -1)
        _require_owner(handle, place, owner)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _require_owner(directory: int, place: Path, owner: int) -> None:
    found = os.fstat(directory)
    if found.st_uid != owner:
        raise StateError(
            f"{place} belongs to user {found.st_uid}, expected user {owner}",
            hint=f"check who created it; then: chown {owner} {place}",
        )


def sync_directory(directory: Path) -> None:
    """Flush a directory's names to disk."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_file_system(directory: Path) -> None:
    """Flush a directory's file system to disk (syncfs(2)); for many files cheaper than fsync of each."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _libc.syncfs(handle) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(directory))
    finally:
        os.close(handle)


def sha256_of(path: Path | str) -> str:
    """The SHA256 of a regular file, as 64 hexadecimal digits; a symbolic link is refused."""
    return _hash(path, hashlib.sha256())


def digest_of(path: Path | str, *, like: str) -> str:
    """The hash of a file, of the same kind as `like` by its number of digits; "" for "".

    Raises OSError, as `sha256_of`, if there is no regular file.
    """
    if like:
        return _hash(path, new_hash(like))
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise OSError(errno.ELOOP, "is not a regular file", str(path))
    return ""


def has_digest(path: Path | str, digest: str) -> bool:
    """Whether there is a file with this hash; every file has the hash ""."""
    try:
        return digest_of(path, like=digest) == digest
    except OSError:
        return False


def new_hash(like: str, data: bytes = b"") -> hashlib._Hash:
    """A hash object of the same kind as `like` by its number of digits, begun with `data`."""
    return _ALGORITHMS[len(like)](data)


def _hash(path: Path | str, digest: hashlib._Hash) -> str:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        while chunk := os.read(handle, _CHUNK):
            digest.update(chunk)
        return digest.hexdigest()
    finally:
        os.close(handle)


def mtime_of(found: os.stat_result) -> int:
    """The modification time in whole seconds, rounded down as by rsync: 1.5 s before 1970 is -2."""
    return found.st_mtime_ns // 10**9


def lstat_or_none(path: Path | str) -> os.stat_result | None:
    """The status of a path, links not followed; None if there is nothing visible."""
    try:
        return os.lstat(path)
    except OSError:
        return None


def is_private(path: Path) -> bool:
    """Whether only the owner can read a file."""
    return not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)


# -- mount points: other file systems, or bind mounts ---


_TABLE = Path("/proc/self/mountinfo")
_ESCAPED = re.compile(r"\\(\d{3})")  # proc(5): blanks, tabs, newlines and backslashes


def mounts_below(directory: Path, table: str | None = None) -> list[str]:
    """The mount points below a directory, relative to it; none if the kernel does not show them.

    `table` is the text of mountinfo, by default the kernel's. Nothing can be renamed across a mount point.
    """
    if table is None:
        try:
            table = _TABLE.read_text("utf-8", "surrogateescape")
        except OSError:
            return []
    prefix = f"{directory.resolve()}/"
    points = {_unescaped(fields[4]) for line in table.splitlines() if len(fields := line.split(" ")) > 5}
    return sorted(point.removeprefix(prefix) for point in points if point.startswith(prefix))


def _unescaped(word: str) -> str:
    encoded = _ESCAPED.sub(lambda found: chr(int(found[1], 8)), word)
    return encoded.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
