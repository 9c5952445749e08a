"""What a case needs, once for each process of pytest."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from field.apt import Apt, judging
from field.case import Case
from field.scene import OddDaemon, Scene
from forked import Cli, cli
from support.rsync_daemon import RsyncDaemon

__all__ = ["cli"]


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
