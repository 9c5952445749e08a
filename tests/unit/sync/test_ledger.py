"""The ledger: what indices refer to, and what a damaged record must never allow."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pushmirror.archive.index import File
from pushmirror.sync.ledger import Ledger, write_closure

OLD, NEW, SHA = "0" * 64, "1" * 64, "a" * 64
HOUR = 3600.0


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Knows a replaced generation with pool/old and a live one with pool/new."""
    ledger = Ledger(tmp_path / "ledger")
    for digest, index, name in ((OLD, "b" * 64, "old"), (NEW, SHA, "new")):
        write_closure(ledger.index_record(index), [File(f"pool/{name}", 1, "c" * 64)])
        ledger.remember_generation(digest, [f"dists/{name}/InRelease"], [index])
    return ledger


def replaced_at(ledger: Ledger, digest: str, ago_s: float) -> None:
    then = time.time() - ago_s
    os.utime(ledger.directory / "generations" / digest, (then, then))


ASKED = ["pool/old", "pool/new", "pool/none", "dists/old/InRelease"]


def test_live_and_recent_generations_keep_their_files(ledger: Ledger) -> None:
    kept = ledger.referred_to(ASKED, live=NEW, grace_s=HOUR)
    assert kept == {"pool/old", "pool/new", "dists/old/InRelease"}


def test_a_generation_whose_grace_is_over_keeps_nothing(ledger: Ledger) -> None:
    replaced_at(ledger, OLD, 2 * HOUR)
    assert ledger.referred_to(ASKED, live=NEW, grace_s=HOUR) == {"pool/new"}


def test_the_live_generation_keeps_its_files_however_old_it_is(ledger: Ledger) -> None:
    replaced_at(ledger, NEW, 1000 * HOUR)
    assert "pool/new" in ledger.referred_to(ASKED, live=NEW, grace_s=HOUR)


def test_grace_begins_when_a_generation_is_replaced(ledger: Ledger) -> None:
    replaced_at(ledger, OLD, 2 * HOUR)
    ledger.replaced(OLD)
    assert "pool/old" in ledger.referred_to(ASKED, live=NEW, grace_s=HOUR)


def test_replacing_a_generation_that_is_not_known_is_no_error(ledger: Ledger) -> None:
    ledger.replaced("2" * 64)
    ledger.replaced("")


def test_without_a_record_of_the_live_generation_everything_is_kept(ledger: Ledger) -> None:
    assert ledger.referred_to(ASKED, live="2" * 64, grace_s=HOUR) == set(ASKED)


def cut(record: Path) -> None:
    record.write_bytes(record.read_bytes()[:-5])


def cut_at_a_line(record: Path) -> None:
    lines = record.read_text().split("\n")
    record.write_text("\n".join([*lines[:1], *lines[2:]]))


def empty(record: Path) -> None:
    record.write_bytes(b"")


def garble(record: Path) -> None:
    record.write_bytes(b"\xff\xfe\x00 nothing of ours \xb2\n")


@pytest.mark.parametrize("damage", [Path.unlink, empty, cut, cut_at_a_line, garble])
def test_a_damaged_index_of_the_live_generation_keeps_everything(
    ledger: Ledger, damage: Callable[[Path], None]
) -> None:
    damage(ledger.index_record(SHA))
    assert ledger.referred_to(ASKED, live=NEW, grace_s=HOUR) == set(ASKED)
    assert not ledger.knows_index(SHA)


@pytest.mark.parametrize("damage", [empty, cut, garble])
def test_a_damaged_record_of_the_live_generation_keeps_everything(
    ledger: Ledger, damage: Callable[[Path], None]
) -> None:
    damage(ledger.directory / "generations" / NEW)
    assert not ledger.knows_generation(NEW)
    assert ledger.referred_to(ASKED, live=NEW, grace_s=HOUR) == set(ASKED)


@pytest.mark.parametrize("damage", [empty, cut, garble])
def test_a_damaged_record_of_a_recent_generation_keeps_everything(
    ledger: Ledger, damage: Callable[[Path], None]
) -> None:
    damage(ledger.directory / "generations" / OLD)
    assert ledger.referred_to(ASKED, live=NEW, grace_s=HOUR) == set(ASKED)


def test_pruning_forgets_what_is_over_and_keeps_what_is_shared(ledger: Ledger) -> None:
    ledger.remember_generation("3" * 64, [], [SHA])
    for digest in (OLD, "3" * 64):
        replaced_at(ledger, digest, 2 * HOUR)
    ledger.prune(live=NEW, grace_s=HOUR)
    assert [record.name for record in (ledger.directory / "generations").iterdir()] == [NEW]
    assert [record.name for record in (ledger.directory / "indices").iterdir()] == [SHA]


def test_names_that_are_not_utf_8_are_remembered(ledger: Ledger) -> None:
    write_closure(ledger.index_record(SHA), [File("pool/\udce9", 1, "c" * 64)])
    assert ledger.referred_to(["pool/\udce9"], live=NEW, grace_s=HOUR) == {"pool/\udce9"}
