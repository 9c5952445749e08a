"""Find out which options an upstream refuses that does not say so: ask with each option alone, for no file.

A daemon of rsync 3.1.0 to 3.1.3 writes a refusal into its own log and closes the connection: the answer never
leaves its buffer (options.c, option_error; 3.0 and 3.2 send it). To tell that from a broken connection, the
first probe uses only the options that are always needed. All probes together have `timeout`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pushmirror.config.model import Archive
from pushmirror.errors import ConnectionFailed, TookTooLong, key_name
from pushmirror.fetch import rsync_command
from pushmirror.fetch.refusals import Refusals
from pushmirror.system import process

_LEAST_S = 0.01  # what is left of the time, however late it is


def refusals_of(archive: Archive, file: Path | None = None) -> Refusals:
    """The options that the archive's upstream refuses, remembered in a file if one is given."""
    is_daemon = archive.upstream is not None and bool(archive.upstream.module)
    probe = partial(refused_silently, archive) if is_daemon else None
    return Refusals(str(archive.upstream), file, archive.full_every, probe)


def refused_silently(archive: Archive) -> list[str]:
    """The options, by their long names, each of which ends the connection; empty if every probe fails."""
    until = time.monotonic() + archive.timeout.total_seconds()
    if not _works(archive, [], until):
        return []
    return [name for name, words in _optional(archive) if not _works(archive, words, until)]


def _optional(archive: Archive) -> Iterator[tuple[str, list[str]]]:
    """Options that runs use but can do without."""
    for option in rsync_command.all_options(archive):
        for name, word in rsync_command.named(option):
            yield name, [word]
    yield "files-from", ["--files-from=-"]


def _works(archive: Archive, words: list[str], until: float) -> bool:
    with tempfile.TemporaryDirectory(prefix="pushmirror-") as empty:
        argv = rsync_command.least_argv(archive, words, Path(empty))
        left_s = max(until - time.monotonic(), _LEAST_S)
        try:
            result = process.run(argv, env=rsync_command.environment(archive), timeout_s=left_s)
        except TookTooLong as exc:
            raise ConnectionFailed(
                f"upstream did not answer within {archive.timeout.total_seconds():g} s",
                hint=f"check the network, or raise {key_name('timeout')}",
            ) from exc
    return result.exit_code == 0 or rsync_command.is_partial(result.exit_code)
