from __future__ import annotations

import pytest
from pydantic import ValidationError

from pushmirror.config.model import Site


def options(*words: str) -> tuple[str, ...]:
    return Site(name="a", host="h", user="u", archives=("debian",), ssh_options=words).ssh_options


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("-4",),
        ("-p", "2222", "-o", "A=b"),
        ("-p2222", "-oA=b", "-4"),
        ("-4v", "-J", "gate"),
        ("-i", "-odd-name"),
    ],
)
def test_options_with_their_values_are_taken(words):
    assert options(*words) == words


@pytest.mark.parametrize("words", [("gate",), ("-p", "22", "gate"), ("-4", "x"), ("--",), ("-",), ("-p",)])
def test_a_word_that_would_be_the_host_is_refused(words):
    with pytest.raises(ValidationError, match=r"is no option|expected a value"):
        options(*words)
