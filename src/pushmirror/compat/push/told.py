"""What an operator of runmirrors is told of a push: log lines, and one mail for each mirror that fails."""

from __future__ import annotations

from pushmirror.compat.push.sites import CurrentSites
from pushmirror.compat.push.wire import Notes, ScriptWire, called
from pushmirror.push.decide import Aim, Send
from pushmirror.push.watch import View
from pushmirror.state.records import Standing


class Told:
    """A `Watch`."""

    def __init__(self, notes: Notes, sites: CurrentSites, wire: ScriptWire) -> None:
        self._notes = notes
        self._sites = sites
        self._wire = wire
        self._aim: Aim | None = None
        self._reported: set[str] = set()  # that failed since there is this to push

    def looked(self, view: View) -> None:
        """See `Watch.looked`."""
        if view.goal.aim != self._aim:
            self._aim = view.goal.aim
            self._reported.clear()
            self._wire.begin_again()

    def answered(self, send: Send, standing: Standing, seconds: float) -> None:  # noqa: ARG002 - theirs
        """See `Watch.answered`."""
        name, what = send.site.name, called(send.stage)
        host = self._sites.line(name).host
        if standing.exit_code == 0:
            self._reported.discard(name)
            self._notes.note(f"{what} succeeded: {host}")
            return
        how = "no answer" if standing.exit_code is None else f"exit code {standing.exit_code}"
        text = f"{what} failed: {host}"
        if name in self._reported:
            self._notes.note(f"{text} ({how}): {standing.last_words}")
            return
        self._reported.add(name)
        self._notes.error(text, f"{how}: {standing.last_words}\n\n{self._wire.said.get(name, '')}")
