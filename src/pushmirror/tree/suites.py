"""Which state of each suite to publish: upstream's, or, while that has a fault, the one that is served here.

    upstream's suites ──fault──▶ held back: its last good state stays, complete, or it stays absent
                      └─────────▶ published

The unit of publishing is the suite: `target` is the mixture, and complete by itself. A suite that is reached
through a link which changes (`dists -> .pub/18`) can only change together with all that the link leads to.
Faults of earlier runs are kept in a file: they decide whether a fault is new, and since when it exists.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from pushmirror.archive.layout import is_searched, is_suite_file, joined
from pushmirror.archive.paths import Entry, Kind, prefixes
from pushmirror.inventory.diff import Diff
from pushmirror.state.suites import MAX_PATHS, SuiteRecord, read_suites, write_suites
from pushmirror.tree.published_state import Fault, PublishedState, Suite

SECOND_LOOK = timedelta(seconds=1)  # after a fault that is news: upstream may be about to mend it
INCOMPLETE_AFTER = timedelta(minutes=10)  # the same incomplete state in two looks so far apart is upstream's


@dataclass(slots=True)
class Suites:
    """The suites of one attempt."""

    upstream: PublishedState
    live: PublishedState
    faults: dict[str, Fault] = field(default_factory=dict)  # of those that are held back
    missing: dict[str, tuple[str, ...]] = field(default_factory=dict)  # published without these files
    held_before: frozenset[str] = frozenset()  # of which an earlier run held upstream's present state back
    _target: PublishedState | None = None

    def hold(self, directory: str, fault: Fault) -> None:
        """Hold a suite back, and with it those that can only change together with it."""
        self.faults.setdefault(directory, fault)
        self._target = None
        for link in self._turning_links(directory):
            reason = f"link {link} joins it with {directory}, which is held back"
            for other in self.upstream.directories - self.faults.keys() - self.live.suites.keys():
                if link in self._links_to(other):
                    self.hold(other, Fault(reason, fault.hint))

    @property
    def target(self) -> PublishedState:
        """What is to be published."""
        if self._target is None:
            self._target = self._mixture()
        return self._target

    def _mixture(self) -> PublishedState:
        chosen = {where: suite for where, suite in self.upstream.suites.items() if where not in self.faults}
        kept = {where: suite for where, suite in self.live.suites.items() if where in self.faults}
        for link in self.held_links:
            kept |= {
                where: one for where, one in self.live.suites.items() if _leads_to(link, (where, *one.names))
            }
        return self.upstream.with_suites({**kept, **chosen}.values())

    @property
    def held_links(self) -> set[str]:
        """Links that stay as they are: at upstream they lead to what is not to be seen here."""
        return {link for directory in self.faults for link in self._turning_links(directory)}

    def restrict(self, diff: Diff) -> None:
        """Move to the diff's `held` what would change a suite that is held back, or add an unpinned one."""
        seen = {joined(where, name) for where, files in self.upstream.files.items() for name in files}
        for path in [path for path in diff.links if is_suite_file(path) and is_searched(path)]:
            if path not in seen:
                diff.held[path] = diff.links.pop(path)
        if not self.faults and not self.dropped:
            return
        for some in (diff.missing, diff.changed, diff.links):
            for path in [path for path in some if self.leaves(path)]:
                diff.held[path] = some.pop(path)
        left = set(filter(self.leaves, diff.directories))
        diff.held |= {path: Entry(path, Kind.DIRECTORY) for path in left}
        diff.directories = [path for path in diff.directories if path not in left]
        replaced = {*diff.changed, *diff.links}
        diff.in_the_way = [path for path in diff.in_the_way if _is_below_any(path, replaced)]

    def leaves(self, path: str) -> bool:
        """Whether what upstream has under a name is left alone: its suite is held back, or gone at upstream.

        Without a Release file nobody vouches for what upstream still has there.
        """
        return path in self.held_links or self._is_in_any({*self.faults, *self.dropped}, path)

    @property
    def dropped(self) -> list[str]:
        """The suites that are served here and that upstream has no more."""
        return [where for where in self.live.suites if where and where not in self.upstream.directories]

    def _is_in_any(self, directories: Collection[str], path: str) -> bool:
        """Whether a path belongs to one of these suites: the innermost above it counts."""
        for directory in directories:
            files = (self.upstream.files.get(directory, {}), self.live.files.get(directory, {}))
            if any(path in some.values() for some in files):
                return True
        above = path
        while above := above.rpartition("/")[0]:
            if above in self.upstream.directories or above in self.live.suites:
                return above in directories
        return "/" not in path and "" in directories

    def _turning_links(self, directory: str) -> set[str]:
        """The links that lead to a suite which has never been here."""
        return set() if directory in self.live.suites else self._links_to(directory)

    def _links_to(self, directory: str) -> set[str]:
        """The first link in each of the other names of a suite."""
        links = self.upstream.links
        found = {
            next(filter(links.__contains__, prefixes(name)), "") for name in self.upstream.names[directory]
        }
        return found - {""}


def _leads_to(link: str, names: Iterable[str]) -> bool:
    return any(name == link or name.startswith(f"{link}/") for name in names)


def _is_below_any(path: str, names: Collection[str]) -> bool:
    while path := path.rpartition("/")[0]:
        if path in names:
            return True
    return False


class SuiteMemory:
    """What earlier runs have stored about an archive's suites."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._records = {_directory_of(record): record for record in read_suites(file)}

    def faults(self) -> set[tuple[str, str]]:
        """The faults that were seen: suite and state of each."""
        return {(directory, record.state) for directory, record in self._records.items() if record.is_held}

    def incomplete_since(self, directory: str) -> datetime | None:
        """Since when upstream lacks files that a suite's indices name."""
        known = self._records.get(directory)
        return known.fault_since if known and known.missing else None

    def is_served(self, directory: str) -> bool:
        """Whether upstream's state of a suite is known to have been published by the last run."""
        known = self._records.get(directory)
        return known is not None and not known.is_held

    def is_verified(self, suite: Suite, keyrings: str) -> bool:
        """Whether this state is published, and was verified with these keyrings before that."""
        known = self._records.get(suite.directory)
        return (
            known is not None
            and not known.is_held
            and known.state == suite.state
            and known.verified_with == keyrings
        )

    def signers_of(self, directory: str) -> tuple[str, ...]:
        """The keys that signed what is served of a suite; empty where nobody checked."""
        known = self._records.get(directory)
        return known.signed_by if known else ()

    @property
    def held(self) -> set[str]:
        """The suites that were held back when the last run ended."""
        return {directory for directory, record in self._records.items() if record.is_held}

    def note(
        self,
        suites: Suites,
        signers: Mapping[str, tuple[str, ...]],
        now: datetime,
        *,
        keyrings: str,
        known_missing: Mapping[str, Collection[str]],
    ) -> None:
        """Store the result of an attempt; `known_missing` is what upstream lacked before it, by suite.

        `signers` are the keys of upstream's states that were verified, with `keyrings`.
        """
        target = suites.target
        records = [
            self._record(
                directory,
                suites,
                target.suites.get(directory),
                signers,
                now,
                keyrings=keyrings,
                known_missing=known_missing.get(directory, ()),
            )
            for directory in sorted({*target.suites, *suites.upstream.directories})
        ]
        self._records = {_directory_of(record): record for record in records}
        write_suites(self._file, records)

    def _record(
        self,
        directory: str,
        suites: Suites,
        served: Suite | None,
        signers: Mapping[str, tuple[str, ...]],
        now: datetime,
        *,
        keyrings: str,
        known_missing: Collection[str],
    ) -> SuiteRecord:
        """One suite; `served` is what is published of it here."""
        shown = suites.upstream.suites.get(directory) or served
        fault = suites.faults.get(directory)
        lacking = fault.missing if fault else suites.missing.get(directory, ())
        before = self._records.get(directory)
        signed = before.signed_by if before else ()
        verified = before.verified_with if before else ""  # of what is served still, if it is held back
        if fault is None and (directory in signers or not keyrings):
            signed, verified = signers.get(directory, ()), keyrings
        record = SuiteRecord(
            directory or ".",
            names=tuple(name or "." for name in suites.upstream.names.get(directory, ())),
            suite=shown.release.suite if shown else "",
            codename=shown.release.codename if shown else "",
            served=served is not None,
            date=served.release.date if served else None,
            valid_until=served.release.valid_until if served else None,
            signed_by=signed,
            verified_with=verified,
            weak=served.release.weak if served else "",
            state=suites.upstream.states.get(directory, ""),
            missing=len(lacking),
            missing_paths=tuple(lacking[:MAX_PATHS]),
        )
        is_same = before is not None and before.state == record.state
        if lacking:  # whatever the state is: these files were lacking before
            is_same = before is not None and before.missing > 0 and set(lacking) <= set(known_missing)
        since = before.fault_since if before and is_same else None
        since = since if since and since <= now else now  # none is to come, unless the clock was ahead
        if fault is None:
            return replace(record, fault_since=since) if lacking else record
        return replace(
            record,
            held_since=before.held_since if before and before.held_since else now,
            reason=fault.reason,
            hint=fault.hint,
            fault_since=since,
        )


def _directory_of(record: SuiteRecord) -> str:
    return "" if record.directory == "." else record.directory
