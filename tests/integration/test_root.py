"""Root runs a mirror that is another user's: he becomes that user, or nothing is done at all."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from offering import open_directory
from pushmirror.errors import Exit
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.services import HOST
from pushmirror.lab.site import ARCHIVE, LabSite
from pushmirror.system import process
from side_by_side import Home, Side
from support.rsync_daemon import RsyncDaemon
from trees import refused

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
PASSWORD = "correct horse battery staple"
OWNER, OTHER = pwd.getpwnam("nobody"), pwd.getpwnam("backup")
AS_OWNER = ["setpriv", f"--reuid={OWNER.pw_uid}", f"--regid={OWNER.pw_gid}", "--clear-groups"]


@pytest.fixture
def base() -> Iterator[Path]:
    with open_directory() as directory:
        yield directory


@pytest.fixture
def site(base: Path, archive: LabArchive, daemon: RsyncDaemon) -> LabSite:
    """One whose files every user can reach; all is root's."""
    daemon.add_module(ARCHIVE, archive.path, {"site": PASSWORD})
    keyring = shutil.copy(archive.keyring, base / "keyring.gpg")
    site = LabSite(
        base / "site", upstream=daemon.url(ARCHIVE, "site"), password=PASSWORD, keyring=str(keyring)
    )
    (base / "site").chmod(0o755)
    return site


def give(user: pwd.struct_passwd, *places: Path) -> None:
    for place in places:
        for path in (place, *place.rglob("*")):
            os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)


def owners(*places: Path) -> set[int]:
    return {path.lstat().st_uid for place in places for path in (place, *place.rglob("*"))}


def run_by_owner(site: LabSite, *words: str) -> process.Result:
    argv = [*AS_OWNER, *site.argv(*words)]
    return process.run(argv, env={"HOME": str(site.directory)}, timeout_s=300)


def test_the_first_sync_by_root_leaves_a_state_that_the_owner_of_the_tree_can_use(
    site: LabSite, archive: LabArchive
) -> None:
    site.tree.mkdir()
    give(OWNER, site.tree, site.etc)
    said = site.sync().check().errors
    assert f"continuing as {OWNER.pw_name}, the owner of {site.state}" in said
    assert owners(site.tree, site.state) == {OWNER.pw_uid}
    archive.update()
    run_by_owner(site, "sync").check()
    archive.update()
    assert site.sync("--quiet").check().errors == ""
    assert owners(site.tree, site.state) == {OWNER.pw_uid}


@pytest.mark.parametrize(
    "verb", ["sync", "receive", "push", "verify", "status", "history", "suites", "state"]
)
def test_what_root_does_in_the_state_of_another_user_is_done_by_that_user(site: LabSite, verb: str) -> None:
    site.sync().check()
    give(OWNER, site.tree, site.state, site.etc)
    words = {"state": ("state", "backup")}.get(verb, (verb,))
    expected = Exit.USAGE if verb == "push" else Exit.OK  # there are no sites
    assert site.run(*words).exit_code == expected
    assert owners(site.tree, site.state) == {OWNER.pw_uid}


def test_sites_are_changed_by_root_and_the_state_by_its_owner(site: LabSite) -> None:
    site.sync().check()
    give(OWNER, site.tree, site.state)
    (site.etc / "sites.d").mkdir()
    (site.etc / "sites.d/a.example.org.toml").write_text(
        'host = "a.example.org"\nuser = "mirror"\narchives = ["debian"]\n'
    )
    for words in (
        ("pause", "a.example.org"),
        ("resume", "a.example.org"),
        ("remove", "a.example.org", "--yes"),
    ):
        site.run("site", *words).check()
    assert owners(site.state) == {OWNER.pw_uid}


def test_a_link_of_the_owner_leads_root_nowhere(site: LabSite, base: Path) -> None:
    site.sync().check()
    give(OWNER, site.tree, site.state, site.etc)
    precious = base / "precious"
    precious.mkdir(mode=0o755)
    (precious / "file").write_text("precious")
    shutil.rmtree(site.tree / "project/trace")
    (site.tree / "project/trace").symlink_to(precious)
    (site.tree / "Archive-Update-in-Progress-site.lab.example.org").symlink_to(precious / "file")
    (site.state / "suites/debian.json").unlink()
    (site.state / "suites/debian.json").symlink_to(precious / "file")
    site.sync().check()
    assert [path.name for path in precious.iterdir()] == ["file"]
    assert (precious / "file").read_text() == "precious"


def test_a_tree_and_a_state_of_different_users_are_refused_before_anything_is_written(site: LabSite) -> None:
    site.sync().check()
    for tree, state in ((OTHER.pw_uid, OWNER.pw_uid), (OWNER.pw_uid, 0), (0, OWNER.pw_uid)):
        for place, owner in ((site.tree, tree), (site.state, state), (site.etc, state)):
            give(pwd.getpwuid(owner), place)
        before = {path: path.lstat().st_mtime_ns for path in site.tree.rglob("*")}
        for words in (("sync",), ("receive",)):
            refused(
                site.run(*words), Exit.CONFIG, f"{site.tree} belongs to", "no user may write to both", "chown"
            )
        assert {path: path.lstat().st_mtime_ns for path in site.tree.rglob("*")} == before
        assert owners(site.tree) == {tree}


def test_a_password_or_a_configuration_that_the_owner_cannot_read_is_refused_by_name(site: LabSite) -> None:
    site.tree.mkdir()
    give(OWNER, site.tree)
    refused(
        site.sync(), Exit.CONFIG, f"{site.etc}/upstream.secret cannot be read by {OWNER.pw_name}", "chown"
    )
    (site.etc / "pushmirror.toml").chmod(0o600)
    refused(site.sync(), Exit.CONFIG, f"{site.etc}/pushmirror.toml: cannot be read")
    assert not list(site.tree.iterdir()) and owners(site.state) == {OWNER.pw_uid}


def test_a_state_of_a_user_whom_nobody_knows_is_refused(site: LabSite) -> None:
    site.state.mkdir()
    os.chown(site.state, 54321, -1)
    refused(site.sync(), Exit.CONFIG, "54321", "does not exist on this machine")


def test_root_who_owns_all_of_it_stays_root(site: LabSite, archive: LabArchive) -> None:
    site.sync().check()
    archive.update()
    assert "continuing as" not in site.sync().check().errors
    assert owners(site.tree, site.state) == {0}


def test_root_takes_stock_of_another_users_tree_as_who_he_is(site: LabSite, archive: LabArchive) -> None:
    site.configure(upstream=None, password_file=None, keyring=None, path=str(archive.path), retries=None)
    give(OTHER, archive.path)
    site.sync().check()
    assert owners(site.state) == {0} and owners(archive.path) == {OTHER.pw_uid}


def test_ftpsync_by_root_in_another_users_tree_is_that_users(
    base: Path, archive: LabArchive, daemon: RsyncDaemon
) -> None:
    daemon.add_module(ARCHIVE, archive.path, {"site": PASSWORD})
    home, state = Home(base, Side.OURS), base / "state"
    told = {"RSYNC_HOST": HOST, "RSYNC_USER": "site", "RSYNC_PASSWORD": PASSWORD, "RSYNC_PATH": ARCHIVE}
    place = {"RSYNC_EXTRA": f"--port={daemon.port}", "TO": f"{home.tree}/", "MIRRORNAME": "m.example.org"}
    home.configure("".join(f"{name}={shlex.quote(value)}\n" for name, value in {**told, **place}.items()))
    for made in (home.tree, state):
        made.mkdir()
    give(OWNER, home.home, state)
    ended = home.run("sync:all", env={"PUSHMIRROR_STATE": str(state)})
    assert ended.exit_code == 0, ended.said
    assert f"continuing as {OWNER.pw_name}" in ended.said
    assert owners(home.home, state) == {OWNER.pw_uid}
