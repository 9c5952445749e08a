import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pushmirror.archvsync_commands import entrypoint
from pushmirror.archvsync_commands.after_run import is_being_followed, is_followed, turn_after
from pushmirror.archvsync_commands.ftpsync_config import asked
from pushmirror.archvsync_commands.ftpsync_cron import ftpsync_cron
from pushmirror.archvsync_commands.ftpsync_run import real_ftpsync_on
from pushmirror.errors import ConfigError, UsageError
from pushmirror.state.records import Outcome, Run, Stage


@pytest.mark.parametrize(
    ("through_ssh", "words", "stage", "push"),
    [
        ("", "", Stage.ALL, "all"),
        ("sync:stage1", "", Stage.STAGE1, ""),
        ("sync:stage1 sync:mhop", "", Stage.STAGE1, "mhop"),
        ("sync:stage2", "", Stage.STAGE2, "stage2"),
        ("sync:mhop sync:stage2", "", Stage.STAGE2, "stage2"),
        ("sync:stage1 sync:stage2", "", Stage.ALL, "all"),
        ("sync:stage1", "sync:all", Stage.ALL, "all"),
        ("sync:all", "sync:stage1", Stage.STAGE1, ""),
        ("sync:stage2 sync:all sync:stage2", "", Stage.STAGE2, "stage2"),
    ],
)
def test_the_later_word_wins(through_ssh, words, stage, push):
    found = asked(words.split(), None, {"SSH_ORIGINAL_COMMAND": through_ssh})
    assert (found.stage, found.push) == (stage, push)


@pytest.mark.parametrize(
    ("told", "environment", "wanted"),
    [
        (None, {}, ""),
        (None, {"SSH_ORIGINAL_COMMAND": "sync:all"}, "ssh"),
        (None, {"SSH_ORIGINAL_COMMAND": ""}, ""),
        ("cron", {"SSH_ORIGINAL_COMMAND": "sync:all", "INFO_TRIGGER": "env"}, "cron"),
        (None, {"SSH_ORIGINAL_COMMAND": "sync:all", "INFO_TRIGGER": "env"}, "env"),
    ],
)
def test_the_trigger_has_a_name_when_somebody_gave_it_one(told, environment, wanted):
    assert asked([], told, environment).trigger == wanted


def test_words_through_ssh_are_split_and_nothing_else():
    found = asked([], None, {"SSH_ORIGINAL_COMMAND": " sync:archive:a  /*\t$(x) sync:archive:b "})
    assert (found.archive, found.ignored) == ("b", ("/*", "$(x)"))


def test_a_generation_is_ignored_and_named_as_the_script_does():
    words = f"x sync:generation:{'a' * 64} sync:stage1"
    assert asked([], None, {"SSH_ORIGINAL_COMMAND": words}).ignored == tuple(words.split()[:2])


def test_a_configuration_may_change_what_was_asked_for():
    found = asked(["sync:all"], "t", {}).changed_by({"SYNCALL": "false", "SYNCSTAGE2": "true", "OTHER": "x"})
    assert (found.stage, found.trigger) == (Stage.STAGE2, "t")


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        (["-T", "x", "w"], {"-T": "x"}, ("w",)),
        (["-Tx", "w", "-v"], {"-T": "x"}, ("w", "-v")),
        (["-vT", "x"], {"-v": "", "-T": "x"}, ()),
        (["-v", "--", "-T"], {"-v": ""}, ("-T",)),
        (["-", "-v"], {}, ("-", "-v")),
        (["--help"], {"--help": ""}, ()),
    ],
)
def test_options_are_read_as_getopts_does(arguments, options, words):
    assert entrypoint.split(arguments, "T:v") == (options, words)


@pytest.mark.parametrize("arguments", [["-x"], ["-T"], ["-vx"], ["--other"], ["-:"]])
def test_an_option_that_there_is_not_is_a_usage_error(arguments):
    with pytest.raises(UsageError):
        entrypoint.split(arguments, "T:v")


def test_who_has_stopped_listening_is_no_error_at_the_end_either():
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.MonkeyPatch.context() as patch, os.fdopen(writer, "w") as nobody:
        patch.setattr(sys, "stdout", nobody)
        entrypoint.say("hello")
        entrypoint.say("world")


@pytest.mark.parametrize("name", ["ftpsync-cron", "ftpsync-cron-security", "hourly"])
def test_cron_runs_the_ftpsync_beside_it_whatever_its_own_name_is(tmp_path: Path, name: str):
    with pytest.raises(ConfigError, match=r"there is no ftpsync-none-such\.conf"):
        ftpsync_cron([str(tmp_path / name), "none-such"], {"HOME": str(tmp_path)})


@pytest.mark.parametrize("text", ["", "x", "1", "999999999"])
def test_bug_17_a_flag_is_no_proof_of_a_real_ftpsync(tmp_path: Path, text: str):
    (tmp_path / "Archive-Update-in-Progress-m.example.org").write_text(text)
    assert real_ftpsync_on(tmp_path, "m.example.org") is None


def run_of(number: int) -> Run:
    started = datetime(2026, 11, 22, 12, 0, number, tzinfo=UTC)
    facts = (Stage.ALL, "full", "ssh", started, None, Outcome.SUCCEEDED, 0, None, "", {}, "")
    return Run(number, "debian", *facts)


def follow(number: int, state: Path, *, fails: bool = False) -> bool:
    """Whether there is still something to do after this run, which is done unless it fails."""
    with turn_after(run_of(number), state) as turn:
        was_over = turn.is_over
        if not fails:
            turn.end()
    return not was_over


def test_a_run_is_followed_once_also_when_a_later_one_was_followed_before(tmp_path: Path):
    assert [follow(number, tmp_path) for number in (2, 1, 2, 1)] == [True, True, False, False]


def test_who_does_not_get_to_the_end_of_what_follows_leaves_it_to_the_next(tmp_path: Path):
    assert follow(1, tmp_path, fails=True)
    assert not is_followed(run_of(1), tmp_path)
    assert follow(1, tmp_path)
    assert is_followed(run_of(1), tmp_path)


def test_that_a_run_is_being_followed_is_seen_by_others(tmp_path: Path):
    assert not is_being_followed(run_of(1), tmp_path)
    with turn_after(run_of(1), tmp_path):
        assert is_being_followed(run_of(1), tmp_path)
    assert not is_being_followed(run_of(1), tmp_path)


def test_marks_of_followed_runs_are_not_kept_for_ever(tmp_path: Path):
    for number in range(59):
        assert follow(number, tmp_path)
    assert len(list((tmp_path / "followed/debian").iterdir())) == 50
