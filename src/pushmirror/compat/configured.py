"""The configuration that a call of ftpsync means, as ours: found by its name, read, with a place for state.

Guaranteed: without its file a call ends with 78, as there; RSYNC_PASSWORD is written to a file that only we
can read, and taken out of our environment, so that nothing we start can see it (archvsync's bug 29).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pushmirror.compat import session
from pushmirror.compat.asked import Asked
from pushmirror.config.legacy.ftpsync import TO, archive_name, read_ftpsync
from pushmirror.config.legacy.places import Places, config_name, find
from pushmirror.config.legacy.preset import preset_of_ftpsync
from pushmirror.config.legacy.reading import read_variables
from pushmirror.config.legacy.values import Ftpsync, Variables
from pushmirror.config.model import Config, Rollback, State, Strategy
from pushmirror.errors import ConfigError, StateError
from pushmirror.system import process
from pushmirror.system.files import write_atomically
from pushmirror.system.own_directory import keep_to_owner
from pushmirror.whose import become_owner_of

#: What rsync and its ssh may be given through the environment, as there.
_FOR_RSYNC = ("PATH", "RSYNC_CONNECT_PROG", "SSH_AUTH_SOCK")
_PASSWORD = "RSYNC_PASSWORD"  # noqa: S105  a variable's name


@dataclass(frozen=True, slots=True)
class Configured:
    """A call with its configuration."""

    asked: Asked  # with what the configuration has set of it
    variables: Variables
    ftpsync: Ftpsync
    config: Config

    @property
    def program(self) -> str:
        """What log lines and mails name."""
        return self.variables.get("PROGRAM", self.ftpsync.name)

    def explain(self) -> None:
        """Say which configuration was read, and what of it has no counterpart."""
        session.complain(f"configuration: {self.variables.file or 'the environment'}")
        for warning in self.ftpsync.warnings:
            session.complain(f"warning: {warning}")


def configured(argv0: str, asked: Asked, environment: Mapping[str, str]) -> Configured:
    """Read the configuration of a script of this name; raises ConfigError, StateError."""
    script = Path(argv0).name
    name = config_name(f"{script}-{asked.archive}" if asked.archive else script)  # logs have it, too
    where = Places.of(environment, argv0)
    file = find(where, f"{name}.conf")
    if file is None:
        raise ConfigError(
            f"there is no {name}.conf",
            hint=f"looked for it in {', '.join(map(str, where.config))}",
        )
    preset = preset_of_ftpsync(name, where, asked.variables())
    variables = read_variables(file, environment=environment, preset=preset)
    if said := become_owner_of(Path(variables.get("TO", TO))):
        session.complain(said)
    archive = archive_name(asked.archive, script, variables.get("TO", TO))
    state = State()
    secret = state.directory / "secrets" / f"{archive}.secret"
    ftpsync = read_ftpsync(variables, name=name, archive=archive, places=where, password_file=secret)
    if ftpsync.password is not None:
        keep_to_owner(state.directory)
        _keep(secret, ftpsync.password)
    _export(variables)
    # Each run of a script brings all there is, as there: not by `index`, which leaves the rest for later.
    # And each ends at the first connection that fails: their caller is told by exit code and mail at once.
    # Nor has a script a word by which an operator could let an archive go back once.
    as_there = {"strategy": Strategy.MANIFEST, "retries": 0, "rollback": Rollback.WARN}
    mirrored = ftpsync.archive.model_copy(update=as_there)
    config = Config(mirror=ftpsync.mirror, archives={archive: mirrored}, state=state)
    return Configured(asked.changed_by(variables.values), variables, ftpsync, config)


def _export(variables: Variables) -> None:
    """Have programs of ours see what the configuration exports, and nobody the password."""
    os.environ.update(variables.for_programs)
    os.environ.pop(_PASSWORD, None)
    process.BASE_ENVIRONMENT.update({name: os.environ[name] for name in _FOR_RSYNC if name in os.environ})


def _keep(file: Path, password: str) -> None:
    """Write upstream's password where only we can read it."""
    data = f"{password}\n".encode("utf-8", "surrogateescape")
    with suppress(OSError):
        if file.read_bytes() == data and file.stat().st_mode & 0o777 == 0o600:
            return
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(file, data, mode=0o600)
    except OSError as exc:
        raise StateError(
            f"{file} cannot be written: {exc.strerror}",
            hint=f"who runs ftpsync has to own all below {file.parent.parent}",
        ) from exc
