"""Debian's real ftpsync below the same upstream: nowhere does apt get more from its tree than from ours."""

import shlex
from collections.abc import Callable
from dataclasses import replace

import pytest

from field.case import Case, Odd
from field.mirror import mirroring
from field.scene import Scene
from field.test_cases import CASES
from pushmirror.config.model import Strategy
from pushmirror.lab.services import HOST
from side_by_side import Home, Side
from support.rsync_daemon import RsyncDaemon

#: Where ftpsync may be content and we might not: kinds of trouble, each once.
NAMES = (
    "control",
    "lists_itself",
    "md5_and_sha512",
    "release_is_of_another_state",
    "unsigned",
    "every_packages_is_stale",
    "dak_signed_text_was_changed",
    "suite_is_a_link",
    "unreadable_file",
    "unreadable_index",
    "suite_becomes_a_link",
    "debian_example",
    "refuses_all_but_those_of_ftpsync",
    "greeting_at",
    "pool_on_a_disk_of_its_own",
    "first_sync_package_lost",
    "update_package_lost",
    "update_package_of_another_content",
)


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES if case.name in NAMES])
def test_apt_gets_no_more_from_ftpsync_than_from_us(case: Case, make_scene: Callable[[Case], Scene]) -> None:
    scene = make_scene(replace(case, name=f"beside-{case.name}"))
    with mirroring(scene, Strategy.FULL) as mirror:
        home = Home(scene.directory / "beside", Side.REAL)
        _configure(home, mirror.daemon, scene.module(Strategy.FULL))
        for number, step in enumerate(case.steps):
            ours, theirs = mirror.sync(number), home.run()
            if step.apt is None:
                continue
            if scene.reads_good(home.tree):
                assert scene.reads_good(mirror.site.tree), f"step {number + 1}, good: {ours.errors}"
            if step.odd is not Odd.ABSENT and (verdict := scene.reads(home.tree)):
                mine = scene.reads(mirror.site.tree)
                assert mine, f"step {number + 1}: {mine.problem}; ours: {ours.errors}; ftpsync: {theirs}"
                newest = scene.upstream_verdict(number).packages
                if step.odd is Odd.CURRENT and verdict.packages == newest:
                    assert mine.packages == newest


def test_every_case_beside_ftpsync_is_one() -> None:
    assert set(NAMES) <= {case.name for case in CASES}


def _configure(home: Home, daemon: RsyncDaemon, module: str) -> None:
    home.tree.mkdir()
    told = {
        "RSYNC_HOST": HOST,
        "RSYNC_PATH": module,
        "RSYNC_EXTRA": f"--port={daemon.port} --sockopts=TCP_NODELAY",
        "TO": f"{home.tree}/",
        "MIRRORNAME": "peer.example.org",
        "MAILTO": "nobody",
        "HUB": "false",
    }
    home.configure("".join(f"{name}={shlex.quote(value)}\n" for name, value in told.items()))
