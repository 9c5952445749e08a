"""Find the lines of authorized_keys that start ftpsync, and give the lines that replace them.

Guaranteed: the new line restricts the key to one command, from the same addresses, with the same words; what
else the old line granted is named. Lines with other commands are ignored. The format is sshd(8)'s.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pushmirror.archvsync_config.variables import read_text

_KEY_TYPE = re.compile(r"(ssh-|ecdsa-|sk-)[a-z0-9@.-]+")
_OPTION = re.compile(r'([A-Za-z0-9-]+)(?:="((?:[^"\\]|\\.)*)")?')
_KEPT = {
    "from",
    "expiry-time",
    "verify-required",
    "no-touch-required",
}  # options that restrict who may log in with it, and when
_KEPT |= {"cert-authority", "principals"}
_IN_RESTRICT = {"restrict", "command", "no-pty", "no-port-forwarding", "no-agent-forwarding"}
_IN_RESTRICT |= {"no-x11-forwarding", "no-user-rc"}
_TRIGGER_OPTION = "-T"


@dataclass(frozen=True, slots=True)
class Pusher:
    """A key that may start ftpsync."""

    place: str  # FILE:LINE
    name: str  # of the command: ftpsync, ftpsync-security
    words: tuple[str, ...]  # after the command: sync:…, -T NAME
    options: tuple[str, ...]  # that stay, as they were written
    key: str  # type, key and comment
    warnings: tuple[str, ...] = ()

    @property
    def archive(self) -> str:
        """The archive that the line itself names; empty: the trigger names it."""
        named = [
            word.removeprefix("sync:archive:") for word in self.words if word.startswith("sync:archive:")
        ]
        return named[-1] if named else self.name.removeprefix("ftpsync").removeprefix("-")

    def line(self, program: tuple[str, ...]) -> str:
        """The new line; `program` is the command that starts pushmirror."""
        words = [word for word in self.words if not word.startswith("sync:archive:")]
        if self.archive:
            words.append(f"sync:archive:{self.archive}")
        command = shlex.join([*program, "receive", *words]).replace('"', '\\"')
        return f'{",".join(("restrict", *self.options))},command="{command}" {self.key}'


def read_pushers(file: Path) -> tuple[Pusher, ...]:
    """The lines of an authorized_keys whose command is an ftpsync; ConfigError when it cannot be read."""
    found = (
        _pusher(line.strip(), f"{file}:{number}")
        for number, line in enumerate(read_text(file).split("\n"), 1)
    )
    return tuple(pusher for pusher in found if pusher)


def _pusher(line: str, place: str) -> Pusher | None:
    if not line or line.startswith("#") or _KEY_TYPE.match(line):
        return None
    options: dict[str, str] = {}
    rest = line
    while match := _OPTION.match(rest):
        options[match[1].casefold()] = match[0]
        rest = rest[match.end() :]
        if not rest.startswith(","):
            break
        rest = rest[1:]
    if "command" not in options or not _KEY_TYPE.match(rest.strip()):
        return None
    called = _words(_unquoted(options["command"]))
    at = next((n for n, word in enumerate(called) if _is_ftpsync(word)), None)
    if at is None:
        return None
    words = called[at + 1 :]
    return Pusher(
        place=place,
        name=Path(called[at]).name,
        words=tuple(_known_words(words)),
        options=tuple(text for name, text in options.items() if name in _KEPT),
        key=" ".join(rest.split()),
        warnings=tuple(f"{place}: {one}" for one in _left_out(options, called[:at], words)),
    )


def _unquoted(option: str) -> str:
    return option.partition("=")[2][1:-1].replace('\\"', '"')


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:  # a quote without an end
        return command.split()


def _is_ftpsync(word: str) -> bool:
    return re.fullmatch(r"ftpsync(-[A-Za-z0-9._-]+)?", Path(word).name) is not None


def _known_words(words: list[str]) -> Iterator[str]:
    rest = iter(words)
    for word in rest:
        if word == _TRIGGER_OPTION:
            yield from (word, next(rest, "ssh"))
        elif re.fullmatch(r"sync:[A-Za-z0-9._:-]*|-T[A-Za-z0-9._-]+", word):
            yield word


def _left_out(options: dict[str, str], before: list[str], words: list[str]) -> Iterator[str]:
    for name, text in options.items():
        if name not in _KEPT | _IN_RESTRICT:
            label = text if name != "environment" else name
            yield f"{label} is left out: the key can only start `pushmirror receive`"
    if before:
        yield f"{shlex.join(before)} before the command is left out; check whether it is still needed"
    known = list(_known_words(words))
    if left := [word for word in words if word not in known]:
        yield f"{shlex.join(left)} after the command is left out: pushmirror accepts -T and sync: words"
    if "from" not in options:
        yield 'the key works from any address: add from="ADDRESS" of your upstream to the new line'
