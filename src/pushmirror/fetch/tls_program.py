"""`python -m pushmirror.fetch.tls_program`: a remote shell for rsync that becomes stunnel or socat.

For an operator who wants TLS by one of these (`tls_method`); rsync starts it as it starts `fetch/tls.py`, and
`archvsync_commands/rsync_ssl_tunnel.py` is the same under its old name. What the two programs are given is
rendered here, purely. Guaranteed: the certificate has to be one of the authorities'; its name is looked at by
stunnel and socat, but not by `stunnel-old`, which is there for hubs whose certificate has another.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import NoReturn

from pushmirror.config.model import TlsMethod
from pushmirror.errors import PushmirrorError, UsageError

_FAILED = 5  # rsync's "error starting client-server protocol"
_HOST = re.compile(r"[A-Za-z0-9:][A-Za-z0-9.:_-]*(%[A-Za-z0-9._-]+)?", re.ASCII)
_CONFIG_FD = 3
_KEEP_IDLE_S = 300  # before a silent connection is probed; firewalls forget some after ten minutes
_SPECIAL_TO_SOCAT = re.compile(r"([\\,:!\"'({\[\]})])")


def stunnel_config(host: str, port: int, ca: Path, *, check_name: bool, timeout_s: int = 10) -> str:
    """A configuration that makes stunnel a client on its standard input and output.

    `ca` is a file or a directory of authorities; `timeout_s` bounds the connecting.
    """
    _require_usable(host, ca)
    lines = [
        "client = yes",
        "verifyChain = yes",
        f"{'CApath' if ca.is_dir() else 'CAfile'} = {ca}",
        "syslog = no",
        f"debug = {'warning' if check_name else 'err'}",  # it warns of no name each time
        "output = /dev/stderr",
        f"TIMEOUTconnect = {timeout_s}",
        "TIMEOUTclose = 0",  # else it waits a minute for a farewell that rsync's end does not send
        f"connect = {host}:{port}",
    ]
    if check_name:
        lines.append(f"{'checkIP' if _is_address(host) else 'checkHost'} = {host}")
    return "\n".join([*lines, ""])


def socat_argv(host: str, port: int, ca: Path, *, timeout_s: int = 10) -> list[str]:
    """A command line that makes socat the same client."""
    _require_usable(host, ca)
    address = f"[{host}]" if ":" in host else host
    where = "capath" if ca.is_dir() else "cafile"
    quoted = _SPECIAL_TO_SOCAT.sub(r"\\\1", str(ca))
    options = [
        f"{where}={quoted}",
        f"connect-timeout={timeout_s}",
        f"keepalive,keepidle={_KEEP_IDLE_S}",
    ]
    return ["socat", "-", f"openssl-connect:{address}:{port},{','.join(options)}"]


def become(method: TlsMethod, host: str, port: int, ca: Path, *, timeout_s: int = 10) -> NoReturn:
    """Become the program that carries our standard input and output to a server by TLS.

    Raises PushmirrorError when it cannot be started.
    """
    if method is TlsMethod.SOCAT:
        argv = socat_argv(host, port, ca, timeout_s=timeout_s)
    else:
        by_name = method is TlsMethod.STUNNEL
        _offer(stunnel_config(host, port, ca, check_name=by_name, timeout_s=timeout_s))
        argv = ["stunnel", "-fd", str(_CONFIG_FD)]
    try:
        os.execvp(argv[0], argv)  # nosec B606  # noqa: S606  no shell, on purpose
    except OSError as exc:
        raise PushmirrorError(
            f"{argv[0]} could not be started: {exc.strerror}",
            hint=f"install the Debian package {'socat' if method is TlsMethod.SOCAT else 'stunnel4'}",
        ) from exc


def _offer(config: str) -> None:
    """A file descriptor from which stunnel can read the text: nothing is left on a disk."""
    reading, writing = os.pipe()
    os.write(writing, config.encode())  # far less than a pipe holds
    os.close(writing)
    if reading == _CONFIG_FD:
        os.set_inheritable(reading, True)
    else:
        os.dup2(reading, _CONFIG_FD)


def _require_usable(host: str, ca: Path) -> None:
    """Nothing that either program would take for more than a host or a path."""
    if not _HOST.fullmatch(host):
        raise UsageError(f"expected a host name or address, found {host!r}")
    if not str(ca).isprintable():
        raise UsageError(f"expected a path without control characters, found {str(ca)!r}")


def _is_address(host: str) -> bool:
    try:
        found = ip_address(host)
    except ValueError:
        return False
    return not (isinstance(found, IPv6Address) and found.scope_id)


def main() -> int:
    """Hand over, with rsync's own exit code for a connection that could not be made."""
    parser = argparse.ArgumentParser(prog="pushmirror.fetch.tls_program")
    parser.add_argument("--method", type=TlsMethod, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ca", type=Path, required=True)
    parser.add_argument("--timeout", type=int, required=True)
    parser.add_argument("-l", dest="user")  # rsync adds it; the login is the daemon's business
    parser.add_argument("host")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    try:
        become(given.method, given.host, given.port, given.ca, timeout_s=given.timeout)
    except PushmirrorError as exc:
        sys.stderr.write(f"TLS by {given.method}: {exc}\n")
        return _FAILED


if __name__ == "__main__":
    sys.exit(main())
