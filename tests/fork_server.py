"""The other end of `forked`: imports pushmirror once, then forks for each command line that it is to run.

A request is one packet on standard input's socket: argv, environment and umask as JSON, with three handles:
where the exit code is to be sent, standard output, standard error. Whoever closes the first one ends the run.
The server ends, with all that it runs, when nobody can ask any more.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import selectors
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import NoReturn

WITHOUT_WAITS = "--without-waits"
LARGEST = 256 * 1024  # bytes of one request
_PRELOADED = ("archive", "cli", "config", "state", "status", "sync", "system")  # packages of pushmirror
_ALSO = (
    "pushmirror.runner",
    "pushmirror.push.callback",
    "pushmirror.background_push",
    "alembic.command",
    "alembic.op",
)
#: The lab imports much that no test forks; migrations are run by alembic, not imported.
_LEFT_OUT = ("pushmirror.cli.lab", "pushmirror.state.migrations")


def main() -> None:
    """Serve until nobody can ask any more."""
    control = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    _preload()
    control.send(b"ready")
    running: dict[int, socket.socket] = {}  # process -> who waits for its exit code
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is control:
                    data, handles, _, _ = socket.recv_fds(control, LARGEST, 3)
                    if not data:
                        _end(running)
                        return
                    answer, *streams = handles
                    pid = _fork(data, streams)
                    running[pid] = socket.socket(fileno=answer)
                    selector.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)
                    selector.register(running[pid], selectors.EVENT_READ, pid)
                elif isinstance(key.fileobj, int):  # it has ended
                    selector.unregister(key.fileobj)
                    os.close(key.fileobj)
                    waiting = running.pop(key.data)
                    _, status = os.waitpid(key.data, 0)
                    selector.unregister(waiting)
                    with waiting, suppress(OSError):
                        waiting.send(str(os.waitstatus_to_exitcode(status)).encode())
                elif key.data in running:  # nobody waits for it
                    _kill(key.data)


def _preload() -> None:
    for name in (*_modules(), *_ALSO):
        importlib.import_module(name)
    if WITHOUT_WAITS in sys.argv:  # nothing changes while a run waits for upstream to mend something
        importlib.import_module("pushmirror.system.clock").sleep = lambda _: None  # type: ignore[attr-defined]
    gc.collect()
    gc.freeze()


def _modules() -> Iterator[str]:
    for name in _PRELOADED:
        package = importlib.import_module(f"pushmirror.{name}")
        found = pkgutil.walk_packages(package.__path__, f"pushmirror.{name}.")
        yield from (module.name for module in found if not module.name.startswith(_LEFT_OUT))


def _fork(request: bytes, streams: list[int]) -> int:
    pid = os.fork()
    if pid == 0:
        _become(request, streams)
    for handle in streams:
        os.close(handle)
    return pid


def _become(request: bytes, streams: list[int]) -> NoReturn:
    """End as the command does."""
    code = 1
    try:
        code = _run(**json.loads(request), streams=streams)
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else 1
    except BaseException:  # noqa: BLE001  as the interpreter itself does at its end
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _run(argv: list[str], env: dict[str, str], umask: int, streams: list[int]) -> int:
    from pushmirror.cli.main import main as pushmirror
    from pushmirror.system import process

    os.setsid()
    os.umask(umask)
    os.environ.clear()
    os.environ.update(env)
    process.BASE_ENVIRONMENT.update({name: env[name] for name in ("PATH", "HOME") if name in env})
    for handle, stream in enumerate(streams, 1):
        os.dup2(stream, handle)
    os.closerange(3, max(streams) + 1000)
    sys.stdout = open(1, "w", encoding="utf-8")  # noqa: SIM115  to the end of the process
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1)  # noqa: SIM115
    sys.argv = ["pushmirror", *argv]
    return pushmirror(argv)


def _end(running: dict[int, socket.socket]) -> None:
    for pid in running:
        _kill(pid)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
