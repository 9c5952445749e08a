"""Sites of every kind below a hub that keeps a manifest: however each of them comes, it ends right."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest

from pushmirror.archive.manifest import Head, parse_head, render_head
from pushmirror.archive.manifest_parts import Part
from pushmirror.config.model import Archive, Mirror, Strategy
from pushmirror.errors import UpstreamError
from pushmirror.inventory.inventory import Inventory
from pushmirror.lab.indices import SUITES
from pushmirror.lab.judge import broken, same_tree
from pushmirror.lab.signing import LabKey
from pushmirror.lab.site import ARCHIVE
from pushmirror.progress import Silent
from pushmirror.state.records import Stage
from pushmirror.sync.engine import Engine
from pushmirror.sync.report import Report
from pushmirror.sync.request import RunRequest
from side_by_side import Home, Side
from support.damage import break_suite, mend_suite, spoil_signature
from support.rsync_daemon import RsyncDaemon
from trees import snapshot
from upstreams import BY_EACH_STRATEGY, OwnedArchive, paths_in

needs_ftpsync = pytest.mark.skipif(
    not Path("/usr/bin/ftpsync").exists(), reason="needs Debian's package ftpsync"
)


class Site:
    """A mirror that keeps a manifest of its own; it runs in this process."""

    def __init__(self, directory: Path, upstream: str, **options: object) -> None:
        directory.mkdir()
        self.tree = directory / "tree"
        self.tree.mkdir()
        self.manifest = directory / "manifest"
        self.paths = paths_in(directory, self.manifest)
        self._keys = {"name": ARCHIVE, "path": self.tree, "upstream": upstream, "grace": "0s", **options}
        self._name = f"{directory.name}.lab.example.org"

    def sync(self, strategy: Strategy = Strategy.AUTO, *, generation: str | None = None) -> Report:
        """One run, of a push that names this generation; what it did."""
        archive = Archive.model_validate(self._keys)
        engine = Engine(archive, Mirror(name=self._name), paths=self.paths, progress=Silent())
        return engine.run(
            RunRequest(
                archive.name,
                Stage.ALL,
                "manual",
                generation=generation,
                allow_mass_delete=True,
                strategy=strategy,
            ),
            lambda _: None,
        )

    @property
    def state(self) -> str:
        """Of its tree, as its inventory has it."""
        with Inventory(self.paths.inventory) as inventory:
            return inventory.state


@pytest.fixture
def strategy() -> Strategy:
    """The archive has an owner who keeps a manifest."""
    return Strategy.MANIFEST


@pytest.fixture
def archive(tmp_path: Path, lab_key: LabKey) -> OwnedArchive:
    archive = OwnedArchive.create(tmp_path / "archive", packages=4, suites=SUITES[:2], key=lab_key)
    assert isinstance(archive, OwnedArchive)
    return archive


@pytest.fixture
def below(tmp_path: Path, archive: OwnedArchive, daemon: RsyncDaemon) -> Callable[..., Site]:
    """Makes sites below the archive, or below another site."""
    daemon.add_module("owner", archive.path)
    daemon.add_module("owner.manifest", archive.manifest)

    def make(name: str, above: Site | None = None, **options: object) -> Site:
        if above:
            daemon.add_module("hub", above.tree)
            daemon.add_module("hub.manifest", above.manifest)
        return Site(tmp_path / name, daemon.url("hub" if above else "owner"), **options)

    return make


def test_one_that_is_three_generations_behind_goes_by_three_steps(archive, below):
    site = below("site")
    site.sync()
    for _ in range(3):
        archive.update()
    report = site.sync()
    assert (report.strategy, report.why) == ("manifest", "3 steps of upstream's manifest")
    assert same_tree(archive.path, site.tree) == []


def test_a_push_by_the_manifest_takes_one_login_of_it_and_one_after_a_pause_of_many(archive, below, daemon):
    hub = below("hub")
    site = below("site", above=hub)

    def logins() -> int:
        return daemon.transfers.read_text().count("access on module hub.manifest")

    taken: list[int] = []
    for pushes in (1, 1, 5):
        for _ in range(pushes):
            archive.update()
            hub.sync()
        before = logins()
        site.sync()
        taken.append(logins() - before)
        assert same_tree(archive.path, site.tree) == []
    # Head and snapshot; head and two changes (the hub publishes, then deletes); head and four, then the rest.
    assert taken == [2, 1, 2]


def test_a_push_that_names_its_generation_takes_three_logins(archive, below, daemon):
    site = below("site", keyring=[archive.keyring])
    site.sync()
    archive.update()
    generation = parse_head((archive.manifest / "head").read_bytes(), where="").generation
    before = daemon.transfers.read_text().count("access on module owner")
    report = site.sync(generation=generation)
    assert (report.strategy, report.generation) == ("manifest", generation)
    assert same_tree(archive.path, site.tree) == []
    # Release files; the manifest's head and change, at the same time; indices and packages together.
    assert daemon.transfers.read_text().count("access on module owner") - before == 3


def test_one_whose_chain_is_gone_takes_the_whole_manifest(archive, below):
    site = below("site")
    site.sync()
    (archive.path.parent / "inventory.sqlite").unlink()
    archive.update()
    report = site.sync()
    assert report.strategy == "manifest"
    assert "whole manifest: it no longer has the changes since our state" in report.why
    assert same_tree(archive.path, site.tree) == []


def test_a_hub_and_the_site_below_it_hold_the_same_state(archive, below):
    hub = below("hub")
    site = below("site", above=hub)
    for _ in range(2):
        archive.update()
        reports = [hub.sync(), site.sync()]
    assert [report.why.partition(" ")[2] for report in reports] == [
        "step of upstream's manifest",
        "steps of upstream's manifest",  # the hub published, and deleted
    ]
    assert site.state == hub.state == parse_head((hub.manifest / "head").read_bytes(), where="").state
    assert same_tree(archive.path, site.tree) == []


def test_a_hub_that_is_whole_again_after_a_grace_leads_its_sites_by_steps(archive, below):
    hub = below("hub", grace="36h")
    site = below("site", above=hub)
    for _ in range(2):
        archive.update(remove=1)
        hub.sync()
        report = site.sync()
    assert (report.strategy, site.state) == ("manifest", hub.state)
    assert same_tree(hub.tree, site.tree) == []


@pytest.mark.parametrize("trouble", ["signature", "index"])
def test_one_with_a_suite_that_is_held_back_goes_by_steps_and_so_does_its_release(archive, below, trouble):
    site = below("site", keyring=archive.keyring)
    site.sync()
    for _ in range(3):  # the first may be compared whole
        archive.update()
        if trouble == "signature":
            spoil_signature(archive, "trixie")
        else:
            break_suite(archive, "trixie")
        archive.take_stock()
        report = site.sync()
        assert [*report.held] == ["dists/trixie"]
        assert report.strategy == "manifest"
        assert "whole manifest" not in report.why
        assert site.sync().why == "upstream's manifest has nothing new"
    if trouble == "index":
        mend_suite(archive, "trixie")
    archive.update()
    report = site.sync()
    assert (report.strategy, report.held) == ("manifest", {})
    assert "whole manifest" not in report.why
    assert same_tree(archive.path, site.tree) == []


PARTS = {"architectures": ["amd64"]}


def test_one_with_other_architectures_has_the_same_tree_by_each_strategy(archive, below):
    sites = {one: below(one.value, **PARTS) for one in (Strategy.FULL, Strategy.INDEX, Strategy.MANIFEST)}
    for site in sites.values():
        site.sync(Strategy.FULL)
    archive.update()
    taken = [site.sync(one).strategy for one, site in sites.items()]
    sites[Strategy.INDEX].sync(Strategy.FULL)  # what no list names
    assert taken == [one.value for one in sites]
    for one in (Strategy.INDEX, Strategy.MANIFEST):
        assert same_tree(sites[Strategy.FULL].tree, sites[one].tree) == []
        assert broken(sites[one].tree, thorough=True) == []
    assert not list(sites[Strategy.MANIFEST].tree.rglob("*_arm64.deb"))


def test_one_that_mirrors_more_than_before_fetches_it_by_the_manifest(archive, below):
    site = below("site", **PARTS)
    site.sync()
    site._keys.pop("architectures")
    report = site.sync()
    assert (report.strategy, report.why) == (
        "manifest",
        "upstream's whole manifest: filters or architectures changed",
    )
    assert same_tree(archive.path, site.tree) == []


# Drift


def long_ago(inventory: Path) -> None:
    """The last look at every file was long ago."""
    with Inventory(inventory) as opened, opened._file.changing() as change:
        change.note(reconciled_at=0.0)


@pytest.mark.parametrize("strategy", [Strategy.INDEX, Strategy.MANIFEST])
def test_what_was_done_to_a_tree_by_hand_is_found_repaired_and_told(archive, site, strategy):
    site.configure(grace="0s")
    site.sync().check()
    (site.tree / archive.pool_files[0]).unlink()
    (site.tree / "README").write_text("I know better")
    (site.tree / "stray").touch()
    long_ago(site.state / "inventories" / f"{ARCHIVE}.sqlite")
    said = site.sync("-v").check().errors
    assert same_tree(archive.path, site.tree) == []
    told = "1 name lost, 1 changed, 1 added"
    assert f"local changes in the tree: {told}" in said
    assert told in site.json("status")[0]["why"]


@pytest.mark.parametrize("strategy", BY_EACH_STRATEGY)
def test_a_lost_file_comes_back_with_the_next_look_at_every_file(archive, below, strategy):
    site = below("site", strategy=strategy.value)
    site.sync(strategy)
    (site.tree / archive.pool_files[0]).unlink()
    long_ago(site.paths.inventory)
    site.sync(strategy)
    assert same_tree(archive.path, site.tree) == []


def test_what_a_full_look_found_and_could_not_fetch_is_found_again(archive, below, tmp_path):
    rsync = tmp_path / "rsync"
    rsync.write_text('#!/bin/sh\ncase "$*" in *--files-from*) exit 12 ;; esac\nexec rsync "$@"\n')
    rsync.chmod(0o755)
    site = below("site")
    site.sync()
    (site.tree / archive.pool_files[0]).unlink()
    site._keys |= {"rsync": str(rsync), "retries": 0}
    with pytest.raises(UpstreamError):
        site.sync(Strategy.FULL)
    del site._keys["rsync"]
    assert site.sync().strategy == "manifest"
    assert same_tree(archive.path, site.tree) == []


def test_an_upstream_that_had_no_manifest_is_asked_again_when_somebody_wants_it(below):
    site = below("site")
    refused = site.paths.upstream_manifest / "none"
    refused.parent.mkdir(parents=True)
    refused.write_text(str(site._keys["upstream"]))
    assert site.sync().why.endswith("offered no manifest when asked at " + _when(refused))
    assert site.sync(Strategy.MANIFEST).strategy == "manifest"


def _when(file: Path) -> str:
    return f"{datetime.fromtimestamp(file.stat().st_mtime, UTC):%Y-%m-%d %H:%M} UTC"


# A real ftpsync

FTPSYNC = """
MIRRORNAME=old.example.org
MAILTO=operator
TO={tree}/
RSYNC_HOST=127.0.0.1
RSYNC_PATH=hub
RSYNC_EXTRA="--port={port}"
"""


@needs_ftpsync
def test_debians_ftpsync_below_a_hub_with_a_manifest_notices_nothing(archive, below, daemon, tmp_path):
    hub = below("hub")
    below("site", above=hub)
    home = Home(tmp_path, Side.REAL)
    home.configure(FTPSYNC.format(tree=home.tree, port=daemon.port))
    for _ in range(2):
        archive.update()
        hub.sync()
        assert home.run("sync:all").exit_code == 0
    assert same_tree(hub.tree, home.tree) == []
    assert not [name for name in snapshot(home.tree) if "manifest" in name]


# A manifest that is not what it should be


def edit_a_step(directory: Path, head: Head) -> None:
    """Somebody edited the file of a change, and nothing else; its size stayed."""
    file = directory / head.steps[-1].part.name
    data = file.read_bytes()
    file.write_bytes(data[:-20] + bytes([data[-20] ^ 1]) + data[-19:])


def lead_elsewhere(directory: Path, head: Head) -> None:
    """The change is as the head says, but leads to another state."""
    rewrite_step(directory, head, lambda text: text.replace(b"\tls-lR.gz\t", b"\tls-lR.xz\t"))


def leave_the_tree(directory: Path, head: Head) -> None:
    rewrite_step(directory, head, lambda text: text.replace(b"\tls-lR.gz\t", b"\t../ls-lR\t"))


def end_in_the_middle(directory: Path, head: Head) -> None:
    file = directory / "head"
    file.write_bytes(file.read_bytes()[:-30])


def lose_a_part(directory: Path, head: Head) -> None:
    (directory / head.steps[-1].part.name).unlink()


def explode(directory: Path, head: Head) -> None:
    rewrite_step(directory, head, lambda text: text + b"\n" * 50_000_000)


def come_from_the_future(directory: Path, head: Head) -> None:
    (directory / "head").write_bytes(render_head(head).replace(b"manifest 1\n", b"manifest 9\n"))


def rewrite_step(directory: Path, head: Head, edit: Callable[[bytes], bytes]) -> None:
    """Another last change, of which the head names size and hash."""
    last = head.steps[-1]
    file = directory / last.part.name
    before = gzip.decompress(file.read_bytes())
    after = edit(before)
    assert after != before
    file.write_bytes(gzip.compress(after))
    write_head(
        directory, replace(head, steps=(*head.steps[:-1], replace(last, part=described(file, last.part))))
    )


def described(file: Path, part: Part) -> Part:
    data = file.read_bytes()
    return replace(part, size=len(data), sha256=sha256(data).hexdigest())


def write_head(directory: Path, head: Head) -> None:
    (directory / "head").write_bytes(render_head(head))


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (edit_a_step, "expected"),
        (lead_elsewhere, "does not produce the state that it names"),
        (leave_the_tree, "without a slash"),
        (end_in_the_middle, "truncated"),
        (lose_a_part, "lacks its change-"),
        (explode, "expected"),
        (come_from_the_future, "version 1"),
    ],
)
def test_a_manifest_that_cannot_be_believed_is_not(archive, below, tmp_path, spoil, why):
    site = below("site")
    site.sync()
    archive.update()
    spoil(archive.manifest, parse_head((archive.manifest / "head").read_bytes(), where="head"))
    report = site.sync()
    assert report.strategy in {"index", "full"}
    assert "strategy manifest not used: " in report.why and why in report.why
    assert broken(site.tree, thorough=True) == []
    site.sync(Strategy.FULL)
    assert same_tree(archive.path, site.tree) == []


def spoil_the_snapshot(archive: OwnedArchive, edit: Callable[[bytes], bytes]) -> None:
    head = parse_head((archive.manifest / "head").read_bytes(), where="head")
    file = archive.manifest / head.snapshot.name
    text = gzip.decompress(file.read_bytes())
    assert edit(text) != text
    file.write_bytes(gzip.compress(edit(text)))
    write_head(archive.manifest, replace(head, snapshot=described(file, head.snapshot)))


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (lambda text: text.replace(b"\n/\tdoc\n", b"\n/\tdoc/../..\n"), "'..'"),
        (
            lambda text: text.replace(b"\tls-lR.gz\t", b"\tls-lR.xz\t"),
            "does not match the state that it names",
        ),
        (lambda text: text.replace(b"\tindex.html\n", b"\t../../../etc/passwd\n"), "stays in the tree"),
        (lambda text: text[:-9] + b"\n" * 50_000_000, "expected"),
    ],
    ids=["path outside", "other digest", "link outside", "bomb"],
)
def test_a_first_sync_does_not_believe_a_hostile_listing(archive, below, edit, why):
    spoil_the_snapshot(archive, edit)
    site = below("site")
    report = site.sync()
    assert report.strategy == "full"
    assert "strategy manifest not used: " in report.why and why in report.why
    assert same_tree(archive.path, site.tree) == []
