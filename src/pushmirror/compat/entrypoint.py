"""How the old commands begin and end: signals, words of the command line, errors as exit codes.

Guaranteed: a push outlives the connection that brought it (SIGHUP is ignored, and nobody has to listen); any
other signal unwinds the stack, so that children are ended, and ends the command with a code that is not 0
(archvsync's bug 18).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from getopt import GetoptError, getopt
from typing import TextIO

from pushmirror.archvsync.key_names import VARIABLES
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
    """Where one is closed, the next file that is opened, a database maybe, would be taken for it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one


def say(line: str) -> None:
    """Say something to who called us, if anybody still listens."""
    _write(sys.stdout, line)


def complain(line: str) -> None:
    """The same on standard error, with our name."""
    _write(sys.stderr, f"{os.path.basename(sys.argv[0])}: {line}")  # noqa: PTH119  a name, no path


def complain_of(exc: PushmirrorError) -> None:
    """Say an error, and what to do."""
    for line in (*str(exc).splitlines(), *([f"hint: {exc.hint}"] if exc.hint else [])):
        complain(line)


def _write(stream: TextIO | None, line: str) -> None:
    try:
        if stream is not None:
            stream.write(f"{line.encode('ascii', 'backslashreplace').decode()}\n")
            stream.flush()
    except OSError:  # nobody listens any more: what is left in the buffer must not fail at our end again
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
    """The name that we were called by, which a change of directory leaves as it is."""
    return os.path.abspath(argv[0]) if "/" in argv[0] else argv[0]  # noqa: PTH100  `..` goes, links stay


def split(
    arguments: Sequence[str], letters: str = "", long: Sequence[str] = ("help", "version")
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Options (`-T`, `--help`) up to the first word that is none, and the words, as getopts(1p) does.

    Raises UsageError.
    """
    try:
        options, words = getopt(list(arguments), letters, list(long))
    except GetoptError as exc:
        raise UsageError(str(exc)) from exc
    return dict(options), tuple(words)
