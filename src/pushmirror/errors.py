"""Every error that pushmirror raises on purpose, and the exit code each one ends a command with.

A message names the thing, what was expected, what was found and what to do. Foreign exceptions are
translated at the boundary where they appear, `from exc`; `cli.main` prints one of these as one line and
exits with its code. Exit codes follow sysexits(3) and, for the stages of a sync, those of ftpsync.

A message names a key of the configuration by `key_name`, for its reader may have another configuration: the
old commands have all messages name the variables of ftpsync.conf instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum

_key_names: Mapping[str, str] = {}  # key -> what the reader's configuration calls it


class Exit(IntEnum):
    """Exit codes of all commands."""

    OK = 0
    FAILED = 1  # anything without a more telling code
    STAGE1 = 3  # as ftpsync: fetching what indices will refer to failed
    STAGE2 = 4  # as ftpsync: publishing the indices failed
    HELD = 6  # published, but for suites that are held back at an older state, each whole
    USAGE = 64  # EX_USAGE
    UNAVAILABLE = 69  # EX_UNAVAILABLE: a program that is needed is not installed
    SOFTWARE = 70  # EX_SOFTWARE: an internal error
    DAMAGED = 72  # EX_OSFILE: the state database is damaged, and cannot be made anew
    BEHIND = 75  # EX_TEMPFAIL: the served tree is whole, but not (yet) what was asked for; try again
    CONFIG = 78  # EX_CONFIG
    INTERRUPTED = 130  # SIGINT, as a shell reports it
    TERMINATED = 143  # SIGTERM, as a shell reports it


def key_name(key: str, ours: str | None = None) -> str:
    """A key of the configuration as a message names it.

    `key` is dotted, below [archives.X] where no section is named. `ours` is for pushmirror.toml; none: the
    key in backquotes.
    """
    return _key_names.get(key) or ours or f"`{key}`"


@contextmanager
def keys_named(names: Mapping[str, str]) -> Iterator[None]:
    """All messages that are made in the block, in any thread, name these keys so."""
    global _key_names  # noqa: PLW0603  as gettext's catalogue: one for the process
    before, _key_names = _key_names, names
    try:
        yield
    finally:
        _key_names = before


class PushmirrorError(Exception):
    """Something went wrong."""

    exit_code: Exit = Exit.FAILED

    def __init__(self, message: str | None = None, *, hint: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())
        self.hint = hint  # what to do about it: one sentence, printed on a line of its own

    @property
    def with_hint(self) -> str:
        """The message and what to do about it, where both have to be one text."""
        return f"{self}; {self.hint}" if self.hint else str(self)


class UsageError(PushmirrorError):
    """The command was called wrongly."""

    exit_code = Exit.USAGE


class ConfigError(PushmirrorError):
    """The configuration cannot be used."""

    exit_code = Exit.CONFIG


class StateError(PushmirrorError):
    """The state database cannot be used."""


class StateDamaged(StateError):
    """The state database is damaged, and cannot be made anew."""

    exit_code = Exit.DAMAGED

    def __init__(self, message: str | None = None, *, hint: str | None = None, found: str = "") -> None:
        super().__init__(message, hint=hint)
        self.found = found  # what is wrong, without the name of the file


class Damaged(StateError):
    """A file that can be made anew cannot be understood; it was put aside."""


class ProgramMissing(PushmirrorError):
    """A program that is needed is not installed."""

    exit_code = Exit.UNAVAILABLE


class ProgramFailed(PushmirrorError):
    """A program ended with an error."""


class Stalled(ProgramFailed):
    """A program moved too little for too long, and was ended; `rate` is in bytes per second."""

    def __init__(self, message: str, *, rate: float) -> None:
        super().__init__(message)
        self.rate = rate


class TookTooLong(ProgramFailed):
    """A program took longer than allowed, and was ended."""


class HookFailed(ProgramFailed):
    """A program of the operator's ended with an error, or could not be run."""

    def __init__(self, message: str | None = None, *, hint: str | None = None, code: int = 1) -> None:
        super().__init__(message, hint=hint)
        self.code = code  # the program's own, as a shell reports it


class Unusable(PushmirrorError):
    """A way to learn what changed at upstream cannot be used; another one may."""


class ArchiveError(PushmirrorError):
    """The archive's own files contradict each other or are malformed."""


class MalformedFile(ArchiveError):
    """A file of the archive cannot be parsed."""


class NotASuite(MalformedFile):
    """A Release lists no files: it describes a component, not a suite."""


class UnknownVersion(MalformedFile):
    """A file of the archive is in a later format than this pushmirror knows."""


class BadPath(MalformedFile):
    """A file of the archive names a path that does not belong into a tree."""


class BadSignature(ArchiveError):
    """A Release file is not signed by a key of the keyring."""


class KeyExpired(BadSignature):
    """A Release file is signed by keys of the keyring, but all of them have expired."""


class Mismatch(ArchiveError):
    """A file does not have the size or the hash that the indices name."""


class NothingPublished(ArchiveError):
    """No suite of upstream's can be published: each has a fault."""

    exit_code = Exit.STAGE2


class UnreadableTree(PushmirrorError):
    """A directory of our own tree cannot be read."""


class UpstreamError(PushmirrorError):
    """Upstream could not be read."""


class UpstreamMoved(UpstreamError):
    """Upstream published a newer state while this one was being fetched."""


class ConnectionFailed(UpstreamError):
    """The connection to upstream could not be made, stood still or broke; the next one may not."""


class UpstreamFull(ConnectionFailed):
    """Upstream takes no more connections now."""


class UnknownModule(UpstreamError):
    """Upstream's rsync daemon has no such module."""


class OptionRefused(UpstreamError):
    """Upstream refuses an option of rsync's."""

    def __init__(self, message: str | None = None, *, hint: str | None = None, option: str = "") -> None:
        super().__init__(message, hint=hint)
        self.option = option  # its long name


class SilentlyClosed(ConnectionFailed):
    """Upstream closed the connection before it said anything."""


class UpstreamUpdating(UpstreamError):
    """Upstream shows that its own update is in progress."""


class Behind(PushmirrorError):
    """The served tree is whole, but it is not (yet) what was asked for."""

    exit_code = Exit.BEHIND


class TriggerFailed(PushmirrorError):
    """A trigger could not be sent, or got no answer."""


class HostKeyChanged(TriggerFailed):
    """A site shows another ssh host key than the pinned one."""


class Stopped(BaseException):
    """A signal ended the run.

    Not an Exception: it must pass everything that goes on after an error, such as logging's own handlers.
    """

    def __init__(self, message: str, *, exit_code: Exit = Exit.TERMINATED) -> None:
        super().__init__(message)
        self.exit_code = exit_code
