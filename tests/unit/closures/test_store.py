"""The closure store: what indices refer to, and what a damaged record must never allow."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from pushmirror.archive.index import File
from pushmirror.archive.pathset import fingerprint
from pushmirror.closures import store as module
from pushmirror.closures.store import ClosureStore
from pushmirror.errors import MalformedFile

OLD, NEW, SHA, OLD_SHA = "0" * 64, "1" * 64, "a" * 64, "b" * 64
HOUR = 3600.0
ASKED = ["pool/old", "pool/new", "pool/none", "dists/old/InRelease"]


class Clock:
    """Stands for the module `time`."""

    def __init__(self) -> None:
        self.now = 1e9

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def closures(tmp_path: Path, clock: Clock) -> ClosureStore:
    """Knows a replaced generation with pool/old and a live one with pool/new; both have pool/both."""
    closures = ClosureStore(tmp_path / "ledger")
    for digest, index, name in ((OLD, OLD_SHA, "old"), (NEW, SHA, "new")):
        remember(closures, index, [f"pool/{name}"], ["pool/both"])
        closures.remember_generation(digest, [f"dists/{name}/InRelease", "dists/both"], [index])
    return closures


def remember(closures: ClosureStore, key: str, *blocks: Iterable[str], salt: str = "") -> list[str]:
    """Remember an index of these blocks of paths; returns those that were read."""
    read: list[str] = []

    def parse(block: bytes) -> list[File]:
        names = block.decode("utf-8", "surrogateescape").split()
        read.extend(names)
        return [File(name, 1, "c" * 64) for name in names]

    texts = [" ".join(block).encode("utf-8", "surrogateescape") for block in blocks]
    closures.remember_index(key, texts, parse, salt=salt)
    return read


def replaced_at(closures: ClosureStore, clock: Clock, digest: str, ago_s: float) -> None:
    clock.now -= ago_s
    closures.replaced(digest)
    clock.now += ago_s


def test_live_and_recent_generations_keep_their_files(closures: ClosureStore) -> None:
    kept = closures.referred_to(ASKED, live=NEW, grace_s=HOUR)
    assert kept == {"pool/old", "pool/new", "dists/old/InRelease"}


def test_a_generation_whose_grace_is_over_keeps_nothing(closures: ClosureStore, clock: Clock) -> None:
    replaced_at(closures, clock, OLD, 2 * HOUR)
    assert closures.referred_to(ASKED, live=NEW, grace_s=HOUR) == {"pool/new"}


@pytest.mark.parametrize(
    ("beside_a_tree", "ago_s", "kept"),
    [
        (True, 0, set(ASKED)),
        (True, HOUR - 1, set(ASKED)),
        (True, HOUR + 1, {"pool/new"}),
        (False, 0, {"pool/new"}),
    ],
)
def test_a_ledger_that_begins_beside_a_tree_lets_nothing_go_within_the_grace(
    tmp_path: Path, clock: Clock, beside_a_tree: bool, ago_s: float, kept: set[str]
) -> None:
    closures = ClosureStore(tmp_path / "ledger")
    closures.begin(beside_a_tree=beside_a_tree)
    remember(closures, SHA, ["pool/new"])
    closures.remember_generation(NEW, [], [SHA])
    clock.now += ago_s
    closures.begin(beside_a_tree=True)
    assert closures.still_needed(ASKED, live=NEW, grace_s=HOUR) == kept
    assert closures.still_needed(ASKED, live=NEW, grace_s=0) == {"pool/new"}


def test_the_records_of_former_versions_leave(tmp_path: Path) -> None:
    for name in ("indices", "generations"):
        (tmp_path / name).mkdir()
        (tmp_path / name / SHA).touch()
    (tmp_path / "keyrings").touch()
    ClosureStore(tmp_path).begin(beside_a_tree=True)
    assert {file.name.partition("-")[0] for file in tmp_path.iterdir()} == {"ledger.sqlite"}


def test_the_live_generation_keeps_its_files_however_old_it_is(closures: ClosureStore, clock: Clock) -> None:
    replaced_at(closures, clock, NEW, 1000 * HOUR)
    assert "pool/new" in closures.referred_to(ASKED, live=NEW, grace_s=HOUR)


def test_grace_begins_when_a_generation_is_replaced(closures: ClosureStore, clock: Clock) -> None:
    clock.now += 2 * HOUR
    closures.replaced(OLD)
    assert "pool/old" in closures.referred_to(ASKED, live=NEW, grace_s=HOUR)


def test_replacing_a_generation_that_is_not_known_is_no_error(closures: ClosureStore) -> None:
    closures.replaced("2" * 64)
    closures.replaced("")


def test_without_a_record_of_the_live_generation_everything_is_kept(closures: ClosureStore) -> None:
    assert closures.referred_to(ASKED, live="2" * 64, grace_s=HOUR) == set(ASKED)


def test_very_many_questions_are_answered_as_few_are(closures: ClosureStore) -> None:
    asked = [*ASKED, *(f"pool/{number}" for number in range(1000))]
    assert closures.referred_to(asked, live=NEW, grace_s=0) == {
        "pool/old",
        "pool/new",
        "dists/old/InRelease",
    }


@pytest.mark.parametrize("digest", [OLD, NEW])
def test_an_index_that_is_not_known_keeps_everything(closures: ClosureStore, digest: str) -> None:
    closures.remember_generation(digest, [], [SHA, OLD_SHA, "d" * 64])
    assert closures.referred_to(ASKED, live=NEW, grace_s=HOUR) == set(ASKED)
    assert not closures.knows_generation(digest)


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe nothing of ours", b"SQLite format 3\0" + bytes(5000)])
def test_a_damaged_ledger_knows_nothing_and_keeps_everything(
    closures: ClosureStore, tmp_path: Path, damage: bytes
) -> None:
    closures.close()
    (tmp_path / "ledger/ledger.sqlite").write_bytes(damage)
    again = ClosureStore(tmp_path / "ledger")
    assert again.referred_to(ASKED, live=NEW, grace_s=HOUR) == set(ASKED)
    assert not again.knows_index(SHA) and not again.knows_generation(NEW)
    assert list(again.texts([SHA])) == []


def test_what_is_known_is_known_to_the_next_run(closures: ClosureStore, tmp_path: Path) -> None:
    closures.close()
    again = ClosureStore(tmp_path / "ledger")
    assert again.knows_generation(NEW) and again.closures_of(NEW) == {SHA}


def test_pruning_forgets_what_is_over_and_keeps_what_is_shared(closures: ClosureStore, clock: Clock) -> None:
    closures.remember_generation("3" * 64, [], [SHA])
    for digest in (OLD, "3" * 64):
        replaced_at(closures, clock, digest, 2 * HOUR)
    closures.prune(live=NEW, grace_s=HOUR)
    assert [closures.knows_generation(digest) for digest in (OLD, "3" * 64, NEW)] == [False, False, True]
    assert [closures.knows_index(key) for key in (OLD_SHA, SHA)] == [False, True]
    assert closures.referred_to([*ASKED, "pool/both"], live=NEW, grace_s=HOUR) == {"pool/new", "pool/both"}


def test_what_was_forgotten_is_read_again(closures: ClosureStore, clock: Clock) -> None:
    replaced_at(closures, clock, OLD, 2 * HOUR)
    closures.prune(live=NEW, grace_s=HOUR)
    assert remember(closures, OLD_SHA, ["pool/old"], ["pool/both"]) == ["pool/old"]
    closures.remember_generation(OLD, [], [OLD_SHA])
    assert "pool/old" in closures.referred_to(ASKED, live=NEW, grace_s=HOUR)


def test_only_blocks_that_are_new_are_read(closures: ClosureStore) -> None:
    assert remember(closures, "d" * 64, ["pool/x"], ["pool/new"], ["pool/x"], ["pool/both"]) == ["pool/x"]
    assert b"\n".join(closures.texts(["d" * 64])).count(b"pool/both\t") == 1


def test_a_block_with_another_salt_is_another_one(closures: ClosureStore) -> None:
    assert remember(closures, "d" * 64, ["pool/new"], salt="elsewhere") == ["pool/new"]


def test_an_index_that_cannot_be_read_leaves_nothing_known(closures: ClosureStore) -> None:
    def parse(block: bytes) -> list[File]:
        raise MalformedFile("it is damaged")

    with pytest.raises(MalformedFile), closures.writing():  # noqa: PT012  together is the point
        remember(closures, "d" * 64, ["pool/x"])
        closures.remember_index("e" * 64, [b"pool/y"], parse)
    assert not closures.knows_index("d" * 64)


def test_additions_are_what_the_old_indices_did_not_name(closures: ClosureStore) -> None:
    remember(closures, "d" * 64, ["pool/new", "pool/x"], ["pool/both"])
    assert [file.path for file in closures.additions(["d" * 64], [SHA])] == ["pool/x"]
    assert {file.path for file in closures.additions([SHA, OLD_SHA], [])} == {
        "pool/old",
        "pool/new",
        "pool/both",
    }


def test_what_indices_say_of_some_paths_is_found(closures: ClosureStore) -> None:
    asked = {fingerprint("pool/new"), fingerprint("pool/old")}
    assert list(closures.named(asked, [SHA])) == [File("pool/new", 1, "c" * 64)]


def test_files_are_counted_once(closures: ClosureStore) -> None:
    assert (closures.count([SHA]), closures.count([SHA, OLD_SHA])) == (2, 3)


def test_very_many_files_are_counted_by_a_share_of_them(
    closures: ClosureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember(closures, "d" * 64, [f"pool/{number}" for number in range(20_000)])
    monkeypatch.setattr(module, "_SAMPLE", 2000)
    assert 18_000 < closures.count(["d" * 64]) < 22_000


def unneeded(closures: ClosureStore, *, grace_s: float, replaced: str = OLD) -> list[str]:
    names = {"dists/new/InRelease", "dists/both"}
    return closures.unneeded(NEW, names=lambda: names, keys=[SHA], replaced=replaced, grace_s=grace_s)


LEFT = ["dists/old/InRelease", "pool/old"]


def test_what_a_generation_leaves_behind_is_told_once_its_grace_is_over(
    closures: ClosureStore, clock: Clock
) -> None:
    assert unneeded(closures, grace_s=HOUR, replaced="") == []
    clock.now += 2 * HOUR
    assert unneeded(closures, grace_s=HOUR) == []  # it begins now
    assert unneeded(closures, grace_s=HOUR, replaced="") == LEFT


def test_without_grace_it_is_told_at_once(closures: ClosureStore) -> None:
    assert unneeded(closures, grace_s=0) == LEFT


def test_what_another_recent_generation_needs_is_not_told(closures: ClosureStore, clock: Clock) -> None:
    clock.now += 2 * HOUR
    closures.remember_generation("3" * 64, ["dists/old/InRelease"], [SHA])
    assert unneeded(closures, grace_s=HOUR, replaced="") == ["pool/old"]


def test_nothing_is_told_where_an_index_is_not_known(closures: ClosureStore) -> None:
    closures.remember_generation("3" * 64, [], ["d" * 64])
    assert unneeded(closures, grace_s=HOUR, replaced="3" * 64) == []


def test_what_was_withheld_is_told_until_it_is_deleted(closures: ClosureStore, clock: Clock) -> None:
    clock.now += 1
    closures.prune(live=NEW, grace_s=0)
    assert unneeded(closures, grace_s=0) == []
    closures.note_withheld(["pool/stray", "dists/both"])
    assert unneeded(closures, grace_s=0) == ["pool/stray"]
    closures.note_withheld([])
    assert unneeded(closures, grace_s=0) == []


def test_nothing_is_forgotten_that_was_not_told_yet(closures: ClosureStore, clock: Clock) -> None:
    unneeded(closures, grace_s=HOUR, replaced="")
    clock.now += 2 * HOUR
    closures.prune(live=NEW, grace_s=HOUR)
    assert closures.knows_generation(OLD)


def test_names_that_are_not_utf_8_are_remembered(closures: ClosureStore) -> None:
    remember(closures, SHA, ["pool/\udce9"])
    assert closures.referred_to(["pool/\udce9"], live=NEW, grace_s=HOUR) == {"pool/\udce9"}


A_DAY, A_YEAR = 24 * HOUR, 365 * 24 * HOUR


def runs_after(closures: ClosureStore, clock: Clock, seconds: float, *, grace_s: float) -> set[str]:
    """What is kept by a run, on a clock that went on by so much since the last one."""
    clock.now += seconds
    closures.keep_time(grace_s)
    return closures.referred_to(ASKED, live=NEW, grace_s=grace_s) & {"pool/old"}


@pytest.mark.parametrize(
    ("jumps", "kept"),
    [
        pytest.param([A_DAY], True, id="within the grace"),
        pytest.param([A_DAY, A_DAY], False, id="out of it"),
        pytest.param([A_YEAR], True, id="ahead"),
        pytest.param([A_YEAR, HOUR], True, id="ahead, and on"),
        pytest.param([A_YEAR, A_DAY], False, id="ahead, and on beyond the grace"),
        pytest.param([A_YEAR, -A_YEAR], True, id="ahead and back"),
        pytest.param([A_YEAR, -A_YEAR, A_DAY], False, id="ahead, back, and on beyond the grace"),
        pytest.param([-40 * A_YEAR, 40 * A_YEAR], True, id="back and ahead: a machine without a battery"),
        pytest.param([-40 * A_YEAR, A_DAY, A_DAY], False, id="back for good"),
        pytest.param([8 * A_DAY, 8 * A_DAY], True, id="a run every eight days, twice"),
        pytest.param([8 * A_DAY, 8 * A_DAY, 8 * A_DAY], False, id="a run every eight days, three times"),
    ],
)
def test_a_clock_that_jumps_neither_ends_a_grace_nor_keeps_it_going(
    closures: ClosureStore, clock: Clock, jumps: list[float], kept: bool
) -> None:
    closures.keep_time(1.5 * A_DAY)
    closures.replaced(OLD)
    found = [runs_after(closures, clock, jump, grace_s=1.5 * A_DAY) for jump in jumps]
    assert bool(found[-1]) == kept


@pytest.mark.parametrize("jump", [A_YEAR, -A_YEAR])
def test_a_clock_that_is_set_during_a_run_ends_no_grace_and_keeps_nothing_for_a_year(
    closures: ClosureStore, clock: Clock, jump: float
) -> None:
    closures.keep_time(A_DAY)
    closures.replaced(OLD)
    clock.now += jump
    assert closures.referred_to(ASKED, live=NEW, grace_s=A_DAY) & {"pool/old"}
    closures.replaced(OLD)
    assert runs_after(closures, clock, HOUR, grace_s=A_DAY)
    assert not runs_after(closures, clock, 1.1 * A_DAY, grace_s=A_DAY)
