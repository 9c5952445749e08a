"""What a case needs, once for each process of pytest."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from field.apt import Apt, judging
from field.case import Case
from field.scene import OddDaemon, Scene
from fork_server import WITHOUT_WAITS
from forked import Cli, serving
from pushmirror.system import clock
from support.rsync_daemon import RsyncDaemon


@pytest.fixture(scope="session")
def cli() -> Iterator[Cli]:
    """A case's upstream stays as it is during a run: nobody mends what a run would wait for."""
    with serving(WITHOUT_WAITS) as running:
        yield running


@pytest.fixture(autouse=True)
def _owners_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "sleep", lambda _: None)


@pytest.fixture(scope="session")
def field_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("field")


@pytest.fixture(scope="session")
def field_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RsyncDaemon]:
    with OddDaemon(tmp_path_factory.mktemp("rsyncd")) as daemon:
        yield daemon


@pytest.fixture(scope="session")
def apt(tmp_path_factory: pytest.TempPathFactory, field_directory: Path) -> Iterator[Apt]:
    if not shutil.which("apt-get"):
        pytest.skip("needs apt-get, the judge")
    with judging(tmp_path_factory.mktemp("apt"), field_directory, remembers=True) as judge:
        yield judge


@pytest.fixture(scope="session")
def make_scene(
    field_directory: Path, cli: Cli, field_daemon: RsyncDaemon, apt: Apt
) -> Callable[[Case], Scene]:
    made: dict[str, Scene] = {}

    def make(case: Case) -> Scene:
        if case.name not in made:
            made[case.name] = Scene(case, field_directory / case.name, cli, field_daemon, apt)
        return made[case.name]

    return make
