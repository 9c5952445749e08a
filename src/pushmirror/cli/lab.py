"""`pushmirror lab`: a hub and a site on this machine, to see how it all works."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from pushmirror.cli.output import console, print_json, printable
from pushmirror.cli.session import Session
from pushmirror.errors import Exit, Stopped

if TYPE_CHECKING:
    from rich.console import Console

    from pushmirror.cli.narrator import ConsoleNarrator
    from pushmirror.lab.demo import Verdict
    from pushmirror.lab.network import Network

_COLUMNS = ("", "generation", "archive serial", "files", "last run", "seconds", "state")


@click.command()
@click.option(
    "--packages",
    type=click.IntRange(10, 20_000),
    default=150,
    show_default=True,
    help="Source packages in the archive; each has about five files.",
)
@click.option(
    "--changes",
    type=click.IntRange(1, 100),
    default=3,
    show_default=True,
    help="How often the archive changes and is pushed.",
)
@click.option("--keep", is_flag=True, help="Leave it running until Ctrl-C, to try things out.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON; the story goes to stderr.")
def lab(packages: int, changes: int, *, keep: bool, as_json: bool) -> int:
    """See it all work on this machine, in a temporary directory.

    Makes a signed archive, serves it with a real rsync daemon, and wakes a site through a real sshd, all on
    the loopback, while a client looks at the served tree all the time. Everything is compared and verified,
    and cleaned up. Ends with 0 only if all of it is as it should be, else with 1.

    \b
    Examples:
      pushmirror lab
      pushmirror lab --packages 2000 --changes 10
      pushmirror lab --keep
      pushmirror lab --json | jq '.machines[] | {name, generation, state}'
    """
    from pushmirror.cli.narrator import ConsoleNarrator
    from pushmirror.lab import demo
    from pushmirror.lab.network import network

    screen = _stderr() if as_json else console()
    narrator = ConsoleNarrator(screen)
    with ExitStack() as stack:
        stack.enter_context(_one_signal())
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pushmirror-lab-")))
        screen.print("A hub and a site on this machine, with real rsync, ssh and gpgv", highlight=False)
        narrator.title("An archive is made and signed, and served with a password")
        with narrator.working("archive", f"of {packages} source packages"):
            made = stack.enter_context(network(directory, packages=packages))
        demo.describe_archive(made, narrator)
        verdict = demo.tell(made, narrator, changes=changes)
        if as_json:
            print_json(verdict)
        else:
            _show_machines(made, verdict, narrator, screen)
        if keep:
            _wait(made, screen)
    _conclude(verdict, screen)
    return Exit.FAILED if verdict.problems else Exit.OK


def _stderr() -> Console:
    from rich.console import Console

    return Console(stderr=True, width=None if sys.stderr.isatty() else 200)


def _show_machines(made: Network, verdict: Verdict, narrator: ConsoleNarrator, screen: Console) -> None:
    from pushmirror.cli.output import table
    from pushmirror.cli.status import status

    narrator.title("Where hub and site are now")
    rows = [
        (
            one.name,
            one.generation,
            one.archive_serial,
            f"{one.files:,}",
            one.last_run,
            f"{one.seconds:.1f}",
            one.state,
        )
        for one in verdict.machines
    ]
    screen.print(table(_COLUMNS, rows))
    narrator.title("What the site's operator sees: pushmirror status")
    status.main(args=[], obj=Session(made.site.etc), standalone_mode=False)


def _wait(made: Network, screen: Console) -> None:
    """Until Ctrl-C; other signals unwind from here."""
    screen.print("\nAll of it is running. To try, in another terminal:", style="bold", highlight=False)
    for what, command in _to_try(made):
        screen.print(f"\n    {what}", highlight=False)
        screen.out(f"    {command}", highlight=False)  # whole, to be copied
    screen.print("\nCtrl-C ends it.", style="bold")
    with suppress(KeyboardInterrupt):
        while True:
            signal.pause()


def _to_try(made: Network) -> list[tuple[str, str]]:
    beside = Path(sys.executable).with_name("pushmirror")
    ours = [str(beside)] if os.access(beside, os.X_OK) else [sys.executable, "-m", "pushmirror"]
    return [
        ("everything is below", shlex.join(["cd", str(made.directory)])),
        ("how the site is doing", shlex.join([*ours, "--config", "site/etc", "status", "--watch"])),
        ("what it did", shlex.join([*ours, "--config", "site/etc", "history"])),
        ("wake it as the hub does", "ssh -F ssh_config site sync:all"),
        ("what the hub serves", f"rsync --password-file=site/etc/upstream.secret {made.url}/"),
        ("the password it asks for", "cat site/etc/upstream.secret"),
    ]


def _conclude(verdict: Verdict, screen: Console) -> None:
    screen.print()
    for problem in verdict.problems:
        screen.print(f"failed: {printable(problem)}", style="red", highlight=False, markup=False)
    words = "NOT all is as it should be" if verdict.problems else "All is verified"
    style = "bold red" if verdict.problems else "bold green"
    screen.print(
        f"{words}, after {verdict.seconds:.1f} s; everything is cleaned up.", style=style, highlight=False
    )


@contextmanager
def _one_signal() -> Iterator[None]:
    """The first signal unwinds; nothing after it, such as a second Ctrl-C, cuts the clearing up short."""

    def stop(number: int, _: FrameType | None) -> None:
        for one in before:
            signal.signal(one, signal.SIG_IGN)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise Stopped(f"stopped by {signal.Signals(number).name}")

    now = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    before = {one: handler for one, handler in now.items() if handler is not signal.SIG_IGN}  # nohup's stays
    for one in before:
        signal.signal(one, stop)
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
