"""The frame of the old commands: signals, command line, errors as exit codes.

Guaranteed: a push outlives its ssh connection (SIGHUP is ignored, output may fail); any other signal unwinds
the stack, so that children are ended, and the exit code is not 0 (archvsync's bug 18).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from getopt import GetoptError, getopt
from typing import TextIO

from pushmirror.archvsync_config.key_names import VARIABLES
from pushmirror.errors import PushmirrorError, Stopped, UsageError, keys_named
from pushmirror.system.clock import allow_deep_directories
from pushmirror.system.signals import outlive_connection, unwind_on_signals

Command = Callable[[Sequence[str], Mapping[str, str]], int]  # of argv and environment; its exit code


def run(command: Command) -> int:
    """Run a command on this process's argv and environment; its exit code, also of whatever it raises."""
    _fill_standard_streams()
    outlive_connection()
    unwind_on_signals()
    os.umask(0o022)
    allow_deep_directories()
    try:
        with keys_named(VARIABLES):
            return command(sys.argv, os.environ)
    except Stopped as exc:
        complain(str(exc))
        return exc.exit_code
    except PushmirrorError as exc:
        complain_of(exc)
        return exc.exit_code


def _fill_standard_streams() -> None:
    """Open closed standard streams: else the next opened file, such as a database, would get their number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one


def say(line: str) -> None:
    """Print a line to the caller, if the connection still exists."""
    _write(sys.stdout, line)


def complain(line: str) -> None:
    """The same on standard error, with the command's name."""
    _write(sys.stderr, f"{os.path.basename(sys.argv[0])}: {line}")  # noqa: PTH119  a name, no path


def complain_of(exc: PushmirrorError) -> None:
    """Print an error and its hint."""
    for line in (*str(exc).splitlines(), *([f"hint: {exc.hint}"] if exc.hint else [])):
        complain(line)


def _write(stream: TextIO | None, line: str) -> None:
    try:
        if stream is not None:
            stream.write(f"{line.encode('ascii', 'backslashreplace').decode()}\n")
            stream.flush()
    except OSError:  # the reader is gone: the buffer must not fail again at exit
        _silence(stream)
    except ValueError:  # it is closed
        pass


def _silence(stream: TextIO | None) -> None:
    assert stream
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def script(argv: Sequence[str]) -> str:
    """The name of the command, by an absolute path."""
    return os.path.abspath(argv[0]) if "/" in argv[0] else argv[0]  # noqa: PTH100  `..` goes, links stay


def split(
    arguments: Sequence[str], letters: str = "", long: Sequence[str] = ("help", "version")
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Split options (`-T`, `--help`) from the words after them, as getopts(1p) does.

    Raises UsageError.
    """
    try:
        options, words = getopt(list(arguments), letters, list(long))
    except GetoptError as exc:
        raise UsageError(str(exc)) from exc
    return dict(options), tuple(words)
