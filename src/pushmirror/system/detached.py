"""Start programs that outlive us; their output goes to a log file.

They run in the directory /, so that they keep no file system busy.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pushmirror.system import process

_START_S = 30.0
_LARGE = 5_000_000  # bytes of a log before a new one is begun
#: In its own session before the shell and its process group end; init adopts it.
_SCRIPT = """setsid -w sh -c '"$@" &' sh "$@" </dev/null >>"$0" 2>&1"""
_KEPT = ("PUSHMIRROR_STATE", "XDG_STATE_HOME")  # where the state is, unless the configuration says so


def start(argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> None:
    """Start a program in its own session; its output is appended to `log`, an absolute path.

    `env` is added to the usual environment; by default it has the state directory. Raises ProgramFailed if it
    cannot be started, and OSError if the log cannot be created.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > _LARGE:
        log.replace(log.with_name(f"{log.name}.1"))
    if env is None:
        env = {name: os.environ[name] for name in _KEPT if name in os.environ}
    program = ["sh", "-c", _SCRIPT, str(log), *argv]
    process.run(program, env=env, cwd=Path("/"), timeout_s=_START_S).check()
