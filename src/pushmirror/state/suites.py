"""Stored records of an archive's suites: what is served, what is held back, since when and why.

    STATE/suites/ARCHIVE.json

Written with the tree's lock held; read by `status`, `pushmirror suites`, and by runs, which recognise
faults that were seen before. A lost or damaged file counts as empty: the next run writes it, and every
fault counts as new.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from pushmirror.system.files import write_atomically

_TIMES = ("date", "valid_until", "held_since", "fault_since")


@dataclass(frozen=True, slots=True)
class SuiteRecord:
    """One suite."""

    directory: str  # where its indices are, relative to the tree: dists/trixie; "." for a flat repository
    names: tuple[str, ...] = ()  # links that lead to it: dists/stable
    suite: str = ""  # as its Release file says, like `codename`
    codename: str = ""
    served: bool = True  # a state of it is published here
    date: datetime | None = None  # of the served state, as its Release file says
    valid_until: datetime | None = None  # the same
    signed_by: tuple[str, ...] = ()  # fingerprints of the served state's keys; empty: nobody checked them
    verified_with: str = ""  # SHA256 over the keyrings that it was checked with
    weak: str = ""  # MD5Sum or SHA1, where its Release file has nothing stronger
    held_since: datetime | None = None  # upstream's state is not published here; none: it is
    reason: str = ""  # why it is held back
    hint: str = ""  # what to do about it
    state: str = ""  # SHA256 over upstream's Release files
    fault_since: datetime | None = None  # when this state was first seen to have a fault
    missing: int = 0  # files that upstream's indices name and upstream lacks, or has with another content
    missing_paths: tuple[str, ...] = ()  # of these, the first MAX_PATHS

    @property
    def is_held(self) -> bool:
        """Whether upstream has a state of it that is not published here."""
        return self.held_since is not None


MAX_PATHS = 100  # names of missing files that are kept for each suite


def suites_path(directory: Path, archive: str) -> Path:
    """The file of an archive's suites below the state directory."""
    return directory / "suites" / f"{archive}.json"


def read_suites(file: Path) -> list[SuiteRecord]:
    """The records of the last run; none if there was no run or the file is damaged."""
    try:
        return [_record(values) for values in json.loads(file.read_text("utf-8"))["suites"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def write_suites(file: Path, suites: Iterable[SuiteRecord]) -> None:
    """Replace the records."""
    file.parent.mkdir(parents=True, exist_ok=True)
    values = [_values(suite) for suite in sorted(suites, key=lambda suite: suite.directory)]
    write_atomically(file, json.dumps({"version": 1, "suites": values}, indent=1).encode(), durable=False)


def _values(suite: SuiteRecord) -> dict[str, Any]:
    values = asdict(suite)
    return {**values, **{name: values[name].isoformat() for name in _TIMES if values[name]}}


def _record(values: dict[str, Any]) -> SuiteRecord:
    known = {field.name: values[field.name] for field in fields(SuiteRecord) if field.name in values}
    for name, value in known.items():
        if name in _TIMES and value is not None:
            known[name] = datetime.fromisoformat(value)
        elif isinstance(value, list):
            known[name] = tuple(value)
    return SuiteRecord(**known)
