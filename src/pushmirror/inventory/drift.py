"""Differences between a tree and its inventory, as numbers and examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

_MOST_EXAMPLES = 1000
_MOST_MODES = 100_000  # that are put right at once; whatever is beyond is found the next time


@dataclass(slots=True)
class Sample:
    """Names that differ in one way: all counted, the first of them kept."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, path: str) -> None:
        """One more."""
        self.count += 1
        if len(self.examples) < _MOST_EXAMPLES:
            self.examples.append(path)


@dataclass(slots=True)
class Drift:
    """What changed in a tree without its inventory; no names if the inventory was not complete before."""

    missing: Sample = field(default_factory=Sample)  # that were in the tree
    changed: Sample = field(default_factory=Sample)  # that are something else now
    extra: Sample = field(default_factory=Sample)  # that were not in the tree
    # Names that not every client can read, or others can change, and the mode that each should have. They
    # are no drift: no inventory knows of modes, nor would every tree's owner have them so.
    modes: list[tuple[str, int]] = field(default_factory=list)

    def add_modes(self, modes: Sequence[tuple[str, int]]) -> None:
        """Add names whose mode is wrong."""
        self.modes += modes[: _MOST_MODES - len(self.modes)]

    def __bool__(self) -> bool:
        return self.count > 0

    def __str__(self) -> str:
        return f"{self.missing.count} missing, {self.changed.count} changed, {self.extra.count} new"

    @property
    def count(self) -> int:
        """How many names differ."""
        return self.missing.count + self.changed.count + self.extra.count
