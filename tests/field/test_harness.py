"""What judges the cases can say no: apt of a tree that is broken, the comparison of one that differs."""

import shutil
from collections.abc import Callable
from copy import copy
from pathlib import Path

import pytest

from field.apt import Apt
from field.builder import PACKAGES, Upstream
from field.case import HELD, Case, Odd, Step, odd, ordinary, taken
from field.mirror import mirroring
from field.scene import Scene, good
from forked import Cli
from pushmirror.config.model import Strategy
from pushmirror.system import process


@pytest.fixture
def up(field_directory: Path, request: pytest.FixtureRequest) -> Upstream:
    up = Upstream(field_directory / request.node.name / "tree")
    good(up, 1)
    ordinary(up, 1)
    return up


def problem(apt: Apt, up: Upstream, *packages: str) -> str:
    return apt.reads((up.tree, "odd main"), packages=packages, keyring=up.keyring).problem


def test_apt_takes_what_is_right(apt: Apt, up: Upstream) -> None:
    verdict = apt.reads((up.tree, "odd main"), packages=["odd", "odd-old"], keyring=up.keyring)
    assert not verdict.problem
    assert sorted(verdict.packages) == ["odd-old_1.0_amd64.deb", "odd_1.1_amd64.deb"]


def test_apt_misses_a_package(apt: Apt, up: Upstream) -> None:
    up.remove("pool/main/o/odd")
    assert problem(apt, up) == ""
    assert "404" in problem(apt, up, "odd")


def test_apt_sees_a_package_of_another_content(apt: Apt, up: Upstream) -> None:
    up.put("pool/main/o/odd/odd_1.1_amd64.deb", b"x" * 400)
    assert "Hash Sum mismatch" in problem(apt, up, "odd")


def test_apt_is_asked_again_only_of_what_it_would_see_otherwise(
    apt: Apt, up: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []
    get = Apt._get
    monkeypatch.setattr(Apt, "_get", lambda apt, *words: asked.append(words) or get(apt, *words))
    same = copy(up)
    same.tree = shutil.copytree(up.tree, up.tree.with_name("same"), symlinks=True)
    assert problem(apt, up, "odd") == "" and len(asked) == 2  # update, download
    same.put("dists/good/Release", b"of another suite")
    assert problem(apt, same, "odd") == "" and len(asked) == 2
    assert problem(apt, same, "odd", "odd-old") == "" and len(asked) == 4
    same.put("pool/main/o/odd/odd_1.1_amd64.deb", b"x" * 400)
    assert "Hash Sum mismatch" in problem(apt, same, "odd")
    same.put("dists/odd/InRelease", b"x")
    assert problem(apt, same, "odd").startswith("apt-get update")


def test_apt_misses_an_index(apt: Apt, up: Upstream) -> None:
    up.remove("dists/odd/main")
    assert "404" in problem(apt, up)


def test_apt_sees_an_index_of_another_state(apt: Apt, up: Upstream) -> None:
    for end in ("", ".gz"):
        up.put(f"dists/odd/{PACKAGES}{end}", b"another")
    assert "unexpected size" in problem(apt, up)


def test_apt_refuses_a_stranger(apt: Apt, up: Upstream) -> None:
    up.put("dists/odd/InRelease", up.read("dists/odd/InRelease").replace(b"Label: Case", b"Label: Cat"))
    assert "BADSIG" in problem(apt, up)


def test_apt_misses_a_suite(apt: Apt, up: Upstream) -> None:
    up.remove("dists/odd")
    assert "does not have a Release file" in problem(apt, up)


def _found(case: Case, make_scene: Callable[[Case], Scene]) -> str:
    with mirroring(make_scene(case), Strategy.FULL) as mirror:
        return "\n".join(mirror.problems())


def test_another_exit_code_is_a_problem(make_scene: Callable[[Case], Scene]) -> None:
    assert "exit code 0" in _found(Case("self_exit", (Step(ordinary, (HELD,)),)), make_scene)


def test_what_is_not_held_is_a_problem(make_scene: Callable[[Case], Scene]) -> None:
    steps = Step(ordinary), Step(ordinary, odd=Odd.HELD)
    assert "expected" in _found(Case("self_held", steps), make_scene)


def test_what_is_not_absent_is_a_problem(make_scene: Callable[[Case], Scene]) -> None:
    assert "InRelease is served" in _found(Case("self_absent", (Step(ordinary, odd=Odd.ABSENT),)), make_scene)


def test_what_is_served_although_it_should_not_be_is_a_problem(make_scene: Callable[[Case], Scene]) -> None:
    case = taken("self_unserved", unserved=("dists/odd/InRelease",))
    assert "is served as upstream has it" in _found(case, make_scene)


def test_what_apt_makes_of_upstream_is_part_of_a_case(make_scene: Callable[[Case], Scene]) -> None:
    case = taken("self_apt", odd(sections=["MD5Sum"]))
    assert "apt at upstream, expected True" in _found(case, make_scene)


def test_what_is_not_served_is_a_problem(make_scene: Callable[[Case], Scene]) -> None:
    build = odd(after=lambda up, n: up.put("doc/x", b"x"))
    case = Case("self_lacking", (Step(build),), module={"exclude": "/doc/x"})
    assert "doc/x: None, expected" in _found(case, make_scene)


def test_what_a_case_finds_itself_is_a_problem(make_scene: Callable[[Case], Scene]) -> None:
    case = Case("self_check", (Step(ordinary, check=lambda upstream, mirror: ["this and that"]),))
    assert "this and that" in _found(case, make_scene)


def test_a_forked_command_is_the_one_that_is_started(cli: Cli, tmp_path: Path) -> None:
    words = ["--config", str(tmp_path), "status"]
    forked = cli.run(words, env={"HOME": str(tmp_path)})
    started = process.run(["pushmirror", *words], env={"HOME": str(tmp_path)}, timeout_s=60)
    assert (forked.exit_code, forked.output, forked.errors) == (
        started.exit_code,
        started.output,
        started.errors,
    )
    assert forked.exit_code != 0


def test_a_forked_command_ends_when_nobody_waits_for_it(cli: Cli, tmp_path: Path) -> None:
    with pytest.raises(process.ProgramFailed, match="longer"):
        cli.run(["lab", "--help"], timeout_s=0.001)  # it imports for longer
    assert cli.run(["--help"]).exit_code == 0
