"""A hundred pushes of all kinds through a real sshd: each caller is told the truth, no change is lost."""

import shlex
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random
from threading import Lock

import pytest

from acceptance.calls import requests
from pushmirror.errors import Exit
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.judge import broken
from pushmirror.lab.services import Sshd, new_key
from pushmirror.lab.signing import LabKey
from pushmirror.lab.site import LabSite
from pushmirror.push.trigger import parse_trigger
from pushmirror.state.records import Stage
from pushmirror.system import process
from support.published import generation_files
from trees import Dates, dates_of_suites

PUSHES = 100
AT_ONCE = 12
UPDATE_AT = (15, 40, 65, 97)  # before these pushes are sent
MOST_RUNS = 60  # about 32 of the 77 pushes that reach the queue, twelve at a time
KINDS = ("sync:stage1", "sync:stage2", "sync:all", "sync:all sync:mhop", "sync:stage1 sync:stage2", "")
ARCHIVES = ("", "sync:archive:debian", "sync:archive:", "sync:archive:nosuch")
#: `{canary}` is a file that appears as soon as a shell looks at one of these.
JUNK = (
    "",
    ";touch {canary}",
    "$(touch {canary})",
    "`touch {canary}`",
    "|touch {canary}",
    "&& touch {canary} #",
    "\ntouch {canary}\n",
    "'; touch {canary}; '",
    '"; touch {canary}; "',
    ">{canary}",
    "*",
    "~root ${{IFS}} -v --config=/etc",
)


@dataclass(frozen=True)
class Push:
    """One push, as its caller saw it."""

    number: int
    words: str
    exit_code: int
    sent_at: Dates  # upstream's, when it was sent
    found: Dates  # the site's, when it returned


@pytest.fixture
def archive(tmp_path: Path, lab_key: LabKey) -> LabArchive:
    return LabArchive.create(tmp_path / "archive", packages=10, key=lab_key)


@pytest.fixture
def ssh(site: LabSite, sshd: Sshd, tmp_path: Path) -> list[str]:
    """An ssh command line that pushes the site with the words that are added to it."""
    command = shlex.join(site.argv("receive"))
    sshd.authorize(new_key(tmp_path / "key"), command=command, options=("restrict",))
    return sshd.ssh_argv(tmp_path / "key")


def test_a_storm_of_pushes_is_served_whole_and_every_caller_is_told_the_truth(
    archive: LabArchive, site: LabSite, ssh: list[str], tmp_path: Path
) -> None:
    site.sync().check()
    pushes = _storm(archive, site, ssh, canary=tmp_path / "canary")
    runs = site.json("history", "--limit", "1000")[:-1]  # without the first
    print(f"{len(runs)} runs; exit codes: {[push.exit_code for push in pushes]}")
    for path, text in generation_files(archive).items():
        assert (site.tree / path).read_bytes() == text
    assert broken(site.tree, thorough=True) == []
    assert not (tmp_path / "canary").exists()
    _callers_were_told_the_truth(site, pushes)
    _nobody_was_told_of_a_state_older_than_theirs(pushes)
    _runs_were_few_and_never_overlapped(runs)


def _storm(archive: LabArchive, site: LabSite, ssh: list[str], *, canary: Path) -> list[Push]:
    random, changing = Random(4), Lock()  # noqa: S311  the same storm each time

    def push(number: int, words: str) -> Push:
        with changing:
            if number in UPDATE_AT:
                archive.update()
            sent_at = dates_of_suites(archive.path)
        result = process.run([*ssh, words], timeout_s=90)
        return Push(number, words, result.exit_code, sent_at, dates_of_suites(site.tree))

    all_words = [
        f"push-{number} {random.choice(ARCHIVES)} {random.choice(KINDS)} {random.choice(JUNK)}"
        for number in range(PUSHES)
    ]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        words = [text.format(canary=canary) for text in all_words]
        return list(threads.map(push, range(PUSHES), words))


def _callers_were_told_the_truth(site: LabSite, pushes: list[Push]) -> None:
    runs = {run["id"]: run for run in site.json("history", "--limit", "1000")}
    served = {request.words.split()[0]: request for request in requests(site) if request.trigger == "ssh"}
    for push in pushes:
        if parse_trigger(push.words.split()).archive == "nosuch":
            assert push.exit_code == Exit.USAGE
            continue
        request = served.pop(f"push-{push.number}")
        run = runs[request.run_id]
        assert push.exit_code == request.exit_code == run["exit_code"]
        assert push.exit_code in {Exit.OK, Exit.BEHIND}
        assert run["stage"] in {request.stage, Stage.ALL}
        assert run["started_at"] >= request.arrived_at.isoformat()
    assert served == {}


def _nobody_was_told_of_a_state_older_than_theirs(pushes: list[Push]) -> None:
    for push in pushes:
        stage = parse_trigger(push.words.split()).stage
        if push.exit_code == Exit.OK and stage is not Stage.STAGE1:
            assert push.found.keys() == push.sent_at.keys()
            assert all(push.found[suite] >= date for suite, date in push.sent_at.items()), push


def _runs_were_few_and_never_overlapped(runs: list[dict[str, str]]) -> None:
    assert len(runs) <= MOST_RUNS
    newest_last = sorted(runs, key=lambda run: run["started_at"])
    assert all(one["ended_at"] <= next_["started_at"] for one, next_ in pairwise(newest_last))


def test_the_words_of_a_push_are_named_as_they_came(ssh: list[str]) -> None:
    result = process.run([*ssh, "sync:archive:nosuch * $(id) `id` ;id"], timeout_s=60)
    told = result.output.decode().splitlines()
    assert told == [f"Unknown option '{word}' ignored" for word in ("*", "$(id)", "`id`", ";id")]


@pytest.mark.parametrize("name", ["../../etc", "/etc", "a/b", "$(id)"])
def test_a_push_for_an_archive_with_an_impossible_name_is_refused(ssh: list[str], name: str) -> None:
    assert process.run([*ssh, f"sync:archive:{name} sync:all"], timeout_s=60).exit_code == Exit.USAGE
