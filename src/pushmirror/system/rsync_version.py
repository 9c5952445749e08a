"""The version of an rsync program."""

from __future__ import annotations

import re

from pushmirror.errors import ProgramFailed
from pushmirror.system import process

_VERSION = re.compile(r"version v?(\d+)\.(\d+)(?:\.(\d+))?")
_LIMIT_S = 30.0


def rsync_version(program: str) -> tuple[int, int, int]:
    """The version of an rsync; raises ProgramMissing, ProgramFailed."""
    said = process.run([program, "--version"], timeout_s=_LIMIT_S).check().output
    return parse_version(said[:200].decode("utf-8", "replace"))


def parse_version(text: str) -> tuple[int, int, int]:
    """Parse the first line of `rsync --version`; raises ProgramFailed."""
    found = _VERSION.search(text)
    if found is None:
        raise ProgramFailed(f"this is not rsync: its --version begins with {text[:60]!r}")
    return int(found[1]), int(found[2]), int(found[3] or 0)
