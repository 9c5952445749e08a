"""SIGTERM, SIGINT, a lost connection: a run ends at once with all that it started, or it goes on."""

import os
import shlex
import signal
import time
from pathlib import Path

import pytest

from acceptance.calls import Call, Start
from acceptance.gate import Gate
from acceptance.processes import alive, descendants, program
from pushmirror.errors import Exit
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.judge import same_tree
from pushmirror.lab.services import Sshd, new_key, wait_until
from pushmirror.lab.signing import LabKey
from pushmirror.lab.site import ARCHIVE, LabSite
from pushmirror.system import process

SOON_S = 5.0
SIGNALS = [(signal.SIGTERM, Exit.TERMINATED), (signal.SIGINT, Exit.INTERRUPTED)]


@pytest.fixture
def archive(tmp_path: Path, lab_key: LabKey) -> LabArchive:
    return LabArchive.create(tmp_path / "archive", packages=15, file_size=200_000, key=lab_key)  # 7 MB


@pytest.fixture
def fetching(site: LabSite, start: Start) -> Call:
    """A first sync in the middle of a fetch that takes long."""
    site.configure(bandwidth_limit="300K")
    call = start("sync", ARCHIVE)
    fetched = site.tree / ".~tmp~/pushmirror/new/pool"
    assert wait_until(fetched.is_dir) and rsyncs(call.pid)
    return call


def rsyncs(pid: int) -> list[int]:
    return [child for child in descendants(pid) if program(child)[:1] == ["rsync"]]


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_ends_a_sync_in_the_middle_of_a_fetch(
    site: LabSite, fetching: Call, number: signal.Signals, code: Exit
) -> None:
    children = descendants(fetching.pid)
    started = time.monotonic()
    os.kill(fetching.pid, number)
    assert fetching.exit_code() == code
    assert time.monotonic() - started < SOON_S
    assert alive(children) == []
    assert list(site.tree.glob("Archive-Update-in-Progress-*")) == []
    run = site.json("history")[0]
    assert (run["outcome"], run["exit_code"]) == ("interrupted", code)
    assert run["message"] == f"stopped by {number.name}; the requests wait for the next run"
    assert [(one["level"], one["pending"]) for one in site.json("status")] == [("warning", 1)]


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_after_a_signal_the_next_sync_needs_no_help(
    archive: LabArchive, site: LabSite, fetching: Call, number: signal.Signals, code: Exit
) -> None:
    os.kill(fetching.pid, number)
    assert fetching.exit_code() == code
    site.configure(bandwidth_limit=None)
    site.sync().check()
    assert same_tree(archive.path, site.tree) == []


def test_a_second_signal_does_not_stop_the_clearing_up(site: LabSite, fetching: Call) -> None:
    children = descendants(fetching.pid)
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGHUP):
        os.kill(fetching.pid, number)
    assert fetching.exit_code() == Exit.TERMINATED
    assert alive(children) == []
    assert list(site.tree.glob("Archive-Update-in-Progress-*")) == []


def test_a_push_that_was_killed_while_it_waited_is_served_all_the_same(
    archive: LabArchive, site: LabSite, gate: Gate, push: Start
) -> None:
    site.configure(hooks={"before_sync": gate.hook})
    with gate.closed():
        first = push("sync:stage1")
        gate.wait_for()
        second = push("sync:all")
        os.kill(second.pid, signal.SIGKILL)
    assert first.exit_code() == Exit.OK
    assert same_tree(archive.path, site.tree) == []


def test_a_push_whose_connection_is_lost_is_served_all_the_same(
    archive: LabArchive, site: LabSite, gate: Gate, sshd: Sshd, tmp_path: Path
) -> None:
    site.configure(hooks={"before_sync": gate.hook})
    sshd.authorize(new_key(tmp_path / "key"), command=shlex.join(site.argv("receive")))
    with gate.closed():
        ssh = [*sshd.ssh_argv(tmp_path / "key"), "sync:all"]
        with process.background(ssh, log=tmp_path / "ssh.log") as client:
            gate.wait_for()
            os.kill(client.pid, signal.SIGKILL)
            assert wait_until(lambda: client.poll() is not None)
    assert wait_until(lambda: site.json("history")[0]["outcome"] != "running", limit_s=30)
    assert site.json("history")[0]["outcome"] == "succeeded"
    assert same_tree(archive.path, site.tree) == []
