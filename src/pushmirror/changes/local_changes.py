"""Local changes: what somebody else changed in the tree, found when the disk is scanned.

The run that finds them fetches or deletes whatever differs from upstream; this module only finds and reports.
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


def find_local_changes(paths: Iterable[str], tree: Path, inventory: Inventory) -> Drift:
    """Compare these names on the disk with the inventory; empty if the inventory is not complete."""
    drift = Drift()
    if not inventory.complete or inventory.needs_refresh:
        return drift
    top = os.path.realpath(tree)
    is_real: dict[str, bool] = {}  # of directories: names that are reached through links are others'
    for path in filter(counts, paths):
        parent = path.rpartition("/")[0]
        if parent not in is_real:
            is_real[parent] = os.path.realpath(f"{top}/{parent}") == f"{top}/{parent}".rstrip("/")
        known, here = inventory.get(path), _entry_on_disk(tree, path) if is_real[parent] else None
        if known is None and here is not None:
            drift.extra.add(path)
        elif known is not None and here is None:
            drift.missing.add(path)
        elif known is not None and here is not None and known.facts != here.facts:
            drift.changed.add(path)
    return drift


def describe(found: Drift) -> str:
    """The local changes as a text for the operator; empty if there are none."""
    if not found:
        return ""
    lost = "1 name" if found.missing.count == 1 else f"{found.missing.count} names"
    counted = f"{lost} lost, {found.changed.count} changed, {found.extra.count} added"
    first = [*found.missing.examples, *found.changed.examples, *found.extra.examples][0]
    _log.warning("local changes in the tree: %s, such as %s", counted, first)
    return f"local changes in the tree ({counted})"


def _entry_on_disk(tree: Path, path: str) -> Entry | None:
    place = os.fsencode(tree) + b"/" + path.encode("utf-8", "surrogateescape")
    try:
        return entry_of(path, os.lstat(place), lambda: os.readlink(place))  # noqa: PTH115  bytes, as they are
    except (FileNotFoundError, NotADirectoryError):
        return None
