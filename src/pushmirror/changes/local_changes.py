"""What was done to our tree behind our back: found where the disk is looked at, told in words.

Not the business of this module: putting it right. Whatever differs from upstream's tree is fetched or
deleted by the run that finds it, whoever did it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from pushmirror.archive.paths import Entry
from pushmirror.inventory.drift import Drift
from pushmirror.inventory.inventory import Inventory
from pushmirror.inventory.tables import counts, entry_of

_log = logging.getLogger(__name__)


def drift_among(paths: Iterable[str], tree: Path, inventory: Inventory) -> Drift:
    """Which of these names are not on the disk what the inventory says; nothing if that is not whole."""
    drift = Drift()
    if not inventory.whole or inventory.unsettled:
        return drift
    top = os.path.realpath(tree)
    is_real: dict[str, bool] = {}  # of directories: names that are reached through links are others'
    for path in filter(counts, paths):
        parent = path.rpartition("/")[0]
        if parent not in is_real:
            is_real[parent] = os.path.realpath(f"{top}/{parent}") == f"{top}/{parent}".rstrip("/")
        known, here = inventory.get(path), _look(tree, path) if is_real[parent] else None
        if known is None and here is not None:
            drift.extra.add(path)
        elif known is not None and here is None:
            drift.missing.add(path)
        elif known is not None and here is not None and known.facts != here.facts:
            drift.changed.add(path)
    return drift


def in_words(found: Drift) -> str:
    """What was done, for the operator, who is warned; empty for nothing."""
    if not found:
        return ""
    lost = "1 name" if found.missing.count == 1 else f"{found.missing.count} names"
    counted = f"{lost} lost, {found.changed.count} changed, {found.extra.count} added"
    first = [*found.missing.examples, *found.changed.examples, *found.extra.examples][0]
    _log.warning("local changes in the tree: %s, such as %s", counted, first)
    return f"local changes in the tree ({counted})"


def _look(tree: Path, path: str) -> Entry | None:
    place = os.fsencode(tree) + b"/" + path.encode("utf-8", "surrogateescape")
    try:
        return entry_of(path, os.lstat(place), lambda: os.readlink(place))  # noqa: PTH115  bytes, as they are
    except (FileNotFoundError, NotADirectoryError):
        return None
