"""What Debian's ftpsync got wrong, each by its number in the list of bugs, shown to be right in our command.

The same test runs the real one where that is quick: it has to fail there (`xfail`, strictly), for else the
test would show nothing. Runs are held at a gate, never by time.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from acceptance.calls import Call
from acceptance.gate import Gate
from acceptance.processes import alive, descendants
from pushmirror.errors import Exit
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.indices import SUITES
from pushmirror.lab.services import HOST, wait_until
from pushmirror.lab.signing import LabKey
from pushmirror.system import process
from side_by_side import Home, Side
from support.published import generation_files
from support.rsync_daemon import RsyncDaemon

MIRROR = "mirror.example.org"
TRACE = f"project/trace/{MIRROR}"
UPDATING = "Archive-Update-in-Progress-"
#: A rsync whose calls that transfer something of the tree are counted; what becomes of each is the test's to
#: say. Whether upstream offers its manifest is asked beside the first of ours.
_RSYNC = """#!/bin/sh
case " $* " in *" --version "* | *".manifest/"*) exec rsync "$@" ;; esac
echo >>{home}/transfers
number=$(wc -l <{home}/transfers)
{text}
exec rsync "$@"
"""

_OWN_SRV = "mount -t tmpfs none /srv 2>/dev/null"
_SHOWN = '"$@"; code=$?; ls /srv/mirrors/debian/dists 2>/dev/null; exit $code'

ours_alone = pytest.mark.parametrize("side", [Side.OURS], ids=["ours"])
real_fails = pytest.param(
    Side.REAL, marks=pytest.mark.xfail(raises=AssertionError, strict=True, reason="the bug of the real one")
)
both = pytest.mark.parametrize("side", [Side.OURS, real_fails], ids=["ours", "real"])

Start = Callable[..., Call]


@pytest.fixture
def archive(tmp_path: Path, lab_key: LabKey) -> LabArchive:
    return LabArchive.create(tmp_path / "archive", packages=2, suites=SUITES[:1], key=lab_key)


@pytest.fixture
def home(side: Side, tmp_path: Path, archive: LabArchive, daemon: RsyncDaemon) -> Home:
    daemon.add_module("debian", archive.path)
    return make_home(tmp_path, side, daemon)


@pytest.fixture
def gate(tmp_path: Path, home: Home) -> Gate:
    """Its program is `my-gate`, for a hook."""
    gate = Gate(tmp_path / "gate")
    home.add_program("my-gate", f"#!/bin/sh\nexec {shlex.join(gate.hook)}\n")
    return gate


@pytest.fixture
def push(home: Home) -> Iterator[Start]:
    """Starts `ftpsync WORDS`, and returns when it is known to it that the push has come: or it has ended."""
    with ExitStack() as stack:

        def push(*words: str) -> Call:
            before = home.requests()
            call = Call(stack.enter_context(home.running(*words)))
            assert wait_until(lambda: home.requests() > before or not call.running or home.side is Side.REAL)
            return call

        yield push


def make_home(directory: Path, side: Side, daemon: RsyncDaemon) -> Home:
    home = Home(directory, side)
    configure(home)
    (home.etc / "upstream.conf").write_text(f"RSYNC_EXTRA=--port={daemon.port}\nRSYNC_HOST={HOST}\n")
    return home


def configure(home: Home, **variables: str | None) -> None:
    """Write the configuration, with some variables; none: without it."""
    usual = {"MIRRORNAME": MIRROR, "TO": f"{home.tree}/", "MAILTO": "mirror-admin"}
    usual |= {"UIPSLEEP": "0", "UIPRETRIES": "1"}
    told = {name: value for name, value in {**usual, **variables}.items() if value is not None}
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in told.items()]
    home.configure("".join([f". {home.etc}/upstream.conf\n", *lines]))


def make_hub(home: Home) -> None:
    """What runmirrors needs, without a site."""
    key = home.home / ".ssh" / "pushmirror"
    key.parent.mkdir()
    key.touch(mode=0o600)
    (home.etc / "runmirrors.conf").write_text(f"KEYFILE={key}\nMAILTO=mirror-admin\n")
    (home.etc / "runmirrors.mirror").write_text("# none yet\n")
    if home.side is Side.REAL:
        home.add_program("runmirrors", "#!/bin/sh\n")  # the real one ends at once (bug 23)


def own_rsync(home: Home, text: str) -> str:
    """A program for RSYNC: a piece of shell for each transfer, whose number is in $number."""
    return str(home.add_program("my-rsync", _RSYNC.format(home=home.home, text=text)))


def is_current(archive: LabArchive, home: Home) -> bool:
    files = generation_files(archive)
    return all((home.tree / path).is_file() for path in files) and all(
        (home.tree / path).read_bytes() == text for path, text in files.items()
    )


# -- pushes that meet a run ---------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("words", [["sync:stage2"], ["sync:all"]], ids=" ".join)
def test_bug_14_a_push_of_another_kind_during_a_stage_1_run_is_served(
    home: Home, archive: LabArchive, gate: Gate, push: Start, words: list[str]
) -> None:
    configure(home, HOOK1="my-gate")
    with gate.closed():
        first = push("sync:stage1")
        gate.wait_for()
        second = push(*words)
        assert home.side is Side.OURS or second.exit_code() == Exit.FAILED
    assert first.exit_code() == Exit.OK
    assert second.exit_code() == Exit.OK
    assert is_current(archive, home)


@both
def test_bug_15_a_push_during_the_last_hook_is_served(
    home: Home, archive: LabArchive, gate: Gate, push: Start
) -> None:
    configure(home, HOOK4="my-gate")
    with gate.closed():
        first = push("sync:all")
        gate.wait_for()
        archive.update(add=1, replace=0, remove=0)
        second = push("sync:all")
        assert home.side is Side.OURS or second.exit_code() == Exit.FAILED
    assert (first.exit_code(), second.exit_code()) == (Exit.OK, Exit.OK)
    assert is_current(archive, home)


@both
def test_bug_15_a_push_during_the_callback_is_served(
    home: Home, archive: LabArchive, gate: Gate, push: Start
) -> None:
    configure(home, CALLBACKHOST="hub.example.org", CALLBACKKEY="/dev/null")
    (home.bin / "ssh").write_text((home.bin / "my-gate").read_text())
    with gate.closed():
        first = push("sync:callback", "sync:all")
        gate.wait_for()
        archive.update(add=1, replace=0, remove=0)
        second = push("sync:all")
        assert home.side is Side.OURS or second.exit_code() == Exit.FAILED
    assert (first.exit_code(), second.exit_code()) == (Exit.OK, Exit.OK)
    assert is_current(archive, home)


@both
def test_bug_16_the_end_of_a_run_does_not_take_the_lock_of_the_next(
    home: Home, archive: LabArchive, gate: Gate, push: Start
) -> None:
    make_hub(home)
    configure(home, HUB="true", HOOK5="my-gate")
    with gate.closed(2):
        with gate.closed(1):
            first = push("sync:all")
            gate.wait_for(1)  # it has told its sites, and let go of the tree
            configure(home, HUB="true", HOOK1="my-gate")
            second = push("sync:all")
            gate.wait_for(2)
        assert first.exit_code() == Exit.OK
        assert f"{UPDATING}{MIRROR}" in home.flags()
    assert second.exit_code() == Exit.OK


@both
def test_bug_17_the_number_of_an_unrelated_process_in_the_flag_blocks_nobody(
    home: Home, archive: LabArchive
) -> None:
    home.tree.mkdir()
    (home.tree / f"{UPDATING}{MIRROR}").write_text(f"{os.getpid()}\n")
    assert home.run().exit_code == Exit.OK
    assert is_current(archive, home) and not home.flags()


@ours_alone
def test_bug_17_a_real_ftpsync_at_work_on_the_tree_is_respected(
    home: Home, archive: LabArchive, gate: Gate, daemon: RsyncDaemon, tmp_path: Path
) -> None:
    real = make_home(tmp_path, Side.REAL, daemon)
    real.tree = home.tree
    configure(real, HOOK1=str(home.bin / "my-gate"))
    with gate.closed(), real.running() as child:
        gate.wait_for()
        flag = home.text(f"{UPDATING}{MIRROR}")
        ended = home.run()
        assert ended.exit_code == Exit.FAILED and str(child.pid) in ended.said
        assert home.text(f"{UPDATING}{MIRROR}") == flag == f"{child.pid}\n"


@ours_alone
def test_bug_18_sigterm_ends_rsync_too_and_is_no_success(
    home: Home, archive: LabArchive, gate: Gate, push: Start
) -> None:
    configure(home, RSYNC=own_rsync(home, "my-gate"))
    with gate.closed():
        call = push("sync:all")
        gate.wait_for()
        started = descendants(call.pid)
        os.kill(call.pid, signal.SIGTERM)
        assert call.exit_code() == Exit.TERMINATED
        assert wait_until(lambda: not alive(started))
    assert f"{UPDATING}{MIRROR}" not in home.flags()


@both
def test_bug_18_sigterm_is_no_success_in_a_hook_either(
    home: Home, archive: LabArchive, gate: Gate, push: Start
) -> None:
    configure(home, HOOK1="my-gate")
    with gate.closed():
        call = push("sync:all")
        gate.wait_for()
        os.kill(call.pid, signal.SIGTERM)
    assert call.exit_code() == Exit.TERMINATED


@both
def test_bug_19_a_push_during_a_stage_1_that_fails_is_served(
    home: Home, archive: LabArchive, gate: Gate, push: Start
) -> None:
    configure(home, RSYNC=own_rsync(home, 'if [ "$number" -eq 1 ]; then my-gate; exit 23; fi'))
    with gate.closed():
        first = push("sync:all")
        gate.wait_for()
        second = push("sync:all")
        assert home.side is Side.OURS or second.exit_code() == Exit.FAILED
    first.exit_code()
    assert second.exit_code() == Exit.OK
    assert is_current(archive, home)


# -- upstream's flags ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "number"),
    [*((Side.OURS, number) for number in (1, 2, 3)), pytest.param(Side.REAL, 2, marks=real_fails.marks)],
    ids=["ours-1", "ours-2", "ours-3", "real-2"],
)
def test_bug_20_a_flag_that_upstream_raises_during_a_run_is_never_served(
    home: Home, archive: LabArchive, number: int
) -> None:
    flag = archive.path / f"{UPDATING}hub.example.org"
    look = home.add_program("look", f"#!/bin/sh\nls {home.tree} >>{home.home}/served\n")
    raise_it = f'[ "$number" -ne {number} ] || touch {flag}'
    configure(home, RSYNC=own_rsync(home, raise_it), HOOK2=str(look), HOOK3=str(look))
    home.run()
    assert flag.exists() and flag.name not in (home.home / "served").read_text()
    assert not (home.tree / flag.name).exists()


@both
def test_bug_21_a_flag_that_upstream_left_behind_does_not_stop_us(home: Home, archive: LabArchive) -> None:
    flag = archive.path / f"{UPDATING}hub.example.org"
    flag.write_text("1\n")
    os.utime(flag, (1e9, 1e9))
    assert home.run().exit_code == Exit.OK
    assert is_current(archive, home) and not home.flags()


@both
def test_bug_21_the_third_hook_is_not_called_when_stage_2_did_not_happen(
    home: Home, archive: LabArchive
) -> None:
    (archive.path / f"{UPDATING}hub.example.org").write_text("1\n")
    hook = home.add_program("my-hook", f"#!/bin/sh\ntouch {home.home}/called\n")
    configure(home, HOOK3=str(hook))
    assert home.run().exit_code == Exit.STAGE2
    assert not (home.home / "called").exists()


# -- what rsync says ----------------------------------------------------------------------------------------


@both
def test_bug_22_files_that_vanished_at_upstream_are_no_success(home: Home, archive: LabArchive) -> None:
    vanished = 'echo "file has vanished: \\"/dists\\" (in debian)" >&2; exit 24'
    configure(home, RSYNC=own_rsync(home, f'if [ "$number" -eq 2 ]; then {vanished}; fi'))
    ended = home.run()
    assert ended.exit_code != Exit.OK or is_current(archive, home)


@both
def test_bug_22_a_run_that_does_not_delete_so_many_files_has_a_trace(home: Home, archive: LabArchive) -> None:
    (home.tree / "stray").mkdir(parents=True)
    for number in range(3):
        (home.tree / "stray" / str(number)).touch()
    options = "--max-delete=2 --delay-updates --delete --delete-delay --delete-excluded"
    configure(home, RSYNC_OPTIONS2=options)
    assert home.run().exit_code == Exit.OK
    assert is_current(archive, home) and home.text(TRACE)


# -- hooks --------------------------------------------------------------------------------------------------


@both
def test_bug_29_a_hook_has_its_arguments(home: Home, archive: LabArchive) -> None:
    hook = home.add_program("my-hook", f'#!/bin/sh\necho "$*" >>{home.home}/called\n')
    configure(home, **{f"HOOK{number}": f"{hook} of {number}" for number in range(1, 5)})
    assert home.run().exit_code == Exit.OK
    assert (home.home / "called").read_text() == "of 1\nof 2\nof 3\nof 4\n"


@both
def test_bug_29_a_hook_does_not_see_the_password(
    home: Home, archive: LabArchive, daemon: RsyncDaemon
) -> None:
    daemon.add_module("closed", archive.path, {MIRROR: "secret"})
    hook = home.add_program("my-hook", f"#!/bin/sh\nenv >{home.home}/seen\n")
    access = {"RSYNC_PATH": "closed", "RSYNC_USER": MIRROR, "RSYNC_PASSWORD": "secret"}
    configure(home, HOOK4=str(hook), **access)
    assert home.run(env={"RSYNC_PASSWORD": "secret"}).exit_code == Exit.OK
    assert "PATH=" in (home.home / "seen").read_text()
    assert "secret" not in (home.home / "seen").read_text()


# -- by the clock -------------------------------------------------------------------------------------------


@both
def test_bug_30_cron_needs_no_web_server_that_names_a_trace_after_its_host(
    home: Home, archive: LabArchive
) -> None:
    home.add_program("curl", "#!/bin/sh\nexit 22\n")  # there is none of this name
    assert home.run(name="ftpsync-cron").exit_code == Exit.OK
    assert is_current(archive, home)
    configure(home, HOOK1="false")
    assert home.run(name="ftpsync-cron").exit_code == Exit.OK  # there is nothing to do
    archive.update(add=1, replace=0, remove=0)
    configure(home)
    assert home.run(name="ftpsync-cron").exit_code == Exit.OK
    assert is_current(archive, home)


@both
def test_bug_30_cron_knows_the_default_of_the_tree(home: Home) -> None:
    srv = ["unshare", "--map-root-user", "--mount", "sh", "-c", f"{_OWN_SRV} || exit 99; {_SHOWN}", "sh"]
    if process.run([*srv, "true"]).exit_code == 99:
        pytest.skip("needs to mount a /srv of its own")
    home.add_program("curl", "#!/bin/sh\necho Archive serial: 2\n")
    configure(home, TO=None)
    ended = process.run([*srv, *home.argv(name="ftpsync-cron")], env=home.env(), timeout_s=60)
    assert (ended.exit_code, ended.output.split()) == (Exit.OK, [b"README", b"stable", b"trixie"])


# -- the path -----------------------------------------------------------------------------------------------


@both
def test_bug_32_a_directory_of_a_module_without_a_slash_at_its_end_is_refused(
    home: Home, archive: LabArchive, daemon: RsyncDaemon
) -> None:
    daemon.add_module("all", archive.path.parent)
    configure(home, RSYNC_PATH=f"all/{archive.path.name}")
    ended = home.run()
    assert ended.exit_code != Exit.OK and "RSYNC_PATH" in ended.said
    assert not (home.tree / archive.path.name).exists()


def test_every_bug_of_the_list_has_a_test_named_after_it() -> None:
    texts = [file.read_text() for file in Path(__file__).parents[1].rglob("test_*.py")]
    shown = {int(number) for text in texts for number in re.findall(r"^ *def test_bug_(\d+)_", text, re.M)}
    assert set(range(14, 34)) <= shown
