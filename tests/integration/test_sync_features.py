"""What of an archive is mirrored, what is deleted and when, and how a sync can be asked for."""

import os
import re
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from pushmirror.config.model import Strategy
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.judge import broken, same_tree
from pushmirror.lab.signing import LabKey
from pushmirror.lab.site import LabSite
from pushmirror.system import process
from support.published import generation_files
from support.rsync_daemon import RsyncDaemon
from trees import refused, snapshot
from upstreams import BY_EACH_STRATEGY, archive_for, see_everything

by_each_strategy = pytest.mark.parametrize("strategy", BY_EACH_STRATEGY)
by_what_sees_every_name = pytest.mark.parametrize("strategy", [Strategy.FULL, Strategy.MANIFEST])


@pytest.fixture
def archive(tmp_path: Path, strategy: Strategy, lab_key: LabKey) -> LabArchive:
    return archive_for(strategy, tmp_path / "archive", packages=8, key=lab_key)


@pytest.fixture
def served(site: LabSite, archive: LabArchive) -> LabSite:
    """A site that serves upstream's state of a moment ago; it was copied, which is faster than a sync."""
    shutil.copytree(archive.path, site.tree, symlinks=True)
    return site


def stats(site: LabSite) -> dict[str, int]:
    """The figures of the last run."""
    found: dict[str, int] = site.json("history")[0]["stats"]
    return found


def architectures(tree: Path) -> set[str]:
    """The architectures of which a tree has pool files."""
    debs = {path.name.rpartition("_")[2].removesuffix(".deb") for path in tree.glob("pool/**/*.deb")}
    return debs | ({"source"} if list(tree.glob("pool/**/*.dsc")) else set())


# Architectures


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"architectures": ["amd64"]}, {"all", "amd64"}),
        ({"architectures": ["arm64", "source"]}, {"all", "arm64", "source"}),
        ({"exclude_architectures": ["source", "arm64"]}, {"all", "amd64"}),
    ],
)
def test_only_the_chosen_architectures_are_mirrored(
    site: LabSite, options: dict[str, list[str]], expected: set[str]
) -> None:
    site.configure(**options)
    site.sync().check()
    assert architectures(site.tree) == expected
    assert broken(site.tree, thorough=True) == []


@pytest.mark.parametrize(
    "grace", ["0s", "36h"]
)  # it has none: its indices would not be those of the InRelease
def test_an_architecture_that_is_no_longer_wanted_is_deleted(
    served: LabSite, archive: LabArchive, grace: str
) -> None:
    archive.update()
    served.sync().check()
    served.configure(grace=grace, delete={"max_share": 1.0}, exclude_architectures=["arm64"])
    served.sync().check()
    assert architectures(served.tree) == {"all", "amd64", "source"}
    assert not list(served.tree.glob("dists/**/binary-arm64"))
    assert broken(served.tree, thorough=True) == []


def test_an_architecture_that_is_wanted_again_is_fetched(site: LabSite, archive: LabArchive) -> None:
    site.configure(grace="0s", architectures=["amd64"])
    site.sync().check()
    site.configure(architectures=None)
    site.sync().check()
    assert same_tree(archive.path, site.tree) == []


def test_the_trace_says_which_architectures_there_are(site: LabSite) -> None:
    site.configure(architectures=["amd64", "source"])
    site.sync().check()
    trace = (site.tree / "project/trace" / site.name).read_text()
    assert re.search(r"^Architectures: (all )?amd64 source $", trace, re.MULTILINE)
    assert "Architectures-Configuration: INCLUDE amd64 source \n" in trace


# Exclude and protect


def test_excluded_names_are_not_fetched_and_go_unless_they_are_protected(
    site: LabSite, archive: LabArchive
) -> None:
    site.configure(exclude=["/doc/", "*.html"], protect=["/local/"], grace="0s")
    (site.tree / "local").mkdir(parents=True)
    (site.tree / "local/ours.html").write_text("ours")
    site.sync().check()
    assert not (site.tree / "doc").exists()
    site.configure(exclude=["/doc/", "*.html", "/README"])
    site.sync().check()
    assert not (site.tree / "README").exists()
    assert (site.tree / "local/ours.html").read_text() == "ours"


def test_protected_names_are_not_deleted_but_followed(served: LabSite, archive: LabArchive) -> None:
    served.configure(protect=["/robots.txt", "/local/"], grace="0s")
    (served.tree / "robots.txt").write_text("ours")
    (served.tree / "local/deep").mkdir(parents=True)
    (served.tree / "local/deep/file").write_text("ours")
    (served.tree / "stray").write_text("nobody's")
    served.sync().check()
    assert (served.tree / "robots.txt").exists() and (served.tree / "local/deep/file").exists()
    assert not (served.tree / "stray").exists()


def test_a_whole_suite_can_be_left_out(site: LabSite) -> None:
    site.configure(exclude=["/dists/sid/", "/dists/unstable"])
    site.sync().check()
    assert not (site.tree / "dists/sid").exists() and (site.tree / "dists/trixie/InRelease").exists()
    assert broken(site.tree, thorough=True) == []


# Grace


def pass_grace(site: LabSite) -> None:
    """Let three days pass since every generation that was replaced."""
    with closing(sqlite3.connect(site.state / "closures/debian/ledger.sqlite")) as closures, closures:
        closures.execute("UPDATE generations SET replaced = replaced - ?", (3 * 86400,))


@by_each_strategy
def test_what_replaced_indices_refer_to_is_kept_for_the_grace_period_and_deleted_after_it(
    site: LabSite, archive: LabArchive, strategy: Strategy
) -> None:
    site.sync().check()
    removed = archive.update().removed
    site.sync().check()
    assert all((site.tree / path).exists() for path in removed)
    pass_grace(site)
    site.sync().check()
    assert not any((site.tree / path).exists() for path in removed)
    see_everything(site, strategy)
    assert same_tree(archive.path, site.tree) == []


def test_a_client_with_the_old_inrelease_is_served_through_the_grace_period(
    site: LabSite, archive: LabArchive
) -> None:
    site.sync().check()
    old = {
        path: (site.tree / path).read_bytes() for path in generation_files(archive) if "wheezy" not in path
    }
    archive.update()
    archive.update()
    site.configure(delete={"max_share": 1.0})
    site.sync().check()
    for path, text in old.items():
        (site.tree / path).write_bytes(text)
    assert [problem for problem in broken(site.tree, thorough=True) if "wheezy" not in problem] == []


def test_a_second_replaced_generation_does_not_lengthen_the_grace_of_the_first(
    site: LabSite, archive: LabArchive
) -> None:
    site.configure(delete={"max_share": 1.0})
    site.sync().check()
    removed = archive.update(add=0, replace=0, remove=1).removed
    site.sync().check()
    pass_grace(site)
    archive.update(add=1, replace=0, remove=0)
    site.sync().check()
    assert not any((site.tree / path).exists() for path in removed)


# The guard


def test_too_many_deletions_are_withheld_loudly_and_the_new_state_is_live(
    served: LabSite, archive: LabArchive
) -> None:
    served.configure(grace="0s", delete={"max_files": 2})
    removed = archive.update().removed
    result = served.sync().check()
    assert "pushmirror sync debian --allow-mass-delete" in result.errors
    assert "NOTHING WAS DELETED" in result.errors and "delete.max_files = 2" in result.errors
    assert all((served.tree / path).exists() for path in removed)
    served_now = (served.tree / "dists/sid/InRelease").read_bytes()
    assert served_now == (archive.path / "dists/sid/InRelease").read_bytes()


def test_status_shows_deletions_that_are_withheld(served: LabSite, archive: LabArchive) -> None:
    served.configure(grace="0s", delete={"max_files": 2})
    archive.update()
    served.sync().check()
    (health,) = served.json("status")
    assert health["level"] == "warning"
    assert "delet" in " ".join(health["attention"])


@by_each_strategy
def test_withheld_deletions_are_told_of_until_the_operator_allows_them(
    served: LabSite, archive: LabArchive
) -> None:
    served.configure(grace="0s", delete={"max_files": 2})
    archive.update()
    served.sync().check()
    assert "NOTHING WAS DELETED" in served.sync().check().errors
    served.sync("--allow-mass-delete").check()
    assert same_tree(archive.path, served.tree) == []
    assert served.json("status")[0]["level"] == "ok"


def test_a_share_of_the_tree_that_is_too_large_is_withheld(served: LabSite) -> None:
    served.configure(grace="0s")  # what is known of a tree that was there before us is young
    for number in range(400):
        (served.tree / f"stray-{number}").touch()
    served.sync().check()
    assert len(list(served.tree.glob("stray-*"))) == 400
    assert "more than delete.max_share = 0.25" in served.run("log", "last").output.decode()


def test_obsolete_files_of_a_small_number_are_deleted_whatever_their_share(
    site: LabSite, archive: LabArchive
) -> None:
    site.configure(grace="0s")
    site.tree.mkdir()
    for number in range(100):
        (site.tree / f"stray-{number}").touch()
    site.sync().check()
    assert same_tree(archive.path, site.tree) == []


# A tree that is not there


@by_each_strategy
def test_a_tree_that_has_become_empty_is_refused_until_asked_for(
    site: LabSite, archive: LabArchive, tmp_path: Path
) -> None:
    site.sync().check()
    site.tree.rename(tmp_path / "unmounted")
    site.tree.mkdir()
    refused(site.sync(), 78, str(site.tree), "empty")
    assert not list(site.tree.iterdir())
    site.sync("--refill").check()
    assert same_tree(archive.path, site.tree) == []


def test_a_tree_whose_directory_is_gone_is_refused_too(site: LabSite, tmp_path: Path) -> None:
    site.sync().check()
    site.tree.rename(tmp_path / "unmounted")
    refused(site.sync(), 78, str(site.tree))


# Drift, and what another program left


def test_pool_files_that_were_changed_or_removed_by_hand_are_repaired(
    site: LabSite, archive: LabArchive
) -> None:
    site.configure(strategy="full")
    site.sync().check()
    changed, removed, truncated = [path for path in archive.pool_files if path.endswith("_amd64.deb")][:3]
    (site.tree / changed).write_bytes(b"vandalised")
    (site.tree / removed).unlink()
    os.truncate(site.tree / truncated, 3)
    site.sync().check()
    assert same_tree(archive.path, site.tree) == []


def test_files_in_dists_that_were_changed_or_removed_by_hand_are_repaired(
    site: LabSite, archive: LabArchive
) -> None:
    site.sync().check()
    (site.tree / "dists/sid/main/binary-amd64/Packages.xz").write_bytes(b"vandalised")
    (site.tree / "dists/trixie/main/binary-amd64/Packages.gz").unlink()
    (site.tree / "dists/sid/Release.gpg").unlink()
    (site.tree / "dists/stable").unlink()
    shutil.rmtree(site.tree / "dists/sid/contrib/binary-amd64/by-hash")
    site.sync().check()
    assert same_tree(archive.path, site.tree) == []


def test_a_release_file_that_cannot_be_parsed_any_more_is_repaired(
    site: LabSite, archive: LabArchive
) -> None:
    site.sync().check()
    (site.tree / "dists/sid/InRelease").write_bytes(b"vandalised")
    site.sync().check()
    assert same_tree(archive.path, site.tree) == []


def test_a_run_that_was_killed_between_release_and_inrelease_is_completed_by_the_next(
    site: LabSite, archive: LabArchive
) -> None:
    site.configure(grace="0s")
    site.sync().check()
    archive.update()
    site.sync("--stage", "1").check()
    shutil.copy2(archive.path / "dists/sid/Release", site.tree / "dists/sid/Release")
    site.sync().check()
    assert same_tree(archive.path, site.tree) == []


def test_a_state_directory_that_was_lost_is_made_again(site: LabSite, archive: LabArchive) -> None:
    site.configure(grace="0s")
    site.sync().check()
    shutil.rmtree(site.state)
    archive.update()
    site.sync().check()
    assert same_tree(archive.path, site.tree) == []


def test_a_tree_made_by_plain_rsync_is_adopted_without_fetching_it_again(
    site: LabSite, archive: LabArchive, daemon: RsyncDaemon
) -> None:
    argv = ["rsync", "-rltH", "--exclude=/project/trace/_*", f"{daemon.url('debian', 'site1.example.com')}/"]
    process.run([*argv, f"{site.tree}/"], env={"RSYNC_PASSWORD": "correct horse battery staple"}).check()
    before = snapshot(site.tree)
    site.sync().check()
    assert (stats(site)["files_fetched"], stats(site)["published"], stats(site)["deleted"]) == (0, 0, 0)
    assert {path: seen for path, seen in snapshot(site.tree).items() if path in before} == before


def test_what_the_adopted_indices_refer_to_is_kept_for_the_grace_period(
    served: LabSite, archive: LabArchive
) -> None:
    removed = archive.update().removed
    served.sync().check()
    assert all((served.tree / path).exists() for path in removed)


def test_the_old_trace_and_lock_of_ftpsync_are_no_hindrance(served: LabSite, archive: LabArchive) -> None:
    (served.tree / "project/trace" / served.name).write_text("Sun Nov 22 10:00:00 UTC 2020\n")
    (served.tree / f"Archive-Update-in-Progress-{served.name}").write_text("12345\n")
    archive.update()
    served.sync().check()
    assert "pushmirror" in (served.tree / "project/trace" / served.name).read_text()
    assert not list(served.tree.glob("Archive-Update-*"))


# --dry-run and --json


@by_what_sees_every_name
def test_a_dry_run_changes_nothing_and_tells_what_the_sync_then_does(
    site: LabSite, archive: LabArchive
) -> None:
    site.configure(grace="0s")
    site.sync().check()
    archive.update()
    before, top = snapshot(site.tree, work=True), site.tree.stat().st_mtime_ns
    told = site.json("sync", "debian", "--dry-run")
    assert snapshot(site.tree, work=True) == before
    assert site.tree.stat().st_mtime_ns == top
    assert len(site.json("history")) == 1
    site.sync().check()
    assert len(told["delete"]["paths"]) == stats(site)["deleted"]
    assert len(told["publish"]) == stats(site)["landed"] + stats(site)["published"]
    assert told["generation"] == site.json("history")[0]["generation"]
    assert told["strategy"] in set(Strategy) and told["why"]


def test_a_dry_run_of_a_first_sync_makes_no_tree(site: LabSite, archive: LabArchive) -> None:
    told = site.sync("--dry-run").check().output.decode()
    assert not site.tree.exists()
    files = [path for path in archive.path.rglob("*") if path.is_file() and not path.is_symlink()]
    assert f"{len([path for path in files if 'project/trace' not in str(path)])}" in told


def test_a_dry_run_says_what_stops_a_sync(served: LabSite) -> None:
    served.set_password("wrong")
    before = snapshot(served.tree, work=True)
    refused(served.sync("--dry-run"), 3, "refuses this user or password")
    assert snapshot(served.tree, work=True) == before


def test_a_dry_run_sees_what_the_mass_delete_guard_would_withhold(
    served: LabSite, archive: LabArchive
) -> None:
    served.configure(grace="0s", delete={"max_files": 0})
    archive.update()
    told = served.json("sync", "debian", "--dry-run")
    assert told["delete"]["paths"] == [] and told["delete"]["withheld"] > 0


def test_the_answer_of_a_sync_is_json_when_asked(served: LabSite) -> None:
    one, many = served.json("sync", "debian"), served.json("sync")
    assert one["exit_code"] == 0 and one["archive"] == "debian"
    assert [answer["exit_code"] for answer in many] == [0]
    assert [*many, one] == [{**run, "held": {}} for run in served.json("history")[:2]]


def test_the_line_about_a_sync_tells_its_time_generation_and_run(served: LabSite) -> None:
    run = served.json("sync", "debian")
    said = served.sync().check().output.decode()
    assert re.fullmatch(
        rf"debian: ok in \d+ s: generation {run['generation'][:12]}, "
        rf"fetched 0 files, published 0, deleted 0, by index \(run {run['id'] + 1}\)\n",
        said,
    )


def test_the_line_about_a_sync_that_failed_tells_where_its_log_is(served: LabSite) -> None:
    served.set_password("wrong")
    refused(served.sync(), 3, "debian: failed (3) in ", "; see `pushmirror log 1`")


def test_the_files_of_a_dry_run_are_objects_for_programs(site: LabSite) -> None:
    told = site.json("sync", "debian", "--dry-run")
    assert {"path", "kind", "size", "mtime", "target", "sha256"} == set(told["fetch"][0])


# Options of rsync


def recording_rsync(tmp_path: Path) -> tuple[str, Path]:
    """A program that notes its arguments and then is rsync; its name and its notes."""
    notes, program = tmp_path / "argv", tmp_path / "my rsync"
    program.write_text(
        f"#!{sys.executable}\nimport os, sys\n"
        f"print(*sys.argv[1:], sep='\\n', file=open({str(notes)!r}, 'a'))\n"
        "os.execvp('rsync', ['rsync', *sys.argv[1:]])\n"
    )
    program.chmod(0o755)
    return str(program), notes


def test_bandwidth_limit_timeouts_and_further_options_reach_rsync(served: LabSite, tmp_path: Path) -> None:
    program, notes = recording_rsync(tmp_path)
    served.configure(rsync=program, bandwidth_limit="50M", timeout="90s", rsync_options=["--outbuf=L"])
    served.sync().check()
    said = set(notes.read_text().splitlines())
    assert {"--timeout=90", "--contimeout=30", "--outbuf=L"} <= said
    assert [word for word in said if word.startswith("--bwlimit=")] not in ([], ["--bwlimit=0"])


def test_an_old_rsync_is_not_asked_for_what_it_does_not_know(
    served: LabSite, archive: LabArchive, tmp_path: Path
) -> None:
    program, notes = recording_rsync(tmp_path)
    text = Path(program).read_text()
    old = "if sys.argv[1:] == ['--version']: print('rsync  version 3.1.3  protocol version 31'); sys.exit()\n"
    Path(program).write_text(text.replace("import os, sys\n", f"import os, sys\n{old}"))
    served.configure(rsync=program, grace="0s")
    archive.update()
    served.sync().check()
    assert "--trust-sender" not in notes.read_text()
    assert same_tree(archive.path, served.tree) == []
