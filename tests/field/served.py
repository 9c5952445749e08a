"""What a tree has, and how that differs from what it is to have after a step of a case."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path

from field.case import Odd, Step
from pushmirror.lab.judge import OWN

Facts = tuple[object, ...]
Tree = Mapping[str, Facts]  # path -> its kind, and what counts of it
_PUBLISHED_BY_INDICES = ("dists", "zzz-dists", "pool")  # the rest comes with the next full run


def names(tree: Path) -> Tree:
    """All of a tree but what each mirror has of its own."""
    found: dict[str, Facts] = {}
    for directory, inside, files in os.walk(tree):
        for name in (*inside, *files):
            path = Path(directory, name)
            relative = str(path.relative_to(tree))
            if not OWN.fullmatch(relative):
                found[relative] = _facts(path)
    return found


def without_time(facts: Facts) -> Facts:
    """The same, but for when a file was changed."""
    return facts[:2] + facts[3:]


@dataclass(frozen=True)
class Expected:
    """What a step leaves behind."""

    step: Step
    upstream: Tree  # in the step's state
    served: Tree  # upstream in the state that is served of `odd`
    mine: Sequence[str]  # what belongs to `odd`
    unlisted: Sequence[str]  # patterns of what no index lists
    by_index: bool  # only indices are looked at

    def differences(self, there: Tree) -> Iterator[str]:
        """What is otherwise."""
        current = self.step.odd is Odd.CURRENT
        for name, facts in self.upstream.items():
            if _matches(name, self.step.loose):
                continue
            if _matches(name, self.step.unserved):
                if facts[0] != "directory" and there.get(name) == facts:
                    yield f"{name} is served as upstream has it"
            elif self._is_mine(name):
                yield from self._compare(name, facts, there) if current else ()
            elif self._has_to_be_here(name):
                yield from self._compare(name, facts, there)
        if self.step.odd is Odd.HELD:
            kept = (name for name in self.served if self._is_mine(name) or _is_pool(name))
            yield from (line for name in kept for line in self._compare(name, self.served[name], there))
        if self.step.odd is Odd.ABSENT or not self.step.good:
            releases = [name for name in there if name.endswith(("/InRelease", "/Release"))]
            unwanted = [name for name in releases if self._is_mine(name) or not self.step.good]
            yield from (f"{name} is served" for name in unwanted)

    def _has_to_be_here(self, name: str) -> bool:
        """Packages that only `odd` wants may be here before it is."""
        if not self.step.good or (_is_pool(name) and self.step.odd is not Odd.CURRENT):
            return False
        return not self.by_index or name.startswith(_PUBLISHED_BY_INDICES)

    def _compare(self, name: str, facts: Facts, there: Tree) -> Iterator[str]:
        if self.by_index and _matches(name, self.unlisted):
            return
        ours = there.get(name)
        if self.by_index and ours:  # one that is published anew with the same content is the same one
            ours, facts = without_time(ours), without_time(facts)
        if ours != facts and facts[0] != "other":
            yield f"{name}: {ours}, expected {facts}"

    def _is_mine(self, name: str) -> bool:
        return any(name == mine or name.startswith(f"{mine}/") for mine in self.mine)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _is_pool(name: str) -> bool:
    return name == "pool" or name.startswith("pool/")


def _facts(path: Path) -> Facts:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return "link", os.fspath(path.readlink())
    if stat.S_ISDIR(status.st_mode):
        return ("directory",)
    if stat.S_ISREG(status.st_mode):
        return "file", status.st_size, int(status.st_mtime), sha256(path.read_bytes()).hexdigest()[:12]
    return ("other",)
