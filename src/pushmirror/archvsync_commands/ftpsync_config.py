"""One call of ftpsync: its command line, the words through ssh, and its configuration.

Of contradicting words the later wins, and the forced command's own come last; `sync:all` after
`sync:stage1` is both, the other way round it is stage 1 alone (archvsync.md, 3). Guaranteed: without its
file a call ends with 78, as ftpsync does; RSYNC_PASSWORD is moved from the environment to a file that only
the user can read (archvsync's bug 29).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pushmirror.archvsync_commands import entrypoint
from pushmirror.archvsync_config.ftpsync import TO, archive_name, read_ftpsync
from pushmirror.archvsync_config.places import ScriptPaths, config_name, find, preset_of_ftpsync
from pushmirror.archvsync_config.values import Ftpsync, Variables
from pushmirror.archvsync_config.variables import read_variables
from pushmirror.config.model import Config, Rollback, State, Strategy
from pushmirror.errors import ConfigError
from pushmirror.ownership import become_owner_of
from pushmirror.push.trigger import parse_trigger, words_of
from pushmirror.state.records import Stage
from pushmirror.system import process
from pushmirror.system.files import write_atomically
from pushmirror.system.owned_directory import keep_to_owner, state_errors

_SWITCHES = ("SYNCSTAGE1", "SYNCSTAGE2", "SYNCALL", "SYNCMHOP", "SYNCCALLBACK")


@dataclass(frozen=True, slots=True)
class FtpsyncArgs:
    """The arguments of one call."""

    archive: str  # as named; empty: the main one
    stage1: bool
    stage2: bool
    all: bool
    mhop: bool
    callback: bool
    trigger: str  # for the trace; empty: none
    words: str
    ignored: tuple[str, ...] = ()

    @property
    def stage(self) -> Stage:
        """The stage."""
        if self.all or self.stage1 == self.stage2:
            return Stage.ALL
        return Stage.STAGE1 if self.stage1 else Stage.STAGE2

    @property
    def push(self) -> str:
        """The kind of push (-k) to our own sites afterwards; empty: none."""
        if self.stage is Stage.STAGE1:
            return "mhop" if self.mhop else ""
        return self.stage.value

    def variables(self) -> dict[str, str]:
        """The variables that the configuration may use and change."""
        switches = (self.stage1, self.stage2, self.all, self.mhop, self.callback)
        flags = {name: "true" if on else "false" for name, on in zip(_SWITCHES, switches, strict=True)}
        return {"ARCHIVE": self.archive, **flags, **({"INFO_TRIGGER": self.trigger} if self.trigger else {})}

    def changed_by(self, values: Mapping[str, str]) -> FtpsyncArgs:
        """The arguments after the configuration has changed them."""
        now = {**self.variables(), **{name: values[name] for name in _SWITCHES if name in values}}
        stage1, stage2, everything, mhop, callback = (now[name] == "true" for name in _SWITCHES)
        trigger = values.get("INFO_TRIGGER", self.trigger)
        return FtpsyncArgs(
            self.archive, stage1, stage2, everything, mhop, callback, trigger, self.words, self.ignored
        )


def asked(arguments: Sequence[str], trigger: str | None, environment: Mapping[str, str]) -> FtpsyncArgs:
    """Parse the words of SSH_ORIGINAL_COMMAND and of a command line, without options."""
    original = environment.get("SSH_ORIGINAL_COMMAND", "")
    spoken = words_of(original, arguments)
    wanted = parse_trigger(spoken)
    flags = {"sync:stage1", "sync:stage2", "sync:all"}
    stages = [word for word in spoken if word in flags]
    default = trigger or environment.get("INFO_TRIGGER", "")
    return FtpsyncArgs(
        archive=wanted.archive,
        stage1="sync:stage1" in stages,
        stage2="sync:stage2" in stages,
        all=not stages or stages[-1] == "sync:all",
        mhop=wanted.mhop,
        callback=wanted.callback,
        trigger=default or ("ssh" if original else ""),
        words=" ".join(spoken),
        ignored=tuple(word for word in spoken if word in wanted.ignored or _is_ours(word)),
    )


def _is_ours(word: str) -> bool:
    """Whether a word is ours and unknown to the script, which ignores it."""
    return parse_trigger([word]).generation is not None


#: Variables that rsync and its ssh use, as with the script.
_FOR_RSYNC = ("PATH", "RSYNC_CONNECT_PROG", "SSH_AUTH_SOCK")
_PASSWORD = "RSYNC_PASSWORD"  # noqa: S105  a variable's name


@dataclass(frozen=True, slots=True)
class FtpsyncCall:
    """One call with its configuration."""

    asked: FtpsyncArgs  # as changed by the configuration
    variables: Variables
    ftpsync: Ftpsync
    config: Config

    @property
    def program(self) -> str:
        """The name in log lines and mails."""
        return self.variables.get("PROGRAM", self.ftpsync.name)

    def explain(self) -> None:
        """Print which configuration was read, and its settings without a counterpart."""
        entrypoint.complain(f"configuration: {self.variables.file or 'the environment'}")
        for warning in self.ftpsync.warnings:
            entrypoint.complain(f"warning: {warning}")


def configured(argv0: str, asked: FtpsyncArgs, environment: Mapping[str, str]) -> FtpsyncCall:
    """Read the configuration of a script of this name; raises ConfigError, StateError."""
    script = Path(argv0).name
    name = config_name(f"{script}-{asked.archive}" if asked.archive else script)  # logs have it, too
    where = ScriptPaths.of(environment, argv0)
    file = find(where, f"{name}.conf")
    if file is None:
        raise ConfigError(
            f"there is no {name}.conf",
            hint=f"searched in {', '.join(map(str, where.config))}",
        )
    preset = preset_of_ftpsync(name, where, asked.variables())
    variables = read_variables(file, environment=environment, preset=preset)
    if said := become_owner_of(Path(variables.get("TO", TO))):
        entrypoint.complain(said)
    archive = archive_name(asked.archive, script, variables.get("TO", TO))
    state = State()
    secret = state.directory / "secrets" / f"{archive}.secret"
    ftpsync = read_ftpsync(variables, name=name, archive=archive, places=where, password_file=secret)
    if ftpsync.password is not None:
        keep_to_owner(state.directory)
        _keep(secret, ftpsync.password)
    _export(variables)
    # As with the script, a run fetches everything: not by `index`, which leaves the rest for later.
    # It ends at the first failed connection: exit code and mail say so at once.
    # The script has no option to accept a rollback once.
    as_there = {"strategy": Strategy.MANIFEST, "retries": 0, "rollback": Rollback.WARN}
    mirrored = ftpsync.archive.model_copy(update=as_there)
    config = Config(mirror=ftpsync.mirror, archives={archive: mirrored}, state=state)
    return FtpsyncCall(asked.changed_by(variables.values), variables, ftpsync, config)


def _export(variables: Variables) -> None:
    """Put what the configuration exports into our environment, without the password."""
    os.environ.update(variables.for_programs)
    os.environ.pop(_PASSWORD, None)
    process.BASE_ENVIRONMENT.update({name: os.environ[name] for name in _FOR_RSYNC if name in os.environ})


def _keep(file: Path, password: str) -> None:
    """Write upstream's password to a file that only the user can read."""
    data = f"{password}\n".encode("utf-8", "surrogateescape")
    with suppress(OSError):
        if file.read_bytes() == data and file.stat().st_mode & 0o777 == 0o600:
            return
    with state_errors(file.parent.parent, file):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(file, data, mode=0o600)
