"""The operator's own programs at certain points: an argv list, a clean environment, a time limit.

Guaranteed: no password of ours is in that environment, also where it is to be like our own (archvsync's
bug 29). One that sees our environment is where we are, as those of ftpsync; any other one is in its archive's
tree. Not the business of this module: what a failure means.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pushmirror.config.model import Archive
from pushmirror.errors import HookFailed, ProgramFailed, ProgramMissing
from pushmirror.system import async_process, process
from pushmirror.system.bash import called_by

_log = logging.getLogger(__name__)
#: What is logged of each, for who tells it in other words: with its name, and what comes behind.
RUNS, SAYS, ENDED = "hook %s: %s", "hook %s says: %s", "hook %s ended with exit code %d"
_SECRET = re.compile(r"(RSYNC|FTPSYNC|PUSHMIRROR)_.*(PASS|SECRET|TOKEN)", re.IGNORECASE)
#: What every program is given unless the caller says otherwise, undone for a hook that sees our environment.
_AS_OURS = {"LC_ALL": "", "TZ": ":/etc/localtime"}
_TIMED_OUT, _NOT_STARTED, _NOT_FOUND, _SIGNALLED = 124, 126, 127, 128  # as timeout(1) and a shell tell it


def run_hook(archive: Archive, name: str, facts: Mapping[str, str]) -> None:
    """Run the hook of this name, if the archive has one.

    Each fact is handed over as `PUSHMIRROR_<FACT>`. Raises HookFailed when it fails or takes too long.
    """
    argv = _argv(archive, name)
    if not argv:
        return
    try:
        result = process.run(
            argv, env=_environment(archive, name, facts), cwd=_place(archive), timeout_s=_limit_s(archive)
        )
    except (ProgramFailed, ProgramMissing) as exc:
        raise _without_end(name, exc) from exc
    said = result.output.decode("utf-8", "replace") + result.errors
    _judge(name, argv, result.exit_code, said.splitlines())


async def run_hook_beside(archive: Archive, name: str, facts: Mapping[str, str]) -> None:
    """The same beside other work in an event loop; when that is cancelled, the hook is ended."""
    argv = _argv(archive, name)
    if not argv:
        return
    try:
        async with asyncio.timeout(_limit_s(archive)):
            ended = await async_process.run(argv, env=_environment(archive, name, facts), cwd=_place(archive))
    except TimeoutError as exc:
        raise _without_end(name, ProgramFailed(f"{argv[0]} was ended: it took longer than allowed")) from exc
    except (ProgramFailed, ProgramMissing) as exc:
        raise _without_end(name, exc) from exc
    _judge(name, argv, ended.exit_code, ended.output.decode("utf-8", "replace").splitlines())


def inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment of ours as a hook may see it: without passwords."""
    return {name: value for name, value in environment.items() if not _is_secret(name, value)}


def _is_secret(name: str, value: str) -> bool:
    return bool(_SECRET.match(name)) or (name == "RSYNC_PROXY" and "@" in value)  # user:password@host:port


def _argv(archive: Archive, name: str) -> tuple[str, ...]:
    argv: tuple[str, ...] = getattr(archive.hooks, name)
    if argv:
        _log.info(RUNS, name, " ".join(called_by(argv)))
    return argv


def _place(archive: Archive) -> Path | None:
    """Where it is run; none: where we are."""
    return None if archive.hooks.inherit_environment else archive.path


def _environment(archive: Archive, name: str, facts: Mapping[str, str]) -> dict[str, str]:
    ours = {"PUSHMIRROR_HOOK": name, "PUSHMIRROR_ARCHIVE": archive.name, "PUSHMIRROR_TREE": str(archive.path)}
    given = _AS_OURS | inherited(os.environ) if archive.hooks.inherit_environment else {}
    return given | ours | {f"PUSHMIRROR_{fact.upper()}": value for fact, value in facts.items()}


def _limit_s(archive: Archive) -> float:
    return archive.hooks.time_limit.total_seconds()


def _without_end(name: str, exc: ProgramFailed | ProgramMissing) -> HookFailed:
    """A hook that was not found, could not be started, or took too long."""
    if isinstance(exc, ProgramMissing):
        code = _NOT_FOUND
    else:
        code = _NOT_STARTED if isinstance(exc.__cause__, OSError) else _TIMED_OUT
    _log.info(SAYS, name, exc)
    _log.info(ENDED, name, code)
    failed = HookFailed(f"the hook {name}: {exc}", hint=exc.hint, code=code)
    failed.exit_code = exc.exit_code
    return failed


def _judge(name: str, argv: Sequence[str], exit_code: int, lines: Sequence[str]) -> None:
    for line in lines:
        _log.info(SAYS, name, line)
    code = exit_code if exit_code >= 0 else _SIGNALLED - exit_code
    _log.info(ENDED, name, code)
    if code != 0:
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it printed no error")
        message = f"the hook {name} ({called_by(argv)[0]}) ended with exit code {exit_code}: {last}"
        raise HookFailed(message, code=code)
