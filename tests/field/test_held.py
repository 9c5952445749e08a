"""What becomes of suites over several runs: keyrings, links, times and the records of a mirror change too."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from field.builder import KEY, PACKAGES, Upstream, digest
from field.case import HELD, OK, clear, odd, ordinary
from field.incomplete import new, without
from field.openpgp import Key
from field.scene import good
from forked import Cli, ForkedSite
from pushmirror.cli.main import main
from pushmirror.state.suites import read_suites, suites_path
from pushmirror.system import clock

_OTHER = Key("Another Archive <archive@example.net>")


class Pair:
    """An upstream with the suites `good` and `odd`, and a mirror of it."""

    def __init__(self, directory: Path, cli: Cli) -> None:
        self.up = Upstream(directory / "up")
        self.site = ForkedSite(directory / "site", cli, upstream=f"file://{self.up.tree}")
        self._states = count(1)

    def change(self, build: Callable[[Upstream, int], object] = ordinary) -> None:
        """The next state of upstream."""
        n = next(self._states)
        good(self.up, n)
        build(self.up, n)
        self.up.master()

    def sync(self, *words: str, ends: int = OK) -> str:
        """What a sync says, which is to end with this exit code."""
        ended = self.site.run("sync", *words, "--no-push", "-v")
        assert ended.exit_code == ends, ended.errors
        assert "internal error" not in ended.errors
        return ended.errors

    def serves(self, name: str) -> bool:
        """Whether the mirror has a file as upstream has it."""
        ours, theirs = self.site.tree / name, self.up.tree / name
        return ours.is_file() and theirs.is_file() and ours.read_bytes() == theirs.read_bytes()


@pytest.fixture
def pair(tmp_path: Path, cli: Cli) -> Pair:
    return Pair(tmp_path, cli)


def test_a_suite_whose_key_left_the_keyring_is_held_back_run_after_run(pair: Pair, tmp_path: Path) -> None:
    both, one = tmp_path / "both.gpg", tmp_path / "one.gpg"
    both.write_bytes(KEY.public + _OTHER.public)
    one.write_bytes(KEY.public)
    pair.site.configure(keyring=str(both))
    pair.change(odd(keys=[_OTHER]))
    pair.sync()
    pair.site.configure(keyring=str(one))
    pair.sync(ends=HELD)
    pair.sync(ends=HELD)  # that it was looked at is no reason to trust it
    records = {one.directory: one for one in read_suites(suites_path(pair.site.state, "debian"))}
    assert records["dists/odd"].signed_by == (_OTHER.fingerprint,)
    pair.site.configure(keyring=str(both))
    pair.sync()


def test_a_suite_that_is_held_back_behind_a_new_link_keeps_its_files(pair: Pair) -> None:
    def moved(up: Upstream, n: int) -> None:
        odd(directory="snap/odd")(up, n)
        up.put("snap/odd/InRelease", "no Release file\n")
        up.link("dists/odd", "../snap/odd")
        up.remove("pool/main/o/odd")

    pair.site.configure(grace="1s")
    pair.change()
    pair.sync()
    served = set((pair.site.tree / "pool").rglob("odd_1.1_*"))
    assert served
    pair.change(moved)
    for _ in range(2):
        pair.sync(ends=HELD)
        _age(pair.site.state)
    pair.sync(ends=HELD)
    assert all(path.is_file() for path in served)


def _age(state: Path) -> None:
    """As if every state of the tree had been recorded a minute earlier."""
    with closing(sqlite3.connect(next(state.rglob("ledger.sqlite")))) as closures, closures:
        closures.execute("UPDATE generations SET replaced = replaced - 60")


def test_a_directory_above_that_is_held_back_leaves_the_suites_below_it_alone(pair: Pair) -> None:
    def nested(up: Upstream, n: int) -> None:
        clear(up)
        up.put("deb/InRelease", "no Release file\n")
        data = f"x{n}".encode()
        up.put(f"deb/pool/x_{n}.deb", data)
        stanza = (
            f"Package: x\nVersion: {n}\nFilename: pool/x_{n}.deb\nSize: 2\nSHA256: {digest('SHA256', data)}\n"
        )
        up.suite("deb/dists/inner", {PACKAGES: stanza.encode()})

    pair.change(nested)
    pair.sync(ends=HELD)
    pair.change(nested)
    pair.sync(ends=HELD)
    assert pair.serves("deb/dists/inner/InRelease")
    assert pair.serves(f"deb/dists/inner/{PACKAGES}")
    assert not (pair.site.tree / "deb/InRelease").exists()


def test_a_lone_signature_above_dists_is_no_suite(pair: Pair) -> None:
    pair.change(lambda up, n: (ordinary(up, n), up.put("deb/Release.gpg", "x"), up.put("deb/dists/x", "x")))
    pair.sync()


def test_a_release_that_is_empty_for_a_moment_does_not_replace_a_good_one(pair: Pair) -> None:
    def flat(up: Upstream, n: int) -> None:
        up.suite("flat", {"Packages": b""}, files=("Release",))

    pair.change(flat)
    pair.sync()
    before = (pair.site.tree / "flat/Release").read_bytes()
    pair.change(lambda up, n: up.put("flat/Release", b""))
    assert "flat/Release" in pair.sync(ends=HELD)
    assert (pair.site.tree / "flat/Release").read_bytes() == before
    pair.change(flat)
    pair.sync()
    assert pair.serves("flat/Release")


def test_a_fault_that_is_another_at_each_look_ends_in_a_decision(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    def change(_: timedelta) -> None:
        nonlocal looks
        looks += 1
        pair.up.put("dists/odd/InRelease", f"no Release file {looks}\n")

    monkeypatch.setattr(clock, "sleep", change)
    pair.change(lambda up, n: (ordinary(up, n), change(timedelta())))
    argv = ["--config", str(pair.site.etc), "sync", "--no-push"]
    assert main(argv) == HELD
    assert looks < 10
    assert pair.serves("dists/good/InRelease")


def test_a_file_that_was_missing_is_asked_for_again_by_a_timer(pair: Pair) -> None:
    pair.change(without(new))
    pair.sync()
    name = new(1)
    pair.up.package("odd", "1.1")  # only the file comes back
    assert not pair.serves(name)
    pair.sync("--if-changed")
    assert pair.serves(name)


def test_an_incomplete_state_counts_as_new_when_the_record_of_suites_is_lost(pair: Pair) -> None:
    pair.change()
    pair.sync()
    pair.change(without(new))
    pair.sync(ends=HELD)
    suites_path(pair.site.state, "debian").unlink()
    pair.sync(ends=HELD)


def test_what_was_fetched_of_former_states_of_a_held_suite_leaves_the_work_area(pair: Pair) -> None:
    pair.change(odd(by_hash=["SHA256"]))
    pair.sync()
    waiting = []
    for _ in range(3):
        pair.change(without(new, build=odd(by_hash=["SHA256"])))
        pair.sync(ends=HELD)
        area = pair.site.tree / ".~tmp~"
        waiting.append(sum(len(files) for _, _, files in os.walk(area)))
    assert waiting[0] == waiting[2]


def test_a_release_below_the_depth_that_is_looked_at_is_left_out_where_all_is_signed(pair: Pair) -> None:
    def deep(up: Upstream, n: int) -> None:
        ordinary(up, n)
        up.suite("ppa/owner/name/dists/deep", {PACKAGES: b""}, files=("Release",))

    pair.site.configure(keyring=str(pair.up.keyring))
    pair.change(deep)
    assert "release_directories" in pair.sync()
    assert not (pair.site.tree / "ppa/owner/name/dists/deep/Release").exists()


def test_links_into_zzz_dists_may_lead_to_further_links(pair: Pair) -> None:
    def chain(up: Upstream, n: int) -> None:
        odd(by_hash=["SHA256"], dak=True)(up, n)
        up.link("zzz-dists/beta", "odd")
        up.link("dists/beta", "odd")

    pair.site.configure(keyring=str(pair.up.keyring))
    pair.change(chain)
    pair.sync()
    assert pair.serves("dists/beta/InRelease")
    assert pair.serves("zzz-dists/beta/InRelease")


def test_a_suite_that_upstream_dropped_stays_as_it_is_for_its_grace(pair: Pair) -> None:
    pair.change()
    pair.sync()
    before = (pair.site.tree / f"dists/odd/{PACKAGES}").read_bytes()

    def dropped(up: Upstream, n: int) -> None:
        for name in ("InRelease", "Release", "Release.gpg"):
            up.remove(f"dists/odd/{name}")
        up.put(f"dists/odd/{PACKAGES}", "something else\n")

    pair.change(dropped)
    assert "dists/odd" in pair.sync()
    assert (pair.site.tree / f"dists/odd/{PACKAGES}").read_bytes() == before
