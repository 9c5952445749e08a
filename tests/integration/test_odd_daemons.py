"""Daemons that refuse options, greet, or cannot read all of their tree: what was asked for comes, no more."""

from collections.abc import Callable

import pytest

from pushmirror.lab.archive import LabArchive
from pushmirror.lab.daemon import RsyncDaemon
from pushmirror.lab.site import ARCHIVE, LabSite
from pushmirror.lab.watch import broken, same_tree
from upstreams import BY_EACH_STRATEGY, OwnedArchive, see_everything

USER, PASSWORD = "site1.example.com", "correct horse battery staple"
MakeSite = Callable[..., LabSite]

DEBIAN_EXAMPLE = "checksum dry-run"  # of the rsyncd.conf that Debian's rsync ships
ONLY_FTPSYNC = "* !v !l !H !t !p !r !S !B !safe-links !timeout dry-run"
ONLY_THE_LEAST = (
    "dry-run hard-links ignore-times files-from from0 relative ignore-missing-args safe-links perms timeout"
    " compress checksum delete bwlimit"
)


def refuse(daemon: RsyncDaemon, archive: LabArchive, options: str) -> None:
    """Have the daemon refuse these options, of the archive and of its manifest."""
    refused = {"refuse options": options}
    daemon.add_module(ARCHIVE, archive.path, {USER: PASSWORD}, refused)
    if isinstance(archive, OwnedArchive):
        daemon.add_module(f"{ARCHIVE}.manifest", archive.manifest, {USER: PASSWORD}, refused)


def refusals_in_log(site: LabSite) -> list[str]:
    """What runs said of refusals, without the time."""
    logs = sorted((site.state / "logs" / ARCHIVE).iterdir())
    lines = [line for log in logs for line in log.read_text().splitlines()]
    return [line.rpartition("upstream refuses ")[2] for line in lines if "upstream refuses " in line]


@pytest.mark.parametrize("strategy", BY_EACH_STRATEGY)
@pytest.mark.parametrize(
    "refused",
    [DEBIAN_EXAMPLE, "files-from ignore-times", ONLY_FTPSYNC, ONLY_THE_LEAST],
    ids=["debian's example", "lists of names", "all but ftpsync's", "all but the least"],
)
def test_a_daemon_that_refuses_options_is_mirrored_without_them(
    make_site: MakeSite, archive: LabArchive, daemon: RsyncDaemon, strategy: str, refused: str
) -> None:
    site = make_site(grace="0s")
    refuse(daemon, archive, refused)
    site.sync().check()
    learnt = refusals_in_log(site)
    archive.update()
    site.sync().check()
    assert refusals_in_log(site) == learnt  # the second run asks for nothing that is refused
    assert broken(site.tree, thorough=True) == []
    see_everything(site, strategy)
    assert same_tree(archive.path, site.tree) == []
