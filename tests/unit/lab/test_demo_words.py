from __future__ import annotations

import pytest

from pushmirror.lab.demo import in_words
from pushmirror.lab.passage import Call
from pushmirror.state.records import Stage


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (None, "it was not triggered"),
        (Call(Stage.ALL, 1.5, None, None, ""), "it was triggered after 1.5 s and has not answered yet"),
        (Call(Stage.ALL, 1, 2, None, "refused"), "its last trigger had no answer: refused"),
        (Call(Stage.ALL, 1, 2, None, ""), "its last trigger had no answer: the push process is gone"),
        (Call(Stage.ALL, 1, 2, 4, ""), "its last trigger ended with exit code 4: no output"),
    ],
)
def test_what_became_of_a_late_mirrors_last_trigger_is_said_in_words(call: Call | None, words: str) -> None:
    assert in_words(call) == words
