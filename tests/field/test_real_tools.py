"""Archives made and changed by the programs that people use, each state mirrored and read by apt."""

from __future__ import annotations

import gzip
import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from field.apt import Apt
from field.scene import NO_DELAY
from field.served import names, without_time
from forked import Cli, ForkedSite
from pushmirror.config.model import Strategy
from pushmirror.lab.signing import LabKey
from pushmirror.system import process
from support.rsync_daemon import RsyncDaemon

_ADDRESS = "case@example.org"
_OWNER = f"Case <{_ADDRESS}>"


class Maker(ABC):
    """A program, and the archive it makes in `tree`."""

    program: ClassVar[str]
    lines: ClassVar[tuple[str, ...]] = ("trixie main",)

    def __init__(self, directory: Path, key: LabKey, home: Path) -> None:
        self.directory, self.tree, self._home = directory, directory / "tree", home
        self.keyring = directory / "keyring.gpg"
        self.tree.mkdir(parents=True)
        self.keyring.write_bytes(key.public)

    @abstractmethod
    def change(self, n: int) -> None:
        """Publish state n: a new version of `alpha`, and `beta` from the first."""

    def run(self, *argv: object, cwd: Path | None = None, stdin: bytes = b"") -> bytes:
        lines: list[bytes] = []
        env = {"GNUPGHOME": str(self._home), "HOME": str(self.directory)}
        words = [str(word) for word in argv]
        process.run(words, env=env, cwd=cwd, stdin=stdin, on_line=lines.append, timeout_s=60).check()
        return b"".join(line + b"\n" for line in lines)

    def debs(self, n: int) -> Iterator[Path]:
        """The packages that are new in state n."""
        yield self._deb("alpha", f"1:{n}.0", "all")
        if n == 1:
            yield self._deb("beta", "1.0", "amd64")

    def _deb(self, name: str, version: str, architecture: str) -> Path:
        root = self.directory / f"{name}-{version}"
        (root / "DEBIAN").mkdir(parents=True)
        (root / "DEBIAN/control").write_text(
            f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: {_OWNER}\n"
            "Section: misc\nPriority: optional\nDescription: made by a tool\n"
        )
        made = self.directory / f"{name}_{version.rpartition(':')[2]}_{architecture}.deb"
        self.run("dpkg-deb", "-Znone", "--root-owner-group", "--build", root, made)
        return made

    def sign(self, directory: Path) -> None:
        for name, words in (("InRelease", ["--clear-sign"]), ("Release.gpg", ["--armor", "--detach-sign"])):
            made = directory / name
            self.run("gpg", "--batch", "--yes", "--quiet", "--output", made, *words, directory / "Release")


class AptFtparchive(Maker):
    """Release is written outside of the suite and then moved in."""

    program = "apt-ftparchive"

    def change(self, n: int) -> None:
        pool, suite = self.tree / "pool", self.tree / "dists/trixie"
        binary = suite / "main/binary-amd64"
        for directory in (pool, binary):
            directory.mkdir(parents=True, exist_ok=True)
        for deb in self.debs(n):
            shutil.move(deb, pool)
        packages = self.run("apt-ftparchive", "packages", "pool", cwd=self.tree)
        (binary / "Packages").write_bytes(packages)
        (binary / "Packages.gz").write_bytes(gzip.compress(packages))
        self.release(suite)
        self.sign(suite)

    def release(self, suite: Path) -> None:
        for name in ("Release", "InRelease", "Release.gpg"):
            (suite / name).unlink(missing_ok=True)
        (suite / "Release").write_bytes(self._text(suite))

    def _text(self, suite: Path) -> bytes:
        about = {"Codename": "trixie", "Components": "main", "Architectures": "amd64"}
        options = [f"-oAPT::FTPArchive::Release::{key}={value}" for key, value in about.items()]
        return self.run("apt-ftparchive", *options, "release", ".", cwd=suite)


class AptFtparchiveIntoItself(AptFtparchive):
    """`apt-ftparchive release . > Release`: from the second time on Release lists its older self."""

    def release(self, suite: Path) -> None:
        (suite / "Release").touch()
        (suite / "Release").write_bytes(self._text(suite))


class DpkgScanpackages(Maker):
    """A flat repository: everything in one directory."""

    program = "dpkg-scanpackages"
    lines = ("./",)

    def change(self, n: int) -> None:
        for deb in self.debs(n):
            shutil.move(deb, self.tree)
        packages = self.run("dpkg-scanpackages", "-m", ".", cwd=self.tree)
        (self.tree / "Packages").write_bytes(packages)
        (self.tree / "Packages.gz").write_bytes(gzip.compress(packages))
        release = self.run("apt-ftparchive", "release", ".", cwd=self.tree)
        (self.tree / "Release").write_bytes(release)
        self.sign(self.tree)


class Reprepro(Maker):
    """Two suites, one of them below another name, with contents and links."""

    program = "reprepro"
    lines = ("trixie main", "stable main", "bookworm/updates updates/main")

    def change(self, n: int) -> None:
        conf = self.directory / "conf"
        conf.mkdir(exist_ok=True)
        (conf / "distributions").write_text(
            "Origin: Case\nLabel: Case\nCodename: trixie\nSuite: stable\nArchitectures: amd64 arm64 source\n"
            f"Components: main contrib\nUDebComponents: main\nSignWith: {_ADDRESS}\n"
            "Contents: percomponent allcomponents . .gz\nDebIndices: Packages Release . .gz .xz\n\n"
            "Origin: Case\nCodename: bookworm/updates\nArchitectures: amd64\nComponents: updates/main\n"
            f"SignWith: {_ADDRESS}\n"
        )
        reprepro = ("reprepro", "-b", self.directory, "--outdir", self.tree)
        for deb in self.debs(n):
            for suite in ("trixie", "bookworm/updates"):
                self.run(*reprepro, "includedeb", suite, deb)
        self.run(*reprepro, "createsymlinks")
        self.run(*reprepro, "export")


class Aptly(Maker):
    """By-hash, and all files published anew each time."""

    program = "aptly"

    def change(self, n: int) -> None:
        config = self.directory / "aptly.conf"
        root = self.directory / "aptly"
        about = {"rootDir": str(root), "gpgProvider": "gpg", "architectures": ["amd64", "all"]}
        config.write_text(json.dumps(about))
        aptly = ("aptly", f"-config={config}")
        signing = (f"-gpg-key={_OWNER}", "-batch")
        if n == 1:
            self.run(*aptly, "repo", "create", "-distribution=trixie", "repository")
        self.run(*aptly, "repo", "add", "repository", *self.debs(n))
        if n == 1:
            self.run(*aptly, "publish", "repo", "-acquire-by-hash", *signing, "repository")
        else:
            self.run(*aptly, "publish", "update", *signing, "trixie")
        shutil.rmtree(self.tree)
        shutil.copytree(root / "public", self.tree, symlinks=True)


MAKERS = (AptFtparchive, AptFtparchiveIntoItself, DpkgScanpackages, Reprepro, Aptly)


@pytest.fixture
def make(tmp_path: Path, field_directory: Path) -> Iterator[Callable[[type[Maker]], Maker]]:
    key = LabKey.create(tmp_path / "key", owner=_OWNER)
    with key.unlocked() as signer:
        yield lambda maker: maker(field_directory / maker.__name__, key, signer.home)


@pytest.fixture
def mirrors(
    field_directory: Path, field_daemon: RsyncDaemon, cli: Cli
) -> Callable[[Maker], list[ForkedSite]]:
    """Those of an archive, by each strategy."""

    def of(made: Maker) -> list[ForkedSite]:
        name = type(made).__name__
        field_daemon.add_module(name, made.tree)
        about = {
            "upstream": field_daemon.url(name),
            "keyring": str(made.keyring),
            "rsync_options": [NO_DELAY],
        }
        strategies = (Strategy.FULL.value, Strategy.INDEX.value)
        return [ForkedSite(made.directory / x, cli, strategy=x, **about) for x in strategies]

    return of


@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.__name__)
def test_what_a_tool_makes_and_changes_is_mirrored(
    maker: type[Maker],
    make: Callable[[type[Maker]], Maker],
    mirrors: Callable[[Maker], list[ForkedSite]],
    apt: Apt,
) -> None:
    if not shutil.which(maker.program):
        pytest.skip(f"needs {maker.program}")
    made = make(maker)
    sites = mirrors(made)
    for n in (1, 2, 3):
        made.change(n)
        for site in sites:
            assert site.sync().check().exit_code == 0
            assert _different(made.tree, site.tree) == []
            for line in made.lines:
                source = site.tree, line
                verdict = apt.reads(source, packages=["alpha", "beta"], keyring=made.keyring)
                assert not verdict.problem, f"state {n}, {line}: {verdict.problem}"
                assert f"alpha_1%3a{n}.0_all.deb" in verdict.packages


def _different(upstream: Path, site: Path) -> list[str]:
    """Links out of the tree are not looked at: aptly's are absolute, and lead nowhere for others.

    Nor are times: a file that is published anew with the same content is the same one to `index`.
    """

    def listed(tree: Path) -> dict[str, tuple[object, ...]]:
        return {name: without_time(what) for name, what in names(tree).items()}

    ours, theirs = listed(site), listed(upstream)
    inside = {name for name, what in theirs.items() if not str(what[1:2]).startswith("('/")}
    return [
        f"{name}: {ours.get(name)}, expected {theirs[name]}"
        for name in inside
        if ours.get(name) != theirs[name]
    ]
