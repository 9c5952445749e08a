"""A push that ftpsync calls for, by a runmirrors in a process of its own.

Two processes come out of one there, which is only safe before there is a database or a thread.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from pushmirror.compat import session
from pushmirror.compat.runmirrors import Call
from pushmirror.config.model import default_state_directory
from pushmirror.hooks import as_ours
from pushmirror.system import process


def call(wanted: Call, archive: str, environment: Mapping[str, str]) -> int:
    """Have it pushed; returns the exit code."""
    told = {"call": asdict(wanted), "archive": archive, "state": str(default_state_directory())}
    # -P: without it, Python would take modules from the directory that we were called in, anybody's maybe.
    argv = [sys.executable, "-P", "-m", __name__]
    ended = process.run(argv, stdin=json.dumps(told).encode(), env=as_ours(environment))
    for line in (*ended.output.decode("utf-8", "replace").splitlines(), *ended.errors.splitlines()):
        session.complain(line)
    return ended.exit_code


def main() -> int:
    """Carry out the call that is told on standard input."""
    from pushmirror.compat.push.run import PushRun

    told = json.load(sys.stdin)
    wanted, archive, state = Call(**told["call"]), told["archive"], Path(told["state"])
    return session.run(
        lambda _, environment: PushRun.read(wanted, environment, archive=archive, state=state).carry_out()
    )


if __name__ == "__main__":
    raise SystemExit(main())
