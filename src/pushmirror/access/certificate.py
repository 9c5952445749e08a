"""The certificate that sites see through TLS: whether it can be used with its key, and how long it counts.

Python's own TLS looks at it, as a server and as its client in one handshake in memory: openssl(1) need not be
installed. Not the business of this module: whether a site trusts it, which is up to the site's authorities.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

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
        raise ConfigError(_unusable(serve, f"it cannot show who we are: {exc.verify_message}")) from exc
    except ssl.SSLError as exc:
        if exc.reason == "KEY_VALUES_MISMATCH":
            why = "they do not belong together"
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
        raise ValueError("the handshake did not end")
    return Certificate(_time(shown["notBefore"]), _time(shown["notAfter"]))


def _time(text: object) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(text)), UTC)


def _unusable(serve: Serve, why: str) -> str:
    return f"serve: {serve.certificate} with the key {serve.certificate_key} cannot be used: {why}"
