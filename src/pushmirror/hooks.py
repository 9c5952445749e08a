"""Hooks: the operator's programs at certain points of a run, with a clean environment and a time limit.

Guaranteed: a hook never sees a password of ours, also where its environment is to be like our own
(archvsync's bug 29). A hook with our environment runs in our directory, as those of ftpsync; any other one in
its archive's tree. What a failure means is up to the caller.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pushmirror.config.model import Archive
from pushmirror.errors import HookFailed, ProgramFailed, ProgramMissing, TookTooLong, key_name
from pushmirror.system import process
from pushmirror.system.bash import called_by

_log = logging.getLogger(__name__)
_SECRET = re.compile(r"(RSYNC|FTPSYNC|PUSHMIRROR)_.*(PASS|SECRET|TOKEN)", re.IGNORECASE)
#: What every program is given unless the caller says otherwise, undone for a hook that sees our environment.
_AS_OURS = {"LC_ALL": "", "TZ": ":/etc/localtime"}
_TIMED_OUT, _NOT_STARTED, _NOT_FOUND, _SIGNALLED = 124, 126, 127, 128  # as timeout(1) and a shell tell it


@dataclass(frozen=True, slots=True)
class Hook:
    """A program to be run at one point."""

    name: str  # of the point: before_sync, after_push …
    argv: tuple[str, ...]  # empty: there is none, and nothing is done
    environment: Mapping[str, str]
    directory: Path | None  # where it is run; none: where we are
    limit_s: float

    @classmethod
    def of(cls, archive: Archive, name: str, facts: Mapping[str, str]) -> Hook:
        """An archive's hook of this name; each fact is handed over as `PUSHMIRROR_<FACT>`."""
        hooks = archive.hooks
        ours = {"HOOK": name, "ARCHIVE": archive.name, "TREE": str(archive.path)}
        ours |= {fact.upper(): value for fact, value in facts.items()}
        return cls(
            name,
            getattr(hooks, name),
            (as_ours(os.environ) if hooks.inherit_environment else {})
            | {f"PUSHMIRROR_{fact}": value for fact, value in ours.items()},
            None if hooks.inherit_environment else archive.path,
            hooks.time_limit.total_seconds(),
        )


@dataclass(frozen=True, slots=True)
class HookStarted:
    """A hook is being run."""

    name: str
    command: str


@dataclass(frozen=True, slots=True)
class HookPrinted:
    """A hook has printed a line, or could not be run, or took too long."""

    name: str
    line: str


@dataclass(frozen=True, slots=True)
class HookEnded:
    """A hook has ended."""

    name: str
    exit_code: int  # as a shell reports it


HookEvent = HookStarted | HookPrinted | HookEnded
OnHook = Callable[[HookEvent], None]


def log_hook(event: HookEvent) -> None:
    """Log the event; for callers that need nothing else."""
    match event:
        case HookStarted():
            _log.info("hook %s: %s", event.name, event.command)
        case HookPrinted():
            _log.info("hook %s says: %s", event.name, event.line)
        case HookEnded():
            _log.info("hook %s ended with exit code %d", event.name, event.exit_code)


def run_hook(hook: Hook, on_hook: OnHook = log_hook) -> None:
    """Run a hook, if there is one; HookFailed when it fails or takes too long."""
    if not hook.argv:
        return
    with _observed(hook, on_hook):
        ended = process.run(hook.argv, env=dict(hook.environment), cwd=hook.directory, timeout_s=hook.limit_s)
    output = ended.output.decode("utf-8", "replace") + ended.errors
    _conclude(hook, ended.exit_code, output.splitlines(), on_hook)


async def run_hook_beside(hook: Hook, on_hook: OnHook = log_hook) -> None:
    """The same in an event loop; if that is cancelled, the hook is ended."""
    if not hook.argv:
        return
    import asyncio  # a run must not wait for it

    from pushmirror.system import async_process

    with _observed(hook, on_hook):
        try:
            async with asyncio.timeout(hook.limit_s):
                ended = await async_process.run(hook.argv, env=dict(hook.environment), cwd=hook.directory)
        except TimeoutError as exc:
            raise TookTooLong(f"{hook.argv[0]} timed out") from exc
    _conclude(hook, ended.exit_code, ended.output.decode("utf-8", "replace").splitlines(), on_hook)


def as_ours(environment: Mapping[str, str]) -> dict[str, str]:
    """Our environment for a program that may see it: without passwords, in our language and time zone."""
    return _AS_OURS | inherited(environment)


def inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment of ours as a hook may see it: without passwords."""
    return {name: value for name, value in environment.items() if not _is_secret(name, value)}


def _is_secret(name: str, value: str) -> bool:
    return bool(_SECRET.match(name)) or (name == "RSYNC_PROXY" and "@" in value)  # user:password@host:port


@contextmanager
def _observed(hook: Hook, on_hook: OnHook) -> Iterator[None]:
    """Report the start of a hook, and translate the errors of starting it."""
    on_hook(HookStarted(hook.name, " ".join(called_by(hook.argv))))
    try:
        yield
    except (ProgramFailed, ProgramMissing) as exc:
        code = _NOT_FOUND if isinstance(exc, ProgramMissing) else _NOT_STARTED
        code = _TIMED_OUT if isinstance(exc, TookTooLong) else code
        on_hook(HookPrinted(hook.name, str(exc)))
        on_hook(HookEnded(hook.name, code))
        failed = HookFailed(f"{_words_for(hook)}: {exc}", hint=exc.hint, code=code)
        failed.exit_code = exc.exit_code
        raise failed from exc


def _conclude(hook: Hook, exit_code: int, lines: Iterable[str], on_hook: OnHook) -> None:
    last = "no output"
    for line in lines:
        on_hook(HookPrinted(hook.name, line))
        last = line.strip() or last
    code = exit_code if exit_code >= 0 else _SIGNALLED - exit_code
    on_hook(HookEnded(hook.name, code))
    if code != 0:
        command = called_by(hook.argv)[0]
        message = f"{_words_for(hook)} ({command}) ended with exit code {exit_code}: {last}"
        raise HookFailed(message, code=code)


def _words_for(hook: Hook) -> str:
    return key_name(hook.name, f"the hook {hook.name}")
