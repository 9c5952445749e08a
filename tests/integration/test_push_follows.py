"""What follows a run: an owner's sync and a hub's receive have sites pushed, and mhop waits for them."""

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import tomlkit

from acceptance.processes import kill
from downstream import Downstream, SitesSshd, naming
from pushing_hub import PushingHub, ended
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.services import free_port, new_key, wait_until
from pushmirror.lab.signing import LabKey
from pushmirror.lab.site import ARCHIVE, LabSite
from pushmirror.state.records import SiteState, Stage
from pushmirror.state.store import open_store
from pushmirror.system import locks, process
from pushmirror.tree.published_state import read_published
from support.rsync_daemon import RsyncDaemon

EVERYTHING = ["stage1", "stage2"]


def current(hub: PushingHub) -> list[str]:
    """The sites that have what the hub serves."""
    served = hub.store.latest_generation(ARCHIVE)
    found = hub.store.site_states(ARCHIVE).values()
    return [one.site for one in found if served and one.stage2 == served.digest]


# -- an owner's sync ----------------------------------------------------------------------------------


def test_a_sync_of_an_owners_tree_pushes_its_sites_in_the_background(hub: PushingHub) -> None:
    site = hub.site("one", push="staged")
    with site.held("stage1"):
        assert hub.run("sync").exit_code == 0  # and does not wait for them
        site.wait_for("stage1")
    assert wait_until(lambda: current(hub) == ["one"])
    assert wait_until(lambda: hub.processes() == [])


def test_a_sync_without_push_wakes_nobody(hub: PushingHub) -> None:
    site = hub.site("one")
    assert hub.run("sync", "--no-push").exit_code == 0
    assert hub.processes() == []
    assert (site.sent, hub.run("push").exit_code, site.sent) == ([], 0, ["all"])


def test_a_sync_that_finds_nothing_new_wakes_nobody_again(hub: PushingHub) -> None:
    site = hub.site("one")
    for _ in range(2):
        assert hub.run("sync").exit_code == 0
        assert wait_until(lambda: current(hub) == ["one"] and hub.processes() == [])
    assert site.sent == ["all"]


def test_every_change_of_an_owners_tree_reaches_the_sites(hub: PushingHub) -> None:
    site, tree = hub.site("one", push="mhop"), hub.directory / "trees" / ARCHIVE
    for number in range(2):
        (tree / f"file{number}").touch()
        assert hub.run("sync").exit_code == 0
        assert wait_until(lambda: current(hub) == ["one"] and hub.processes() == [])
    assert site.sent == EVERYTHING * 2


def test_a_push_in_the_background_runs_no_code_of_the_directory_that_sync_was_called_in(
    hub: PushingHub, tmp_path: Path
) -> None:
    site = hub.site("one")
    for name in ("click.py", "pushmirror.py", "sitecustomize.py"):
        (tmp_path / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    argv = [sys.executable, "-P", *hub.argv("sync")[1:]]
    assert process.run(argv, cwd=tmp_path, timeout_s=60).exit_code == 0
    assert wait_until(lambda: hub.processes() == [])
    assert (site.sent, (tmp_path / "ran").exists()) == (["all"], False)


def test_a_push_that_cannot_be_started_does_not_make_a_sync_fail(hub: PushingHub) -> None:
    site = hub.site("one")
    (hub.state / "logs").mkdir()
    (hub.state / "logs/push").write_text("a file where a directory is to be")
    result = hub.run("sync")
    assert result.exit_code == 0
    assert "internal error" not in result.errors
    assert (site.sent, hub.run("push").exit_code, site.sent) == ([], 0, ["all"])


def test_a_log_that_cannot_be_written_is_named_and_what_was_asked_for_waits(hub: PushingHub) -> None:
    site = hub.site("one")
    (hub.state / "logs").write_text("no directory")
    result = hub.run("sync")
    assert (result.exit_code, "internal error" in result.errors) == (1, False)
    assert f"{hub.state}/logs/{ARCHIVE} cannot be written" in result.errors
    assert [request.trigger for request in hub.store.pending(ARCHIVE)] == ["manual"]
    assert site.sent == []


# -- a hub that is woken ------------------------------------------------------------------------------


class Woken:
    """A hub below the archive, which is woken through a real sshd, with sites of its own."""

    def __init__(self, site: LabSite, sshd: SitesSshd, directory: Path) -> None:
        self.site = site
        self.downstream = Downstream(directory / "sites", site.etc / "sites.d", sshd)
        self._ssh = sshd.ssh_argv(directory / "key")
        sshd.authorize(new_key(directory / "key"), command=shlex.join(site.argv("receive")))
        self.store = open_store(f"sqlite:///{site.state / 'state.sqlite'}", site.state)

    def push(self, words: str) -> process.Result:
        """Wake it, and wait for its answer."""
        return process.run([*self._ssh, words], timeout_s=60)

    def pushing(self, words: str) -> list[str]:
        """The command line that wakes it."""
        return [*self._ssh, words]

    def configure(self, **push: object) -> None:
        """Keys of its [push]."""
        file = self.site.etc / "pushmirror.toml"
        file.write_text(tomlkit.dumps({**tomlkit.parse(file.read_text()), "push": push}))

    def site_state(self, name: str) -> SiteState:
        """Where a site of its own is."""
        return self.store.site_states(ARCHIVE).get(name, SiteState(ARCHIVE, name))

    def is_current(self, *names: str) -> bool:
        """Whether these sites have what it serves."""
        served = self.store.latest_generation(ARCHIVE)
        return served is not None and all(self.site_state(name).stage2 == served.digest for name in names)

    def is_quiet(self) -> bool:
        """Whether nothing goes on in the background."""
        return naming(self.site.etc) == []


@pytest.fixture
def archive(tmp_path: Path, lab_key: LabKey) -> LabArchive:
    return LabArchive.create(tmp_path / "archive", packages=5, key=lab_key)


@pytest.fixture
def woken(make_site: Callable[..., LabSite], sites_sshd: SitesSshd, tmp_path: Path) -> Iterator[Woken]:
    woken = Woken(make_site(), sites_sshd, tmp_path)
    woken.configure(deadline="30s", retry_for="0s")
    yield woken
    woken.store.close()
    for pid in naming(woken.site.etc):
        kill(pid)


def test_a_hub_that_is_woken_answers_before_its_sites_do(woken: Woken) -> None:
    site = woken.downstream.add("below", push="all")
    with site.held("all"):
        assert woken.push("sync:all").exit_code == 0
        site.wait_for("all")
        assert not woken.is_current("below")
    assert wait_until(lambda: woken.is_current("below"))


def test_a_stage_1_without_mhop_wakes_nobody(woken: Woken) -> None:
    site = woken.downstream.add("below", push="staged")
    assert woken.push("sync:stage1").exit_code == 0
    assert woken.is_quiet()
    assert site.sent == []


def test_an_mhop_stage_1_is_answered_when_the_staged_sites_have_it_and_stage_2_needs_no_other(
    woken: Woken, tmp_path: Path
) -> None:
    staged, mhop, all_ = (woken.downstream.add(kind, push=kind) for kind in ("staged", "mhop", "all"))
    with ExitStack() as stack:
        with staged.held("stage1"):
            words = woken.pushing("sync:mhop sync:stage1")
            push = stack.enter_context(process.background(words, log=tmp_path / "ssh.log"))
            assert wait_until(lambda: woken.site_state("mhop").stage1 is not None)
            staged.wait_for("stage1")
            assert push.poll() is None
        assert ended(push) == 0
    assert (staged.sent, mhop.sent, all_.sent) == (["stage1"], ["stage1"], [])
    assert woken.push("sync:mhop sync:stage2").exit_code == 0
    assert wait_until(lambda: woken.is_current("staged", "mhop", "all"))
    assert (staged.sent, mhop.sent, all_.sent) == (EVERYTHING, EVERYTHING, ["all"])
    named = f"sync:generation:{read_published(woken.site.tree).generation}"  # which was not served yet
    assert staged.words[0] == f" sync:archive:debian {named} sync:stage1"
    assert mhop.words[0] == f" sync:archive:debian sync:mhop {named} sync:stage1"


def test_a_dead_site_below_delays_the_answer_to_an_mhop_stage_1_by_the_deadline_only(woken: Woken) -> None:
    woken.configure(deadline="1s", retry_for="0s")
    woken.downstream.add("dead", push="staged", port=free_port())
    good = woken.downstream.add("good", push="staged")
    assert woken.push("sync:mhop sync:stage1").exit_code == 0
    assert woken.site_state("dead").stage1 is None
    assert wait_until(lambda: woken.site_state("good").stage1 is not None)
    assert woken.push("sync:mhop sync:stage2").exit_code == 0
    assert wait_until(lambda: woken.is_current("good"))
    assert good.sent == EVERYTHING


def test_an_mhop_stage_1_waits_for_no_site_that_is_woken_by_all_or_paused(woken: Woken) -> None:
    sites = [
        woken.downstream.add("all", push="all"),
        woken.downstream.add("paused", push="staged", paused=True),
    ]
    assert woken.push("sync:mhop sync:stage1").exit_code == 0
    assert wait_until(woken.is_quiet)
    assert [site.sent for site in sites] == [[], []]


def test_an_mhop_stage_1_is_carried_on_by_a_push_that_keeps_trying_a_dead_site(
    woken: Woken, archive: LabArchive
) -> None:
    woken.configure(deadline="30s", retry_after="1h", retry_at_most="1h", retry_for="1h")
    woken.downstream.add("dead", push="all", port=free_port())
    good = woken.downstream.add("good", push="staged")
    assert woken.push("sync:all").exit_code == 0
    assert wait_until(lambda: woken.is_current("good") and woken.site_state("dead").attempts == 1)
    archive.update()
    assert woken.push("sync:mhop sync:stage1").exit_code == 0
    assert good.sent == ["stage1", "stage2", "stage1"]
    assert woken.push("sync:mhop sync:stage2").exit_code == 0
    assert wait_until(lambda: woken.is_current("good"))
    assert good.sent == EVERYTHING * 2


def test_a_hub_without_sites_answers_an_mhop_stage_1_at_once(woken: Woken) -> None:
    woken.configure(deadline="1h")
    assert woken.push("sync:mhop sync:stage1").exit_code == 0
    assert woken.is_quiet()


def test_an_mhop_stage_1_for_nothing_new_wakes_nobody_again(woken: Woken) -> None:
    site = woken.downstream.add("below", push="staged")
    assert woken.push("sync:all").exit_code == 0
    assert wait_until(lambda: woken.is_current("below") and woken.is_quiet())
    assert woken.push("sync:mhop sync:stage1").exit_code == 0
    assert woken.push("sync:mhop sync:stage2").exit_code == 0
    assert wait_until(woken.is_quiet)
    assert site.sent == EVERYTHING


def test_a_stage_1_that_was_prepared_and_then_outdated_is_prepared_anew(
    woken: Woken, archive: LabArchive
) -> None:
    site = woken.downstream.add("below", push="staged")
    assert woken.push("sync:mhop sync:stage1").exit_code == 0
    archive.update()
    assert woken.push("sync:mhop sync:stage1").exit_code == 0
    assert woken.push("sync:mhop sync:stage2").exit_code == 0
    assert wait_until(lambda: woken.is_current("below"))
    assert site.sent == ["stage1", "stage1", "stage2"]


# -- a push that says what it announces ---------------------------------------------------------------


def connections(daemon: RsyncDaemon) -> int:
    """How often anybody has connected to upstream."""
    return daemon.transfers.read_text().count("connect from")


def test_what_is_there_already_is_answered_at_once_without_asking_upstream(
    woken: Woken, daemon: RsyncDaemon
) -> None:
    assert woken.push("sync:all").exit_code == 0
    served, before = read_published(woken.site.tree).generation, connections(daemon)
    for stage in ("sync:all", "sync:mhop sync:stage1", "sync:stage2"):
        result = woken.push(f"sync:archive:debian sync:generation:{served} {stage}")
        said = result.output.decode().split(": ")[1]
        assert (result.exit_code, said) == (0, f"already at {served[:12]}\n"), stage
    assert connections(daemon) == before > 0
    asked, runs = woken.store.latest_request(ARCHIVE), woken.store.runs(ARCHIVE)
    assert asked and (asked.generation, asked.run_id, len(runs)) == (served, None, 1)


def test_it_is_answered_at_once_through_a_run_under_way(woken: Woken) -> None:
    assert woken.push("sync:all").exit_code == 0
    served = read_published(woken.site.tree).generation
    woken.store.begin_run(ARCHIVE, Stage.ALL, strategy="", trigger="ssh")
    with locks.locked(woken.site.tree):
        assert woken.push(f"sync:generation:{served} sync:all").exit_code == 0


def test_what_is_not_there_yet_is_fetched(woken: Woken, archive: LabArchive) -> None:
    assert woken.push("sync:all").exit_code == 0
    archive.update()
    new = read_published(archive.path).generation
    assert woken.push(f"sync:generation:{new} sync:all").exit_code == 0
    asked = woken.store.latest_request(ARCHIVE)
    assert asked and (asked.generation, asked.run_id) == (new, 2)
    assert read_published(woken.site.tree).generation == new


def test_sites_that_lack_what_is_there_already_are_woken_all_the_same(woken: Woken) -> None:
    assert woken.push("sync:all").exit_code == 0
    site = woken.downstream.add("below", push="staged")
    served = read_published(woken.site.tree).generation
    assert woken.push(f"sync:generation:{served} sync:all").exit_code == 0
    assert wait_until(lambda: woken.is_current("below") and woken.is_quiet())
    named = f" sync:archive:debian sync:generation:{served}"
    assert site.words == [f"{named} sync:stage1", f"{named} sync:stage2"]


def test_a_hub_killed_after_it_has_published_knows_what_it_serves_and_the_next_push_brings_it_on(
    woken: Woken, archive: LabArchive
) -> None:
    site = woken.downstream.add("below", push="all")
    assert woken.push("sync:all").exit_code == 0
    assert wait_until(lambda: woken.is_current("below") and woken.is_quiet())
    archive.update()
    kills_us = [sys.executable, "-c", "import os, signal; os.kill(os.getppid(), signal.SIGKILL)"]
    woken.site.configure(hooks={"after_publish": kills_us})
    assert woken.push("sync:all").exit_code != 0
    served = woken.store.latest_generation(ARCHIVE)
    assert served and served.digest == read_published(woken.site.tree).generation
    assert not woken.is_current("below") and not list(woken.site.tree.glob("Archive-Update-in-Progress-*"))
    assert woken.site.run("push").exit_code == 0
    assert woken.is_current("below") and site.sent == ["all", "all"]
