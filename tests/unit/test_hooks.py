import asyncio
from contextlib import closing, suppress
from pathlib import Path

import pytest

from pushmirror.config.model import Archive, Config, State
from pushmirror.errors import Exit, HookFailed
from pushmirror.hooks import (
    Hook,
    HookEnded,
    HookEvent,
    HookPrinted,
    HookStarted,
    inherited,
    run_hook,
    run_hook_beside,
)
from pushmirror.progress import Silent
from pushmirror.runner import Runner, hook_exit_code
from pushmirror.state.records import Stage
from pushmirror.state.store import open_store
from pushmirror.sync.request import RunRequest
from pushmirror.system.bash import function_argv

RUN = [run_hook, lambda *given: asyncio.run(run_hook_beside(*given))]


def archive(tree: Path, *argv: str, **options: object) -> Archive:
    hooks = {"before_sync": argv, **options}
    return Archive.model_validate({"name": "debian", "path": str(tree), "hooks": hooks})


def hook(tree: Path, *argv: str, **options: object) -> Hook:
    return Hook.of(archive(tree, *argv, **options), "before_sync", {})


def said(tree: Path, *argv: str, **options: object) -> str:
    """What the hook prints."""
    run_hook(hook(tree, "sh", "-c", f"{' '.join(argv)} >{tree}/said", **options))
    return (tree / "said").read_text()


@pytest.mark.parametrize("run", RUN)
@pytest.mark.parametrize(
    ("argv", "code", "exit_code"),
    [
        (["sh", "-c", "exit 9"], 9, Exit.FAILED),
        (["sh", "-c", "kill -9 $$"], 137, Exit.FAILED),
        (["/nowhere/hook"], 127, Exit.UNAVAILABLE),
        (["/dev/null"], 126, Exit.FAILED),
    ],
)
def test_a_hook_that_fails_is_told_with_its_own_exit_code(tmp_path, argv, code, exit_code, run):
    with pytest.raises(HookFailed, match="the hook before_sync") as raised:
        run(hook(tmp_path, *argv))
    assert (raised.value.code, raised.value.exit_code) == (code, exit_code)


def test_a_hook_that_is_a_function_of_a_bash_file_is_told_by_its_name(tmp_path, caplog):
    caplog.set_level("INFO", "pushmirror")
    (tmp_path / "x.conf").write_text("my_hook() { echo did $1; return 9; }\n")
    argv = function_argv(tmp_path / "x.conf", ["my_hook", "this"], {"NAME": "x"})
    with pytest.raises(HookFailed, match=r"the hook before_sync \(my_hook\) ended with exit code 9"):
        run_hook(hook(tmp_path, *argv))
    assert caplog.messages[:2] == ["hook before_sync: my_hook this", "hook before_sync says: did this"]


@pytest.mark.parametrize("run", RUN)
def test_a_hook_that_takes_too_long_is_told_as_timeout_does(tmp_path, run):
    with pytest.raises(HookFailed, match="timed out") as raised:
        run(hook(tmp_path, "sleep", "60", time_limit="1s"))
    assert raised.value.code == 124


@pytest.mark.parametrize("inherit", [True, False])
def test_a_hook_sees_our_environment_only_when_it_is_to(tmp_path, monkeypatch, inherit):
    monkeypatch.setenv("MIRROR_NOTE", "hello")
    assert said(tmp_path, "echo $MIRROR_NOTE", inherit_environment=inherit) == (
        "hello\n" if inherit else "\n"
    )


@pytest.mark.parametrize("inherit", [True, False])
def test_a_hook_that_sees_our_environment_is_where_we_are_and_any_other_in_the_tree(
    tmp_path, monkeypatch, inherit
):
    (tmp_path / "tree").mkdir()
    monkeypatch.chdir(tmp_path)
    place = tmp_path if inherit else tmp_path / "tree"
    assert said(tmp_path / "tree", "pwd", inherit_environment=inherit) == f"{place}\n"


@pytest.mark.parametrize("run", RUN)
@pytest.mark.parametrize("code", [0, 9])
def test_who_observes_a_hook_hears_of_each_line_and_of_its_end(tmp_path, run, code):
    events: list[HookEvent] = []
    with suppress(HookFailed):
        run(hook(tmp_path, "sh", "-c", f"echo one; echo two >&2; exit {code}"), events.append)
    printed = [HookPrinted("before_sync", line) for line in ("one", "two")]
    command = f"sh -c echo one; echo two >&2; exit {code}"
    assert events == [HookStarted("before_sync", command), *printed, HookEnded("before_sync", code)]


@pytest.mark.parametrize("run", RUN)
def test_where_there_is_no_hook_nobody_hears_of_one(tmp_path, run):
    events: list[HookEvent] = []
    run(hook(tmp_path), events.append)
    assert events == []


def test_how_a_hook_ended_is_logged(tmp_path, caplog):
    caplog.set_level("INFO", "pushmirror")
    said(tmp_path, "true")
    with pytest.raises(HookFailed):
        run_hook(hook(tmp_path, "/nowhere/hook"))
    assert "hook before_sync ended with exit code 0" in caplog.text
    assert "hook before_sync ended with exit code 127" in caplog.text


def test_a_hook_that_sees_our_environment_is_told_its_facts_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("PUSHMIRROR_ARCHIVE", "another")
    assert said(tmp_path, "echo $PUSHMIRROR_ARCHIVE", inherit_environment=True) == "debian\n"


def test_bug_29_a_hook_that_sees_our_environment_sees_no_password_of_ours(tmp_path, monkeypatch):
    for name in ("RSYNC_PASSWORD", "PUSHMIRROR_UPSTREAM_SECRET"):
        monkeypatch.setenv(name, "correct horse")
    monkeypatch.setenv("RSYNC_PROXY", "me:correct horse@proxy:3128")
    assert "correct horse" not in said(tmp_path, "env", inherit_environment=True)


def test_what_is_no_password_is_inherited():
    environment = {"RSYNC_PROXY": "proxy:3128", "RSYNC_HOST": "hub", "PGPASSFILE": "/home/me/.pgpass"}
    assert inherited({**environment, "RSYNC_PASSWORD": "x"}) == environment


def test_bug_29_a_hook_gets_its_arguments_as_they_are(tmp_path):
    script = tmp_path / "hook"
    script.write_text('#!/bin/sh\nfor word; do echo "$word"; done >said\n')
    script.chmod(0o755)
    run_hook(hook(tmp_path, str(script), "two words", "*", "$(id)"))
    assert (tmp_path / "said").read_text().splitlines() == ["two words", "*", "$(id)"]


@pytest.mark.parametrize(("code", "told"), [(9, 9), (0, None)])
def test_a_run_that_a_hook_ended_remembers_its_exit_code_and_ends_with_that_of_the_stage(
    tmp_path, code, told
):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/README").touch()
    one = archive(tmp_path / "tree", "sh", "-c", f"exit {code}")
    config = Config(archives={"debian": one}, state=State(directory=tmp_path / "state"))
    with closing(open_store(config.state.database_url, config.state.directory)) as store:
        answer = Runner(config, store, Silent()).submit(RunRequest("debian", Stage.ALL, "manual"))
        assert hook_exit_code(store.run(answer.run_id)) == told
    assert answer.exit_code == (Exit.STAGE1 if code else Exit.OK)
