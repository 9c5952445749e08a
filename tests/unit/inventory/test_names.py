"""What is no part of a tree: the inventory, the selection, the comparison with the disk and verify agree."""

from pathlib import Path

import pytest

from pushmirror.archive.filters import Selection
from pushmirror.archive.layout import is_local
from pushmirror.config.model import Archive
from pushmirror.fetch.selection import selection_rules
from pushmirror.inventory.tables import counts, counts_in
from pushmirror.tree.traces import Traces

SELECTION = Selection(tuple(selection_rules(Archive(name="debian", path=Path("/srv")))))
NONE = [
    *("lost+found", "pool/lost+found", ".~tmp~", "pool/.~tmp~"),
    *("Archive-Update-in-Progress-a", "Archive-Update-Required-a"),
]
SOME = ["pool/lost+found-", "lost+found-", "pool/a", "project/trace", "pool/.~tmp~x"]


@pytest.mark.parametrize(
    ("path", "part"), [*((path, False) for path in NONE), *((path, True) for path in SOME)]
)
def test_everybody_agrees_on_what_is_part_of_a_tree(path: str, part: bool) -> None:
    directory, _, name = path.rpartition("/")
    selected = {SELECTION.wants(path), SELECTION.wants(path, is_dir=True)}
    assert {counts(path), counts_in(directory, name), not is_local(path), *selected} == {part}


@pytest.mark.parametrize(
    "path", ["lost+found/file", ".~tmp~/file", "pool/.~tmp~/file", "project/trace/master"]
)
def test_what_is_below_what_does_not_count_does_not_either(path: str) -> None:
    above, _, _ = path.rpartition("/")
    assert not counts(path) and not (SELECTION.wants(path) and SELECTION.wants(above, is_dir=True))


def test_what_belongs_to_a_file_system_of_the_tree_is_not_compared_with_a_listing() -> None:
    left_out = Traces(Path("/srv"), "mirror").is_left_out
    assert left_out("lost+found") and left_out("pool/lost+found")
