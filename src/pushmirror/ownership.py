"""The user that owns a mirror: root does not work in what another user can change, but becomes that user.

    the state directory's owner; if there is none yet, the owner of the trees: root, or whoever runs this

Guaranteed: nothing is written before; what only root can create (a state directory in /var/lib, a tree in
/srv) is created for that user; a configuration, a password or a key that this user cannot read is an error. A
root who owns all of it stays root, and other users stay who they are.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable, Iterator
from pathlib import Path

from pushmirror.config.model import Archive, Config
from pushmirror.errors import ConfigError, StateError
from pushmirror.system.users import become, is_for_root, make_for, only_root_changes


def become_owner(config: Config) -> str:
    """Switch to the user who owns the state directory and the trees; returns a message, empty if nothing
    changed.

    The configuration has to be read again then: some of its values depend on the user. Raises ConfigError.
    """
    if os.geteuid() != 0:
        return ""
    state = config.state.directory
    owner = owner_of(state, config.archives.values())
    if owner == 0:
        return ""
    user = user_numbered(owner, state)
    for directory in _to_be_made(config):
        make_for(user, directory)
    os.environ["PUSHMIRROR_STATE"] = str(state)  # which may be root's default
    return _became(user, state if state.exists() else _a_tree(config))


def become_owner_of(place: Path) -> str:
    """Switch to the owner of a directory, if it exists; returns as `become_owner` does. Raises
    ConfigError.
    """
    owner = _owner(place)
    if os.geteuid() != 0 or not owner:
        return ""
    return _became(user_numbered(owner, place), place)


def _became(user: pwd.struct_passwd, place: Path) -> str:
    become(user)
    return f"continuing as {user.pw_name}, the owner of {place}"


def owner_of(state: Path, archives: Iterable[Archive]) -> int:
    """The user ID that owns the state, or would own it; ConfigError if the trees have different owners."""
    found = _owner(state)
    if found is not None:
        return found
    owners = {
        owner: archive.path
        for archive in archives
        if archive.upstream is not None and (owner := _owner(archive.path)) is not None
    }
    if len(owners) > 1:
        trees = ", ".join(f"{path} to {_name(owner)}" for owner, path in owners.items())
        raise ConfigError(
            f"the trees belong to different users ({trees}), and there is no state directory yet",
            hint=f"run this as one of them, with a state directory of its own instead of {state}",
        )
    return next(iter(owners), 0)


def require_ours(state: Path, archive: Archive) -> None:
    """ConfigError if root, or the user that root became, would change what belongs to yet another user.

    A tree without upstream is only read.
    """
    if not is_for_root():
        return
    us = os.geteuid()
    places = {"the state directory": state}
    if archive.upstream is not None:
        places["the tree"] = archive.path
    for what, place in places.items():
        if (owner := _owner(place)) not in {None, us}:
            them = _name(owner)
            one, other = (them, state) if us == 0 else (_name(us), place)
            raise ConfigError(
                f"{what} {place} belongs to {them}, and the rest to {_name(us)}: no user may write to both",
                hint=f"give all to one user, such as: chown -R {one} {other}",
            )


def require_readable(config: Config) -> None:
    """ConfigError for a file of the configuration that this user cannot read.

    If the state and a tree belong to different users, that error comes first.
    """
    for what, file in _read_by_runs(config):
        if not _can_be_read(file):
            for archive in config.archives.values():
                require_ours(config.state.directory, archive)
            us = _name(os.geteuid())
            raise ConfigError(
                f"{what}: {file} cannot be read by {us}, who owns {config.state.directory}",
                hint=f"chown {us} {file}",
            )


def user_numbered(number: int, place: Path) -> pwd.struct_passwd:
    """The user with this ID; ConfigError if there is none."""
    try:
        return pwd.getpwuid(number)
    except KeyError as exc:
        raise ConfigError(
            f"{place} belongs to user ID {number}, which does not exist on this machine",
            hint=f"give it to the user who runs the mirror: chown -R USER {place}",
        ) from exc


def _to_be_made(config: Config) -> Iterator[Path]:
    """Missing directories that only root can create."""
    trees = [archive.path for archive in config.archives.values() if archive.upstream is not None]
    for directory, may_be_deep in ((config.state.directory, True), *((tree, False) for tree in trees)):
        above = next(one for one in directory.parents if one.exists())
        is_placed = may_be_deep or above == directory.parent
        if not os.path.lexists(directory) and is_placed and only_root_changes(above):
            yield directory


def _read_by_runs(config: Config) -> Iterator[tuple[str, Path]]:
    if config.source is not None:
        yield "the configuration", config.source
    for archive in config.archives.values():
        if archive.upstream is not None:
            named = {"password_file": archive.password_file, "ssh_key": archive.ssh_key}
            yield from ((f"{key} of {archive.name}", file) for key, file in named.items() if file)
    for site in config.sites.values():
        yield f"key of {site.name}", site.key or config.push.key


def _can_be_read(file: Path) -> bool:
    """A missing file counts as readable: its absence is reported elsewhere."""
    try:
        file.stat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return os.access(file, os.R_OK)


def _a_tree(config: Config) -> Path:
    return next(one.path for one in config.archives.values() if one.upstream and one.path.exists())


def _owner(path: Path) -> int | None:
    try:
        return path.stat().st_uid
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise StateError(f"cannot read attributes of {path}: {exc.strerror}") from exc


def _name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"
