"""What most tests stand on: a signed archive that changes, a password-protected daemon, a site below it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pushmirror.config.model import Strategy
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.signing import LabKey, Signer
from pushmirror.lab.site import ARCHIVE, LabSite
from support.rsync_daemon import RsyncDaemon
from upstreams import OwnedArchive, archive_for

USER, PASSWORD = "site1.example.com", "correct horse battery staple"


@dataclass(frozen=True, slots=True)
class UnlockedKey(LabKey):
    """A key whose gpg agent runs already, as long as the block of its `signer`."""

    signer: Signer

    @contextmanager
    def unlocked(self) -> Iterator[Signer]:
        """Sign as often as wanted."""
        yield self.signer


@pytest.fixture(autouse=True)
def _no_width(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """xdist tells its workers how wide the terminal is, and tables would be folded to fit.

    What is patched is put right before `tmp_path` is deleted: fixtures end in reverse order.
    """
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def strategy() -> Strategy:
    """The one that sites are told to take; see upstreams.BY_EACH_STRATEGY."""
    return Strategy.AUTO


@pytest.fixture(scope="session")
def lab_key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabKey]:
    """What archives are signed by: gpg's agent is started once for all of them."""
    key = LabKey.create(tmp_path_factory.mktemp("lab-key") / "key")
    with key.unlocked() as signer:
        yield UnlockedKey(key.directory, key.public, signer)


@pytest.fixture
def archive(tmp_path: Path, strategy: Strategy, lab_key: LabKey) -> LabArchive:
    return archive_for(strategy, tmp_path / "archive", packages=8, key=lab_key)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[RsyncDaemon]:
    with RsyncDaemon(tmp_path / "rsyncd") as running:
        yield running


@pytest.fixture
def make_site(
    tmp_path: Path, archive: LabArchive, daemon: RsyncDaemon, strategy: Strategy
) -> Callable[..., LabSite]:
    """Makes sites below the archive; keyword arguments are keys of `[archives.debian]`."""
    daemon.add_module(ARCHIVE, archive.path, {USER: PASSWORD})
    if isinstance(archive, OwnedArchive):
        daemon.add_module(f"{ARCHIVE}.manifest", archive.manifest, {USER: PASSWORD})
    taken = {} if strategy is Strategy.AUTO else {"strategy": strategy.value}
    made = 0

    def make(**options: object) -> LabSite:
        nonlocal made
        made += 1
        options = {"upstream": daemon.url(ARCHIVE, USER), "keyring": str(archive.keyring), **taken, **options}
        return LabSite(tmp_path / f"site{made}", password=PASSWORD, **options)

    return make


@pytest.fixture
def site(make_site: Callable[..., LabSite]) -> LabSite:
    return make_site()
