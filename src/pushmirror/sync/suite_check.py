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
from pushmirror.closures.signatures import check_signatures, detached_problem, fingerprint
from pushmirror.config.model import Policy, Rollback
from pushmirror.errors import BadSignature, NothingPublished, UpstreamError, UpstreamMoved
from pushmirror.state.records import Stage
from pushmirror.sync.attempt import Attempt
from pushmirror.sync.request import RunRequest
from pushmirror.system import clock
from pushmirror.tree.published_state import Fault, PublishedState, Suite
from pushmirror.tree.suites import SECOND_LOOK, Suites
from pushmirror.workspace import Workspace

_log = logging.getLogger(__name__)
_LOOKS = 3  # at most, before a round


class _What(StrEnum):
    HELD = "held"  # the suite is held back
    ODD = "odd"  # something is strange about it, and it is published
    DROPPED = "dropped"  # it would lose an index that is served


class _Oddity(NamedTuple):
    """What was seen of one state of a suite, in whatever words: a second look is made once for each."""

    what: _What
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
        self._seen = {_Oddity(_What.HELD, *one) for one in self._memory.faults()}
        self._signers: dict[str, tuple[str, ...]] = {}  # of upstream's suites: their keys
        self._keyrings = ""  # with which these were verified
        self._warned: set[str] = set()  # warnings that were given in this run

    def twice(self, request: RunRequest, live: PublishedState) -> Suites:
        """Upstream's suites, checked; a new fault is checked again after a second.

        Upstream may be in the middle of publishing: InRelease is there, and Release.gpg follows.
        """
        for looks_left in reversed(range(_LOOKS)):  # one that is another at each look is held back, too
            suites = self.once(request, self._detector.look(request.strategy, live), live)
            news = self.news(suites)  # what was seen before is none
            if not news or not looks_left:
                break
            self._detector.require_finished_upstream()
            _log.info("checking upstream's Release files again: %s", news[0])
            clock.sleep(SECOND_LOOK)
        return suites

    def news(self, suites: Suites) -> list[str]:
        """Faults and oddities of suites that neither this run nor an earlier one has seen."""
        states = suites.upstream.states
        found = {
            _Oddity(_What.HELD, one, states.get(one, "")): fault.reason
            for one, fault in suites.faults.items()
            if not fault.asked_twice
        }
        for directory, suite in suites.target.suites.items():
            live = suites.live.suites.get(directory)
            if suite.odd and (live is None or live.texts != suite.texts):
                found[_Oddity(_What.ODD, directory, suite.state)] = suite.odd
        return self._not_seen(found)

    def require_nothing_dropped(self, attempt: Attempt) -> None:
        """Raise UpstreamMoved if a served index would be removed because upstream has another one in its
        place.

        Upstream may be publishing. The same state twice is final: clients do not need these.
        """
        states = attempt.suites.upstream.states
        found = {
            _Oddity(_What.DROPPED, where, states.get(where, "")): path
            for where, path in attempt.dropped.items()
        }
        if news := self._not_seen(found):
            raise UpstreamMoved(f"{news[0]} is missing upstream or does not match upstream's Release file")

    def _not_seen(self, found: Mapping[_Oddity, str]) -> list[str]:
        """The descriptions of those that were not seen before; they count as seen from now on."""
        news = [found[one] for one in sorted(found.keys() - self._seen)]
        self._seen |= found.keys()
        return news

    def once(self, request: RunRequest, shown: PublishedState, live: PublishedState) -> Suites:
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
        """What is wrong if the state is older than the served one and signed by the same keys; empty if
        nothing.

        Somebody in between may serve an old state with known holes; TUF calls that a rollback attack.
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

        For stage 1 a hub that is about to have its first Release files is enough.
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
            if self.news(suites):
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
        self._warned.update(warnings)  # a second round of a run need not say it again
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
