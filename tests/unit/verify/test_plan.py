import hashlib
import os

import pytest

from pushmirror.archive.paths import Entry, Kind
from pushmirror.closures.store import ClosureStore
from pushmirror.errors import Stopped
from pushmirror.inventory.tables import row_from
from pushmirror.verify import plan as verify_plan
from pushmirror.verify.plan import Expectations, look
from pushmirror.verify.plan_lines import Expected, LineKind
from pushmirror.verify.reader import Finding, Problem, Reader, Seen

DATA = b"some content"
SHA256 = hashlib.sha256(DATA).hexdigest()
NAMES = [f"pool/{letter}/{number}.deb" for letter in "abc" for number in range(5)]


class Closures:
    """A closure store of two indices that name the same files."""

    def __init__(self, paths):
        self.paths = paths

    def texts(self, _):
        return ["\n".join(f"{path}\t{len(DATA)}\t{SHA256}" for path in self.paths).encode()] * 2


class Listed:
    """An inventory."""

    whole = True

    def __init__(self, *entries):
        self._entries = sorted(entries, key=lambda entry: os.fsencode(entry.path).rpartition(b"/")[::2])

    def rows(self):
        return map(row_from, self._entries)

    def directories(self):
        return [os.fsencode(entry.path) for entry in self._entries if entry.kind is Kind.DIRECTORY]

    def get(self, path):
        return next((entry for entry in self._entries if entry.path == path), None)


@pytest.fixture
def tree(tmp_path):
    tree = tmp_path / "tree"
    for name in NAMES:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(DATA)
    return tree


def sources(tree, inventory=None, paths=NAMES):
    return Expectations(tree, "g", Closures(paths), frozenset(["one", "other"]), (), inventory)


def findings(tree, plan, after=b""):
    text, seen, reader = plan.file.read_bytes(), Seen(), Reader(tree)
    for piece in plan.after(after):
        one = reader.piece(text[piece.offset : piece.offset + piece.length], piece)
        seen.findings += one.findings
        seen.files += one.files
        seen.unhashed += one.unhashed
    return seen


def found(tree, tmp_path, inventory=None, paths=NAMES):
    seen = findings(tree, sources(tree, inventory, paths).plan(tmp_path))
    return {finding.path: finding.problem for finding in seen.findings}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("run", [3, 1000])
def test_each_file_is_read_once_however_the_plan_is_cut_and_sorted(tree, tmp_path, monkeypatch, size, run):
    monkeypatch.setattr(verify_plan, "_PIECE_FILES", size)
    monkeypatch.setattr(verify_plan, "_RUN", run)
    for path in ("pool/b/4.extra", "pool/a/0.extra", "zzz", "new/below/file", "pool/c/.~tmp~/x"):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).touch()
    (tree / NAMES[7]).unlink()
    plan = sources(tree).plan(tmp_path)
    seen = findings(tree, plan)
    assert seen.files == len(NAMES) - 1 == sum(piece.files for piece in plan.pieces) - 1
    assert sorted(seen.findings, key=lambda finding: finding.path) == [
        Finding("new/below/file", Problem.EXTRA),
        Finding("pool/a/0.extra", Problem.EXTRA),
        Finding("pool/b/2.deb", Problem.MISSING, "expected a file"),
        Finding("pool/b/4.extra", Problem.EXTRA),
        Finding("zzz", Problem.EXTRA),
    ]


@pytest.mark.parametrize("done", range(12))
def test_a_verify_that_goes_on_sees_the_rest_once_though_the_pieces_are_others(
    tree, tmp_path, monkeypatch, done
):
    (tree / "pool/b/extra").touch()
    monkeypatch.setattr(verify_plan, "_PIECE_FILES", 2)
    plan = sources(tree).plan(tmp_path)
    text, reader = plan.file.read_bytes(), Reader(tree)
    before = [reader.piece(text[one.offset : one.offset + one.length], one) for one in plan.pieces[:done]]
    position = plan.pieces[done - 1].until if done else b""
    monkeypatch.setattr(verify_plan, "_PIECE_FILES", 5)
    after = findings(tree, sources(tree).plan(tmp_path), position)
    assert sum(one.files for one in before) + after.files == len(NAMES)
    assert sum(len(one.findings) for one in before) + len(after.findings) == 1


def _wrong_size(file):
    file.write_bytes(b"short")


def _wrong_content(file):
    file.write_bytes(DATA.upper())


def _folder(file):
    file.unlink()
    file.mkdir()


def _link(file):
    file.unlink()
    file.symlink_to("elsewhere")


def _pipe(file):
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize("damage", [_wrong_size, _wrong_content, _folder, _link, _pipe])
def test_a_file_that_is_not_what_it_should_be_is_wrong(tree, tmp_path, damage):
    damage(tree / NAMES[3])
    assert found(tree, tmp_path) == {NAMES[3]: Problem.WRONG}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_and_a_directory_that_may_not_be_read_are_unreadable(tree, tmp_path):
    (tree / NAMES[0]).chmod(0)
    (tree / "pool/c").chmod(0)
    expected = {name: Problem.UNREADABLE for name in NAMES if name.startswith("pool/c") or name == NAMES[0]}
    try:
        assert found(tree, tmp_path) == expected
    finally:
        (tree / "pool/c").chmod(0o755)


def test_a_file_that_the_disk_cannot_read_is_unreadable(tree, tmp_path, monkeypatch):
    def damaged(handle, size):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "read", damaged)
    assert found(tree, tmp_path) == dict.fromkeys(NAMES, Problem.UNREADABLE)


def test_a_directory_that_is_gone_takes_its_files_with_it(tree, tmp_path):
    for name in NAMES[:5]:
        (tree / name).unlink()
    (tree / "pool/a").rmdir()
    assert found(tree, tmp_path) == dict.fromkeys(NAMES[:5], Problem.MISSING)


def test_what_only_the_inventory_knows_is_verified_too(tree, tmp_path):
    for name in ("doc/right", "doc/wrong", "doc/touched", "project/trace/master"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(DATA)
    (tree / "doc/turned").symlink_to("wrong")
    mtime = int((tree / "doc/right").stat().st_mtime)
    inventory = Listed(
        Entry("doc", Kind.DIRECTORY),
        Entry("empty", Kind.DIRECTORY),
        Entry("doc/right", Kind.FILE, len(DATA), 5, sha256=SHA256),
        Entry("doc/wrong", Kind.FILE, len(DATA), mtime, sha256="0" * 64),
        Entry("doc/touched", Kind.FILE, len(DATA), mtime - 10),
        Entry("doc/turned", Kind.LINK, target="right"),
        Entry("doc/gone", Kind.LINK, target="right"),
    )
    seen = findings(tree, sources(tree, inventory).plan(tmp_path))
    assert {finding.path: finding.problem for finding in seen.findings} == {
        "doc/wrong": Problem.WRONG,
        "doc/touched": Problem.WRONG,
        "doc/turned": Problem.WRONG,
        "doc/gone": Problem.MISSING,
        "empty": Problem.MISSING,
    }
    assert (seen.files, seen.unhashed) == (len(NAMES) + 3, 1)


@pytest.mark.parametrize(
    ("mtime", "told"),
    [(1_795_406_871, "2026-11-23 04:07:51 UTC"), (-1, "1969-12-31 23:59:59 UTC"), (10**14, str(10**14))],
)
def test_times_are_told_as_dates(tmp_path, mtime, told):
    (tmp_path / "a").touch()
    os.utime(tmp_path / "a", (0, 1_795_407_472))
    (finding,) = Reader(tmp_path).names({"a": Expected("", "a", LineKind.FILE, 0, mtime=mtime)})
    assert finding.why == (f"was modified at 2026-11-23 04:17:52 UTC, expected {told}; its SHA256 is unknown")


def test_a_tree_of_which_nothing_is_known_is_not_said_to_be_whole(tree, tmp_path):
    looked = look(
        tree,
        closures=ClosureStore(tmp_path / "ledger"),
        inventory=None,
        scratch=tmp_path / "scratch",
        served="",
    )
    assert [note[:16] for note in looked.notes] == ["no Release file "]


def test_a_new_file_in_a_directory_that_should_be_empty_is_extra(tree, tmp_path):
    (tree / "empty").mkdir()
    (tree / "empty/new").touch()
    assert found(tree, tmp_path, Listed(Entry("empty", Kind.DIRECTORY))) == {"empty/new": Problem.EXTRA}


def test_files_that_indices_name_through_a_link_are_verified_where_they_are(tree, tmp_path):
    (tree / "alias").symlink_to("pool/a")
    (tree / NAMES[0]).write_bytes(DATA.upper())
    inventory = Listed(Entry("alias", Kind.LINK, target="pool/a"))
    paths = [name.replace("pool/a/", "alias/") for name in NAMES]
    assert found(tree, tmp_path, inventory, paths) == {NAMES[0]: Problem.WRONG}


def test_what_is_expected_of_a_few_names_is_what_the_plan_says_of_them(tree):
    inventory = Listed(Entry("doc", Kind.DIRECTORY), Entry("doc/x", Kind.FILE, 3, 4))
    known = sources(tree, inventory).expected([NAMES[2], "doc/x", "nobody"])
    assert {path: (one.size, one.digest) for path, one in known.items()} == {
        NAMES[2]: (len(DATA), SHA256),
        "doc/x": (3, ""),
    }


@pytest.mark.parametrize("size", [1, 262_143, 262_144, 300_000, 1_500_000])
def test_a_file_costs_as_many_bytes_of_a_limited_rate_as_it_has(tmp_path, size):
    (tmp_path / "a").write_bytes(bytes(size))
    paid = []
    Reader(tmp_path, paid.append).names({"a": Expected("", "a", LineKind.FILE, size, "0" * 64)})
    assert sum(paid) == size


def test_a_reader_of_small_files_soon_notices_that_it_is_to_stop(tmp_path, monkeypatch):
    names = [f"{number:03}" for number in range(300)]
    for name in names:
        (tmp_path / name).write_bytes(DATA)
    read, reading, stopped_after = [], os.read, 100

    def counted(handle, size):
        read.append(size)
        return reading(handle, size)

    def keep(_):
        if len(read) >= stopped_after:
            raise Stopped("verify was asked to stop")

    monkeypatch.setattr(os, "read", counted)
    with pytest.raises(Stopped):
        Reader(tmp_path, keep).names(
            {name: Expected("", name, LineKind.FILE, len(DATA), SHA256) for name in names}
        )
    assert len(read) < 2 * stopped_after
