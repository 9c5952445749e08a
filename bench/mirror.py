"""What the benchmarks ask of a program that mirrors, and what such a program is told of its upstream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Upstream:
    """What is mirrored: a module of an rsync daemon on the loopback."""

    host: str
    port: int
    module: str
    user: str
    password: str
    keyring: Path

    @property
    def url(self) -> str:
        return f"rsync://{self.user}@{self.host}:{self.port}/{self.module}"


class Contender(Protocol):
    """Something that mirrors an upstream into `tree`."""

    name: str
    tree: Path
    env: Mapping[str, str]
    parts: Sequence[str]  # of the tree that must be as upstream's are; "" is all

    def argv(self) -> Sequence[str]:
        """The command that syncs once."""
        ...

    def wipe(self) -> None:
        """Begin anew, with nothing."""
        ...

    def remember(self) -> None:
        """Keep what it knows beside the files that it mirrors, ..."""
        ...

    def recall(self) -> None:
        """... and know that again, whatever was done since."""
        ...

    def took(self) -> str:
        """How it went about its last run; empty where there is only one way."""
        ...
