"""The operator's own programs at certain points of a run: an argv list, a clean environment, a time limit."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from pushmirror.config.model import Archive
from pushmirror.errors import ProgramFailed
from pushmirror.system import process

_log = logging.getLogger(__name__)


def run_hook(archive: Archive, name: str, facts: Mapping[str, str]) -> None:
    """Run the hook of this name, if the archive has one.

    Each fact is handed over as `PUSHMIRROR_<FACT>`. Raises ProgramFailed when it fails or takes too long.
    """
    argv: tuple[str, ...] = getattr(archive.hooks, name)
    if not argv:
        return
    env = {"PUSHMIRROR_HOOK": name, "PUSHMIRROR_ARCHIVE": archive.name, "PUSHMIRROR_TREE": str(archive.path)}
    env |= {f"PUSHMIRROR_{fact.upper()}": value for fact, value in facts.items()}
    _log.info("hook %s: %s", name, " ".join(argv))
    limit_s = archive.hooks.time_limit.total_seconds()
    try:
        result = process.run(argv, env=env, cwd=archive.path, timeout_s=limit_s)
    except ProgramFailed as exc:
        raise ProgramFailed(f"the hook {name}: {exc}") from exc
    for line in [*result.output.decode("utf-8", "replace").splitlines(), *result.errors.splitlines()]:
        _log.info("hook %s: %s", name, line)
    if result.exit_code != 0:
        raise ProgramFailed(
            f"the hook {name} ({argv[0]}) ended with exit code {result.exit_code}: {result.last_words()}"
        )
