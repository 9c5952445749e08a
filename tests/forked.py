"""The command line without the second that its imports take: each run is a fork of a process that has them.

It is the code that `python -m pushmirror` runs, in a process of its own, with an environment, our umask, a
session and standard streams of its own; what runs share is what importing leaves behind. Not for tests of
starting, of signals, or of what is imported when.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partialmethod
from pathlib import Path
from typing import IO, Any

import pytest

import fork_server
from pushmirror.errors import ProgramFailed
from pushmirror.lab.site import LabSite
from pushmirror.system import process


class Cli:
    """Runs command lines of pushmirror."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control

    def run(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, timeout_s: float = 120
    ) -> process.Result:
        """Run `pushmirror ARGV` to its end, as `process.run` does; all of its output is kept."""
        started = time.monotonic()
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            code = self._ask(argv, {**process.BASE_ENVIRONMENT, **(env or {})}, output, errors, timeout_s)
            printed, said = _all_of(output), _all_of(errors).decode("utf-8", "replace")
        took_s = time.monotonic() - started
        return process.Result(("pushmirror", *argv), code, printed, said, took_s, bool(printed))

    def _ask(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        output: IO[bytes],
        errors: IO[bytes],
        limit_s: float,
    ) -> int:
        request = json.dumps({"argv": list(argv), "env": env, "umask": _umask()}).encode()
        assert len(request) < fork_server.LARGEST
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:  # closing it ends the run, if it has not ended
            with theirs:
                handles = [theirs.fileno(), output.fileno(), errors.fileno()]
                socket.send_fds(self._control, [request], handles)
            ours.settimeout(limit_s)
            try:
                answer = ours.recv(100)
            except TimeoutError as exc:
                words = " ".join(argv)
                raise ProgramFailed(f"pushmirror {words} was ended: it took longer than {limit_s} s") from exc
        assert answer, "the fork server is gone; its own error is above"
        return int(answer)


def _umask() -> int:
    """Ours, which cannot be asked for without changing it."""
    os.umask(mask := os.umask(0o077))
    return mask


def fork_sites(cli: Cli, patch: pytest.MonkeyPatch) -> None:
    """Have every site of the lab fork its commands, as long as the patch is there."""
    patch.setattr(LabSite, "run", partialmethod(_run, cli))
    patch.setattr(LabSite, "json", partialmethod(_json, cli))


def _run(
    site: LabSite,
    cli: Cli,
    *words: str,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 120,
) -> process.Result:
    return cli.run(["--config", str(site.etc), *words], env=env, timeout_s=timeout_s)


def _json(site: LabSite, cli: Cli, *words: str) -> Any:
    return json.loads(_run(site, cli, *words, "--json").check().output)


class ForkedSite(LabSite):
    """A mirror of the lab whose commands are forked."""

    def __init__(self, directory: Path, cli: Cli, **options: Any) -> None:
        self._cli = cli
        super().__init__(directory, **options)

    def run(
        self, *words: str, env: Mapping[str, str] | None = None, timeout_s: float = 120
    ) -> process.Result:
        return _run(self, self._cli, *words, env=env, timeout_s=timeout_s)

    def json(self, *words: str) -> Any:
        return _json(self, self._cli, *words)


@pytest.fixture(scope="session")
def cli() -> Iterator[Cli]:
    """One for each process of pytest."""
    with serving() as running:
        yield running


@contextmanager
def serving(*options: str) -> Iterator[Cli]:
    """A fork server to the end of the block."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    argv = [sys.executable, str(Path(fork_server.__file__)), *options]
    with ours:
        with theirs:
            pid = os.posix_spawn(
                sys.executable,
                argv,
                {**os.environ, **process.BASE_ENVIRONMENT},
                file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0)],
            )
        assert ours.recv(100) == b"ready", "the fork server did not start; its own error is above"
        yield Cli(ours)
    os.waitpid(pid, 0)


def _all_of(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()
