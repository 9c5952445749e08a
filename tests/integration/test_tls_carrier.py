"""What carries rsync over TLS, with an rsync that has no time to read just now."""

import select
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pushmirror.lab.services import HOST, wait_until
from support.rsync_daemon import RsyncDaemon, TlsTunnel

SENT = bytes(range(256)) * 12_000  # far more than lies between two programs


@pytest.fixture
def authority(tmp_path: Path, daemon: RsyncDaemon) -> TlsTunnel:
    """Of its certificate, and with its key."""
    return TlsTunnel(tmp_path / "tls", daemon)


@pytest.fixture
def all_read() -> threading.Event:
    """That what was sent has been read."""
    return threading.Event()


@pytest.fixture
def server(authority: TlsTunnel, all_read: threading.Event) -> Iterator[int]:
    """Sends all it has to the first who connects, and hangs up rudely when that was read; its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.ca_file, authority.directory / "key.pem")

    def send(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with context.wrap_socket(connection, server_side=True) as secured:
            secured.sendall(SENT)
            all_read.wait(60)
            secured.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with socket.create_server((HOST, 0)) as listener:
        thread = threading.Thread(target=send, args=(listener,))
        thread.start()
        yield listener.getsockname()[1]
        thread.join(60)


@pytest.fixture
def ours(authority: TlsTunnel, server: int) -> Iterator[tuple[socket.socket, subprocess.Popen[bytes]]]:
    """The carrier, and the end of its output that rsync would have."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)  # as rsync has it for its remote shells
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    argv = ["--port", str(server), "--ca", str(authority.ca_file), "--timeout", "60", HOST, "rsync"]
    with (
        ours,
        subprocess.Popen(
            [sys.executable, "-m", "pushmirror.fetch.tls", *argv],
            stdin=subprocess.PIPE,
            stdout=theirs,
            stderr=subprocess.PIPE,
        ) as child,
    ):
        assert wait_until(lambda: not select.select([], [theirs], [], 0)[1])  # there is no room any more
        theirs.close()
        yield ours, child


def test_an_rsync_that_is_busy_is_waited_for_and_judges_an_end_without_farewell_itself(
    ours: tuple[socket.socket, subprocess.Popen[bytes]], all_read: threading.Event
) -> None:
    rsync, child = ours
    with rsync.makefile("rb") as output:
        came = output.read(len(SENT))
    all_read.set()
    _, errors = child.communicate(timeout=60)
    assert came == SENT
    assert child.returncode == 0, errors  # else it would be rsync's own, though all has come
    assert b"Connection reset by peer" in errors
