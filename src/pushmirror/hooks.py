"""The operator's own programs at certain points: an argv list, a clean environment, a time limit.

Guaranteed: no password is in that environment. Not the business of this module: what a failure means.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from pushmirror.config.model import Archive
from pushmirror.errors import ProgramFailed
from pushmirror.system import async_process, process

_log = logging.getLogger(__name__)


def run_hook(archive: Archive, name: str, facts: Mapping[str, str]) -> None:
    """Run the hook of this name, if the archive has one.

    Each fact is handed over as `PUSHMIRROR_<FACT>`. Raises ProgramFailed when it fails or takes too long.
    """
    argv = _argv(archive, name)
    if not argv:
        return
    try:
        result = process.run(
            argv, env=_environment(archive, name, facts), cwd=archive.path, timeout_s=_limit_s(archive)
        )
    except ProgramFailed as exc:
        raise ProgramFailed(f"the hook {name}: {exc}") from exc
    said = result.output.decode("utf-8", "replace") + result.errors
    _judge(name, argv, result.exit_code, said.splitlines())


async def run_hook_beside(archive: Archive, name: str, facts: Mapping[str, str]) -> None:
    """The same beside other work in an event loop; when that is cancelled, the hook is ended."""
    argv = _argv(archive, name)
    if not argv:
        return
    try:
        async with asyncio.timeout(_limit_s(archive)):
            ended = await async_process.run(argv, env=_environment(archive, name, facts), cwd=archive.path)
    except TimeoutError as exc:
        raise ProgramFailed(f"the hook {name}: {argv[0]} was ended: it took longer than allowed") from exc
    except ProgramFailed as exc:
        raise ProgramFailed(f"the hook {name}: {exc}") from exc
    _judge(name, argv, ended.exit_code, ended.output.decode("utf-8", "replace").splitlines())


def _argv(archive: Archive, name: str) -> tuple[str, ...]:
    argv: tuple[str, ...] = getattr(archive.hooks, name)
    if argv:
        _log.info("hook %s: %s", name, " ".join(argv))
    return argv


def _environment(archive: Archive, name: str, facts: Mapping[str, str]) -> dict[str, str]:
    ours = {"PUSHMIRROR_HOOK": name, "PUSHMIRROR_ARCHIVE": archive.name, "PUSHMIRROR_TREE": str(archive.path)}
    return ours | {f"PUSHMIRROR_{fact.upper()}": value for fact, value in facts.items()}


def _limit_s(archive: Archive) -> float:
    return archive.hooks.time_limit.total_seconds()


def _judge(name: str, argv: Sequence[str], exit_code: int, lines: Sequence[str]) -> None:
    for line in lines:
        _log.info("hook %s: %s", name, line)
    if exit_code != 0:
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it printed no error")
        raise ProgramFailed(f"the hook {name} ({argv[0]}) ended with exit code {exit_code}: {last}")
