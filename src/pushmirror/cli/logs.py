"""Where what is logged goes while a command runs."""

from __future__ import annotations

import logging
import sys

from pushmirror.cli.output import printable


class _Stderr(logging.Handler):
    """Prints to what stderr is at that moment: where a line is drawn, that puts the record above it."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(f"{printable(self.format(record))}\n")  # click.echo would go round the drawn line


def log_to_stderr(*, verbose: bool) -> None:
    """Warnings always; every step with --verbose. The full log of a run is `pushmirror log`."""
    handler = _Stderr()
    handler.setLevel(logging.INFO if verbose else logging.WARNING)
    if not verbose:  # how the run ended is told once, when it has
        handler.addFilter(lambda record: record.levelno < logging.ERROR)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s" if verbose else "%(message)s"))
    logger = logging.getLogger("pushmirror")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
