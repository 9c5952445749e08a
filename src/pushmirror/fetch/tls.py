"""`python -m pushmirror.fetch.tls`: the remote shell that rsync is given for rsyncs://.

rsync starts it as `… --port N --ca PATH [-l USER] HOST rsync --server --daemon .` and speaks the daemon
protocol through its standard input and output; this program carries the bytes over TLS. The server's
certificate and name are always checked (rsync's own rsync-ssl does so only since 3.5.0).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import ssl
import sys
from pathlib import Path

_CHUNK = 256 * 1024
_FAILED = 5  # rsync's "error starting client-server protocol"


def main() -> int:
    """Connect, carry, and end when the server does."""
    parser = argparse.ArgumentParser(prog="pushmirror.fetch.tls")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ca", type=Path, required=True)
    parser.add_argument("--timeout", type=float, required=True)
    parser.add_argument("-l", dest="user")  # rsync adds it; the login is the daemon's business
    parser.add_argument("host")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    try:
        asyncio.run(carry(arguments.host, arguments.port, ca=arguments.ca, timeout_s=arguments.timeout))
    except (OSError, TimeoutError, BrokenOff) as exc:
        is_late = isinstance(exc, TimeoutError)
        reason = str(exc) or ("it did not answer in time" if is_late else "it closed the connection")
        sys.stderr.write(f"TLS connection to {arguments.host} port {arguments.port}: {reason}\n")
        return 0 if isinstance(exc, BrokenOff) else _FAILED
    return 0


class BrokenOff(Exception):
    """A connection ended without a TLS close.

    Whether everything had arrived is for rsync to tell; it would take our exit code for its own.
    """


async def carry(host: str, port: int, *, ca: Path, timeout_s: float) -> None:
    """Move bytes between standard input and output and the server until the server closes.

    The certificate must be valid for `host` under the CA file or directory. `timeout_s` bounds the
    connecting; after that rsync's own --timeout watches. One thread: OpenSSL's lines are not for two.
    Raises OSError or TimeoutError when the connection cannot be made, BrokenOff when it ends badly.
    """
    connecting = asyncio.open_connection(host, port, ssl=_context(ca), server_hostname=host, limit=_CHUNK)
    reader, writer = await asyncio.wait_for(connecting, timeout_s)
    sending = asyncio.create_task(_send(writer))
    try:
        while data := await reader.read(_CHUNK):
            await _hand_over(data)
    except OSError as exc:
        raise BrokenOff(exc) from exc
    finally:
        sending.cancel()
        writer.close()


def _context(ca: Path) -> ssl.SSLContext:
    context = (
        ssl.create_default_context(capath=str(ca))
        if ca.is_dir()
        else ssl.create_default_context(cafile=str(ca))
    )
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


async def _send(writer: asyncio.StreamWriter) -> None:
    reader = asyncio.StreamReader(limit=_CHUNK)
    with open(0, "rb", buffering=0, closefd=False) as pipe:
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def _hand_over(data: bytes) -> None:
    """Write to rsync, however long it is busy; its end of our standard output does not block by itself."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(1, view) :]
        except BlockingIOError:
            await _has_room()


async def _has_room() -> None:
    loop, room = asyncio.get_running_loop(), asyncio.Event()
    loop.add_writer(1, room.set)
    try:
        await room.wait()
    finally:
        loop.remove_writer(1)


if __name__ == "__main__":
    sys.exit(main())
