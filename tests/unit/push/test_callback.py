import pytest

from pushmirror.push.callback import caller


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["callback:site1"], "site1"),
        (["sync:all"], None),
        (["sync:all", "callback:site1"], None),  # a push, with a word that means nothing
        ([], None),
    ],
)
def test_a_call_back_is_no_push_and_a_push_no_call_back(words, name):
    assert caller(words) == name
