from pushmirror.archive.paths import Entry, Kind
from pushmirror.config.model import Archive, Mirror
from pushmirror.progress import Silent
from pushmirror.tree.publish import Publisher
from pushmirror.tree.work_area import WorkArea
from pushmirror.verify.repair import Repair
from pushmirror.workspace import StatePaths, Workspace


def _repaired(tmp_path):
    """The work area of a tree, after a repair of nothing."""
    tree = tmp_path / "tree"
    archive = Archive(name="a", path=tree, upstream="rsync://hub.example.org/debian")
    state = tmp_path / "state"
    paths = StatePaths(
        *(state / name for name in ("ledger", "inventory", "upstream")), None, state / "suites"
    )
    Repair(Workspace.of(archive, Mirror(), paths, Silent())).run([], "")
    return WorkArea(tree)


def test_what_landed_before_an_index_vouches_for_it_is_still_known_after_a_repair(tmp_path):
    (tmp_path / "tree").mkdir()
    area = WorkArea(tmp_path / "tree")
    area.open()
    (area.new / "pool").mkdir()
    (area.new / "pool/a").write_text("new")
    publisher = Publisher(tmp_path / "tree", area)
    publisher.land(publisher.came([Entry("pool/a", Kind.FILE, 3, 0)]))
    area.close(keep_new=True)
    assert "pool/a" in _repaired(tmp_path).landed()


def test_a_repair_leaves_no_work_area_where_nothing_waits(tmp_path):
    (tmp_path / "tree").mkdir()
    assert not _repaired(tmp_path).root.exists()
