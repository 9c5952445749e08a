"""Check upstream's suites: what can be decided before anything is fetched.

    pin ──▶ read, signed, strong enough? ──a new fault──▶ a second look after a second ──▶ held back

Guaranteed: nothing is fetched from an upstream none of whose suites can be published. Results are stored for
the next run, `status` and `pushmirror suites`. Not the business of this module: indices, and what they refer
to (`staging.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import NamedTuple

from pushmirror.changes.strategy import ChangeDetector
from pushmirror.config.model import Policy, Rollback
from pushmirror.errors import BadSignature, NothingPublished, UpstreamError, UpstreamMoved
from pushmirror.state.records import Stage
from pushmirror.sync.attempt import Attempt
from pushmirror.sync.request import RunRequest
from pushmirror.system import clock
from pushmirror.tree.published_state import Fault, PublishedState, Suite
from pushmirror.tree.release_signatures import check_signatures, detached_problem, fingerprint
from pushmirror.tree.suites import SECOND_LOOK, Suites
from pushmirror.workspace import Workspace

_log = logging.getLogger(__name__)
_MOST_CHECKS = 3  # at most, before an attempt


class _ProblemKind(StrEnum):
    HELD = "held"  # the suite is held back
    ODD = "odd"  # something is strange, but it is published
    DROPPED = "dropped"  # it would lose a served index


class _Problem(NamedTuple):
    """A problem of one state of a suite; each causes one second check, whatever its message."""

    what: _ProblemKind
    directory: str
    state: str


class SuiteCheck:
    """Checks the suites of one archive, for one run."""

    def __init__(self, workspace: Workspace, detector: ChangeDetector) -> None:
        self._archive = workspace.archive
        self._area = workspace.area
        self._closures = workspace.closures
        self._memory = workspace.suite_memory
        self._detector = detector
        self._seen = {_Problem(_ProblemKind.HELD, *one) for one in self._memory.faults()}
        self._signers: dict[str, tuple[str, ...]] = {}  # of upstream's suites: their keys
        self._keyrings = ""  # with which these were verified
        self._warned: set[str] = set()  # warnings that were given in this run

    def pin_and_check(self, request: RunRequest, live: PublishedState) -> Suites:
        """Upstream's suites, checked; a new fault is checked again after a second.

        Upstream may be in the middle of publishing: InRelease is there, and Release.gpg follows.
        """
        for looks_left in reversed(range(_MOST_CHECKS)):  # one that is another at each look is held back, too
            suites = self.check(request, self._detector.pin_with_manifest(request.strategy, live), live)
            found = self.new_problems(suites)
            if not found or not looks_left:
                break
            self._detector.require_finished_upstream()
            _log.info("checking upstream's Release files again: %s", found[0])
            clock.sleep(SECOND_LOOK)
        return suites

    def new_problems(self, suites: Suites) -> list[str]:
        """Problems of suites that neither this run nor an earlier one has seen."""
        states = suites.upstream.states
        found = {
            _Problem(_ProblemKind.HELD, one, states.get(one, "")): fault.reason
            for one, fault in suites.faults.items()
            if not fault.asked_twice
        }
        for directory, suite in suites.target.suites.items():
            live = suites.live.suites.get(directory)
            if suite.odd and (live is None or live.texts != suite.texts):
                found[_Problem(_ProblemKind.ODD, directory, suite.state)] = suite.odd
        return self._not_seen_before(found)

    def require_nothing_dropped(self, attempt: Attempt) -> None:
        """Raise UpstreamMoved if a served index would be removed: upstream's is missing or wrong.

        Upstream may be publishing. If the same state shows it twice, it is final: clients do not need these.
        """
        states = attempt.suites.upstream.states
        found = {
            _Problem(_ProblemKind.DROPPED, where, states.get(where, "")): path
            for where, path in attempt.dropped.items()
        }
        if new_problems := self._not_seen_before(found):
            raise UpstreamMoved(
                f"{new_problems[0]} is missing upstream or does not match upstream's Release file"
            )

    def _not_seen_before(self, found: Mapping[_Problem, str]) -> list[str]:
        """The descriptions of the problems not seen before; from now on they are."""
        new_problems = [found[one] for one in sorted(found.keys() - self._seen)]
        self._seen |= found.keys()
        return new_problems

    def check(self, request: RunRequest, shown: PublishedState, live: PublishedState) -> Suites:
        """Upstream's suites; those that cannot be read or are unsigned, too weak or too old are held back."""
        held_before = {where for where, state in self._memory.faults() if shown.states.get(where) == state}
        suites = Suites(shown.requiring(live.suites), live, held_before=frozenset(held_before))
        shown = suites.upstream
        for directory, fault in shown.faults.items():
            suites.hold(directory, fault)
        self._check_signatures(suites)
        for directory, suite in suites.upstream.suites.items():
            if suite.release.weak and self._archive.weak is Policy.HOLD:
                reason = f"{directory or 'its Release file'} has no hashes stronger than {suite.release.weak}"
                suites.hold(directory, Fault(reason, 'to publish anyway, set `weak = "publish"`'))
            if not request.allow_rollback and (reason := self._replayed(suite, live)):
                way_out = f"pushmirror sync {self._archive.name} --allow-rollback"
                suites.hold(directory, Fault(reason, f"if upstream went back on purpose: {way_out}"))
        return suites

    def _replayed(self, suite: Suite, live: PublishedState) -> str:
        """Why a state is refused: it is older than the served one, signed by the same keys. Empty: it is not.

        An attacker may serve an old state with known holes; TUF calls that a rollback attack.
        """
        signers = set(self._signers.get(suite.directory, ()))  # empty: not checked, or published already
        before = set(self._memory.signers_of(suite.directory))
        if self._archive.rollback is Rollback.WARN or not signers or (before and not signers & before):
            return ""
        return _older(suite, live.suites.get(suite.directory))

    def _check_signatures(self, suites: Suites) -> None:
        keyrings = self._archive.keyring
        if not keyrings:
            return
        self._keyrings = fingerprint(keyrings)
        checked = {}
        for directory, suite in suites.upstream.suites.items():
            if self._memory.is_verified(suite, self._keyrings):
                checked[directory] = suite
                continue
            try:
                self._signers[directory] = check_signatures(suite, self._area.pin, keyrings)
            except BadSignature as exc:
                suites.hold(directory, Fault(str(exc), "tell upstream's operator, or check `keyring`"))
                continue
            problem = detached_problem(suite, self._area.pin, keyrings)
            checked[directory] = replace(suite, odd=problem) if problem and not suite.odd else suite
        left = {where: one for where, one in suites.upstream.suites.items() if where not in checked}
        suites.upstream = replace(suites.upstream, suites=dict(sorted({**left, **checked}.items())))

    def require_any(self, suites: Suites, stage: Stage) -> None:
        """Raise an error if no suite at all can be published, or verified as the configuration requires.

        For stage 1 an upstream without Release files yet is enough.
        """
        shown = suites.upstream
        if not shown.directories:
            if suites.live.generation:
                raise UpstreamError(
                    "upstream has no Release files at all, but the tree here has some",
                    hint="upstream seems empty or not mounted; nothing was changed here",
                )
            if self._archive.keyring and stage is not Stage.STAGE1:
                raise UpstreamError(
                    "found no Release file at upstream to verify with the keyring: looked in `dists` at the"
                    " top and two levels below it, and for flat repositories there",
                    hint="name the directories of its Release files in `release_directories`, or remove"
                    " `keyring` if it is not a Debian archive",
                )
        elif shown.directories == suites.faults.keys():
            fault = suites.faults[min(suites.faults)]
            if self.new_problems(suites):
                raise UpstreamMoved(fault.reason)  # it may be about to
            others = f" (and {len(suites.faults) - 1} more suites)" if len(suites.faults) > 1 else ""
            self.remember(suites)
            raise NothingPublished(f"no suite can be published: {fault.reason}{others}", hint=fault.hint)

    def remember(self, suites: Suites) -> None:
        """Store which suites are held back and why, and what upstream lacks."""
        known = self._closures.missing()
        missing = {  # of what is served still, and of what is held back
            where: {*known.get(where, ()), *fault.missing} for where, fault in suites.faults.items()
        }
        self._memory.note(
            suites, self._signers, clock.now(), keyrings=self._keyrings, known_missing=known
        )  # first: what a run that was killed leaves must not make lacking files look older than they are
        self._closures.note_missing({**missing, **suites.missing})
        if not suites.faults:
            self._closures.forget_held()
        warnings = sorted({*_warnings(suites)} - self._warned)
        self._warned.update(warnings)  # not again in the next attempt
        for warning in warnings:
            _log.warning("%s", warning)


def _warnings(suites: Suites) -> Iterator[str]:
    """Warnings for the operator about an attempt's suites."""
    for directory, suite in suites.target.suites.items():
        live = suites.live.suites.get(directory)
        if live and live.texts == suite.texts:
            continue
        if reason := _older(suite, live):
            yield f"suite {directory or '.'} is published anyway: {reason}"
        until = suite.release.valid_until
        if until and until < clock.now():
            over = f"{until:%Y-%m-%d %H:%M} UTC"
            yield f"suite {directory or '.'} was valid until {over}: apt refuses it; check upstream"
    for directory, fault in suites.faults.items():
        yield f"suite {directory or '.'} is held back: {fault.reason}; {fault.hint}"


def _older(suite: Suite, live: Suite | None) -> str:
    """How a state is older than the served one; empty if it is not, or unknown."""
    date, served = suite.release.date, live.release.date if live else None
    if not date or not served or date >= served:
        return ""
    ours, theirs = (f"{one:%Y-%m-%d %H:%M} UTC" for one in (served, date))
    return f"its Release file is dated {theirs}, older than the one published here, dated {ours}"
