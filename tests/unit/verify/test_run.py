from types import SimpleNamespace

from pushmirror.config.model import Archive, Config, State
from pushmirror.inventory.inventory import Inventory
from pushmirror.progress import Silent
from pushmirror.verify.run import VerifyRun


def test_what_a_killed_run_had_changed_is_not_wrong(tmp_path):
    tree, file = tmp_path / "tree", tmp_path / "inventories/a.sqlite"
    tree.mkdir()
    (tree / "README").write_text("old")
    with Inventory(file) as inventory:
        inventory.reconcile(tree, progress=Silent(), workers=1)
        inventory.begin_changes(["README", "added"])
        (tree / "README").write_text("changed")
        (tree / "added").write_text("new")
    archive = Archive(name="a", path=tree)  # of its owner
    config = Config(archives={"a": archive}, state=State(directory=tmp_path))
    store = SimpleNamespace(latest_generation=lambda _: None)
    found = VerifyRun(config, store, Silent()).verify("a")
    assert (found.findings, found.whole, found.inventory) == ((), True, True)
