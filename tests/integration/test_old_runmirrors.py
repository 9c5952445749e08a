"""Debian's own runmirrors and ours, with the same files, and an `ssh` that only writes down its calls.

The real one is a copy of /usr/bin/runmirrors in which nothing but the path of sendmail is another, so that no
mail of a test leaves it; `sleep` shortens the five seconds between two looks at its barrier. Ours is
`archvsync_commands/runmirrors.py`. What one of them starts is found, and ended, by its home.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest

from pushmirror.archvsync_commands.runmirrors import runmirrors
from pushmirror.archvsync_commands.runmirrors_push import push_from_ftpsync
from pushmirror.errors import PushmirrorError
from pushmirror.lab.services import wait_until
from pushmirror.state.store import open_store
from pushmirror.system import clock, process

REAL = Path("/usr/bin/runmirrors")
needs_the_real_one = pytest.mark.skipif(not REAL.exists(), reason="needs Debian's package ftpsync")
MIRRORS = (Path(__file__).parent.parent / "data" / "runmirrors.mirror").read_text()
REST_S = 60.0  # until all that a call has started is over, on a busy machine

_SSH = """#!/bin/sh
printf '%s\\0' "$@" "${RSYNC_PASSWORD-}" '
' >>"$HOME/calls"
answers="$HOME/answers/$2${*##*:}"
tries=0
while [ -e "$answers.waits" ] && [ "$tries" -lt 600 ]; do tries=$((tries + 1)); /bin/sleep 0.05; done
[ ! -e "$answers" ] || { cat "$answers"; exit 127; }
"""
_SLEEP = """#!/bin/sh
[ "$1" != 5 ] || set -- 0.1
exec /bin/sleep "$@"
"""
_SENDMAIL = '#!/bin/sh\n{ echo "to: $*"; cat; } >>"$HOME/mails"\n'
#: Root has its state in /var/lib; a test's is below its home, as every other user's.
_OURS = """#!{python}
import os, sys
os.environ.setdefault("PUSHMIRROR_STATE", os.path.expanduser("~/.local/state/pushmirror"))
from pushmirror.archvsync_commands import runmirrors
sys.exit(runmirrors.main())
"""


def soon(condition: Callable[[], bool]) -> bool:
    """Whether it comes about, however busy the machine is."""
    return wait_until(condition, limit_s=REST_S)


class Side:
    """A home with one of the two."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.etc = home / ".config" / "ftpsync"
        self.bin = home / "bin"
        self.answers = home / "answers"
        self.state = home / ".local/state/pushmirror"
        for made in (self.etc, self.bin, self.answers, home / ".ssh"):
            made.mkdir(parents=True)
        (home / ".ssh" / "pushmirror").touch()
        for name, text in {"ssh": _SSH, "sleep": _SLEEP, "sendmail": _SENDMAIL}.items():
            self.program(name, text)
        self.program("runmirrors", self.script())

    def script(self) -> str:
        return _OURS.format(python=sys.executable)

    def program(self, name: str, text: str) -> Path:
        file = self.bin / name
        file.write_text(text)
        file.chmod(0o755)
        return file

    def configure(self, mirrors: str, name: str = "runmirrors", **variables: object) -> None:
        told = {"MAILTO": "mirror@example.org", "PUSHDELAY": 20, **variables}
        (self.etc / f"{name}.conf").write_text("".join(f'{key}="{told[key]}"\n' for key in told))
        (self.etc / f"{name}.mirror").write_text(mirrors)

    def call(self, *words: str, **env: str) -> int:
        """Its exit code; what goes on in the background goes on."""
        argv = [str(self.bin / "runmirrors"), *words]
        return process.run(argv, env=self.env | env, timeout_s=REST_S).exit_code

    def rest(self) -> None:
        """Until nothing of it runs any more."""
        assert soon(lambda: not self.processes()), self.log()

    @property
    def env(self) -> dict[str, str]:
        path = f"{self.bin}:{process.BASE_ENVIRONMENT['PATH']}"
        return {"HOME": str(self.home), "PATH": path, "LOGNAME": "mirror", "SENDMAIL": f"{self.bin}/sendmail"}

    def calls(self) -> list[list[str]]:
        """The arguments of each ssh so far, and the password that it saw."""
        file = self.home / "calls"
        texts = file.read_text().split("\0\n\0") if file.exists() else []
        return [text.split("\0") for text in texts if text]

    def triggers(self) -> dict[str, list[list[str]]]:
        """The same by host."""
        by_host: dict[str, list[list[str]]] = {}
        for words in self.calls():
            argv = [word.replace(str(self.home), "~home") for word in words]
            by_host.setdefault(argv[1], []).append(argv)
        return by_host

    def said(self) -> list[tuple[str, str]]:
        """Host and stage of each trigger."""
        return [(words[1].partition(".")[0], words[-2].rpartition(":")[2]) for words in self.calls()]

    def answer(self, host: str, stage: str, text: str = "no such thing") -> Path:
        """From now on this trigger fails, while the file is there."""
        file = self.answers / f"{host}{stage}"
        file.write_text(text)
        return file

    def waits(self, host: str, stage: str) -> Path:
        """The same, but it goes on until the file is gone."""
        file = self.answers / f"{host}{stage}.waits"
        file.touch()
        return file

    def log(self, name: str = "runmirrors") -> str:
        file = self.home / ".local/log/ftpsync" / f"{name}.log"
        return file.read_text() if file.exists() else ""

    def mails(self) -> str:
        file = self.home / "mails"
        return file.read_text() if file.exists() else ""

    def processes(self) -> list[int]:
        wanted, found = b"HOME=" + os.fsencode(self.home), list[int]()
        for entry in Path("/proc").iterdir():
            with suppress(OSError):  # it has just ended, or is not ours
                if entry.name.isdigit() and wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return found

    def end(self) -> None:
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class Real(Side):
    """The home of Debian's script."""

    def script(self) -> str:
        text = REAL.read_text()
        assert "/usr/sbin/sendmail" in text
        return text.replace("/usr/sbin/sendmail", f"{self.bin}/sendmail")

    @property
    def env(self) -> dict[str, str]:
        return super().env | {"BASEDIR": str(self.home)}  # archvsync.md, 23


class Packaged(Real):
    """The same, with nothing but what its package sets up."""

    @property
    def env(self) -> dict[str, str]:
        return {name: value for name, value in super().env.items() if name != "BASEDIR"}


@pytest.fixture(scope="module")
def empty_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory to begin with: to make its database takes longer than a whole call."""
    directory = tmp_path_factory.mktemp("state")
    open_store(f"sqlite:///{directory / 'state.sqlite'}", directory).close()
    return directory


@pytest.fixture
def ours(tmp_path: Path, empty_state: Path) -> Iterator[Side]:
    side = Side(tmp_path / "ours")
    shutil.copytree(empty_state, side.state)
    yield side
    side.end()


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Side]:
    side = Real(tmp_path / "real")
    yield side
    side.end()


SECURITY = "all a a.example.org archvsync\nstaged b ssh+ftpsync://archvsync@b.example.org\n"
FEW = "all a a.example.org u\nstaged b b.example.org u\nmhop c c.example.org u -p 2222\n"
#: Words, variables of the configuration, its name, the mirrors.
CALLS: dict[str, tuple[Sequence[str], Mapping[str, object], str, str]] = {
    "plain": ((), {}, "runmirrors", MIRRORS),
    "all": (("-k", "all"), {"SSH_OPTS": "-o A=b  -4"}, "runmirrors", FEW),
    "stage2": (("-f", "-kstage2"), {"SSH_OPTS": "", "PUSHCB": "true"}, "runmirrors", FEW),
    "mhop": (("-f", "-k", "mhop"), {}, "runmirrors", MIRRORS),
    "named": (("-a", "security"), {"PUSHCB": "1"}, "runmirrors-security", SECURITY),
    "word": (("bpo",), {"PUSHARCHIVE": "backports", "KEYFILE": ".ssh/link"}, "runmirrors-bpo", FEW),
}

Triggers = dict[str, list[list[str]]]
Both = Callable[[str], tuple[Triggers, Triggers]]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, empty_state: Path) -> Iterator[Both]:
    """The triggers of the real one and of ours for one of the calls, which is made once."""
    directory = tmp_path_factory.mktemp("both")
    sides: list[Side] = []

    def called(side: Side, name: str) -> Triggers:
        words, variables, config, mirrors = CALLS[name]
        shutil.copytree(empty_state, side.state)
        (side.home / ".ssh" / "link").symlink_to("pushmirror")
        side.configure(mirrors, config, **variables)
        assert side.call(*words) == 0
        side.rest()
        return side.triggers()

    @cache
    def by_both(name: str) -> tuple[Triggers, Triggers]:
        pair = Real(directory / name / "real"), Side(directory / name / "ours")
        sides.extend(pair)
        with ThreadPoolExecutor() as threads:
            theirs, of_ours = threads.map(called, pair, (name, name))
        return theirs, of_ours

    try:
        yield by_both
    finally:
        for side in sides:
            side.end()


BUG_25 = {f"h{number}.example.org" for number in range(51, 58)}


@needs_the_real_one
@pytest.mark.parametrize("name", CALLS)
def test_every_mirror_gets_byte_identical_triggers_from_both_runmirrors(both: Both, name: str) -> None:
    theirs, of_ours = both(name)
    assert {host: argvs for host, argvs in of_ours.items() if host not in BUG_25} == {
        host: argvs for host, argvs in theirs.items() if host not in BUG_25
    }
    assert len(of_ours) >= 2


@needs_the_real_one
def test_the_file_of_odd_lines_wakes_most_of_its_mirrors(
    both: Both,
) -> None:
    theirs, of_ours = both("plain")
    ignored = {f"h{number}.example.org" for number in (9, 28, 29, 30, 31, 32, 61)}
    assert len(theirs) == len(of_ours) == 45 and not ignored & of_ours.keys()


KEY = "~home/.ssh/pushmirror"


@needs_the_real_one
@pytest.mark.parametrize(
    ("host", "theirs", "of_ours"),
    [
        ("h51", ["-2"], ["-i", KEY, "-2"]),
        ("h52", ["-1"], ["-i", KEY, "-1"]),
        ("h53", ["-2"], ["-i", "/srv/keys/site", "-2"]),
        ("h54", ["-i", KEY, "-p", "2222"], ["-i", KEY, "-p", "2222", "-o", "A=b", "-4"]),
        ("h55", ["-i", KEY, "-p"], ["-i", KEY, "-p", "2222"]),
    ],
)
def test_bug_25_a_line_keeps_its_key_and_all_of_its_options(
    both: Both, host: str, theirs: list[str], of_ours: list[str]
) -> None:
    known = ["-o", "StrictHostKeyChecking=no"]
    for side, wanted in zip(both("plain"), (theirs, of_ours), strict=True):
        argv = side[f"{host}.example.org"][0]
        assert argv[argv.index(known[1]) + 1 : -2] == wanted


@needs_the_real_one
@pytest.mark.parametrize("host", ["h56.example.org", "h57.example.org"])
def test_bug_25_a_mirror_without_a_user_is_not_logged_in_as_nobody(both: Both, host: str) -> None:
    theirs, of_ours = (side[host][0] for side in both("plain"))
    assert theirs[2:4] == ["-o", "user="]
    assert of_ours == [*theirs[:2], *theirs[4:]]


def ended(argv: list[str]) -> int:
    """The exit code of ours, in this process."""
    try:
        return runmirrors(argv, os.environ)
    except PushmirrorError as exc:
        return exc.exit_code


@needs_the_real_one
@pytest.mark.parametrize(
    ("words", "code"), [(["-h"], 0), (["-Z"], 1), (["-a"], 1), (["nope"], 78), (["-f", "-k", "all"], 5)]
)
def test_both_end_with_the_same_exit_code(
    ours: Side, real: Side, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int
) -> None:
    for side in (ours, real):
        side.configure("", KEYFILE=".ssh/missing")
    for name, value in ours.env.items():
        monkeypatch.setenv(name, value)
        monkeypatch.setitem(process.BASE_ENVIRONMENT, name, value)
    assert (ended([str(ours.bin / "runmirrors"), *words]), real.call(*words)) == (code, code)
    assert ("does not exist" in ours.mails()) is (code == 5)


@needs_the_real_one
def test_bug_23_ours_needs_no_basedir(ours: Side, tmp_path: Path) -> None:
    packaged = Packaged(tmp_path / "packaged")
    for side in (ours, packaged):
        side.configure("all a a.example.org u\n")
    assert (packaged.call(), packaged.said()) == (1, [])
    assert ours.call() == 0
    ours.rest()
    assert ours.said() == [("a", "all")]


def test_bug_24_a_forced_command_that_is_not_found_is_a_failure(ours: Side) -> None:
    ours.configure("all a a.example.org u\nall b b.example.org u\n")
    ours.answer("a.example.org", "all", "sh: ftpsync: not found")
    assert ours.call() == 0
    assert soon(lambda: "b.example.org" in ours.log() and "ftpsync: not found" in ours.mails())
    assert "normal trigger failed: a.example.org" in ours.log()
    assert "normal trigger succeeded: b.example.org" in ours.log()
    assert ours.mails().count("Subject:") == 1 and "ftpsync: not found" in ours.log("a")


def test_bug_26_a_stale_lock_releases_no_stage_2_and_indented_lines_are_waited_for(ours: Side) -> None:
    ours.configure("staged a a.example.org u\n  staged b b.example.org u\n", PUSHDELAY=600)
    locks = ours.home / ".local/lock/ftpsync"
    locks.mkdir(parents=True)
    for name in ("a.stage1", "b.stage1", "all_stage1"):
        (locks / name).touch()
    late = ours.waits("b.example.org", "stage1")
    ours.call()
    assert soon(lambda: "first stage trigger succeeded: a" in ours.log())
    assert sorted(ours.said()) == [("a", "stage1"), ("b", "stage1")]
    late.unlink()
    ours.rest()
    assert sorted(ours.said()[2:]) == [("a", "stage2"), ("b", "stage2")]


def test_bug_26_pushes_of_different_archives_share_nothing(ours: Side) -> None:
    ours.configure("staged a a.example.org u\nstaged late late.example.org u\n", PUSHDELAY=600)
    ours.configure("staged b b.example.org u\n", "runmirrors-security")
    ours.waits("late.example.org", "stage1")
    ours.call()
    assert soon(lambda: "first stage trigger succeeded: a" in ours.log())
    ours.call("security")
    assert soon(lambda: ("b", "stage2") in ours.said())
    assert ("a", "stage2") not in ours.said()


def test_bug_27_an_mhop_push_without_staged_mirrors_is_over_at_once(ours: Side) -> None:
    ours.configure("all a a.example.org u\n", PUSHDELAY=100_000)
    assert ours.call("-f", "-k", "mhop") == 0  # within its limit
    ours.rest()
    assert (ours.said(), ours.mails()) == ([], "")


def test_an_mhop_push_from_ftpsync_is_back_when_the_mirrors_have_stage_1(ours: Side) -> None:
    ours.configure(FEW, PUSHDELAY=100_000)
    assert ours.call("-f", "-k", "mhop") == 0
    assert sorted(ours.said()) == [("b", "stage1"), ("c", "stage1")]
    assert soon(lambda: "first stage trigger succeeded: b" in ours.log())
    assert soon(lambda: "first stage trigger succeeded: c" in ours.log())


def test_an_mhop_push_from_ftpsync_waits_no_longer_than_pushdelay(ours: Side) -> None:
    ours.configure(FEW, PUSHDELAY=1)
    ours.waits("c.example.org", "stage1")
    assert ours.call("-f", "-k", "mhop") == 0
    assert "Stage 1 of our mirrors was not finished after 1 seconds" in ours.mails()


def test_stage_2_follows_the_stage_1_of_an_earlier_call_also_while_that_is_still_under_way(
    ours: Side,
) -> None:
    ours.configure(FEW, PUSHDELAY=1)
    late = ours.waits("c.example.org", "stage1")
    ours.call("-f", "-k", "mhop")
    ours.call("-f", "-k", "stage2")
    assert soon(lambda: {("a", "all"), ("b", "stage2")} <= set(ours.said()))
    late.unlink()
    ours.rest()
    stages = [stage for host, stage in ours.said() if host == "c"]
    assert stages == ["stage1", "stage2"] and len(ours.said()) == 5
    assert [words[-2] for words in ours.calls() if words[1] == "c.example.org"][1] == (
        " sync:archive: sync:stage2"
    )


def test_bug_28_a_failing_hook_2_that_reads_its_input_ends_nothing(ours: Side) -> None:
    hook = ours.program("hook", '#!/bin/sh\ncat >>"$HOME/read"\necho "$1 between" >&2\nexit 3\n')
    ours.configure(FEW, HOOK2=f"{hook} comes")
    ours.call()
    ours.rest()
    assert {host for host, _ in ours.said()} == {"a", "b", "c"}
    assert ours.log().count("comes between") == 3 and (ours.home / "read").read_text() == ""
    assert "Back from hook 2, got returncode 3" in ours.mails()


def test_bug_33_the_barrier_is_not_polled_and_a_delay_that_runs_out_releases_nobody(ours: Side) -> None:
    ours.program("sleep", '#!/bin/sh\necho "$1" >>"$HOME/slept"\n')
    ours.configure(
        "staged a a.example.org u\nstaged b b.example.org u\nDELAY 1 stage1\nall c c.example.org u\n",
        PUSHDELAY=600,
    )
    late = ours.waits("b.example.org", "stage1")
    ours.call()
    assert soon(lambda: ("c", "all") in ours.said())  # whose delay ran out
    assert ("a", "stage2") not in ours.said()
    late.unlink()
    ours.rest()
    assert {("a", "stage2"), ("b", "stage2")} <= set(ours.said())
    assert not (ours.home / "slept").exists()


def test_hooks_1_and_3_have_their_place_and_all_lines_with_a_mistake_one_mail(ours: Side) -> None:
    ours.configure(FEW, HOOK1="sh -c exit_3", HOOK3="true")
    assert ours.call() == 127
    assert not ours.calls() and "Back from hook 1, got returncode 127" in ours.mails()
    ours.configure(f"all bad bad.example.org u 3 key\nnonsense\n{FEW}", HOOK1="true", HOOK3="echo over")
    assert ours.call() == 0
    ours.rest()
    assert len(ours.calls()) == 5
    assert ours.log().index("over") > ours.log().rindex("trigger succeeded")
    assert ours.mails().count("Subject:") == 2 and "2 lines of runmirrors.mirror" in ours.mails()


def test_a_call_during_a_push_has_everybody_woken_again_and_takes_new_mirrors_along(ours: Side) -> None:
    ours.configure("all a a.example.org u\nall late late.example.org u\n")
    late = ours.waits("late.example.org", "all")
    ours.call()
    assert soon(lambda: len(ours.said()) == 2)
    ours.configure("all a a.example.org u\nall late late.example.org u\nall new new.example.org u\n")
    ours.call()
    assert soon(lambda: ("new", "all") in ours.said() and ours.said().count(("a", "all")) == 2)
    late.unlink()
    ours.rest()
    assert ours.said().count(("late", "all")) == 2


def test_a_call_while_a_mirror_fails_goes_home_when_all_others_are_woken(ours: Side) -> None:
    ours.configure("all a a.example.org u\nall bad bad.example.org u\n", HOOK3="echo over")
    ours.answer("bad.example.org", "all")
    for calls in (1, 2):
        ours.call()
        assert soon(lambda: ": over" in ours.log() and len(ours.processes()) == 1)
        assert ours.said().count(("a", "all")) == calls
    assert ours.said().count(("bad", "all")) >= 2  # by the first one, which goes on


def test_bug_26_a_stage_1_that_failed_releases_nobody(ours: Side) -> None:
    ours.configure("staged bad bad.example.org u\nstaged b b.example.org u\n", PUSHDELAY=600)
    ours.answer("bad.example.org", "stage1")
    ours.call()
    assert soon(lambda: "first stage trigger succeeded: b" in ours.log() and ours.mails() != "")
    assert ("b", "stage2") not in ours.said()


def test_no_password_reaches_ssh(ours: Side) -> None:
    ours.configure(FEW)
    ours.call(RSYNC_PASSWORD="secret")
    ours.rest()
    assert {words[-1] for words in ours.calls()} == {""}


def test_the_push_in_the_background_reads_the_files_as_the_call_does(ours: Side, tmp_path: Path) -> None:
    (tmp_path / "common").write_text('KEYFILE="$MINE"\n')
    ours.configure("all a a.example.org u\n")
    with (ours.etc / "runmirrors.conf").open("a") as file:
        file.write(". ./common\n")
    env = ours.env | {"MINE": ".ssh/pushmirror"}
    ended = process.run([str(ours.bin / "runmirrors")], env=env, cwd=tmp_path, timeout_s=REST_S)
    ours.rest()
    assert (ended.exit_code, ours.said()) == (0, [("a", "all")])


def test_a_call_whose_push_cannot_be_stored_says_so_by_log_mail_and_exit_code(ours: Side) -> None:
    ours.configure("all a a.example.org u\n")
    (ours.state / "state.sqlite").write_text("no database")
    assert ours.call() == 1
    assert "is damaged" in ours.log() and "is damaged" in ours.mails()
    assert "Mirrorpush done" in ours.log() and ours.said() == []


@pytest.fixture
def in_process(ours: Side, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], int]:
    """Calls for a push as ftpsync does; what is published is in the store."""
    monkeypatch.setenv("HOME", str(ours.home))
    monkeypatch.setenv("PUSHMIRROR_STATE", str(ours.state))

    def push(kind: str) -> int:
        return push_from_ftpsync(
            str(ours.bin / "ftpsync"), archive_option="", archive="debian", kind=kind, environment=ours.env
        )

    return push


def test_ftpsync_has_its_mirrors_woken_for_what_is_in_the_store(
    ours: Side, in_process: Callable[[str], int]
) -> None:
    ours.configure(FEW, PUSHDELAY=600)
    store = open_store(f"sqlite:///{ours.state / 'state.sqlite'}", ours.state)
    store.prepare("debian", "1" * 40)
    assert in_process("mhop") == 0
    assert sorted(ours.said()) == [("b", "stage1"), ("c", "stage1")]
    ours.rest()
    store.publish_generation("debian", "1" * 40, None, clock.now())
    assert in_process("stage2") == 0
    ours.rest()
    assert sorted(ours.said()[2:]) == [("a", "all"), ("b", "stage2"), ("c", "stage2")]
    assert {one.stage2 for one in store.site_states("debian").values()} == {"1" * 40}
    store.close()


@pytest.mark.parametrize(("missing", "code"), [("runmirrors.conf", 78), ("key", 5)])
def test_ftpsync_hears_what_keeps_its_mirrors_from_being_woken(
    ours: Side, in_process: Callable[[str], int], missing: str, code: int
) -> None:
    ours.configure(FEW)
    (ours.home / ".ssh/pushmirror" if missing == "key" else ours.etc / missing).unlink()
    assert in_process("all") == code
