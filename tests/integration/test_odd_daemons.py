"""Daemons that refuse options, greet, or cannot read all of their tree: what was asked for comes, no more."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from offering import open_directory
from pushmirror.config.model import Strategy
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.judge import broken, same_tree
from pushmirror.lab.signing import LabKey
from pushmirror.lab.site import ARCHIVE, LabSite
from support.rsync_daemon import RsyncDaemon
from upstreams import BY_EACH_STRATEGY, OwnedArchive, archive_for, see_everything

USER, PASSWORD = "site1.example.com", "correct horse battery staple"
MakeSite = Callable[..., LabSite]

DEBIAN_EXAMPLE = "checksum dry-run"  # of the rsyncd.conf that Debian's rsync ships
ONLY_FTPSYNC = "* !v !l !H !t !p !r !S !B !safe-links !timeout dry-run"
ONLY_THE_LEAST = (
    "dry-run hard-links ignore-times files-from from0 relative ignore-missing-args safe-links perms timeout"
    " compress checksum delete bwlimit"
)


@pytest.fixture
def archive(strategy: Strategy, lab_key: LabKey) -> Iterator[LabArchive]:
    """Where a daemon that runs as nobody can reach it."""
    with open_directory() as directory:
        yield archive_for(strategy, directory / "archive", packages=8, key=lab_key)


def refuse(daemon: RsyncDaemon, archive: LabArchive, options: str) -> None:
    """Have the daemon refuse these options, of the archive and of its manifest."""
    refused = {"refuse options": options}
    daemon.add_module(ARCHIVE, archive.path, {USER: PASSWORD}, refused)
    if isinstance(archive, OwnedArchive):
        daemon.add_module(f"{ARCHIVE}.manifest", archive.manifest, {USER: PASSWORD}, refused)


def refusals_in_log(site: LabSite) -> list[str]:
    """What runs said of refusals, without the time."""
    logs = sorted((site.state / "logs" / ARCHIVE).iterdir())
    lines = [line for log in logs for line in log.read_text().splitlines()]
    return [line.rpartition("upstream refuses ")[2] for line in lines if "upstream refuses " in line]


@pytest.mark.parametrize("strategy", BY_EACH_STRATEGY)
@pytest.mark.parametrize(
    "refused",
    [DEBIAN_EXAMPLE, "files-from ignore-times", ONLY_FTPSYNC, ONLY_THE_LEAST],
    ids=["debian's example", "lists of names", "all but ftpsync's", "all but the least"],
)
def test_a_daemon_that_refuses_options_is_mirrored_without_them(
    make_site: MakeSite, archive: LabArchive, daemon: RsyncDaemon, strategy: str, refused: str
) -> None:
    site = make_site(grace="0s")
    refuse(daemon, archive, refused)
    site.sync().check()
    learnt = refusals_in_log(site)
    archive.update()
    site.sync().check()
    assert refusals_in_log(site) == learnt  # the second run asks for nothing that is refused
    assert broken(site.tree, thorough=True) == []
    see_everything(site, strategy)
    assert same_tree(archive.path, site.tree) == []


SILENT = """\
#!/bin/sh
case " $* " in *" -rltn "*|*" -n "*|*" --safe-links "*)
    echo "rsync: [Receiver] read error: Connection reset by peer (104)" >&2; exit 10 ;;
esac
exec rsync "$@"
"""


def test_what_a_daemon_refuses_without_a_word_is_found_out(
    site: LabSite, archive: LabArchive, tmp_path: Path
) -> None:
    """As rsync 3.1 does."""
    program = tmp_path / "silent"
    program.write_text(SILENT)
    program.chmod(0o755)
    site.configure(rsync=str(program), strategy="full")
    site.sync().check()
    assert [line.partition(":")[0] for line in refusals_in_log(site)] == ["--dry-run", "--safe-links"]
    assert same_tree(archive.path, site.tree) == []


# What it says beside


GREETING = (
    b">>>>>>> WELCOME <<<<<<<\n>f\n@ hello\n\xff\xfe\n>>f+++++++++ 1 2026/11/22-17:23:07 pool/greeting\n"
)
LOOK_ALIKES = (
    b"Number of files: 99\nTotal bytes received: 7\nTotal bytes sent: 7\n"
    b"-rw-r--r--           1 2026/11/22 17:23:07 greeting\n"
)


@pytest.mark.parametrize("refused", ["", DEBIAN_EXAMPLE], ids=["", "without a dry run"])
def test_a_message_of_the_day_is_no_part_of_any_answer(
    site: LabSite, archive: LabArchive, daemon: RsyncDaemon, tmp_path: Path, refused: str
) -> None:
    (tmp_path / "motd").write_bytes(GREETING + LOOK_ALIKES + b"x" * 900 + b"\n")
    daemon.set_global("motd file", str(tmp_path / "motd"))
    refuse(daemon, archive, refused)
    site.configure(strategy="full")
    site.sync().check()
    assert same_tree(archive.path, site.tree) == []
    received = site.json("history", ARCHIVE)[0]["stats"]["bytes_received"]
    assert received > sum(file.stat().st_size for file in (archive.path / "pool").rglob("*.deb"))


# What it cannot show


@pytest.fixture
def odd_tree(daemon: RsyncDaemon, archive: LabArchive) -> Path:
    """The archive; the daemon, as nobody, cannot read all of it, and some names are hard to mirror."""
    if os.geteuid() != 0:
        pytest.skip("needs to serve as another user")
    tree = archive.path
    daemon.add_module(ARCHIVE, tree, {USER: PASSWORD}, {"uid": "nobody", "gid": "nogroup"})
    return tree


def put(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (1_600_000_000, 1_600_000_000))
    return path


def test_a_directory_that_upstream_cannot_read_costs_that_directory(
    site: LabSite, odd_tree: Path, archive: LabArchive
) -> None:
    put(odd_tree / "private/seen/before")
    site.sync().check()
    (odd_tree / "private/seen").chmod(0o700)
    put(odd_tree / "doc/new")
    site.sync("--strategy", "full").check()
    assert (site.tree / "doc/new").exists()
    assert (site.tree / "private/seen/before").exists()  # nobody said that it is gone
    assert "cannot read 1 of its own files or directories: 'private/seen'" in last_log(site)
    (odd_tree / "private/seen").chmod(0o755)
    site.sync("--strategy", "full").check()
    assert same_tree(archive.path, site.tree) == []


def test_names_that_cannot_be_mirrored_are_skipped_and_named(
    site: LabSite, odd_tree: Path, archive: LabArchive
) -> None:
    put(odd_tree / "doc/a\nb")
    put(odd_tree / "doc/red\x1b[31m/below")
    os.mkfifo(odd_tree / "pipe")
    put(odd_tree / "doc/a -> b")
    (odd_tree / "doc/c -> d").symlink_to("a -> b")
    site.sync().check()
    assert (site.tree / "doc/c -> d").readlink() == Path("a -> b")
    assert (site.tree / "doc/a -> b").read_text() == "x"
    known = {path.name for path in (odd_tree / "doc").iterdir()} - {"a\nb", "red\x1b[31m"}
    assert {path.name for path in (site.tree / "doc").iterdir()} == known
    skipped = r"skipping 2 names at upstream that cannot be mirrored: 'doc/a\nb', 'doc/red\x1b[31m'"
    assert skipped in last_log(site)
    assert "skipping 1 names at upstream that are not files, links or directories: 'pipe'" in last_log(site)


def last_log(site: LabSite) -> str:
    return max((site.state / "logs" / ARCHIVE).iterdir()).read_text()
