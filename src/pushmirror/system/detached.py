"""Programs that go on when we are gone: nobody waits for them, and what they print goes to a file.

They run in the directory /: they keep no file system busy, and see nothing of where their starter was.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pushmirror.system import process

_START_S = 30.0
_LARGE = 5_000_000  # bytes of a log, after which another one is begun
#: In a session of its own before the shell ends, with which its process group does; init takes it over.
_SCRIPT = """setsid -w sh -c '"$@" &' sh "$@" </dev/null >>"$0" 2>&1"""
_KEPT = ("PUSHMIRROR_STATE", "XDG_STATE_HOME")  # where the state is, unless the configuration says so


def start(argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> None:
    """Start a program in a session of its own; what it prints goes to the end of `log`, an absolute path.

    `env` is added to what every program inherits; by default it says where the state is. Raises ProgramFailed
    when not even that could be done, and OSError when the log cannot be made.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > _LARGE:
        log.replace(log.with_name(f"{log.name}.1"))
    if env is None:
        env = {name: os.environ[name] for name in _KEPT if name in os.environ}
    program = ["sh", "-c", _SCRIPT, str(log), *argv]
    process.run(program, env=env, cwd=Path("/"), timeout_s=_START_S).check()
