"""ftpsync.conf as our model: every variable of ftpsync.conf(5), with the defaults of the script.

Guaranteed: what the script refuses is refused with its exit code, and a wrong value is an error that names
variable, file, what was expected and what was found. RSYNC_PATH=module/directory without a slash at the end,
which makes the script fill TO/directory, is refused (archvsync.md, 32). Nothing here touches the network.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from pushmirror.config.hostname import own_name
from pushmirror.config.legacy.places import Places
from pushmirror.config.legacy.rsync_options import Options
from pushmirror.config.legacy.shared_variables import Shared, number, span
from pushmirror.config.legacy.values import Ftpsync, Mail, Variables
from pushmirror.config.model import Archive, Callback, Delete, Hooks, Mirror, TlsMethod, UpdateInProgress
from pushmirror.config.upstream import Scheme, Upstream, parse_upstream
from pushmirror.errors import ConfigError, Exit

TO = "/srv/mirrors/debian/"
_NONE = "none"  # of CALLBACKHOST and CALLBACKKEY
_HOOKS = 5
_SCHEMES = {"undefined": Scheme.RSYNC, "ssh": Scheme.RSYNCD_SSH, "ssl": Scheme.RSYNCS}
_WITHOUT_DAEMON = (Scheme.RSYNC_SSH, Scheme.FILE)
_ARCHIVE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_MAX_DELETE = 40_000  # that the script itself says; who repeats it has not named a number of his own
_LONG = timedelta(days=365)  # instead of rsync's 0: no limit
#: By the key of our model that an error is about.
_VARIABLES = {
    "name": "MIRRORNAME",
    "country": "INFO_COUNTRY",
    "location": "INFO_LOCATION",
    "sponsor": "INFO_SPONSOR",
    "maintainer": "INFO_MAINTAINER",
    "throughput": "INFO_THROUGHPUT",
    "running_on": "TRACEHOST",
    "path": "TO",
    "password_file": "RSYNC_PASSWORD or --password-file",
    "timeout": "--timeout",
    "connect_timeout": "--contimeout",
    "before_sync": "HOOK1",
    "after_stage1": "HOOK2",
    "after_publish": "HOOK3",
    "before_push": "HOOK4",
    "after_push": "HOOK5",
    "upstream_name": "RSYNC_HOST",
    "proxy": "RSYNC_PROXY",
    "architectures": "ARCH_INCLUDE",
    "exclude_architectures": "ARCH_EXCLUDE",
    "bandwidth_limit": "RSYNC_BW",
    "rsync": "RSYNC",
    "rsync_options": "RSYNC_EXTRA, RSYNC_OPTIONS",
    "filter": "EXCLUDE",
    "tls_ca": "RSYNC_SSL_CAPATH",
    "tls_method": "RSYNC_SSL_METHOD",
    "host": "CALLBACKHOST",
    "user": "CALLBACKUSER",
    "key": "CALLBACKKEY",
}

_Made = TypeVar("_Made", bound=BaseModel)


def archive_name(archive: str, script: str, tree: str) -> str:
    """The name that an archive of ftpsync has with us.

    `archive` is what the command was told (`sync:archive:NAME`), `script` the name that it was called by,
    `tree` its TO; the first of them that says one decides.
    """
    told = re.sub(r"[^A-Za-z0-9._-]", "_", archive)
    behind = script.partition("ftpsync-")[2]
    last = Path(tree).name
    return next((name for name in (told, behind, last) if _ARCHIVE.fullmatch(name)), "debian")


def read_ftpsync(
    variables: Variables, *, name: str, archive: str, places: Places, password_file: Path
) -> Ftpsync:
    """All that the variables say.

    `name` is that of configuration and logs (ftpsync-security), `archive` ours of the archive, and
    `password_file` where RSYNC_PASSWORD is to be written by who acts on this. Raises ConfigError.
    """
    return _Reader(variables, name, archive, places, password_file).read()


@dataclass
class _Reader:
    """One configuration being read."""

    variables: Variables
    name: str
    archive: str
    places: Places
    password_file: Path

    def __post_init__(self) -> None:
        self.get = self.variables.get
        self.shared = Shared(self.variables, Path(self.get("HOME", "/")), self.places.here)
        self.hooks = self.shared.hooks(_HOOKS)
        self.path = self.shared.path
        self.warnings: list[str] = []
        self.options = Options()

    def read(self) -> Ftpsync:
        if self.get("ARCH_INCLUDE") and self.get("ARCH_EXCLUDE"):
            self.refuse("ARCH_EXCLUDE and ARCH_INCLUDE are mutually exclusive", "set only one of them")
        self._read_options()
        mirror = self._mirror()
        upstream = self._upstream()
        password = self._password(upstream)
        archive = self._archive(upstream, has_password=password is not None)
        self._warn()
        return Ftpsync(
            name=self.name,
            archive=archive,
            mirror=mirror,
            mail=Mail(
                self.shared.mailed(), self.get("ERRORSONLY") != "false", self.get("FULLLOGS") == "true"
            ),
            logs=self.shared.logs(self.name, self.places.logs, self._count("LOGROTATE", "14")),
            is_hub=self.get("HUB") == "true",
            hooks=self.hooks,
            password=password,
            warnings=tuple(self.warnings),
        )

    def refuse(self, what: str, hint: str | None = None, *, as_there: bool = True) -> NoReturn:
        """What the script refuses, too, ends with its exit code."""
        error = ConfigError(f"{self.variables.file or 'the environment'}: {what}", hint=hint)
        if as_there:
            error.exit_code = Exit.FAILED
        raise error

    # -- parts of the model ---------------------------------------------------------------------------

    def _mirror(self) -> Mirror:
        told = {key: " ".join(self.get(f"INFO_{key.upper()}").splitlines()) or None for key in _INFO}
        keys = {"name": self.get("MIRRORNAME") or own_name(), "running_on": self.get("TRACEHOST") or None}
        return self._made(Mirror, keys | told)

    def _archive(self, upstream: Upstream, *, has_password: bool) -> Archive:
        values = self.options.values
        keys: dict[str, Any] = {
            "name": self.archive,
            "path": Path(self.path(self.get("TO", TO))),
            "upstream": upstream,
            "upstream_name": self._upstream_name(upstream),
            "password_file": self.password_file if has_password else values.get("password-file"),
            "proxy": self._proxy(upstream),
            "architectures": _once(self.get("ARCH_INCLUDE")),
            "exclude_architectures": _once(self.get("ARCH_EXCLUDE")),
            "filter": tuple(self.options.rules),
            "protect": self._protected(),
            "bandwidth_limit": self._rate(),
            "rsync": self._rsync,
            "rsync_options": tuple(self.options.passed),
            "tls_ca": Path(self.path(self.get("RSYNC_SSL_CAPATH", "/etc/ssl/certs").splitlines()[0])),
            "tls_method": self._tls_method(),
            "delete": self._delete(),
            "update_in_progress": self._update_in_progress(),
            "hooks": self._hooks(),
            "callback": self._callback(),
        }
        for option, key in (("timeout", "timeout"), ("contimeout", "connect_timeout")):
            if option in values:
                keys[key] = timedelta(seconds=self._number(f"--{option}", values[option])) or _LONG
        return self._made(Archive, keys)

    def _read_options(self) -> None:
        """In the order of rsync's command line: the first rule that matches decides."""
        words = self.get("RSYNC").split() or ["rsync"]
        at = next((n for n, word in enumerate(words) if "rsync" in Path(word).name), 0)
        self._rsync = words[at]
        self._add(self.options, "RSYNC", words[at + 1 :])
        if at:
            in_front = " ".join(words[:at])
            self.warnings.append(f"RSYNC: {in_front} is left out; run ftpsync itself under it instead")
        for variable in ("RSYNC_EXTRA", "RSYNC_OPTIONS", "EXCLUDE", "RSYNC_OPTIONS2"):
            self._add(self.options, variable, self.get(variable).split())
        if stage1 := self.get("RSYNC_OPTIONS1"):
            self._read_stage1(stage1.split())

    def _add(self, options: Options, variable: str, words: list[str]) -> None:
        try:
            options.add(variable, words)
        except ConfigError as exc:
            self.refuse(str(exc), exc.hint, as_there=False)

    def _read_stage1(self, words: list[str]) -> None:
        """Its rules keep indices back for stage 2, which ours does by itself."""
        of_stage1 = Options()
        self._add(of_stage1, "RSYNC_OPTIONS1", words)
        self.options.passed += [word for word in of_stage1.passed if word not in self.options.passed]
        self.options.ours += of_stage1.ours
        if of_stage1.rules:
            self.warnings.append("RSYNC_OPTIONS1: its rules are left out; what has to wait for stage 2 does")

    def _protected(self) -> tuple[str, ...]:
        protected = [*self.options.protect]
        if self.get("RSYNC_OPTIONS2"):
            if not self.options.deletes:
                self.warnings.append("RSYNC_OPTIONS2 has no --delete: nothing is ever deleted from the tree")
                return ("*",)
            if not self.options.deletes_excluded:  # what it leaves out stays
                protected += [rule[2:] for rule in self.options.rules if rule.startswith("- ")]
        return tuple(protected)

    def _delete(self) -> Delete:
        told = self.options.values.get("max-delete")
        if told is None:
            return Delete()
        most = max(0, self._number("--max-delete", told, least=-1))  # as for rsync, -1 is none at all
        return Delete() if most == _MAX_DELETE else Delete(max_files=most, max_share=1.0)

    def _update_in_progress(self) -> UpdateInProgress:
        return UpdateInProgress(
            wait=self._span("UIPSLEEP", "1200"),
            retries=self._count("UIPRETRIES", "3"),
        )

    def _hooks(self) -> Hooks:
        named = ("before_sync", "after_stage1", "after_publish", "before_push", "after_push")
        words = dict(zip(named, self.hooks, strict=True))
        return self._made(Hooks, {**words, "inherit_environment": True, "time_limit": _LONG})

    def _callback(self) -> Callback | None:
        host, key = self.get("CALLBACKHOST", _NONE), self.get("CALLBACKKEY", _NONE)
        if _NONE in {host, key}:
            return None
        keys = {"host": host, "user": self.get("CALLBACKUSER", "archvsync"), "key": self.path(key)}
        return self._made(Callback, keys)

    # -- upstream -------------------------------------------------------------------------------------

    def _upstream(self) -> Upstream:
        transport = self._transport()
        if source := self.get("RSYNC_SOURCE"):
            return self._from_source(source, transport)
        host = self.get("RSYNC_HOST")
        if not host:
            self.refuse("RSYNC_HOST is missing, expected the host to mirror from")
        user, path = self.get("RSYNC_USER"), self.get("RSYNC_PATH", "debian")
        return self._address(_SCHEMES[transport], user, host, path, "RSYNC_HOST, RSYNC_PATH, RSYNC_USER")

    def _transport(self) -> str:
        default = "ssl" if self.get("RSYNC_SSL") == "true" else "undefined"
        told = self.get("RSYNC_TRANSPORT", default)
        if told not in _SCHEMES:
            self.refuse(f"RSYNC_TRANSPORT: expected ssh, ssl or nothing, found {told!r}")
        shell = self.options.values.get("rsh", "")
        if shell and told == "undefined":
            return self._by_shell(shell)
        return told

    def _by_shell(self, shell: str) -> str:
        """The transport that -e means."""
        kind = {"ssh": "ssh", "rsync-ssl-tunnel": "ssl"}.get(Path(shell).name)
        if kind is None:
            self.options.passed.append(f"--rsh={shell}")
        return kind or "undefined"

    def _from_source(self, source: str, transport: str) -> Upstream:
        scheme = _SCHEMES[transport]
        if source.startswith("rsync://"):
            authority, _, path = source.removeprefix("rsync://").partition("/")
            user, _, host = authority.rpartition("@")
        elif "::" in source:
            authority, _, path = source.partition("::") if source[:1] != "[" else _bracketed(source, "::")
            user, _, host = authority.rpartition("@")
        elif "/" in source.partition(":")[0] or ":" not in source:  # as rsync tells a path from a host
            user, host, path, scheme = "", "", self.path(source), Scheme.FILE
        else:
            authority, _, path = source.partition(":")
            user, _, host = authority.rpartition("@")
            scheme = Scheme.RSYNC_SSH
        return self._address(scheme, user, host, path, "RSYNC_SOURCE")

    def _address(self, scheme: Scheme, user: str, host: str, path: str, said_by: str) -> Upstream:
        self._require_slash(scheme, path, said_by)
        path = path.removesuffix("/.")
        if not user and self.get("RSYNC_PASSWORD") and scheme not in _WITHOUT_DAEMON:
            user = self.get("USER") or self.get("LOGNAME") or "nobody"  # as rsync itself
        port = self._port(scheme, host)
        url = f"{scheme}://{f'{user}@' if user else ''}{host}{f':{port}' if port else ''}/{path.lstrip('/')}"
        try:
            return parse_upstream(url)
        except ValueError as exc:
            self.refuse(f"{said_by}: {exc}")

    def _require_slash(self, scheme: Scheme, path: str, said_by: str) -> None:
        """rsync would make a directory of that name in TO (archvsync.md, 32)."""
        is_module = scheme not in _WITHOUT_DAEMON and "/" not in path.strip("/")
        if is_module or path.endswith(("/", "/.")):
            return
        variable = "RSYNC_PATH" if "RSYNC_PATH" in said_by else said_by
        self.refuse(
            f"{variable}: expected a slash at the end, found {path!r}",
            f"write {path}/ to fill TO itself; without it rsync fills TO/{Path(path).name}",
            as_there=False,
        )

    def _port(self, scheme: Scheme, host: str) -> int | None:
        if re.search(r":\d+$", host) and not host.startswith("["):
            return None  # the address has it
        if scheme is Scheme.RSYNCS:
            return self._count("RSYNC_SSL_PORT", "1873")
        port = self.options.values.get("port")
        return self._number("--port", port) if port and scheme is Scheme.RSYNC else None

    def _upstream_name(self, upstream: Upstream) -> str | None:
        """What the trace names: RSYNC_HOST, whatever RSYNC_SOURCE says."""
        told = self.get("RSYNC_HOST", "unknown")
        return None if told.strip("[]") == upstream.host else told

    def _proxy(self, upstream: Upstream) -> str | None:
        proxy = self.get("RSYNC_PROXY")
        if proxy and upstream.scheme is not Scheme.RSYNC:
            self.warnings.append("RSYNC_PROXY has no effect with RSYNC_TRANSPORT, for rsync does not connect")
            return None
        return proxy or None

    def _password(self, upstream: Upstream) -> str | None:
        password = self.get("RSYNC_PASSWORD") or None
        return None if upstream.scheme in _WITHOUT_DAEMON else password

    def _tls_method(self) -> TlsMethod:
        told = self.get("RSYNC_SSL_METHOD", TlsMethod.STUNNEL)
        known = [method.value for method in TlsMethod if method is not TlsMethod.OWN]
        if told not in known and self._transport() == "ssl":
            self.refuse(f"RSYNC_SSL_METHOD: expected {', '.join(known)}, found {told!r}")
        return TlsMethod(told) if told in known and self._transport() == "ssl" else TlsMethod.OWN

    # -- values ---------------------------------------------------------------------------------------

    def _rate(self) -> int | str:
        told = self.options.values.get("bwlimit") or self.get("RSYNC_BW", "0")
        return int(told) if told.isdecimal() else told

    def _number(self, variable: str, value: str, *, least: int = 0) -> int:
        found = number(value, least=least)
        if found is None:
            self.refuse(f"{variable}: expected a number, found {value!r}")
        return found

    def _count(self, variable: str, default: str) -> int:
        return self._number(variable, self.get(variable, default))

    def _span(self, variable: str, default: str) -> timedelta:
        value = self.get(variable, default)
        found = span(value)
        if found is None:
            self.refuse(f"{variable}: expected seconds, found {value!r}")
        return found

    def _made(self, kind: type[_Made], keys: Mapping[str, Any]) -> _Made:
        """A part of the model; its errors as those of the variables they come from."""
        try:
            return kind(**keys)
        except ValidationError as exc:
            self.refuse("; ".join(_told(error, kind) for error in exc.errors(include_url=False)))

    def _warn(self) -> None:
        if self.options.ours:
            left_out = " ".join(dict.fromkeys(self.options.ours))
            self.warnings.append(f"options of rsync that pushmirror decides itself: {left_out}")
        if self.get("LOCKTIMEOUT"):
            self.warnings.append("LOCKTIMEOUT has no counterpart: locks are the kernel's and never stale")
        if "send_mail_new_version" in self.variables.functions:
            self.warnings.append("the function send_mail_new_version is not called")
        self.warnings += self.shared.warnings(_HOOKS)


_INFO = ("country", "location", "sponsor", "maintainer", "throughput")


def _told(error: Any, kind: type[BaseModel]) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    if not error["loc"]:  # of a whole section: it begins with the key, unless it is about the name
        key, colon, rest = message.partition(": ") if kind is not Mirror else ("name", ": ", message)
        return f"{_VARIABLES[key]}: {rest}" if colon and key in _VARIABLES else message
    key = str(error["loc"][0])
    found = f", found {error['input']!r}" if key in _VARIABLES and key != "proxy" else ""
    return f"{_VARIABLES.get(key, key)}: {message}{found}"


def _once(words: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words.split()))


def _bracketed(source: str, separator: str) -> tuple[str, str, str]:
    host, bracket, rest = source.partition("]")
    _, found, path = rest.partition(separator)
    return host + bracket, found, path
