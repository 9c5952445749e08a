"""A manifest: a tree's whole listing, and how its states became one another, for sites to read.

    head ─names─▶ snapshot       the listing of all names, at one of the states below
         └──────▶ step … step    A ─▶ B ─▶ … ─▶ the state now: the changes between the states

docs/manifest.md has the format. Guaranteed of a head that parses: its steps are one chain that ends at the
state now and has the snapshot's state in it, every file it names is a plain name within bounds, and it is
complete. Not the business of this module: the files on disk, and whether what they say is true of a tree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pushmirror.archive.manifest_parts import MAX_CHANGE, MAX_CHANGE_ENTRIES, MAX_ENTRIES, Part, require_title
from pushmirror.errors import MalformedFile

MAX_HEAD = 2**20  # bytes
MAX_STEPS = 1000
_MAX_SNAPSHOT = 2**32  # bytes, packed
_TITLE = b"pushmirror-manifest"
_NUMBERED = re.compile(r"[a-z]+-([0-9]{1,18})x")
_AHEAD = 4  # changes; a hub makes two at a push: it publishes, then deletes


@dataclass(frozen=True, slots=True)
class Step:
    """A change from one state of the tree to the next."""

    before: str  # a state: TreeDigest.hexdigest()
    after: str
    part: Part


@dataclass(frozen=True, slots=True)
class Head:
    """What a manifest says of the tree now, and where the rest is."""

    state: str  # of the tree
    generation: str  # of the archive
    files: int
    size: int  # bytes of all files
    snapshot_state: str
    snapshot: Part
    steps: tuple[Step, ...]  # each begins where the one before ends; the last ends at `state`


def part_name(kind: str, number: int, sha256: str) -> str:
    """The name of a change or snapshot: by its content, so that a name never means two things.

    Changes are numbered as they follow each other, a snapshot as the change before it.
    """
    return f"{kind}-{number}x{sha256[:32]}.gz"


def last_number(head: Head) -> int:
    """The number of a head's last change; 0 where its names have none."""
    parts = (head.snapshot, *(step.part for step in head.steps))
    return max(int(found[1]) if (found := _NUMBERED.match(part.name)) else 0 for part in parts)


def next_changes(head: Head) -> list[str]:
    """Patterns of the changes that follow a head: a site asks for them together with the next head."""
    last = last_number(head)
    return [f"change-{last + ahead}x*.gz" for ahead in range(1, _AHEAD + 1)]


def chain(head: Head, start: str) -> tuple[Step, ...] | None:
    """The fewest steps from a state to the head's: none when it is that state, None when they are gone."""
    if start == head.state:
        return ()
    for index in range(len(head.steps) - 1, -1, -1):
        if head.steps[index].before == start:
            return head.steps[index:]
    return None


def render_head(head: Head) -> bytes:
    """The head as it is served."""
    lines = [
        f"{_TITLE.decode()} 1",
        f"state\t{head.state}",
        f"generation\t{head.generation}",
        f"files\t{head.files}",
        f"size\t{head.size}",
        f"snapshot\t{head.snapshot_state}\t{_fields(head.snapshot)}",
        *(f"step\t{step.before}\t{step.after}\t{_fields(step.part)}" for step in head.steps),
        f"end\t{len(head.steps)}",
    ]
    return "".join(f"{line}\n" for line in lines).encode("ascii")


def _fields(part: Part) -> str:
    return f"{part.name}\t{part.size}\t{part.sha256}\t{part.entries}"


def parse_head(data: bytes, *, where: str) -> Head:
    """Read a head. Raises MalformedFile, and UnknownVersion for one of a later format."""
    if len(data) > MAX_HEAD:
        raise MalformedFile(f"{where}: expected at most {MAX_HEAD} bytes, found {len(data)}")
    require_title(data.partition(b"\n")[0], _TITLE, where=where)
    if not data.endswith(b"\n") or not data.isascii():
        raise MalformedFile(f"{where}: expected complete lines of ASCII; truncated or damaged")
    lines = _Lines(data.decode("ascii")[:-1].split("\n")[1:], where)
    (state,), (generation,) = lines.take("state", _STATE), lines.take("generation", _STATE)
    (files,), (size,) = lines.take("files", _NUMBER), lines.take("size", _NUMBER)
    snapshot_state, *facts = lines.take("snapshot", _STATE, *_PART)
    snapshot = lines.part(facts, "snapshot", MAX_ENTRIES, _MAX_SNAPSHOT)
    head = Head(state, generation, int(files), int(size), snapshot_state, snapshot, tuple(_steps(lines)))
    (count,) = lines.take("end", _NUMBER)
    lines.require(int(count) == len(head.steps), f"{len(head.steps)} steps in all, found {count}")
    lines.require(not lines.left, "nothing after the end")
    lines.require(_is_chain(head), "steps that lead, one after the other, through the snapshot to the state")
    return head


def _steps(lines: _Lines) -> Iterator[Step]:
    count = 0
    while lines.next_is("step"):
        before, after, *facts = lines.take("step", _STATE, _STATE, *_PART)
        count += 1
        lines.require(count <= MAX_STEPS, f"at most {MAX_STEPS} steps")
        yield Step(before, after, lines.part(facts, "change", MAX_CHANGE_ENTRIES, MAX_CHANGE))


def _is_chain(head: Head) -> bool:
    befores = [step.before for step in head.steps]
    states = [*befores, head.state]
    return [step.after for step in head.steps] == states[1:] and head.snapshot_state in states


_STATE = re.compile(r"[0-9a-f]{64}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_NAME = re.compile(r"(?:snapshot|change)-[0-9A-Za-z]{1,100}\.gz")
_PART = (_NAME, _NUMBER, _STATE, _NUMBER)


class _Lines:
    """The lines of a head, to be taken one by one."""

    def __init__(self, lines: list[str], where: str) -> None:
        self.left = lines[::-1]
        self._total = len(lines) + 1  # with the first
        self._where = where

    def next_is(self, word: str) -> bool:
        """Whether the next line is of this kind."""
        return bool(self.left) and self.left[-1].startswith(f"{word}\t")

    def take(self, word: str, *forms: re.Pattern[str]) -> list[str]:
        """The fields of the next line, which is of this kind and has these forms."""
        line = self.left.pop() if self.left else ""
        found, *fields = line.split("\t")
        right = found == word and len(fields) == len(forms)
        self.require(
            right and all(form.fullmatch(field) for form, field in zip(forms, fields, strict=True)),
            f"a line {word} with its {len(forms)} fields, found {line[:80]!a}",
        )
        return fields

    def part(self, facts: list[str], kind: str, most_entries: int, at_most: int) -> Part:
        """The file that the fields of the last line name."""
        name, size, sha256, entries = facts
        self.require(name.startswith(f"{kind}-"), f"a file {kind}-…, found {name}")
        self.require(int(size) <= at_most, f"a file of at most {at_most} bytes, found {size}")
        self.require(int(entries) <= most_entries, f"at most {most_entries} entries, found {entries}")
        return Part(name, int(size), sha256, int(entries))

    def require(self, holds: bool, expected: str) -> None:
        """MalformedFile about the line that was taken last, unless it is as expected."""
        if not holds:
            raise MalformedFile(f"{self._where}: line {self._total - len(self.left)}: expected {expected}")
