"""`pushmirror sync`: update archives from upstream."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from pushmirror.archive.generation import short
from pushmirror.cli.context import (
    Session,
    archive_named,
    log_to_stderr,
    quiet_option,
    require_one_way,
    warn_of_broken_sites,
)
from pushmirror.cli.output import as_json, print_json, print_table, printable, progress_on
from pushmirror.config.types import span
from pushmirror.errors import Exit, PushmirrorError, Stopped, UsageError

if TYPE_CHECKING:
    from pushmirror.config.model import Config, Strategy
    from pushmirror.state.records import Request, Run
    from pushmirror.state.store import Store
    from pushmirror.sync.engine import Preview
    from pushmirror.sync.request import RunRequest


# -- dry run ---


_SHOWN = 20  # names of a list that are printed without --json


def foretell(archive: str, preview: Preview, *, way_out: str = "--allow-mass-delete") -> None:
    """Print the result of a dry run; `way_out` is the option that allows a mass deletion."""
    click.echo(f"{archive}: upstream has {_named(preview.generation)}, {_here(preview)}")
    if preview.strategy:
        click.echo(printable(f"by {preview.strategy}: {preview.why}"))
    doomed, size = preview.delete, sum(entry.size for entry in preview.fetch)
    too_many = f"too many files to delete without {way_out}: {doomed.reason}"
    rows = [
        (len(preview.fetch), "to fetch", f"{size / 1e6:.1f} MB"),
        (len(preview.publish), "to publish", ""),
        (len(doomed.paths), "to delete", ""),
        (doomed.kept - len(doomed.lost), "gone upstream", "kept for the grace period"),
        (len(doomed.lost), "lost upstream", "kept, because upstream's indices still name it"),
        (doomed.withheld, "not deleted", too_many),
    ]
    if any(count for count, *_ in rows):
        print_table(["files", "what", ""], [row for row in rows if row[0]])
    else:
        click.echo("nothing to do")
    for directory, reason in sorted(preview.held.items()):
        click.echo(printable(f"held back {directory}: {reason}"))
    _some("fetch", [entry.path for entry in preview.fetch])
    _some("delete", preview.delete.paths)


def _named(generation: str) -> str:
    return f"generation {short(generation)}" if generation else "no generation"


def _here(preview: Preview) -> str:
    if not preview.live:
        return "nothing is published here yet"
    return (
        "which is published here"
        if preview.generation == preview.live
        else f"{_named(preview.live)} is published here"
    )


def _some(what: str, names: Sequence[str]) -> None:
    for name in names[:_SHOWN]:
        click.echo(f"{what} {printable(name)}")
    if len(names) > _SHOWN:
        click.echo(f"{what} … {len(names) - _SHOWN} more; all of them with --json")


_NOTHING_NEW = "upstream has nothing new"
_STAGES = {"1": "stage1", "2": "stage2"}
_STRATEGIES = ("auto", "manifest", "index", "full")  # config.model has them, and takes long to import


@click.command()
@click.argument("archive", required=False)
@click.option(
    "--stage", type=click.Choice(["1", "2"]), help="Run only stage 1 (fetch packages) or stage 2 (publish)."
)
@click.option(
    "--strategy",
    type=click.Choice(_STRATEGIES),
    help="Strategy to detect changes, instead of the configured one.",
)
@click.option("-T", "trigger", default="manual", metavar="TRIGGER", help="Trigger name for the trace file.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Print what would be fetched, published and deleted; change nothing.",
)
@click.option(
    "--allow-mass-delete", is_flag=True, help="Delete even more files than [archives.X.delete] allows."
)
@click.option(
    "--allow-rollback", is_flag=True, help="Publish suites even if upstream's state is older than ours."
)
@click.option(
    "--refill",
    is_flag=True,
    help="Refill a tree that is empty although an archive was published in it.",
)
@click.option(
    "--if-changed", is_flag=True, help="Run only if upstream has changed (a cheap check); for timers."
)
@click.option("--no-push", is_flag=True, help="Do not push to our sites afterwards.")
@click.option(
    "--json",
    "is_json",
    is_flag=True,
    help="Print the result (of the run or dry run) as JSON; null if --if-changed finds nothing new.",
)
@click.option("-v", "--verbose", is_flag=True, help="Print the log as it is written.")
@quiet_option
@click.pass_obj
def sync(
    session: Session,
    archive: str | None,
    stage: str | None,
    strategy: str | None,
    trigger: str,
    *,
    dry_run: bool,
    allow_mass_delete: bool,
    allow_rollback: bool,
    refill: bool,
    if_changed: bool,
    no_push: bool,
    is_json: bool,
    verbose: bool,
    quiet: bool,
) -> int:
    """Update ARCHIVE, or every archive, from upstream, and push to the sites that mirror it from here.

    For an archive without upstream, sync scans its tree and notes what is in it.

    If a run is in progress, sync waits for the one after it. It exits with 0 only when upstream's state is
    published here, else with 6 (published, except for suites that are held back at an older complete state:
    see `pushmirror suites`), 3 (stage 1 failed), 4 (stage 2 failed), 75 (upstream kept changing) or 78
    (configuration). The served tree is complete in every case. With --quiet nothing is printed when it exits
    with 0.

    The strategy says how changes are detected: by upstream's manifest, by its indices, or by a listing of
    its whole tree (full). "auto" takes the cheapest that upstream offers; `pushmirror history` shows which
    one was used, and why. A dry run fetches no indices: where a run uses them, the dry run compares the whole
    tree and may list more than that run changes.

    The sites of each archive are pushed in the background as soon as its run has finished. On a terminal they
    are pushed at the end, with progress; after Ctrl-C the push continues in the background.

    With --if-changed, an archive is skipped if upstream still publishes what is served here: no run, no new
    trace, no push; `status` counts it as a success. The check reads upstream's Release files and traces (for
    a plain tree, project/trace/master). If the check is not possible, or the last run failed or held suites
    back, there is a run.

    systemd kills the background push together with the service that ran sync. Therefore set KillMode=process
    in the service of a timer; or run `pushmirror sync --no-push` and then `pushmirror push`, which stays in
    the foreground; or keep `pushmirror serve` running, which needs neither.

    \b
    Examples:
      pushmirror sync
      pushmirror sync debian --dry-run
      pushmirror sync --if-changed --quiet -T cron
      pushmirror sync debian --strategy full
      pushmirror sync debian --allow-mass-delete
    """
    from pushmirror.config.model import Strategy
    from pushmirror.state.records import Run, Stage
    from pushmirror.sync.request import RunRequest

    require_one_way(quiet=quiet, verbose=verbose, as_json=is_json)
    config = session.config(on_broken_sites=warn_of_broken_sites, is_told=not quiet)
    names = _names(config, archive, dry_run=dry_run)
    if if_changed and (dry_run or refill or allow_mass_delete or allow_rollback):
        raise UsageError("--if-changed cannot be combined with --dry-run, --refill and --allow-…")
    if strategy:
        _require_upstream(config, names)
    request = RunRequest(
        archive="",  # each of these
        stage=Stage(_STAGES[stage]) if stage else Stage.ALL,
        trigger=trigger,
        allow_mass_delete=allow_mass_delete,
        allow_rollback=allow_rollback,
        allow_empty_tree=refill,
        strategy=Strategy(strategy) if strategy else None,
    )
    log_to_stderr(verbose=verbose, quiet=quiet)
    drawn = not (verbose or quiet)
    worst = Exit.OK
    results: list[Run | Preview] = []
    pushes = not (no_push or dry_run or stage == "1")
    with (
        session.store(config) as store,
        _pushing(config, store, drawn=drawn and not is_json) as push,
    ):
        for name in names:
            if if_changed and _is_current(config, store, name):
                # No run, but a success, by which nothing grows stale.
                store.add_request(name, Stage.ALL, trigger=trigger, answer=_NOTHING_NEW)
                if not (is_json or quiet):
                    click.echo(f"{name}: {_NOTHING_NEW}")
                continue
            try:
                found = _one(config, store, replace(request, archive=name), dry_run=dry_run, drawn=drawn)
            except PushmirrorError as exc:
                if len(names) == 1:
                    raise
                click.echo(f"{name}: {click.style('failed', fg='red')}: {printable(str(exc))}", err=True)
                worst = _worse(worst, exc.exit_code)  # and the others go on
            else:
                results.append(found)
                worst = _worse(worst, code := _code(found))
                if not (is_json or (quiet and code == Exit.OK and not dry_run)):
                    _tell(found, request.strategy) if isinstance(found, Run) else foretell(name, found)
            if pushes and config.sites_of(name):  # also after a failure: it may have published
                push(name)
    if not dry_run:
        session.back_up(config)
    if is_json:
        documents = [_as_json(config, found) for found in results]
        print_json(documents if not archive else documents[0] if documents else None)
    return worst


def _names(config: Config, archive: str | None, *, dry_run: bool) -> list[str]:
    """The archives that are meant."""
    names = [archive_named(config, archive).name] if archive else list(config.archives)
    if not names:
        raise UsageError("no archive is configured", hint="pushmirror init writes a first configuration")
    return _with_upstream(config, names) if dry_run else names


def _is_current(config: Config, store: Store, name: str) -> bool:
    """Whether upstream has nothing new."""
    from pushmirror.progress import Silent
    from pushmirror.runner import Runner

    return Runner(config, store, Silent()).is_current(name)


def _one(config: Config, store: Store, request: RunRequest, *, dry_run: bool, drawn: bool) -> Run | Preview:
    """Run one archive, or preview the run."""
    from pushmirror.runner import Runner

    with progress_on(request.archive, drawn=drawn) as progress:
        runner = Runner(config, store, progress)
        return runner.preview(request) if dry_run else _run_for(runner.submit(request), store)


@contextmanager
def _pushing(config: Config, store: Store, *, drawn: bool) -> Iterator[Callable[[str], None]]:
    """Push to the sites of each archive that is yielded, at once and in the background.

    On a terminal the push is at the end, in the foreground; if that fails, in the background.
    """
    from pushmirror.background_push import in_background

    if not (drawn and sys.stderr.isatty()):
        yield lambda name: in_background(config, name)
        return
    from pushmirror.cli.push import push_here

    over: list[str] = []
    try:
        yield over.append
        if over:
            push_here(config, store, over)
    except BaseException as exc:  # mostly a signal
        for name in over:
            in_background(config, name)
        if over and isinstance(exc, Stopped):
            goes_on = (
                f"{exc}; the push of {', '.join(over)} continues in the background (see pushmirror status)"
            )
            raise Stopped(goes_on, exit_code=exc.exit_code) from exc
        raise


def _with_upstream(config: Config, names: Sequence[str]) -> list[str]:
    """The archives that can be previewed."""
    found = [name for name in names if config.archives[name].upstream]
    if not found:
        raise UsageError(
            f"{', '.join(names)} has no upstream: --dry-run needs one",
            hint="pushmirror push --dry-run shows which sites would be pushed",
        )
    return found


def _require_upstream(config: Config, names: Sequence[str]) -> None:
    """Refuse a strategy for an archive without upstream: its run only scans the tree."""
    owned = [name for name in names if config.archives[name].upstream is None]
    if owned:
        raise UsageError(
            f"{', '.join(owned)} has no upstream: --strategy needs one",
            hint="name an archive that has an upstream, or omit --strategy",
        )


def _as_json(config: Config, found: Run | Preview) -> object:
    """A run with its held suites and their reasons; or the result of a dry run."""
    from pushmirror.state.records import Run
    from pushmirror.state.suites import read_suites, suites_path

    documents = as_json(found)
    if not isinstance(found, Run):
        return documents
    assert isinstance(documents, dict)
    suites = read_suites(suites_path(config.state.directory, found.archive))
    return {**documents, "held": {suite.directory: suite.reason for suite in suites if suite.is_held}}


def _code(found: Run | Preview) -> Exit:
    """The exit code for a run; a dry run never fails."""
    from pushmirror.state.records import Run

    if not isinstance(found, Run):
        return Exit.OK
    try:
        return Exit(-1 if found.exit_code is None else found.exit_code)
    except ValueError:  # it has none, or one of another version
        return Exit.FAILED


def _worse(one: Exit, other: Exit) -> Exit:
    """The exit code of two archives together: held suites (6) hide no failure."""
    return max(one, other, key=lambda code: (code is not Exit.OK, code is not Exit.HELD, code))


def _run_for(request: Request, store: Store) -> Run:
    """The run that answered a request, maybe in another process."""
    assert request.run_id is not None
    return store.run(request.run_id)


def _tell(run: Run, asked: Strategy | None = None) -> None:
    """Print the result of a run, and the reason if the requested strategy was not used."""
    took = span((run.ended_at or run.started_at) - run.started_at)
    if run.exit_code in {Exit.OK, Exit.HELD}:
        held = run.exit_code == Exit.HELD
        mark = (
            click.style(f"held back ({run.exit_code})", fg="yellow")
            if held
            else click.style("ok", fg="green")
        )
        served = f"generation {short(run.generation)}, " if run.generation else ""
        by = f", by {run.strategy}" if run.strategy_text else ""
        click.echo(f"{run.archive}: {mark} in {took}: {served}{printable(run.message)}{by} (run {run.id})")
        if run.strategy_text and asked and asked.value not in {"auto", run.strategy}:
            click.echo(
                f"{run.archive}: strategy {asked.value} could not be used: {printable(run.strategy_text)}",
                err=True,
            )
        return
    mark = click.style(f"failed ({run.exit_code})", fg="red")
    click.echo(
        f"{run.archive}: {mark} in {took}: {printable(run.message)}; see `pushmirror log {run.id}`", err=True
    )
