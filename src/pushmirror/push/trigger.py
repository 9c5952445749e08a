"""The words of a trigger, between the text that ssh carries and values.

Pure, and strict: words are split at white space and compared, nothing is expanded, nothing reaches a shell.
Their meaning is ftpsync's (archvsync.md, 3), whose unknown words are no error but are named. One is our own:
`sync:generation:DIGEST` names what there is to fetch, so that who has it already need not ask; ftpsync
names it as ignored, and goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pushmirror.config.model import PushKind, Site
from pushmirror.state.records import Stage, is_digest

MAX_WORDS = 100  # nobody's trigger has more than six
MAX_WORD = 200  # characters
_GENERATION = "sync:generation:"
CHECK = "sync:check"  # asks whether the key works; starts nothing


@dataclass(frozen=True, slots=True)
class TriggerWords:
    """What a push asks for."""

    archive: str  # empty: the main one
    stage: Stage
    mhop: bool
    callback: bool
    ignored: tuple[str, ...]  # words without a meaning here
    generation: str | None = None  # the digest of what the push announces; none: it does not say


def parse_trigger(words: Iterable[str]) -> TriggerWords:
    """The meaning of a trigger's words; of two that contradict each other the later wins.

    `sync:stage1` and `sync:stage2`, or either and then `sync:all`, together ask for everything; a stage
    after `sync:all` is that stage alone.
    """
    archive, stages, mhop, callback = "", set[Stage](), False, False
    generation: str | None = None
    ignored: list[str] = []
    for word in words:
        match word.split(":", 2):
            case ["sync", ("stage1" | "stage2") as stage]:
                stages = (stages - {Stage.ALL}) | {Stage(stage)}
            case ["sync", "all"]:
                stages.add(Stage.ALL)
            case ["sync", "mhop"]:
                mhop = True
            case ["sync", "check"]:
                continue  # answered before anything else
            case ["sync", "callback"]:
                callback = True
            case ["sync", "archive", name]:  # any name: it is only looked up, and told when it is unknown
                archive = name
            case ["sync", "generation", digest] if is_digest(digest):
                generation = digest
            case _:
                ignored.append(word)
    return TriggerWords(archive, combined(stages), mhop, callback, tuple(ignored), generation)


def combined(stages: Iterable[Stage]) -> Stage:
    """The one run that does what all of these ask for."""
    wanted = set(stages)
    return wanted.pop() if len(wanted) == 1 else Stage.ALL


def words_for(
    archive: str, stage: Stage, *, mhop: bool = False, callback: bool = False, generation: str = ""
) -> str:
    """What `runmirrors` sends for this (archvsync.md, 4); an empty archive is the receiver's main one.

    Its blank in front is kept: who compares two hubs byte for byte finds no difference. A generation that is
    a digest is named before the stage, which stays the last word; that of a preparation that has only a name
    here means nothing to others.
    """
    wishes = f"{' sync:callback' if callback else ''}{' sync:mhop' if mhop else ''}"
    announced = f" {_GENERATION}{generation}" if is_digest(generation) else ""
    return f" sync:archive:{archive}{wishes}{announced} sync:{stage}"


def words_to(site: Site, archive: str, stage: Stage, generation: str = "") -> str:
    """What this site is sent; an mhop site is told in both stages, as by `runmirrors`."""
    return words_for(
        site.name_of(archive),
        stage,
        mhop=site.push is PushKind.MHOP,
        callback=site.callback,
        generation=generation,
    )


def without_generation(words: str) -> str:
    """The words as `runmirrors` itself sends them, byte for byte."""
    return " ".join(word for word in words.split(" ") if not word.startswith(_GENERATION))


def words_of(original_command: str, arguments: Sequence[str]) -> list[str]:
    """The words of SSH_ORIGINAL_COMMAND, then those of the forced command itself, which win.

    Bounded: who holds a trigger key must not fill our log or our memory.
    """
    words = (*original_command.split()[:MAX_WORDS], *arguments)
    return [word[:MAX_WORD].encode("utf-8", "backslashreplace").decode() for word in words]
