"""`pushmirror sync`: bring archives up to date with their upstream."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from pushmirror.cli.logs import log_to_stderr
from pushmirror.cli.output import print_json, print_table, printable
from pushmirror.cli.session import Session, archive_named
from pushmirror.errors import Exit, PushmirrorError, UsageError
from pushmirror.status.words import span

if TYPE_CHECKING:
    from pushmirror.config.model import Config
    from pushmirror.state.records import Request, Run
    from pushmirror.state.store import Store
    from pushmirror.sync.engine import Preview
    from pushmirror.sync.progress import Progress

_SHORT = 12  # digits of a generation that people compare
_SHOWN = 20  # names of a list that a dry run prints without --json
_STAGES = {"1": "stage1", "2": "stage2"}


@click.command()
@click.argument("archive", required=False)
@click.option("--stage", type=click.Choice(["1", "2"]), help="Only fetch ahead (1), or only publish (2).")
@click.option(
    "-T", "trigger", default="manual", metavar="TRIGGER", help="Name of the trigger, written into the trace."
)
@click.option("--dry-run", is_flag=True, help="Say what would be fetched, published and deleted.")
@click.option(
    "--allow-mass-delete", is_flag=True, help="Delete even if it is more than [archives.X.delete] allows."
)
@click.option("--from-scratch", is_flag=True, help="Fetch it all again into a tree that has become empty.")
@click.option("--no-push", is_flag=True, help="Do not wake our own sites afterwards.")
@click.option("--json", "as_json", is_flag=True, help="Print the run, or what a dry run found, as JSON.")
@click.option("-v", "--verbose", is_flag=True, help="Print the log as it is written.")
@click.pass_obj
def sync(
    session: Session,
    archive: str | None,
    stage: str | None,
    trigger: str,
    *,
    dry_run: bool,
    allow_mass_delete: bool,
    from_scratch: bool,
    no_push: bool,
    as_json: bool,
    verbose: bool,
) -> int:
    """Bring ARCHIVE, or every archive, up to date, and wake the sites that mirror it from here.

    An archive without upstream is its owner's: what its tree serves now is taken note of.

    If a run is under way, waits for the one that follows it. Ends with 0 only when what is published here
    is what upstream has; else with 3 (stage 1 failed), 4 (stage 2 failed), 75 (upstream kept changing) or
    78 (configuration). The served tree is whole in any case.

    On a terminal the push is shown until it has settled; Ctrl-C leaves it to `pushmirror serve` or the next
    push. Otherwise it goes on in the background.

    \b
    Examples:
      pushmirror sync
      pushmirror sync debian --dry-run
      pushmirror sync debian --allow-mass-delete
    """
    from pushmirror.hub import Hub, Wish
    from pushmirror.state.records import Run, Stage

    config = session.config()
    names = [archive_named(config, archive).name] if archive else list(config.archives)
    if not names:
        raise UsageError("no archive is configured", hint="pushmirror init writes a first configuration")
    if dry_run:
        names = _with_upstream(config, names)
    log_to_stderr(verbose=verbose)
    worst = Exit.OK
    results: list[Run | Preview] = []
    with session.store(config) as store:
        for name in names:
            wish = Wish(
                name,
                Stage(_STAGES[stage]) if stage else Stage.ALL,
                trigger=trigger,
                allow_mass_delete=allow_mass_delete,
                allow_empty_tree=from_scratch,
            )
            try:
                with _progress(name, drawn=not verbose) as progress:
                    hub = Hub(config, store, progress)
                    found = hub.preview(wish) if dry_run else _run_for(hub.serve(wish), store)
            except PushmirrorError as exc:
                if len(names) == 1:
                    raise
                click.echo(f"{name}: {click.style('failed', fg='red')}: {printable(str(exc))}", err=True)
                worst = max(worst, exc.exit_code)
                continue  # one archive in trouble is no reason to let the others wait
            results.append(found)
            if isinstance(found, Run):
                worst = max(worst, Exit.FAILED if found.exit_code is None else Exit(found.exit_code))
            if not as_json:
                _tell(found) if isinstance(found, Run) else _foretell(name, found)
        if not (no_push or dry_run or stage == "1"):  # also after a failure: it may have published
            _push_on(config, store, names, drawn=not (as_json or verbose))
    if as_json:
        print_json(results[0] if archive else results)
    return worst


def _push_on(config: Config, store: Store, names: Sequence[str], *, drawn: bool) -> None:
    """Wake our own sites: before somebody's eyes on a terminal, else in the background."""
    names = [name for name in names if config.sites_of(name)]
    if not names:
        return
    if drawn and sys.stderr.isatty():
        from pushmirror.cli.push import push_here

        push_here(config, store, names)
        return
    from pushmirror.relay import in_background

    for name in names:
        in_background(config, name)


def _with_upstream(config: Config, names: Sequence[str]) -> list[str]:
    """Those that a dry run has something to say about."""
    found = [name for name in names if config.archives[name].upstream]
    if not found:
        raise UsageError(
            f"{', '.join(names)} has no upstream: there is nothing to foretell",
            hint="pushmirror push --dry-run shows which sites would be woken",
        )
    return found


def _run_for(request: Request, store: Store) -> Run:
    """The run that answered a request, maybe another process's."""
    assert request.run_id is not None
    return store.run(request.run_id)


def _tell(run: Run) -> None:
    took = span((run.ended_at or run.started_at) - run.started_at)
    if run.exit_code == 0:
        mark = click.style("ok", fg="green")
        served = f"generation {run.generation[:_SHORT]}, " if run.generation else ""
        click.echo(f"{run.archive}: {mark} in {took}: {served}{printable(run.message)} (run {run.id})")
        return
    mark = click.style(f"failed ({run.exit_code})", fg="red")
    click.echo(
        f"{run.archive}: {mark} in {took}: {printable(run.message)}; see `pushmirror log {run.id}`", err=True
    )


def _foretell(archive: str, preview: Preview) -> None:
    """Print what a dry run found, without what is not there."""
    click.echo(f"{archive}: upstream has {_named(preview.generation)}, {_here(preview)}")
    doomed, size = preview.delete, sum(entry.size for entry in preview.fetch)
    too_many = f"too many to delete without --allow-mass-delete: {doomed.reason}"
    rows = [
        (len(preview.fetch), "to fetch", f"{size / 1e6:.1f} MB"),
        (len(preview.publish), "to publish", ""),
        (len(doomed.paths), "to delete", ""),
        (doomed.kept - len(doomed.lost), "gone upstream", "stays for its grace period"),
        (len(doomed.lost), "lost upstream", "stays, for upstream's indices still name it"),
        (doomed.withheld, "not deleted", too_many),
    ]
    if any(count for count, *_ in rows):
        print_table(["files", "what", ""], [row for row in rows if row[0]])
    else:
        click.echo("nothing to do")
    _some("fetch", [entry.path for entry in preview.fetch])
    _some("delete", preview.delete.paths)


def _named(generation: str) -> str:
    return f"generation {generation[:_SHORT]}" if generation else "no generation"


def _here(preview: Preview) -> str:
    if not preview.live:
        return "nothing is published here yet"
    return (
        "which is live here" if preview.generation == preview.live else f"{_named(preview.live)} is live here"
    )


def _some(what: str, names: Sequence[str]) -> None:
    for name in names[:_SHOWN]:
        click.echo(f"{what} {printable(name)}")
    if len(names) > _SHOWN:
        click.echo(f"{what} … {len(names) - _SHOWN} more; all of them with --json")


@contextmanager
def _progress(title: str, *, drawn: bool) -> Iterator[Progress]:
    """A bar on a terminal, nothing in a pipe or journal."""
    if drawn and sys.stderr.isatty():
        from pushmirror.cli.progress import TerminalProgress

        with TerminalProgress(title) as bars:
            yield bars
    else:
        from pushmirror.sync.progress import Silent

        yield Silent()
