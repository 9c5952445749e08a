"""The whole disk against its inventory."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pushmirror.errors import UnreadableTree
from pushmirror.inventory import drift, scan
from pushmirror.inventory.drift import Drift, Sample
from pushmirror.inventory.inventory import Inventory
from pushmirror.progress import Silent

FILES = [f"pool/{letter}/{package}/{number}" for letter in "ab" for package in "xyz" for number in range(9)]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    for path in FILES:
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(path)
        (tree / path).chmod(0o644)
    for directory in tree.rglob("*/"):
        directory.chmod(0o755)
    return tree


@pytest.fixture
def inventory(tree: Path, tmp_path: Path) -> Iterator[Inventory]:
    with Inventory(tmp_path / "inventory") as opened:
        assert not opened.reconcile(tree, progress=Silent(), workers=1)
        yield opened


def drift_of(inventory: Inventory, tree: Path) -> dict[str, list[str]]:
    told = inventory.reconcile(tree, progress=Silent(), workers=1)
    found = {"missing": told.missing, "changed": told.changed, "extra": told.extra}
    assert all(names.count == len(names.examples) for names in found.values())
    return {way: sorted(names.examples) for way, names in found.items() if names.count}


def replace_by_file(tree: Path) -> None:
    (tree / "pool/a/x").rename(tree.parent / "away")
    (tree / "pool/a/x").touch()


BELOW_X = [path for path in FILES if path.startswith("pool/a/x/")]
CHANGES: dict[str, tuple[Callable[[Path], object], dict[str, list[str]]]] = {
    "a time": (lambda tree: os.utime(tree / FILES[0], (1, 1)), {"changed": [FILES[0]]}),
    "another size": (lambda tree: (tree / FILES[0]).write_text("1"), {"changed": [FILES[0]]}),
    "a file lost": (lambda tree: (tree / FILES[0]).unlink(), {"missing": [FILES[0]]}),
    "a file more": (lambda tree: (tree / "pool/more").touch(), {"extra": ["pool/more"]}),
    "a directory away": (
        lambda tree: (tree / "pool/a/x").rename(tree.parent / "away"),
        {"missing": ["pool/a/x", *BELOW_X]},
    ),
    "a directory moved": (
        lambda tree: (tree / "pool/a/x").rename(tree / "x"),
        {
            "missing": ["pool/a/x", *BELOW_X],
            "extra": ["x", *(path.removeprefix("pool/a/") for path in BELOW_X)],
        },
    ),
    "a file for a directory": (replace_by_file, {"missing": BELOW_X, "changed": ["pool/a/x"]}),
    "a flag": (lambda tree: (tree / "Archive-Update-Required-mirror").touch(), {}),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_changed_by_hand_is_found_and_put_right(inventory: Inventory, tree: Path, what: str) -> None:
    act, expected = CHANGES[what]
    act(tree)
    assert drift_of(inventory, tree) == expected
    assert drift_of(inventory, tree) == {}


def test_a_first_look_is_no_drift(inventory: Inventory, tree: Path) -> None:
    state = inventory.state
    inventory.clear()
    assert not inventory.reconcile(tree, progress=Silent(), workers=1) and inventory.state == state


def test_a_look_that_was_killed_goes_on_and_what_it_found_is_no_drift(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(**done: int) -> None:
        raise KeyboardInterrupt

    killed = Silent()
    monkeypatch.setattr(killed, "advance", kill)
    monkeypatch.setattr(scan, "_ENOUGH", 10)
    with Inventory(tmp_path / "inventory") as inventory, Inventory(tmp_path / "other") as other:
        with pytest.raises(KeyboardInterrupt):
            inventory.reconcile(tree, progress=killed, workers=1)
        assert list(inventory.entries()) and not inventory.complete
        assert not inventory.reconcile(tree, progress=Silent(), workers=1) and inventory.complete
        other.reconcile(tree, progress=Silent(), workers=1)
        assert inventory.state == other.state


def test_processes_find_what_one_finds(
    inventory: Inventory, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "_WORTH_PROCESSES", 0)
    monkeypatch.setattr(scan, "_SHARE", 1)
    monkeypatch.setattr(scan, "_ENOUGH", 1)
    with Inventory(tmp_path / "other") as other:
        other.reconcile(tree, progress=Silent(), workers=2)
        assert other.state == inventory.state
        (tree / FILES[0]).unlink()
        (tree / FILES[1]).chmod(0o600)
        found = other.reconcile(tree, progress=Silent(), workers=2)
        assert found.missing.examples == [FILES[0]] and found.count == 1
        assert found.modes == [(FILES[1], 0o644)]


@pytest.mark.parametrize("is_known", [True, False])
def test_wrong_modes_are_told_and_are_no_drift(inventory: Inventory, tree: Path, is_known: bool) -> None:
    inventory.arrive_at("f" * 64, 7)
    (tree / FILES[0]).chmod(0o600)
    (tree / FILES[1]).chmod(0o4644)
    (tree / "pool/a").chmod(0o700)
    (tree / "pool/b").chmod(0o2755)
    (tree / "pool/link").symlink_to("a")
    if is_known:
        inventory.reconcile(tree, progress=Silent(), workers=1)
        inventory.arrive_at("f" * 64, 7)
    else:
        inventory.clear()
    found = inventory.reconcile(tree, progress=Silent(), workers=1)
    assert sorted(found.modes) == [("pool/a", 0o755), (FILES[0], 0o644), (FILES[1], 0o644)]
    assert not found and bool(inventory.followed) is is_known


def test_so_many_wrong_modes_are_told_at_once(
    inventory: Inventory, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift, "_MOST_MODES", 5)
    for path in FILES:
        (tree / path).chmod(0o600)
    assert len(inventory.reconcile(tree, progress=Silent(), workers=1).modes) == 5


def test_a_directory_that_cannot_be_read_is_named_with_what_to_do(
    inventory: Inventory, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(place: bytes | int) -> Iterator[os.DirEntry[bytes]]:
        if isinstance(place, bytes) and place.endswith(b"pool/a/x"):
            raise PermissionError(13, "Permission denied")
        return scandir(place)

    scandir = os.scandir
    monkeypatch.setattr(scan.os, "scandir", refuse)  # root reads everything
    with pytest.raises(UnreadableTree, match=f"{tree}/pool/a/x cannot be read") as raised:
        inventory.reconcile(tree, progress=Silent(), workers=1)
    assert raised.value.hint


@pytest.mark.parametrize(("cores", "processes"), [(1, 1), (4, 4), (64, 8), (None, 1)])
def test_so_many_processes_look_at_once(
    cores: int | None, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan.os, "cpu_count", lambda: cores)
    assert scan.processes() == processes


def test_the_work_is_counted_in_files(
    inventory: Inventory, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected: list[int | None] = []
    done: list[int] = []
    counting = Silent()
    monkeypatch.setattr(counting, "step", lambda _, files: expected.append(files))
    monkeypatch.setattr(counting, "advance", lambda *, files: done.append(files))
    inventory.reconcile(tree, progress=counting)
    assert expected == [len(FILES)] and sum(done) == len(FILES)


def test_drift_counts_all_and_keeps_examples() -> None:
    found = Drift()
    for number in range(1500):
        found.extra.add(str(number))
    assert found and str(found) == "0 missing, 0 changed, 1500 new"
    assert found.extra == Sample(1500, [str(number) for number in range(1000)])


def test_what_comes_into_an_empty_tree_is_extra(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    with Inventory(tmp_path / "inventory") as inventory:
        assert drift_of(inventory, tmp_path / "tree") == {}
        (tmp_path / "tree" / "file").touch()
        assert drift_of(inventory, tmp_path / "tree") == {"extra": ["file"]}
