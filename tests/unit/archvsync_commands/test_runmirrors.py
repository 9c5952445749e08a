"""What runmirrors is asked for, and what that makes the goal of a push."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from pushmirror.archvsync_commands import runmirrors_background
from pushmirror.archvsync_commands.runmirrors_args import RunmirrorsArgs, asked
from pushmirror.archvsync_commands.runmirrors_sites import CurrentSites, PushMode, Read, aim, stage1_was_had
from pushmirror.archvsync_config.values import Logs, Mail, MirrorLine, Runmirrors
from pushmirror.config.model import Archive, Config, Push, PushKind, Site, State
from pushmirror.errors import ConfigError, UsageError
from pushmirror.progress import Silent
from pushmirror.push.decide import Decision, Goal, decide
from pushmirror.push.engine import targets_of
from pushmirror.push.lock import PushLock
from pushmirror.push.trigger import words_to
from pushmirror.runner import Runner
from pushmirror.state.records import Phase, SiteState, Stage
from pushmirror.state.store import Store, open_store
from pushmirror.sync.request import RunRequest
from pushmirror.system import clock

NOW = datetime(2026, 7, 11, 10, tzinfo=UTC)
SERVED, PREPARED = "1" * 40, "2" * 40
PLAIN, AHEAD, STAGE2 = PushMode(), PushMode("mhop", from_ftpsync=True), PushMode("stage2", from_ftpsync=True)
EVERYTHING = PushMode("all")


@pytest.mark.parametrize(
    ("words", "name", "archive", "kind", "inside"),
    [
        ([], "runmirrors", "", "", False),
        ([""], "runmirrors", "", "", False),
        (["bpo"], "runmirrors-bpo", "bpo", "", False),
        (["../a/b"], "runmirrors-.._a_b", "../a/b", "", False),
        (["bpo", "-k", "all"], "runmirrors-bpo", "bpo", "", False),
        (["-a", "bpo", "-k", "all", "-f"], "runmirrors-bpo", "bpo", "all", True),
        (["-fkstage2"], "runmirrors", "", "stage2", True),
        (["-abpo", "word", "-f"], "runmirrors-bpo", "bpo", "", False),
        (["-a", ""], "runmirrors", "", "", False),
        (["-k", ""], "runmirrors", "", "", False),
        (["-k", "odd"], "runmirrors", "", "odd", False),
        (["-a", "x", "-a", "y"], "runmirrors-x-y", "y", "", False),
        (["--", "-f"], "runmirrors", "", "", False),
    ],
)
def test_a_command_line_asks_for(words: list[str], name: str, archive: str, kind: str, inside: bool) -> None:
    assert asked(["/bin/runmirrors", *words]) == RunmirrorsArgs(
        "/bin/runmirrors", name, archive, kind, inside
    )


def test_a_symbolic_link_is_a_configuration_of_its_own() -> None:
    found = asked(["/bin/runmirrors-ports", "-k", "all"])
    assert found and (found.name, found.archive_option) == ("runmirrors-ports", "")


@pytest.mark.parametrize("words", [["-h"], ["-f", "-h"]])
def test_help_is_no_call(words: list[str]) -> None:
    assert asked(["runmirrors", *words]) is None


@pytest.mark.parametrize("words", [["-Z"], ["-a"], ["-fk"], ["--help"]])
def test_what_it_does_not_know_is_refused(words: list[str]) -> None:
    with pytest.raises(UsageError):
        asked(["runmirrors", *words])


# Whom it wakes, and how


def site(name: str, push: PushKind = PushKind.STAGED) -> Site:
    return Site(name=name, host="h.example.org", user="u", push=push, archives=("debian",))


A, B, M = site("a", PushKind.ALL), site("b"), site("m", PushKind.MHOP)


@pytest.mark.parametrize(
    ("course", "kinds"),
    [
        (PLAIN, [PushKind.ALL, PushKind.STAGED, PushKind.MHOP]),
        (EVERYTHING, [PushKind.ALL, PushKind.STAGED, PushKind.STAGED]),
        (STAGE2, [PushKind.ALL, PushKind.STAGED, PushKind.STAGED]),
        (PushMode("odd"), [PushKind.ALL, PushKind.STAGED, PushKind.STAGED]),
        (AHEAD, [None, PushKind.STAGED, PushKind.MHOP]),
    ],
)
def test_the_kind_of_push_says_who_is_woken_and_told_of_mhop(
    course: PushMode, kinds: list[PushKind | None]
) -> None:
    woken = [course.of(one) for one in (A, B, M)]
    assert [one.push if one else None for one in woken] == kinds
    assert all("mhop" not in words_to(one, "debian", Stage.STAGE1) for one in woken[:2] if one)


def runmirrors(*names: str) -> Runmirrors:
    lines = tuple(MirrorLine(PushKind.ALL, name, "h.example.org", "u", "", 2, "/k") for name in names)
    none = Path("/nowhere")
    logs, mail = Logs(none, none), Mail(())
    return Runmirrors("runmirrors", "", lines, none, (), False, Push(), mail, logs, ((), (), ()))


def test_a_change_of_the_files_counts_at_once_and_a_mistake_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "runmirrors.mirror"
    file.write_text("a")

    def read() -> Read:
        if "mistake" in file.read_text():
            raise ConfigError("no")
        return Read(runmirrors(*file.read_text().split()), (file,))

    sites, names = CurrentSites(read, "debian", State(directory=tmp_path)), []
    for text in ("a", "a b", "mistake!", "b", "c d e"):
        file.write_text(text)
        names.append([*sites().sites])
    assert names == [["a"], ["a", "b"], ["a", "b"], ["b"], ["c", "d", "e"]]
    assert sites.line("a").name == "a"  # gone, but perhaps under way


def test_the_last_call_says_how_everybody_wakes_the_sites_of_its_archive(tmp_path: Path) -> None:
    def sites(archive: str) -> CurrentSites:
        return CurrentSites(lambda: Read(runmirrors("a"), ()), archive, State(directory=tmp_path))

    first, second, other = sites("debian"), sites("debian"), sites("security")
    assert first().sites
    second.take(AHEAD)
    assert not first().sites and other().sites


# What it makes the goal


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    directory = tmp_path_factory.mktemp("state")
    found = open_store(f"sqlite:///{directory / 'state.sqlite'}", directory)
    yield found
    found.close()


_numbers = count()


class Story:
    """An archive of its own in the store, for one test."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.name = f"archive{next(_numbers)}"
        self._calls = 0

    def call(self, course: PushMode, sites: Sequence[Site] = (A, B)) -> list[str]:
        """What is due after a call; all of that is then confirmed."""
        self._calls += 1
        aim(self.store, self.name, sites, course, NOW + self._calls * timedelta(seconds=1))
        return self.due(course, sites)

    def due(self, course: PushMode, sites: Sequence[Site] = (A, B)) -> list[str]:
        said: list[str] = []
        woken = [one for one in map(course.of, sites) if one]
        for _ in range(3):
            published, prepared = targets_of(self.store, self.name)
            goal = Goal(self.name, published, since=clock.now(), prepared=prepared)
            decision = decide(woken, self.store.site_states(self.name), goal, Push(), clock.now())
            said += [f"{send.site.name} {send.stage}" for send in decision.sends]
            for send in decision.sends:
                self.confirm(send.site.name, send.stage, send.generation)
        return said

    def confirm(self, name: str, stage: Stage, generation: str) -> None:
        one = self.store.site_states(self.name).get(name, SiteState(self.name, name))
        if stage is not Stage.STAGE2:
            one = replace(one, stage1=generation)
        if stage is not Stage.STAGE1:
            one = replace(one, stage2=generation)
        self.store.put_site_states([one])

    def publish(self, generation: str = SERVED) -> None:
        self.store.publish_generation(self.name, generation, 1, NOW)

    @property
    def served(self) -> str | None:
        found = self.store.latest_generation(self.name)
        return found.digest if found else None


@pytest.fixture
def archive(store: Store) -> Story:
    return Story(store)


WHOLE = ["a all", "b stage1", "b stage2"]


def test_everybody_is_woken_by_each_call_though_nobody_knows_what_is_served(archive: Story) -> None:
    assert (archive.call(PLAIN), archive.call(EVERYTHING)) == (WHOLE, WHOLE)
    assert archive.served and archive.served.endswith(" by runmirrors")


def test_everybody_is_woken_by_each_call_for_what_is_known_to_be_served(archive: Story) -> None:
    archive.publish()
    assert (archive.call(PLAIN), archive.call(PLAIN), archive.served) == (WHOLE, WHOLE, SERVED)


def test_an_answer_to_an_earlier_call_does_not_count_for_this_one(archive: Story) -> None:
    archive.publish()
    sent = {"sent_stage": Stage.ALL, "sent_generation": SERVED, "sent_at": NOW}
    archive.store.put_site_states([SiteState(archive.name, "a", **sent)])
    aim(archive.store, archive.name, [A], PLAIN, NOW)
    one = archive.store.site_states(archive.name)["a"]
    assert (one.sent_stage, one.sent_generation) == (Stage.ALL, None)


@pytest.mark.parametrize("is_known", [False, True])
def test_stage_2_is_all_that_is_sent_after_the_stage_1_of_an_earlier_call(
    archive: Story, is_known: bool
) -> None:
    if is_known:
        archive.publish()
        archive.due(PLAIN)
    assert archive.call(AHEAD) == ["b stage1"]
    assert archive.call(STAGE2) == ["a all", "b stage2"]
    assert archive.due(PLAIN) == []


@pytest.mark.parametrize("is_known", [False, True])
def test_stage_2_is_all_that_is_sent_when_nothing_is_known_of_a_stage_1(
    archive: Story, is_known: bool
) -> None:
    if is_known:
        archive.publish()
    assert archive.call(STAGE2) == ["a all", "b stage2"]
    assert archive.call(STAGE2) == ["a all", "b stage2"]


def test_who_failed_stage_1_gets_it_before_stage_2(archive: Story) -> None:
    c = site("c")
    aim(archive.store, archive.name, [B, c], AHEAD, NOW)
    prepared = archive.store.preparation(archive.name)
    assert prepared
    archive.confirm("b", Stage.STAGE1, prepared.generation)
    assert sorted(archive.call(STAGE2, [B, c])) == ["b stage2", "c stage1", "c stage2"]


def test_each_call_for_stage_1_wakes_the_staged_sites(archive: Story) -> None:
    assert (archive.call(AHEAD), archive.call(AHEAD)) == (["b stage1"], ["b stage1"])


def test_what_a_hub_has_prepared_stays_what_stage_1_is_for(archive: Story) -> None:
    archive.publish()
    archive.due(PLAIN)
    archive.store.prepare(archive.name, PREPARED)
    assert archive.due(AHEAD) == ["b stage1"]
    assert archive.call(AHEAD) == ["b stage1"]
    archive.publish(PREPARED)
    assert archive.due(STAGE2) == ["a all", "b stage2"]


def test_stage_1_was_had_unless_somebody_was_woken_for_it(archive: Story) -> None:
    archive.publish()
    stage1_was_had(archive.store, archive.name, [A, B])
    assert archive.due(STAGE2) == ["a all", "b stage2"]


def test_stage_1_was_not_had_by_who_was_woken_in_vain(archive: Story) -> None:
    archive.publish()
    archive.store.put_site_states([SiteState(archive.name, "b", tried=SERVED, attempts=1)])
    stage1_was_had(archive.store, archive.name, [A, B])
    assert archive.due(STAGE2) == ["a all", "b stage1", "b stage2"]


def test_a_made_up_generation_says_nothing_of_a_tree_that_is_empty(store: Store, tmp_path: Path) -> None:
    mirror = Archive(name="empty", path=tmp_path / "tree")
    mirror.path.mkdir()
    config = Config(archives={"empty": mirror}, state=State(directory=tmp_path))
    aim(store, "empty", [], PLAIN, NOW)
    answer = Runner(config, store, Silent()).submit(RunRequest("empty", Stage.ALL, "cron"))
    assert "was published in it" not in answer.message


RESTING, DUE = Decision((), {"a": Phase.BACKING_OFF}), Decision((), {"a": Phase.DUE})


def test_who_fails_is_tried_for_as_long_as_it_takes_after_the_last_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(runmirrors_background, "monotonic", lambda: now)
    turn = PushLock(tmp_path, "debian")
    with turn.taken():
        is_over = runmirrors_background.Patience(turn, timedelta(hours=24))
        assert is_over(Decision((), {"a": Phase.CURRENT})) and not is_over(RESTING)
        turn.request_rerun()
        now = 23 * 3600
        assert not is_over(RESTING)
        now = 46 * 3600
        assert not is_over(RESTING)
        now = 47 * 3600
        assert is_over(RESTING) and not is_over(DUE)
