"""`pushmirror verify` on the lab's archive, through the command line."""

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import verify_holding
from pushmirror.errors import Exit
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.site import ARCHIVE, LabSite
from pushmirror.system import process
from support.damage import lose_file, restore_file, spoil_file
from trees import refused

_INDEX = "dists/sid/main/binary-amd64/Packages.xz"


def _pool(site: LabSite) -> list[str]:
    return _pool_of(site.tree)


def _pool_of(tree: Path) -> list[str]:
    return sorted(str(deb.relative_to(tree)) for deb in (tree / "pool").rglob("*.deb"))


def _flip(file: Path) -> None:
    """Another byte behind a name; size and time stay."""
    file = file.resolve()
    status, data = file.stat(), bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.unlink()  # it may have another name under by-hash
    file.write_bytes(data)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def _damage(site: LabSite) -> dict[str, str]:
    """Damage of each kind, and what verify is to call it."""
    lost, short, flipped, folder = _pool(site)[:4]
    (site.tree / lost).unlink()
    os.truncate(site.tree / short, 5)
    _flip(site.tree / flipped)
    index = _behind(site.tree, _INDEX)
    _flip(site.tree / index)
    (site.tree / folder).unlink()
    (site.tree / folder).mkdir()
    (site.tree / "dists/unstable").unlink()
    return {
        lost: "missing",
        "dists/unstable": "missing",
        short: "wrong",
        flipped: "wrong",
        folder: "wrong",
        index: "wrong",
    }


def _behind(tree: Path, path: str) -> str:
    """The path of the file that a path leads to."""
    return str((tree / path).resolve().relative_to(tree.resolve()))


def _verify(site: LabSite, *words: str) -> tuple[int, Any]:
    result = site.run("verify", ARCHIVE, "--json", *words)
    assert result.output, result.errors
    return result.exit_code, json.loads(result.output)


def _said(site: LabSite) -> str:
    return site.run("verify", ARCHIVE).output.decode()


def _found(told: Any) -> dict[str, str]:
    return {one["path"]: one["problem"] for one in told["findings"]}


@contextmanager
def _held(site: LabSite, pieces: int) -> Iterator[tuple[process.Background, Path]]:
    """A verify that stands still after some pieces, and the file that lets it go on."""
    mark, go = site.directory / "mark", site.directory / "go"
    words = ["--config", str(site.etc), "verify", ARCHIVE]
    argv = [sys.executable, verify_holding.__file__, str(pieces), str(mark), str(go), *words]
    with process.background(argv, log=site.directory / "held.log") as child:
        until = time.monotonic() + 60
        while not mark.exists() and child.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        assert mark.exists(), (site.directory / "held.log").read_text()
        yield child, go


def test_each_kind_of_damage_is_found_and_just_that_is_fetched_again(site: LabSite) -> None:
    site.sync().check()
    damage = _damage(site)
    mine = site.tree / "pool/main/mine.txt"
    mine.write_text("mine")
    code, told = _verify(site)
    assert (code, _found(told)) == (Exit.FAILED, {**damage, "pool/main/mine.txt": "extra"})
    code, told = _verify(site, "--repair")
    assert (code, _found(told), told["repaired"]) == (Exit.OK, {"pool/main/mine.txt": "extra"}, 6)
    assert told["remembered"]
    run = site.json("history", ARCHIVE)[0]
    assert (run["strategy"], run["stats"]["files_fetched"]) == ("repair", 5)
    code, told = _verify(site)
    assert (code, told["resumed"], mine.read_text()) == (Exit.OK, False, "mine")


def test_what_upstream_has_not_right_remains_and_a_directory_with_files_is_left_alone(
    archive: LabArchive, site: LabSite
) -> None:
    site.sync().check()
    lost, folder = _pool(site)[:2]
    _flip(archive.path / lost)
    (site.tree / lost).unlink()
    (site.tree / folder).unlink()
    (site.tree / folder / "below").mkdir(parents=True)
    (site.tree / folder / "below/mine").write_text("mine")
    code, told = _verify(site, "--repair")
    assert (code, told["repaired"]) == (Exit.FAILED, 0)
    assert _found(told) == {lost: "missing", folder: "wrong", f"{folder}/below/mine": "extra"}
    assert site.json("history", ARCHIVE)[0]["outcome"] == "failed"


def test_a_verify_that_was_killed_goes_on_where_it_stopped_though_a_push_came_between(
    archive: LabArchive, site: LabSite
) -> None:
    site.sync().check()
    first, *_, last = _pool(site)
    for path in (first, last):
        _flip(site.tree / path)
    with _held(site, 8) as (child, _):
        os.kill(child.pid, 9)
    position = json.loads((site.state / "verify" / ARCHIVE / "progress").read_text())
    archive.update(replace=0, remove=0)
    site.sync().check()
    _, told = _verify(site)
    assert (told["resumed"], _found(told)) == (True, {first: "wrong", last: "wrong"})
    assert 0 < position["files"] < told["files"] and told["generation"] != position["generation"]
    _, anew = _verify(site)
    assert (anew["resumed"], _found(anew)) == (False, _found(told))


def test_files_that_a_sync_replaces_or_deletes_meanwhile_are_no_findings(
    archive: LabArchive, site: LabSite
) -> None:
    site.configure(grace="0s")
    site.sync().check()
    with _held(site, 0) as (child, go):
        archive.update()
        site.sync().check()  # and it does not wait for the verify
        go.touch()
        child.child.wait(60)
        assert child.poll() == Exit.OK, (site.directory / "held.log").read_text()


def test_what_upstream_lacks_too_is_named_and_no_error_until_upstream_has_it(
    archive: LabArchive, site: LabSite
) -> None:
    lost = lose_file(archive)
    site.sync().check()
    code, told = _verify(site)
    assert (code, told["whole"], told["missing"], told["upstream"]) == (Exit.OK, True, 0, 1)
    assert _found(told) == {lost: "upstream"}
    assert f"1 file is also missing or wrong upstream (such as {lost})" in _said(site)
    assert "complete except for files missing upstream" in site.json("status")[0]["verified"]
    restore_file(archive, lost)
    site.sync().check()
    (site.tree / lost).unlink()
    code, told = _verify(site)
    assert (code, _found(told)) == (Exit.FAILED, {lost: "missing"})


def test_what_upstream_has_wrong_and_ours_too_is_not_repaired_by_itself(
    archive: LabArchive, site: LabSite
) -> None:
    spoilt, lost = spoil_file(archive), _pool_of(archive.path)[-1]
    site.sync().check()
    (site.tree / lost).unlink()
    code, told = _verify(site, "--repair")
    assert (code, told["repaired"], _found(told)) == (Exit.OK, 1, {spoilt: "upstream"})


def test_suites_with_weak_hashes_only_are_compared_and_never_called_verified(tmp_path: Path) -> None:
    owner = LabSite(tmp_path / "owner", tree=tmp_path / "tree")
    index = owner.tree / "dists/old/main/binary-amd64/Packages"
    index.parent.mkdir(parents=True)
    index.write_text("")
    listed = f"MD5Sum:\n {hashlib.md5(b'', usedforsecurity=False).hexdigest()} 0 main/binary-amd64/Packages\n"
    (owner.tree / "dists/old/Release").write_text(f"Origin: X\nSuite: old\nCodename: old\n{listed}")
    code, told = _verify(owner)
    assert (code, told["weak"]) == (Exit.OK, ["dists/old"])
    said = _said(owner)
    assert "no damage found" in said and "not verified, only MD5Sum or SHA1 known: dists/old" in said
    assert "ok" not in said and "weak hashes" in owner.json("status")[0]["verified"]


def test_an_owners_tree_is_verified_by_its_indices_and_cannot_be_repaired(
    archive: LabArchive, make_site: Callable[..., LabSite], tmp_path: Path
) -> None:
    owner = LabSite(tmp_path / "owner", tree=archive.path)
    assert owner.run("verify").exit_code == Exit.OK
    lost, index = _pool(owner)[0], _behind(owner.tree, "dists/trixie/main/binary-amd64/Packages.xz")
    (owner.tree / lost).unlink()
    _flip(owner.tree / index)
    code, told = _verify(owner)
    found = {path for path, problem in _found(told).items() if problem != "extra"}
    assert (code, found) == (Exit.FAILED, {lost, index})
    refused(owner.run("verify", ARCHIVE, "--repair"), Exit.CONFIG, "has no upstream", "hint")
