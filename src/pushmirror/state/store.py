"""What a store of requests, runs and generations can do, whatever database is behind it.

Guaranteed of each method: it happens whole or not at all, also with other processes at work on the same
store. All of them raise StateError when the database cannot be used.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from typing import Protocol

from pushmirror.state.records import (
    Generation,
    Outcome,
    Preparation,
    Request,
    Run,
    Stage,
    Standing,
    Trigger,
)


class Store(Protocol):
    """The memory of a mirror."""

    def add_request(
        self,
        archive: str,
        stage: Stage,
        *,
        mhop: bool = False,
        trigger: str,
        client: str = "",
        words: str = "",
        generation: str | None = None,
        answer: str | None = None,
    ) -> Request:
        """Remember that a run was asked for; with an `answer` none is needed, and that is its success."""

    def request(self, request_id: int) -> Request:
        """One request as it stands now; StateError when there is none."""

    def pending(self, archive: str) -> list[Request]:
        """Requests that no run serves yet and that have no answer, oldest first."""

    def latest_request(self, archive: str) -> Request | None:
        """What was asked for last, answered or not."""

    def begin_run(
        self,
        archive: str,
        stage: Stage,
        *,
        strategy: str,
        trigger: str,
        log: str = "",
        request_ids: Iterable[int] = (),
    ) -> Run:
        """Remember a run that starts now and serves these requests."""

    def end_run(
        self,
        run_id: int,
        *,
        outcome: Outcome,
        exit_code: int,
        generation: str | None = None,
        message: str = "",
        stats: Mapping[str, int | float] | None = None,
        strategy: str = "",
        why: str = "",
    ) -> Run:
        """Remember how a run ended, and answer its requests with that; StateError unless it was running.

        `strategy` is the one that was really taken, and why; empty: what it began with stays.
        """

    def interrupt_run(
        self,
        run_id: int,
        *,
        exit_code: int,
        generation: str | None = None,
        message: str = "",
        stats: Mapping[str, int | float] | None = None,
        strategy: str = "",
        why: str = "",
    ) -> Run:
        """Remember that a signal ended a run, and let its requests wait again; StateError unless it ran."""

    def recover(self, archive: str) -> list[Run]:
        """Mark the archive's runs that never ended as died, and let their requests wait again.

        What was prepared is forgotten then: nobody knows what they have fetched since.

        To be called by who holds the archive's lock: only then is such a run known to be dead.
        """

    def publish_generation(
        self, archive: str, digest: str, run_id: int | None, at: datetime, *, was_prepared: bool = False
    ) -> Generation:
        """Remember what is served from now on; the same digest again changes nothing.

        What sites had confirmed of this generation when it was served earlier counts no more, nor do answers
        that are still to come from that time. A preparation was for this generation, which then takes over
        what sites have confirmed of it, or is outdated: `was_prepared` says so where its name does not.
        """

    def generations(self, archive: str, limit: int = 20) -> list[Generation]:
        """The archive's generations, newest first."""

    def latest_generation(self, archive: str) -> Generation | None:
        """The generation being served."""

    def runs(self, archive: str | None = None, limit: int = 20, before_id: int | None = None) -> list[Run]:
        """Runs of one or all archives, newest first, from the one before `before_id` on."""

    def run(self, run_id: int) -> Run:
        """One run; StateError when there is none."""

    def prune(self, archive: str, keep: int, *, keep_generations: int = 1000) -> list[Run]:
        """Forget ended runs but the newest `keep`, and their requests; returns the forgotten runs.

        Of requests that needed no run as many are kept. Of its generations the newest are kept too, and
        always the one being served.
        """

    def prepare(self, archive: str, generation: str) -> Preparation:
        """Remember what stage 1 has fetched for: a generation, or a name for one that is not known yet.

        Replaces the archive's earlier one. The same again changes nothing, its time included. Stage 1 of one
        that is new here begins anew, whatever sites confirmed of it in earlier times.
        """

    def unprepare(self, archive: str) -> None:
        """Forget what was prepared: there is more by now than sites were woken for."""

    def preparation(self, archive: str) -> Preparation | None:
        """What was prepared last, also when it has been published since."""

    def standings(self, archive: str) -> dict[str, Standing]:
        """Where each site is that was ever woken for the archive, by name of the site."""

    def send(self, standings: Iterable[Standing]) -> list[Trigger]:
        """Remember, in one transaction, these standings and a trigger for each, from their sent_* fields.

        Returns the triggers in the order of the standings.
        """

    def answered(
        self,
        trigger: Trigger,
        change: Callable[[Standing], Standing],
        *,
        exit_code: int | None,
        output: str,
    ) -> Standing | None:
        """Remember what a site answered to a trigger, and what that changes in where it is.

        `change` is given where the site is at this moment, whatever others have written meanwhile. Returns
        where it is now; None when it has been forgotten.
        """

    def put_standings(self, standings: Iterable[Standing]) -> None:
        """Remember where sites are, in one transaction; earlier standings of the same sites are replaced."""

    def change_standings(
        self, archive: str, change: Callable[[Standing], Standing], *, only: Collection[str] | None = None
    ) -> list[Standing]:
        """Change where sites are, in one transaction and by what the store has at this moment.

        `only` names the sites; none: all. Sites without a standing get none. Returns those that changed.
        """

    def triggers(
        self, *, archive: str | None = None, site: str | None = None, limit: int = 20
    ) -> list[Trigger]:
        """Triggers of one or all archives and sites, newest first."""

    def forget_site(self, site: str) -> None:
        """Forget a site that is gone: its standings and triggers."""

    def prune_triggers(self, archive: str, keep: int, *, keep_output: int | None = None) -> int:
        """Forget all triggers of an archive but the newest `keep`; returns how many.

        Of those that stay, only the newest `keep_output` keep what was said (none: all).
        """

    def close(self) -> None:
        """Let go of the database."""
