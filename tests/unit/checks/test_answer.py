from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pushmirror.checks import site as answer
from pushmirror.config.model import Site
from pushmirror.push.trigger import parse_trigger
from pushmirror.push.trigger_sender import Answer
from pushmirror.status.words import Level

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)
SITE = Site(name="a.example", host="h", user="u", archives=["debian", "security"])
READY = "pushmirror 0.1.0 ready; archives: debian, security; time: 2026-08-01T12:00:03+00:00\n"
FTPSYNC = "Unknown option sync:check ignored\nCan't read config file ftpsync-.pushmirror-check.conf!\n"


def judged(exit_code: int, output: str, site: Site = SITE) -> list[tuple[str, str]]:
    return [(one.level.value, one.found) for one in answer.judge_answer(site, Answer(exit_code, output), NOW)]


def test_the_words_ask_for_nothing():
    wanted = parse_trigger(answer.WORDS.split())
    assert wanted.archive == ".pushmirror-check"
    assert not wanted.mhop and not wanted.callback


def test_a_pushmirror_that_says_it_is_ready_is_right_and_tells_the_time():
    assert judged(0, f"some banner\n{READY}") == [
        ("ok", "key accepted; it starts pushmirror 0.1.0"),
        ("ok", "the same as ours"),
    ]


@pytest.mark.parametrize(
    ("time", "words"), [("12:07", "7 min ahead of ours"), ("11:00", "60 min behind ours")]
)
def test_a_clock_that_differs_is_told_with_its_way(time, words):
    assert judged(0, READY.replace("12:00:03", time))[-1] == ("warning", words)


@pytest.mark.parametrize("time", ["yesterday", "2026-08-01T12:00:03"])
def test_a_time_that_cannot_be_read_is_no_trouble(time):
    assert len(judged(0, READY.replace("2026-08-01T12:00:03+00:00", time))) == 1


def test_an_archive_that_the_site_does_not_have_is_named():
    said = READY.replace("debian, security", "debian-ports, security")
    assert ("warning", "it has no archive debian; it has debian-ports, security") in judged(0, said)


def test_the_main_archive_may_have_another_name_at_the_site():
    main = SITE.model_copy(update={"main_archive": "debian"})
    assert [level for level, _ in judged(0, READY.replace("debian, ", ""), main)] == ["ok", "ok"]


def test_an_archive_is_looked_for_by_the_name_that_it_has_at_the_site():
    main = SITE.model_copy(update={"archive_names": {"debian": "main"}})
    assert [level for level, _ in judged(0, READY.replace("debian, ", "main, "), main)] == ["ok", "ok"]


def test_an_ftpsync_that_finds_no_configuration_is_right():
    assert judged(78, FTPSYNC) == [("ok", "key accepted; it starts ftpsync")]


def test_an_ftpsync_of_another_name_is_right_too():
    assert judged(78, FTPSYNC.replace("ftpsync-", "ftpsync-debian-"))[0][0] == "ok"


def test_an_older_pushmirror_is_right():
    said = "pushmirror: there is no archive '.pushmirror-check' here\npushmirror: hint: archives: debian\n"
    assert judged(64, said)[0][0] == "ok"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (127, "bash: line 1: sync:archive:.pushmirror-check: command not found"),
        (127, "sh: 1: sync:archive:.pushmirror-check: not found"),
        (127, "zsh:1: command not found: sync:archive:.pushmirror-check"),
        (127, "fish: Unknown command: sync:archive:.pushmirror-check"),
        (1, "sync:archive:.pushmirror-check: Command not found."),
    ],
)
def test_a_shell_that_took_the_words_means_that_the_key_can_do_anything(code, said):
    ((level, found),) = judged(code, said)
    assert level == "error" and "not limited to a forced command" in found


def test_a_forced_command_that_is_not_there_is_told_from_a_shell():
    ((level, found),) = judged(127, "bash: line 1: /home/u/bin/ftpsync: No such file or directory")
    assert level == "error" and "its forced command cannot be run" in found


@pytest.mark.parametrize(("code", "level"), [(0, "ok"), (3, "warning")])
def test_an_ftpsync_whose_forced_command_names_an_archive_has_synced(code, level):
    ((found, said),) = judged(code, "Unknown option sync:check ignored\n")
    assert found == level and "started a sync like a push" in said


@pytest.mark.parametrize("code", [0, 1, 78, -9])
def test_anything_else_is_a_warning_with_its_last_line(code):
    ((level, found),) = judged(code, "first\nThis account is currently not available.\n\n")
    assert level == "warning"
    assert found.endswith(f"exit code {code}: This account is currently not available.")


def test_a_configuration_error_of_a_pushmirror_is_not_taken_for_ftpsync():
    ((level, _),) = judged(78, "pushmirror: /etc/pushmirror/pushmirror.toml: not valid TOML")
    assert level == "warning"


def test_every_finding_that_is_not_ok_says_what_to_do():
    for code, said in ((127, "x: not found"), (1, ""), (0, READY.replace("12:00:03", "14:00"))):
        found = list(answer.judge_answer(SITE, Answer(code, said), NOW))
        assert all(one.todo for one in found if one.level is not Level.OK)
