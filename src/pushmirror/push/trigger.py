"""Parse and write the words of a trigger. Pure.

Strict: words are split at white space and compared; nothing is expanded, nothing reaches a shell. Their
meaning is ftpsync's (archvsync.md, 3); unknown words are ignored with a message. One is ours:
`sync:generation:DIGEST` names the pushed generation, so that a site which has it need not ask; ftpsync
ignores it with a message.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pushmirror.config.model import PushKind, Site
from pushmirror.state.records import Stage, is_digest

MAX_WORDS = 100  # no known trigger has more than six
MAX_WORD = 200  # characters
_GENERATION = "sync:generation:"
CHECK = "sync:check"  # asks whether the key works; starts nothing


@dataclass(frozen=True, slots=True)
class TriggerWords:
    """The meaning of a trigger."""

    archive: str  # empty: the main one
    stage: Stage
    mhop: bool
    callback: bool
    ignored: tuple[str, ...]  # words without a meaning here
    generation: str | None = None  # the digest of the pushed generation; None: not sent


def parse_trigger(words: Iterable[str]) -> TriggerWords:
    """Parse a trigger's words; of two that contradict each other the later wins.

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
            case ["sync", "archive", name]:  # any name: it is only looked up
                archive = name
            case ["sync", "generation", digest] if is_digest(digest):
                generation = digest
            case _:
                ignored.append(word)
    return TriggerWords(archive, combined(stages), mhop, callback, tuple(ignored), generation)


def combined(stages: Iterable[Stage]) -> Stage:
    """The stage of the one run that does all of these."""
    wanted = set(stages)
    return wanted.pop() if len(wanted) == 1 else Stage.ALL


def words_for(
    archive: str, stage: Stage, *, mhop: bool = False, callback: bool = False, generation: str = ""
) -> str:
    """The words that `runmirrors` sends (archvsync.md, 4); an empty archive is the receiver's main one.

    Its leading blank is kept, so that both hubs' triggers are equal byte for byte. A generation is sent if
    it is a digest, before the stage, which stays the last word; a preparation's name is not sent.
    """
    wishes = f"{' sync:callback' if callback else ''}{' sync:mhop' if mhop else ''}"
    announced = f" {_GENERATION}{generation}" if is_digest(generation) else ""
    return f" sync:archive:{archive}{wishes}{announced} sync:{stage}"


def words_to(site: Site, archive: str, stage: Stage, generation: str = "") -> str:
    """The words for this site; an mhop site gets sync:mhop in both stages, as by `runmirrors`."""
    return words_for(
        site.name_of(archive),
        stage,
        mhop=site.push is PushKind.MHOP,
        callback=site.callback,
        generation=generation,
    )


def without_generation(words: str) -> str:
    """The words without ours: byte for byte those of `runmirrors`."""
    return " ".join(word for word in words.split(" ") if not word.startswith(_GENERATION))


def words_of(original_command: str, arguments: Sequence[str]) -> list[str]:
    """The words of SSH_ORIGINAL_COMMAND, then those of the forced command itself, which win.

    Bounded: the holder of a trigger key must not fill our log or memory.
    """
    words = (*original_command.split()[:MAX_WORDS], *arguments)
    return [word[:MAX_WORD].encode("utf-8", "backslashreplace").decode() for word in words]
