"""`pushmirror serve` as a hub's operator runs it, with the real rsync, sshd and signals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pushmirror.lab.services import Sshd, free_port, listens, new_key, says, wait_until
from pushmirror.lab.site import LabSite
from pushmirror.push.trigger import parse_trigger
from pushmirror.state.records import Stage
from pushmirror.system import locks, process

ANSWER = """#!/bin/sh
echo "$SSH_ORIGINAL_COMMAND" >>{log}
test -e {up}
"""
CONFINED = str(Path(__file__).parents[1] / "confined.py")
Serving = Callable[..., AbstractContextManager[process.Background]]


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    chain: Path
    key: Path

    @classmethod
    def made(cls, directory: Path) -> Pair:
        """A new pair, which is its own authority."""
        directory.mkdir()
        made = cls(directory / "chain.pem", directory / "key.pem")
        argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        argv += ["-nodes", "-keyout", str(made.key), "-out", str(made.chain), "-days", "2"]
        argv += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
        process.run(argv, timeout_s=60).check()
        return made

    @contextmanager
    def session(self, port: int) -> Iterator[ssl.SSLSocket]:
        """A connection to who shows this certificate; OSError when another or none is shown."""
        context = ssl.create_default_context(cafile=str(self.chain))
        plain = socket.create_connection(("127.0.0.1", port), timeout=10)
        with plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as secured:
            yield secured

    def is_shown(self, port: int) -> bool:
        try:
            with self.session(port):
                return True
        except OSError:
            return False


class HubHere(LabSite):
    """The owner of a plain tree, with a port for its rsync daemon."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.further = ""  # further lines of [serve]
        super().__init__(directory, upstream="")
        self.tree.mkdir()
        (self.tree / "file").write_text("content")

    def configure(self, **options: object) -> None:  # noqa: ARG002  as any lab site
        """Write a hub's configuration."""
        (self.etc / "pushmirror.toml").write_text(
            f'[archives.debian]\npath = "{self.tree}"\n'
            f'[push]\nkey = "{self.directory}/key"\nretry_after = "1s"\nretry_at_most = "1s"\n'
            f'[serve]\nhost = "127.0.0.1"\nrsync = "127.0.0.1:{self.port}"\n'
            f"{self.further}"
            f'[state]\ndirectory = "{self.state}"\n'
        )

    def add_site(self, name: str, port: int, user: str) -> dict[str, str]:
        """Add a site; user, password and the rest of its kit."""
        words = ("--host", "127.0.0.1", "--port", str(port), "--user", user, "--archive", "debian")
        added = self.run("site", "add", name, *words, "--push", "all", "--json").check()
        kit: dict[str, str] = json.loads(added.output)
        return kit

    def show_certificate(self, pair: Pair) -> int:
        """Copy a certificate and its key to where `serve` has them; the port for TLS."""
        port = free_port()
        self.further = f'rsync_tls = "127.0.0.1:{port}"\n'
        for key, file in (("certificate", pair.chain), ("certificate_key", pair.key)):
            shutil.copy(file, self.directory / key)
            self.further += f'{key} = "{self.directory / key}"\n'
        self.configure()
        return port

    def renew(self, pair: Pair) -> None:
        """Put another certificate and key in their place, each by a rename."""
        for key, file in (("certificate", pair.chain), ("certificate_key", pair.key)):
            shutil.copy(file, self.directory / f"{key}.new").rename(self.directory / key)

    def change(self) -> None:
        """Change what the rsync daemon has to be told."""
        self.further = "max_connections = 7\n"
        self.configure()

    def said(self) -> str:
        """What `serve` logged."""
        return (self.directory / "output.log").read_text()

    def phases(self) -> dict[str, str]:
        """What each site is doing."""
        shown = self.run("push", "--dry-run", "--json").check()
        return {one["site"]: one["phase"] for one in json.loads(shown.output)}


@pytest.fixture
def hub(tmp_path: Path) -> HubHere:
    return HubHere(tmp_path / "hub")


@pytest.fixture
def serving(hub: HubHere) -> Serving:
    """Runs `serve` and waits until its rsync daemon answers."""

    @contextmanager
    def serving(*words: str) -> Iterator[process.Background]:
        with hub.running("serve", *words) as served:
            assert wait_until(lambda: says(hub.port, b"@RSYNCD:") or served.poll() is not None)
            assert served.poll() is None, (hub.directory / "output.log").read_text()
            yield served

    return serving


@pytest.fixture
def site(tmp_path: Path, hub: HubHere) -> Iterator[Sshd]:
    """A site that fails until the file `up` is there, and notes what it is told in `told`."""
    script = tmp_path / "answer"
    script.write_text(ANSWER.format(log=tmp_path / "told", up=tmp_path / "up"))
    script.chmod(0o755)
    with Sshd(tmp_path / "sshd") as sshd:
        sshd.authorize(new_key(hub.directory / "key"), command=str(script), options=("restrict",))
        yield sshd


def listing(hub: HubHere, kit: dict[str, str]) -> process.Result:
    """What a site sees of the archive with its user and password."""
    url = f"rsync://{kit['user']}@127.0.0.1:{hub.port}/debian/"
    return process.run(["rsync", url], env={"RSYNC_PASSWORD": kit["password"]}, timeout_s=20)


def test_a_site_that_is_added_while_it_serves_gets_in_at_once(hub, serving):
    with serving("--no-push"):
        kit = hub.add_site("a.example.org", 22, "u")
        assert b"file" in listing(hub, kit).check().output
        assert listing(hub, {**kit, "password": "wrong"}).exit_code == 5


def test_a_site_that_failed_is_woken_again_until_it_is_current(hub, serving, site, tmp_path):
    hub.sync("--no-push").check()
    hub.add_site("a.example.org", site.port, site.user)
    with serving():
        assert wait_until(lambda: len(_told(tmp_path)) >= 2, limit_s=60)  # failed, and failed again
        (tmp_path / "up").touch()
        assert wait_until(lambda: hub.phases() == {"a.example.org": "current"}, limit_s=60)
    (words,) = set(_told(tmp_path))
    wanted = parse_trigger(words.split())
    assert (wanted.archive, wanted.stage, wanted.ignored) == ("debian", Stage.ALL, ())


def test_what_a_sync_publishes_while_it_serves_is_pushed(hub, serving, site, tmp_path):
    (tmp_path / "up").touch()
    hub.add_site("a.example.org", site.port, site.user)
    with serving():
        for content in ("one", "another"):
            (hub.tree / "file").write_text(content)
            hub.sync().check()
            assert wait_until(lambda: hub.phases() == {"a.example.org": "current"}, limit_s=60)
    assert len(_told(tmp_path)) == 2


def _told(tmp_path: Path) -> list[str]:
    told = tmp_path / "told"
    return told.read_text().splitlines() if told.exists() else []


@pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="systemd, which knows the limits, is not installed"
)
def test_it_serves_and_pushes_within_the_limits_of_its_unit(hub, site, tmp_path):
    (tmp_path / "up").touch()
    hub.sync("--no-push").check()
    kit = hub.add_site("a.example.org", site.port, site.user)
    pair = Pair.made(tmp_path / "pair")
    tls = hub.show_certificate(pair)
    unit = tmp_path / "pushmirror.service"
    unit.write_bytes(hub.run("serve", "--print", "systemd").check().output)
    log = tmp_path / "serve.log"
    with process.background([sys.executable, CONFINED, str(unit)], log=log) as served:
        assert wait_until(lambda: says(hub.port, b"@RSYNCD:") or served.poll() is not None)
        assert served.poll() is None, log.read_text()
        assert "Seccomp:\t2\n" in Path(f"/proc/{served.pid}/status").read_text()
        assert b"file" in listing(hub, kit).check().output
        assert wait_until(lambda: pair.is_shown(tls)), log.read_text()
        assert wait_until(lambda: hub.phases() == {"a.example.org": "current"}, limit_s=60), log.read_text()
    assert "ermitted" not in log.read_text() + (hub.state / "rsyncd/transfers.log").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_daemon_is_gone_when_it_is_ended(hub, serving, number):
    with serving() as served:
        daemon = _daemon_of(hub)
        os.kill(served.pid, number)
        assert wait_until(lambda: served.poll() is not None and not Path(f"/proc/{daemon}").exists())
    assert served.poll() == (143 if number == signal.SIGTERM else -9)
    assert not says(hub.port, b"@RSYNCD:")


def test_a_daemon_that_ends_is_started_again(hub, serving):
    with serving():
        daemon = _daemon_of(hub)
        assert wait_until(lambda: _age_s(daemon) > 6, limit_s=60)  # it has come up for good
        os.kill(daemon, signal.SIGKILL)
        assert wait_until(lambda: _daemon_of(hub) not in (0, daemon), limit_s=60)


def _daemon_of(hub: HubHere) -> int:
    """The process that listens on the hub's port; 0: none does."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return next((pid for pid in pids if listens(pid, hub.port)), 0)


def _age_s(pid: int) -> float:
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return float(Path("/proc/uptime").read_text().split()[0]) - ticks / os.sysconf("SC_CLK_TCK")


def test_somebody_elses_lock_stops_neither_pushes_nor_its_own_end(hub, serving, site, tmp_path):
    hub.sync("--no-push").check()
    hub.add_site("a.example.org", site.port, site.user)
    with serving() as served, locks.locked(hub.state / "rsyncd"):
        hub.change()
        assert wait_until(lambda: "is locked by process" in hub.said(), limit_s=60)
        before = len(_told(tmp_path))
        assert wait_until(lambda: len(_told(tmp_path)) >= before + 2, limit_s=60)
        os.kill(served.pid, signal.SIGTERM)
        assert wait_until(lambda: served.poll() is not None, limit_s=60) and served.poll() == 143


def test_somebody_elses_lock_does_not_keep_it_from_beginning(hub, serving):
    kit = hub.add_site("a.example.org", 22, "u")
    with locks.locked(hub.state / "rsyncd"), serving("--no-push"):
        assert "is locked by process" in hub.said()
        listing(hub, kit).check()


def test_a_site_whose_passwords_cannot_be_used_is_told_once_and_the_others_read(hub, serving):
    kits = [hub.add_site(f"{name}.example.org", 22, name) for name in "ab"]
    (hub.etc / "sites.d/a.example.org.secret").chmod(0o644)
    with serving("--no-push"):
        assert [listing(hub, kit).exit_code for kit in kits] == [5, 0]
        written = (hub.state / "rsyncd/rsyncd.conf").stat().st_ino
        hub.change()
        assert wait_until(lambda: (hub.state / "rsyncd/rsyncd.conf").stat().st_ino != written)
        assert hub.said().count("site disabled until this is fixed") == 1


@pytest.fixture
def old(tmp_path: Path) -> Pair:
    return Pair.made(tmp_path / "old")


@pytest.fixture
def new(tmp_path: Path) -> Pair:
    return Pair.made(tmp_path / "new")


def test_a_renewed_certificate_is_shown_and_sessions_go_on(hub, serving, old, new):
    port = hub.show_certificate(old)
    with serving("--no-push"):
        assert wait_until(lambda: old.is_shown(port))
        with old.session(port) as session:
            assert session.recv(8) == b"@RSYNCD:"
            hub.renew(new)
            assert wait_until(lambda: new.is_shown(port)) and not old.is_shown(port)
            session.sendall(b"@RSYNCD: 31.0\n#list\n")
            assert b"debian" in b"".join(iter(lambda: session.recv(4096), b""))
    assert "Configuration successful" in (hub.state / "rsyncd/stunnel.log").read_text()


def test_a_renewed_certificate_that_cannot_be_used_is_told_and_the_old_one_stays(hub, serving, old, new):
    port = hub.show_certificate(old)
    with serving("--no-push"):
        assert wait_until(lambda: old.is_shown(port))
        hub.renew(Pair(new.chain, old.key))
        assert wait_until(lambda: "does not belong to the certificate" in hub.said())
        assert old.is_shown(port)
        hub.renew(new)
        assert wait_until(lambda: new.is_shown(port))


def test_a_certificate_that_cannot_be_used_stops_neither_rsync_nor_pushes(hub, serving, site, old, new):
    (hub.directory.parent / "up").touch()
    kit = hub.add_site("a.example.org", site.port, site.user)
    port = hub.show_certificate(Pair(new.chain, old.key))
    hub.sync("--no-push").check()
    with serving():
        listing(hub, {**kit, "user": "a.example.org"}).check()
        assert wait_until(lambda: hub.phases() == {"a.example.org": "current"}, limit_s=60)
        assert wait_until(lambda: "stunnel ended with exit code 1" in hub.said())
        assert "key values mismatch" in hub.said() and "Deallocating" not in hub.said()
        hub.renew(new)
        assert wait_until(lambda: new.is_shown(port), limit_s=60)


def test_a_certificate_that_comes_and_goes_needs_no_restart(hub, serving, old):
    with serving("--no-push"):
        port = hub.show_certificate(old)
        assert wait_until(lambda: old.is_shown(port))
        hub.further = ""
        hub.configure()
        assert wait_until(lambda: not says(port, b""))
        assert says(hub.port, b"@RSYNCD:")


def test_nothing_is_left_of_transfers_and_tls_when_it_is_killed(hub, serving, old):
    port = hub.show_certificate(old)
    with serving("--no-push") as served, socket.create_connection(("127.0.0.1", hub.port)) as plain:
        assert wait_until(lambda: old.is_shown(port))
        with old.session(port) as secured:
            assert plain.recv(8) == secured.recv(8) == b"@RSYNCD:"
            family = _below(served.pid)
            assert [_name(pid) for pid in family].count(
                "rsync"
            ) >= 3  # the daemon, and one for each of the two
            os.kill(served.pid, signal.SIGKILL)
            assert wait_until(lambda: not any(_is_alive(pid) for pid in family))


def _below(pid: int) -> list[int]:
    """The processes that this one started, and those that they did."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    children = [one for one in pids if _stat(one)[1:2] == [str(pid)]]
    return [*children, *(further for child in children for further in _below(child))]


def _stat(pid: int) -> list[str]:
    """Its fields from the state on; none when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _is_alive(pid: int) -> bool:
    return _stat(pid)[:1] not in ([], ["Z"])


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except FileNotFoundError:
        return ""  # it is gone already


def test_a_state_directory_that_cannot_be_used_is_named(hub):
    hub.state.mkdir()
    (hub.state / "serve").touch()
    result = hub.run("serve", "--no-push")
    assert result.exit_code == 1 and f"{hub.state}/serve cannot be made: File exists" in result.errors


def test_a_second_one_is_refused(hub, serving):
    with serving():
        second = hub.run("serve")
    assert second.exit_code == 1 and "another `pushmirror serve` is running" in second.errors


def test_a_port_that_is_taken_ends_it_with_a_word_of_why(hub, serving):
    with serving():
        other = HubHere(hub.directory.with_name("other"))
        other.port = hub.port
        other.configure()
        result = other.run("serve")
    assert result.exit_code == 1
    assert "rsync ended with exit code 10: bind() failed: Address already in use" in result.errors
    assert "ports of [serve]" in result.errors


def test_the_units_are_printed_and_nothing_is_started(hub):
    assert b"ExecStart=" in hub.run("serve", "--print", "systemd").check().output
    assert not says(hub.port, b"@RSYNCD:")


def test_nothing_to_serve_is_wrong_usage(hub):
    assert hub.run("serve", "--no-rsync", "--no-push").exit_code == 64


def test_nobody_is_woken_before_there_is_something_to_read(hub, site, tmp_path):
    hub.sync("--no-push").check()
    (tmp_path / "answer").write_text(  # whether the daemon that it is to read from answers
        f"#!/bin/sh\nrsync rsync://127.0.0.1:{hub.port}/ >/dev/null 2>&1\necho $? >>{tmp_path}/told\n"
    )
    slow = tmp_path / "bin" / "rsync"
    slow.parent.mkdir()
    slow.write_text(
        f'#!/bin/sh\ncase "$*" in *--daemon*) sleep 3;; esac\nexec {shutil.which("rsync")} "$@"\n'
    )
    slow.chmod(0o755)
    hub.add_site("a.example.org", site.port, site.user)
    with hub.running("serve", env={"PATH": f"{slow.parent}:{os.environ['PATH']}"}):
        assert wait_until(lambda: len(_told(tmp_path)) >= 1, limit_s=60)
    assert _told(tmp_path)[0] == "0"
