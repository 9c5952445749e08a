"""`pushmirror lab`: a demo network of owner, hubs and sites on this machine."""

from __future__ import annotations

import os
import select
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pushmirror.cli.context import Session
from pushmirror.cli.output import console, print_json, printable
from pushmirror.errors import Exit, PushmirrorError
from pushmirror.system.signals import until_ctrl_c

if TYPE_CHECKING:
    from rich.console import Console

    from pushmirror.cli.lab_console import ConsoleNarrator
    from pushmirror.lab.demo import Verdict
    from pushmirror.lab.network import Network

_COLUMNS = ("", "generation", "serial", "files", "level", "state", "delay")
_KINDS = ("staged", "all", "mhop")
_DEADLINE = "10s"  # of the barrier, with --keep
_LOOK_S = 0.5  # between two checks for a request to change the archive


@click.command()
@click.option(
    "--sites", type=click.IntRange(1, 20), default=3, show_default=True, help="Sites of the first hub."
)
@click.option(
    "--push",
    "kind",
    type=click.Choice(_KINDS),
    default="staged",
    show_default=True,
    help="Push mode.",
)
@click.option(
    "--depth",
    type=click.IntRange(1, 3),
    default=2,
    show_default=True,
    help="Levels of hubs; below the first hub, the last site is a hub with two sites.",
)
@click.option(
    "--packages",
    type=click.IntRange(10, 20_000),
    default=60,
    show_default=True,
    help="Source packages in the archive; each has about five files.",
)
@click.option(
    "--changes",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    help="Number of changes that are pushed.",
)
@click.option("--keep", is_flag=True, help="Keep it running until Ctrl-C, and print commands to try.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON; the steps go to stderr.")
def lab(sites: int, kind: str, depth: int, packages: int, changes: int, *, keep: bool, as_json: bool) -> int:
    """Run a demo network on this machine.

    Makes a signed archive and a network of mirrors on the loopback interface: its owner, a hub, and sites;
    the last site is a hub itself. Each has its own configuration and sshd; hubs run `pushmirror serve`. The
    archive changes and is pushed, while a client reads all served trees. At the end everything is compared,
    verified and removed. Exits with 0 only if every check succeeded, else with 1.

    \b
    Examples:
      pushmirror lab
      pushmirror lab --sites 6 --push all --depth 1
      pushmirror lab --packages 2000 --changes 10
      pushmirror lab --keep
      pushmirror lab --json | jq '.machines[] | {name, generation, current_s}'
    """
    from pushmirror.cli.lab_console import ConsoleNarrator
    from pushmirror.config.model import PushKind
    from pushmirror.lab import demo
    from pushmirror.lab.archive import LabArchive
    from pushmirror.lab.network import network, plan

    screen = _stderr() if as_json else console()
    narrator = ConsoleNarrator(screen)
    os.umask(0o022)  # as a mirror's operator has it: rsync's daemon may be another user
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pushmirror-lab-")))
        screen.print("A network of mirrors on this machine, with real rsync, ssh and gpgv", highlight=False)
        narrator.title("An archive is made and signed")
        with narrator.working("archive", f"of {packages} source packages"):
            archive = LabArchive.create(directory / "archive", packages=packages)
        demo.describe_archive(archive, narrator)
        narrator.title("Its mirrors are set up, by `pushmirror site add` and `pushmirror serve`")
        with narrator.working("servers", "sshd for each, rsync for hubs"):
            places = plan(sites, PushKind(kind), depth)
            made = stack.enter_context(network(directory, archive, places))
        demo.describe_network(made, narrator)
        verdict = demo.run(made, narrator, changes=changes)
        if as_json:
            print_json(verdict)
        else:
            _show_machines(made, verdict, narrator, screen)
        if keep:
            _wait(made, narrator, screen)
    _conclude(verdict, screen)
    return Exit.FAILED if verdict.problems else Exit.OK


def _stderr() -> Console:
    from rich.console import Console

    return Console(stderr=True, width=None if sys.stderr.isatty() else 200)


def _show_machines(made: Network, verdict: Verdict, narrator: ConsoleNarrator, screen: Console) -> None:
    from pushmirror.cli.output import table
    from pushmirror.cli.status import status

    narrator.title("Where all of them are now, and how long the last change took to get there")
    rows = [
        (
            f"{'  ' * one.depth}{one.name}",
            one.generation,
            one.archive_serial,
            f"{one.files:,}",
            one.level,
            one.state,
            "" if one.current_s is None else f"{one.current_s:.1f} s",
        )
        for one in verdict.machines
    ]
    screen.print(table(_COLUMNS, rows))
    narrator.title("What the hub's operator sees: pushmirror status")
    status.main(args=[], obj=Session(made.nodes["hub"].mirror.etc), standalone_mode=False)


def _wait(made: Network, narrator: ConsoleNarrator, screen: Console) -> None:
    """Wait for Ctrl-C, and change the archive on request; other signals raise from here."""
    screen.print("\nAll of it is running. To try, in another terminal:", style="bold", highlight=False)
    for what, command in _to_try(made):
        screen.print(f"\n    {what}", highlight=False)
        screen.out(f"    {command}", highlight=False)  # whole, to be copied
    waits = f"\nFrom now on a hub waits for late sites for {_DEADLINE} ([push] deadline) before it goes on."
    screen.print(waits, highlight=False, markup=False)
    enter = "Enter changes the archive again, " if sys.stdin.isatty() else ""
    screen.print(f"\n{enter}Ctrl-C ends it.", style="bold", highlight=False)
    for hub in made.hubs:
        hub.mirror.configure_section("push", deadline=_DEADLINE)
    with until_ctrl_c():
        for _ in _requests():
            _change(made, narrator, screen)


def _change(made: Network, narrator: ConsoleNarrator, screen: Console) -> None:
    from pushmirror.lab import demo

    narrator.title("The archive changes again")
    try:
        demo.change(made, narrator)
    except PushmirrorError as exc:
        screen.print(f"failed: {printable(str(exc))}", style="red", highlight=False, markup=False)


def _requests() -> Iterator[None]:
    """Yields for each SIGUSR1, and for each line on a terminal; endless."""
    signals: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, _: signals.append(number))
    keyboard = [sys.stdin] if sys.stdin.isatty() else []
    while True:
        ready, _, _ = select.select(keyboard, [], [], _LOOK_S)
        if ready and not sys.stdin.readline():
            keyboard = []  # its end
        elif ready or signals:
            signals.clear()
            yield


def _to_try(made: Network) -> list[tuple[str, str]]:
    beside = Path(sys.executable).with_name("pushmirror")
    begin = shlex.join(["cd", str(made.directory)])
    if os.access(beside, os.X_OK):
        begin, ours = f"{begin}; PATH={shlex.quote(str(beside.parent))}:$PATH", "pushmirror"
    else:
        ours = shlex.join([sys.executable, "-m", "pushmirror"])
    hub = f"{ours} --config hub/etc"
    keys = "site1/sshd/authorized_keys"
    url = made.nodes["site1"].config.archives["debian"].upstream
    return [
        ("everything is below; begin with", begin),
        ("how the hub's sites are doing", f"{hub} status --watch"),
        ("its sites", f"{hub} site list"),
        ("the archive changes once more, and is pushed", f"kill -USR1 {os.getpid()}"),
        ("what a push would send now", f"{hub} push --dry-run"),
        ("push to a site as its hub does", "ssh -F ssh_config site1 sync:all"),
        ("read from the hub as site1", f"rsync --password-file=site1/etc/upstream.secret {url}/"),
        ("do not push to a site until `resume`, then change the archive", f"{hub} site pause site1"),
        ("lock the hub out, change the archive, see the push fail", f"mv {keys} {keys}.away"),
        ("let it in again, and push without waiting for the next try", f"mv {keys}.away {keys}; {hub} push"),
        ("what a site did", f"{ours} --config site1/etc history"),
    ]


def _conclude(verdict: Verdict, screen: Console) -> None:
    screen.print()
    for problem in verdict.problems:
        screen.print(f"failed: {printable(problem)}", style="red", highlight=False, markup=False)
    words = "Some checks FAILED" if verdict.problems else "All is verified"
    style = "bold red" if verdict.problems else "bold green"
    screen.print(
        f"{words}, after {verdict.seconds:.1f} s; everything is cleaned up.", style=style, highlight=False
    )
