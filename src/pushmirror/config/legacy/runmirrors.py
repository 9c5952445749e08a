"""runmirrors.conf and runmirrors.mirror as values: every variable of runmirrors.conf(5), with its default.

Guaranteed: a value that cannot be used is the default's and in the warnings, for the sites are to be woken in
any case. Not the business of this module: whether the key is there.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from pushmirror.config.legacy.mirror_lines import parse_mirror_lines
from pushmirror.config.legacy.places import Places
from pushmirror.config.legacy.preset import PUSH_KIND
from pushmirror.config.legacy.shared_variables import Shared, number
from pushmirror.config.legacy.values import Mail, Runmirrors, Variables
from pushmirror.config.model import Push

KEY = ".ssh/pushmirror"
SSH_OPTIONS = "-o StrictHostKeyChecking=no"
PUSH_DELAY = 600  # seconds
_KEPT_LOGS = 14
_HOOKS = 3
_LEAST, _MOST = timedelta(seconds=1), timedelta(days=365)  # that our deadline can be


def read_runmirrors(
    variables: Variables,
    *,
    name: str,
    archive_option: str,
    places: Places,
    mirror_text: str,
    home: Path,
) -> Runmirrors:
    """All that the variables and the text of the mirror file say.

    `name` is that of configuration and logs (runmirrors-security), `archive_option` what the command was told
    by `-a`, or as its only word.
    """
    return _Reader(variables, name, archive_option, places, home).read(mirror_text)


@dataclass
class _Reader:
    """One configuration being read."""

    variables: Variables
    name: str
    archive_option: str
    places: Places
    home: Path

    def __post_init__(self) -> None:
        self.get = self.variables.get
        self.shared = Shared(self.variables, self.home, self.home)
        self.warnings: list[str] = [*self.shared.warnings(_HOOKS)]

    def read(self, mirror_text: str) -> Runmirrors:
        key = self._key()
        archive = self.get("PUSHARCHIVE", self.archive_option)
        mirrors = parse_mirror_lines(mirror_text, key=str(key), archive=archive)
        deadline = min(timedelta(seconds=self._number("PUSHDELAY", PUSH_DELAY)), _MOST)
        return Runmirrors(
            name=self.name,
            archive=archive,
            lines=mirrors.lines,
            key=key,
            ssh_options=tuple(self.get("SSH_OPTS", SSH_OPTIONS).split()),
            callback=bool(self.get("PUSHCB")),
            push=Push(key=key, deadline=max(deadline, _LEAST)),
            mail=Mail(self.shared.mailed()),
            logs=self.shared.logs(self.name, self.places.logs, self._number("LOGROTATE", _KEPT_LOGS)),
            hooks=self.shared.hooks(_HOOKS),
            warnings=tuple(self.warnings),
            mirror_warnings=mirrors.warnings,
            ignored=mirrors.ignored,
            kind=self.get("PUSHKIND", PUSH_KIND),
        )

    def _key(self) -> Path:
        told = self.get("KEYFILE", KEY)
        if not told.isprintable():
            self.warnings.append(f"KEYFILE: expected a path without control characters; {KEY} is used")
            told = KEY
        return Path(os.path.realpath(self.home / told))

    def _number(self, variable: str, default: int) -> int:
        told = self.get(variable, str(default))
        found = number(told)
        if found is not None:
            return found
        self.warnings.append(f"{variable}: expected a number, found {told!r}; {default} is used")
        return default
