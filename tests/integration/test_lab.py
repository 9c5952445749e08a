"""The lab itself, for real: gpg, gpgv, rsync, stunnel and sshd on the loopback."""

import os
import shutil
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from pushmirror.config.model import PushKind
from pushmirror.errors import ProgramFailed
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.dists import Layout
from pushmirror.lab.indices import SUITES
from pushmirror.lab.judge import SETTLE_S, Judge, broken, same_tree
from pushmirror.lab.network import Network, network, plan
from pushmirror.lab.packages import Tree
from pushmirror.lab.processes import at_work_on
from pushmirror.lab.services import Sshd, new_key, wait_until
from pushmirror.lab.signing import LabKey
from pushmirror.lab.watch import Watcher
from pushmirror.system import process
from support.churn import flipping
from support.damage import (
    break_suite,
    expire,
    lose_file,
    mend_suite,
    restore_file,
    sign_with,
    spoil_file,
    spoil_signature,
    truncate_file,
)
from support.published import generation_files, release_texts
from support.rsync_daemon import RsyncDaemon, TlsTunnel


@pytest.fixture(params=Layout)
def layout(request: pytest.FixtureRequest) -> Layout:
    return Layout(request.param)


@pytest.fixture
def archive(tmp_path: Path, layout: Layout) -> LabArchive:
    return LabArchive.create(tmp_path / "archive", packages=20, layout=layout)


def gpgv(archive: LabArchive, *paths: str) -> int:
    files = [str(archive.path / path) for path in paths]
    return process.run(["gpgv", "--keyring", str(archive.keyring), *files]).exit_code


def snapshot(tree: Path) -> dict[str, bytes]:
    return {str(p.relative_to(tree)): p.read_bytes() for p in tree.rglob("*") if p.is_file()}


# The archive


def test_gpgv_accepts_the_release_files_by_each_name(archive: LabArchive) -> None:
    for name in (name for suite in SUITES for name in (suite.codename, suite.alias)):
        assert gpgv(archive, f"dists/{name}/InRelease") == 0
        assert gpgv(archive, f"dists/{name}/Release.gpg", f"dists/{name}/Release") == 0


@pytest.mark.parametrize("layout", [Layout.DAK])
def test_release_files_and_indices_of_dak_are_links_in_suites_with_by_hash_alone(archive: LabArchive) -> None:
    def links(suite: str) -> dict[str, str]:
        top = archive.path / "dists" / suite
        return {str(p.relative_to(top)): str(p.readlink()) for p in top.rglob("*") if p.is_symlink()}

    trixie = links("trixie")
    assert trixie["InRelease"] == "../../zzz-dists/trixie/InRelease"
    assert trixie["main/binary-amd64/Packages.xz"].startswith("by-hash/SHA256/")
    assert {path.rpartition("/")[2] for path in links("wheezy")} == {"current", "linux"}
    assert sorted(path.name for path in (archive.path / "zzz-dists").iterdir()) == [
        "sid",
        "trixie",
        "trixie-proposed-updates",
    ]


def test_no_gpg_agent_is_left_behind(archive: LabArchive) -> None:
    assert not [path for path in (archive.path.parent / "key").iterdir() if path.name.startswith("S.")]


def test_seed_and_clock_decide_all_but_signatures(archive: LabArchive, tmp_path: Path) -> None:
    first, second = (
        LabArchive.create(tmp_path / name, packages=20, layout=archive.layout, time=lambda: archive._when)
        for name in "ab"
    )
    for one in (first, second):
        one.update()
    trees = [snapshot(one.path) for one in (first, second)]
    different = {path for path in trees[0] if trees[0][path] != trees[1].get(path)}
    assert trees[0].keys() == trees[1].keys()
    assert {path.rpartition("/")[2] for path in different} <= {"InRelease", "Release.gpg", "extrafiles"}


def test_an_update_removes_old_pool_files_and_leaves_the_kept_ones_untouched(archive: LabArchive) -> None:
    before = {path: (archive.path / path).stat() for path in archive.pool_files}
    done = archive.update()
    assert done.added and done.removed
    for path in before.keys() & set(archive.pool_files):
        assert (archive.path / path).stat().st_ino == before[path].st_ino
    assert {
        str(p.relative_to(archive.path)) for p in (archive.path / "pool").rglob("*") if p.is_file()
    } == set(archive.pool_files)


def test_no_changed_file_keeps_size_and_time(archive: LabArchive) -> None:
    def times() -> dict[str, tuple[int, int, bytes]]:
        return {
            str(path): (path.stat().st_size, int(path.stat().st_mtime), path.read_bytes())
            for path in archive.path.rglob("*")
            if path.is_file()
        }

    for _ in range(3):
        before = times()
        archive.update(installer=True)
        after = times()
        same = [p for p in before.keys() & after.keys() if before[p][:2] == after[p][:2]]
        assert [p for p in same if before[p] != after[p]] == []


@pytest.mark.parametrize(("keep", "left"), [(0, False), (1, True)])
def test_by_hash_files_outlive_their_release_as_long_as_asked(
    tmp_path: Path, layout: Layout, keep: int, left: bool
) -> None:
    archive = LabArchive.create(tmp_path / "archive", packages=10, layout=layout, keep_by_hash=keep)
    listed = release_texts(archive)["sid"].split("SHA256:\n")[1]
    line = next(line for line in listed.splitlines() if line.endswith(" main/binary-amd64/Packages.xz"))
    by_hash = archive.path / "dists/sid/main/binary-amd64/by-hash/SHA256" / line.split()[0]
    assert by_hash.exists()
    archive.update()
    assert by_hash.exists() == left
    archive.update()
    assert not by_hash.exists()


def test_what_was_listed_last_by_a_retired_installer_goes_with_it(tmp_path: Path, layout: Layout) -> None:
    archive = LabArchive.create(tmp_path / "archive", packages=2, layout=layout, keep_by_hash=0)
    for _ in range(3):
        archive.update(installer=True)
    kept = [path.name for path in (archive.path / "dists/sid/main/installer-amd64").iterdir()]
    assert len(kept) == 3 and "current" in kept


def test_the_trace_has_a_growing_serial_that_the_archive_knows(archive: LabArchive) -> None:
    before = archive.serial
    archive.update()
    text = (archive.path / "project/trace/master").read_text()
    assert f"\nArchive serial: {archive.serial}\n" in text
    assert archive.serial > before


def test_a_foreign_key_and_a_changed_text_do_not_verify(archive: LabArchive, tmp_path: Path) -> None:
    spoil_signature(archive, "sid")
    assert gpgv(archive, "dists/sid/InRelease") != 0
    assert gpgv(archive, "dists/sid/Release.gpg", "dists/sid/Release") != 0
    sign_with(archive, LabKey.create(tmp_path / "foreign"))
    assert gpgv(archive, "dists/trixie/InRelease") != 0


def test_an_expired_archive_is_signed_but_old(archive: LabArchive) -> None:
    expire(archive)
    assert "Valid-Until: " in release_texts(archive)["trixie"]
    assert gpgv(archive, "dists/trixie/InRelease") == 0


def test_a_suite_that_flips_is_broken_after_every_other_update(archive: LabArchive) -> None:
    seen = [(step, bool(broken(archive.path))) for step in islice(flipping(archive, "sid"), 4)]
    assert seen == [("broken", True), ("mended", False)] * 2


# The judge


def test_a_fresh_and_an_updated_archive_are_whole(archive: LabArchive) -> None:
    assert broken(archive.path, thorough=True, pdiffs=True) == []
    for _ in range(6):
        archive.update()
        assert broken(archive.path, thorough=True, pdiffs=True) == []


def test_a_mirror_of_one_architecture_is_whole(archive: LabArchive) -> None:
    for path in list((archive.path / "dists").rglob("*")):
        if path.name in {"binary-arm64", "source"}:
            shutil.rmtree(path, ignore_errors=True)
        elif path.name.startswith("Contents-"):
            path.unlink()
    for path in list(archive.path.glob("pool/**/*_arm64.*deb")):
        path.unlink()
    assert broken(archive.path) == []


def test_the_judge_finds_a_missing_pool_file(archive: LabArchive) -> None:
    path = lose_file(archive)
    assert any(f"{path} is missing" in problem for problem in broken(archive.path))


def test_a_restored_pool_file_makes_the_archive_whole_again(archive: LabArchive) -> None:
    restore_file(archive, lose_file(archive))
    assert broken(archive.path, thorough=True) == []


def test_the_judge_finds_a_missing_source_file(archive: LabArchive) -> None:
    path = lose_file(archive, next(path for path in archive.pool_files if path.endswith(".dsc")))
    assert any(f"{path} is missing" in problem for problem in broken(archive.path))


def test_the_judge_finds_a_short_pool_file(archive: LabArchive) -> None:
    path = truncate_file(archive)
    assert any(f"{path} has " in problem for problem in broken(archive.path))


def test_the_thorough_judge_finds_a_changed_byte(archive: LabArchive) -> None:
    path = spoil_file(archive)
    assert broken(archive.path) == []
    assert any(f"{path} has another SHA256" in problem for problem in broken(archive.path, thorough=True))


def test_the_judge_finds_a_wrong_index_where_there_is_no_by_hash(archive: LabArchive) -> None:
    spoil_file(archive, "dists/wheezy/main/binary-amd64/Packages.xz")
    assert any("wheezy: main/binary-amd64/Packages.xz" in problem for problem in broken(archive.path))


def test_a_stale_index_beside_a_good_by_hash_is_no_harm(archive: LabArchive) -> None:
    _make_stale(archive.path / "dists/sid/main/binary-amd64/Packages.xz")
    assert broken(archive.path) == []


@pytest.mark.parametrize("layout", [Layout.DAK])
def test_the_judge_finds_a_wrong_index_behind_a_link_into_by_hash(archive: LabArchive) -> None:
    spoil_file(archive, "dists/sid/main/binary-amd64/Packages.xz")
    assert any("sid: main/binary-amd64/Packages.xz" in problem for problem in broken(archive.path))


def test_the_judge_finds_a_stale_index_with_deleted_by_hash(archive: LabArchive) -> None:
    _make_stale(archive.path / "dists/sid/main/binary-amd64/Packages.xz")
    shutil.rmtree(archive.path / "dists/sid/main/binary-amd64/by-hash")
    assert any("sid: main/binary-amd64/Packages.xz" in problem for problem in broken(archive.path))


def _make_stale(index: Path) -> None:
    index.unlink()
    index.write_bytes(b"of another time")


def test_the_judge_finds_a_suite_through_links_and_far_below(archive: LabArchive) -> None:
    dists = archive.path / "dists"
    (dists / "wheezy").rename(archive.path / "snap")
    (dists / "wheezy").symlink_to("../snap")
    (dists / "xenial/org").mkdir(parents=True)
    shutil.copytree(archive.path / "snap", dists / "xenial/org/4.0", symlinks=True)
    for path in ("snap", "dists/xenial/org/4.0"):
        spoil_file(archive, f"{path}/main/binary-amd64/Packages.xz")
    assert [problem.partition(":")[0] for problem in broken(archive.path)] == ["dists/xenial/org/4.0", "snap"]


@pytest.mark.parametrize("layout", [Layout.SIMPLE])
def test_the_judge_finds_suites_where_dists_is_a_link_and_goes_into_no_circle(archive: LabArchive) -> None:
    (archive.path / "dists").rename(archive.path / ".pub")
    (archive.path / "dists").symlink_to(".pub")
    (archive.path / ".pub/again").symlink_to(".")
    assert broken(archive.path) == []
    lose_file(archive)
    assert broken(archive.path) != []


def test_the_judge_allows_what_upstream_lacks(archive: LabArchive) -> None:
    path = lose_file(archive)
    assert broken(archive.path, allowed=frozenset([path])) == []


def test_a_link_that_has_turned_while_it_was_judged_is_the_business_of_the_next_sample(
    archive: LabArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = archive.path / "dists/wheezy"
    for name in ("snap1", "snap2"):
        shutil.copytree(link, archive.path / name, symlinks=True)
    shutil.rmtree(link)
    link.symlink_to("../snap1")
    judge, look = Judge(archive.path), Judge._check_indices

    def turn(*args: Any) -> Any:
        link.unlink()
        link.symlink_to("../snap2")
        shutil.rmtree(archive.path / "snap1", ignore_errors=True)
        return look(*args)

    assert judge.sample() == []
    monkeypatch.setattr(Judge, "_check_indices", turn)
    assert judge.sample() == []


# A suite that is broken, and mended


def test_a_broken_suite_is_signed_and_broken_alone_until_it_is_mended(archive: LabArchive) -> None:
    break_suite(archive, "trixie")
    for _ in range(2):
        assert {problem.partition(":")[0] for problem in broken(archive.path)} == {"dists/trixie"}
        assert gpgv(archive, "dists/trixie/InRelease") == 0
        archive.update()
    mend_suite(archive, "trixie")
    assert broken(archive.path, thorough=True) == []


def test_breaking_a_suite_leaves_the_others_as_they_are(archive: LabArchive) -> None:
    before = generation_files(archive)
    break_suite(archive, "trixie")
    changed = {path for path, text in generation_files(archive).items() if text != before[path]}
    assert {path.split("/")[1] for path in changed} == {"trixie"}


def test_the_judge_finds_a_dangling_link(archive: LabArchive) -> None:
    (archive.path / "dists/testing").symlink_to("forky")
    assert broken(archive.path) == ["dists/testing leads nowhere: forky"]
    (archive.path / "dists/testing").unlink()
    (archive.path / "dists/testing").symlink_to("/etc")
    assert broken(archive.path) == ["dists/testing leads nowhere: /etc"]


def test_the_judge_finds_a_release_file_that_cannot_be_read(archive: LabArchive) -> None:
    released = (archive.path / "dists/trixie/InRelease").resolve()
    released.write_bytes(b"SHA256:\n junk\n")
    assert "dists/trixie: InRelease is damaged" in broken(archive.path)


def test_the_judge_finds_a_link_to_an_installer_that_is_gone(archive: LabArchive) -> None:
    current = archive.path / "dists/sid/main/installer-amd64/current"
    shutil.rmtree(current.resolve())
    assert any("installer-amd64/current leads nowhere" in problem for problem in broken(archive.path))


def test_the_judge_finds_a_missing_image(archive: LabArchive) -> None:
    (archive.path / "dists/sid/main/installer-amd64/current/images/netboot/mini.iso").unlink()
    assert any("netboot/mini.iso is missing" in problem for problem in broken(archive.path))


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
@pytest.mark.parametrize("place", ["an image", "a package"])
def test_the_judge_misses_what_is_no_file(
    archive: LabArchive, place: str, make: Callable[[Path], None]
) -> None:
    image = "dists/sid/main/installer-amd64/current/images/netboot/mini.iso"
    path = archive.path / (image if place == "an image" else archive.pool_files[0])
    path.unlink()
    make(path)
    assert any(f"{path.name} is missing" in problem for problem in broken(archive.path, thorough=True))


def test_the_watcher_counts_broken_samples_and_keeps_the_first_words(archive: LabArchive) -> None:
    with Watcher(archive.path) as watcher:
        assert watcher.samples >= 1
        assert watcher.broken == 0
        path = lose_file(archive)
        seen = watcher.samples
        while watcher.samples < seen + 2:
            pass
    assert 0 < watcher.broken < watcher.samples
    assert any(f"{path} is missing" in message for message in watcher.messages)


def test_the_watcher_looks_at_all_trees_in_turn_and_says_which_is_broken(
    archive: LabArchive, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(archive.path, tmp_path / "other", symlinks=True))
    with Watcher(archive.path, other, gently=True) as watcher:
        assert (watcher.samples >= 2, watcher.broken) == (True, 0)
        path = lose_file(archive)
        seen = watcher.samples
        while watcher.samples < seen + 4:
            pass
    assert 0 < watcher.broken < watcher.samples
    assert all(f" of {archive.path}: " in message for message in watcher.messages)
    assert any(f"{path} is missing" in message for message in watcher.messages)


def test_the_watcher_notices_a_suite_that_vanishes(archive: LabArchive) -> None:
    with Watcher(archive.path) as watcher:
        (archive.path / "dists/sid/InRelease").unlink()
        seen = watcher.samples
        while watcher.samples < seen + 2:
            pass
    assert any("dists/sid: InRelease has vanished" in message for message in watcher.messages)


def test_an_archive_that_keeps_what_it_replaces_is_never_seen_broken(
    tmp_path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_hash = [suite for suite in SUITES if suite.by_hash]
    archive = LabArchive.create(
        tmp_path / "archive", packages=20, suites=by_hash, layout=layout, keep_by_hash=100
    )
    monkeypatch.setattr(Tree, "remove", lambda *_: None)
    # A new installer is there before its Release is signed.
    with Watcher(archive.path, thorough=True, pdiffs=True, settle_s=60) as watcher:
        for _ in range(15):
            archive.update()
    assert watcher.messages == ()
    assert watcher.samples > 3


def test_the_judge_finds_an_old_inrelease_whose_by_hash_is_deleted(tmp_path: Path, layout: Layout) -> None:
    archive = LabArchive.create(tmp_path / "archive", packages=20, layout=layout, keep_by_hash=0)
    inrelease = archive.path / "dists/sid/InRelease"
    old = inrelease.read_bytes()
    archive.update()
    assert broken(archive.path) == []
    inrelease.write_bytes(old)
    assert any("sid: main/binary-amd64/Packages.xz" in problem for problem in broken(archive.path))


def test_an_index_that_changes_before_its_inrelease_is_believed_to_be_underway(archive: LabArchive) -> None:
    index = archive.path / "dists/wheezy/main/binary-amd64/Packages.xz"
    inrelease = archive.path / "dists/wheezy/InRelease"
    before = {path: path.read_bytes() for path in (index, inrelease)}
    archive.update(add=10, replace=0, remove=0)
    after = {path: path.read_bytes() for path in (index, inrelease)}
    inrelease.write_bytes(before[inrelease])
    judge = Judge(archive.path)

    def publish() -> None:
        inrelease.write_bytes(after[inrelease])

    publisher = Timer(SETTLE_S / 5, publish)
    publisher.start()
    problems = judge.sample()
    publisher.join()
    assert problems == []


# The rsync daemon


def fetch(url: str, target: Path, password: str) -> process.Result:
    argv = ["rsync", "-rltH", "--timeout=20", url, f"{target}/"]
    return process.run(argv, env={"RSYNC_PASSWORD": password}, timeout_s=60)


def test_a_user_fetches_a_module_with_the_password(archive: LabArchive, tmp_path: Path) -> None:
    with RsyncDaemon(tmp_path / "daemon") as daemon:
        daemon.add_module("debian", archive.path, {"site1.example.com": "secret"})
        fetch(daemon.url("debian", "site1.example.com") + "/", tmp_path / "mirror", "secret").check()
    assert same_tree(archive.path, tmp_path / "mirror") == []


def test_a_wrong_password_is_refused(archive: LabArchive, tmp_path: Path) -> None:
    with RsyncDaemon(tmp_path / "daemon") as daemon:
        daemon.add_module("debian", archive.path, {"site1": "secret"})
        result = fetch(daemon.url("debian", "site1"), tmp_path / "mirror", "wrong")
    assert result.exit_code == 5


def test_a_stopped_daemon_answers_no_more_and_comes_back_on_its_port(tmp_path: Path) -> None:
    daemon = RsyncDaemon(tmp_path / "daemon")
    with daemon:
        port = daemon.port
    assert fetch(f"rsync://127.0.0.1:{port}/", tmp_path / "x", "").exit_code == 10
    with daemon:
        assert daemon.port == port


def test_many_daemons_start_at_once(tmp_path: Path) -> None:
    daemons = [RsyncDaemon(tmp_path / str(number)) for number in range(4)]
    try:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(RsyncDaemon.start, daemons))
        assert len({daemon.port for daemon in daemons}) == 4
    finally:
        for daemon in daemons:
            daemon.stop()


def test_a_daemon_that_cannot_start_says_why(tmp_path: Path) -> None:
    with RsyncDaemon(tmp_path / "one") as one:
        other = RsyncDaemon(tmp_path / "other")
        other.port = one.port
        with pytest.raises(ProgramFailed, match="did not start"):
            other.start()


@pytest.fixture
def tunnel(archive: LabArchive, tmp_path: Path) -> Iterator[TlsTunnel]:
    with RsyncDaemon(tmp_path / "daemon") as daemon:
        daemon.add_module("debian", archive.path)
        with TlsTunnel(tmp_path / "tls", daemon) as tunnel:
            yield tunnel


def test_the_tunnel_shows_a_certificate_that_its_authority_verifies(tunnel: TlsTunnel) -> None:
    context = ssl.create_default_context(cafile=str(tunnel.ca_file))
    with (
        socket.create_connection(("127.0.0.1", tunnel.port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        assert secured.recv(8) == b"@RSYNCD:"


# sshd


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    with Sshd(tmp_path / "sshd") as server:
        yield server


def test_a_key_runs_its_forced_command_and_nothing_else(sshd: Sshd, tmp_path: Path) -> None:
    sshd.authorize(
        new_key(tmp_path / "key"),
        command='echo "$WHO asked: $SSH_ORIGINAL_COMMAND"; exit 7',
        environment={"WHO": "hub"},
        options=("no-pty", "no-port-forwarding"),
    )
    result = process.run([*sshd.ssh_argv(tmp_path / "key"), "sync:archive:debian sync:all"], timeout_s=30)
    assert result.output == b"hub asked: sync:archive:debian sync:all\n"
    assert result.exit_code == 7


def test_an_unknown_key_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    new_key(tmp_path / "key")
    result = process.run([*sshd.ssh_argv(tmp_path / "key"), "true"], timeout_s=30)
    assert result.exit_code == 255
    assert "Permission denied" in result.errors


def test_thirty_logins_at_once_all_succeed(sshd: Sshd, tmp_path: Path) -> None:
    sshd.authorize(new_key(tmp_path / "key"), command="echo in")
    argv = sshd.ssh_argv(tmp_path / "key")
    with ThreadPoolExecutor(30) as threads:
        results = list(threads.map(lambda _: process.run(argv, timeout_s=120), range(30)))
    assert {result.output for result in results} == {b"in\n"}


# The network


@pytest.fixture
def small(archive: LabArchive, tmp_path: Path) -> Iterator[Network]:
    with network(tmp_path, archive, plan(1, PushKind.ALL, 1)) as made:
        yield made


def test_a_mirror_reads_from_the_one_above_with_its_own_password_only(small: Network, tmp_path: Path) -> None:
    upstream = small.nodes["hub"].config.archives["debian"].upstream
    passwords = [(small.nodes[name].mirror.etc / "upstream.secret").read_text() for name in ("hub", "site1")]
    codes = [fetch(f"{upstream}/", tmp_path / "x", password.strip()).exit_code for password in passwords]
    assert codes == [0, 5]


def test_a_mirror_is_woken_by_its_name_and_does_nothing_else(small: Network) -> None:
    ssh = ["ssh", "-F", str(small.ssh_config), "hub", "sync:check touch", str(small.directory / "touched")]
    assert b"pushmirror" in process.run(ssh, timeout_s=60).check().output
    assert not (small.directory / "touched").exists()


def test_a_push_goes_down_to_the_last_site(small: Network) -> None:
    small.owner.mirror.sync().check()
    served = small.owner.served
    assert served is not None

    def is_current() -> bool:
        now = small.nodes["site1"].served
        return now is not None and now.digest == served.digest

    assert wait_until(is_current, limit_s=120)
    assert same_tree(small.archive.path, small.nodes["site1"].tree) == []


def test_nothing_of_a_network_is_left_behind_in_the_middle_of_a_push(
    archive: LabArchive, tmp_path: Path
) -> None:
    with network(tmp_path, archive, plan(1, PushKind.ALL, 1)) as made:
        made.owner.mirror.sync().check()
        assert wait_until(lambda: bool(made.owner.store.triggers()), limit_s=60)
    assert at_work_on(tmp_path) == []


# Programs in the background


def test_a_background_program_is_gone_after_its_block_with_its_children(tmp_path: Path) -> None:
    with process.background(["sh", "-c", "sleep 100 & echo $!; wait"], log=tmp_path / "log") as child:
        while not (tmp_path / "log").read_text().endswith("\n"):
            pass
        grandchild = int((tmp_path / "log").read_text())
        assert child.poll() is None
        os.kill(grandchild, 0)
    assert child.poll() == -signal.SIGTERM
    assert wait_until(lambda: not _runs(grandchild))  # what was killed has yet to die


def _runs(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
