"""`pushmirror sync`: bring archives up to date with their upstream."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from pushmirror.cli.output import print_json, print_table, printable
from pushmirror.cli.session import Session, archive_named
from pushmirror.errors import Exit

if TYPE_CHECKING:
    from pushmirror.hub import Hub, Wish
    from pushmirror.sync.engine import Preview
    from pushmirror.sync.progress import Progress

_SHOWN = 20  # names of a list that a dry run prints without --json
_STAGES = {"1": "stage1", "2": "stage2"}


@click.command()
@click.argument("archive", required=False)
@click.option("--stage", type=click.Choice(["1", "2"]), help="Only fetch ahead (1), or only publish (2).")
@click.option("-T", "trigger", default="manual", metavar="TRIGGER", help="What the trace says woke us.")
@click.option("--dry-run", is_flag=True, help="Say what would be fetched, published and deleted.")
@click.option(
    "--allow-mass-delete", is_flag=True, help="Delete even if it is more than [archives.X.delete] allows."
)
@click.option("--from-scratch", is_flag=True, help="Fetch it all again into a tree that has become empty.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
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
    as_json: bool,
    verbose: bool,
) -> int:
    """Bring ARCHIVE, or every archive with an upstream, up to date.

    If a run is under way, waits for the one that follows it. Ends with 0 only when what is published here
    is what upstream has; else with 3 (stage 1 failed), 4 (stage 2 failed), 75 (upstream kept changing) or
    78 (configuration). The served tree is whole in any case.

    \b
    Examples:
        pushmirror sync
        pushmirror sync debian --dry-run
        pushmirror sync debian --allow-mass-delete
    """
    from pushmirror.hub import Hub, Wish
    from pushmirror.state.records import Stage

    config = session.config()
    if archive:
        names = [archive_named(config, archive).name]
    else:
        names = [name for name, found in config.archives.items() if found.upstream]
    _log_to_stderr(verbose=verbose)
    worst = Exit.OK
    results: list[object] = []
    with session.store(config) as store:
        for name in names:
            wish = Wish(
                name,
                Stage(_STAGES[stage]) if stage else Stage.ALL,
                trigger=trigger,
                allow_mass_delete=allow_mass_delete,
                allow_empty_tree=from_scratch,
            )
            with _progress(name, drawn=not verbose) as progress:
                hub = Hub(config, store, progress)
                if dry_run:
                    results.append(_preview(hub, wish, as_json=as_json))
                    continue
                answer = hub.serve(wish)
            results.append(answer)
            worst = max(worst, Exit(answer.exit_code or 0))
            if not as_json:
                _tell(name, answer.exit_code, answer.message)
    if as_json:
        print_json(results[0] if archive else results)
    return worst


def _tell(name: str, exit_code: int | None, message: str) -> None:
    mark = click.style("ok", fg="green") if exit_code == 0 else click.style(f"failed ({exit_code})", fg="red")
    click.echo(f"{name}: {mark}: {printable(message)}", err=exit_code != 0)


def _preview(hub: Hub, wish: Wish, *, as_json: bool) -> Preview:
    preview = hub.preview(wish)
    if as_json:
        return preview
    size = sum(entry.size for entry in preview.fetch)
    current = "is live here" if preview.generation == preview.live else f"here: {preview.live[:12] or 'none'}"
    click.echo(f"{wish.archive}: upstream's generation {preview.generation[:12] or 'unknown'}, {current}")
    print_table(
        ["would", "names", "bytes"],
        [
            ["fetch", len(preview.fetch), size],
            ["publish", len(preview.publish), ""],
            ["delete", len(preview.delete.paths), ""],
            ["keep for grace", preview.delete.kept, ""],
            ["withhold from deletion", preview.delete.withheld, preview.delete.reason],
        ],
    )
    for title, names in (
        ("fetch", [entry.path for entry in preview.fetch]),
        ("delete", preview.delete.paths),
    ):
        for name in names[:_SHOWN]:
            click.echo(f"{title} {printable(name)}")
        if len(names) > _SHOWN:
            click.echo(f"{title} … {len(names) - _SHOWN} more; all of them with --json")
    return preview


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


def _log_to_stderr(*, verbose: bool) -> None:
    """Warnings always; every step with --verbose. The full log of a run is `pushmirror log`."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.INFO if verbose else logging.WARNING)
    if not verbose:  # how the run ended is told once, when it has
        handler.addFilter(lambda record: record.levelno < logging.ERROR)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s" if verbose else "%(message)s"))
    logger = logging.getLogger("pushmirror")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
