"""Triggers over real ssh: what a site answers, what keeps it from answering, and what is left behind."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pushmirror.push.wire import Answer
from ssh_sites import Sites

WORDS = " sync:archive:debian sync:stage1"


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[Sites]:
    sites = Sites(tmp_path)
    with sites.sshd:
        yield sites


def test_a_site_is_told_the_words_as_they_are_and_its_answer_comes_back(sites: Sites) -> None:
    site = sites.site('echo "<$SSH_ORIGINAL_COMMAND>"')
    assert sites.run(lambda wire: wire.trigger(site, WORDS)) == Answer(0, f"<{WORDS}>\n")


@pytest.mark.parametrize("code", [1, 127, 255])
def test_the_exit_code_is_told_whatever_it_is(sites: Sites, code: int) -> None:
    site = sites.site(f"echo no >&2; exit {code}")
    assert sites.run(lambda wire: wire.trigger(site, WORDS)) == Answer(code, "no\n")


def test_a_command_that_a_signal_ended_is_told_with_its_number(sites: Sites) -> None:
    site = sites.site("kill -s TERM $$")
    assert sites.run(lambda wire: wire.trigger(site, WORDS)).exit_code == -15
