"""Translate an ftpsync.conf to our model: every variable of ftpsync.conf(5), with the script's defaults.

Guaranteed: what the script refuses is refused with its exit code; a wrong value is an error that names
variable, file, what was expected and what was found. The network is not used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from pushmirror.archvsync_config.checked import Checked, number
from pushmirror.archvsync_config.ftpsync_upstream import UpstreamReader
from pushmirror.archvsync_config.places import ScriptPaths
from pushmirror.archvsync_config.rsync_options import Options
from pushmirror.archvsync_config.values import Ftpsync, Mail, Variables
from pushmirror.config.model import Archive, Callback, Delete, Hooks, Mirror, UpdateInProgress
from pushmirror.config.types import own_name
from pushmirror.errors import ConfigError

TO = "/srv/mirrors/debian/"
_NONE = "none"  # of CALLBACKHOST and CALLBACKKEY
_HOOKS = 5
_ARCHIVE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_MAX_DELETE = 40_000  # the script's own default; repeating it sets nothing
_LONG = timedelta(days=365)  # for rsync's 0, no limit


def archive_name(archive: str, script: str, tree: str) -> str:
    """Our name of an ftpsync's archive.

    From `archive` (of `sync:archive:NAME`), else from `script` (the name of the command), else from `tree`
    (TO).
    """
    value = re.sub(r"[^A-Za-z0-9._-]", "_", archive)
    behind = script.partition("ftpsync-")[2]
    last = Path(tree).name
    return next((name for name in (value, behind, last) if _ARCHIVE.fullmatch(name)), "debian")


def read_ftpsync(
    variables: Variables, *, name: str, archive: str, places: ScriptPaths, password_file: Path
) -> Ftpsync:
    """The settings of a file's variables.

    `name` is that of configuration and logs (ftpsync-security), `archive` our name of the archive, and
    `password_file` where the caller writes RSYNC_PASSWORD. Raises ConfigError.
    """
    return _Reader(variables, name, archive, places, password_file).read()


@dataclass
class _Reader:
    """Reads one configuration."""

    variables: Variables
    name: str
    archive: str
    places: ScriptPaths
    password_file: Path

    def __post_init__(self) -> None:
        self.checked = Checked(self.variables, self.places)
        self.get, self.path = self.checked.get, self.checked.path
        self.shared = self.checked.shared
        self.hooks = self.shared.hooks(_HOOKS)
        self.warnings: list[str] = []
        self.options = Options()

    def read(self) -> Ftpsync:
        if self.get("ARCH_INCLUDE") and self.get("ARCH_EXCLUDE"):
            self.checked.refuse(
                "ARCH_EXCLUDE and ARCH_INCLUDE are mutually exclusive", "set only one of them"
            )
        self._read_options()
        mirror = self._mirror()
        upstream = UpstreamReader(self.checked, self.options)
        archive = self._archive(upstream)
        self.warnings += upstream.warnings
        self._warn()
        return Ftpsync(
            name=self.name,
            archive=archive,
            mirror=mirror,
            mail=Mail(
                self.shared.mailed(), self.get("ERRORSONLY") != "false", self.get("FULLLOGS") == "true"
            ),
            logs=self.shared.logs(self.name, self.places.logs, self.checked.count("LOGROTATE", "14")),
            is_hub=self.get("HUB") == "true",
            hooks=self.hooks,
            password=upstream.password,
            warnings=tuple(self.warnings),
        )

    def _mirror(self) -> Mirror:
        value = {key: " ".join(self.get(f"INFO_{key.upper()}").splitlines()) or None for key in _INFO}
        keys = {"name": self.get("MIRRORNAME") or own_name(), "running_on": self.get("TRACEHOST") or None}
        return self.checked.made(Mirror, keys | value)

    def _archive(self, read: UpstreamReader) -> Archive:
        values = self.options.values
        keys: dict[str, Any] = {
            "name": self.archive,
            "path": Path(self.path(self.get("TO", TO))),
            "upstream": read.upstream,
            "upstream_name": read.name,
            "password_file": self.password_file if read.password else values.get("password-file"),
            "proxy": read.proxy(),
            "keyring": tuple(self.path(word) for word in self.get("PUSHMIRROR_KEYRING").split()),
            "architectures": _once(self.get("ARCH_INCLUDE")),
            "exclude_architectures": _once(self.get("ARCH_EXCLUDE")),
            "filter": tuple(self.options.rules),
            "protect": self._protected(),
            "bandwidth_limit": self._rate(),
            "rsync": self._rsync,
            "rsync_options": tuple(self.options.passed),
            "tls_ca": Path(self.path(self.get("RSYNC_SSL_CAPATH", "/etc/ssl/certs").splitlines()[0])),
            "tls_method": read.tls_method,
            "delete": self._delete(),
            "update_in_progress": self._update_in_progress(),
            "hooks": self._hooks(),
            "callback": self._callback(),
        }
        for option, key in (("timeout", "timeout"), ("contimeout", "connect_timeout")):
            if option in values:
                seconds = self.checked.number(f"--{option}", values[option])
                keys[key] = min(timedelta(seconds=seconds), _LONG) or _LONG
        return self.checked.made(Archive, keys)

    def _read_options(self) -> None:
        """Filter options in the order of rsync's command line: the first matching rule decides."""
        words = self.get("RSYNC").split() or ["rsync"]
        at = next((n for n, word in enumerate(words) if "rsync" in Path(word).name), 0)
        self._rsync = words[at]
        self._add(self.options, "RSYNC", words[at + 1 :])
        if at:
            in_front = " ".join(words[:at])
            self.warnings.append(f"RSYNC: {in_front} is left out; run ftpsync itself with it instead")
        for variable in ("RSYNC_EXTRA", "RSYNC_OPTIONS", "EXCLUDE", "RSYNC_OPTIONS2"):
            self._add(self.options, variable, self.get(variable).split())
        if stage1 := self.get("RSYNC_OPTIONS1"):
            self._read_stage1(stage1.split())

    def _add(self, options: Options, variable: str, words: list[str]) -> None:
        try:
            options.add(variable, words)
        except ConfigError as exc:
            self.checked.refuse(str(exc), exc.hint, as_there=False)

    def _read_stage1(self, words: list[str]) -> None:
        """Options of stage 1, without rules that keep indices for stage 2: ours does that by itself."""
        of_stage1 = Options()
        self._add(of_stage1, "RSYNC_OPTIONS1", words)
        self.options.passed += [word for word in of_stage1.passed if word not in self.options.passed]
        self.options.ours += of_stage1.ours
        if of_stage1.rules:
            self.warnings.append(
                "RSYNC_OPTIONS1: its filter rules are left out; pushmirror itself defers files to stage 2"
            )

    def _protected(self) -> tuple[str, ...]:
        protected = [*self.options.protect]
        if self.get("RSYNC_OPTIONS2"):
            if not self.options.deletes:
                self.warnings.append("RSYNC_OPTIONS2 has no --delete: nothing is ever deleted from the tree")
                return ("*",)
            if not self.options.deletes_excluded:  # excluded names stay
                protected += [rule[2:] for rule in self.options.rules if rule.startswith("- ")]
        return tuple(protected)

    def _delete(self) -> Delete:
        value = self.options.values.get("max-delete")
        if value is None:
            return Delete()
        most = max(0, self.checked.number("--max-delete", value, least=-1))  # as for rsync, -1 means none
        return Delete() if most == _MAX_DELETE else Delete(max_files=most, max_share=1.0)

    def _update_in_progress(self) -> UpdateInProgress:
        return UpdateInProgress(
            wait=self.checked.span("UIPSLEEP", "1200"),
            retries=self.checked.count("UIPRETRIES", "3"),
        )

    def _hooks(self) -> Hooks:
        named = ("before_sync", "after_stage1", "after_publish", "before_push", "after_push")
        words = dict(zip(named, self.hooks, strict=True))
        return self.checked.made(Hooks, {**words, "inherit_environment": True, "time_limit": _LONG})

    def _callback(self) -> Callback | None:
        host, key = self.get("CALLBACKHOST", _NONE), self.get("CALLBACKKEY", _NONE)
        if _NONE in {host, key}:
            return None
        keys = {"host": host, "user": self.get("CALLBACKUSER", "archvsync"), "key": self.path(key)}
        return self.checked.made(Callback, keys)

    def _rate(self) -> int | str:
        value = self.options.values.get("bwlimit") or self.get("RSYNC_BW", "0")
        found = number(value)
        return value if found is None else found

    def _warn(self) -> None:
        if self.options.ours:
            left_out = " ".join(dict.fromkeys(self.options.ours))
            self.warnings.append(f"rsync options that pushmirror chooses itself: {left_out}")
        if self.get("LOCKTIMEOUT"):
            self.warnings.append("LOCKTIMEOUT has no counterpart: kernel locks are never stale")
        if "send_mail_new_version" in self.variables.functions:
            self.warnings.append("the function send_mail_new_version is not called")
        self.warnings += self.shared.warnings(_HOOKS)


_INFO = ("country", "location", "sponsor", "maintainer", "throughput")


def _once(words: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words.split()))
