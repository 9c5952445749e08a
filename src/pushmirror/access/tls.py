"""TLS in front of the rsync daemon: the certificate's validity, and stunnel's configuration file.

stunnel starts an rsync for each connection itself, as inetd does, and passes on the client's address. A
daemon that it connected to would see 127.0.0.1 for every client: `hosts allow` would refuse everybody or,
with that address in it, admit everybody, and the log could not name the client. `max connections` holds for
both, because the modules' lock files do. If the daemon runs as root, stunnel does, too. At a HUP stunnel
reads its configuration, certificate and key again: open connections continue, and if one of the three cannot
be used, nothing changes.

Not the business of this module: whether sites trust the certificate.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pushmirror.access.rsyncd_conf import DaemonFacts, DaemonPaths, listening
from pushmirror.config.model import Serve
from pushmirror.errors import ConfigError

_HEAD = "; Written by pushmirror and overwritten with every change: edit [serve] in pushmirror.toml instead."

Stamp = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Certificate:
    """Its validity."""

    begins: datetime
    expires: datetime


def read_certificate(serve: Serve) -> Certificate | None:
    """The configured certificate, None if there is none. ConfigError if TLS cannot use it or its key."""
    if not (serve.certificate and serve.certificate_key):
        return None
    from cryptography import x509  # here: only a hub with a certificate needs it

    text = _content("serve.certificate", serve.certificate)
    _content("serve.certificate_key", serve.certificate_key)
    try:
        own, *_ = x509.load_pem_x509_certificates(text)
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            serve.certificate, serve.certificate_key, password=lambda: b""
        )
    except ssl.SSLError as exc:
        if exc.reason == "KEY_VALUES_MISMATCH":
            problem = "the key does not belong to the certificate"
        else:
            problem = "expected PEM, and a key without a passphrase"
        raise ConfigError(_unusable(serve, problem)) from exc
    except ValueError as exc:
        raise ConfigError(_unusable(serve, "expected a certificate in PEM")) from exc
    return Certificate(own.not_valid_before_utc, own.not_valid_after_utc)


def stamp(serve: Serve, *further: Path) -> Stamp:
    """A value that changes when one of the files does, also when a link gets another target."""
    return tuple(_facts(file) for file in (serve.certificate, serve.certificate_key, *further) if file)


def _facts(file: Path) -> tuple[int, ...]:
    try:
        status = file.stat()
    except OSError as exc:
        return (exc.errno or 0,)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _content(key: str, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as exc:
        raise ConfigError(
            f"{key}: {file} cannot be read: {exc.strerror}", hint="let the user who runs the mirror read it"
        ) from exc


def _unusable(serve: Serve, why: str) -> str:
    return f"serve: {serve.certificate} with the key {serve.certificate_key} cannot be used: {why}"


def stunnel_conf(serve: Serve, places: DaemonPaths, facts: DaemonFacts, rsync: str) -> str:
    """The file's text; `rsync` is the program's full path. Raises ConfigError."""
    lines = [_HEAD, "foreground = yes", "pid =", "syslog = no", "debug = notice"]
    lines += [f"output = {_value('state.directory', places.tls_log)}"]
    lines += [f"cert = {_value('serve.certificate', serve.certificate)}"]
    lines += [f"key = {_value('serve.certificate_key', serve.certificate_key)}"]
    lines += ["sslVersionMin = TLSv1.2", "options = NO_RENEGOTIATION"]
    for name, accept, further in _services(serve, facts):
        lines += ["", f"[{name}]", f"accept = {accept}", *further, f"exec = {rsync}"]
        lines += [f"execArgs = rsync --server --daemon --config={_word(places.conf)} ."]
    return "\n".join([*lines, ""])


def _services(serve: Serve, facts: DaemonFacts) -> Iterator[tuple[str, str, list[str]]]:
    """Services for IPv4 and IPv6: with one socket rsync sees IPv4 clients as ::ffff:192.0.2.1."""
    host, port = listening(serve.rsync_tls)
    if host:
        yield "rsync", f"{host}:{port}", []
        return
    yield "rsync", f"0.0.0.0:{port}", []
    if facts.ipv6:
        yield "rsync6", f":::{port}", ["socket = a:IPV6_V6ONLY=yes"]


def _value(key: str, path: Path | None) -> str:
    text = str(path)
    if text != text.strip():
        raise ConfigError(f'{key}: found "{text}": stunnel drops the trailing space')
    return text


def _word(path: Path) -> str:
    if len(str(path).split()) > 1:
        raise ConfigError(
            f'state.directory: found a space in "{path}", which stunnel reads as two words',
            hint="choose another state directory, or remove the certificate",
        )
    return str(path)
