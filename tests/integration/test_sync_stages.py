"""The stages of a sync, what the public sees of a run (flags and traces), and upstream's own flags."""

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pushmirror.archive.trace import parse_trace
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.judge import broken, same_tree
from pushmirror.lab.signing import LabKey
from pushmirror.lab.site import LabSite
from support.damage import break_suite
from support.published import generation_files
from trees import refused, snapshot

TRACES = "project/trace"


@pytest.fixture
def archive(tmp_path: Path, lab_key: LabKey) -> LabArchive:
    return LabArchive.create(tmp_path / "archive", packages=8, key=lab_key)


@pytest.fixture
def served(site: LabSite, archive: LabArchive) -> LabSite:
    """A site that serves upstream's state of a moment ago; it was copied, which is faster than a sync."""
    shutil.copytree(archive.path, site.tree, symlinks=True)
    return site


def by_hash(tree: Path) -> set[str]:
    return {str(path.relative_to(tree)) for path in tree.glob("dists/**/by-hash/*/*")}


# Stage 1, stage 2


def test_stage_1_brings_what_indices_will_refer_to_and_leaves_the_served_ones(
    served: LabSite, archive: LabArchive
) -> None:
    before = snapshot(served.tree)
    added = archive.update().added
    served.sync("--stage", "1").check()
    now = snapshot(served.tree)
    assert {path: seen for path, seen in now.items() if path in before} == before
    assert set(added) <= now.keys()
    assert by_hash(archive.path) <= by_hash(served.tree)
    assert broken(served.tree, thorough=True) == []


def test_stage_2_publishes_what_stage_1_brought_and_fetches_no_pool_file_again(
    served: LabSite, archive: LabArchive
) -> None:
    served.configure(grace="0s")
    added = archive.update().added
    served.sync("--stage", "1").check()
    fetched = {path: (served.tree / path).stat().st_ino for path in added}
    served.sync("--stage", "2").check()
    assert same_tree(archive.path, served.tree) == []
    assert {path: (served.tree / path).stat().st_ino for path in added} == fetched


def test_stage_2_alone_does_everything(served: LabSite, archive: LabArchive) -> None:
    served.configure(grace="0s")
    archive.update()
    served.sync("--stage", "2").check()
    assert same_tree(archive.path, served.tree) == []


def test_stage_1_deletes_nothing(served: LabSite, archive: LabArchive) -> None:
    served.configure(grace="0s")
    removed = archive.update().removed
    served.sync("--stage", "1").check()
    assert all((served.tree / path).exists() for path in removed)


def test_a_state_newer_than_that_of_stage_1_is_what_stage_2_publishes(
    served: LabSite, archive: LabArchive
) -> None:
    served.configure(grace="0s", delete={"max_share": 1.0})
    archive.update()
    served.sync("--stage", "1").check()
    archive.update()
    served.sync("--stage", "2").check()
    assert same_tree(archive.path, served.tree) == []


# Traces


def test_stage_1_alone_leaves_a_trace_of_its_own_which_a_whole_run_removes(
    served: LabSite, archive: LabArchive
) -> None:
    archive.update()
    served.sync("--stage", "1").check()
    assert (served.tree / TRACES / f"{served.name}-stage1").exists()
    assert not (served.tree / TRACES / served.name).exists()
    served.sync().check()
    assert not (served.tree / TRACES / f"{served.name}-stage1").exists()
    assert (served.tree / TRACES / served.name).exists()


def test_the_trace_names_the_serial_the_trigger_and_the_generation(
    served: LabSite, archive: LabArchive
) -> None:
    archive.update()
    served.sync("-T", "cron").check()
    trace = parse_trace((served.tree / TRACES / served.name).read_text())
    assert trace.fields["Archive serial"] == str(archive.serial)
    assert trace.fields["Trigger"] == "cron"
    assert trace.fields["Architectures-Configuration"] == "ALL"
    assert trace.fields["Generation"] == served.json("history")[0]["generation"]
    assert set(trace.fields["Architectures"].split()) >= {"amd64", "arm64", "source"}


def test_the_hierarchy_grows_by_this_mirror_and_traces_are_listed_oldest_first(
    served: LabSite, archive: LabArchive
) -> None:
    (archive.path / TRACES / "_hierarchy.mirror").write_text("hub hub.example.org hub origin\n")
    served.sync().check()
    lines = (served.tree / TRACES / "_hierarchy").read_text().splitlines()
    assert lines[0] == "hub hub.example.org hub origin"
    assert lines[1].split()[:2] == [served.name, served.name]
    assert (served.tree / TRACES / "_hierarchy.mirror").read_text().splitlines() == lines
    listed = (served.tree / TRACES / "_traces").read_text().splitlines()
    assert listed[-1] == served.name and not [name for name in listed if name.startswith("_")]


def test_the_trace_of_a_mirror_that_left_is_removed(served: LabSite, archive: LabArchive) -> None:
    (archive.path / TRACES / "left.example.org").write_text("a trace\n")
    served.sync().check()
    assert (served.tree / TRACES / "left.example.org").exists()
    (archive.path / TRACES / "left.example.org").unlink()
    served.sync().check()
    assert not (served.tree / TRACES / "left.example.org").exists()


def test_a_run_that_changes_nothing_does_not_renew_the_trace(served: LabSite) -> None:
    served.sync().check()
    trace = snapshot(served.tree / TRACES)
    served.sync().check()
    assert snapshot(served.tree / TRACES) == trace


def test_the_times_of_release_files_are_upstreams(served: LabSite, archive: LabArchive) -> None:
    archive.update()
    served.sync().check()
    for path in generation_files(archive):
        assert int((served.tree / path).stat().st_mtime) == int((archive.path / path).stat().st_mtime)


# Our flags


def test_the_flag_of_a_run_is_seen_while_it_lasts_and_gone_after_it(served: LabSite) -> None:
    listing = [sys.executable, "-c", "import os; print(sorted(n for n in os.listdir('.') if n[0] == 'A'))"]
    served.configure(hooks={"after_stage1": listing})
    served.sync().check()
    assert f"Archive-Update-in-Progress-{served.name}" in served.run("log", "last").output.decode()
    assert not list(served.tree.glob("Archive-Update-*"))


def test_the_flag_is_gone_after_a_run_that_failed(served: LabSite) -> None:
    served.set_password("wrong")
    refused(served.sync(), 3)
    assert not list(served.tree.glob("Archive-Update-*"))


# Upstream's flags


@pytest.fixture
def flag(archive: LabArchive) -> Path:
    """Upstream's sign that it is updating itself."""
    path = archive.path / "Archive-Update-in-Progress-archive.lab.example.org"
    path.write_text("1\n")
    return path


def test_an_upstream_that_goes_on_updating_is_a_failed_stage_2_in_the_end(
    served: LabSite, archive: LabArchive, flag: Path
) -> None:
    before = snapshot(served.tree / "dists/sid/main/binary-amd64")
    served.configure(update_in_progress={"wait": "1s", "retries": 1})
    archive.update(add=1, replace=0, remove=0)
    result = served.sync()
    refused(result, 4, flag.name, "1 retries")
    assert result.seconds > 1
    now = snapshot(served.tree / "dists/sid/main/binary-amd64")
    assert {path: seen for path, seen in now.items() if path in before} == before


def test_stage_1_does_not_wait_for_an_upstream_that_is_updating(
    served: LabSite, archive: LabArchive, flag: Path
) -> None:
    added = archive.update(add=1).added
    served.sync("--stage", "1").check()
    assert all((served.tree / path).exists() for path in added)


def test_an_upstream_that_ends_its_update_is_waited_for(
    served: LabSite, archive: LabArchive, flag: Path
) -> None:
    served.configure(grace="0s", update_in_progress={"wait": "1s", "retries": 20})
    archive.update()
    with served.running("sync") as child:
        log = served.state / "logs/debian"
        wait_for(lambda: any("checking again" in file.read_text() for file in log.glob("*")))
        flag.unlink()
        wait_for(lambda: child.poll() is not None)
        assert child.poll() == 0
    assert same_tree(archive.path, served.tree) == []


def wait_for(condition: Callable[[], bool], limit_s: float = 30) -> None:
    until = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


def test_a_flag_that_was_left_behind_by_a_crash_is_ignored(
    served: LabSite, archive: LabArchive, flag: Path
) -> None:
    os.utime(flag, (time.time() - 100_000,) * 2)
    archive.update()
    served.sync().check()
    assert broken(served.tree, thorough=True) == []
    assert "ignoring upstream's stale Archive-Update-in-Progress" in served.run("log", "last").output.decode()


def test_flags_of_upstream_are_never_in_our_tree(served: LabSite, archive: LabArchive, flag: Path) -> None:
    os.utime(flag, (time.time() - 100_000,) * 2)
    (archive.path / "Archive-Update-Required-archive.lab.example.org").write_text("1\n")
    listing = [sys.executable, "-c", "import os; print(sorted(n for n in os.listdir('.') if n[0] == 'A'))"]
    served.configure(hooks={"after_stage1": listing})
    served.sync().check()
    said = set(re.findall(r"'(Archive-Update-[^']+)'", served.run("log", "last").output.decode()))
    assert said == {f"Archive-Update-in-Progress-{served.name}"}


def test_a_foreign_flag_that_lies_in_our_tree_is_removed(served: LabSite) -> None:
    for name in ("Archive-Update-in-Progress-old.example.org", "Archive-Update-Required-old.example.org"):
        (served.tree / name).write_text("left by ftpsync, years ago\n")
    served.sync().check()
    assert not list(served.tree.glob("Archive-Update-*"))


def test_our_own_flag_that_comes_back_by_way_of_upstream_does_not_stop_us(
    served: LabSite, archive: LabArchive
) -> None:
    (archive.path / f"Archive-Update-in-Progress-{served.name}").write_text("1\n")
    served.configure(update_in_progress={"wait": "1s", "retries": 0})
    archive.update()
    served.sync().check()


# Hooks


@pytest.fixture
def hook(tmp_path: Path) -> Callable[[str], list[str]]:
    """Makes a hook that runs a line of Python; its arguments have spaces and what a shell would read."""
    script = tmp_path / "a hook.py"

    def make(line: str) -> list[str]:
        script.write_text(f"import json, os, sys, time\n{line}\n")
        return [sys.executable, str(script), "two words", "$(touch pwned); `id`", "*"]

    return make


def test_hooks_get_their_arguments_and_named_facts_and_no_secret(
    served: LabSite, tmp_path: Path, hook: Callable[[str], list[str]]
) -> None:
    said = tmp_path / "said"
    argv = hook(f"json.dump([sys.argv[1:], dict(os.environ)], open({str(said)!r}, 'w'))")
    served.configure(hooks={"after_publish": argv})
    served.run("sync", env={"RSYNC_PASSWORD": "in the environment", "SSH_ORIGINAL_COMMAND": "rm -rf"}).check()
    arguments, environment = json.loads(said.read_text())
    assert arguments == argv[2:]
    assert environment["PUSHMIRROR_HOOK"] == "after_publish"
    assert environment["PUSHMIRROR_ARCHIVE"] == "debian"
    assert environment["PUSHMIRROR_TREE"] == str(served.tree)
    assert environment["PUSHMIRROR_GENERATION"] == served.json("history")[0]["generation"]
    assert not {"RSYNC_PASSWORD", "SSH_ORIGINAL_COMMAND"} & environment.keys()
    assert "correct horse" not in said.read_text()


def test_suites_that_are_held_back_are_told_to_hooks_and_in_json(
    served: LabSite, archive: LabArchive, tmp_path: Path, hook: Callable[[str], list[str]]
) -> None:
    said = tmp_path / "said"
    argv = hook(f"open({str(said)!r}, 'w').write(os.environ['PUSHMIRROR_HELD_SUITES'])")
    served.configure(hooks={"after_publish": argv})
    break_suite(archive, "sid")
    told = json.loads(served.sync("--json").output)
    assert said.read_text() == "dists/sid" and "Packages" in told["held"]["dists/sid"]


def test_hooks_run_in_their_order_and_once(
    served: LabSite, archive: LabArchive, tmp_path: Path, hook: Callable[[str], list[str]]
) -> None:
    said = tmp_path / "said"
    argv = hook(f"print(os.environ['PUSHMIRROR_HOOK'], file=open({str(said)!r}, 'a'))")
    served.configure(hooks=dict.fromkeys(("before_sync", "after_stage1", "after_publish"), argv))
    archive.update()
    served.sync().check()
    assert said.read_text().split() == ["before_sync", "after_stage1", "after_publish"]


@pytest.mark.parametrize(
    ("name", "exit_code"), [("before_sync", 3), ("after_stage1", 3), ("after_publish", 4)]
)
def test_a_failing_hook_fails_the_run_and_is_named(
    served: LabSite, hook: Callable[[str], list[str]], name: str, exit_code: int
) -> None:
    served.configure(hooks={name: hook("sys.exit('no\\nthe dog ate it')")})
    refused(served.sync(), exit_code, f"hook {name}", "the dog ate it")
    assert broken(served.tree, thorough=True) == []
    assert not list(served.tree.glob("Archive-Update-*"))


def test_a_hook_that_takes_too_long_is_ended_and_named(
    served: LabSite, hook: Callable[[str], list[str]]
) -> None:
    served.configure(hooks={"before_sync": hook("time.sleep(60)"), "time_limit": "1s"})
    result = served.sync()
    refused(result, 3, "before_sync", "timed out")
    assert result.seconds < 20


def test_a_hook_that_reads_its_input_finds_none(served: LabSite, hook: Callable[[str], list[str]]) -> None:
    served.configure(hooks={"before_sync": hook("sys.exit(len(sys.stdin.read()))")})
    served.sync().check()
