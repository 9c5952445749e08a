"""Publishing and deleting in trees of a temporary directory."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import pytest

from pushmirror.archive.paths import Entry, Kind
from pushmirror.tree.publish import Publisher, PublishPlan
from pushmirror.tree.work_area import WorkArea
from pushmirror.tree.writer import TreeWriter


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tree").mkdir()
    return tmp_path / "tree"


@pytest.fixture
def area(tree: Path) -> WorkArea:
    area = WorkArea(tree)
    area.open()
    return area


def put(root: Path, path: str, text: str = "new") -> Entry:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)
    return Entry(path, Kind.FILE, len(text), 0)


def links(**targets: str) -> dict[str, Entry]:
    return {path: Entry(path, Kind.LINK, 0, 0, target) for path, target in targets.items()}


def landed(tree: Path, area: WorkArea, missing: Iterable[Entry]) -> set[str]:
    publisher = Publisher(tree, area)
    return publisher.land(publisher.came(missing))


def test_whole_new_files_land_and_are_noted(tree: Path, area: WorkArea) -> None:
    entry = put(area.new, "pool/a")
    assert landed(tree, area, [entry]) == {"pool/a"}
    assert (tree / "pool/a").read_text() == "new" and "pool/a" in area.landed()


def test_what_is_short_or_named_by_an_index_does_not_land(tree: Path, area: WorkArea) -> None:
    missing = {"pool/a": put(area.new, "pool/a")._replace(size=99)}
    missing["dists/sid/InRelease"] = put(area.new, "dists/sid/InRelease")
    missing["pool/none"] = Entry("pool/none", Kind.FILE, 0, 0)
    assert landed(tree, area, missing.values()) == set()
    assert not list(tree.glob("[!.]*"))


@pytest.mark.parametrize(("kind", "name"), [("SHA256", "sha256"), ("MD5Sum", "md5"), ("SHA512", "sha512")])
def test_a_by_hash_file_lands_only_under_its_own_hash(
    tree: Path, area: WorkArea, kind: str, name: str
) -> None:
    directory = f"dists/sid/main/binary-amd64/by-hash/{kind}"
    right, wrong = f"{directory}/{hashlib.new(name, b'new').hexdigest()}", f"{directory}/{'0' * 64}"
    assert landed(tree, area, [put(area.new, path) for path in (right, wrong)]) == {right}


def test_files_links_and_directories_are_published(tree: Path, area: WorkArea) -> None:
    put(tree, "a", "old")
    put(area.new, "a")
    published = Publisher(tree, area).publish(PublishPlan(["a"], links(b="a"), ["empty/er"]))
    assert published == 2
    assert (tree / "b").read_text() == "new" and (tree / "empty/er").is_dir()


def test_what_is_in_the_way_leaves(tree: Path, area: WorkArea) -> None:
    put(tree, "file/below", "old")
    put(tree, "directory", "old")
    put(tree, "link/below", "old")
    for path in ("file", "directory/below"):
        put(area.new, path)
    Publisher(tree, area).publish(PublishPlan(["file", "directory/below"], links(link="file"), []))
    assert (tree / "file").read_text() == (tree / "link").read_text() == "new"
    assert (tree / "directory/below").read_text() == "new"


def test_nothing_is_written_through_a_link(tree: Path, area: WorkArea, tmp_path: Path) -> None:
    put(tmp_path, "outside/a", "precious")
    (tree / "pool").symlink_to(tmp_path / "outside")
    put(area.new, "pool/a")
    Publisher(tree, area).publish(PublishPlan(["pool/a"], {}, []))
    assert (tmp_path / "outside/a").read_text() == "precious"
    assert (tree / "pool/a").read_text() == "new" and not (tree / "pool").is_symlink()


def test_nothing_is_deleted_through_a_link(tree: Path, area: WorkArea, tmp_path: Path) -> None:
    put(tmp_path, "outside/a", "precious")
    (tree / "pool").symlink_to(tmp_path / "outside")
    assert Publisher(tree, area).delete(["pool/a"], ["pool"]) == 0
    assert (tmp_path / "outside/a").exists()


def test_directories_go_when_they_are_empty_and_stay_when_not(tree: Path, area: WorkArea) -> None:
    for path in ("a/b/doomed", "c/doomed", "c/kept"):
        put(tree, path)
    assert Publisher(tree, area).delete(["a/b/doomed", "c/doomed", "gone"], ["a", "a/b", "c"]) == 2
    assert [path.name for path in tree.glob("[!.]*")] == ["c"]


def test_a_suite_is_swapped_as_a_whole(tree: Path, area: WorkArea) -> None:
    for name in ("InRelease", "Packages", "kept"):
        put(tree, f"dists/sid/{name}", "old")
    for name in ("InRelease", "Packages"):
        put(area.new, f"dists/sid/{name}")
    before = (tree / "dists/sid").stat().st_ino
    names = ["dists/sid/InRelease", "dists/sid/Packages"]
    Publisher(tree, area).publish(PublishPlan(names, {}, [], at_once=("dists/sid",)))
    assert [(tree / name).read_text() for name in (*names, "dists/sid/kept")] == ["new", "new", "old"]
    assert (tree / "dists/sid").stat().st_ino != before


def test_a_release_file_that_goes_does_so_in_the_swap(tree: Path, area: WorkArea) -> None:
    for name in ("dists/sid/InRelease", "dists/sid/Packages", "dists/other/InRelease"):
        put(tree, name, "old")
    put(area.new, "dists/sid/Packages")
    change = PublishPlan(
        ["dists/sid/Packages"],
        {},
        [],
        at_once=("dists/sid",),
        dropped=["dists/sid/InRelease", "dists/other/InRelease"],
    )
    Publisher(tree, area).publish(change)
    assert [path.name for path in (tree / "dists/sid").iterdir()] == ["Packages"]
    assert (tree / "dists/other/InRelease").exists()


def test_no_directory_is_deleted_through_a_link_either(tree: Path, area: WorkArea) -> None:
    (tree / "a" / "z").mkdir(parents=True)
    (tree / "y").symlink_to("a")
    Publisher(tree, area).delete([], ["y/z"])
    assert (tree / "a" / "z").is_dir()


def test_a_directory_comes_before_the_link_that_leads_to_it_and_has_its_place(
    tree: Path, area: WorkArea
) -> None:
    old, new = "dists/a/main/by-hash/SHA256/00", "dists/b/main/by-hash/SHA256/00"
    put(tree, old, "graced")
    (tree / "dists/b").symlink_to("a")
    put(area.new, "dists/b/InRelease")
    turned = {"dists/a": Entry("dists/a", Kind.LINK, target="b")}
    change = PublishPlan(
        ["dists/b/InRelease"], turned, ["dists/b"], become_directories=["dists/b"], carried={new: old}
    )
    Publisher(tree, area).publish(change)
    assert (tree / old).read_text() == (tree / new).read_text() == "graced"
    assert (tree / "dists/a/InRelease").read_text() == "new"


@pytest.mark.parametrize(
    ("targets", "order"),
    [
        ({"dists/a": "b", "dists/b": "c"}, ["dists/b", "dists/a"]),
        ({"pool/a": "b", "pool/b": "c"}, ["pool/b", "pool/a"]),
        ({"pool/a": "../doc/x/file", "doc/x": "../c"}, ["doc/x", "pool/a"]),
        ({"doc/a": "b", "doc/b": "c"}, ["doc/b", "doc/a"]),
        ({"pool/a": "b", "pool/b": "a"}, ["pool/a", "pool/b"]),  # in a circle
    ],
)
def test_a_link_comes_after_the_one_that_it_leads_through(
    tree: Path,
    area: WorkArea,
    monkeypatch: pytest.MonkeyPatch,
    targets: dict[str, str],
    order: list[str],
) -> None:
    made: list[str] = []
    put_link = TreeWriter.put_link

    def noting(self: TreeWriter, target: str, path: str) -> None:
        made.append(path)
        put_link(self, target, path)

    monkeypatch.setattr(TreeWriter, "put_link", noting)
    Publisher(tree, area).publish(
        PublishPlan([], {path: Entry(path, Kind.LINK, target=to) for path, to in targets.items()}, [])
    )
    assert made == order


def test_what_a_link_among_the_packages_leads_to_comes_before_it(
    tree: Path, area: WorkArea, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(area.new, "README")
    seen: list[bool] = []
    put_link = TreeWriter.put_link

    def noting(self: TreeWriter, target: str, path: str) -> None:
        put_link(self, target, path)
        seen.append((tree / path).exists())

    monkeypatch.setattr(TreeWriter, "put_link", noting)
    link = Entry("pool/a", Kind.LINK, target="../README")
    Publisher(tree, area).publish(PublishPlan(["README"], {"pool/a": link}, []))
    assert seen == [True]


def test_a_link_whose_file_stays_needed_is_a_file_under_its_other_name(tree: Path, area: WorkArea) -> None:
    put(tree, "dists/a/real", "needed")
    (tree / "dists/a/link").symlink_to("real")
    Publisher(tree, area).publish(PublishPlan([], {}, [], carried={"dists/b/link": "dists/a/link"}))
    assert (tree / "dists/b/link").read_text() == "needed" and not (tree / "dists/b/link").is_symlink()
