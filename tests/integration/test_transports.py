"""Other ways to upstream: TLS by stunnel and socat, a web proxy, a daemon behind ssh."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pushmirror.config.model import Archive
from pushmirror.errors import UpstreamError
from pushmirror.fetch.upstream import Upstream
from pushmirror.lab.services import HOST, Sshd, new_key
from pushmirror.progress import Silent
from pushmirror.system import process
from support.rsync_daemon import RsyncDaemon, TlsTunnel

MODULE, USER, PASSWORD = "debian", "site1.example.com", "correct horse battery staple"
OTHER_NAME = "127.0.0.2"  # answers, and is not in the certificate


class TwoNames(TlsTunnel):
    """The same tunnel at an address that its certificate does not name, too."""

    def _argv(self) -> list[str]:
        argv = super()._argv()
        config = Path(argv[-1])
        text = config.read_text()
        again = (
            text[text.index("[rsync]") :]
            .replace("[rsync]", "[again]")
            .replace(f"accept = {HOST}", f"accept = {OTHER_NAME}")
        )
        config.write_text(text + again)
        return argv


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RsyncDaemon]:
    directory = tmp_path_factory.mktemp("transports")
    trace = directory / "tree/project/trace/master"
    trace.parent.mkdir(parents=True)
    trace.write_text("here\n")
    with RsyncDaemon(directory / "rsyncd") as running:
        running.add_module(MODULE, directory / "tree", {USER: PASSWORD})
        yield running


@pytest.fixture(scope="module")
def tunnel(tmp_path_factory: pytest.TempPathFactory, daemon: RsyncDaemon) -> Iterator[TwoNames]:
    with TwoNames(tmp_path_factory.mktemp("tls"), daemon) as running:
        yield running


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.touch(mode=0o600)
    file.write_text(f"{PASSWORD}\n")
    return file


def pinned(tmp_path: Path, upstream: str, **options: object) -> str:
    """What upstream's trace says, got as a run gets it."""
    keys = {"name": MODULE, "path": str(tmp_path), "upstream": upstream, "connect_timeout": "5s", **options}
    Upstream(Archive.model_validate(keys), Silent()).pin(tmp_path / "pin")
    return (tmp_path / "pin/project/trace/master").read_text()


# TLS


@pytest.mark.parametrize("method", ["stunnel", "stunnel-old", "socat"])
def test_a_program_of_the_operators_choice_carries_rsync_through_tls(
    tmp_path: Path, tunnel: TwoNames, secret: Path, method: str
) -> None:
    upstream, ca = tunnel.url(MODULE, USER), str(tunnel.ca_file)
    assert pinned(tmp_path, upstream, tls_method=method, tls_ca=ca, password_file=str(secret)) == "here\n"


@pytest.mark.parametrize(("method", "name"), [("stunnel", OTHER_NAME), ("socat", OTHER_NAME)])
def test_a_certificate_with_another_name_is_told_of(
    tmp_path: Path, tunnel: TwoNames, method: str, name: str
) -> None:
    upstream = tunnel.url(MODULE, USER).replace(HOST, name)
    with pytest.raises(UpstreamError, match=f"certificate is not trusted: {name}"):
        pinned(tmp_path, upstream, tls_method=method, tls_ca=str(tunnel.ca_file))


def test_what_stunnel_says_at_each_end_is_no_error_of_rsync(
    tmp_path: Path, tunnel: TwoNames, secret: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "pushmirror.rsync")
    upstream, ca = tunnel.url(MODULE, USER), str(tunnel.ca_file)
    pinned(tmp_path, upstream, tls_method="stunnel", tls_ca=ca, password_file=str(secret))
    assert {record.name for record in caplog.records} == {"pushmirror.rsync"}
    assert caplog.messages[0].startswith("running rsync ") and " bytes/sec" in caplog.messages[-1]


@pytest.mark.parametrize(
    ("method", "host", "trusted", "comes"),
    [
        ("stunnel", HOST, True, True),
        ("stunnel", OTHER_NAME, True, False),
        ("stunnel", HOST, False, False),
        ("stunnel4-old", OTHER_NAME, True, True),
        ("stunnel-old", HOST, False, False),
        ("socat", HOST, True, True),
        ("socat", HOST, False, False),
    ],
)
def test_rsync_ssl_tunnel_trusts_whom_the_method_says(
    tunnel: TwoNames, method: str, host: str, trusted: bool, comes: bool
) -> None:
    environment = {
        "RSYNC_SSL_METHOD": method,
        "RSYNC_SSL_PORT": str(tunnel.port),
        "RSYNC_SSL_CAPATH": str(tunnel.ca_file) if trusted else "/etc/ssl/certs",
        "RSYNC_PASSWORD": PASSWORD,
    }
    shell = f"{sys.executable} -m pushmirror.archvsync_commands.rsync_ssl_tunnel"
    source = f"{USER}@{host}::{MODULE}/project/trace/"
    result = process.run(["rsync", "-e", shell, source], env=environment, timeout_s=60)
    assert (b"master" in result.output, result.exit_code == 0) == (comes, comes), result.errors


# A web proxy


@contextmanager
def web_proxy(requests: list[bytes]) -> Iterator[int]:
    """A proxy that lets everybody through with CONNECT; its port, and the requests that came."""
    with socket.create_server((HOST, 0)) as server:
        thread = threading.Thread(target=_let_through, args=(server, requests), daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=20)


def _let_through(server: socket.socket, requests: list[bytes]) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return  # the test is over
        with client:
            asked = b""
            while not asked.endswith(b"\r\n\r\n"):
                asked += client.recv(1)
            requests.append(asked)
            host, _, port = asked.split()[1].decode().partition(":")
            with socket.create_connection((host, int(port))) as beyond:
                client.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
                back = threading.Thread(target=_pour, args=(beyond, client), daemon=True)
                back.start()
                _pour(client, beyond)
                back.join(timeout=20)


def _pour(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return  # the other side is gone


def test_a_tree_comes_through_a_web_proxy_whose_password_is_in_no_command_line(
    tmp_path: Path, daemon: RsyncDaemon, secret: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "pushmirror")
    requests: list[bytes] = []
    with web_proxy(requests) as port:
        proxy = f"me:battery@{HOST}:{port}"
        assert pinned(tmp_path, daemon.url(MODULE, USER), password_file=str(secret), proxy=proxy) == "here\n"
    assert requests[0].startswith(f"CONNECT {HOST}:{daemon.port} ".encode())
    assert b"Proxy-Authorization: Basic bWU6YmF0dGVyeQ==" in requests[0]
    assert "battery" not in caplog.text and "RSYNC_PROXY" not in os.environ


# A daemon behind ssh


def test_a_daemon_that_ssh_starts_is_a_daemon_with_its_modules_and_passwords(
    tmp_path: Path, daemon: RsyncDaemon, secret: Path
) -> None:
    with Sshd(tmp_path / "sshd") as sshd:
        config = daemon.directory / "rsyncd.conf"
        key = tmp_path / "key"
        sshd.authorize(new_key(key), command=f"rsync --server --daemon --config={config} .")
        hosts = [f"UserKnownHostsFile={sshd.known_hosts}", "GlobalKnownHostsFile=/dev/null"]
        options = ["-F", "none", "-l", sshd.user, *(word for host in hosts for word in ("-o", host))]
        upstream = f"rsyncd+ssh://{USER}@{HOST}:{sshd.port}/{MODULE}"
        keys = {"ssh_key": str(key), "ssh_options": options}
        assert pinned(tmp_path, upstream, password_file=str(secret), **keys) == "here\n"
        secret.write_text("wrong\n")
        with pytest.raises(UpstreamError, match="refuses this user or password"):
            pinned(tmp_path, upstream, password_file=str(secret), **keys)
