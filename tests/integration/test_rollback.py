"""An upstream that goes back to an older, well signed state: a replay, or a restored backup."""

import shutil
from pathlib import Path

import pytest

from pushmirror.config.model import Strategy
from pushmirror.errors import Exit
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.dists import Layout
from pushmirror.lab.judge import broken
from pushmirror.lab.signing import LabKey
from pushmirror.lab.site import LabSite
from support.damage import expire
from trees import refused
from upstreams import BY_EACH_STRATEGY, OwnedArchive, archive_for

_SID = "dists/sid"


@pytest.fixture
def archive(tmp_path: Path, strategy: Strategy, lab_key: LabKey) -> LabArchive:
    return archive_for(
        strategy, tmp_path / "archive", packages=6, layout=Layout.SIMPLE, keep_by_hash=9, key=lab_key
    )


def in_release(tree: Path) -> bytes:
    return (tree / _SID / "InRelease").read_bytes()


@pytest.fixture
def old(site: LabSite, archive: LabArchive, tmp_path: Path) -> bytes:
    """Upstream's sid is an older one than the site serves; this is its InRelease."""
    former = tmp_path / "former"
    shutil.copytree(archive.path / _SID, former, symlinks=True)
    site.sync().check()
    archive.update(add=2, replace=0, remove=0)
    site.sync().check()
    shutil.rmtree(archive.path / _SID)
    shutil.copytree(former, archive.path / _SID, symlinks=True)
    if isinstance(archive, OwnedArchive):
        archive.take_stock()
    return in_release(archive.path)


@pytest.mark.parametrize("strategy", BY_EACH_STRATEGY)
def test_a_suite_does_not_go_back_unless_the_operator_says_so(site: LabSite, old: bytes) -> None:
    newer = in_release(site.tree)
    for _ in range(2):
        refused(site.sync(), Exit.HELD, "suite dists/sid is held back", "older than", "--allow-rollback")
        assert in_release(site.tree) == newer != old
    refused(site.sync("--allow-rollback"), Exit.OK, "suite dists/sid is published anyway", "older than")
    assert in_release(site.tree) == old
    assert broken(site.tree, thorough=True) == []
    site.sync().check()


@pytest.mark.parametrize("strategy", [Strategy.INDEX])
@pytest.mark.parametrize("options", [{"rollback": "warn"}, {"keyring": None}], ids=["warn", "no keyring"])
def test_a_suite_goes_back_with_a_warning_where_that_is_allowed_or_nothing_is_signed(
    site: LabSite, old: bytes, options: dict[str, object]
) -> None:
    site.configure(**options)
    refused(site.sync(), Exit.OK, "suite dists/sid is published anyway", "older than")
    assert in_release(site.tree) == old


@pytest.mark.parametrize("strategy", [Strategy.FULL])
def test_a_state_that_is_valid_no_more_is_published_with_a_warning(
    site: LabSite, archive: LabArchive
) -> None:
    site.sync().check()
    expire(archive)
    refused(site.sync(), Exit.OK, "suite dists/sid was valid until")
