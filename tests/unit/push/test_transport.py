"""What is told of a site's answer in one line."""

import pytest

from pushmirror.push.trigger_sender import Answer


def test_the_last_line_that_a_site_said_is_what_is_told() -> None:
    assert Answer(3, "first\n last \n\n").last_words == "last"


@pytest.mark.parametrize(
    ("code", "words"),
    [(1, "locked"), (3, "stage 1 failed"), (4, "stage 2 failed"), (78, "configuration"), (127, "not found")],
)
def test_of_a_site_that_said_nothing_its_exit_code_is_told_in_words(code: int, words: str) -> None:
    assert words in Answer(code, "\n").last_words


@pytest.mark.parametrize("code", [1, 3, 4])
def test_a_silent_ftpsync_wrote_the_reason_into_its_log(code: int) -> None:
    assert "~/.local/log/ftpsync" in Answer(code, "").last_words


@pytest.mark.parametrize("quoted", ["sync:generation:0a1b", "'sync:generation:0a1b'"])
def test_our_own_word_echoed_is_no_reason(quoted: str) -> None:
    echo = f"Unknown option {quoted} ignored"
    assert "stage 1 failed there" in Answer(3, f"{echo}\n").last_words
    assert Answer(3, f"no room left\n{echo}\n\n").last_words == "no room left"


def test_nothing_is_made_of_a_code_that_means_nothing() -> None:
    assert Answer(42, "").last_words == "it said nothing"
