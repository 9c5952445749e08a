"""Translate an ftpsync.conf's upstream and transport.

Guaranteed: RSYNC_PATH=module/directory without a final slash is refused, as the script would then fill
TO/directory (archvsync.md, 32).
"""

from __future__ import annotations

import re
from pathlib import Path

from pushmirror.archvsync_config.checked import Checked
from pushmirror.archvsync_config.rsync_options import Options
from pushmirror.config.model import TlsMethod
from pushmirror.config.upstream_url import Scheme, UpstreamUrl, parse_upstream

_SCHEMES = {"undefined": Scheme.RSYNC, "ssh": Scheme.RSYNCD_SSH, "ssl": Scheme.RSYNCS}
_SHELLS = {"ssh": "ssh", "rsync-ssl-tunnel": "ssl"}  # transports that need -e
_WITHOUT_DAEMON = (Scheme.RSYNC_SSH, Scheme.FILE)


class UpstreamReader:
    """Reads the upstream of one file, after its rsync options, which may change it."""

    def __init__(self, checked: Checked, options: Options) -> None:
        self._checked = checked
        self._get = checked.get
        self._options = options
        self.warnings: list[str] = []
        self._transport = self._named_transport()
        self.upstream = self._upstream()

    def _upstream(self) -> UpstreamUrl:
        if source := self._get("RSYNC_SOURCE"):
            return self._from_source(source)
        host = self._get("RSYNC_HOST")
        if not host:
            self._checked.refuse("RSYNC_HOST is missing, expected the host to mirror from")
        user, path = self._get("RSYNC_USER"), self._get("RSYNC_PATH", "debian")
        return self._address(
            _SCHEMES[self._transport], user, host, path, "RSYNC_HOST, RSYNC_PATH, RSYNC_USER"
        )

    def _named_transport(self) -> str:
        default = "ssl" if self._get("RSYNC_SSL") == "true" else "undefined"
        value = self._get("RSYNC_TRANSPORT", default)
        if value not in _SCHEMES:
            self._checked.refuse(f"RSYNC_TRANSPORT: expected ssh, ssl or nothing, found {value!r}")
        shell = self._options.values.get("rsh", "")
        if not shell or value != "undefined":
            return value
        if Path(shell).name not in _SHELLS:
            self._options.passed.append(f"--rsh={shell}")
        return _SHELLS.get(Path(shell).name, value)

    def _from_source(self, source: str) -> UpstreamUrl:
        scheme = _SCHEMES[self._transport]
        if source.startswith("rsync://"):
            authority, _, path = source.removeprefix("rsync://").partition("/")
            user, _, host = authority.rpartition("@")
        elif "::" in source:
            authority, _, path = source.partition("::") if source[:1] != "[" else _bracketed(source, "::")
            user, _, host = authority.rpartition("@")
        elif (
            "/" in source.partition(":")[0] or ":" not in source
        ):  # as rsync distinguishes a path from a host
            user, host, path, scheme = "", "", self._checked.path(source), Scheme.FILE
        else:
            authority, _, path = source.partition(":")
            user, _, host = authority.rpartition("@")
            scheme = Scheme.RSYNC_SSH
        return self._address(scheme, user, host, path, "RSYNC_SOURCE")

    def _address(self, scheme: Scheme, user: str, host: str, path: str, said_by: str) -> UpstreamUrl:
        self._require_slash(scheme, path, said_by)
        path = path.removesuffix("/.")
        if not user and self._get("RSYNC_PASSWORD") and scheme not in _WITHOUT_DAEMON:
            user = self._get("USER") or self._get("LOGNAME") or "nobody"  # as rsync does
        port = self._port(scheme, host)
        url = f"{scheme}://{f'{user}@' if user else ''}{host}{f':{port}' if port else ''}/{path.lstrip('/')}"
        try:
            return parse_upstream(url)
        except ValueError as exc:
            self._checked.refuse(f"{said_by}: {exc}")

    def _require_slash(self, scheme: Scheme, path: str, said_by: str) -> None:
        """Refuse a path without a final slash (archvsync.md, 32)."""
        is_module = scheme not in _WITHOUT_DAEMON and "/" not in path.strip("/")
        if is_module or path.endswith(("/", "/.")):
            return
        variable = "RSYNC_PATH" if "RSYNC_PATH" in said_by else said_by
        self._checked.refuse(
            f"{variable}: expected a slash at the end, found {path!r}",
            f"write {path}/ to fill TO itself; without it rsync fills TO/{Path(path).name}",
            as_there=False,
        )

    def _port(self, scheme: Scheme, host: str) -> int | None:
        if re.search(r":\d+$", host) and not host.startswith("["):
            return None  # it is in the address
        if scheme is Scheme.RSYNCS:
            return self._checked.count("RSYNC_SSL_PORT", "1873")
        port = self._options.values.get("port")
        return self._checked.number("--port", port) if port and scheme is Scheme.RSYNC else None

    @property
    def name(self) -> str | None:
        """The upstream's name in the trace: RSYNC_HOST, also if RSYNC_SOURCE differs."""
        value = self._get("RSYNC_HOST", "unknown")
        return None if value.strip("[]") == self.upstream.host else value

    def proxy(self) -> str | None:
        """The web proxy, if there is one."""
        proxy = self._get("RSYNC_PROXY")
        if proxy and self.upstream.scheme is not Scheme.RSYNC:
            self.warnings.append("RSYNC_PROXY has no effect with RSYNC_TRANSPORT")
            return None
        return proxy or None

    @property
    def password(self) -> str | None:
        """RSYNC_PASSWORD, if the upstream asks for one."""
        password = self._get("RSYNC_PASSWORD") or None
        return None if self.upstream.scheme in _WITHOUT_DAEMON else password

    @property
    def tls_method(self) -> TlsMethod:
        """The program for rsync over TLS."""
        if self._transport != "ssl":
            return TlsMethod.OWN
        value = self._get("RSYNC_SSL_METHOD", TlsMethod.STUNNEL)
        known = [method.value for method in TlsMethod if method is not TlsMethod.OWN]
        if value not in known:
            self._checked.refuse(f"RSYNC_SSL_METHOD: expected {', '.join(known)}, found {value!r}")
        return TlsMethod(value)


def _bracketed(source: str, separator: str) -> tuple[str, str, str]:
    host, bracket, rest = source.partition("]")
    _, found, path = rest.partition(separator)
    return host + bracket, found, path
