"""`pushmirror receive`: the forced command of a push server's ssh key."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from pushmirror.cli.context import Session, warn_of_broken_sites
from pushmirror.errors import Exit, UsageError
from pushmirror.system.signals import outlive_connection

if TYPE_CHECKING:
    from pushmirror.config.model import Config


@click.command()
@click.option(
    "-T",
    "trigger",
    default=None,
    metavar="TRIGGER",
    help="Trigger name for the trace file. Default: ssh.",
)
@click.argument("words", nargs=-1)
@click.pass_obj
def receive(session: Session, trigger: str | None, words: tuple[str, ...]) -> int:
    """Handle a push (forced command of an ssh key).

    Reads the words of $SSH_ORIGINAL_COMMAND (sync:archive:NAME sync:stage1|stage2|all sync:mhop
    sync:generation:DIGEST), then the words given here, which take precedence. No word reaches a shell. A push
    without words means sync:all of the main archive. Unknown words are reported and ignored, as in ftpsync.

    Waits for the run that covers the push and exits with its exit code: 0 done, 6 done except for suites that
    are held back, 3 stage 1 failed, 4 stage 2 failed, 75 upstream kept changing, 78 configuration. If this
    generation is already published here, the answer comes at once, without a run.

    Afterwards our own sites are pushed in the background. With sync:mhop sync:stage1 the answer waits until
    our staged sites have finished stage 1, too. sync:check only confirms that the key works.

    With sync:callback the host of [archives.NAME.callback] is called by ssh after a successful run. A
    callback from one of our sites (callback:HOST) is recorded and starts nothing.

    \b
    In ~/.ssh/authorized_keys, on one line:
      restrict,from="192.0.2.7",command="pushmirror receive" ssh-ed25519 AAAA… hub.example.org
    """
    from pushmirror.background_push import answer_callback, push_on
    from pushmirror.progress import Silent
    from pushmirror.push.callback import caller
    from pushmirror.push.trigger import CHECK, parse_trigger, words_of
    from pushmirror.runner import Runner
    from pushmirror.sync.request import RunRequest

    outlive_connection()
    original = os.environ.get("SSH_ORIGINAL_COMMAND", "")
    spoken = words_of(original, words)
    wanted, name = parse_trigger(spoken), caller(words_of(original, ()))
    for word in wanted.ignored if name is None else ():
        _tell(f"Unknown option {word!a} ignored")
    config = session.config(on_broken_sites=warn_of_broken_sites, is_told=True)
    if name is not None:
        _tell(answer_callback(config, name))
        return Exit.OK
    if CHECK in spoken:
        _tell(_ready(list(config.archives)))
        return Exit.OK
    archive = wanted.archive or main_archive(list(config.archives))
    if archive not in config.archives:
        raise UsageError(
            f"there is no archive {archive!r} here", hint=f"archives: {', '.join(config.archives)}"
        )
    if wanted.callback and config.archives[archive].callback is None:
        _tell(f"sync:callback ignored: [archives.{archive}.callback] is not configured")
    logging.getLogger("pushmirror").addHandler(logging.NullHandler())
    client = os.environ.get("SSH_CONNECTION", "").partition(" ")[0]
    request = RunRequest(
        archive,
        wanted.stage,
        trigger=trigger or ("ssh" if original or client else "manual"),  # ssh may bring no words
        mhop=wanted.mhop,
        client=client,
        words=" ".join(spoken),
        generation=wanted.generation,
    )
    with session.store(config) as store:
        answer = Runner(config, store, Silent()).submit(request)
        push_on(config, store, archive, wanted.stage, mhop=wanted.mhop)
    if wanted.callback and answer.exit_code in {Exit.OK, Exit.HELD}:
        _call_back(config, archive)
    _tell(f"{archive} {wanted.stage.value}: {answer.message}")
    session.back_up(config)
    return Exit.FAILED if answer.exit_code is None else answer.exit_code


def _call_back(config: Config, archive: str) -> None:
    """Call back the host that asked for it."""
    from pushmirror.config.types import own_name
    from pushmirror.push.callback import call_back

    if callback := config.archives[archive].callback:
        went_well = call_back(callback, hostname=config.mirror.running_on or own_name())
        _tell(f"{callback.host} was {'' if went_well else 'NOT '}called back")


def _ready(archives: list[str]) -> str:
    """The answer to sync:check."""
    from pushmirror import __version__
    from pushmirror.system import clock

    return f"pushmirror {__version__} ready; archives: {', '.join(archives)}; time: {clock.now().isoformat()}"


def main_archive(names: list[str]) -> str:
    """The archive of a trigger without a name: the only one, or `debian`, or the first."""
    if not names:
        raise UsageError("no archive is configured", hint="pushmirror init writes a first configuration")
    return "debian" if "debian" in names else names[0]


def _tell(line: str) -> None:
    """Print a line for the push server; a closed connection is ignored."""
    if sys.stdout is None:
        return
    with suppress(OSError):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
