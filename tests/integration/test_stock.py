"""An archive without upstream: its owner's tree is looked at, and never touched."""

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from pushmirror.archive.manifest import parse_head
from pushmirror.config.model import Archive, Mirror
from pushmirror.errors import Behind, Exit, PushmirrorError, UnreadableTree
from pushmirror.inventory.drift import Drift
from pushmirror.inventory.inventory import Inventory
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.site import LabSite
from pushmirror.progress import Progress, Silent
from pushmirror.state.records import Stage
from pushmirror.sync import owner as stock
from pushmirror.sync.request import RunRequest
from pushmirror.tree.published_state import PublishedState, read_published
from pushmirror.workspace import StatePaths
from support.rsync_daemon import RsyncDaemon


class Owner(LabSite):
    """The owner of a tree."""

    def __init__(self, directory: Path, tree: Path) -> None:
        super().__init__(directory, upstream="")
        self.tree = tree
        self.configure(path=str(tree), upstream=None)

    def generation(self) -> str:
        """What it serves, as it knows since the last sync."""
        published = self.json("status")[0]["generation"]
        assert isinstance(published, str)
        return published


@pytest.fixture
def owner(tmp_path: Path, archive: LabArchive) -> Owner:
    return Owner(tmp_path / "owner", archive.path)


@pytest.fixture
def plain(tmp_path: Path) -> Owner:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "file").write_text("content")
    return Owner(tmp_path / "owner", tmp_path / "plain")


def stock_of(tree: Path, state: Path) -> stock.OwnerScan:
    paths = StatePaths(
        state / "ledger", state / "inventory", state / "theirs", state / "manifests", state / "suites"
    )
    return stock.OwnerScan(Archive(name="debian", path=tree), Mirror(), paths=paths, progress=Silent())


def names(tree: Path) -> set[str]:
    return {str(path.relative_to(tree)) for path in tree.rglob("*")}


def test_taking_stock_learns_the_generation_and_touches_nothing(owner, archive):
    before = names(archive.path)
    result = owner.sync("--json").check()
    assert json.loads(result.output)["message"] == "scanned the tree"
    assert read_published(archive.path).generation.startswith(owner.generation())
    assert names(archive.path) == before


def test_a_change_is_another_generation_and_no_change_is_none(owner, archive):
    owner.sync().check()
    first = owner.generation()
    owner.sync().check()
    assert owner.generation() == first
    archive.update()
    owner.sync().check()
    assert owner.generation() != first


def test_a_plain_tree_has_the_generation_that_its_mirrors_compute(plain, tmp_path):
    plain.sync().check()
    with RsyncDaemon(tmp_path / "rsyncd") as daemon:
        daemon.add_module("debian", plain.tree)
        site = LabSite(tmp_path / "site", upstream=daemon.url("debian"))
        site.sync().check()
        assert site.json("status")[0]["generation"] == plain.generation()


def test_what_changed_since_the_last_time_is_told(plain):
    plain.sync().check()
    (plain.tree / "file").write_text("longer content")
    (plain.tree / "directory").mkdir()
    (plain.tree / "directory" / "more").touch()
    message = json.loads(plain.sync("--json").check().output)["message"]
    assert message == "scanned the tree: 2 files, 2 new, 1 changed"


def test_sites_find_the_stock_in_the_manifest_before_they_are_told(tmp_path, archive):
    heads = []

    def told(generation: str) -> None:
        heads.append(parse_head((tmp_path / "manifests" / "head").read_bytes(), where="head"))

    generation = (
        stock_of(archive.path, tmp_path).run(RunRequest("debian", Stage.ALL, "manual"), told).generation
    )
    with Inventory(tmp_path / "inventory") as inventory:
        assert [(head.generation, head.state) for head in heads] == [(generation, inventory.state)]


def test_an_archive_in_the_middle_of_its_update_is_not_taken_for_a_state_of_it(owner, archive):
    owner.sync().check()
    before = owner.generation()
    flag = archive.path / "Archive-Update-in-Progress-dak.example.org"
    flag.touch()
    archive.update()
    result = owner.sync()
    assert (result.exit_code, owner.generation()) == (75, before)
    flag.unlink()
    owner.sync().check()
    assert owner.generation() != before


def test_release_files_that_stay_of_two_states_are_published_as_they_are_and_named(owner, archive):
    release = archive.path / "dists" / "trixie" / "Release"
    old = release.read_bytes()
    owner.sync().check()
    archive.update()
    release.write_bytes(old)
    result = owner.sync().check()
    assert "publishing inconsistent Release files" in result.errors and "of different states" in result.errors


def test_release_files_that_change_while_stock_is_taken_are_no_state(
    archive: LabArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def update_meanwhile(inventory: Inventory, tree: Path, *, progress: Progress) -> Drift:
        archive.update()
        return Drift()

    monkeypatch.setattr(stock.Inventory, "reconcile", update_meanwhile)
    work = stock_of(archive.path, tmp_path)
    with pytest.raises(Behind, match="changed during the scan"):
        work.run(RunRequest("debian", Stage.ALL, "manual"), print)
    assert not (tmp_path / "manifests").exists()


def unreadable(inventory: Inventory, tree: Path, *, progress: Progress) -> Drift:
    raise UnreadableTree("the directory pool/private cannot be read")


def test_a_directory_that_cannot_be_read_costs_the_manifest_and_not_the_generation(
    archive: LabArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stock_of(archive.path, tmp_path).run(RunRequest("debian", Stage.ALL, "manual"), print)
    assert (tmp_path / "manifests/head").exists()
    monkeypatch.setattr(stock.Inventory, "reconcile", unreadable)
    told: list[str] = []
    report = stock_of(archive.path, tmp_path).run(RunRequest("debian", Stage.ALL, "manual"), told.append)
    assert told == [report.generation] == [read_published(archive.path).generation]
    assert not (tmp_path / "manifests/head").exists() and "pool/private" in caplog.text


def test_a_plain_tree_that_cannot_be_read_has_no_generation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tree").mkdir()
    monkeypatch.setattr(stock.Inventory, "reconcile", unreadable)
    with pytest.raises(UnreadableTree):
        stock_of(tmp_path / "tree", tmp_path).run(RunRequest("debian", Stage.ALL, "manual"), print)


def test_modes_are_the_owners_business(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").touch(0o600)
    work = stock_of(tmp_path / "tree", tmp_path)
    assert work.run(RunRequest("debian", Stage.ALL, "manual"), print).stock == "1 file"
    assert (tmp_path / "tree/file").stat().st_mode & 0o777 == 0o600


def test_a_tree_that_is_not_there_is_not_made(plain):
    (plain.tree / "file").unlink()
    plain.tree.rmdir()
    result = plain.sync()
    assert result.exit_code == 78 and "does not exist" in result.errors
    assert not plain.tree.exists()


def test_a_tree_that_has_become_empty_is_a_disk_that_is_not_mounted(plain):
    plain.sync().check()
    (plain.tree / "file").unlink()
    result = plain.sync()
    assert result.exit_code == 78 and "is empty" in result.errors


# Hooks


@pytest.fixture
def hooked(plain: Owner, tmp_path: Path) -> Path:
    """What its hooks say of themselves."""
    said = tmp_path / "said"
    line = f"echo $PUSHMIRROR_HOOK $PUSHMIRROR_STAGE $PUSHMIRROR_TRIGGER $PUSHMIRROR_GENERATION >>{said}"
    names = ("before_sync", "after_stage1", "after_publish")
    plain.configure(hooks={key: ["sh", "-c", line] for key in names})
    return said


def test_the_hooks_around_taking_stock_are_run(plain: Owner, hooked: Path) -> None:
    plain.sync().check()
    before, after = hooked.read_text().splitlines()
    assert before == "before_sync all manual"
    assert after.startswith(f"after_publish {plain.generation()}")


def test_what_the_hook_before_changes_is_part_of_the_stock(plain: Owner) -> None:
    plain.sync().check()
    before = plain.generation()
    plain.configure(hooks={"before_sync": ["sh", "-c", "echo more >more"]})
    plain.sync().check()
    assert plain.generation() != before


@pytest.mark.parametrize(
    ("name", "exit_code", "is_known"), [("before_sync", 3, False), ("after_publish", 4, True)]
)
def test_a_hook_that_fails_fails_the_taking_of_stock(
    plain: Owner, name: str, exit_code: int, is_known: bool
) -> None:
    plain.configure(hooks={name: ["sh", "-c", "echo the dog ate it; exit 1"]})
    result = plain.sync()
    assert result.exit_code == exit_code and f"hook {name}" in result.errors
    assert bool(plain.json("status")[0]["generation"]) is is_known


def test_a_tree_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(tree: Path, further: Iterable[str] = ()) -> PublishedState:
        raise PermissionError(13, "Permission denied", str(tree / "dists"))

    monkeypatch.setattr(stock, "read_published", refuse)
    with pytest.raises(PushmirrorError, match=f"Permission denied .{tmp_path}/dists") as raised:
        stock_of(tmp_path, tmp_path).run(RunRequest("debian", Stage.ALL, "manual"), print)
    assert raised.value.exit_code == Exit.STAGE1
