"""Ordered filters: what is pinned, listed and deleted by them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from pushmirror.config.model import Archive
from pushmirror.fetch.upstream import Upstream
from pushmirror.lab.site import LabSite
from pushmirror.progress import Silent
from trees import snapshot

RELEASES = ["dists/a/Release", "dists/b/Release"]


@pytest.fixture
def upstream(tmp_path: Path) -> Path:
    tree = tmp_path / "upstream"
    others = [
        "dists/a/main/binary-amd64/Packages",
        "pool/keep/one.deb",
        "pool/drop/two.deb",
        "pool/drop/README",
    ]
    for path in (*RELEASES, *others):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(path)
    return tree


def files(tree: Path) -> list[str]:
    return sorted(str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("filters", "exclude", "pinned"),
    [
        ([], [], RELEASES),
        (["- /dists/b/"], [], RELEASES[:1]),
        (["+ /dists/**"], [], RELEASES),
        (["+ *"], [], RELEASES),
        (["+ /dists/a/***", "- /dists/*/"], [], RELEASES[:1]),
        (["+ /dists/a/***"], ["/dists/b"], RELEASES[:1]),
        (["+ Packages", "- Release"], [], []),
    ],
)
def test_the_release_files_that_are_pinned_are_those_that_are_mirrored(
    tmp_path: Path, upstream: Path, filters: Sequence[str], exclude: Sequence[str], pinned: Sequence[str]
) -> None:
    keys = {"name": "debian", "path": str(tmp_path / "tree"), "upstream": f"file://{upstream}"}
    one = Archive.model_validate({**keys, "filter": filters, "exclude": exclude})
    Upstream(one, Silent()).pin(tmp_path / "pin")
    assert files(tmp_path / "pin") == pinned


def test_what_is_filtered_out_and_here_is_deleted(tmp_path: Path, upstream: Path) -> None:
    for path in RELEASES:
        (upstream / path).unlink()  # a plain tree: there is no grace
    delete = {"max_share": 1.0}
    site = LabSite(tmp_path / "site", upstream=f"file://{upstream}", delete=delete)
    site.sync().check()
    assert "pool/drop/two.deb" in snapshot(site.tree)
    site.configure(filter=["+ /pool/drop/README", "- /pool/drop/*"], exclude=["README", "Packages"])
    site.sync().check()
    assert [path for path in files(site.tree) if not path.startswith("project/")] == [
        "pool/drop/README",
        "pool/keep/one.deb",
    ]
