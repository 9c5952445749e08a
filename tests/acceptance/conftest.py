"""What the proofs need besides an archive and a site: a gate for runs, pushes that run beside the test."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from acceptance.calls import Call, Start, requests
from acceptance.gate import Gate
from forked import Cli, cli, fork_sites
from pushmirror.lab.services import Sshd, wait_until
from pushmirror.lab.site import LabSite

__all__ = ["cli"]


@pytest.fixture
def forked(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a test of many runs that are neither killed nor timed: none waits for what imports take."""
    fork_sites(cli, monkeypatch)


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


@pytest.fixture
def start(site: LabSite) -> Iterator[Start]:
    """Starts `pushmirror WORDS` as the site; what still runs at the end of the test is ended."""
    with ExitStack() as stack:
        yield lambda *words: Call(stack.enter_context(site.running(*words)))


@pytest.fixture
def push(site: LabSite, start: Start) -> Start:
    """Pushes the site with some words, and returns when the request is in its queue."""

    def push(*words: str) -> Call:
        before = len(requests(site))
        call = start("receive", *words)
        assert wait_until(lambda: len(requests(site)) > before), "the push did not reach the queue"
        return call

    return push


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    with Sshd(tmp_path / "sshd") as server:
        yield server
