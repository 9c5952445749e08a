"""A sync that cannot be done says why in one message, and leaves the served tree byte for byte as it was."""

import os
import shutil
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

import pytest

from acceptance.processes import descendants
from pushmirror.config.model import Strategy
from pushmirror.errors import Exit
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.judge import broken, same_tree
from pushmirror.lab.services import free_port, wait_until
from pushmirror.lab.signing import LabKey
from pushmirror.lab.site import ARCHIVE, LabSite
from pushmirror.system import process
from support.damage import (
    drop_release_files,
    lose_file,
    publish_again,
    restore_file,
    sign_with,
    spoil_file,
    spoil_signature,
    truncate_file,
)
from support.published import generation_files
from support.rsync_daemon import RsyncDaemon
from trees import Seen, mounted_tmpfs, refused, remount, snapshot
from upstreams import archive_for, see_everything

MakeSite = Callable[..., LabSite]
PASSWORD = "correct horse battery staple"
by_whole_tree_and_by_lists = pytest.mark.parametrize("strategy", [Strategy.FULL, Strategy.INDEX])


@pytest.fixture
def archive(tmp_path: Path, strategy: Strategy, lab_key: LabKey) -> LabArchive:
    return archive_for(strategy, tmp_path / "archive", packages=8, key=lab_key)


@pytest.fixture
def synced(site: LabSite, archive: LabArchive) -> LabSite:
    """A site that serves upstream's state of a moment ago; it was copied, which is faster than a sync."""
    shutil.copytree(archive.path, site.tree, symlinks=True)
    archive.update(add=1, replace=1, remove=1)
    return site


def url(daemon: RsyncDaemon, module: str = ARCHIVE) -> str:
    return daemon.url(module, "site1.example.com")


def mended(site: LabSite, archive: LabArchive, strategy: Strategy = Strategy.AUTO) -> None:
    """Assert that the next sync brings the site up to date."""
    site.configure(grace="0s")
    site.sync().check()
    assert broken(site.tree, thorough=True) == []
    see_everything(site, strategy)
    assert same_tree(archive.path, site.tree) == []


# Upstream cannot be reached


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"upstream": "rsync://site1.example.com@host.invalid/debian"}, "host.invalid"),
        ({"upstream": "rsync://site1.example.com@127.0.0.1:{closed}/debian"}, "Connection refused"),
        ({"upstream": "{module}-which-is-not"}, "Unknown module"),
    ],
    ids=["unknown host", "closed port", "unknown module"],
)
def test_an_upstream_that_is_not_there_is_a_failed_stage_1(
    synced: LabSite, archive: LabArchive, daemon: RsyncDaemon, change: dict[str, str], words: str
) -> None:
    before = snapshot(synced.tree)
    values = {key: value.format(closed=free_port(), module=url(daemon)) for key, value in change.items()}
    synced.configure(**values)
    refused(synced.sync(), 3, words)
    assert snapshot(synced.tree) == before
    synced.configure(upstream=url(daemon))
    mended(synced, archive)


def test_a_wrong_password_is_a_failed_stage_1(synced: LabSite, archive: LabArchive) -> None:
    before = snapshot(synced.tree)
    synced.set_password("wrong")
    refused(synced.sync(), 3, "refuses this user or password")
    assert snapshot(synced.tree) == before
    synced.set_password(PASSWORD)
    mended(synced, archive)


def test_no_password_where_one_is_needed_does_not_ask_for_one(synced: LabSite) -> None:
    before = snapshot(synced.tree)
    synced.configure(password_file=None)
    refused(synced.sync(), 3, "refuses this user or password")
    assert snapshot(synced.tree) == before


def test_a_failure_is_told_once_with_what_to_do_about_it(synced: LabSite) -> None:
    synced.set_password("wrong")
    (line,) = synced.sync().errors.splitlines()
    assert "refuses this user or password" in line and "check the user in `upstream`" in line


@contextmanager
def fake_daemon(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that says what it likes to everybody who connects; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(10)
                    try:
                        talk(connection)
                    except OSError:
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(20)


def says_exit(connection: socket.socket) -> None:
    connection.sendall(b"@RSYNCD: 31.0 sha512 sha256 sha1 md5 md4\n")
    while not connection.recv(1000).rstrip().endswith(b"debian"):
        pass
    connection.sendall(b"the module has gone\n@RSYNCD: EXIT\n")


def says_nothing(connection: socket.socket) -> None:
    while connection.recv(1000):
        pass


def says_no_rsync(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def test_a_daemon_that_exits_on_the_greeting_is_an_error_though_rsync_ends_with_0(synced: LabSite) -> None:
    before = snapshot(synced.tree)
    with fake_daemon(says_exit) as port:
        synced.configure(upstream=f"rsync://site1.example.com@127.0.0.1:{port}/debian")
        refused(synced.sync(), 3, "without sending anything")
    assert snapshot(synced.tree) == before


def test_a_daemon_that_hangs_is_given_up_after_the_timeout(synced: LabSite) -> None:
    before = snapshot(synced.tree)
    with fake_daemon(says_nothing) as port:
        upstream = f"rsync://site1.example.com@127.0.0.1:{port}/debian"
        synced.configure(upstream=upstream, timeout="1s", connect_timeout="1s")
        result = synced.sync()
    refused(result, 3)
    assert result.seconds < 10
    assert snapshot(synced.tree) == before


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL], ids=["stopped", "killed"])
def test_an_upstream_that_stands_still_or_dies_in_the_middle_is_given_up(
    synced: LabSite, archive: LabArchive, daemon: RsyncDaemon, how: signal.Signals
) -> None:
    (archive.path / "doc/large").write_bytes(Random(4).randbytes(3_000_000))  # noqa: S311  cannot be packed
    synced.configure(bandwidth_limit="300K", timeout="2s")
    assert daemon.pid is not None
    with synced.running("sync", ARCHIVE) as child:
        assert wait_until(lambda: any(synced.tree.glob(".~tmp~/pushmirror/new/doc/*large*")))
        for pid in descendants(daemon.pid):
            os.kill(pid, how)
        try:
            assert wait_until(lambda: child.poll() is not None)
        finally:
            for pid in descendants(daemon.pid):
                os.kill(pid, signal.SIGKILL)
    log = synced.run("log", "last").check().output.decode()
    assert child.poll() in {Exit.STAGE1, Exit.STAGE2}
    assert how is signal.SIGKILL or "upstream has stalled: rsync was stopped: in 2 s it moved only" in log
    synced.configure(bandwidth_limit=None, timeout=None)
    mended(synced, archive)


def test_a_push_that_meets_a_stall_says_so_and_is_served_without_another_push(
    synced: LabSite, archive: LabArchive, daemon: RsyncDaemon
) -> None:
    large = archive.path / "doc/large"
    large.write_bytes(Random(4).randbytes(1_000_000))  # noqa: S311  cannot be packed
    synced.configure(bandwidth_limit="300K", timeout="2s", retries=9, retry_after="1s")
    assert daemon.pid is not None

    def log() -> str:
        return synced.run("log", "last").check().output.decode()

    with synced.running("receive", "sync:all") as child:
        assert wait_until(lambda: any(synced.tree.glob(".~tmp~/pushmirror/new/doc/*large*")))
        stopped = [*descendants(daemon.pid), daemon.pid]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            assert wait_until(lambda: "trying again in 1 s (1 of 9)" in log())
            assert "upstream has stalled: rsync was stopped: in 2 s it moved only" in log()
            assert synced.json("status")[0]["stalled_since"]
            assert b", stalled for " in b" ".join(synced.run("status").check().output.split())
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT if pid == daemon.pid else signal.SIGKILL)
        assert wait_until(lambda: child.poll() is not None)
    assert child.poll() == Exit.OK
    assert (synced.tree / "doc/large").read_bytes() == large.read_bytes()
    assert broken(synced.tree) == []
    assert synced.json("status")[0]["stalled_since"] is None
    assert not (synced.state / "stalled" / ARCHIVE).exists()


def test_a_server_that_does_not_speak_rsync_is_a_failed_stage_1(synced: LabSite) -> None:
    before = snapshot(synced.tree)
    with fake_daemon(says_no_rsync) as port:
        synced.configure(upstream=f"rsync://site1.example.com@127.0.0.1:{port}/debian")
        refused(synced.sync(), 3)
    assert snapshot(synced.tree) == before


# This machine


def test_a_missing_rsync_is_named(synced: LabSite, archive: LabArchive) -> None:
    before = snapshot(synced.tree)
    synced.configure(rsync="/nonexistent/rsync")
    refused(synced.sync(), 69, "/nonexistent/rsync")
    assert snapshot(synced.tree) == before
    synced.configure(rsync="rsync")
    mended(synced, archive)


def test_a_program_that_is_not_rsync_is_named(synced: LabSite) -> None:
    before = snapshot(synced.tree)
    synced.configure(rsync="/bin/true")
    refused(synced.sync(), 3, "not rsync")
    assert snapshot(synced.tree) == before


@by_whole_tree_and_by_lists
def test_a_full_disk_is_named_and_the_tree_stays_whole(
    tmp_path: Path, make_site: MakeSite, archive: LabArchive, strategy: Strategy
) -> None:
    with mounted_tmpfs(tmp_path / "disk", "3m") as disk:
        site = make_site(path=str(disk / "tree"), grace="0s")
        site.tree = disk / "tree"
        site.sync().check()
        archive.update()
        before = snapshot(site.tree)
        ballast = disk / "ballast"
        fill(ballast)
        refused(site.sync(), 3, "disk is full")
        assert snapshot(site.tree) == before
        ballast.unlink()
        mended(site, archive, strategy)


def fill(ballast: Path) -> None:
    """Leave no more than a few blocks of a file system free."""
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(16384)):
            pass
    os.truncate(ballast, ballast.stat().st_size - 20_000)


def test_a_first_sync_onto_a_disk_that_is_too_small_ends_and_serves_nothing(
    tmp_path: Path, make_site: MakeSite
) -> None:
    with mounted_tmpfs(tmp_path / "disk", "200k") as disk:
        site = make_site(path=str(disk / "tree"))
        refused(site.sync(), 3, "disk is full")
        assert not list((disk / "tree").glob("dists/*/InRelease"))


@by_whole_tree_and_by_lists
def test_a_read_only_tree_is_named(
    tmp_path: Path, make_site: MakeSite, archive: LabArchive, strategy: Strategy
) -> None:
    with mounted_tmpfs(tmp_path / "disk", "8m") as disk:
        site = make_site(path=str(disk / "tree"), grace="0s")
        site.tree = disk / "tree"
        site.sync().check()
        archive.update()
        before = snapshot(site.tree)
        remount(disk, "ro")
        refused(site.sync(), 3, str(site.tree), "Read-only file system")
        assert snapshot(site.tree) == before
        remount(disk, "rw")
        mended(site, archive, strategy)


def test_a_tree_that_belongs_to_somebody_else_is_named(synced: LabSite, archive: LabArchive) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    before = snapshot(synced.tree)
    synced.tree.chmod(0o555)
    refused(synced.sync(), 3, str(synced.tree), "Permission denied")
    assert snapshot(synced.tree) == {**before, **snapshot(synced.tree)}
    synced.tree.chmod(0o755)
    mended(synced, archive)


def test_a_tree_whose_parent_is_missing_is_not_made(synced: LabSite, tmp_path: Path) -> None:
    synced.configure(path=str(tmp_path / "not/mounted/tree"))
    refused(synced.sync(), 78, "not/mounted/tree", "cannot create the tree")
    assert not (tmp_path / "not").exists()


# The configuration


def test_a_missing_keyring_is_named_before_anything_is_touched(synced: LabSite, archive: LabArchive) -> None:
    before = snapshot(synced.tree)
    synced.configure(keyring="/nonexistent/keyring.gpg")
    refused(synced.sync(), 78, "/nonexistent/keyring.gpg", "does not exist")
    assert snapshot(synced.tree) == before
    synced.configure(keyring=str(archive.keyring))
    mended(synced, archive)


def test_a_keyring_that_cannot_be_read_is_named(synced: LabSite, archive: LabArchive) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    before = snapshot(synced.tree)
    archive.keyring.chmod(0o000)
    refused(synced.sync(), 78, str(archive.keyring), "can be read")
    assert snapshot(synced.tree) == before


def test_a_keyring_that_is_a_directory_is_named(synced: LabSite, tmp_path: Path) -> None:
    synced.configure(keyring=str(tmp_path))
    refused(synced.sync(), 78, str(tmp_path))


def test_a_password_file_that_others_can_read_is_refused(synced: LabSite, archive: LabArchive) -> None:
    before = snapshot(synced.tree)
    (synced.etc / "upstream.secret").chmod(0o644)
    refused(synced.sync(), 78, "upstream.secret")
    assert snapshot(synced.tree) == before
    (synced.etc / "upstream.secret").chmod(0o600)
    mended(synced, archive)


def test_two_mistakes_in_the_configuration_are_named_at_once(synced: LabSite) -> None:
    before = snapshot(synced.tree)
    synced.configure(graze="1h", rounds=0)
    refused(synced.sync(), 78, "archives.debian.graze", "did you mean grace?", "archives.debian.rounds")
    assert snapshot(synced.tree) == before


# Signatures


def unsigned(archive: LabArchive, tmp_path: Path) -> None:
    drop_release_files(archive, "InRelease", "Release.gpg")


def foreign_key(archive: LabArchive, tmp_path: Path) -> None:
    sign_with(archive, LabKey.create(tmp_path / "foreign"))


def spoilt(archive: LabArchive, tmp_path: Path) -> None:
    spoil_signature(archive)


@pytest.mark.parametrize(
    ("spoil", "code"), [(unsigned, Exit.STAGE2), (foreign_key, Exit.STAGE2), (spoilt, Exit.HELD)]
)
def test_a_state_without_a_good_signature_is_not_published(
    synced: LabSite,
    archive: LabArchive,
    tmp_path: Path,
    spoil: Callable[[LabArchive, Path], None],
    code: Exit,
) -> None:
    def of_sid() -> dict[str, Seen]:
        return {path: seen for path, seen in snapshot(synced.tree).items() if "dists/sid/" in path}

    before = of_sid()
    spoil(archive, tmp_path)
    refused(synced.sync(), code, "dists/")
    now = of_sid()
    assert {path: now.get(path) for path in before} == before
    assert broken(synced.tree, thorough=True) == []


def test_a_site_goes_on_when_upstream_signs_rightly_again(
    synced: LabSite, archive: LabArchive, tmp_path: Path
) -> None:
    good = archive._key
    sign_with(archive, LabKey.create(tmp_path / "foreign"))
    refused(synced.sync(), 4)
    sign_with(archive, good)
    mended(synced, archive)


def test_a_key_that_has_expired_is_named(tmp_path: Path, make_site: MakeSite, archive: LabArchive) -> None:
    site = make_site()
    site.sync().check()
    before = snapshot(site.tree)
    site.configure(keyring=str(expiring_keyring(tmp_path / "expired", archive)))
    refused(site.sync(), 4, "expired")
    assert {path: now for path, now in snapshot(site.tree).items() if path in before} == before


def expiring_keyring(home: Path, archive: LabArchive) -> Path:
    """Sign the archive with a key that was good in 2020 only; its keyring."""
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--pinentry-mode", "loopback"]
    gpg += ["--passphrase", "", "--faked-system-time", "20200101T000000!"]
    try:
        process.run([*gpg, "--quick-gen-key", "old@example.org", "ed25519", "sign", "1d"]).check()
        for release in (
            archive.path / path for path in generation_files(archive) if path.endswith("/Release")
        ):
            signed = process.run([*gpg, "--clearsign", "-o", "-", str(release)]).check().output
            (release.parent / "InRelease").write_bytes(signed)
        drop_release_files(archive, "Release.gpg")
        keyring = home / "keyring.gpg"
        keyring.write_bytes(process.run([*gpg, "--export"]).check().output)
    finally:
        process.run(["gpgconf", "--homedir", str(home), "--kill", "all"])
    return keyring


# Upstream is damaged


def test_an_upstream_without_release_files_is_refused(synced: LabSite, archive: LabArchive) -> None:
    before = snapshot(synced.tree)
    drop_release_files(archive)
    refused(synced.sync(), 3, "no Release files")
    assert snapshot(synced.tree) == before
    publish_again(archive)
    mended(synced, archive)


def test_an_emptied_upstream_is_refused(synced: LabSite, archive: LabArchive, tmp_path: Path) -> None:
    before = snapshot(synced.tree)
    away = archive.path.rename(tmp_path / "away")
    archive.path.mkdir()
    refused(synced.sync(), 3)
    assert snapshot(synced.tree) == before
    archive.path.rmdir()
    away.rename(archive.path)
    mended(synced, archive)


def test_an_upstream_tree_that_is_gone_is_refused(
    synced: LabSite, archive: LabArchive, tmp_path: Path
) -> None:
    before = snapshot(synced.tree)
    archive.path.rename(tmp_path / "away")
    refused(synced.sync(), 3)
    assert snapshot(synced.tree) == before


@pytest.mark.parametrize("damage", [spoil_file, truncate_file, lose_file])
def test_a_new_pool_file_that_is_not_what_the_indices_say_holds_its_suite_back(
    site: LabSite, archive: LabArchive, damage: Callable[[LabArchive, str], str]
) -> None:
    site.configure(rounds=2)
    site.sync().check()
    published = (site.tree / "dists/sid/InRelease").read_bytes()
    path = next(path for path in archive.update(add=3).added if path.endswith("_amd64.deb"))
    damage(archive, path)
    refused(site.sync(), Exit.HELD, path)
    assert (site.tree / "dists/sid/InRelease").read_bytes() == published
    assert broken(site.tree, thorough=True) == []
    restore_file(archive, path)
    site.sync().check()
    assert broken(site.tree, thorough=True) == []


@pytest.mark.parametrize("words", [("--stage", "1"), ()])
def test_a_damaged_file_that_an_earlier_run_fetched_is_refused_again(
    site: LabSite, archive: LabArchive, words: tuple[str, ...]
) -> None:
    site.configure(rounds=2)
    site.sync().check()
    path = spoil_file(archive, next(path for path in archive.update().added if path.endswith("_amd64.deb")))
    site.sync(*words)
    refused(site.sync("--stage", "2"), Exit.HELD, path)
    assert broken(site.tree, thorough=True) == []


def test_an_index_that_is_not_what_release_says_holds_its_suite_back(
    site: LabSite, archive: LabArchive
) -> None:
    site.configure(rounds=2)
    site.sync().check()
    published = (site.tree / "dists/wheezy/InRelease").read_bytes()
    archive.update()
    for name in ("Packages.gz", "Packages.xz"):
        spoil_file(archive, f"dists/wheezy/main/binary-amd64/{name}")
    refused(site.sync(), Exit.HELD, "dists/wheezy/main/binary-amd64/Packages.")
    assert (site.tree / "dists/wheezy/InRelease").read_bytes() == published
    assert broken(site.tree, thorough=True) == []


def test_a_first_sync_that_finds_a_damaged_pool_file_names_it_and_publishes_the_rest(
    site: LabSite, archive: LabArchive
) -> None:
    path = spoil_file(archive)
    refused(site.sync(), Exit.OK, path)
    restore_file(archive, path)
    site.sync().check()
    assert broken(site.tree, thorough=True) == []


def test_who_wants_only_complete_states_has_none_with_a_damaged_file(
    site: LabSite, archive: LabArchive
) -> None:
    site.configure(incomplete="hold")
    path = spoil_file(archive)
    refused(site.sync(), Exit.HELD, path)
    assert not (site.tree / "dists/sid/InRelease").exists()
    restore_file(archive, path)
    site.sync().check()
    assert broken(site.tree, thorough=True) == []
