"""The certificate that sites see through TLS: whether it can be used with its key, and how long it counts.

Python's own TLS looks at it, as a server and as its client in one handshake in memory: openssl(1) need not be
installed. Not the business of this module: whether a site trusts it, which is up to the site's authorities.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pushmirror.access.rsyncd_conf import DaemonFacts, DaemonPaths, listening
from pushmirror.config.model import Serve
from pushmirror.errors import ConfigError

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME: an expired one is looked at, too
_ROUNDS = 10  # of a handshake; TLS 1.3 takes three

Stamp = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Certificate:
    """How long it counts."""

    begins: datetime
    expires: datetime


def read(serve: Serve) -> Certificate | None:
    """The certificate; none when there is none to be shown. ConfigError when it or its key cannot be used."""
    if not (serve.certificate and serve.certificate_key):
        return None
    text = _text("serve.certificate", serve.certificate)
    _text("serve.certificate_key", serve.certificate_key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        own = ssl.PEM_cert_to_DER_cert(_first(text))
        server.load_cert_chain(serve.certificate, serve.certificate_key, password=lambda: b"")
        return _seen(server, own)
    except ssl.SSLCertVerificationError as exc:
        raise ConfigError(_unusable(serve, f"it does not verify: {exc.verify_message}")) from exc
    except ssl.SSLError as exc:
        if exc.reason == "KEY_VALUES_MISMATCH":
            why = "the key does not belong to the certificate"
        else:
            why = "expected PEM, and a key without a passphrase"
        raise ConfigError(_unusable(serve, why)) from exc
    except ValueError as exc:
        raise ConfigError(_unusable(serve, "expected a certificate in PEM")) from exc


def stamp(serve: Serve, *further: Path) -> Stamp:
    """What tells one state of the files from another, also where a link leads to others now."""
    return tuple(_facts(file) for file in (serve.certificate, serve.certificate_key, *further) if file)


def _facts(file: Path) -> tuple[int, ...]:
    try:
        status = file.stat()
    except OSError as exc:
        return (exc.errno or 0,)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _text(key: str, file: Path) -> str:
    try:
        return file.read_text("ascii", "replace")
    except OSError as exc:
        raise ConfigError(
            f"{key}: {file} cannot be read: {exc.strerror}", hint="let the user who runs the mirror read it"
        ) from exc


def _first(text: str) -> str:
    """The site's own certificate, which a chain begins with."""
    begin = text.index(_BEGIN)
    return text[begin : text.index(_END, begin) + len(_END)]


def _seen(server: ssl.SSLContext, own: bytes) -> Certificate:
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(cadata=own)
    client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(back, there), server.wrap_bio(there, back, server_side=True)]
    for _ in range(_ROUNDS):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    shown = ends[0].getpeercert()
    if not shown:
        raise ValueError("the TLS handshake did not finish")
    return Certificate(_time(shown["notBefore"]), _time(shown["notAfter"]))


def _time(text: object) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(text)), UTC)


def _unusable(serve: Serve, why: str) -> str:
    return f"serve: {serve.certificate} with the key {serve.certificate_key} cannot be used: {why}"


# The text of stunnel's configuration: TLS in front of the rsync daemon. Pure.
#
# stunnel starts an rsync for each connection itself, as inetd would, and tells it the client's address. A
# daemon that it connected to would see 127.0.0.1 for every client: `hosts allow` would refuse everybody or,
# with that address in it, let everybody in, and the log could not tell who was there. `max connections` holds
# for both, by the modules' lock files. Where the daemon is root's, stunnel is too.
#
# A HUP makes stunnel read this file, the certificate and the key again; connections that are open go on, and
# when one of the three cannot be used, everything stays as it was.


_HEAD = "; Written by pushmirror and overwritten with every change: edit [serve] in pushmirror.toml instead."


def render(serve: Serve, places: DaemonPaths, facts: DaemonFacts, rsync: str) -> str:
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
    """One for each family: a socket for both would tell rsync IPv4 clients as ::ffff:192.0.2.1."""
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
