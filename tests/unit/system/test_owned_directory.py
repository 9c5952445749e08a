"""What becomes of links, other users' directories and loose modes below a directory of ours."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pushmirror.errors import StateError
from pushmirror.system.owned_directory import keep_to_owner

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    for name in ("state/suites", "state/logs/debian", "outside"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("state/known_hosts", "state/suites/debian.json", "state/logs/debian/1.log", "outside/file"):
        (tmp_path / name).write_text(name)
    return tmp_path / "state"


@pytest.mark.parametrize("name", ["suites", "logs", "logs/debian", "new", "suites/new"])
def test_a_link_to_a_directory_is_refused_by_name(state: Path, name: str) -> None:
    place = state / name
    if place.exists():
        place.rename(state.parent / "old")
    place.symlink_to(state.parent / "outside")
    with pytest.raises(StateError, match=f"{place} is a link"):
        keep_to_owner(state)


def test_a_link_at_the_top_that_leads_to_nothing_is_refused(state: Path) -> None:
    (state / "closures").symlink_to(state.parent / "none")
    with pytest.raises(StateError, match="closures is a link"):
        keep_to_owner(state)


def test_other_links_leave_and_what_they_lead_to_stays(state: Path) -> None:
    for number, target in enumerate(("../../outside/file", "/none", "debian.json")):
        (state / f"suites/{number}").symlink_to(target)
    (state / "known_hosts").unlink()
    (state / "known_hosts").symlink_to("../outside/file")  # the operator's own
    keep_to_owner(state)
    assert [path.name for path in (state / "suites").iterdir()] == ["debian.json"]
    assert (state.parent / "outside/file").read_text() == "outside/file"
    assert (state / "known_hosts").is_symlink()


def test_what_others_may_write_they_may_no_longer(state: Path) -> None:
    names = ("logs", "logs/debian", "logs/debian/1.log", "suites/debian.json", "known_hosts")
    for name in names:
        (state / name).chmod(0o777 if (state / name).is_dir() else 0o666)
    (state / "suites").chmod(0o700)
    keep_to_owner(state)
    assert {oct((state / name).stat().st_mode & 0o777) for name in names} == {"0o755", "0o644"}
    assert (state / "suites").stat().st_mode & 0o777 == 0o700


@as_root
def test_a_directory_of_yet_another_user_is_refused_by_name(state: Path) -> None:
    os.chown(state, 65534, -1)
    keep_to_owner(state)  # what is root's there is no worse
    os.chown(state / "logs", 34, -1)
    with pytest.raises(StateError, match="logs belongs to user 34, expected user 65534"):
        keep_to_owner(state)


def test_a_directory_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    keep_to_owner(tmp_path / "none")
