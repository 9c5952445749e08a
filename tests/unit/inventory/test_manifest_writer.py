from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pushmirror.archive.manifest import Head, Step, chain, parse_head
from pushmirror.archive.manifest_parts import Part, order_of, read_change, read_snapshot
from pushmirror.archive.paths import Entry
from pushmirror.errors import StateError
from pushmirror.inventory import manifest_writer
from pushmirror.inventory.inventory import Inventory
from pushmirror.inventory.manifest_writer import ManifestWriter, is_far, shortened
from pushmirror.progress import Silent
from pushmirror.system import files

G1, G2 = "1" * 64, "2" * 64


class Hub:
    """A tree, what is remembered of it, and what a site makes of its manifest."""

    def __init__(self, root: Path) -> None:
        self.tree = root / "tree"
        self.tree.mkdir()
        self.served = root / "state" / "manifests" / "debian"
        self.inventory = Inventory(root / "debian.sqlite")
        self.put("pool/a", "b")
        self.inventory.reconcile(self.tree, progress=Silent(), workers=1)

    def put(self, *names: str) -> None:
        """Have these files in the tree, each longer than any before."""
        self.inventory.begin_changes(names)
        for name in names:
            file = self.tree / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text((file.read_text() if file.exists() else "") + name)
            os.utime(file, (10, 10))
        self.inventory.refresh(self.tree)

    def remove(self, name: str) -> None:
        self.inventory.begin_changes([name])
        path = self.tree / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.inventory.refresh(self.tree)

    def seal(self, generation: str = G1) -> str:
        return ManifestWriter(self.served, self.inventory).publish(generation)

    @property
    def head(self) -> Head:
        return parse_head((self.served / "head").read_bytes(), where="head")

    def told(self) -> dict[str, list[Entry]]:
        """The listing at every state that the manifest tells of; all its parts can be read."""
        head = self.head
        entries = set(read_snapshot([self._bytes(head.snapshot)], head.snapshot, where="snapshot"))
        listings = {head.snapshot_state: entries}
        after = chain(head, head.snapshot_state) or ()
        for step in after:
            change = read_change(self._bytes(step.part), step.part, where="step")
            assert {*change.removed} <= entries
            entries = entries - {*change.removed} | {*change.added}
            listings[step.after] = entries
        before = listings[head.snapshot_state]
        for step in reversed(head.steps[: len(head.steps) - len(after)]):
            change = read_change(self._bytes(step.part), step.part, where="step")
            before = before - {*change.added} | {*change.removed}
            listings[step.before] = before
        return {state: sorted(one, key=lambda e: order_of(e.path)) for state, one in listings.items()}

    def _bytes(self, part: Part) -> bytes:
        return (self.served / part.name).read_bytes()

    def assert_told(self) -> None:
        """What sites read is the tree as it is."""
        assert self.told()[self.head.state] == list(self.inventory.entries())
        assert self.head.state == self.inventory.state == self.inventory.manifest_state
        assert (self.head.files, self.head.size) == (self.inventory.files, self.inventory.size)

    @property
    def names(self) -> set[str]:
        return {file.name for file in self.served.iterdir()}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    made = Hub(tmp_path)
    yield made
    made.inventory.close()


def test_the_first_seal_tells_the_whole_tree(hub: Hub) -> None:
    assert hub.seal() == hub.inventory.state
    hub.assert_told()
    assert (hub.head.generation, hub.head.steps, hub.head.files) == (G1, (), 2)


def test_each_seal_tells_the_change_and_all_states_before_lead_to_the_last(hub: Hub) -> None:
    states = [hub.seal()]
    listings = [list(hub.inventory.entries())]
    snapshot = hub.head.snapshot
    for number in range(3):
        hub.put("pool/a", f"pool/{number}/x")
        states.append(hub.seal(G2))
        listings.append(list(hub.inventory.entries()))
    hub.remove("pool/1")
    states.append(hub.seal(G2))
    hub.assert_told()
    assert [len(chain(hub.head, state) or ()) for state in states] == [4, 3, 2, 1, 0]
    assert [hub.told()[state] for state in states[:-1]] == listings
    assert hub.head.snapshot == snapshot and hub.head.generation == G2


def test_a_seal_without_a_change_writes_nothing(hub: Hub) -> None:
    hub.seal()
    before = {name: (hub.served / name).stat().st_ino for name in hub.names}
    hub.seal()
    assert {name: (hub.served / name).stat().st_ino for name in hub.names} == before


def test_another_generation_of_the_same_tree_is_told(hub: Hub) -> None:
    hub.seal()
    hub.seal(G2)
    hub.assert_told()
    assert hub.head.generation == G2 and hub.head.steps == ()


def test_a_state_that_comes_back_is_a_step_too(hub: Hub) -> None:
    first = hub.seal()
    for _ in range(2):
        hub.put("c")
        hub.seal()
        hub.remove("c")
        assert hub.seal() == first
    hub.assert_told()
    assert len(hub.head.steps) == 4 and chain(hub.head, first) == ()


def test_everybody_may_read_it_whatever_the_umask(hub: Hub) -> None:
    before = os.umask(0o077)
    try:
        hub.seal()
        hub.put("c")
        hub.seal()
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in hub.served.iterdir()}
    assert modes == {0o644} and len(hub.names) == 3
    assert hub.served.stat().st_mode & 0o777 == hub.served.parent.stat().st_mode & 0o777 == 0o755


def test_a_link_in_place_of_its_directory_is_refused(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir(mode=0o700)
    hub.served.parent.parent.mkdir()
    hub.served.parent.symlink_to(tmp_path / "precious")
    with pytest.raises(StateError, match="is a link or a file"):
        hub.seal()
    assert (tmp_path / "precious").stat().st_mode & 0o777 == 0o700


def test_a_directory_beside_its_files_is_let_be(hub: Hub) -> None:
    (hub.served / "lost+found").mkdir(parents=True)
    hub.seal()
    hub.put("c")
    hub.seal()
    assert "lost+found" in hub.names and hub.head.files == 3


@pytest.mark.parametrize("which", ["head", "snapshot-*", "change-*"])
@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(b"x")])
def test_a_file_that_was_lost_or_spoilt_has_the_manifest_made_anew(hub: Hub, which: str, damage) -> None:
    hub.seal()
    hub.put("c")
    hub.seal()
    (file,) = hub.served.glob(which)
    damage(file)
    hub.put("d")
    hub.seal()
    hub.assert_told()
    assert hub.head.steps == ()


def test_an_inventory_that_was_begun_anew_begins_the_manifest_anew(hub: Hub) -> None:
    hub.seal()
    hub.inventory.clear()
    hub.put("c")
    hub.inventory.reconcile(hub.tree, progress=Silent(), workers=1)
    hub.seal()
    hub.assert_told()
    assert hub.head.steps == ()


def test_a_change_that_is_too_large_has_a_new_snapshot_instead(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.seal()
    monkeypatch.setattr(manifest_writer, "MAX_CHANGE_ENTRIES", 1)
    hub.put("c", "d")
    hub.seal()
    hub.assert_told()
    assert hub.head.steps == ()


def test_many_steps_have_a_new_snapshot_and_the_oldest_leave(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest_writer, "_FAR", 3)
    states, snapshots = [hub.seal()], set()
    for number in range(12):
        hub.put(f"pool/{number}")
        states.append(hub.seal())
        snapshots.add(hub.head.snapshot)
        hub.assert_told()
    assert len(snapshots) == 4 and len(hub.head.steps) == 6
    assert [chain(hub.head, state) is None for state in states] == [True] * 6 + [False] * 7


def test_what_no_head_names_any_more_stays_a_while(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_writer, "_FAR", 1)
    hub.seal()
    first = hub.head.snapshot.name
    for number in range(4):
        hub.put(f"pool/{number}")
        hub.seal()
    assert first in hub.names - {hub.head.snapshot.name}
    long_ago = time.time() - 7 * 3600
    for name in hub.names:
        os.utime(hub.served / name, (long_ago, long_ago))
    newest = hub.head.snapshot.name
    hub.put("c")
    hub.seal()
    hub.put("d")
    hub.seal()
    assert newest in hub.names and first not in hub.names
    hub.assert_told()


def test_not_too_many_of_them_stay(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_writer, "_FAR", 1)
    monkeypatch.setattr(manifest_writer, "_STAY", 2)
    for number in range(8):
        hub.put(f"pool/{number}")
        hub.seal()
    assert len(hub.names) == 2 + len({hub.head.snapshot, *(step.part for step in hub.head.steps)}) + 1


def test_withdrawn_there_is_no_head_until_the_next_seal(hub: Hub) -> None:
    hub.seal()
    ManifestWriter(hub.served, hub.inventory).withdraw()
    assert "head" not in hub.names and len(hub.names) == 1
    hub.seal()
    hub.assert_told()


def test_there_may_be_nothing_to_withdraw(hub: Hub) -> None:
    ManifestWriter(hub.served, hub.inventory).withdraw()
    assert not hub.served.exists()


def test_an_inventory_that_contradicts_its_digest_tells_nobody_anything(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.seal()
    hub.put("c")
    wrong = list(hub.inventory.entries())[1:]
    monkeypatch.setattr(Inventory, "pending_change", lambda _: None)
    monkeypatch.setattr(Inventory, "entries", lambda _: iter(wrong))
    hub.seal()
    assert not {"head", "head.next", "snapshot.new"} & hub.names and not hub.inventory.complete


def test_a_directory_that_cannot_be_written_is_named(hub: Hub) -> None:
    hub.served.parent.parent.write_text("in the way")
    with pytest.raises(StateError, match=r"manifest for sites cannot be written to .*/manifests/debian"):
        hub.seal()


class Killed(BaseException):
    """As a SIGKILL: nothing of ours handles it."""


class Fuse:
    """Kills at the n-th of the calls that leave something behind, before or after it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left: int | None = None
        for module, name in (
            (manifest_writer, "write_atomically"),
            (manifest_writer, "sync_directory"),
            (files.os, "open"),
            (os, "utime"),
            (os, "fsync"),
            (Path, "open"),
            (Path, "replace"),
            (Path, "unlink"),
            (Inventory, "set_manifest_state"),
        ):
            monkeypatch.setattr(module, name, self._guarded(getattr(module, name)))

    def _guarded(self, call):
        def guarded(*args, **keys):
            self._burn()
            result = call(*args, **keys)
            if call.__name__ != "open":  # else what it opened would stay open
                self._burn()
            return result

        return guarded

    def _burn(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Killed

    def burnt(self, moment: int, seal) -> bool:
        """Whether the seal was killed at this moment."""
        self.left = moment
        try:
            seal()
        except Killed:
            return True
        finally:
            self.left = None
        return False


@pytest.mark.parametrize("far", [False, True], ids=["a change", "a snapshot"])
def test_killed_anywhere_sites_read_what_is_whole_and_the_next_seal_rights_it(
    hub: Hub, far: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fuse = Fuse(monkeypatch)
    first = hub.seal()
    moment = 0
    while True:
        assert moment < 200
        monkeypatch.setattr(manifest_writer, "_FAR", 1 if far else 1000)
        hub.put("c")
        listing = list(hub.inventory.entries())
        state, before = hub.inventory.state, hub.head.state
        killed = fuse.burnt(moment, hub.seal)
        told = hub.told()
        assert hub.head.state in {before, state} and told.get(state, listing) == listing
        hub.put("d")
        hub.seal()
        hub.assert_told()
        assert not {name for name in hub.names if name.endswith((".new", ".next"))}
        if not killed:
            break
        moment += 1
    assert moment > 10
    assert far or chain(hub.head, first) is not None


P = Part("snapshot-1.gz", 1000, G1, 1)
MIB = 2**20


def head_of(*sizes: int, snapshot: int = 1000, at: int = 0) -> Head:
    """A head with steps of these bytes, whose snapshot is at the state before step `at`."""
    states = [f"{number:064x}" for number in range(len(sizes) + 1)]
    steps = tuple(
        Step(states[number], states[number + 1], Part(f"change-{number}.gz", size, G1, 1))
        for number, size in enumerate(sizes)
    )
    return Head(states[-1], G1, 1, 1, states[at], replace(P, size=snapshot), steps)


@pytest.mark.parametrize(
    ("head", "far"),
    [
        (head_of(), False),
        (head_of(MIB), False),
        (head_of(MIB, 1), True),
        (head_of(MIB, 1, at=1), False),
        (head_of(2 * MIB, snapshot=8 * MIB), False),
        (head_of(2 * MIB, 1, snapshot=8 * MIB), True),
        (head_of(*[1] * 100), False),
        (head_of(*[1] * 101), True),
        (head_of(*[1] * 150, at=50), False),
    ],
)
def test_when_the_steps_cost_a_share_of_the_snapshot_there_is_another(head: Head, far: bool) -> None:
    assert is_far(head) is far


@pytest.mark.parametrize(
    ("head", "left"),
    [
        (head_of(), 0),
        (head_of(MIB, MIB, at=2), 2),
        (head_of(1, MIB, MIB, at=3), 2),
        (head_of(3 * MIB, at=1), 0),
        (head_of(3 * MIB, MIB, snapshot=8 * MIB, at=2), 2),
        (head_of(3 * MIB, 2 * MIB, snapshot=8 * MIB, at=2), 1),
        (head_of(3 * MIB, MIB, at=0), 2),
        (head_of(*[1] * 201, at=201), 200),
        (head_of(*[1] * 300, at=50), 250),
    ],
)
def test_the_oldest_steps_leave_but_never_those_since_the_snapshot(head: Head, left: int) -> None:
    assert shortened(head).steps == head.steps[len(head.steps) - left :]
