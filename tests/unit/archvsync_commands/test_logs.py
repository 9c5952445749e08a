from __future__ import annotations

import logging
import os
import re
from pathlib import Path

import pytest

from pushmirror.archvsync_commands import logs
from pushmirror.archvsync_commands.logs import LogFile, ScriptLog, rotate
from pushmirror.archvsync_config.values import Logs, Mail
from pushmirror.errors import PushmirrorError
from pushmirror.hooks import HookEnded
from pushmirror.system.locks import locked

OURS = logging.getLogger("pushmirror.sync.engine")
RSYNC = logging.getLogger("pushmirror.rsync")
COMPLAINT = logging.getLogger("pushmirror.rsync.errors")
NOBODY = Mail(())
LINE = r"[A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d [\w-]+ "


@pytest.fixture
def where(tmp_path):
    return Logs(tmp_path / "log", tmp_path / "log/ftpsync.log", keep=3)


@pytest.fixture
def sent(tmp_path, monkeypatch):
    """What a stand-in for sendmail is given, mail after mail."""
    program = tmp_path / "sendmail"
    program.write_text(f'#!/bin/sh\ncat >>"{tmp_path}/mails"\n')
    program.chmod(0o755)
    monkeypatch.setenv("SENDMAIL", str(program))
    (tmp_path / "mails").touch()
    return (tmp_path / "mails").read_text


def content(directory: Path) -> dict[str, list[str]]:
    """The last words of each line of each file."""
    return {
        file.name: [line.rpartition("]: ")[2].rpartition("] ")[2] for line in file.read_text().splitlines()]
        for file in sorted(directory.iterdir())
    }


def log_of(where, mail=NOBODY, name="ftpsync"):
    return ScriptLog(where, mail, name=name)


def test_a_line_has_the_scripts_form():
    line = logs.line("something", program="ftpsync-security", host="mirror", pid=17)
    assert re.fullmatch(r"[A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d mirror ftpsync-security\[17\]: something", line)


def test_each_line_of_a_text_has_a_head_of_its_own():
    assert [line[-3:] for line in logs.line("a\nb", program="p").splitlines()] == [": a", ": b"]


def test_what_everybody_logs_is_in_the_log_from_information_upwards(where):
    with log_of(where) as log:
        log.note("begins")
        OURS.info("fetching %d files", 3)
        OURS.debug("not this")
        OURS.warning("beware")
    assert content(where.directory) == {"ftpsync.log.0": ["begins", "fetching 3 files", "beware"]}
    first = (where.directory / "ftpsync.log.0").read_text().splitlines()[0]
    assert re.match(LINE + rf"ftpsync\[{os.getpid()}\]: begins$", first)


def test_rsync_has_logs_of_its_own(where):
    with log_of(where):
        RSYNC.debug("ended: sent 10 bytes  received 20 bytes  30.00 bytes/sec")
        COMPLAINT.debug("rsync: link_stat failed")
    found = content(where.directory)
    assert found["rsync-ftpsync.error.0"] == ["rsync: link_stat failed"]
    assert found["rsync-ftpsync.log.0"][0].endswith("sent 10 bytes  received 20 bytes  30.00 bytes/sec")
    assert found["ftpsync.log.0"] == []


def test_readers_of_rsyncs_log_find_bytes_and_speed(where):
    with log_of(where, name="ftpsync-x"):
        RSYNC.debug("ended with exit code 0: sent 10 bytes  received 20 bytes  30.00 bytes/sec")
    text = (where.directory / "rsync-ftpsync-x.log.0").read_text()
    assert re.findall(r"(?m)(?:^|^.* )sent ([0-9]+) bytes  received ([0-9]+) bytes.*", text) == [("10", "20")]
    assert re.findall(r".* ([0-9.,]+) bytes/sec", text) == ["30.00"]


def test_afterwards_logging_is_as_it_was(where):
    root = logging.getLogger("pushmirror")
    before = [(logger.level, list(logger.handlers)) for logger in (root, RSYNC, COMPLAINT)]
    with log_of(where):
        assert root.handlers != before[0][1]
    assert [(logger.level, list(logger.handlers)) for logger in (root, RSYNC, COMPLAINT)] == before


def test_logs_rotate_as_the_scripts_do(tmp_path):
    file = tmp_path / "x.log"
    for number in range(6):
        file.write_text(f"{number}\n")
        rotate(file, 3)
    assert content(tmp_path) == {f"x.log.{old}": [str(5 - old)] for old in range(4)}


@pytest.mark.parametrize(
    ("keep", "left"), [(0, {"x.log.0": ["new"]}), (1, {"x.log.0": ["new"], "x.log.1": ["old"]})]
)
def test_few_old_logs_may_be_kept(tmp_path, keep, left):
    (tmp_path / "x.log.0").write_text("old\n")
    (tmp_path / "x.log").write_text("new\n")
    rotate(tmp_path / "x.log", keep)
    assert content(tmp_path) == left


def test_of_two_runs_at_once_each_log_is_rotated_once(where, sent):
    one, other = log_of(where, Mail(("a",))), log_of(where, Mail(("a",)))
    with one:
        RSYNC.debug("moved")
        with other:
            one.note("of one")
            other.note("of other")
        one.note("later")
        one.exit_code = 4
    assert content(where.directory) == {
        "ftpsync.log.0": ["of one", "of other", "later"],
        "rsync-ftpsync.log.0": ["moved"],
    }
    assert "of other" in sent() and "later" in sent()


def test_a_rotation_waits_for_another_one(where, monkeypatch, caplog):
    monkeypatch.setattr(logs, "_PATIENCE_S", 0.0)
    where.directory.mkdir()
    with locked(where.directory), log_of(where) as log:
        log.note("begins")
    assert "rotated without a lock" in caplog.text
    assert "ftpsync.log.0" in content(where.directory)


def test_what_a_killed_run_left_is_rotated_too(where):
    where.directory.mkdir()
    (where.directory / "rsync-ftpsync.error").write_text("left\n")
    with log_of(where):
        pass
    assert content(where.directory)["rsync-ftpsync.error.0"] == ["left"]


def test_a_failure_is_mailed_with_the_log(where, sent):
    with log_of(where, Mail(("a@example.org",))) as log:
        log.note("what happened")
        log.exit_code = 3
    assert f"Subject: [ftpsync@{logs.short_host()}] ERROR\n" in sent()
    assert 'filename="ftpsync.log"' in sent() and "what happened" in sent()


def test_an_exception_is_a_failure(where, sent):
    with pytest.raises(KeyError), log_of(where, Mail(("a@example.org",))):
        raise KeyError
    assert "] ERROR\n" in sent()


def test_success_is_mailed_to_who_wants_it(where, sent):
    with log_of(where, Mail(("a@example.org",), errors_only=False, full_logs=True)):
        RSYNC.debug("moved")
    assert "] SUCCESS\n" in sent() and 'filename="rsync-ftpsync.log"' in sent()


def test_success_is_not_mailed_otherwise(where, sent):
    with log_of(where, Mail(("a@example.org",))):
        RSYNC.debug("moved")
    assert sent() == ""


def test_what_rsync_complained_of_is_mailed_even_after_a_success(where, sent):
    with log_of(where, Mail(("a@example.org",))):
        COMPLAINT.debug("rsync: oh dear")
    assert "ERROR: rsync errors\n" in sent() and "rsync: oh dear" in sent()


def test_what_another_process_left_of_rsyncs_complaints_is_not_mailed(where, sent):
    where.directory.mkdir()
    (where.directory / "rsync-ftpsync.error").write_text("of another\n")
    with log_of(where, Mail(("a@example.org",))):
        pass
    assert sent() == ""


def test_a_hook_that_fails_is_mailed_at_once_by_its_number(where, sent):
    with log_of(where, Mail(("a@example.org",))) as log:
        log.on_hook(HookEnded("after_stage1", 7))
        assert "] ERROR: Back from hook 2, got returncode 7\n" in sent()
    assert content(where.directory)["ftpsync.log.0"] == ["Back from hook 2, got returncode 7"]


def test_an_error_is_mailed_at_once_and_logged(where, sent):
    with log_of(where, Mail(("a@example.org",))) as log:
        log.error("no key", body="what ssh said")
        assert "] ERROR: no key\n" in sent() and "what ssh said" in sent()
    assert content(where.directory)["ftpsync.log.0"] == ["no key"]


def test_bug_31_a_mail_that_cannot_be_sent_is_in_the_log(where, monkeypatch, tmp_path):
    monkeypatch.setenv("SENDMAIL", str(tmp_path / "none"))
    with log_of(where, Mail(("a@example.org",))) as log:
        log.exit_code = 3
    (line,) = content(where.directory)["ftpsync.log.0"]
    assert line.startswith("the mail to a@example.org was not sent: ")


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(PushmirrorError, match=r"cannot log to .*file"),
        log_of(Logs(tmp_path / "file/log", tmp_path / "x")),
    ):
        pass


def test_the_end_of_a_long_log_is_what_is_attached(tmp_path):
    file = LogFile(tmp_path / "x.log")
    file.add("a long line")
    file.path.rename(tmp_path / "renamed")
    found = file.end(5)
    file.close()
    assert (found.name, found.data, found.left_out) == ("x.log", b"line\n", 7)


def test_a_full_disk_ends_nothing(where, monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    with log_of(where) as log:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            patch.setattr(logging, "raiseExceptions", False)
            log.note("lost")
        log.note("kept")
    assert content(where.directory)["ftpsync.log.0"] == ["kept"]
    assert "cannot log: No space left on device: lost" in caplog.text


def test_a_log_that_is_a_link_is_begun_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "ftpsync.log").symlink_to("precious")
    file = LogFile(tmp_path / "ftpsync.log")
    file.add("a line")
    file.close()
    assert (tmp_path / "precious").read_text() == "precious"
    assert (tmp_path / "ftpsync.log").read_text() == "a line\n"
