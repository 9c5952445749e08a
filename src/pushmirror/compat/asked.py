"""What an ftpsync is asked to do: its command line, the words through ssh, and what its configuration adds.

Pure. Of words that contradict each other the later wins, and the forced command's own come last; `sync:all`
after `sync:stage1` is both, the other way round it is stage 1 alone (archvsync.md, 3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pushmirror.push.trigger import parse_trigger, words_of
from pushmirror.state.records import Stage

_SWITCHES = ("SYNCSTAGE1", "SYNCSTAGE2", "SYNCALL", "SYNCMHOP", "SYNCCALLBACK")


@dataclass(frozen=True, slots=True)
class Asked:
    """One call of ftpsync, as ftpsync itself notes it."""

    archive: str  # as it was named; empty: the main one
    stage1: bool
    stage2: bool
    all: bool
    mhop: bool
    callback: bool
    trigger: str  # for the trace; empty: none was named
    words: str
    ignored: tuple[str, ...] = ()

    @property
    def stage(self) -> Stage:
        """The part of a sync that it means."""
        if self.all or self.stage1 == self.stage2:
            return Stage.ALL
        return Stage.STAGE1 if self.stage1 else Stage.STAGE2

    @property
    def push(self) -> str:
        """What a hub then says to its runmirrors by -k; empty: nothing."""
        if self.stage is Stage.STAGE1:
            return "mhop" if self.mhop else ""
        return self.stage.value

    def variables(self) -> dict[str, str]:
        """What a configuration may look at, and set anew."""
        switches = (self.stage1, self.stage2, self.all, self.mhop, self.callback)
        told = {name: "true" if on else "false" for name, on in zip(_SWITCHES, switches, strict=True)}
        return {"ARCHIVE": self.archive, **told, **({"INFO_TRIGGER": self.trigger} if self.trigger else {})}

    def changed_by(self, values: Mapping[str, str]) -> Asked:
        """The same with what a configuration has set of it."""
        now = {**self.variables(), **{name: values[name] for name in _SWITCHES if name in values}}
        stage1, stage2, everything, mhop, callback = (now[name] == "true" for name in _SWITCHES)
        trigger = values.get("INFO_TRIGGER", self.trigger)
        return Asked(
            self.archive, stage1, stage2, everything, mhop, callback, trigger, self.words, self.ignored
        )


def asked(arguments: Sequence[str], trigger: str | None, environment: Mapping[str, str]) -> Asked:
    """What the words of a command line (without options) ask for, after those of SSH_ORIGINAL_COMMAND."""
    original = environment.get("SSH_ORIGINAL_COMMAND", "")
    spoken = words_of(original, arguments)
    wanted = parse_trigger(spoken)
    told = {"sync:stage1", "sync:stage2", "sync:all"}
    stages = [word for word in spoken if word in told]
    default = trigger or environment.get("INFO_TRIGGER", "")
    return Asked(
        archive=wanted.archive,
        stage1="sync:stage1" in stages,
        stage2="sync:stage2" in stages,
        all=not stages or stages[-1] == "sync:all",
        mhop=wanted.mhop,
        callback=wanted.callback,
        trigger=default or ("ssh" if original else ""),
        words=" ".join(spoken),
        ignored=tuple(word for word in spoken if word in wanted.ignored or _is_ours(word)),
    )


def _is_ours(word: str) -> bool:
    """Whether the script knows nothing of a word that we do: it asks upstream whatever a push announces."""
    return parse_trigger([word]).generation is not None
