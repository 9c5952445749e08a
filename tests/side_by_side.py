"""Debian's own ftpsync and ours, each in a home of its own, asked the same; and what each leaves behind.

The real ones are copies of those in /usr/bin in which nothing but the path of sendmail is another: no mail of
a test leaves it. Ours are those of `archvsync_commands/`. Both find the same programs: `ssh` and `sendmail`
only write down what they are given.
"""

from __future__ import annotations

import re
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import pytest

from archvsync import OUR_FIELDS
from pushmirror.system import process

_REAL = Path("/usr/bin")
_COMMANDS = ("ftpsync", "ftpsync-cron", "runmirrors")
_LIMIT_S = 60
_SENDMAIL = "/usr/sbin/sendmail"
_RECORDER = """#!/bin/sh
{ printf '%s\\n' "$0" "$@"; echo; } >>"$0.calls"
"""
#: Root has its state in /var/lib; a test's is below its home, as every other user's.
_OURS = """#!{python}
import os, sys
os.environ.setdefault("PUSHMIRROR_STATE", os.path.expanduser("~/.local/state/pushmirror"))
from pushmirror.archvsync_commands.{module} import main
sys.exit(main())
"""


class Side(Enum):
    """Whose ftpsync."""

    REAL = "real"
    OURS = "ours"


@dataclass(frozen=True)
class Ended:
    """How a run ended."""

    exit_code: int
    said: str  # on standard output and standard error


class Home:
    """The home, configuration, programs and tree of one ftpsync."""

    def __init__(self, directory: Path, side: Side) -> None:
        self.side = side
        self.home = directory / side.value
        self.tree = self.home / "tree"
        self.bin = self.home / "bin"
        self.etc = self.home / ".config" / "ftpsync"
        self.logs = self.home / ".local" / "log" / "ftpsync"
        for made in (self.bin, self.etc):
            made.mkdir(parents=True)
        for name in ("ssh", "sendmail"):
            self.add_program(name, _RECORDER)
        for name in _COMMANDS:
            self.add_program(name, self._script(name))

    def add_program(self, name: str, text: str) -> Path:
        """A program that is found before those of the machine."""
        program = self.bin / name
        program.write_text(text)
        program.chmod(0o755)
        return program

    def configure(self, text: str, name: str = "ftpsync.conf") -> None:
        """Write a configuration."""
        (self.etc / name).write_text(text)

    def argv(self, *words: str, name: str = "ftpsync") -> list[str]:
        """The command line of `ftpsync WORDS`, called by this name."""
        command = self.bin / name
        if not command.exists():
            command.symlink_to("ftpsync")
        return [str(command), *words]

    def env(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment that a login gives, without LOGNAME."""
        path = f"{self.bin}:{process.BASE_ENVIRONMENT['PATH']}"
        sendmail = str(self.bin / "sendmail")  # that of ours; in the real one the path is written
        return {"HOME": str(self.home), "PATH": path, "SENDMAIL": sendmail, **(more or {})}

    def run(self, *words: str, name: str = "ftpsync", env: Mapping[str, str] | None = None) -> Ended:
        """Run it to its end."""
        ended = process.run(self.argv(*words, name=name), env=self.env(env), timeout_s=_LIMIT_S)
        return Ended(ended.exit_code, ended.output.decode(errors="replace") + ended.errors)

    @contextmanager
    def running(self, *words: str, env: Mapping[str, str] | None = None) -> Iterator[process.Background]:
        """Run it beside us; it is ended with the block."""
        log = self.home / "output.log"
        with process.background(self.argv(*words), env=self.env(env), log=log) as child:
            yield child

    def calls(self, program: str) -> list[list[str]]:
        """The arguments of each call of `ssh` or `sendmail` so far."""
        file = self.bin / f"{program}.calls"
        texts = file.read_text().split("\n\n") if file.exists() else []
        return [text.splitlines()[1:] for text in texts if text]

    def requests(self) -> int:
        """How often ours was asked so far."""
        file = self.home / ".local" / "state" / "pushmirror" / "state.sqlite"
        with (
            suppress(sqlite3.OperationalError),  # nothing of it is there yet
            closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as state,
        ):
            return int(state.execute("SELECT count(*) FROM requests").fetchone()[0])
        return 0

    def log(self) -> str:
        """All that the script's log says of runs that have ended."""
        return "".join(file.read_text() for file in sorted(self.logs.glob("ftpsync.log.*")))

    def text(self, path: str) -> str | None:
        """A text file of the tree; None if it is not there."""
        file = self.tree / path
        return file.read_text() if file.is_file() else None

    def names(self) -> list[str]:
        """The files and links of the tree, but traces and flags."""
        found = {str(path.relative_to(self.tree)) for path in self._walk()}
        return sorted(name for name in found if not name.startswith(("project/trace/", "Archive-Update-")))

    def flags(self) -> list[str]:
        """What the tree tells of an update."""
        return sorted(path.name for path in self.tree.glob("Archive-Update-*"))

    def _walk(self) -> Iterator[Path]:
        paths = self.tree.rglob("*") if self.tree.is_dir() else iter(())
        return (
            path for path in paths if ".~tmp~" not in path.parts and (path.is_symlink() or path.is_file())
        )

    def _script(self, name: str) -> str:
        if self.side is Side.OURS:
            return _OURS.format(python=sys.executable, module=name.replace("-", "_"))
        if not (_REAL / name).exists():
            pytest.skip("needs Debian's package ftpsync")
        text = (_REAL / name).read_text()
        assert _SENDMAIL in text
        return text.replace(_SENDMAIL, str(self.bin / "sendmail"))


_POSIX_DATE = re.compile(r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d UTC \d{4}")
_MAIL_DATE = re.compile(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d \+0000")


def comparable(trace: str) -> list[str]:
    """The lines of a trace, without what two runs of one program do not have in common either.

    Times, versions and amounts become their form. Left out: the rate, which is there only when the run took
    a second, and the lines that are ours alone.
    """
    first, *lines = trace.splitlines()
    fields = [line.partition(": ") for line in lines]
    kept = [(name, value) for name, _, value in fields if name not in {"Average rate", *OUR_FIELDS}]
    return [_POSIX_DATE.sub("DATE", first), *(f"{name}: {_form(name, value)}" for name, value in kept)]


def _form(name: str, value: str) -> str:
    if name in {"Date", "Date-Started"}:
        return _MAIL_DATE.sub("DATE", value)
    if name in {"Used ftpsync version", "Creator"}:
        return "VERSION" if value.strip() else value
    return re.sub(r"\d+", "N", value) if name.startswith("Total ") else value


def facts(home: Home, ended: Ended, mirror: str) -> dict[str, object]:
    """All in which two ftpsyncs have to agree.

    What a run that failed has brought into the tree is not among it, nor a log of rsync's errors: the real
    one has it also where rsync had none.
    """

    def lines(name: str) -> Sequence[str] | None:
        text = home.text(f"project/trace/{name}")
        return None if text is None else text.splitlines()

    own, stage1 = (home.text(f"project/trace/{mirror}{suffix}") for suffix in ("", "-stage1"))
    return {
        "exit_code": ended.exit_code,
        "trace": own and comparable(own),
        "stage1": stage1 and comparable(stage1),
        "hierarchy": lines("_hierarchy"),
        "hierarchy_mirror": None if ended.exit_code else lines("_hierarchy.mirror"),
        "traces": lines("_traces"),
        "flags": home.flags(),
        "names": [] if ended.exit_code else home.names(),
        "ignored": [line for line in ended.said.splitlines() if line.startswith("Unknown option")],
        "ssh": home.calls("ssh"),
        "mailed": sorted({address for call in home.calls("sendmail") for address in call[2:]}),
        "logs": sorted(file.name for file in home.logs.glob("*") if ".error." not in file.name),
    }
