"""What a review found wrong once: each promise that was broken is kept here, with the case that broke it."""

import os
import re
import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from acceptance.calls import Call, requests
from acceptance.gate import Gate
from pushmirror.archive.publishing_order import PublishStep, publish_step
from pushmirror.config.model import Strategy
from pushmirror.errors import Exit
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.dists import Layout
from pushmirror.lab.indices import SUITES
from pushmirror.lab.judge import OWN, broken, same_tree
from pushmirror.lab.services import wait_until
from pushmirror.lab.signing import LabKey
from pushmirror.lab.site import ARCHIVE, LabSite
from pushmirror.lab.watch import Watcher
from pushmirror.system import process
from pushmirror.system.beneath import Beneath
from pushmirror.tree.publish import Publisher, PublishPlan
from pushmirror.tree.traces import Traces
from pushmirror.tree.work_area import WorkArea
from support.damage import (
    break_suite,
    drop_release_files,
    publish_again,
    restore_file,
    set_broken,
    spoil_file,
)
from support.published import release_texts
from support.rsync_daemon import RsyncDaemon
from trees import refused, snapshot
from upstreams import BY_EACH_STRATEGY, after_a_change, archive_for

MakeSite = Callable[..., LabSite]
USER, PASSWORD = "site1.example.com", "correct horse battery staple"
NOT_PUBLISHED = {Exit.STAGE2, Exit.BEHIND}
BUT_TRACES = re.compile(f"project(/trace)?|{OWN.pattern}")  # our directory for them is ours alone


@pytest.fixture
def archive(tmp_path: Path, strategy: Strategy, lab_key: LabKey) -> LabArchive:
    return archive_for(strategy, tmp_path / "archive", packages=8, key=lab_key)


_seconds = count(1_600_000_000)


def put(path: Path, text: str) -> Path:
    """Write a file with a time that no other has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o644)
    os.utime(path, (next(_seconds),) * 2)
    return path


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A plain tree of an upstream that leaves no traces."""
    return put(tmp_path / "plain/a/one", "one").parent.parent


@pytest.fixture
def plain_site(tmp_path: Path, plain: Path, daemon: RsyncDaemon) -> LabSite:
    daemon.add_module("plain", plain, {USER: PASSWORD})
    return LabSite(tmp_path / "site", password=PASSWORD, upstream=daemon.url("plain", USER))


def pass_grace(site: LabSite) -> None:
    """Let three days pass since every generation that was replaced."""
    with closing(sqlite3.connect(site.state / "closures/debian/ledger.sqlite")) as closures, closures:
        closures.execute("UPDATE generations SET replaced = replaced - ?", (3 * 86400,))


def last_log(site: LabSite) -> str:
    return site.run("log", "last").check().output.decode()


# Upstreams of another kind


def test_a_plain_tree_without_traces_is_mirrored_again_and_again(plain_site: LabSite, plain: Path) -> None:
    for number in range(3):
        plain_site.sync().check()
        assert same_tree(plain, plain_site.tree, ignore=BUT_TRACES) == []
        put(plain / f"b/{number}", "new")
    plain_site.sync().check()
    plain_site.sync().check()
    assert same_tree(plain, plain_site.tree, ignore=BUT_TRACES) == []


@pytest.mark.parametrize("lacking", ["project", "project/trace"])
def test_an_archive_without_traces_is_mirrored_again_and_again(
    site: LabSite, archive: LabArchive, lacking: str
) -> None:
    site.configure(grace="0s")
    put(archive.path / "project/README", "not much")
    for _ in range(3):
        shutil.rmtree(archive.path / lacking)
        site.sync().check()
        assert broken(site.tree, thorough=True) == []
        site.sync("--strategy", "full").check()
        assert same_tree(archive.path, site.tree, ignore=BUT_TRACES) == []
        (archive.path / lacking).mkdir()
        archive.update()


def test_a_suite_that_upstream_dropped_goes_when_its_grace_is_over(
    site: LabSite, archive: LabArchive
) -> None:
    site.configure(delete={"max_share": 1.0})
    site.sync().check()
    shutil.rmtree(archive.path / "dists/wheezy")
    (archive.path / "dists/oldoldstable").unlink()
    site.sync().check()
    assert broken(site.tree, thorough=True) == []
    pass_grace(site)
    site.sync().check()
    assert same_tree(archive.path, site.tree) == []
    site.sync().check()
    assert "reading indices" not in last_log(site)


def test_runs_while_a_dropped_suite_has_its_grace_do_not_read_all_indices_again(
    site: LabSite, archive: LabArchive
) -> None:
    site.sync().check()
    shutil.rmtree(archive.path / "dists/wheezy")
    (archive.path / "dists/oldoldstable").unlink()
    site.sync().check()
    site.sync().check()
    assert "reading indices" not in last_log(site)


@pytest.mark.parametrize("anew", [True, False], ids=["with a new state", "in the same state"])
def test_an_inrelease_that_upstream_no_longer_has_is_not_served_beside_a_newer_release(
    site: LabSite, archive: LabArchive, anew: bool
) -> None:
    site.sync().check()
    if anew:
        archive.update()
    drop_release_files(archive, "InRelease")
    site.sync().check()
    assert list(site.tree.glob("dists/*/InRelease")) == []
    assert all(
        (site.tree / path).read_bytes() == (archive.path / path).read_bytes()
        for path in ("dists/sid/Release", "dists/trixie/Release.gpg")
    )


def test_a_suite_that_begins_to_have_by_hash_changes_in_one_instant(
    tmp_path: Path, daemon: RsyncDaemon
) -> None:
    old, new = (
        LabArchive.create(
            tmp_path / name,
            packages=packages,
            suites=[replace(SUITES[2], by_hash=name == "new")],
            layout=Layout.SIMPLE,
        )
        for name, packages in (("old", 6), ("new", 12))
    )
    daemon.add_module(ARCHIVE, old.path)
    site = LabSite(tmp_path / "site", upstream=daemon.url(ARCHIVE), keyring=str(old.keyring))
    site.sync().check()
    before = (site.tree / "dists/wheezy").stat().st_ino
    daemon.add_module(ARCHIVE, new.path)
    site.configure(keyring=str(new.keyring))
    site.sync().check()
    assert (site.tree / "dists/wheezy").stat().st_ino != before
    assert broken(site.tree, thorough=True) == []


# Damage


@pytest.mark.parametrize("strategy", [Strategy.FULL, Strategy.MANIFEST])  # they look at each name
def test_a_file_that_is_right_here_stays_when_upstreams_is_damaged(
    site: LabSite, archive: LabArchive
) -> None:
    site.configure(grace="0s")
    site.sync().check()
    archive.update(add=1, replace=0, remove=0)
    path = spoil_file(archive, next(p for p in archive.pool_files if (site.tree / p).exists()))
    os.utime(archive.path / path)
    after_a_change(archive)
    refused(site.sync(), Exit.OK, path)
    assert broken(site.tree, thorough=True) == []
    restore_file(archive, path)
    after_a_change(archive)
    site.sync().check()
    assert same_tree(archive.path, site.tree) == []


def test_a_wrong_file_of_an_architecture_that_is_added_later_is_refused(
    site: LabSite, archive: LabArchive
) -> None:
    site.configure(architectures=["amd64"])
    site.sync().check()
    path = spoil_file(archive, next(p for p in archive.pool_files if p.endswith("_arm64.deb")))
    site.configure(architectures=None)
    result = site.sync()
    refused(result, result.exit_code, path)
    assert result.exit_code in NOT_PUBLISHED
    assert list(site.tree.glob("dists/**/binary-arm64/Packages*")) == []
    restore_file(archive, path)
    site.sync().check()
    assert broken(site.tree, thorough=True) == []


def test_files_of_an_architecture_that_was_added_later_have_their_grace(
    site: LabSite, archive: LabArchive
) -> None:
    site.configure(architectures=["amd64"])
    site.sync().check()
    site.configure(architectures=None)
    site.sync().check()
    removed = archive.update(add=0, replace=6, remove=0).removed
    site.sync().check()
    assert any(path.endswith("_arm64.deb") for path in removed)
    assert [path for path in removed if not (site.tree / path).exists()] == []


def test_a_wrong_by_hash_file_of_an_adopted_tree_does_not_become_an_index(
    site: LabSite, archive: LabArchive
) -> None:
    shutil.copytree(archive.path, site.tree, symlinks=True)
    index = "dists/sid/main/binary-amd64/Packages.xz"
    right = (archive.path / index).read_bytes()
    for copy in (site.tree / index).parent.glob("by-hash/*/*"):
        if copy.read_bytes() == right:
            when = copy.stat().st_mtime
            copy.write_bytes(right[:-1] + bytes([right[-1] ^ 0xFF]))
            os.utime(copy, (when, when))
    (site.tree / index).unlink()
    site.sync().check()
    assert (site.tree / index).read_bytes() == right


def test_a_keyring_that_is_configured_later_is_asked_though_nothing_has_changed(
    make_site: MakeSite, archive: LabArchive, tmp_path: Path
) -> None:
    site = make_site(keyring=None)
    site.sync().check()
    other = tmp_path / "other.gpg"
    other.write_bytes(LabKey.create(tmp_path / "other").public)
    site.configure(keyring=str(other))
    refused(site.sync(), Exit.STAGE2, "dists/")
    site.configure(keyring=str(archive.keyring))
    site.sync().check()


# Upstream changes during the run


def test_a_plain_tree_that_grew_during_the_run_is_complete_at_its_end(
    plain_site: LabSite, plain: Path
) -> None:
    put(plain / "project/trace/master", "has traces")
    plain_site.sync().check()
    put(plain / "new", "new")
    grow = ["sh", "-c", 'test -e "$0" || echo late >"$0"', str(plain / "late")]
    plain_site.configure(hooks={"after_stage1": grow})
    plain_site.sync().check()
    assert (plain / "late").exists()
    assert same_tree(plain, plain_site.tree, ignore=BUT_TRACES) == []


@pytest.mark.parametrize("during", ["--delete-excluded", "-rltn"], ids=["pinning", "listing"])
def test_names_that_vanish_while_upstream_is_looked_at_make_the_run_look_again(
    site: LabSite, archive: LabArchive, tmp_path: Path, during: str
) -> None:
    once, program = tmp_path / "once", tmp_path / "rsync"
    program.write_text(
        f'#!/bin/sh\nrsync "$@"; code=$?\ncase "$*" in *{during}*) mkdir {once} 2>&- &&\n'
        "{ echo 'file has vanished: \"x\" (in debian)' >&2; exit 24; } ;; esac\nexit $code\n"
    )
    program.chmod(0o755)
    site.configure(rsync=str(program))
    site.sync().check()
    assert once.exists()
    assert same_tree(archive.path, site.tree) == []


@pytest.mark.parametrize(
    ("strategy", "first"), [(Strategy.FULL, "-rltn"), (Strategy.INDEX, "--ignore-missing-args")]
)
def test_a_suite_is_not_published_without_a_translation_that_upstream_is_replacing_meanwhile(
    site: LabSite, archive: LabArchive, tmp_path: Path, strategy: Strategy, first: str
) -> None:
    site.configure(strategy=strategy.value)
    site.sync().check()
    archive.update()
    between = shutil.copytree(archive.path, tmp_path / "between", symlinks=True)
    archive.update()
    after = shutil.copytree(archive.path, tmp_path / "after", symlinks=True)
    named = "".join(release_texts(archive).values())
    for copy in after.glob("dists/*/main/i18n/by-hash/*/*"):
        if copy.name not in named:
            copy.unlink()  # this upstream keeps none for a while
    process.run(["rsync", "-a", "--delete", f"{between}/", f"{archive.path}/"]).check()
    program = tmp_path / "rsync"
    program.write_text(  # upstream goes on between our first look at it and the second
        f'#!/bin/sh\ncase "$*" in *{first}*) mkdir {tmp_path}/once 2>&- &&'
        f" rsync -a --delete {after}/ {archive.path}/ ;; esac\n"
        'exec rsync "$@"\n'
    )
    program.chmod(0o755)
    site.configure(rsync=str(program))
    with Watcher(site.tree) as watcher:
        site.sync().check()
    assert (watcher.broken, watcher.messages) == (0, ())
    assert site.json("history", "debian")[0]["stats"]["rounds"] == 2
    assert re.search("starting over: .*Translation.* is missing upstream", last_log(site))
    assert broken(site.tree) == []


def test_release_files_that_disagree_while_upstream_is_updating_are_waited_for(
    site: LabSite, archive: LabArchive
) -> None:
    site.configure(grace="0s", strategy="full", update_in_progress={"wait": "1s", "retries": 20})
    site.sync().check()
    archive.update()
    flag = put(archive.path / "Archive-Update-in-Progress-hub.example.org", "1\n")
    os.utime(flag)
    release = archive.path / "dists/sid/Release"
    text = release.read_bytes()
    release.write_bytes(text.replace(b"Origin: Lab", b"Origin: Another"))
    with site.running("sync", ARCHIVE) as child:
        logs = site.state / "logs/debian"
        assert wait_until(lambda: any("checking again" in log.read_text() for log in logs.iterdir()))
        release.write_bytes(text)
        flag.unlink()
        assert Call(child).exit_code() == Exit.OK
    assert same_tree(archive.path, site.tree) == []


def test_a_directory_that_went_and_came_in_one_run_is_made_again(tmp_path: Path) -> None:
    put(tmp_path / "tree/pool/d/x", "old")
    area = opened(tmp_path / "tree")
    publisher = Publisher(tmp_path / "tree", area)
    assert publisher.delete(["pool/d/x"], ["pool/d"]) == 1
    put(area.new / "pool/d/y", "new")
    assert publisher.land(["pool/d/y"]) == {"pool/d/y"}
    assert (tmp_path / "tree/pool/d/y").read_text() == "new"


# The order of publishing


def opened(tree: Path) -> WorkArea:
    area = WorkArea(tree)
    area.open()
    return area


def test_a_suite_that_is_swapped_comes_after_the_pool_files_that_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tmp_path / "tree"
    put(tree / "dists/sid/InRelease", "old")
    area = opened(tree)
    names = ["dists/sid/main/Packages.diff/1.gz", "dists/sid/InRelease", "pool/a.deb", "indices/x"]
    for name in names:
        put(area.new / name, "new")
    seen: list[bool] = []

    exchange = Beneath.exchange

    def watched(beneath: Beneath, one: str, other: str) -> bool:
        seen.append((tree / "pool/a.deb").exists())
        return exchange(beneath, one, other)

    monkeypatch.setattr(Beneath, "exchange", watched)
    Publisher(tree, area).publish(PublishPlan(names, {}, [], at_once=("dists/sid",)))
    assert seen[-1] is True
    assert [(tree / name).read_text() for name in names] == ["new"] * 4


@pytest.mark.parametrize(
    "path", ["packages/a_1_all.deb", "pool-sparc64/main/a/a_1.deb", "all/Packages.d/x.deb"]
)
def test_packages_come_before_what_names_them_wherever_they_are(path: str) -> None:
    assert publish_step(path) is PublishStep.EARLY


def test_landing_leaves_a_link_alone_through_which_live_paths_go(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    put(tree / "store/live.deb", "live")
    (tree / "pool").symlink_to("store")
    area = opened(tree)
    put(area.new / "pool/new.deb", "new")
    Publisher(tree, area).land(["pool/new.deb"])
    assert (tree / "pool/live.deb").read_text() == "live"


def test_a_pool_that_becomes_a_directory_is_reachable_after_stage_1(
    site: LabSite, archive: LabArchive
) -> None:
    site.configure(grace="0s")
    (archive.path / "pool").rename(archive.path / "store")
    (archive.path / "pool").symlink_to("store")
    site.sync().check()
    (archive.path / "pool").unlink()
    (archive.path / "store").rename(archive.path / "pool")
    archive.update()
    site.sync("--stage", "1")
    assert broken(site.tree, thorough=True) == []
    site.sync("--strategy", "full", "--allow-mass-delete").check()
    assert same_tree(archive.path, site.tree) == []


def _to_file(path: Path) -> None:
    shutil.rmtree(path)
    put(path, "x")


def _to_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("Packages.gz")


@pytest.mark.parametrize(
    ("name", "change"),
    [("pool/main", _to_file), ("dists/wheezy/main/binary-amd64/Packages.xz", _to_link)],
)
def test_what_the_live_indices_name_stays_when_upstream_has_another_kind_of_thing_there(
    site: LabSite, archive: LabArchive, name: str, change: Callable[[Path], None]
) -> None:
    site.sync().check()
    directory = site.tree / name if (site.tree / name).is_dir() else (site.tree / name).parent
    before = snapshot(directory)
    change(archive.path / name)
    for more in ((), ("--strategy", "full")):
        site.sync(*more)
        assert broken(site.tree, thorough=True) == []
    assert snapshot(directory) == before


@pytest.mark.parametrize("strategy", BY_EACH_STRATEGY)
def test_a_suite_that_is_held_back_stays_as_it_is_run_by_run(site: LabSite, archive: LabArchive) -> None:
    site.sync().check()
    before = snapshot(site.tree / "dists/trixie")
    for _ in range(3):
        break_suite(archive, "trixie")
        after_a_change(archive)
        assert site.sync().exit_code == Exit.HELD
        assert snapshot(site.tree / "dists/trixie").items() >= before.items()  # by-hash copies come early
        set_broken(archive, "trixie", True)
        archive.update()


def test_what_is_replaced_by_a_change_of_kind_has_its_grace_however_long_it_was_live(
    site: LabSite, archive: LabArchive
) -> None:
    site.configure(grace="36h")
    site.sync().check()
    pass_grace(site)
    by_hash = "dists/sid/main/binary-amd64/by-hash/SHA256"
    before = snapshot(site.tree / by_hash)
    (archive.path / "dists/sid").rename(archive.path / "dists/new")
    (archive.path / "dists/sid").symlink_to("new")
    shutil.rmtree(archive.path / "dists/new/main/binary-amd64/by-hash")
    site.sync().check()
    assert (site.tree / "dists/sid").is_symlink()
    assert before and before.items() <= snapshot(site.tree / by_hash).items()


@pytest.mark.parametrize("strategy", BY_EACH_STRATEGY)
def test_a_directory_in_the_place_of_an_inrelease_is_none_and_stops_no_run(
    site: LabSite, archive: LabArchive
) -> None:
    site.configure(grace="0s")
    site.sync().check()
    place = archive.path / "dists/wheezy/InRelease"
    place.unlink()
    place.mkdir()
    after_a_change(archive)
    for more in ((), ("--strategy", "full"), (), ("--strategy", "full")):
        site.sync(*more).check()
        assert broken(site.tree, thorough=True) == []
    place.rmdir()
    archive.update()
    site.sync("--strategy", "full").check()
    assert same_tree(archive.path, site.tree) == []


def test_a_directory_that_would_lose_too_much_stays_until_it_is_allowed_and_all_else_is_published(
    site: LabSite, archive: LabArchive
) -> None:
    for number in range(5):
        put(archive.path / f"doc/{number}", "x")
    site.configure(grace="0s", delete={"max_files": 4})
    site.sync("--allow-mass-delete").check()
    shutil.rmtree(archive.path / "doc")
    put(archive.path / "tools/readme", "x")
    (archive.path / "doc").symlink_to("tools")
    publish_again(archive)
    for more in (("--strategy", "full"), ()):
        site.sync(*more).check()
        assert "--allow-mass-delete" in last_log(site) and (site.tree / "doc/4").is_file()
        assert (site.tree / "dists/sid/InRelease").read_bytes() == (
            archive.path / "dists/sid/InRelease"
        ).read_bytes()
        assert site.json("status")[0]["level"] == "warning"
    site.sync("--allow-mass-delete", "--strategy", "full").check()
    assert same_tree(archive.path, site.tree) == []
    assert site.json("status")[0]["level"] == "ok"


# Who asked for what


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


def waits(site: LabSite, number: int) -> bool:
    """Wait until so many requests were ever made."""
    return wait_until(lambda: len(requests(site)) >= number)


def test_a_mass_deletion_that_is_allowed_during_a_run_is_carried_out(
    site: LabSite, archive: LabArchive, gate: Gate
) -> None:
    site.configure(grace="0s", strategy="full", delete={"max_files": 0})
    site.sync().check()
    site.configure(hooks={"before_sync": gate.hook})
    archive.update()
    with gate.closed(), site.running("sync", ARCHIVE) as first:
        gate.wait_for()
        with site.running("sync", ARCHIVE) as second:
            assert waits(site, 3)
            with site.running("sync", ARCHIVE, "--allow-mass-delete") as operator:
                assert waits(site, 4)
                os.kill(first.pid, signal.SIGTERM)
                assert [Call(one).exit_code() for one in (first, second, operator)] == [143, 0, 0]
    assert same_tree(archive.path, site.tree) == []


def test_a_mass_deletion_is_allowed_to_nobody_but_who_asked_for_it(
    site: LabSite, archive: LabArchive, gate: Gate
) -> None:
    site.configure(grace="0s", delete={"max_files": 0})
    site.sync().check()
    site.configure(hooks={"after_publish": gate.hook})
    with site.running("sync", ARCHIVE, "--allow-mass-delete") as operator:
        with gate.closed():
            gate.wait_for()
            removed = archive.update().removed
            with site.running("receive", "sync:all") as push:
                assert waits(site, 3)
                os.kill(push.pid, signal.SIGKILL)
        assert Call(operator).exit_code() == Exit.OK
    assert "NOTHING WAS DELETED" in last_log(site)
    assert [path for path in removed if not (site.tree / path).exists()] == []


def test_a_push_whose_words_are_not_utf_8_is_served(site: LabSite, archive: LabArchive) -> None:
    words = os.fsdecode(b"sync:archive:debian sync:all \xff\xfe")
    site.run("receive", env={"SSH_ORIGINAL_COMMAND": words}).check()
    assert same_tree(archive.path, site.tree) == []
    site.json("history")


# Traces


def test_the_trace_that_a_killed_run_did_not_write_is_written_by_the_next(
    site: LabSite, archive: LabArchive
) -> None:
    site.sync().check()
    trace = site.tree / "project/trace" / site.name
    old = trace.read_text()
    archive.update()
    site.sync().check()
    trace.write_text(old)
    site.sync().check()
    assert f"Generation: {site.json('history')[0]['generation']}\n" in trace.read_text()
    before = snapshot(trace.parent)
    site.sync().check()
    assert snapshot(trace.parent) == before


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../outside", "../trace/../../../outside"])
def test_traces_that_lead_out_of_the_tree_are_not_copied(tmp_path: Path, target: str) -> None:
    pin = tmp_path / "pin"
    put(pin / "project/trace/archive.example.org", "text")
    (pin / "project/trace/master").symlink_to("archive.example.org")
    (pin / "project/trace/evil.example.org").symlink_to(target)
    traces = Traces(tmp_path / "tree", "site.example.org")
    traces.directory.mkdir(parents=True)
    traces.copy_foreign(pin)
    assert sorted(path.name for path in traces.directory.iterdir()) == ["archive.example.org", "master"]
    assert (traces.directory / "master").read_text() == "text"
