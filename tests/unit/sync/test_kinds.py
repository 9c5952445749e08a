"""What becomes of names that change their kind, in trees of a temporary directory."""

from pathlib import Path

import pytest

from pushmirror.archive.entry import Entry, Kind
from pushmirror.sync.kinds import KindChanges, settle_kinds
from pushmirror.sync.survey import Survey
from pushmirror.sync.work import WorkArea

SUMS = "dists/sid/main/installer-amd64/1/images/SHA256SUMS"
COPY = "dists/sid/main/installer-amd64/1/images/by-hash/SHA256/00"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tree").mkdir()
    return tmp_path / "tree"


def put(tree: Path, path: str, text: str) -> None:
    (tree / path).parent.mkdir(parents=True, exist_ok=True)
    (tree / path).write_text(text)


def settled(tree: Path, survey: Survey) -> KindChanges:
    """Where everything is needed."""
    return settle_kinds(survey, tree, WorkArea(tree), needed=set)


@pytest.mark.parametrize(("there", "becomes_link"), [("sums", True), ("others", False)])
def test_a_file_that_is_needed_becomes_a_link_to_the_same_content_only(
    tree: Path, there: str, becomes_link: bool
) -> None:
    put(tree, SUMS, "sums")
    put(tree, COPY, there)
    survey = Survey(links={SUMS: Entry(SUMS, Kind.LINK, target="by-hash/SHA256/00")})
    settled(tree, survey)
    assert (SUMS in survey.links) == becomes_link
    assert (tree / SUMS).is_file()


def test_what_is_needed_of_a_directory_that_becomes_a_link_is_carried_to_where_it_leads(tree: Path) -> None:
    old, new = f"dists/a/{COPY[10:]}", f"dists/b/{COPY[10:]}"
    put(tree, old, "graced")
    survey = Survey(links={"dists/a": Entry("dists/a", Kind.LINK, target="b")}, obstructing=[old])
    assert settled(tree, survey) == KindChanges(carried={new: old})


def test_a_directory_stays_where_a_link_would_lead_what_is_needed_to_another_content(tree: Path) -> None:
    put(tree, "pool/a/x.deb", "right")
    put(tree, "pool/b/x.deb", "something else")
    survey = Survey(links={"pool/a": Entry("pool/a", Kind.LINK, target="b")}, obstructing=["pool/a/x.deb"])
    assert settled(tree, survey) == KindChanges(staying={"pool/a"})
    assert not survey.links and survey.deviates


def test_a_directory_with_what_is_needed_does_not_become_a_file(tree: Path) -> None:
    put(tree, "pool/a/x.deb", "right")
    survey = Survey(changed={"pool/a": Entry("pool/a", Kind.FILE, 1, 0)}, obstructing=["pool/a/x.deb"])
    changes = settled(tree, survey)
    assert changes.leave("pool/a") and not survey.changed
