from __future__ import annotations

import errno
import json
import os
import signal
import sys
from pathlib import Path

import click
import pytest

from pushmirror.cli import main as cli
from pushmirror.cli.context import Session
from pushmirror.errors import ConfigError, Exit, Stopped
from pushmirror.state.records import Outcome, Stage
from pushmirror.system import process


@pytest.fixture(autouse=True)
def signals_as_before():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def verb(monkeypatch):
    """Makes a function the verb `status`."""

    def become(act):
        monkeypatch.setattr(cli.Verbs, "get_command", lambda *_: click.Command("status", callback=act))

    return become


def raiser(exc):
    def act(*_):
        raise exc

    return act


def test_an_error_is_one_line_a_hint_and_its_exit_code(verb, capsys):
    verb(raiser(ConfigError("a: no\nb: no", hint="do this")))
    assert cli.main(["status"]) == Exit.CONFIG
    assert capsys.readouterr().err == "pushmirror: a: no\npushmirror: b: no\npushmirror: hint: do this\n"


def test_a_verb_can_end_with_a_code_of_its_own(verb):
    verb(raiser(click.exceptions.Exit(1)))
    assert cli.main(["status"]) == 1


@pytest.mark.parametrize("argv", [["nosuchverb"], ["--nosuchoption"], ["status", "--nosuchoption"]])
def test_a_wrong_call_ends_with_the_code_for_usage(argv, capsys):
    assert cli.main(argv) == Exit.USAGE
    assert "No such" in capsys.readouterr().err


def test_an_interrupt_is_no_traceback(verb, capsys):
    verb(raiser(KeyboardInterrupt()))
    assert cli.main(["status"]) == Exit.INTERRUPTED
    assert "Traceback" not in capsys.readouterr().err


NOBODY_READS = """
import os, sys
reader, writer = os.pipe()
os.dup2(writer, 1)
os.close(reader)
from pushmirror.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("verb", ["--help", "status"])
def test_a_reader_that_goes_away_is_no_error(config, verb):
    result = process.run([sys.executable, "-c", NOBODY_READS, "--config", str(config), verb])
    assert (result.exit_code, result.errors) == (141, "")


def test_a_mistake_of_ours_keeps_its_traceback_in_a_file(verb, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    verb(raiser(RuntimeError("oops")))
    assert cli.main(["status"]) == 70
    (file,) = tmp_path.iterdir()
    assert "oops" in file.read_text() and str(file) in capsys.readouterr().err


def test_termination_runs_every_finally_and_says_so_in_the_exit_code(verb, capsys):
    cleared = []

    def work():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            cleared.append(True)

    verb(work)
    assert cli.main(["status"]) == Exit.TERMINATED
    assert cleared and "stopped by SIGTERM" in capsys.readouterr().err


def test_every_verb_has_a_line_in_the_help(capsys):
    assert cli.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"\n  {name} " in said for name in cli.VERBS)


def test_the_version_is_printed(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("pushmirror 0.")


@pytest.fixture
def config(tmp_path):
    (tmp_path / "pushmirror.toml").write_text(
        f'[archives.debian]\npath = "{tmp_path}/tree"\n[state]\ndirectory = "{tmp_path}/state"\n'
    )
    return tmp_path


def test_the_status_of_a_new_mirror_can_be_read_by_programs(config, capsys):
    assert cli.main(["--config", str(config), "status", "--json"]) == 0
    (health,) = json.loads(capsys.readouterr().out)
    assert (health["archive"], health["level"], health["pending"]) == ("debian", "warning", 0)


def test_the_status_of_a_new_mirror_says_what_to_look_at(config, capsys):
    assert cli.main(["--config", str(config), "status"]) == 0
    assert "! debian: nothing has been published yet" in capsys.readouterr().out


def test_the_status_of_one_archive_can_be_asked_for(config, capsys):
    with (config / "pushmirror.toml").open("a") as file:
        file.write(f'[archives.security]\npath = "{config}/security"\n')
    assert cli.main(["--config", str(config), "status", "security"]) == 0
    said = capsys.readouterr().out
    assert "security" in said and "debian" not in said


def test_the_status_ends_with_1_for_monitoring_when_there_is_an_error(config, capsys):
    session = Session(config)
    call = ["--config", str(config), "status", "--exit-code"]
    assert cli.main(call) == 0
    with session.store(session.config()) as store:
        run = store.begin_run("debian", Stage.ALL, strategy="full", trigger="ssh")
        store.end_run(run.id, outcome=Outcome.FAILED, exit_code=3, message="no route to host")
    assert cli.main(call) == 1
    said = capsys.readouterr().out
    assert "failed (3) 0 s ago" in said and said.count("no route to host") == 1


@pytest.mark.parametrize("how", [KeyboardInterrupt(), Stopped("stopped by SIGINT")])
def test_a_watched_status_is_ended_quietly(config, capsys, monkeypatch, how):
    monkeypatch.setattr(how, "exit_code", Exit.INTERRUPTED, raising=False)
    monkeypatch.setattr("time.sleep", raiser(how))
    assert cli.main(["--config", str(config), "status", "--watch"]) == 0
    out, err = capsys.readouterr()
    assert out.count("generation") == 1 and err == ""


def test_an_option_of_all_verbs_that_came_too_late_is_explained(config, capsys):
    assert cli.main(["status", "--config", str(config)]) == Exit.USAGE
    assert "put --config before the command" in capsys.readouterr().err


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EMFILE, errno.EROFS])
def test_what_a_disk_or_a_limit_refuses_is_no_mistake_of_ours(verb, capsys, number):
    verb(raiser(OSError(number, os.strerror(number), "/some/file")))
    assert cli.main(["status"]) == Exit.FAILED
    said = capsys.readouterr().err
    assert said == f"pushmirror: /some/file cannot be read or written: {os.strerror(number)}\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("where", [">/dev/full", ">/dev/full 2>&1"])
def test_output_on_a_full_disk_is_an_error_that_is_told_if_it_can_be(where):
    script = f'"$0" -m pushmirror --help {where}'
    ended = process.run(["sh", "-c", script, sys.executable])
    assert ended.exit_code == Exit.FAILED
    assert ended.errors in {
        "",
        "pushmirror: a file, or the output, cannot be read or written: No space left on device\n",
    }


@pytest.mark.parametrize(
    "words",
    [
        ("--config", "~nosuchuser/etc", "status"),
        ("import", "~nosuchuser/ftpsync.conf"),
        ("init", "--archive", "debian", "--mirror-name", "a.example.org", "--path", "~nosuchuser/debian"),
    ],
)
def test_the_home_of_nobody_is_a_mistake_that_is_named(capsys, words: tuple[str, ...]):
    assert (cli.main([*words]), "~nosuchuser" in capsys.readouterr().err) == (Exit.USAGE, True)
