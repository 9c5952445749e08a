"""The text of stunnel's configuration: TLS in front of the rsync daemon. Pure.

stunnel starts an rsync for each connection itself, as inetd would, and tells it the client's address. A
daemon that it connected to would see 127.0.0.1 for every client: `hosts allow` would refuse everybody or,
with that address in it, let everybody in, and the log could not tell who was there. `max connections` holds
for both, by the modules' lock files. Where the daemon is root's, stunnel is too.

A HUP makes stunnel read this file, the certificate and the key again; connections that are open go on, and
when one of the three cannot be used, everything stays as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pushmirror.access.rsyncd import Facts, Places, listening
from pushmirror.config.model import Serve
from pushmirror.errors import ConfigError

_HEAD = "; Written by pushmirror and overwritten with every change: edit [serve] in pushmirror.toml instead."


def render(serve: Serve, places: Places, facts: Facts, rsync: str) -> str:
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


def _services(serve: Serve, facts: Facts) -> Iterator[tuple[str, str, list[str]]]:
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
        raise ConfigError(f'{key}: found "{text}", in which stunnel loses the blank at its end')
    return text


def _word(path: Path) -> str:
    if len(str(path).split()) > 1:
        raise ConfigError(
            f'state.directory: found a blank in "{path}", which stunnel takes for two words',
            hint="choose another state directory, or do without a certificate",
        )
    return str(path)
