"""How the old commands begin and end: signals, words of the command line, errors as exit codes.

Guaranteed: a push outlives the connection that brought it (SIGHUP is ignored, and nobody has to listen); any
other signal unwinds the stack, so that children are ended, and ends the command with a code that is not 0
(archvsync's bug 18).
"""

from __future__ import annotations

import os
import pwd
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType

from pushmirror.errors import Exit, PushmirrorError, Stopped, UsageError

Command = Callable[[Sequence[str], Mapping[str, str]], int]  # of argv and environment; its exit code
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


def run(command: Command) -> int:
    """Run a command on this process's argv and environment; its exit code, also of whatever it raises."""
    _fill_standard_streams()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for number in _ENDING:
        signal.signal(number, _stop)
    os.umask(0o022)
    try:
        return command(sys.argv, os.environ)
    except Stopped as exc:
        complain(str(exc))
        return exc.exit_code
    except PushmirrorError as exc:
        for line in (*str(exc).splitlines(), *([f"hint: {exc.hint}"] if exc.hint else [])):
            complain(line)
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


def _write(stream: object, line: str) -> None:
    with suppress(OSError, ValueError, AttributeError):  # it may be closed, or never have been open
        stream.write(f"{line.encode('ascii', 'backslashreplace').decode()}\n")  # type: ignore[attr-defined]
        stream.flush()  # type: ignore[attr-defined]


def with_login(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with a LOGNAME, whose absence is no reason to fail (archvsync's bug 31)."""
    login = environment.get("LOGNAME") or environment.get("USER")
    if not login:
        with suppress(KeyError):
            login = pwd.getpwuid(os.getuid()).pw_name
    return {**environment, **({"LOGNAME": login} if login else {})}


@dataclass(frozen=True, slots=True)
class Words:
    """A command line, split as getopts of a shell would."""

    options: Mapping[str, str]  # letter or long name -> value
    words: tuple[str, ...]


def split(arguments: Sequence[str], letters: str, long: Sequence[str] = ()) -> Words:
    """Options up to the first word that is none, and the words; `letters` as getopts(1p), `long` without

    Raises UsageError.
    """
    options: dict[str, str] = {}
    rest = list(arguments)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        if word.removeprefix("--") in long:
            options[word[2:]] = ""
            continue
        options |= _letters(word, letters, rest)
    return Words(options, tuple(rest))


def _letters(word: str, letters: str, rest: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for at, letter in enumerate(word[1:], start=1):
        where = letters.find(letter)
        if letter == ":" or where < 0:
            raise UsageError(f"there is no option -{letter}")
        if letters[where + 1 : where + 2] != ":":
            found[letter] = ""
            continue
        if at + 1 == len(word) and not rest:
            raise UsageError(f"expected a value after -{letter}")
        found[letter] = word[at + 1 :] or rest.pop(0)
        break
    return found


def _stop(number: int, _: FrameType | None) -> None:
    for one in _ENDING:  # once: a second one must not cut the clearing up short
        signal.signal(one, _too_late)
    code = Exit.INTERRUPTED if number == signal.SIGINT else Exit.TERMINATED
    raise Stopped(f"stopped by {signal.Signals(number).name}", exit_code=code)


def _too_late(number: int, _: FrameType | None) -> None:
    """Nothing; SIG_IGN would be inherited by what is started while we clear up."""
