"""Which part of upstream's tree is mirrored, as rsync's filter rules."""

from __future__ import annotations

from zlib import crc32

from pushmirror.archive.filters import Rule, architecture_rules, exclude_rules, filter_rules
from pushmirror.archive.layout import LOCAL_PATTERNS
from pushmirror.config.model import Archive


def selection_hash(archive: Archive) -> int:
    """A number that changes with the part of upstream's tree that is mirrored."""
    return crc32("\n".join(rule.argument() for rule in selection_rules(archive)).encode())


def is_partial(archive: Archive) -> bool:
    """Whether a part of upstream's tree is not mirrored, so that ours never has the digest of its states."""
    return any((archive.filter, archive.exclude, archive.architectures, archive.exclude_architectures))


def selection_rules(archive: Archive) -> list[Rule]:
    """What of upstream's tree is mirrored, as rsync's filter rules; traces and flags go their own way.

    They leave out `LOCAL_PATTERNS`, as an inventory does.
    """
    architectures = architecture_rules(archive.architectures, archive.exclude_architectures)
    return [*closure_rules(archive), *architectures]


def closure_rules(archive: Archive) -> list[Rule]:
    """The same of what mirrored indices name: an architecture's packages may be called anything."""
    return [*exclude_rules(LOCAL_PATTERNS), *filter_rules(archive.filter), *exclude_rules(archive.exclude)]
