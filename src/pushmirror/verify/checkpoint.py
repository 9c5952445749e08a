"""The stored progress and result of a verify.

    DIRECTORY/progress   the current verify: its position, and how much of `findings` belongs to it
    DIRECTORY/findings   one finding a line, in the order of the tree
    DIRECTORY/last       the last verify that finished

Guaranteed: after a kill the files describe an earlier moment of the same verify; memory does not grow with
the number of findings.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

from pushmirror.system import clock
from pushmirror.system.files import write_atomically
from pushmirror.verify.reader import Finding, Problem

_FORMAT = 2  # of `progress`; another one begins anew
_TIMES = ("started_at", "ended_at")
_SHOWN = 20  # findings that the last verify's record names


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """A finished verify."""

    archive: str
    generation: str  # whose closure was read; empty: a plain tree
    started_at: datetime
    ended_at: datetime  # of the reading
    files: int  # that are there and were looked at
    size: int  # bytes that were read
    unhashed: int = 0  # of the files: compared by size and time only, as nobody knows their SHA256
    missing: int = 0
    wrong: int = 0
    unreadable: int = 0
    upstream: int = 0  # missing or wrong at upstream, too; no error
    extra: int = 0  # no error
    repaired: int = 0  # of what was missing, wrong or unreadable; these count no more
    inventory: bool = False  # whether what indices do not name was known, too
    resumed: bool = False  # an earlier one that was interrupted
    remembered: bool = False  # all was read by an earlier one; only what that found was looked at again
    notes: tuple[str, ...] = ()  # what could not be verified, and why
    weak: tuple[str, ...] = ()  # suites compared by MD5Sum or SHA1 alone, which verifies nothing
    findings: tuple[Finding, ...] = ()  # the first of them, those that are no error last

    @property
    def problems(self) -> int:
        """How many names are not as they should be."""
        return self.missing + self.wrong + self.unreadable

    @property
    def whole(self) -> bool:
        """Whether all files are there and right, as far as could be verified."""
        return not self.problems and not self.notes


@dataclass(slots=True)
class Checkpoint:
    """The position of a verify."""

    generation: str
    started_at: datetime
    after: bytes = b""  # everything before this key is done
    files: int = 0
    size: int = 0
    unhashed: int = 0
    complete: bool = False  # all is read; what is wrong has to be looked at again, or repaired
    ended_at: datetime | None = None  # told as the result of a verify; only a repair goes on from here
    findings: int = 0  # bytes of the findings' file
    knows_all: bool = True  # of all that its generation refers to; else it does not go on with another one


class VerifyStore:
    """The directory where one archive's verifies are stored."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._progress = directory / "progress"
        self._findings = directory / "findings"
        self._length = 0

    def begin(self, generation: str) -> Checkpoint:
        """Start a new verify, without findings."""
        self._progress.unlink(missing_ok=True)
        self._findings.write_bytes(b"")
        self._length = 0
        return Checkpoint(generation, clock.now())

    def resume(self, generation: str) -> Checkpoint | None:
        """The position of an interrupted verify, to continue with this generation; None if there is none.

        It may have begun with another generation: every tree is read in one order, and what is new before
        that position was hashed when it came. Findings before it, which this generation may not refer to, are
        checked again in the end.
        """
        try:
            data = json.loads(self._progress.read_text())
            if data.pop("format") != _FORMAT:
                return None
            data["after"] = bytes.fromhex(data["after"])
            for name in _TIMES:
                data[name] = data[name] and datetime.fromisoformat(data[name])
            position = Checkpoint(**data)
            if self._findings.stat().st_size < position.findings:
                return None
            if position.generation != generation:
                if not (position.knows_all and position.generation and generation):
                    return None
                position.generation = generation
        except (OSError, ValueError, KeyError, TypeError):
            return None
        self._length = position.findings
        os.truncate(self._findings, self._length)
        return position

    def add(self, findings: Iterable[Finding]) -> None:
        """Add findings; `save` makes them durable."""
        data = b"".join(_line(finding) for finding in findings)
        if data:
            with self._findings.open("ab") as file:
                file.write(data)
            self._length += len(data)

    def save(self, position: Checkpoint) -> None:
        """Store the position."""
        position.findings = self._length
        data = {**asdict(position), "format": _FORMAT}
        data["after"] = position.after.hex()
        for name in _TIMES:
            data[name] = data[name] and data[name].isoformat()
        write_atomically(self._progress, json.dumps(data).encode(), durable=False)

    def findings(self) -> Iterator[Finding]:
        """All findings, in the order of the tree."""
        with self._findings.open("rb") as file:
            for line in file:
                path, problem, why = json.loads(line)
                yield Finding(path, Problem(problem), why)

    def replace(self, findings: Iterable[Finding]) -> None:
        """Replace the findings."""
        beside = self.directory / "findings.new"
        with beside.open("wb") as file:
            file.writelines(map(_line, findings))
            self._length = file.tell()
        beside.replace(self._findings)

    def finish(self, found: VerifyResult, position: Checkpoint | None) -> VerifyResult:
        """Finish the verify: add counts and first findings to the result and store it as the last one.

        With a `position`, a repair can start from its findings.
        """
        counts: Counter[Problem] = Counter()
        problems: list[Finding] = []
        upstream: list[Finding] = []
        extras: list[Finding] = []
        of_kind = {Problem.UPSTREAM: upstream, Problem.EXTRA: extras}
        for finding in self.findings():
            counts[finding.problem] += 1
            names = of_kind.get(finding.problem, problems)
            if len(names) < _SHOWN:
                names.append(finding)
        found = replace(
            found,
            missing=counts[Problem.MISSING],
            wrong=counts[Problem.WRONG],
            unreadable=counts[Problem.UNREADABLE],
            upstream=counts[Problem.UPSTREAM],
            extra=counts[Problem.EXTRA],
            findings=(*problems, *upstream, *extras)[:_SHOWN],
        )
        data = asdict(found)
        for name in _TIMES:
            data[name] = data[name].isoformat()
        write_atomically(self.directory / "last", json.dumps(data).encode(), durable=False)
        if position and found.problems:
            position.ended_at = found.ended_at
            self.save(position)
        else:
            self._progress.unlink(missing_ok=True)
        return found


def directory_of(state: Path, archive: str) -> Path:
    """Where an archive's verifies are stored, below the state directory."""
    return state / "verify" / archive


def last_verified(directory: Path) -> VerifyResult | None:
    """The result of the last verify that finished; None if there was none."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        data = json.loads((directory / "last").read_text())
        for name in _TIMES:
            data[name] = datetime.fromisoformat(data[name])
        data["notes"], data["weak"] = tuple(data["notes"]), tuple(data.get("weak", ()))
        data["findings"] = tuple(
            Finding(one["path"], Problem(one["problem"]), one["why"]) for one in data["findings"]
        )
        return VerifyResult(**data)
    return None


def _line(finding: Finding) -> bytes:
    """A finding as one line of ASCII, whatever bytes are in its name."""
    return json.dumps([finding.path, finding.problem, finding.why]).encode() + b"\n"
