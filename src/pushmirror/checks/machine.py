"""Check directories, disks, keys, state and clock, for the user who runs the mirror."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pushmirror.archive.generation import short
from pushmirror.archive.layout import DISTS, POOL, ZZZ_DISTS, is_content
from pushmirror.checks.finding import Finding, error, ok, warning
from pushmirror.config.model import Archive, Config, Mirror, State, TlsMethod
from pushmirror.config.types import is_public
from pushmirror.config.upstream_url import Scheme
from pushmirror.errors import PushmirrorError, StateError
from pushmirror.ownership import owner_of, require_ours, require_readable, user_numbered
from pushmirror.state.backups import Backup, list_backups
from pushmirror.state.database import find_damage, sqlite_file
from pushmirror.state.records import Generation
from pushmirror.state.store import open_store
from pushmirror.status.words import ago
from pushmirror.system import clock
from pushmirror.system.files import is_private, mounts_below
from pushmirror.system.users import as_user
from pushmirror.tree.work_area import way_out

_BUILT = datetime(2026, 1, 1, tzinfo=UTC)  # a correct clock shows no earlier time
_FAR = datetime(2100, 1, 1, tzinfo=UTC)
_BACKUP_OLD = timedelta(days=2)
_LOW_SHARE, _LOW_BYTES = 0.02, 1024**3
_STATE = ("*", "*/*", "push/*/*")  # in the state directory, without thousands of logs and closures


def of_mirror(mirror: Mirror) -> Iterator[Finding]:
    """The mirror's name, which is in the public trace."""
    if is_public(mirror.name):
        yield ok("mirror name", mirror.name)
        return
    found = f"{mirror.name}: mirror checkers look for project/trace/NAME under a public name"
    yield warning("mirror name", found, 'set [mirror] name, such as "mirror.example.org"')


def of_archive(archive: Archive, state: State) -> Iterator[Finding]:
    """An archive's tree, its disk, and the files for fetching."""
    yield emptied(archive, state) or tree(archive)
    yield from disk(archive.path)
    yield from volumes(archive)
    if archive.password_file:
        yield password_file(f"password file of {archive.name}", archive.password_file)
    if archive.ssh_key:
        yield private_key(f"ssh key of {archive.name}", archive.ssh_key)
    if archive.callback:
        yield private_key(f"callback key of {archive.name}", archive.callback.key)
    if archive.upstream and archive.upstream.scheme is Scheme.RSYNCS:
        yield from tls(archive)


def volumes(archive: Archive, table: str | None = None) -> Iterator[Finding]:
    """Trees on more than one file system; `table` as for `mounts_below`."""
    subject, path = f"tree of {archive.name}", archive.path
    for name in mounts_below(path, table):
        yield from disk(path / name)
        if name.split("/")[0] in {DISTS, ZZZ_DISTS}:
            found = f"{path / name} is a mount point: suites there cannot be swapped atomically"
            todo = "mount the whole tree, or pool alone; suites without by-hash are updated file by file here"
            yield warning(subject, found, todo)
        else:
            yield ok(subject, f"{path / name} is a separate file system, with its own work area")
    for name in (DISTS, ZZZ_DISTS, POOL) if archive.upstream else ():
        if (to := way_out(path, name)) is not None:
            todo = f"remove the link, and: mount --bind {to} {path / name}"
            yield error(subject, f"{path / name} is a link to {to}, outside of the tree", todo)


def tls(archive: Archive) -> Iterator[Finding]:
    """Weak or impossible settings of TLS to upstream."""
    if not archive.tls_ca.exists():
        yield error(f"tls_ca of {archive.name}", f"{archive.tls_ca} is missing", "install ca-certificates")
    if archive.tls_method is TlsMethod.STUNNEL_OLD:
        found = "stunnel-old accepts any trusted certificate, whatever its name"
        todo = "remove it, unless upstream's certificate has another name"
        yield warning(f"tls_method of {archive.name}", found, todo)


def tree(archive: Archive) -> Finding:
    """A tree must be writable for us and readable for all; an owner's is written by another program."""
    subject, path = f"tree of {archive.name}", archive.path
    if path.exists() and not path.is_dir():
        return error(subject, f"{path} is not a directory", "name another path")
    if archive.upstream is None:
        return _owners_tree(subject, path)
    if not path.exists():
        return _to_be_made(subject, path)
    if not os.access(path, os.W_OK | os.X_OK):
        return error(subject, f"{path} is not writable by this user", f"run as its owner ({_owner(path)})")
    return _ownership(subject, path)


def emptied(archive: Archive, state: State) -> Finding | None:
    """An empty tree in which an archive was published: its disk is not mounted, and syncs refuse."""
    if not _is_empty(archive.path) or (was := _published(archive, state)) is None:
        return None
    found = f"{archive.path} is empty, but generation {short(was.digest)} was published in it"
    todo = f"mount its disk, or refill the tree: pushmirror sync {archive.name} --refill"
    return error(f"tree of {archive.name}", found, todo)


def _is_empty(path: Path) -> bool:
    """Whether a tree is empty, apart from our own names."""
    if not path.is_dir() or not os.access(path, os.R_OK | os.X_OK):
        return False
    return not any(is_content(one.name) for one in path.iterdir())


def _published(archive: Archive, state: State) -> Generation | None:
    """The last published generation; None also if the state cannot be read, which another check reports."""
    if not has_database(state):
        return None
    try:
        with closing(open_store(state.database_url, state.directory)) as store:
            return store.latest_generation(archive.name)
    except StateError:
        return None


def user(config: Config) -> Iterator[Finding]:
    """The user that root becomes, and whether that user can work."""
    if os.geteuid() != 0:
        return
    state, archives = config.state.directory, config.archives.values()

    def require_all() -> str:
        require_readable(config)
        for archive in archives:
            require_ours(state, archive)
        return ""

    try:
        if owner := owner_of(state, archives):
            name = user_numbered(owner, state)
            as_user(name, require_all)
            yield ok(
                "user", f"commands that root runs continue as {name.pw_name}, who owns the state or the trees"
            )
        else:
            require_all()
    except PushmirrorError as exc:
        yield error("user", str(exc), exc.hint or "give the state and the trees to one user")


def _ownership(subject: str, path: Path) -> Finding:
    if os.geteuid() not in {0, path.stat().st_uid}:  # the finding `user` reports root
        return warning(subject, f"{path} belongs to {_owner(path)}", "run pushmirror as that user")
    return _modes(subject, path)


def _owners_tree(subject: str, path: Path) -> Finding:
    if not path.exists():
        todo = "a tree without upstream must exist: mount it, correct `path`, or add `upstream`"
        return error(subject, f"{path} does not exist", todo)
    if not os.access(path, os.R_OK | os.X_OK):
        return error(subject, f"{path} is not readable by this user", f"make it readable, as {_owner(path)}")
    return _modes(subject, path)


def _modes(subject: str, path: Path) -> Finding:
    status = path.stat()
    if status.st_mode & stat.S_IWOTH:
        return error(subject, f"{path} is writable by everybody", f"chmod o-w {path}")
    if status.st_mode & (stat.S_IROTH | stat.S_IXOTH) != stat.S_IROTH | stat.S_IXOTH:
        return warning(subject, f"{path} is not readable by everybody", f"chmod 755 {path}, if it is public")
    return ok(subject, str(path))


def disk(path: Path) -> Iterator[Finding]:
    """Free space and inodes of a tree's file system."""
    place = _nearest(path)
    numbers = os.statvfs(place)
    free, total = numbers.f_bavail * numbers.f_frsize, numbers.f_blocks * numbers.f_frsize
    yield _enough(f"disk of {path}", f"{free / 1024**3:.1f} GiB", free, max(total * _LOW_SHARE, _LOW_BYTES))
    if numbers.f_files:  # some file systems have no fixed number
        low = numbers.f_files * _LOW_SHARE
        yield _enough(f"inodes of {path}", str(numbers.f_favail), numbers.f_favail, low)


def _enough(subject: str, words: str, free: int, low: float) -> Finding:
    if free > low:
        return ok(subject, f"{words} free")
    judge = warning if free else error
    return judge(subject, f"only {words} free", "free some space, or move the tree to a larger file system")


def readable(subject: str, file: Path) -> Finding:
    """A file that must be readable."""
    try:
        with file.open("rb") as opened:
            empty = not opened.read(1)
    except OSError as exc:
        return error(subject, f"{file} cannot be read: {exc.strerror}", "install it, or name another file")
    return error(subject, f"{file} is empty", "name another file") if empty else ok(subject, str(file))


def password_file(subject: str, file: Path) -> Finding:
    """A password file; rsync also requires that root's belongs to root."""
    found = readable(subject, file)
    if found.todo or os.geteuid() or not file.stat().st_uid:
        return found
    return error(
        subject, f"{file} belongs to {_owner(file)}", "rsync run by root accepts only a file owned by root"
    )


def private_key(subject: str, file: Path) -> Finding:
    """A private key: ssh refuses one that others can read."""
    found = readable(subject, file)
    if not found.todo and not is_private(file):
        return error(subject, f"{file} is readable by others", f"chmod 600 {file}")
    return found


def of_state(state: State) -> Iterator[Finding]:
    """The state directory, and the database if there is one yet."""
    directory = state.directory
    if not directory.exists():
        yield _to_be_made("state directory", directory)
        return
    if not os.access(directory, os.W_OK | os.X_OK):
        todo = f"run as its owner ({_owner(directory)})"
        yield error("state directory", f"{directory} is not writable by this user", todo)
        return
    yield _of_one_owner(directory)
    if not has_database(state):
        return  # created by the first run, as its user
    try:
        open_store(state.database_url, directory).close()
    except StateError as exc:
        yield error("state database", str(exc), exc.hint or "see state.database in the configuration")
        return
    if file := sqlite_file(state.database_url):
        yield database(file, list_backups(directory, clock.now()), clock.now())


def database(file: Path, backups: Sequence[Backup], now: datetime) -> Finding:
    """Whether an SQLite state can be read completely, and the age of its newest backup."""
    if problem := find_damage(file):
        return error("state database", f"{file} is damaged: {problem}", "pushmirror state restore")
    newest = next((one.made_at for one in backups), None)
    if newest is None:
        return ok("state database", "no backup yet; the next sync, push or receive creates one")
    if now - newest > _BACKUP_OLD:
        return warning(
            "state database", f"the newest backup is of {ago(newest, now)}", "pushmirror state backup"
        )
    return ok("state database", f"newest backup {ago(newest, now)}, {len(backups)} in all")


def has_database(state: State) -> bool:
    """Whether there is a state database, or was one; the first run creates it."""
    is_here = state.database is not None or (state.directory / "state.sqlite").exists()
    return is_here or bool(list_backups(state.directory, clock.now()))


def _of_one_owner(directory: Path) -> Finding:
    """Files of another user in the state, as a command run by root leaves them."""
    owner = directory.stat().st_uid
    names = (name for pattern in _STATE for name in directory.glob(pattern))
    if not (foreign := sorted(name for name in names if _belongs_to_another(name, owner))):
        return ok("state directory", str(directory))
    found = f"{foreign[0]} belongs to {_user(foreign[0].lstat().st_uid)}, {directory} to {_user(owner)}"
    command = shlex.join(["chown", "-R", "-h", _user(owner), str(directory)])
    return error("state directory", found, f"as root: {command}; and run pushmirror as that user only")


def _belongs_to_another(name: Path, owner: int) -> bool:
    try:
        return name.lstat().st_uid != owner
    except OSError:  # a file of the database, which comes and goes
        return False


def clock_of(now: datetime) -> Finding:
    """The clock: signatures, traces and grace periods depend on it."""
    found = f"{now:%Y-%m-%d %H:%M:%S} UTC"
    if _BUILT < now < _FAR:
        return ok("clock", found)
    return error("clock", f"{found} cannot be", "set the clock: timedatectl set-ntp true")


def _to_be_made(subject: str, path: Path) -> Finding:
    above = _nearest(path)
    if os.access(above, os.W_OK | os.X_OK):
        return warning(subject, f"{path} does not exist yet", "the first sync creates it")
    found = f"{path} is missing, and {above} is not writable by this user"
    return error(subject, found, f"as root: {made_by_root(path)}")


def made_by_root(path: Path) -> str:
    """The command by which root creates a directory for this user."""
    return shlex.join(["install", "-d", "-o", _user(os.geteuid()), str(path)])


def _nearest(path: Path) -> Path:
    return next(place for place in (path, *path.parents) if place.is_dir())


def _owner(path: Path) -> str:
    return _user(path.stat().st_uid)


def _user(number: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
