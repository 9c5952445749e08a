"""The same sync over TLS, ssh and IPv6; and the password, which nobody ever sees."""

import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pushmirror.lab.judge import same_tree
from pushmirror.lab.services import Sshd, new_key, wait_until
from pushmirror.lab.site import ARCHIVE, LabSite
from pushmirror.system import process
from support.rsync_daemon import RsyncDaemon, TlsTunnel
from trees import refused, snapshot

USER, PASSWORD = "site1.example.com", "correct horse battery staple"


@pytest.fixture
def upstream(tmp_path: Path) -> Path:
    """A small plain tree."""
    tree = tmp_path / "upstream"
    for path in ("README", "pool/one", "pool/two", "project/trace/master"):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(path)
    return tree


@pytest.fixture
def make(tmp_path: Path, upstream: Path, daemon: RsyncDaemon) -> Callable[..., LabSite]:
    """Makes the site; keyword arguments are keys of `[archives.debian]`."""
    daemon.add_module(ARCHIVE, upstream, {USER: PASSWORD})
    return lambda password=PASSWORD, **options: LabSite(tmp_path / "site", password=password, **options)


# TLS


@pytest.fixture
def tunnel(tmp_path: Path, daemon: RsyncDaemon) -> Iterator[TlsTunnel]:
    with TlsTunnel(tmp_path / "tls", daemon) as running:
        yield running


def test_a_tree_comes_through_tls(make: Callable[..., LabSite], upstream: Path, tunnel: TlsTunnel) -> None:
    site = make(upstream=tunnel.url(ARCHIVE, USER), tls_ca=str(tunnel.ca_file))
    site.run("sync", timeout_s=15).check()
    assert same_tree(upstream, site.tree) == []
    assert "Rsync-Transport: ssl\n" in (site.tree / "project/trace" / site.name).read_text()


def test_a_certificate_of_an_unknown_authority_is_refused(
    make: Callable[..., LabSite], tunnel: TlsTunnel
) -> None:
    site = make(upstream=tunnel.url(ARCHIVE, USER))
    refused(site.sync(), 3, "certificate is not trusted", "tls_ca")


def test_a_certificate_for_another_name_is_refused(make: Callable[..., LabSite], tunnel: TlsTunnel) -> None:
    url = tunnel.url(ARCHIVE, USER).replace("127.0.0.1", "127.0.0.2")
    tunnel.stop()
    config = tunnel.directory / "stunnel.conf"
    with process.background(["stunnel4", str(listening_everywhere(config))], log=tunnel.log) as child:
        assert wait_until(lambda: child.poll() is not None or answers("127.0.0.2", tunnel.port))
        site = make(upstream=url, tls_ca=str(tunnel.ca_file))
        refused(site.sync(), 3, "certificate is not trusted", "127.0.0.2")


def listening_everywhere(config: Path) -> Path:
    config.write_text(config.read_text().replace("accept = 127.0.0.1:", "accept = 127.0.0.2:"))
    return config


def answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def test_a_certificate_file_that_is_missing_is_named(
    make: Callable[..., LabSite], tunnel: TlsTunnel, tmp_path: Path
) -> None:
    site = make(upstream=tunnel.url(ARCHIVE, USER), tls_ca=str(tmp_path / "missing.pem"))
    refused(site.sync(), 78, "missing.pem")


def test_a_plain_daemon_behind_a_tls_address_is_a_failed_stage_1(
    make: Callable[..., LabSite], daemon: RsyncDaemon
) -> None:
    site = make(upstream=daemon.url(ARCHIVE, USER, scheme="rsyncs"), connect_timeout="2s")
    refused(site.sync(), 3)


def test_a_wrong_password_through_tls_is_told_as_one(make: Callable[..., LabSite], tunnel: TlsTunnel) -> None:
    site = make(password="wrong", upstream=tunnel.url(ARCHIVE, USER), tls_ca=str(tunnel.ca_file))
    refused(site.sync(), 3, "refuses this user or password")


# ssh


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    with Sshd(tmp_path / "sshd") as running:
        yield running


def ssh_site(
    make: Callable[..., LabSite], sshd: Sshd, upstream: Path, key: Path, *, known: bool = True
) -> LabSite:
    """A site whose ssh is wrapped, as an operator's own would be, to use a known_hosts of the test."""
    site = make(
        password=None,
        upstream=f"rsync+ssh://{sshd.user}@127.0.0.1:{sshd.port}{upstream}",
        ssh_key=str(key),
    )
    hosts = sshd.known_hosts if known else "/dev/null"
    options = f"-F none -o UserKnownHostsFile={hosts} -o GlobalKnownHostsFile=/dev/null"
    ssh, real = site.directory / "bin/ssh", shutil.which("ssh")
    ssh.parent.mkdir()
    ssh.write_text(f'#!/bin/sh\nexec {real} {options} "$@"\n')
    ssh.chmod(0o755)
    return site


def sync_by(site: LabSite) -> process.Result:
    return site.run("sync", env={"PATH": f"{site.directory / 'bin'}:{os.environ['PATH']}"})


def test_a_tree_comes_through_ssh(
    make: Callable[..., LabSite], sshd: Sshd, upstream: Path, tmp_path: Path
) -> None:
    sshd.authorize(new_key(tmp_path / "key"))
    site = ssh_site(make, sshd, upstream, tmp_path / "key")
    sync_by(site).check()
    assert same_tree(upstream, site.tree) == []
    assert "Rsync-Transport: ssh\n" in (site.tree / "project/trace" / site.name).read_text()


def test_a_host_whose_key_is_unknown_is_refused(
    make: Callable[..., LabSite], sshd: Sshd, upstream: Path, tmp_path: Path
) -> None:
    sshd.authorize(new_key(tmp_path / "key"))
    refused(sync_by(ssh_site(make, sshd, upstream, tmp_path / "key", known=False)), 3, "known_hosts")


def test_a_key_that_upstream_does_not_know_is_refused(
    make: Callable[..., LabSite], sshd: Sshd, upstream: Path, tmp_path: Path
) -> None:
    new_key(tmp_path / "key")
    refused(sync_by(ssh_site(make, sshd, upstream, tmp_path / "key")), 3, "refuses the ssh key")


# IPv6


def test_a_tree_comes_through_ipv6(
    make: Callable[..., LabSite], upstream: Path, daemon: RsyncDaemon, tmp_path: Path
) -> None:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as probe:
            port = probe.getsockname()[1]
    except OSError:
        pytest.skip("there is no IPv6 on the loopback")
    site = make(upstream=f"rsync://{USER}@[::1]:{port}/{ARCHIVE}")
    argv = ["rsync", "--daemon", "--no-detach", f"--config={daemon.directory / 'rsyncd.conf'}"]
    with process.background([*argv, "--address=::1", f"--port={port}"], log=tmp_path / "log") as child:
        assert wait_until(lambda: child.poll() is not None or answers("::1", port))
        site.sync().check()
    assert same_tree(upstream, site.tree) == []


# The password

LOOK = """\
#!{python}
import os, pathlib, sys
with open({seen!r}, "ab") as seen:
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ") if process.name == str(os.getpid()) else ("cmdline",):
            try:
                seen.write((process / name).read_bytes() + b"\\n")
            except OSError:
                pass
os.execvp("rsync", ["rsync", *sys.argv[1:]]) if {as_rsync} else None
"""


def test_the_password_is_in_no_command_line_environment_log_or_tree(
    make: Callable[..., LabSite], daemon: RsyncDaemon, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    for name, as_rsync in (("as-rsync", True), ("as-hook", False)):
        text = LOOK.format(python=sys.executable, seen=str(seen), as_rsync=as_rsync)
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    hooks = {name: [str(tmp_path / "as-hook")] for name in ("before_sync", "after_publish")}
    site = make(upstream=daemon.url(ARCHIVE, USER), rsync=str(tmp_path / "as-rsync"), hooks=hooks)
    said = site.run("sync", "-v").check()
    assert b"--password-file=" in seen.read_bytes()
    assert PASSWORD.encode() not in seen.read_bytes() + said.output
    assert PASSWORD not in said.errors
    kept = {**snapshot(site.tree, work=True), **snapshot(site.state, work=True)}
    assert not [path for path, name in kept.items() if PASSWORD.encode() in name.content]


# a directory


def test_a_tree_comes_from_a_directory_of_this_machine(
    make: Callable[..., LabSite], upstream: Path, tmp_path: Path
) -> None:
    site = make(password=None, upstream=f"file://{upstream}")
    site.sync().check()
    assert same_tree(upstream, site.tree) == []
    assert "Upstream-mirror: unknown\n" in (site.tree / "project/trace" / site.name).read_text()
