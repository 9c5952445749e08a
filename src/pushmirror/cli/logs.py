"""Where what is logged goes while a command runs, and how much is said at all."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress

import click

from pushmirror.cli.output import printable

quiet_option = click.option(
    "-q", "--quiet", is_flag=True, help="Say nothing if all went well; for cron, which mails what is said."
)


def require_one_way(*, quiet: bool, verbose: bool, as_json: bool) -> None:
    """Refuse to be quiet and to say much."""
    if quiet and (verbose or as_json):
        raise click.UsageError(f"--quiet and {'--verbose' if verbose else '--json'} do not go together")


class _Stderr(logging.Handler):
    """Prints to what stderr is at that moment: where a line is drawn, that puts the record above it."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):  # it may be a file on a full disk: that costs the line, not the run
            sys.stderr.write(
                f"{printable(self.format(record))}\n"
            )  # click.echo would go round the drawn line


class _Timed(logging.Formatter):
    """The time, and the level where it is one to look up at."""

    def format(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname.lower()}: " if record.levelno > logging.INFO else ""
        return f"{self.formatTime(record)} {level}{super().format(record)}"


def log_to_stderr(*, verbose: bool, quiet: bool = False) -> None:
    """Warnings, unless it is to be quiet; every step with --verbose. The log of a run is `pushmirror log`."""
    if quiet:
        logging.getLogger("pushmirror").addHandler(logging.NullHandler())
        return
    handler = _Stderr()
    handler.setLevel(logging.INFO if verbose else logging.WARNING)
    if not verbose:  # how the run ended is told once, when it has
        handler.addFilter(lambda record: record.levelno < logging.ERROR)
    handler.setFormatter(_Timed() if verbose else logging.Formatter("%(message)s"))
    logger = logging.getLogger("pushmirror")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
