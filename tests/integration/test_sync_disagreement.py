"""Suites that share a file and disagree about it: only those are held back that say what it is not."""

import hashlib
import os
import shutil
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from pushmirror.archive.index import File
from pushmirror.config.model import Strategy
from pushmirror.errors import Exit
from pushmirror.lab.site import LabSite
from pushmirror.sync import owner
from pushmirror.system.process import Result
from support.rsync_daemon import RsyncDaemon
from trees import refused
from upstreams import paths_in, take_stock

_seconds = count(1_600_000_000)
_X = "pool/x.deb"


class Upstream:
    """Unsigned suites with a Packages each."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree

    def put(self, path: str, data: bytes) -> File:
        """Write a file with a time that no other has; what an index says of it."""
        file = self.tree / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        os.utime(file, (next(_seconds),) * 2)
        return File(path, len(data), hashlib.sha256(data).hexdigest())

    def suite(self, name: str, *files: File) -> None:
        """Publish a suite that names these files."""
        text = "".join(
            f"Package: p{number}\nVersion: 1\nFilename: {path}\nSize: {size}\nSHA256: {digest}\n\n"
            for number, (path, size, digest) in enumerate(files)
        ).encode()
        index = self.put(f"dists/{name}/main/binary-amd64/Packages", text)
        self.put(f"dists/{name}/main/binary-amd64/by-hash/SHA256/{index.digest}", text)
        release = (
            f"Origin: X\nSuite: {name}\nCodename: {name}\nDate: Sat, 01 Jan 2022 00:00:00 UTC\n"
            "Acquire-By-Hash: yes\nSHA256:\n"
            f" {index.digest} {index.size} main/binary-amd64/Packages\n"
        )
        self.put(f"dists/{name}/Release", release.encode())


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    """Three suites, one without the file."""
    upstream = Upstream(tmp_path / "upstream")
    upstream.put("project/trace/master", b"Sat\n")
    x, y = upstream.put(_X, b"xx"), upstream.put("pool/y.deb", b"yy")
    upstream.suite("a", x)
    upstream.suite("b", y)
    upstream.suite("c", x)
    return upstream


class Below(LabSite):
    """A mirror of such an upstream, which keeps a manifest and takes stock before each sync."""

    def __init__(self, directory: Path, upstream: Upstream, daemon: RsyncDaemon, **options: object) -> None:
        self._above = upstream.tree
        self._places = paths_in(directory.parent, directory.parent / "manifest")
        daemon.add_module("up", upstream.tree)
        daemon.add_module("up.manifest", directory.parent / "manifest")
        super().__init__(directory, upstream=daemon.url("up"), **options)

    def sync(self, *words: str) -> Result:
        take_stock(self._above, self._places)
        return super().sync(*words)


@pytest.fixture(params=[Strategy.FULL, Strategy.INDEX, Strategy.MANIFEST])
def site(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    upstream: Upstream,
    daemon: RsyncDaemon,
    monkeypatch: pytest.MonkeyPatch,
) -> LabSite:
    monkeypatch.setattr(owner, "_PAUSE", timedelta())  # before an owner believes in a broken Release file
    site = Below(tmp_path / "site", upstream, daemon, strategy=request.param.value)
    site.sync().check()
    return site


def named(site: LabSite, suite: str, path: str) -> bool:
    return path in (site.tree / f"dists/{suite}/main/binary-amd64/Packages").read_text()


@pytest.mark.parametrize("wrong", [File(_X, 2, "0" * 64), File(_X, 7, hashlib.sha256(b"xx").hexdigest())])
@pytest.mark.parametrize("first", ["a", "c"])  # a is read before b, c after it
@pytest.mark.parametrize("site", [Strategy.INDEX], indirect=True)  # others take what is here at its size
def test_a_wrong_word_about_a_file_that_others_have_holds_its_suite_alone(
    site: LabSite, upstream: Upstream, wrong: File, first: str
) -> None:
    x, y = File(_X, 2, hashlib.sha256(b"xx").hexdigest()), File("pool/y.deb", 2, "")
    y = y._replace(digest=hashlib.sha256(b"yy").hexdigest())
    upstream.suite("b", y, wrong)
    upstream.suite(first, x, upstream.put("pool/z.deb", b"zz"))
    refused(site.sync(), Exit.HELD, "dists/b is held back", _X)
    assert named(site, first, "pool/z.deb") and not named(site, "b", _X)
    assert (site.tree / _X).read_bytes() == b"xx"
    upstream.suite("b", y, x)
    site.sync().check()
    assert named(site, "b", _X)


@pytest.mark.parametrize("wrong", [{"digest": "0" * 64}, {"size": 7}])
@pytest.mark.parametrize("first", ["a", "c"])
def test_a_wrong_word_about_a_new_file_holds_its_suite_alone(
    site: LabSite, upstream: Upstream, wrong: dict[str, object], first: str
) -> None:
    new = upstream.put("pool/new.deb", b"new")
    upstream.suite("b", new._replace(**wrong))  # type: ignore[arg-type]
    upstream.suite(first, new)
    refused(site.sync(), Exit.HELD, "dists/b is held back", new.path)
    assert named(site, first, new.path) and not named(site, "b", new.path)
    assert (site.tree / new.path).read_bytes() == b"new"


def test_a_replaced_file_is_upstreams_though_one_suite_is_wrong_about_it(
    site: LabSite, upstream: Upstream
) -> None:
    x = upstream.put(_X, b"XX")
    upstream.suite("a", x)
    upstream.suite("b", x._replace(digest="0" * 64))
    upstream.suite("c", x)
    refused(site.sync(), Exit.HELD, "dists/b is held back", _X)
    assert (site.tree / _X).read_bytes() == b"XX"


def test_a_file_that_a_held_suite_refers_to_is_not_replaced_for_another(
    site: LabSite, upstream: Upstream
) -> None:
    y = File("pool/y.deb", 2, hashlib.sha256(b"yy").hexdigest())
    x = upstream.put(_X, b"XX")
    upstream.suite("a", x)
    upstream.suite("b", y, x)
    upstream.suite("c", upstream.put("pool/z.deb", b"zz"))
    (upstream.tree / "dists/a/Release").write_text("no Release file")
    for _ in range(2):
        refused(site.sync(), Exit.HELD, "dists/a is held back", "dists/b is held back", _X)
        assert (site.tree / _X).read_bytes() == b"xx"
        assert named(site, "c", "pool/z.deb") and not named(site, "b", _X)
    upstream.suite("d", x)  # a new one waits, too
    refused(site.sync(), Exit.HELD, "dists/d is held back", _X)
    assert (site.tree / _X).read_bytes() == b"xx" and not (site.tree / "dists/d/Release").exists()
    upstream.suite("a", x)
    site.sync().check()
    assert (site.tree / _X).read_bytes() == b"XX" and named(site, "b", _X)


def test_nor_if_it_is_held_back_for_what_its_indices_refer_to(site: LabSite, upstream: Upstream) -> None:
    y = File("pool/y.deb", 2, hashlib.sha256(b"yy").hexdigest())
    x, lost = upstream.put(_X, b"XX"), File("pool/lost.deb", 4, "1" * 64)
    upstream.suite("a", x, lost)
    upstream.suite("b", y, x)
    upstream.suite("c")
    for _ in range(2):
        refused(site.sync(), Exit.HELD, "dists/a is held back", "dists/b is held back", _X)
        assert (site.tree / _X).read_bytes() == b"xx" and not named(site, "b", _X)
    upstream.put(lost.path, b"lost")
    upstream.suite("a", x)
    site.sync().check()
    assert (site.tree / _X).read_bytes() == b"XX" and named(site, "b", _X)


def test_a_suite_is_released_when_only_its_release_follows_its_index(
    site: LabSite, upstream: Upstream
) -> None:
    x = File(_X, 2, hashlib.sha256(b"xx").hexdigest())
    upstream.suite("a", x, upstream.put("pool/v.deb", b"v"))
    between = (upstream.tree / "dists/a/Release").read_bytes()
    shutil.rmtree(upstream.tree / "dists/a/main/binary-amd64/by-hash")
    upstream.suite("a", x, upstream.put("pool/w.deb", b"ww"))
    after = (upstream.tree / "dists/a/Release").read_bytes()
    upstream.put("dists/a/Release", between)
    refused(site.sync(), Exit.HELD, "dists/a is held back")
    assert not named(site, "a", "pool/v.deb") and not named(site, "a", "pool/w.deb")
    upstream.put("dists/a/Release", after)
    site.sync().check()
    assert named(site, "a", "pool/w.deb")


@pytest.mark.parametrize("options", [{}, {"exclude": ["/none"]}], ids=["whole", "partial"])
def test_a_file_that_stayed_for_a_held_suite_is_upstreams_when_that_is_released(
    site: LabSite, upstream: Upstream, options: dict[str, object]
) -> None:
    site.configure(**options)
    site.sync().check()
    x = upstream.put(_X, b"XX")
    (upstream.tree / "dists/a/Release").write_text("no Release file")
    upstream.suite("c")
    refused(site.sync(), Exit.HELD, "dists/a is held back")
    assert (site.tree / _X).read_bytes() == b"xx"
    upstream.suite("a", x)
    site.sync().check()
    assert (site.tree / _X).read_bytes() == b"XX"


def test_an_index_may_be_there_by_its_hash_alone_from_now_on(site: LabSite, upstream: Upstream) -> None:
    upstream.suite("b", upstream.put("pool/y.deb", b"yyy"))
    plain = upstream.tree / "dists/b/main/binary-amd64/Packages"
    plain.unlink()
    for content in (b"yy", b"y"):
        site.sync().check()
        assert (site.tree / "pool/y.deb").read_bytes() == (upstream.tree / "pool/y.deb").read_bytes()
        upstream.suite("b", upstream.put("pool/y.deb", content))
        plain.unlink()
    for copy in plain.parent.glob("by-hash/SHA256/*"):
        copy.unlink()
    refused(site.sync(), Exit.HELD, "dists/b is held back", "has lost dists/b/main/binary-amd64/Packages")
