"""What these tests stand on: commands that are forked; for pushes a hub, and an sshd that its sites share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from downstream import SitesSshd
from forked import Cli, cli, fork_sites
from pushing_hub import PushingHub

__all__ = ["cli"]


@pytest.fixture(autouse=True)
def _forked(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """No command waits for the second that imports take."""
    fork_sites(cli, monkeypatch)


@pytest.fixture(scope="session")
def sites_sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SitesSshd]:
    with SitesSshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def own_sshd(tmp_path: Path) -> Iterator[SitesSshd]:
    """One that a test may stop, and give another host key."""
    with SitesSshd(tmp_path / "own-sshd") as server:
        yield server


@pytest.fixture
def hub(tmp_path: Path, sites_sshd: SitesSshd) -> Iterator[PushingHub]:
    hub = PushingHub(tmp_path / "hub", sites_sshd)
    yield hub
    hub.close()
