"""What a dry run of a sync found, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from pushmirror.cli.output import print_table, printable

if TYPE_CHECKING:
    from pushmirror.sync.engine import Preview

_SHORT = 12  # digits of a generation that people compare
_SHOWN = 20  # names of a list that are printed without --json


def foretell(archive: str, preview: Preview, *, way_out: str = "--allow-mass-delete") -> None:
    """Print what a dry run found, without what is not there; `way_out` lifts the guard of deletions."""
    click.echo(f"{archive}: upstream has {_named(preview.generation)}, {_here(preview)}")
    if preview.strategy:
        click.echo(printable(f"by {preview.strategy}: {preview.why}"))
    doomed, size = preview.delete, sum(entry.size for entry in preview.fetch)
    too_many = f"too many to delete without {way_out}: {doomed.reason}"
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
    for directory, reason in sorted(preview.held.items()):
        click.echo(printable(f"held back {directory}: {reason}"))
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
