"""An upstream that means harm: nothing outside of the tree changes, and nothing half-true is published."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pushmirror.errors import Exit
from pushmirror.lab.site import ARCHIVE, LabSite
from pushmirror.system import process
from support.rsync_daemon import RsyncDaemon
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
def outside(tmp_path: Path) -> Path:
    """What must not change: a directory beside the tree."""
    directory = tmp_path / "outside"
    directory.mkdir()
    for name in ("one", "two", "precious"):
        (directory / name).write_text("precious")
    return directory


@pytest.fixture
def site(tmp_path: Path, upstream: Path, outside: Path, daemon: RsyncDaemon) -> Iterator[LabSite]:
    """A synced site; when the test has done its worst, nothing outside has changed."""
    daemon.add_module(ARCHIVE, upstream, {USER: PASSWORD})
    site = LabSite(tmp_path / "site", password=PASSWORD, upstream=daemon.url(ARCHIVE, USER))
    site.sync().check()
    before = snapshot(outside)
    yield site
    assert snapshot(outside) == before
    assert not list(site.tree.glob("Archive-Update-*"))


# Links


@pytest.mark.parametrize("target", ["/etc", "../outside", "../../outside", "pool/../../outside"])
def test_a_link_that_leads_out_is_not_mirrored(site: LabSite, upstream: Path, target: str) -> None:
    (upstream / "way-out").symlink_to(target)
    site.sync().check()
    assert not os.path.lexists(site.tree / "way-out")


def test_a_directory_that_becomes_a_link_out_leads_nobody_out(
    site: LabSite, upstream: Path, outside: Path
) -> None:
    (upstream / "pool").rename(upstream / "old")
    (upstream / "pool").symlink_to(outside)
    site.sync()
    assert not (site.tree / "pool").is_symlink()


@pytest.mark.parametrize("strategy", ["full", "auto"])
def test_a_link_to_another_disk_where_upstream_has_a_directory_is_refused_before_anything_changes(
    site: LabSite, upstream: Path, outside: Path, strategy: str
) -> None:
    (site.tree / "pool").rename(site.tree.parent / "old")
    (site.tree / "pool").symlink_to(outside)
    (upstream / "README").write_text("changed")
    before = snapshot(site.tree)
    refused(site.sync("--strategy", strategy), Exit.CONFIG, "pool is a link to", "mount --bind")
    refused(site.sync("--dry-run"), Exit.CONFIG, "pool is a link to", "mount --bind")
    assert snapshot(site.tree) == before


def test_nothing_is_deleted_through_a_link_that_lies_in_our_tree(
    site: LabSite, upstream: Path, outside: Path
) -> None:
    (site.tree / "extra").symlink_to(outside)
    site.sync().check()
    assert not os.path.lexists(site.tree / "extra")


def test_a_loop_of_links_does_no_harm(site: LabSite, upstream: Path) -> None:
    (upstream / "a").symlink_to("b")
    (upstream / "b").symlink_to("a")
    (upstream / "self").symlink_to("self/below")
    site.sync()
    assert (site.tree / "pool/one").read_text() == "pool/one"


@pytest.mark.parametrize("name", ["dists", "project"])
def test_a_link_where_the_archive_has_its_own_directories_is_not_followed(
    site: LabSite, upstream: Path, outside: Path, name: str
) -> None:
    if (upstream / name).exists():
        (upstream / name).rename(upstream / "old")
    (upstream / name).symlink_to("pool")
    site.sync()
    assert (site.tree / "pool/one").read_text() == "pool/one"
    assert sorted(path.name for path in (site.tree / "pool").iterdir()) == ["one", "two"]


# Depth


def make_deep(tree: Path, depth: int) -> None:
    """A file below so many directories, which no path names at once."""
    directory = os.open(tree, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=directory)
        below = os.open("d", os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=directory))
    os.close(directory)


DEEP = 1000  # as often as Python calls itself; rsync goes a little further


@pytest.fixture
def emptied(tmp_path: Path) -> Iterator[None]:
    """What pytest itself cannot remove is gone when the test is over."""
    yield
    process.run(["rm", "-rf", str(tmp_path)]).check()


def test_a_deep_directory_is_mirrored_and_goes_again(
    tmp_path: Path, upstream: Path, daemon: RsyncDaemon, emptied: None
) -> None:
    make_deep(upstream, DEEP)
    daemon.add_module(ARCHIVE, upstream, {USER: PASSWORD})
    options = {"exclude": ["*.tmp"], "delete": {"max_share": 1.0}}
    site = LabSite(tmp_path / "site", password=PASSWORD, upstream=daemon.url(ARCHIVE, USER), **options)
    site.sync().check()
    assert (site.tree / ("d/" * DEEP) / "file").exists()
    site.sync("--strategy", "full").check()
    site.run("verify").check()
    process.run(["rm", "-r", str(upstream / "d")]).check()
    site.sync().check()
    assert not (site.tree / "d").exists()


# The work area


def link_to_outside(path: Path) -> None:
    path.symlink_to("../outside")


def link_to_pool(path: Path) -> None:
    path.symlink_to("pool")


def plain_file(path: Path) -> None:
    path.write_text("not a directory")


def directory_with_files(path: Path) -> None:
    (path / "pushmirror/new/pool").mkdir(parents=True)
    (path / "pushmirror/landed").write_text("README\n")
    (path / "pushmirror/new/pool/one").write_text("planted")


@pytest.mark.parametrize("make", [link_to_outside, link_to_pool, directory_with_files])
def test_an_upstream_with_a_work_area_of_its_own_does_not_reach_ours(
    site: LabSite, upstream: Path, make: Callable[[Path], None]
) -> None:
    make(upstream / ".~tmp~")
    (upstream / "README").write_text("changed, and longer")
    site.sync()
    assert not os.path.lexists(site.tree / ".~tmp~/pushmirror/landed")
    assert (site.tree / "pool/one").read_text() == "pool/one"
    assert not (site.tree / ".~tmp~").is_symlink() and not (site.tree / ".~tmp~").is_file()


@pytest.mark.parametrize("make", [link_to_pool, plain_file])
def test_a_name_that_only_we_use_does_not_stop_the_rest(
    site: LabSite, upstream: Path, make: Callable[[Path], None]
) -> None:
    make(upstream / ".~tmp~")
    (upstream / "README").write_text("changed, and longer")
    site.sync().check()
    assert (site.tree / "README").read_text() == "changed, and longer"


# What is no file


def test_devices_pipes_and_sockets_are_not_mirrored(site: LabSite, upstream: Path) -> None:
    os.mkfifo(upstream / "pipe")
    if os.geteuid() == 0:
        try:
            os.mknod(upstream / "null", 0o666 | 0o020000, os.makedev(1, 3))
        except OSError:
            pytest.skip("needs to make a device")
    (upstream / "README").write_text("changed, and longer")
    site.sync().check()
    assert (site.tree / "README").read_text() == "changed, and longer"
    assert not os.path.lexists(site.tree / "pipe") and not os.path.lexists(site.tree / "null")


def test_a_pipe_where_a_file_was_is_not_read_for_ever(site: LabSite, upstream: Path) -> None:
    (upstream / "pool/one").unlink()
    os.mkfifo(upstream / "pool/one")
    assert site.sync().seconds < 20


def test_a_pipe_that_lies_in_our_tree_is_replaced_by_the_file(site: LabSite, upstream: Path) -> None:
    (site.tree / "pool/one").unlink()
    os.mkfifo(site.tree / "pool/one")
    site.sync().check()
    assert (site.tree / "pool/one").read_text() == "pool/one"


def test_set_user_id_and_world_writable_modes_are_not_taken_over(site: LabSite, upstream: Path) -> None:
    (upstream / "root").write_text("#!/bin/sh\n")
    (upstream / "root").chmod(0o6777)
    (upstream / "open").mkdir()
    (upstream / "open").chmod(0o3777)
    site.sync().check()
    assert (site.tree / "root").stat().st_mode & 0o7777 == 0o644
    assert (site.tree / "open").stat().st_mode & 0o7777 == 0o755


def test_traces_of_upstream_cannot_be_anything_but_small_files(
    site: LabSite, upstream: Path, outside: Path
) -> None:
    (upstream / "project/trace/out").symlink_to(outside / "precious")
    (upstream / "project/trace" / site.name).write_text("not ours")
    (upstream / "project/trace/directory").mkdir()
    (upstream / "README").write_text("changed, and longer")
    site.sync().check()
    assert "pushmirror" in (site.tree / "project/trace" / site.name).read_text()
    assert not os.path.lexists(site.tree / "project/trace/out")


# A listing that lies

LYING = """\
#!{python}
import os, sys
words = sys.argv[1:]
marks = [word[13:20].encode() for word in words if word.startswith("--out-format=") and "%i" in word]
if marks:
    for line in {lines!r}:
        sys.stdout.buffer.write(marks[0] + line + b"\\n")
    print("Number of files: 3\\nTotal bytes received: 1\\nTotal bytes sent: 1")
else:
    os.execvp("rsync", ["rsync", *words])
"""
_TIME = b"2020/01/01-00:00:00"


def lying(tmp_path: Path, *lines: bytes) -> str:
    """A program that is rsync but for the listing, which it invents."""
    program = tmp_path / "lying"
    program.write_text(LYING.format(python=sys.executable, lines=lines))
    program.chmod(0o755)
    return str(program)


def file_line(path: bytes) -> bytes:
    return b">f+++++++++ 8 %s %s" % (_TIME, path)


def directory_line(path: bytes) -> bytes:
    return b"cd+++++++++ 0 %s %s/" % (_TIME, path)


@pytest.mark.parametrize(
    "lines",
    [
        (file_line(b"../outside/one"),),
        (file_line(b"/etc/one"),),
        (file_line(b".."),),
        (directory_line(b".."), file_line(b"../one")),
        (directory_line(b"pool"), directory_line(b"pool/.."), file_line(b"pool/../one")),
        (directory_line(b"pool"), file_line(b"pool/../../outside/one")),
        (file_line(b"pool//one"),),
        (directory_line(b"new"), file_line(b"new/" + b"x" * 300)),
        (file_line(b"x" * 5000),),
        (file_line(b""),),
        (file_line(b"deep/without/its/directories"),),
    ],
    ids=lambda lines: ascii(lines[-1][13:60]),
)
def test_a_listing_that_cannot_be_true_is_refused(
    site: LabSite, tmp_path: Path, lines: tuple[bytes, ...]
) -> None:
    before = snapshot(site.tree)
    site.configure(rsync=lying(tmp_path, *lines))
    refused(site.sync(), 3)
    assert snapshot(site.tree) == before


def test_a_listing_that_names_a_file_twice_does_no_harm(site: LabSite, tmp_path: Path) -> None:
    one = file_line(b"README")
    site.configure(rsync=lying(tmp_path, one, one))
    site.sync()
    assert (site.tree / "pool/one").exists() or (site.tree / "README").exists()


def test_a_link_of_the_listing_that_leads_out_is_not_made(site: LabSite, tmp_path: Path) -> None:
    link = b"cL+++++++++ 0 %s %s -> %s"
    lines = [link % (_TIME, name, target) for name, target in ((b"a", b"/etc"), (b"b", b"../outside"))]
    site.configure(rsync=lying(tmp_path, *lines, file_line(b"README")))
    site.sync()
    assert not os.path.lexists(site.tree / "a") and not os.path.lexists(site.tree / "b")


# Sender that sends what was not asked for


def test_files_that_were_not_asked_for_stay_out_of_the_tree(site: LabSite, tmp_path: Path) -> None:
    program = tmp_path / "giving"
    program.write_text(
        f"#!{sys.executable}\nimport os, sys, pathlib\n"
        "if '--files-from=-' in sys.argv:\n"
        "    into = pathlib.Path(sys.argv[-1])\n"
        f"    (into / 'way').symlink_to({str(tmp_path / 'outside')!r})\n"
        "    (into / 'unasked').write_text('planted')\n"
        "    (into / 'pool').mkdir(exist_ok=True)\n"
        "    (into / 'pool/unasked').write_text('planted')\n"
        "os.execvp('rsync', ['rsync', *sys.argv[1:]])\n"
    )
    program.chmod(0o755)
    (site.tree / "README").unlink()
    site.configure(rsync=str(program))
    site.sync().check()
    assert (
        not {"unasked", "way"} & {path.name for path in site.tree.iterdir()}
        and not (site.tree / "pool/unasked").exists()
    )
    assert (site.tree / "README").read_text() == "README"


def test_a_link_that_a_sender_plants_in_the_work_area_is_not_followed(
    site: LabSite, upstream: Path, tmp_path: Path, outside: Path
) -> None:
    program = tmp_path / "planting"
    program.write_text(
        f"#!{sys.executable}\nimport os, sys, pathlib, shutil\n"
        "if '--files-from=-' in sys.argv:\n"
        "    into = pathlib.Path(sys.argv[-1])\n"
        "    shutil.rmtree(into / 'pool', ignore_errors=True)\n"
        "    (into / 'pool').is_symlink() and (into / 'pool').unlink()\n"  # it is asked again
        f"    (into / 'pool').symlink_to({str(outside)!r})\n"
        "    print('Number of files: 3\\nTotal bytes received: 1\\nTotal bytes sent: 1')\n"
        "    sys.exit()\n"
        "os.execvp('rsync', ['rsync', *sys.argv[1:]])\n"
    )
    program.chmod(0o755)
    (upstream / "pool/precious").write_text("precious")
    os.utime(upstream / "pool/precious", (1_600_000_000, 1_600_000_000))
    site.configure(rsync=str(program), rounds=1)
    refused(site.sync(), 75)
    assert not (site.tree / "pool/precious").exists()
