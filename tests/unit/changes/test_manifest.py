"""What the strategy `manifest` makes of our own disk; what it makes of upstream's is told in other places."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from pushmirror.archive.filters import Selection
from pushmirror.archive.generation import TreeDigest
from pushmirror.archive.manifest import Head
from pushmirror.archive.manifest_parts import Part
from pushmirror.archive.paths import Entry, Kind
from pushmirror.changes.context import DetectionContext
from pushmirror.changes.manifest import _wrong_modes, detect
from pushmirror.config.model import Archive
from pushmirror.inventory.diff import Diff
from pushmirror.inventory.drift import Drift
from pushmirror.inventory.inventory import Inventory
from pushmirror.progress import Silent
from pushmirror.tree.published_state import NOTHING

MARK = 7


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for path in ("tree/pool/a", "tree/pool/b", "tree/extra/c"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("content")
        (tmp_path / path).chmod(0o644)
    return tmp_path / "tree"


@pytest.fixture
def inventory(tree: Path, tmp_path: Path) -> Iterator[Inventory]:
    with Inventory(tmp_path / "inventory") as opened:
        opened.reconcile(tree, progress=Silent(), workers=1)
        opened.set_extras(["extra/c"], ["extra"])
        yield opened


def context(inventory: Inventory, tree: Path) -> DetectionContext:
    """A look at the whole disk is due; upstream is where our tree is."""
    state = inventory.followed
    head = Head(state, "1" * 64, 2, 14, state, Part("snapshot-1.gz", 1, "1" * 64, 3), ())
    workspace = SimpleNamespace(
        archive=Archive(name="debian", path=tree),
        tree=tree,
        selection=Selection(),
        upstream=SimpleNamespace(progress=Silent()),
        area=None,
    )
    asked = SimpleNamespace(
        workspace=workspace,
        inventory=inventory,
        selection_hash=MARK,
        is_due=True,
        is_dry=False,
        manifest=SimpleNamespace(head=lambda: head, changes=lambda *_: []),
        suites=SimpleNamespace(upstream=NOTHING),
    )
    return cast("DetectionContext", asked)


def state_without_extras(inventory: Inventory) -> str:
    digest = TreeDigest(inventory.state)
    for path in ("extra", "extra/c"):
        entry = inventory.get(path)
        assert entry is not None
        digest.remove(entry)
    return digest.hexdigest()


def test_modes_that_were_changed_by_hand_are_corrected_and_nothing_else_is_asked(
    inventory: Inventory, tree: Path
) -> None:
    inventory.arrive_at(state_without_extras(inventory), MARK)
    (tree / "pool").chmod(0o700)
    (tree / "pool/a").chmod(0o600)
    (tree / "extra/c").chmod(0o600)  # upstream has it not: it may be anybody's
    diff = detect(context(inventory, tree))
    assert sorted(diff.modes) == [("pool", 0o755), ("pool/a", 0o644)]
    assert diff.how == "upstream's manifest has nothing new" and diff.to_fetch == 0


@pytest.mark.parametrize("path", ["now-a-link", "now-a-link/below", "now-a-directory", "new-file", "extra"])
def test_the_mode_of_what_is_going_to_be_something_else_is_let_be(path: str) -> None:
    diff = Diff(
        links={"now-a-link": Entry("now-a-link", Kind.LINK, target="x")},
        directories=["now-a-directory"],
        changed={"new-file": Entry("new-file", Kind.FILE, 1, 1)},
        extras=["extra"],
    )
    assert _wrong_modes(Drift(modes=[(path, 0o644), ("stays", 0o644)]), diff) == [("stays", 0o644)]
