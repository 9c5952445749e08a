from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from offering import HOST, SLOW, Offering, Stunnel, open_directory
from pushmirror.access import daemon_files, transfer_log
from pushmirror.errors import PushmirrorError
from pushmirror.lab.services import free_port, says, wait_until
from pushmirror.system import clock, process

A, B = "a.example.org", "b.example.org"
RELEASE = {"dists/Release"}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Offering]:
    made = Offering(tmp_path / "hub")
    made.offer("debian")
    made.offer("security")
    with made:
        yield made


def refused(hub: Offering, result: process.Result) -> bool:
    return result.exit_code != 0 and hub.pulled() == set()


def test_a_site_with_its_password_reads_its_archive(hub):
    password = hub.add_site(A, "debian")
    hub.pull("debian/", A, password).check()
    assert hub.pulled() == RELEASE


@pytest.mark.parametrize(
    ("archive", "user", "password"),
    [
        ("debian", "", ""),
        ("debian", A, ""),
        ("debian", A, "wrong"),
        ("debian", f"{A}+2", None),
        ("debian", "nobody", None),
        ("debian", "*", None),
        ("debian", B, None),
        ("security", A, None),
    ],
)
def test_whoever_is_not_that_site_reads_nothing(hub, archive, user, password):
    own = hub.add_site(A, "debian")
    hub.add_site(B, "security")
    result = hub.pull(f"{archive}/", user, own if password is None else password)
    assert refused(hub, result) and "auth failed" in result.errors


@pytest.mark.parametrize("user", ["", "nobody", "*", "*:deny", A])
def test_an_archive_that_no_site_has_is_closed(hub, user):
    assert refused(hub, hub.pull("debian/", user, "x"))


def test_sites_share_an_archive_and_keep_the_others_to_themselves(hub):
    one, both = hub.add_site(A, "debian"), hub.add_site(B, "debian", "security")
    hub.pull("debian/", A, one).check()
    hub.pull("debian/", B, both).check()
    hub.pull("security/", B, both).check()
    assert refused(hub, hub.pull("security/", A, one))


def test_the_manifest_of_an_archive_is_for_its_readers_and_shows_what_is_whole(hub):
    password = hub.add_site(A, "debian")
    hub.pull("debian.manifest/", A, password).check()  # not made yet, which is no error
    for name in ("head", "head.next", "snapshot.new"):
        (hub.config.state.manifests / "debian" / name).write_text("x")
    hub.pull("debian.manifest/", A, password).check()
    assert hub.pulled() == {"head"}
    assert refused(hub, hub.pull("debian.manifest/", "", ""))
    assert refused(hub, hub.pull("security.manifest/", A, password))


def test_an_open_archive_is_for_everybody(hub):
    hub.offer("debian", access="open")
    hub.pull("debian/").check()
    assert hub.pulled() == RELEASE


def test_an_archive_for_nobody_is_unknown(hub):
    hub.offer("debian", access="none")
    assert "Unknown module" in hub.pull("debian/").errors


def test_nobody_writes(hub, tmp_path):
    password = hub.add_site(A, "debian")
    (tmp_path / "evil").write_text("x")
    argv = ["rsync", str(tmp_path / "evil"), hub.url("debian/", A)]
    result = process.run(argv, env={"RSYNC_PASSWORD": password}, timeout_s=60)
    assert result.exit_code != 0 and "read only" in result.errors
    assert not (hub.directory / "debian/evil").exists()


def test_nobody_deletes_what_he_reads(hub):
    password = hub.add_site(A, "debian")
    assert hub.pull("debian/", A, password, "--remove-source-files").exit_code != 0
    assert (hub.directory / "debian/dists/Release").exists()


@pytest.mark.parametrize("path", ["debian/../etc/", "debian/dists/../../etc/", "debian//etc/", "debian/../"])
def test_no_path_leads_out_of_the_tree(hub, path):
    password = hub.add_site(A, "debian")
    hub.pull(path, A, password)
    assert hub.pulled() <= {"Release", *RELEASE}


@pytest.mark.parametrize("target", ["absolute", "relative"])
def test_no_link_leads_out_of_the_tree(hub, target):
    password = hub.add_site(A, "debian")
    link = hub.directory / "debian/out"
    link.symlink_to(hub.etc if target == "absolute" else "../etc")
    assert refused(hub, hub.pull("debian/out/", A, password))
    assert refused(hub, hub.pull("debian/out/pushmirror.toml", A, password))
    hub.pull("debian/", A, password).check()
    assert (hub.directory / "pulled/out").is_symlink()  # it is told as it is


@pytest.mark.parametrize("option", ["--checksum", "--copy-links", "--copy-unsafe-links"])
def test_an_option_that_costs_or_reveals_too_much_is_refused(hub, option):
    password = hub.add_site(A, "debian")
    result = hub.pull("debian/", A, password, option)
    assert refused(hub, result) and "refuse" in result.errors


def test_work_areas_are_invisible_and_flags_are_not(hub):
    password = hub.add_site(A, "debian")
    tree = hub.directory / "debian"
    for area in (tree / ".~tmp~/pushmirror", tree / "dists/.~tmp~"):
        area.mkdir(parents=True)
        (area / "half").write_text("half")
    (tree / "Archive-Update-in-Progress-x").touch()
    hub.pull("debian/", A, password).check()
    assert hub.pulled() == {*RELEASE, "Archive-Update-in-Progress-x"}
    for path in (".~tmp~/pushmirror/half", ".~tmp~/", "dists/.~tmp~/half"):
        assert refused(hub, hub.pull(f"debian/{path}", A, password))


def test_only_hosts_that_are_allowed_may_ask(hub):
    hub.offer("debian", access="open", hosts_allow=["192.0.2.0/24"])
    assert "access denied" in hub.pull("debian/").errors
    hub.offer("debian", access="open", hosts_allow=["192.0.2.0/24", "127.0.0.0/8"])
    hub.pull("debian/").check()


def test_a_host_is_allowed_by_its_name(hub):
    hub.offer("debian", access="open", hosts_allow=["localhost"])
    hub.pull("debian/").check()


def test_each_archive_has_its_own_limit_of_connections(hub):
    hub.offer("debian", access="open")
    hub.offer("security", access="open")
    hub.configure(max_connections=1)
    (hub.directory / "debian/big").write_bytes(os.urandom(3_000_000))
    with reading(hub, "debian/") as reader:
        os.killpg(reader.pid, signal.SIGSTOP)
        assert "max connections (1) reached" in hub.pull("debian/").errors
        hub.pull("security/").check()
        os.killpg(reader.pid, signal.SIGCONT)


def reading(hub: Offering, path: str, user: str = "", password: str = ""):
    """A slow client in the background, that has begun to receive the file `big`."""
    into = hub.directory / "slow"
    argv = ["rsync", "-rlt", *SLOW, hub.url(path, user), f"{into}/"]
    started = process.background(argv, env={"RSYNC_PASSWORD": password}, log=hub.directory / "slow.log")

    class Reading:
        def __enter__(self) -> process.Background:
            child = started.__enter__()
            assert wait_until(lambda: any(one.stat().st_size for one in into.glob(".big.*")))
            return child

        def __exit__(self, *exc: object) -> None:
            started.__exit__(*exc)  # type: ignore[arg-type]

    return Reading()


@pytest.mark.parametrize("verb", ["add", "rotate", "remove"])
def test_a_change_of_sites_takes_effect_at_once_and_a_transfer_goes_on(hub, verb):
    password = hub.add_site(A, "debian")
    big = hub.directory / "debian/big"
    big.write_bytes(os.urandom(2_000_000))
    with reading(hub, "debian/", A, password) as reader:
        os.killpg(reader.pid, signal.SIGSTOP)  # so that it cannot end before us
        if verb == "add":
            words = ("--host", B, "--user", "mirror", "--archive", "debian")
            hub.run("site", "add", B, *words).check()
            hub.pull("debian/dists/", *hub.login(B)).check()
        elif verb == "rotate":
            hub.run("site", "rotate", A, "--grace", "0").check()
            assert "auth failed" in hub.pull("debian/dists/", A, password).errors
            hub.pull("debian/dists/", *hub.login(A)).check()
        else:
            hub.run("site", "remove", A, "--yes").check()
            assert "auth failed" in hub.pull("debian/dists/", A, password).errors
        os.killpg(reader.pid, signal.SIGCONT)
        assert wait_until(lambda: reader.poll() is not None, limit_s=60) and reader.poll() == 0
    assert (hub.directory / "slow/big").read_bytes() == big.read_bytes()


def test_after_a_rotation_both_passwords_work_until_the_grace_is_over(hub):
    old = hub.add_site(A, "debian")
    hub.run("site", "rotate", A).check()
    new_user, new = hub.login(A)
    assert new_user == f"{A}+2"
    hub.pull("debian/", A, old).check()
    hub.pull("debian/", new_user, new).check()
    with daemon_files.changing(hub.config):
        assert daemon_files.write(hub.config, now=clock.now() + timedelta(days=7))
    assert refused(hub, hub.pull("debian/", A, old))
    hub.pull("debian/", new_user, new).check()


def test_what_is_secret_can_be_read_by_its_owner_only(hub):
    hub.add_site(A, "debian")
    hub.run("site", "rotate", A).check()
    files = [hub.etc / "sites.d" / f"{A}.secret", daemon_files.places(hub.config).secrets]
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600, 0o600]
    assert daemon_files.places(hub.config).directory.stat().st_mode & 0o777 == 0o700


def test_secrets_that_others_could_read_let_nobody_in_until_they_are_mended(hub):
    password = hub.add_site(A, "debian")
    daemon_files.places(hub.config).secrets.chmod(0o644)
    assert refused(hub, hub.pull("debian/", A, password))
    assert daemon_files.update(hub.config)
    hub.pull("debian/", A, password).check()


def test_the_log_tells_who_read_what(hub):
    password = hub.add_site(A, "debian")
    hub.pull("debian/", A, password).check()
    log = daemon_files.places(hub.config).log
    wanted = f"send {HOST} debian ({A}) dists/Release 7 "
    assert wait_until(lambda: wanted in log.read_text())
    assert password not in log.read_text()


def test_many_sites_are_no_trouble(hub):
    sites = hub.etc / "sites.d"
    sites.mkdir()
    names = [f"{number:03}.{'x' * 90}" for number in range(500)]
    for name in names:
        (sites / f"{name}.toml").write_text(f'host = "{name}"\nuser = "m"\narchives = ["debian"]\n')
        secret = sites / f"{name}.secret"
        secret.touch(mode=0o600)
        secret.write_text(f'[[login]]\nuser = "{name}"\npassword = "{"p" * 200}"\n')
    assert daemon_files.update(hub.config)
    hub.pull("debian/", names[-1], "p" * 200).check()
    hub.pull("debian/", names[0], "p" * 200).check()


@pytest.fixture
def tls(hub: Offering, tmp_path: Path) -> Iterator[Stunnel]:
    with Stunnel(tmp_path / "tls", hub) as running:
        yield running


def through_tls(tls: Stunnel, path: str, user: str, password: str, ca: Path | None = None) -> process.Result:
    shell = (
        f"{sys.executable} -m pushmirror.fetch.tls --port {tls.port} --ca {ca or tls.ca_file} --timeout 20"
    )
    into = tls.hub.directory / "pulled"
    shutil.rmtree(into, ignore_errors=True)
    argv = ["rsync", "-rlt", "-e", shell, f"{f'{user}@' if user else ''}{HOST}::{path}", f"{into}/"]
    return process.run(argv, env={"RSYNC_PASSWORD": password}, timeout_s=60)


def test_tls_leads_to_the_same_modules_by_the_same_passwords(hub, tls):
    password = hub.add_site(A, "debian")
    through_tls(tls, "debian/", A, password).check()
    assert hub.pulled() == RELEASE
    assert refused(hub, through_tls(tls, "debian/", A, "wrong"))
    assert refused(hub, through_tls(tls, "security/", A, password))


def test_through_tls_the_client_is_known_by_its_own_address(hub, tls):
    hub.offer("debian", access="open", hosts_allow=["192.0.2.1"])
    assert f"access denied to debian from UNDETERMINED ({HOST})" in through_tls(tls, "debian/", "", "").errors
    hub.offer("debian", access="open", hosts_allow=[HOST])
    through_tls(tls, "debian/", "", "").check()


NOBODY = 65534
AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
MAY_CHROOT = ["--inh-caps=+sys_chroot", "--ambient-caps=+sys_chroot"]


@pytest.mark.parametrize(("rights", "locked_in"), [([], False), (MAY_CHROOT, True)])
def test_another_users_daemon_serves_what_root_looks_after_and_no_link_leads_out(rights, locked_in):
    if os.geteuid() != 0:
        pytest.skip("every other test here is run by a user without rights")
    with open_directory() as directory:
        hub = UsersOffering(directory / "hub", rights)
        (hub.offer("debian") / "out").symlink_to(hub.etc)
        with hub:
            password = hub.add_site(A, "debian")
            hub.pull("debian.manifest/", A, password).check()
            hub.pull("debian/", A, password).check()
            assert hub.pulled() >= RELEASE
            assert refused(hub, hub.pull("debian/out/", A, password))
            assert ("chroot test failed" not in daemon_files.places(hub.config).log.read_text()) is locked_in
            private = [daemon_files.places(hub.config).secrets, hub.etc / f"sites.d/{A}.secret"]
            assert {(file.stat().st_uid, file.stat().st_mode & 0o777) for file in private} == {
                (NOBODY, 0o600)
            }


class UsersOffering(Offering):
    """A daemon of another user's, whose sites root looks after."""

    def __init__(self, directory: Path, rights: list[str]) -> None:
        super().__init__(directory)
        self._rights = rights
        (directory / "state").mkdir()
        os.chown(directory / "state", NOBODY, -1)

    def _argv(self) -> list[str]:
        self.configure()
        words = ["rsync", "--daemon", "--no-detach", f"--config={daemon_files.places(self.config).conf}"]
        return [*AS_NOBODY, *self._rights, *words]


def test_root_does_not_run_another_users_daemon_which_would_let_nobody_in(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can make a file another user's")
    hub = UsersOffering(tmp_path / "hub", [])
    hub.offer("debian")
    with pytest.raises(PushmirrorError, match="runs as nobody"):
        daemon_files.rsync_argv(hub.config)


def test_the_systems_daemon_serves_by_the_same_files(tmp_path):
    if not shutil.which("systemd-socket-activate"):
        pytest.skip("systemd, which plays inetd here, is not installed")
    hub = Offering(tmp_path / "hub")
    hub.offer("debian")
    hub.port = free_port()
    hub.configure()
    argv = ["systemd-socket-activate", "--accept", "--inetd", "--listen", f"{HOST}:{hub.port}"]
    argv += ["rsync", "--daemon", f"--config={daemon_files.places(hub.config).conf}"]
    with process.background(argv, log=tmp_path / "log"):
        assert wait_until(lambda: says(hub.port, b"@RSYNCD:"))
        hub.pull("debian/", A, hub.add_site(A, "debian")).check()
        assert refused(hub, hub.pull("debian/", A, "wrong"))


def test_why_a_site_was_refused_is_read_from_the_daemons_log(hub):
    hub.add_site(A, "debian"), hub.add_site(B, "security")
    began = clock.now()
    hub.pull("debian/", A, "wrong")
    hub.pull("debian/", f"{A}+2", "x")
    hub.pull("debian/", B, "x")
    said = transfer_log.refused(hub.config, A, began)
    assert said.startswith(f"our rsync daemon refused its login {A}+2 to debian at ")
    assert said.endswith(": the module does not allow this user, or the user does not exist")
    hub.pull("debian/", A, "wrong")
    assert transfer_log.refused(hub.config, A, began).endswith(": password mismatch")


def test_what_was_refused_before_a_push_is_no_reason_for_its_failure(hub):
    hub.add_site(A, "debian")
    hub.pull("debian/", A, "wrong")
    assert transfer_log.refused(hub.config, A, clock.now() + timedelta(seconds=5)) == ""


def test_who_came_last_is_read_from_the_daemons_log(hub):
    password = hub.add_site(A, "debian")
    began = clock.now() - timedelta(seconds=1)
    hub.pull("debian/", A, password).check()
    hub.pull("debian/", A, "wrong")
    seen = transfer_log.last_logins(hub.config)
    assert set(seen) == {A} and seen[A].module == "debian" and seen[A].at >= began


def test_nobody_is_remembered_by_a_log_that_is_not_there(hub):
    daemon_files.places(hub.config).log.unlink(missing_ok=True)
    assert transfer_log.last_logins(hub.config) == {}
