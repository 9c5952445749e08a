"""apt is the judge of what our readers accept: the tables of their tests, shown to apt-get."""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pushmirror.lab.signing import LabKey, Signer
from pushmirror.system import process
from pushmirror.system.process import Result

from .test_index import LIKE_FIRST, H
from .test_release import LIKE_GOOD, NO_SUITES, STRONGEST

pytestmark = pytest.mark.skipif(shutil.which("apt-get") is None, reason="needs apt")
PACKAGES = "main/binary-amd64/Packages"


@dataclass(frozen=True, slots=True)
class Apt:
    """An archive of one suite in `root`/tree, and an apt that has no other source."""

    root: Path
    signer: Signer

    def publish(self, release: bytes, packages: bytes = b"") -> None:
        """Make this the suite's Release, signed, and Packages; apt forgets the ones of before."""
        suite, lists = self.root / "tree/dists/s", self.root / "var/lib/apt/lists"
        for directory in (suite, lists):
            shutil.rmtree(directory, ignore_errors=True)
        (lists / "partial").mkdir(parents=True)
        (suite / PACKAGES).parent.mkdir(parents=True)
        (suite / PACKAGES).write_bytes(packages)
        (suite / "InRelease").write_bytes(self.signer.clear(release))

    def get(self, *words: str) -> Result:
        """Run apt-get."""
        env = {**os.environ, "APT_CONFIG": str(self.root / "apt.conf"), "LC_ALL": "C"}
        return process.run(["apt-get", "-q", *words], env=env, timeout_s=60)


@pytest.fixture(scope="module")
def apt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apt]:
    root = tmp_path_factory.mktemp("apt")
    for name in ("etc/apt", "var/cache/apt/archives/partial", "var/lib/dpkg"):
        (root / name).mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    key = LabKey.create(root / "key")
    (root / "key.gpg").write_bytes(key.public)
    options = f"signed-by={root}/key.gpg arch=amd64"
    (root / "etc/apt/sources.list").write_text(f"deb [{options}] file:{root}/tree s main\n")
    (root / "apt.conf").write_text(
        f'Dir "{root}"; Dir::State::status "{root}/var/lib/dpkg/status"; APT::Architecture "amd64";\n'
        'APT::Sandbox::User ""; Acquire::Languages "none"; Debug::NoLocking "1";\n'
    )
    with key.unlocked() as signer:
        yield Apt(root, signer)


@pytest.mark.parametrize("release", LIKE_GOOD.values(), ids=LIKE_GOOD.keys())
def test_apt_takes_the_releases_that_we_take(apt: Apt, release: bytes) -> None:
    apt.publish(release)
    done = apt.get("update")
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("release", NO_SUITES.values(), ids=NO_SUITES.keys())
def test_apt_takes_no_release_without_hashes(apt: Apt, release: bytes) -> None:
    apt.publish(release)
    assert apt.get("update").exit_code != 0


@pytest.mark.parametrize(("text", "digest", "weak"), STRONGEST.values(), ids=STRONGEST.keys())
def test_apt_calls_weak_what_we_do(apt: Apt, text: str, digest: str, weak: str) -> None:
    apt.publish(text.encode())
    assert (apt.get("update").exit_code != 0) == bool(weak)


#: With these apt refuses the whole list, for what is wrong with a stanza that names no file.
ONLY_OURS = {"a comment", "blank lines before", "garbage", "a stanza with an empty one"}


@pytest.mark.parametrize("name", [name for name in LIKE_FIRST if name not in ONLY_OURS])
def test_apt_finds_the_file_that_we_find(apt: Apt, name: str) -> None:
    text = LIKE_FIRST[name].replace("Package: a", "Package: a\nVersion: 1\nArchitecture: amd64")
    packages = text.encode("utf-8", "surrogateescape")
    digest = hashlib.sha256(packages).hexdigest()
    apt.publish(f"SHA256:\n {digest} {len(packages)} {PACKAGES}\n".encode(), packages)
    assert apt.get("update").exit_code == 0
    told = apt.get("download", "--print-uris", "a").output.decode()
    match = re.search(r"^'file:([^']*)' \S+ (\d+) (\S+)", told, re.MULTILINE)
    assert match is not None, told
    assert os.path.normpath(match[1]) == f"{apt.root}/tree/pool/a.deb"
    assert (match[2], match[3].partition(":")[2][:1]) == ("3", H[0]) or "SHA512" in match[3]
