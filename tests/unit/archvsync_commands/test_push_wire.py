"""Triggers by the program ssh; that they are the script's is tested against the script itself."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from pushmirror.archvsync_commands.runmirrors_sites import CurrentSites, Read
from pushmirror.archvsync_commands.runmirrors_ssh import OpensshSender, script_argv
from pushmirror.archvsync_config.values import Logs, Mail, MirrorLine, Runmirrors
from pushmirror.config.model import Push, PushKind, State
from pushmirror.errors import TriggerFailed
from pushmirror.push.trigger_sender import Answer
from pushmirror.system import process

WORDS = " sync:archive: sync:all"
LINE = MirrorLine(PushKind.ALL, "one", "one.example.org", "u", "", 2, "/k")
BEGINNING = ["ssh", "-n", "one.example.org", "-o", "user=u", "-o", "BatchMode=yes"]
BEGINNING += ["-o", "ServerAliveInterval=45", "-o", "ConnectTimeout=45", "-o", "PasswordAuthentication=no"]


def runmirrors(directory: Path, *lines: MirrorLine, hook2: tuple[str, ...] = ()) -> Runmirrors:
    return Runmirrors(
        name="runmirrors",
        archive="",
        lines=lines,
        key=Path("/k"),
        ssh_options=("-o", "A=b"),
        callback=False,
        push=Push(),
        mail=Mail(()),
        logs=Logs(directory, directory / "runmirrors.log"),
        hooks=((), hook2, ()),
    )


@pytest.mark.parametrize(
    ("line", "rest"),
    [
        (LINE, ["-o", "A=b", "-i", "/k", "-2", WORDS]),
        (replace(LINE, protocol=1, key="/other"), ["-o", "A=b", "-i", "/other", "-1", WORDS]),
        (
            replace(LINE, protocol=None, ssh_options=("-p", "22")),
            ["-o", "A=b", "-i", "/k", "-p", "22", WORDS],
        ),
    ],
)
def test_the_command_line_is_the_scripts(tmp_path: Path, line: MirrorLine, rest: list[str]) -> None:
    assert script_argv(line, runmirrors(tmp_path), WORDS) == [*BEGINNING, *rest]


def test_a_mirror_without_a_user_is_left_to_sshs_own_configuration(tmp_path: Path) -> None:
    argv = script_argv(replace(LINE, user=None), runmirrors(tmp_path), WORDS)
    assert not [word for word in argv if word.startswith("user=")]


@dataclass
class Notes:
    """What was noted."""

    notes: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def error(self, text: str, body: str = "") -> None:
        self.errors.append(text + body)

    def line(self, text: str) -> str:
        return f"line: {text}"


class Sending:
    """A wire whose `ssh` is a script of the test's, and whose sites are of these names."""

    def __init__(
        self, directory: Path, *names: str, hook2: tuple[str, ...] = (), for_programs: Mapping[str, str] = {}
    ) -> None:
        lines = [replace(LINE, name=name, host=f"{name}.example.org") for name in names]
        read = Read(runmirrors(directory, *lines, hook2=hook2), (), for_programs)
        self.sites = CurrentSites(lambda: read, "debian", State(directory=directory / "state"))
        self.notes = Notes()
        self.environment = {"RSYNC_PASSWORD": "secret", "SSH_AUTH_SOCK": "/agent", "OTHER": "x"}
        self.transport = OpensshSender(self.sites, self.notes, self.environment)

    def trigger(self, name: str, words: str = WORDS) -> Coroutine[Any, Any, Answer]:
        return self.transport.trigger(self.sites().sites[name], words)


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has the program ssh do this."""
    path = f"{tmp_path}:{process.BASE_ENVIRONMENT['PATH']}"
    monkeypatch.setitem(process.BASE_ENVIRONMENT, "PATH", path)

    def write(text: str) -> None:
        (tmp_path / "ssh").write_text(f"#!/bin/sh\ncd {tmp_path}\n{text}\n")
        (tmp_path / "ssh").chmod(0o755)

    return write


def test_the_mirrors_log_has_the_time_the_trigger_and_what_it_said(
    tmp_path: Path, ssh: Callable[[str], None]
) -> None:
    ssh("echo out; echo err >&2; exit 3")
    one = Sending(tmp_path, "one")
    assert asyncio.run(one.trigger("one")) == Answer(3, "out\nerr\n")
    first, *rest = (tmp_path / "one.log").read_text().splitlines()
    assert first.split()[4] == "UTC" and len(first.split()) == 6
    assert rest == ["line: Sending normal trigger", "out", "err"]


def test_a_generation_is_not_named_for_the_script_knows_no_such_word(
    tmp_path: Path, ssh: Callable[[str], None]
) -> None:
    ssh('for word; do :; done; printf "%s" "$word"')
    words = f" sync:archive: sync:generation:{'a' * 64} sync:all"
    assert asyncio.run(Sending(tmp_path, "one").trigger("one", words)).output == WORDS


def test_the_time_stands_once_above_both_stages(tmp_path: Path, ssh: Callable[[str], None]) -> None:
    ssh("")
    one = Sending(tmp_path, "one")

    async def both() -> None:
        await one.trigger("one", " sync:archive: sync:stage1")
        await one.trigger("one", " sync:archive: sync:stage2")

    asyncio.run(both())
    assert (tmp_path / "one.log").read_text().splitlines()[1:] == [
        "line: Sending first stage trigger",
        "line: Sending second stage trigger",
    ]


def test_ssh_sees_its_agent_and_nothing_else_of_our_environment(
    tmp_path: Path, ssh: Callable[[str], None]
) -> None:
    ssh('echo "$SSH_AUTH_SOCK,$RSYNC_PASSWORD,$OTHER"; cat')
    assert asyncio.run(Sending(tmp_path, "one").trigger("one")).output == "/agent,,\n"


def test_ssh_is_the_one_that_the_configuration_means_and_sees_what_that_exports(tmp_path: Path) -> None:
    wrap = tmp_path / "wrap"
    wrap.mkdir()
    (wrap / "ssh").write_text('#!/bin/sh\necho "$SSH_AUTH_SOCK,$FOO,$RSYNC_PASSWORD"\n')
    (wrap / "ssh").chmod(0o755)
    path = f"{wrap}:{process.BASE_ENVIRONMENT['PATH']}"
    told = {"PATH": path, "SSH_AUTH_SOCK": "/other", "FOO": "1", "RSYNC_PASSWORD": "secret"}
    sending = Sending(tmp_path, "one", for_programs=told)
    assert asyncio.run(sending.trigger("one")).output == "/other,1,\n"


@pytest.mark.parametrize("text", ["kill -9 $$", None])
def test_an_ssh_that_is_killed_or_missing_is_no_answer(
    tmp_path: Path, ssh: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    if text is None:
        monkeypatch.setitem(process.BASE_ENVIRONMENT, "PATH", str(tmp_path))
    else:
        ssh(text)
    with pytest.raises(TriggerFailed, match=r"one\.example\.org: .*ssh"):
        asyncio.run(Sending(tmp_path, "one").trigger("one"))


def _together(sending: Sending, *names: str) -> None:
    async def all_of_them() -> None:
        await asyncio.gather(*(sending.trigger(name) for name in names))

    asyncio.run(all_of_them())


def test_hook_2_comes_between_two_hosts_while_the_first_is_under_way(
    tmp_path: Path, ssh: Callable[[str], None]
) -> None:
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ncd {tmp_path}; sleep 0.05; echo hook >>events\ntouch go\n")
    hook.chmod(0o755)
    ssh('echo "$2" >>events; n=0; while [ ! -e go ] && [ $n -lt 100 ]; do sleep 0.05; n=$((n+1)); done')
    _together(Sending(tmp_path, "one", "two", "three", hook2=(str(hook),)), "one", "two", "three")
    events = (tmp_path / "events").read_text().split()
    hosts = [event for event in events if event != "hook"]
    assert hosts == ["one.example.org", "two.example.org", "three.example.org"]
    assert [events[at + 1 :].count("hook") for at, event in enumerate(events) if event != "hook"] == [3, 2, 1]


@pytest.mark.parametrize(("hook", "code"), [("false", 1), ("/does/not/exist", 127), ("/dev/null", 126)])
def test_bug_28_a_hook_2_that_fails_is_told_of_and_stops_nobody(
    tmp_path: Path, ssh: Callable[[str], None], hook: str, code: int
) -> None:
    ssh("echo woken >>events")
    sending = Sending(tmp_path, "one", "two", hook2=(hook,))
    _together(sending, "one", "two")
    assert (tmp_path / "events").read_text() == "woken\nwoken\n"
    assert sending.notes.errors == [f"Back from hook 2, got returncode {code}"] * 2


def test_a_retry_is_not_followed_by_hook_2(tmp_path: Path, ssh: Callable[[str], None]) -> None:
    ssh("exit 1")
    sending = Sending(tmp_path, "one", hook2=("true",))

    async def twice() -> None:
        await sending.trigger("one")
        await sending.trigger("one")

    asyncio.run(twice())
    assert sum(note.startswith("Running hook 2") for note in sending.notes.notes) == 1


def test_a_trigger_that_is_given_up_leaves_no_ssh_behind(tmp_path: Path, ssh: Callable[[str], None]) -> None:
    ssh("echo $$ >pid; exec sleep 60")
    sending = Sending(tmp_path, "one", hook2=("sleep", "60"))

    async def failed_strategies() -> None:
        task = asyncio.ensure_future(sending.trigger("one"))
        for _ in range(500):
            if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text():
                break
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait({task})

    asyncio.run(failed_strategies())
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()
