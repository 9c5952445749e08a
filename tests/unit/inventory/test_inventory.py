"""Our tree, name by name: the inventory against a plain look at the disk."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pushmirror.archive.generation import TreeDigest
from pushmirror.archive.manifest_parts import Change, order_of
from pushmirror.archive.paths import Entry, Kind, link_stays_inside
from pushmirror.errors import StateError
from pushmirror.inventory import db as inventory_file
from pushmirror.inventory import transaction as inventory_change
from pushmirror.inventory.inventory import Inventory
from pushmirror.inventory.tables import entry_from
from pushmirror.progress import Silent

SHA = "ab" * 32


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tree").mkdir()
    return tmp_path / "tree"


@pytest.fixture
def inventory(tmp_path: Path) -> Iterator[Inventory]:
    with Inventory(tmp_path / "inventories" / "debian.sqlite") as opened:
        yield opened


def put(tree: Path, path: str, what: str | None) -> None:
    """Make a name a file with this content, a `link -> target`, a `directory`, or nothing."""
    place = tree / path
    for above in [*reversed(place.relative_to(tree).parents)][1:]:
        if (tree / above).is_symlink() or (tree / above).is_file():
            (tree / above).unlink()
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_symlink() or place.is_file():
        place.unlink()
    elif place.is_dir() and what != "directory":
        shutil.rmtree(place)
    if what == "directory":
        place.mkdir(exist_ok=True)
    elif what is not None and what.startswith("-> "):
        place.symlink_to(what.removeprefix("-> "))
    elif what is not None:
        place.write_text(what)
        os.utime(place, (len(what), len(what)))


def scan(tree: Path) -> dict[str, Entry]:
    """Every name of a tree that holds no traces, flags or work areas."""
    found: dict[str, Entry] = {}
    for place in sorted(tree.rglob("*")):
        path = str(place.relative_to(tree))
        if place.is_symlink():
            if link_stays_inside(path, os.readlink(place)):  # noqa: PTH115  as it is
                found[path] = Entry(path, Kind.LINK, target=os.readlink(place))  # noqa: PTH115  as it is
        elif place.is_dir():
            found[path] = Entry(path, Kind.DIRECTORY)
        else:
            found[path] = Entry(path, Kind.FILE, place.stat().st_size, int(place.stat().st_mtime))
    return found


def state_of(entries: Iterable[Entry]) -> str:
    digest = TreeDigest()
    for entry in entries:
        digest.add(entry)
    return digest.hexdigest()


def change(inventory: Inventory, tree: Path, path: str, what: str | None) -> None:
    inventory.begin_changes([path])
    put(tree, path, what)
    inventory.refresh(tree)


def taken(inventory: Inventory, tree: Path) -> Inventory:
    inventory.reconcile(tree, progress=Silent(), workers=1)
    return inventory


# What may happen to a tree

COMPONENTS = st.sampled_from(["a", "b", "a-x", "é"])
PATHS = st.lists(COMPONENTS, min_size=1, max_size=3).map("/".join)
CONTENTS = st.sampled_from([None, "", "1", "22", "directory", "-> b", "-> ../a", "-> /etc"])
EVENTS = st.tuples(st.sampled_from(["told", "told", "killed", "by hand", "sealed"]), PATHS, CONTENTS)


def happen(event: tuple[str, str, str | None], inventory: Inventory, tree: Path) -> None:
    how, path, what = event
    if how == "told":
        change(inventory, tree, path, what)
    elif how == "killed":
        inventory.begin_changes([path])
        put(tree, path, what)
    elif how == "by hand":
        put(tree, path, what)
        inventory.reconcile(tree, progress=Silent(), workers=1)
    else:
        inventory.refresh(tree)
        inventory.set_manifest_state(inventory.state)


def applied(to: dict[str, Entry], change: Change) -> dict[str, Entry]:
    entries = dict(to)
    for entry in change.removed:
        assert entries.pop(entry.path) == entry
    for entry in change.added:
        assert entries.setdefault(entry.path, entry) == entry
    return entries


def as_dict(inventory: Inventory) -> dict[str, Entry]:
    return {entry.path: entry for entry in inventory.entries()}


def require_right(inventory: Inventory, tree: Path, sealed: dict[str, Entry]) -> None:
    """It is what the disk is, and knows what changed since the seal."""
    found = scan(tree)
    assert as_dict(inventory) == found and list(as_dict(inventory)) == sorted(found, key=order_of)
    files = [entry.size for entry in found.values() if entry.kind is Kind.FILE]
    assert (inventory.files, inventory.size) == (len(files), sum(files))
    assert inventory.state == state_of(found.values())
    pending = inventory.pending_change()
    assert pending is not None and applied(sealed, pending) == found


@settings(max_examples=30, deadline=None)
@given(st.lists(EVENTS, max_size=10))
def test_whatever_happens_an_inventory_is_what_the_disk_is(events: list[tuple[str, str, str | None]]) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        tree, file = Path(name, "tree"), Path(name, "inventory")
        tree.mkdir()
        with Inventory(file) as inventory:
            taken(inventory, tree).set_manifest_state(inventory.state)
        sealed: dict[str, Entry] = {}
        for event in events:
            with Inventory(file) as inventory:  # as another process would, after a kill
                happen(event, inventory, tree)
            with Inventory(file) as inventory:
                assert inventory.complete and inventory.needs_refresh is (event[0] == "killed")
                inventory.refresh(tree)
                sealed = as_dict(inventory) if event[0] == "sealed" else sealed
                require_right(inventory, tree, sealed)


# Names


@pytest.mark.parametrize(
    "path",
    [
        "project/trace/master",
        "Archive-Update-in-Progress-mirror",
        "Archive-Update-Required-mirror",
        ".~tmp~/pushmirror/new/file",
        "pool/.~tmp~/file",
        "bell\a",
        "c1\x85",
    ],
)
def test_a_name_that_no_mirror_keeps_never_gets_in(path: str, tree: Path, inventory: Inventory) -> None:
    put(tree, path, "content")
    inventory.begin_changes([path])
    inventory.refresh(tree)
    taken(inventory, tree)
    assert {entry.kind for entry in inventory.entries()} <= {Kind.DIRECTORY} and inventory.get(path) is None


def test_what_is_no_file_link_or_directory_is_not_kept(tree: Path, inventory: Inventory) -> None:
    os.mkfifo(tree / "pipe")
    put(tree, "out", "-> ../elsewhere")
    assert list(taken(inventory, tree).entries()) == []


def test_a_link_in_place_of_the_trace_directory_is_taken_for_one(tree: Path, inventory: Inventory) -> None:
    put(tree, "elsewhere/file", "content")
    put(tree, "project/trace", "-> ../elsewhere")
    entry = taken(inventory, tree).get("project/trace")
    assert entry is not None and entry.kind is Kind.DIRECTORY


def test_a_name_that_is_not_utf_8_is_kept(tree: Path, inventory: Inventory) -> None:
    (Path(os.fsdecode(os.fsencode(tree) + b"/caf\xe9"))).write_text("content")
    (entry,) = taken(inventory, tree).entries()
    assert entry.path == "caf\udce9" and inventory.get("caf\udce9") == entry


def test_entries_come_in_the_order_of_manifests(tree: Path, inventory: Inventory) -> None:
    paths = ["a", "b", "a/z", "a-x", "a-x/b", "a/b", "a/b/c"]
    for path in reversed(paths):
        put(tree, path, "directory")
    assert [entry.path for entry in taken(inventory, tree).entries()] == sorted(paths, key=order_of)


def test_below_a_directory_is_all_that_is_in_it_and_nothing_beside(tree: Path, inventory: Inventory) -> None:
    for path in ("a/1", "a/b/2", "a-x/3", "a0/4", "ab/5"):
        put(tree, path, "content")
    taken(inventory, tree)
    assert [entry.path for entry in inventory.below("a")] == ["a/1", "a/b", "a/b/2"]


def test_more_names_than_a_page_are_all_told(tree: Path, inventory: Inventory) -> None:
    inventory.begin_changes(f"d{number % 3}/{number}" for number in range(2500))
    for number in range(3):
        (tree / f"d{number}").mkdir()
    for number in range(2500):
        (tree / f"d{number % 3}" / str(number)).touch()
    inventory.refresh(tree)
    assert len(list(inventory.entries())) == 2503 and inventory.files == 2500


def test_links_are_known_with_their_targets(tree: Path, inventory: Inventory) -> None:
    put(tree, "dists/trixie", "directory")
    put(tree, "dists/stable", "-> trixie")
    assert taken(inventory, tree).links() == {"dists/stable": "trixie"}


# Hashes


def test_a_hash_is_known_only_if_it_was_told_of_what_is_there(tree: Path, inventory: Inventory) -> None:
    inventory.begin_changes(["told", "not"])
    put(tree, "told", "content")
    put(tree, "not", "content")
    inventory.refresh(tree, {"told": SHA})
    assert [(entry.path, entry.sha256) for entry in inventory.entries()] == [("not", ""), ("told", SHA)]
    change(inventory, tree, "told", "content")
    entry = inventory.get("told")
    assert entry is not None and entry.sha256 == ""


# Extras and what is followed


def test_extras_are_told_by_kind_and_survive_a_change(tree: Path, inventory: Inventory) -> None:
    for path, what in {"d/f": "1", "l": "-> d", "other": "1"}.items():
        put(tree, path, what)
    taken(inventory, tree).set_extras(["d/f", "l", "not here"], ["d"])
    change(inventory, tree, "d/f", "22")
    assert (inventory.extras(), inventory.extra_directories()) == (["l", "d/f"], ["d"])
    inventory.set_extras(["other", "d/f"], [])
    assert (inventory.extras(), inventory.extra_directories()) == (["other", "d/f"], [])
    inventory.set_extras([], [])
    assert inventory.extras() == []


@pytest.mark.parametrize("extras", [[], ["kept"]])
def test_extras_that_are_known_are_not_written_again(
    tree: Path, inventory: Inventory, monkeypatch: pytest.MonkeyPatch, extras: list[str]
) -> None:
    put(tree, "kept", "by protect")
    taken(inventory, tree).set_extras(extras, [])
    monkeypatch.delattr(inventory_file.InventoryDb, "changing")
    inventory.set_extras(extras, [])
    assert inventory.extras() == extras


def test_a_tree_that_was_changed_by_hand_follows_nothing(tree: Path, inventory: Inventory) -> None:
    put(tree, "file", "content")
    taken(inventory, tree).arrive_at("f" * 64, 7)
    taken(inventory, tree)
    assert (inventory.followed, inventory.selection) == ("f" * 64, 7)
    put(tree, "file", "longer content")
    assert taken(inventory, tree).followed == ""


# The file


def test_what_was_expected_by_a_killed_process_is_to_be_settled(tree: Path, tmp_path: Path) -> None:
    with Inventory(tmp_path / "inventory") as inventory:
        inventory.begin_changes(["file"])
    put(tree, "file", "content")
    with Inventory(tmp_path / "inventory") as inventory:
        assert inventory.needs_refresh
        inventory.refresh(tree)
        assert not inventory.needs_refresh and inventory.get("file") is not None


def test_what_was_forgotten_is_not_known(tree: Path, inventory: Inventory) -> None:
    put(tree, "file", "content")
    taken(inventory, tree).arrive_at("f" * 64, 7)
    inventory.begin_changes(["file"])
    inventory.clear()
    assert list(inventory.entries()) == [] and (inventory.files, inventory.state) == (
        0,
        TreeDigest().hexdigest(),
    )
    assert not (
        inventory.complete or inventory.followed or inventory.needs_refresh or inventory.reconciled_at
    )


@pytest.mark.parametrize("what", ["garbage", "another version", "a table is gone", "its facts are gone"])
def test_a_file_that_cannot_be_used_is_begun_anew(tree: Path, tmp_path: Path, what: str) -> None:
    file = tmp_path / "inventory"
    with Inventory(file) as inventory:
        taken(inventory, tree)
    if what == "garbage":
        file.write_bytes(b"garbage" * 1000)
    else:
        statements = {"another version": "PRAGMA user_version = 99", "a table is gone": "DROP TABLE facts"}
        connection = sqlite3.connect(file, isolation_level=None)
        connection.execute(statements.get(what, "DELETE FROM facts"))
        connection.close()
    with Inventory(file) as inventory:
        assert not inventory.complete
        assert taken(inventory, tree).complete


@pytest.mark.parametrize("look", [lambda inventory, _: list(inventory.entries()), taken])
def test_damage_that_shows_later_is_told_and_gone_at_the_next_opening(
    tree: Path, tmp_path: Path, look: Callable[[Inventory, Path], object]
) -> None:
    file = tmp_path / "inventory"
    for number in range(300):
        (tree / f"{number}{'x' * 200}").touch()
    with Inventory(file) as inventory:
        taken(inventory, tree)
    with file.open("r+b") as content:
        content.seek(12 * 4096)  # pages of names
        content.write(b"\xff" * 4 * 4096)
    with Inventory(file) as inventory, pytest.raises(StateError, match="malformed") as raised:
        look(inventory, tree)
    assert "rebuilt" in str(raised.value.hint)
    with Inventory(file) as inventory:
        assert not inventory.complete and len(list(taken(inventory, tree).entries())) == 300


def test_an_inventory_that_another_process_has_is_told(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory_file, "BUSY_S", 0.01)
    with Inventory(tmp_path / "inventory") as inventory:
        other = sqlite3.connect(tmp_path / "inventory", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateError, match="locked") as raised:
            inventory.begin_changes(["file"])
        other.close()
        inventory.begin_changes(["file"])
    assert "another process" in str(raised.value.hint)


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="cannot create"):
        Inventory(tmp_path / "file" / "inventory")


def test_after_the_machine_was_started_anew_the_disk_has_to_be_looked_at(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Inventory(tmp_path / "inventory") as inventory:
        taken(inventory, tree).arrive_at("f" * 64, 7)
    monkeypatch.setattr(inventory_file, "_boot", lambda: "another")
    with Inventory(tmp_path / "inventory") as inventory:
        assert not inventory.complete
        assert taken(inventory, tree).complete and inventory.followed == "f" * 64


@pytest.mark.parametrize("what", ["nothing", "garbage", "another boot"])
def test_who_only_reads_finds_what_cannot_be_used_not_whole_and_leaves_it(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    file = tmp_path / "inventories" / "debian.sqlite"
    if what == "another boot":
        with Inventory(file) as inventory:
            taken(inventory, tree)
        monkeypatch.setattr(inventory_file, "_boot", lambda: "another")
    elif what == "garbage":
        file.parent.mkdir()
        file.write_bytes(b"garbage" * 1000)
    before = file.read_bytes() if file.exists() else None
    with Inventory(file, read_only=True) as inventory:
        assert not inventory.complete and list(inventory.entries()) == [] and not inventory.needs_refresh
    assert (file.read_bytes() if file.exists() else None) == before


def test_who_only_reads_sees_what_others_write_and_changes_nothing(tree: Path, inventory: Inventory) -> None:
    put(tree, "file", "content")
    with Inventory(inventory._file.path, read_only=True) as reader:
        assert not reader.complete
        taken(inventory, tree)
        assert reader.complete and reader.get("file") is not None
        with pytest.raises(StateError):
            reader.clear()
    assert inventory.complete


# Seals


def test_without_a_seal_nothing_is_pending(tree: Path, inventory: Inventory) -> None:
    change(taken(inventory, tree), tree, "file", "content")
    assert inventory.pending_change() is None and inventory.manifest_state == ""


def test_a_change_that_was_undone_is_none(tree: Path, inventory: Inventory) -> None:
    taken(inventory, tree).set_manifest_state(inventory.state)
    change(inventory, tree, "file", "content")
    change(inventory, tree, "file", None)
    assert inventory.pending_change() == Change((), ())


def test_another_state_than_ours_cannot_be_sealed(tree: Path, inventory: Inventory) -> None:
    with pytest.raises(StateError, match="was published"):
        inventory.set_manifest_state("f" * 64)


def test_too_many_changes_are_not_remembered(
    tree: Path, inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory_change, "_MOST_PENDING", 2)
    taken(inventory, tree).set_manifest_state(inventory.state)
    for number in range(3):
        assert inventory.pending_change() is not None
        change(inventory, tree, str(number), "content")
    assert inventory.pending_change() is None
    inventory.set_manifest_state(inventory.state)
    assert inventory.pending_change() == Change((), ())


def test_rows_and_directories_are_those_of_the_entries(tree: Path, inventory: Inventory) -> None:
    for path, what in {"a/x": "1", "a/b/y": "22", "a-b/z": "-> ../a/x", "empty": "directory"}.items():
        put(tree, path, what)
    inventory.reconcile(tree, progress=Silent())
    entries = list(inventory.entries())
    assert [entry_from(row) for row in inventory.rows()] == entries
    directories = [entry.path.encode() for entry in entries if entry.kind is Kind.DIRECTORY]
    assert sorted(inventory.directories()) == sorted(directories)
