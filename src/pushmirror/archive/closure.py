"""Which of the files that a Release names must be in the tree, and which of them to read for the rest.

A Release lists every compression variant that its maker thought of; a mirror carries only some. A family is
the variants of one file. Guaranteed: one readable variant per index family is named, so that what the
family refers to is known. Not the business of this module: reading (index.py) or looking (sync).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pushmirror.archive.contents import READABLE_SUFFIXES, compression, family
from pushmirror.archive.index import IndexKind, kind_of
from pushmirror.archive.release import Listed, Release

__all__ = ["family", "readable", "required"]


def required(release: Release, present: Collection[str]) -> list[Listed]:
    """The entries that must be in the tree: those whose path (in the suite) upstream really has.

    `present` is best a set or a mapping: it is asked once for each entry.
    """
    return [listed for path, listed in release.files.items() if path in present]


def readable(entries: Iterable[Listed]) -> list[tuple[IndexKind, Listed]]:
    """For each family of indices among the entries the variant that is the cheapest to read."""
    families: dict[str, tuple[IndexKind, list[Listed]]] = {}
    for listed in entries:
        kind = kind_of(listed.path)
        if kind is not None:
            families.setdefault(family(listed.path), (kind, []))[1].append(listed)
    return [(kind, _cheapest(variants)) for kind, variants in families.values()]


def _cheapest(variants: list[Listed]) -> Listed:
    return min(variants, key=lambda listed: READABLE_SUFFIXES.index(compression(listed.path)))
