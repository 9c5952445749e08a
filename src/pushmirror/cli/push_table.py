"""A running push on a terminal: a line for each site, removed at the end."""

from __future__ import annotations

from collections import Counter
from time import monotonic
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from pushmirror.archive.generation import short
from pushmirror.cli.output import printable
from pushmirror.config.types import span
from pushmirror.push.decide import Send
from pushmirror.push.engine import PushSnapshot
from pushmirror.state.records import Phase, SiteState
from pushmirror.system import clock

_FRAMES_PER_S = 8.0
_FRAME = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_STYLES = {
    Phase.CURRENT: "green",
    Phase.TRIGGERED: "cyan",
    Phase.DUE: "cyan",
    Phase.WAITING_FOR_STAGE1: "blue",
    Phase.WAITING_FOR_CANARY: "dim",
    Phase.DELAYED: "dim",
    Phase.PAUSED: "dim",
    Phase.BACKING_OFF: "red",
}
#: Who needs eyes first when there is not room for all.
_ORDER = (
    *(Phase.BACKING_OFF, Phase.TRIGGERED, Phase.DUE, Phase.WAITING_FOR_STAGE1),
    *(Phase.DELAYED, Phase.WAITING_FOR_CANARY, Phase.PAUSED, Phase.CURRENT),
)
_WORDS = {
    Phase.CURRENT: "current",
    Phase.WAITING_FOR_STAGE1: "stage 1 done, waits for the others",
    Phase.WAITING_FOR_CANARY: "waits for the canaries",
    Phase.DELAYED: "waits for its delay",
    Phase.PAUSED: "paused by hand",
    Phase.DUE: "push due",
}


class TerminalPush:
    """Draws pushes, one below the other, until the end of a `with` block."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._views: dict[str, PushSnapshot] = {}  # by archive
        self._began = monotonic()
        self._live = Live(self, console=self._console, transient=True, refresh_per_second=_FRAMES_PER_S)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def on_decision(self, view: PushSnapshot) -> None:
        """It was decided what to do now."""
        self._views[view.goal.archive] = view

    def on_answer(self, send: Send, site_state: SiteState, seconds: float) -> None:
        """A site answered: told above the table, where it stays."""
        good = site_state.exit_code == 0
        stage = {"stage1": "stage 1", "stage2": "stage 2", "all": "all"}[send.stage]
        words = "" if good else f": {printable(site_state.last_words)}"
        mark = Text("ok    " if good else "failed", style="green" if good else "red")
        line = Text.assemble(
            mark, f"  {site_state.archive} {send.site.name} {stage} after {seconds:.1f} s{words}"
        )
        self._console.print(line, no_wrap=True, overflow="ellipsis")

    def __rich__(self) -> Group:
        room = max(3, self._console.height - 4) // max(1, len(self._views))
        return Group(*(line for view in self._views.values() for line in self._lines(view, room)))

    def _lines(self, view: PushSnapshot, room: int) -> list[Text]:
        phases = view.decision.phases
        counts = Counter(phases.values())
        spinner = _FRAME[int((monotonic() - self._began) * _FRAMES_PER_S) % len(_FRAME)]
        tally = ", ".join(f"{counts[phase]} {phase}" for phase in reversed(_ORDER) if counts[phase])
        head = Text.assemble(
            f"{spinner} ", (view.goal.archive, "bold"), f" {short(view.goal.published or 'none')}: {tally}"
        )
        names = sorted(phases, key=lambda name: _ORDER.index(phases[name]))
        longest = max(map(len, names), default=0)
        lines = [self._line(name, longest, view) for name in sorted(names[: room - 1])]
        return [_cut(line, self._console.width) for line in (head, *lines)]

    def _line(self, name: str, longest: int, view: PushSnapshot) -> Text:
        phase = view.decision.phases[name]
        words = _WORDS.get(phase) or _in_words(phase, view.site_states[name])
        return Text.assemble(f"  {name:<{longest}}  ", (words, _STYLES[phase]))


def _in_words(phase: Phase, site_state: SiteState) -> str:
    now = clock.now()
    if phase is Phase.TRIGGERED and site_state.sent_at:
        return f"{site_state.sent_stage} since {span(now - site_state.sent_at)}"
    again = f", again in {span(site_state.next_try_at - now)}" if site_state.next_try_at else ""
    return printable(f"failed {site_state.attempts} times{again}: {site_state.last_words}")


def _cut(line: Text, width: int) -> Text:
    line.truncate(width - 1, overflow="ellipsis")
    return line
