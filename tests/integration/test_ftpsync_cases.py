"""One table of configurations, words and environments, asked of Debian's own ftpsync and of ours.

They have to agree in all that `side_by_side.facts` tells, except where a case of the table says why not.
"""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from pushmirror.lab.archive import LabArchive
from pushmirror.lab.indices import SUITES
from pushmirror.lab.services import free_port
from side_by_side import Ended, Home, Side, facts
from support.rsync_daemon import RsyncDaemon

_TABLE = tomllib.loads((Path(__file__).parents[1] / "data" / "ftpsync_cases.toml").read_text())
_MIRROR = "mirror.example.org"
_TRACES = Path("project/trace")


@dataclass(frozen=True)
class Case:
    """A row of the table."""

    title: str
    exit: int
    config: str = ""  # added to the usual one
    config_alone: str | None = None  # instead of it
    file: str = "ftpsync.conf"
    files: Mapping[str, str] = field(default_factory=dict)  # further ones beside it
    name: str = "ftpsync"
    runs: tuple[tuple[str, ...], ...] = ((),)
    env: Mapping[str, str] = field(default_factory=dict)
    programs: Mapping[str, str] = field(default_factory=dict)
    tree: str = "tree"
    real: Mapping[str, Any] = field(default_factory=dict)  # fields of the case for the real one
    like: str = ""  # of the table's cases that differ alike
    differs: Mapping[str, str] = field(default_factory=dict)  # fact -> why
    ours: Mapping[str, Any] = field(default_factory=dict)  # fact -> what it is instead

    def expected(self, real: Mapping[str, Any]) -> dict[str, Any]:
        """The facts at our side, from those at the other."""
        ours = {**_LIKE[self.like]["ours"], **self.ours}
        left_out = ours.pop("names_without", [])
        names = [name for name in real["names"] if not any(fnmatchcase(name, one) for one in left_out)]
        return {**real, "names": names, **ours}


_LIKE: Mapping[str, Any] = {"": {"ours": {}, "differs": {}}, **_TABLE["like"]}
_CASES = [Case(**row) for row in _TABLE["case"]]


@dataclass(frozen=True)
class Upstream:
    """A daemon whose modules are the upstreams of the table."""

    daemon: RsyncDaemon
    closed_port: int

    def ask(self, case: Case, side: Side, directory: Path) -> dict[str, object]:
        """All that is to be seen of a case at one side."""
        if side is Side.REAL:
            case = replace(case, **case.real)
        home = Home(directory, side)
        home.tree = home.home / case.tree

        def filled(text: str) -> str:
            names = {"TREE": home.home / "tree", "HOME": home.home, "BIN": home.bin}
            for name, value in {**names, "PORT": self.daemon.port, "CLOSED": self.closed_port}.items():
                text = text.replace(f"{{{name}}}", str(value))
            return text

        usual = f"{_TABLE['usual']}{case.config}\n" if case.config_alone is None else case.config_alone
        for name, text in {case.file: usual, **case.files}.items():
            home.configure(filled(text), name)
        for name, text in case.programs.items():
            home.add_program(name, f"#!/bin/sh\n{filled(text)}\n")
        env = {name: filled(value) for name, value in case.env.items()}
        ended = Ended(-1, "not run")
        for words in case.runs:
            ended = home.run(*words, name=case.name, env=env)
        seen = facts(home, ended, _MIRROR)
        return {name: _emptied(value, str(home.home)) for name, value in seen.items()}


def _emptied(value: object, home: str) -> object:
    """The same without the place where it happened."""
    if isinstance(value, str):
        return value.replace(home, "{HOME}")
    return [_emptied(one, home) for one in value] if isinstance(value, list) else value


@pytest.fixture(scope="session")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    directory = tmp_path_factory.mktemp("upstream")
    archive = LabArchive.create(directory / "archive", packages=2, suites=SUITES[:1])
    traces = archive.path / _TRACES
    (traces / "_hierarchy.mirror").write_text(
        "archive.lab.example.org archive.lab.example.org origin unknown\n"
    )
    (traces / "_hierarchy").write_text("never fetched\n")
    (traces / "_traces").write_text("never fetched either\n")

    def changed(name: str) -> Path:
        return Path(shutil.copytree(archive.path, directory / name, symlinks=True))

    (changed("updating") / "Archive-Update-in-Progress-hub.example.org").write_text("1\n")
    shutil.rmtree(changed("plain") / "dists")
    serial = changed("unserialled") / _TRACES / "archive.lab.example.org"
    serial.write_text("Thu Jan  1 00:00:00 UTC 2026\nUsing dak v1\n")
    (changed("masterless") / _TRACES / "master").unlink()
    with RsyncDaemon(directory / "rsyncd") as daemon:
        daemon.add_module("debian", archive.path)
        daemon.add_module("closed", archive.path, {_MIRROR: "secret"})
        for name in ("updating", "plain", "unserialled", "masterless"):
            daemon.add_module(name, directory / name)
        yield Upstream(daemon, free_port())


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case.title)
def test_debians_ftpsync_and_ours_agree(case: Case, upstream: Upstream, tmp_path: Path) -> None:
    with ThreadPoolExecutor() as threads:
        real, ours = threads.map(lambda side: upstream.ask(case, side, tmp_path), Side)
    assert real["exit_code"] == case.exit, "the table is wrong about the real one"
    assert ours == case.expected(real)


def test_every_case_has_a_title_of_its_own() -> None:
    assert len({case.title for case in _CASES}) == len(_CASES) >= 60


def test_what_differs_is_told_with_its_number() -> None:
    for case in [*_CASES, *(Case(f"like {name}", 0, **alike) for name, alike in _LIKE.items())]:
        told = {name.removesuffix("_without") for name in case.ours} | ({"real"} if case.real else set())
        assert case.differs.keys() == told, case.title
        assert all(re.search(r"(bug|behaviour|note) \d", reason) for reason in case.differs.values()), (
            case.title
        )
